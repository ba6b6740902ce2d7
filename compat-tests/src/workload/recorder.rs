//! Where all clients write down what they do, in one sequence of moments.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::checker::{Action, Moment, Op, Outcome, Transaction, Value};

/// The history while it is made.
#[derive(Default)]
pub(super) struct Recorder {
    moment: AtomicU64,
    value: AtomicU64,
    transaction: AtomicU64,
    ops: Mutex<Vec<Op>>,
}

impl Recorder {
    /// Later than all before.
    pub fn moment(&self) -> Moment {
        self.moment.fetch_add(1, Ordering::SeqCst)
    }

    /// A value that no record has.
    pub fn value(&self) -> Value {
        self.value.fetch_add(1, Ordering::SeqCst)
    }

    /// A transaction that nobody has begun.
    pub fn transaction(&self) -> Transaction {
        self.transaction.fetch_add(1, Ordering::SeqCst)
    }

    /// Writes down what a client began at `start` and what has ended now.
    pub fn ended(
        &self,
        client: u32,
        start: Moment,
        actions: impl IntoIterator<Item = (Outcome, Action)>,
    ) {
        let end = self.moment();
        let ops = actions.into_iter().map(|(outcome, action)| Op {
            client,
            start,
            end,
            outcome,
            action,
        });
        self.lock().extend(ops);
    }

    /// How many operations there have been.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Everything up to now, by start.
    pub fn ops(&self) -> Vec<Op> {
        let mut ops = self.lock().clone();
        ops.sort_by_key(|op| op.start);
        ops
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Op>> {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
