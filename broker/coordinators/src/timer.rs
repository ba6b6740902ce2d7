//! Deadlines, in order.

use std::collections::{BTreeMap, BTreeSet};

/// At most one deadline per key. Every operation is O(log n).
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Timers<K> {
    deadlines: BTreeMap<K, i64>,
    queue: BTreeSet<(i64, K)>,
}

impl<K: Ord + Clone> Timers<K> {
    pub(crate) fn new() -> Self {
        Self {
            deadlines: BTreeMap::new(),
            queue: BTreeSet::new(),
        }
    }

    /// Sets the deadline of `key`, replacing the one it had.
    pub(crate) fn schedule(&mut self, key: K, deadline_ms: i64) {
        let entry = (deadline_ms, key.clone());
        if let Some(previous_ms) = self.deadlines.insert(key, deadline_ms) {
            self.queue.remove(&(previous_ms, entry.1.clone()));
        }
        self.queue.insert(entry);
    }

    pub(crate) fn is_scheduled(&self, key: &K) -> bool {
        self.deadlines.contains_key(key)
    }

    pub(crate) fn cancel(&mut self, key: K) {
        if let Some(deadline_ms) = self.deadlines.remove(&key) {
            self.queue.remove(&(deadline_ms, key));
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<i64> {
        self.queue.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Takes the earliest key whose deadline has come.
    pub(crate) fn pop_due(&mut self, now_ms: i64) -> Option<K> {
        if self.next_deadline()? > now_ms {
            return None;
        }
        let (_, key) = self.queue.pop_first()?;
        self.deadlines.remove(&key);
        Some(key)
    }

    #[cfg(test)]
    pub(crate) fn keys(&self) -> &BTreeMap<K, i64> {
        assert_eq!(self.deadlines.len(), self.queue.len());
        &self.deadlines
    }
}
