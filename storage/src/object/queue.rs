//! What a broker wants of a log group, in the order of submission.
//!
//! What a row answers leaves by its turn, so that nobody has to walk past what stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pending::Pending;

#[derive(Default)]
pub(super) struct Queue {
    next_turn: u64,
    by_turn: BTreeMap<u64, Arc<Pending>>,
}

impl Queue {
    /// Something is in one queue, once.
    pub fn push(&mut self, pending: Arc<Pending>) {
        let turn = *pending.turn.get_or_init(|| self.next_turn);
        self.next_turn += 1;
        self.by_turn.insert(turn, pending);
    }

    pub fn remove(&mut self, pending: &Pending) {
        if let Some(turn) = pending.turn.get() {
            self.by_turn.remove(turn);
        }
    }

    pub fn holds(&self, pending: &Pending) -> bool {
        let turn = pending.turn.get();
        turn.is_some_and(|turn| self.by_turn.contains_key(turn))
    }

    /// Takes out everything.
    pub fn drain(&mut self) -> impl Iterator<Item = Arc<Pending>> + use<> {
        std::mem::take(&mut self.by_turn).into_values()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Pending>> {
        self.by_turn.values()
    }

    pub fn front(&self) -> Option<&Arc<Pending>> {
        self.by_turn.values().next()
    }

    pub fn len(&self) -> usize {
        self.by_turn.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_turn.is_empty()
    }
}
