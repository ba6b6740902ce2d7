//! Quotas: how much clients may do in a second, and what becomes of those that do more (KIP-13, 124, 219, 546, 599).
//!
//! A client that has used up its quota is answered at once, with the time that it has to wait, and its connection is not
//! read for that long. What was asked stays done; only a Fetch is answered empty, and a newer request of an administrator
//! is refused.
//!
//! [`limits`] says which quota counts for a client, [`windows`] keeps what clients have used, and [`toll`] is what one request
//! takes of it.

pub mod limits;
pub mod mutations;
pub mod rate;
pub mod token_bucket;
pub mod toll;
pub mod windows;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use crate::clock::Clock;
use crate::config::QuotaSettings;
use crate::metadata::QuotasImage;
use crate::net::session::Session;
use limits::ClientQuotas;
use rate::Rate;
use token_bucket::TokenBucket;
use windows::Windows;

/// What a rate is measured over: so many spans of so long. Kafka's `quota.window.num` and `quota.window.size.seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    pub count: usize,
    pub span_ms: i64,
}

impl Sampling {
    /// `count` spans of `span_seconds`; at least one of one.
    pub fn new(count: i32, span_seconds: i32) -> Self {
        Self {
            count: usize::try_from(count).unwrap_or(1).max(1),
            span_ms: i64::from(span_seconds.max(1)) * 1000,
        }
    }
}

/// What a client may have used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Produce,
    Fetch,
    Request,
    Mutation,
    /// Of a listener or of the broker.
    Connection,
    /// Connections of one address.
    Ip,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Produce,
        Self::Fetch,
        Self::Request,
        Self::Mutation,
        Self::Connection,
        Self::Ip,
    ];

    /// As metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Fetch => "fetch",
            Self::Request => "request",
            Self::Mutation => "controller_mutation",
            Self::Connection => "connection",
            Self::Ip => "ip",
        }
    }
}

/// How often clients had to wait, and for how long, by kind.
#[derive(Debug, Default)]
pub struct ThrottleCounts {
    counts: [AtomicU64; Kind::ALL.len()],
    total_ms: [AtomicU64; Kind::ALL.len()],
    /// Connections that are not read now.
    muted: AtomicU64,
}

impl ThrottleCounts {
    pub(crate) fn note(&self, kind: Kind, delay_ms: i64) {
        self.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
        let delay_ms = u64::try_from(delay_ms).unwrap_or(0);
        self.total_ms[kind as usize].fetch_add(delay_ms, Ordering::Relaxed);
    }

    /// How often, and how many milliseconds.
    pub(crate) fn of(&self, kind: Kind) -> (u64, u64) {
        let load = |counters: &[AtomicU64]| counters[kind as usize].load(Ordering::Relaxed);
        (load(&self.counts), load(&self.total_ms))
    }

    pub(crate) fn muted(&self) -> u64 {
        self.muted.load(Ordering::Relaxed)
    }

    /// Counts a connection as muted until the guard is dropped.
    pub(crate) fn mute(&self) -> Muted<'_> {
        self.muted.fetch_add(1, Ordering::Relaxed);
        Muted(&self.muted)
    }
}

/// A connection that is not read.
pub(crate) struct Muted<'a>(&'a AtomicU64);

impl Drop for Muted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The quotas in force, and what clients have used of them.
#[derive(Debug)]
pub struct Quotas {
    clock: Clock,
    sampling: Sampling,
    mutation_sampling: Sampling,
    /// `None`: there are none, and nothing is measured.
    in_force: ArcSwapOption<QuotasImage>,
    rates: Windows<Rate>,
    buckets: Windows<TokenBucket>,
    pub throttled: ThrottleCounts,
}

impl Quotas {
    pub(crate) fn new(settings: &QuotaSettings, clock: Clock) -> Self {
        Self {
            clock,
            sampling: settings.sampling(),
            mutation_sampling: settings.mutation_sampling(),
            in_force: ArcSwapOption::empty(),
            rates: Windows::default(),
            buckets: Windows::default(),
            throttled: ThrottleCounts::default(),
        }
    }

    pub(crate) fn sampling(&self) -> Sampling {
        self.sampling
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.steady_ms()
    }

    /// Has other quotas count from now on. What clients have used is not forgotten.
    pub(crate) fn change(&self, image: &QuotasImage) {
        let in_force = (image.len() > 0).then(|| Arc::new(image.clone()));
        self.in_force.store(in_force);
    }

    /// The quotas of the client of a session; `None`: there are none for it. They are looked up when they have changed, or
    /// the client calls itself otherwise.
    #[inline]
    pub(crate) fn of(&self, session: &Session, client_id: &Arc<str>) -> Option<Arc<ClientQuotas>> {
        let in_force = self.in_force.load();
        let image = in_force.as_ref()?;
        let mut known = session.quotas.lock();
        let quotas = match &*known {
            Some(quotas) if quotas.are_of(image, client_id) => Arc::clone(quotas),
            _ => {
                let quotas = ClientQuotas::find(self, image, &session.principal.name, client_id);
                Arc::clone(known.insert(Arc::new(quotas)))
            }
        };
        (!quotas.are_none()).then_some(quotas)
    }
}
