//! What one request takes of its client's quotas, and for how long the client has to wait after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::limits::ClientQuotas;
use super::mutations::Mutations;
use super::{Kind, Quotas};
use crate::net::session::Session;

/// Of a request whose client has quotas.
pub struct Toll {
    quotas: Arc<Quotas>,
    client: Arc<ClientQuotas>,
    session: Arc<Session>,
    due: Mutex<Due>,
}

#[derive(Default)]
struct Due {
    /// Time of a thread that has not been counted yet.
    busy: Duration,
    working_since: Option<Instant>,
    is_exempt: bool,
    /// The longest wait so far, and what for.
    wait: Option<(i64, Kind)>,
    mutations: Option<Arc<Mutations>>,
    /// What the client is told, once that is decided.
    told_ms: Option<i32>,
}

impl Due {
    fn wait_for(&mut self, delay_ms: i64, kind: Kind) {
        if delay_ms > self.wait.map_or(0, |(longest_ms, _)| longest_ms) {
            self.wait = Some((delay_ms, kind));
        }
    }
}

impl Toll {
    /// `None`: the client has no quotas.
    #[inline]
    pub(crate) fn of(
        quotas: &Arc<Quotas>,
        session: &Arc<Session>,
        client_id: &Arc<str>,
    ) -> Option<Box<Self>> {
        let client = quotas.of(session, client_id)?;
        Some(Box::new(Self {
            quotas: Arc::clone(quotas),
            client,
            session: Arc::clone(session),
            due: Mutex::default(),
        }))
    }

    /// The request is the cluster's own, or nobody waits for its answer: the time it takes is not the client's.
    pub(crate) fn exempt(&self) {
        self.due.lock().is_exempt = true;
    }

    /// Counts the bytes of a Produce request.
    pub(crate) fn produce(&self, bytes: usize) {
        if let Some(limit) = &self.client.produce {
            let delay_ms = limit.record(bytes as f64, self.quotas.now_ms());
            self.due.lock().wait_for(delay_ms, Kind::Produce);
        }
    }

    /// The most bytes that a Fetch may be answered with: more would be above the quota whatever came before.
    pub(crate) fn most_fetched(&self) -> usize {
        let limit = self.client.fetch.as_ref();
        limit.map_or(usize::MAX, |limit| limit.most_at_once() as usize)
    }

    /// Counts the bytes of the answer to a Fetch, and decides. Where the client has to wait, it is to be answered without
    /// records, and they are not counted.
    pub(crate) fn allows_fetch(&self, bytes: usize) -> bool {
        let Some(limit) = &self.client.fetch else {
            return self.decide() == 0;
        };
        let now_ms = self.quotas.now_ms();
        let delay_ms = limit.record(bytes as f64, now_ms);
        self.due.lock().wait_for(delay_ms, Kind::Fetch);
        let is_allowed = self.decide() == 0;
        if !is_allowed {
            limit.take_back(bytes as f64, now_ms);
        }
        is_allowed
    }

    /// What charges the changes of this request; `strict` refuses those that are above the quota.
    pub(crate) fn charge(&self, strict: bool) -> Option<Arc<Mutations>> {
        self.client.mutation.as_ref()?;
        let (quotas, client) = (Arc::clone(&self.quotas), Arc::clone(&self.client));
        Some(Arc::new(Mutations::new(quotas, client, strict)))
    }

    /// The same, and the client has to wait if it is above the quota.
    pub(crate) fn mutations(&self, strict: bool) -> Option<Arc<Mutations>> {
        let mutations = self.charge(strict)?;
        self.due.lock().mutations = Some(Arc::clone(&mutations));
        Some(mutations)
    }

    /// Counts the time that the request has taken so far, and decides for how long the client has to wait: from now on its
    /// connection is not read. What the request takes after that is counted only.
    pub(crate) fn decide(&self) -> i32 {
        let mut due = self.due.lock();
        let now = due.working_since.map(|since| (since, Instant::now()));
        if let Some((since, now)) = now {
            due.busy += now - since;
            due.working_since = Some(now);
        }
        let busy = std::mem::take(&mut due.busy);
        let limit = self.client.request.as_ref().filter(|_| !due.is_exempt);
        let delay_ms = limit.map_or(0, |limit| {
            // Per cent of a thread.
            let used = busy.as_secs_f64() * 100.0;
            let delay_ms = limit.record(used, self.quotas.now_ms());
            delay_ms.min(limit.sampling.span_ms)
        });
        if let Some(told_ms) = due.told_ms {
            return told_ms;
        }
        due.wait_for(delay_ms, Kind::Request);
        if let Some(delay_ms) = due.mutations.take().map(|mutations| mutations.delay_ms()) {
            due.wait_for(delay_ms, Kind::Mutation);
        }
        let told_ms = due.wait.map_or(0, |(delay_ms, kind)| {
            self.quotas.throttled.note(kind, delay_ms);
            i32::try_from(delay_ms).unwrap_or(i32::MAX)
        });
        due.told_ms = Some(told_ms);
        if told_ms > 0 {
            let wait = Duration::from_millis(told_ms.unsigned_abs().into());
            self.session.mute(wait);
        }
        told_ms
    }

    fn starts(&self) {
        if self.client.request.is_some() {
            self.due.lock().working_since = Some(Instant::now());
        }
    }

    fn pauses(&self) {
        if self.client.request.is_some() {
            let mut due = self.due.lock();
            if let Some(since) = due.working_since.take() {
                due.busy += since.elapsed();
            }
        }
    }

    /// Does something that is part of the request: a poll of its future, of which waiting is none.
    pub(crate) fn time<T>(toll: Option<&Self>, work: impl FnOnce() -> T) -> T {
        let Some(toll) = toll else { return work() };
        toll.starts();
        let done = work();
        toll.pauses();
        done
    }
}
