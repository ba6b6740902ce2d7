//! What a shard counts.

use crate::txn::transaction::TransactionState;

/// Why a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Its producer ended it.
    Client,
    /// Another producer began to use its transactional id.
    Fence,
    /// Its timeout.
    Timeout,
    /// Its end was found under way when the log was loaded.
    Load,
}

impl Cause {
    pub const ALL: [Self; 4] = [Self::Client, Self::Fence, Self::Timeout, Self::Load];

    /// As the metrics say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Fence => "fence",
            Self::Timeout => "timeout",
            Self::Load => "load",
        }
    }
}

/// What there is to measure. A shard that is loaded again begins to count anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measures {
    /// Transactional ids, in the order of [`TransactionState::ALL`].
    pub ids: [u64; TransactionState::ALL.len()],
    /// Transactions that were committed, and those that were aborted, in the order of [`Cause::ALL`].
    pub committed: [Ended; Cause::ALL.len()],
    pub aborted: [Ended; Cause::ALL.len()],
}

/// Transactions that have ended, and how long they were open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    pub count: u64,
    pub open_ms: u64,
}

impl Measures {
    pub(super) fn enter(&mut self, state: TransactionState) {
        self.ids[state as usize] += 1;
    }

    pub(super) fn leave(&mut self, state: TransactionState) {
        self.ids[state as usize] -= 1;
    }

    pub(super) fn ended(&mut self, commit: bool, cause: Cause, open_ms: i64) {
        let by_cause = match commit {
            true => &mut self.committed,
            false => &mut self.aborted,
        };
        by_cause[cause as usize].add(Ended {
            count: 1,
            open_ms: u64::try_from(open_ms).unwrap_or(0),
        });
    }

    /// Adds what another shard has counted.
    pub fn add(&mut self, other: &Self) {
        self.ids
            .iter_mut()
            .zip(other.ids)
            .for_each(|(sum, ids)| *sum += ids);
        let committed = self.committed.iter_mut().zip(other.committed);
        let aborted = self.aborted.iter_mut().zip(other.aborted);
        committed
            .chain(aborted)
            .for_each(|(sum, ended)| sum.add(ended));
    }
}

impl Ended {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.open_ms += other.open_ms;
    }
}
