//! Which quota counts for a client, of those that match it.

use std::sync::Arc;

use super::rate::Rate;
use super::token_bucket::TokenBucket;
use super::windows::Window;
use super::{Kind, Quotas, Sampling};
use crate::metadata::{Part, QuotaEntity, QuotaKey, QuotasImage};

/// A quota that counts for a client, and who shares it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found<'a> {
    /// How much in a second.
    pub bound: f64,
    /// Empty: all users, or all client ids.
    pub user: &'a str,
    pub client_id: &'a str,
}

/// The quota of a user and client id: the most specific one, in the order of Kafka's `ClientQuotaManager`. It is shared by the
/// connections of the same user, the same client id or of both, whichever it asks for.
///
/// A client without an id has no quota of its own, nor that of the default client (Kafka takes "" for none).
pub(super) fn find<'a>(
    image: &QuotasImage,
    key: QuotaKey,
    user: &'a str,
    client_id: &'a str,
) -> Option<Found<'a>> {
    let get = |user: Part, client_id: Part| {
        let entity = QuotaEntity {
            user,
            client_id,
            ip: Part::Any,
        };
        image.get(&entity, key)
    };
    let named = |name: &str| Part::from(Some(name));
    let clients = match client_id {
        "" => [None, None],
        id => [Some(named(id)), Some(Part::Default)],
    };
    let mut clients = clients.into_iter().flatten();
    for asked in [named(user), Part::Default] {
        for client in clients.clone() {
            if let Some(bound) = get(asked.clone(), client) {
                return Some(Found {
                    bound,
                    user,
                    client_id,
                });
            }
        }
        if let Some(bound) = get(asked, Part::Any) {
            return Some(Found {
                bound,
                user,
                client_id: "",
            });
        }
    }
    clients.find_map(|client| {
        Some(Found {
            bound: get(Part::Any, client)?,
            user: "",
            client_id,
        })
    })
}

/// One quota of a client, and what has been used of it.
#[derive(Debug)]
pub struct Limit<W> {
    /// How much in a second.
    pub bound: f64,
    pub sampling: Sampling,
    window: Arc<Window<W>>,
}

impl Limit<Rate> {
    /// What can be used at once, without having to wait, by somebody who has used nothing (Kafka's
    /// `getMaxValueInQuotaWindow`).
    pub(crate) fn most_at_once(&self) -> f64 {
        let spans = (self.sampling.count - 1) as f64;
        self.bound * spans * (self.sampling.span_ms as f64 / 1e3)
    }

    /// Counts `amount`, and says for how long the client has to wait, in milliseconds.
    pub(super) fn record(&self, amount: f64, now_ms: i64) -> i64 {
        let mut rate = self.window.used(now_ms);
        rate.record(self.sampling, amount, now_ms);
        rate.measure(self.sampling, now_ms).delay_ms(self.bound)
    }

    /// Takes back what was counted at the same time.
    pub(super) fn take_back(&self, amount: f64, now_ms: i64) {
        let mut rate = self.window.used(now_ms);
        rate.record(self.sampling, -amount, now_ms);
    }
}

impl Limit<TokenBucket> {
    /// Takes `count` tokens, and says for how long the client has to wait; 0 if not at all. With `strict` it takes none while
    /// they are overdrawn, and otherwise lets it have what it asks for.
    pub(super) fn take(&self, count: f64, strict: bool, now_ms: i64) -> i64 {
        let mut tokens = self.window.used(now_ms);
        let (sampling, bound) = (self.sampling, self.bound);
        if strict {
            let overdrawn_ms = tokens.delay_ms(sampling, bound, now_ms);
            if tokens.tokens(sampling, bound, now_ms) < 0.0 {
                return overdrawn_ms.max(1);
            }
        }
        tokens.take(sampling, bound, count, now_ms);
        match strict {
            true => 0,
            false => tokens.delay_ms(sampling, bound, now_ms),
        }
    }
}

/// The quotas of one user and client id.
#[derive(Debug)]
pub struct ClientQuotas {
    image: Arc<QuotasImage>,
    client_id: Arc<str>,
    pub produce: Option<Limit<Rate>>,
    pub fetch: Option<Limit<Rate>>,
    pub request: Option<Limit<Rate>>,
    pub mutation: Option<Limit<TokenBucket>>,
}

impl ClientQuotas {
    pub(super) fn find(
        quotas: &Quotas,
        image: &Arc<QuotasImage>,
        user: &str,
        client_id: &Arc<str>,
    ) -> Self {
        let now_ms = quotas.now_ms();
        let rate = |kind, key| {
            let found = find(image, key, user, client_id)?;
            Some(Limit {
                bound: found.bound,
                sampling: quotas.sampling,
                window: quotas.rates.get(kind, &found, Rate::default(), now_ms),
            })
        };
        let mutation = find(image, QuotaKey::ControllerMutationRate, user, client_id);
        let mutation = mutation.map(|found| {
            let full = TokenBucket::full(now_ms);
            Limit {
                bound: found.bound,
                sampling: quotas.mutation_sampling,
                window: quotas.buckets.get(Kind::Mutation, &found, full, now_ms),
            }
        });
        Self {
            produce: rate(Kind::Produce, QuotaKey::ProducerByteRate),
            fetch: rate(Kind::Fetch, QuotaKey::ConsumerByteRate),
            request: rate(Kind::Request, QuotaKey::RequestPercentage),
            mutation,
            image: Arc::clone(image),
            client_id: Arc::clone(client_id),
        }
    }

    pub(super) fn are_of(&self, image: &Arc<QuotasImage>, client_id: &str) -> bool {
        Arc::ptr_eq(&self.image, image) && *self.client_id == *client_id
    }

    pub(super) fn are_none(&self) -> bool {
        let rates = [&self.produce, &self.fetch, &self.request];
        rates.iter().all(|rate| rate.is_none()) && self.mutation.is_none()
    }
}
