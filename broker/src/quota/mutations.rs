//! What a request of an administrator takes of the quota of mutations: one for each partition that is created or deleted
//! (KIP-599).

use std::sync::Arc;

use parking_lot::Mutex;

use super::Quotas;
use super::limits::ClientQuotas;

/// Charges the topics of one request.
pub struct Mutations {
    quotas: Arc<Quotas>,
    client: Arc<ClientQuotas>,
    /// What is above the quota is refused. Older clients do not know the error: they are throttled only.
    strict: bool,
    charged: Mutex<Charged>,
}

#[derive(Default)]
struct Charged {
    /// By place in the request. A change may be planned again, and costs once.
    is_allowed: Vec<Option<bool>>,
    /// For how long the client has to wait, and since when.
    delay: Option<(i64, i64)>,
}

impl Mutations {
    pub(super) fn new(quotas: Arc<Quotas>, client: Arc<ClientQuotas>, strict: bool) -> Self {
        Self {
            quotas,
            client,
            strict,
            charged: Mutex::default(),
        }
    }

    /// Whether the change at `place` of the request may be made. `partitions` is how many it creates or deletes.
    pub(crate) fn charge(&self, place: usize, partitions: usize) -> bool {
        let Some(limit) = &self.client.mutation else {
            return true;
        };
        let mut charged = self.charged.lock();
        if charged.is_allowed.len() <= place {
            charged.is_allowed.resize(place + 1, None);
        }
        if let Some(is_allowed) = charged.is_allowed[place] {
            return is_allowed;
        }
        let now_ms = self.quotas.now_ms();
        let delay_ms = limit.take(partitions as f64, self.strict, now_ms);
        if delay_ms > 0 {
            charged.delay = Some((delay_ms, now_ms));
        }
        let is_allowed = delay_ms == 0 || !self.strict;
        charged.is_allowed[place] = Some(is_allowed);
        is_allowed
    }

    /// For how long the client has to wait from now on.
    pub(super) fn delay_ms(&self) -> i64 {
        let delay = self.charged.lock().delay;
        let left = delay.map(|(delay_ms, since_ms)| delay_ms - (self.quotas.now_ms() - since_ms));
        left.unwrap_or(0).max(0)
    }
}
