//! Bytes of runs in memory: what this broker wrote, and what it has fetched.
//!
//! A run is kept as it is served, with offsets and leader epoch in it, so a read of what is here copies nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::database::LogGroup;
use super::entry::ObjectId;
use crate::env::sync::Mutex;

/// What bytes are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Blob {
    Object(ObjectId),
    /// The inline bytes of a row.
    Row(LogGroup, i64),
}

/// Where a run begins.
pub(super) type RunKey = (Blob, u32);

/// Runs, the last used of them, up to a number of bytes.
pub(super) struct Cache {
    limit_bytes: usize,
    runs: Mutex<Runs>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Default)]
struct Runs {
    bytes: usize,
    uses: u64,
    by_key: HashMap<RunKey, Cached>,
    by_use: BTreeMap<u64, RunKey>,
}

struct Cached {
    bytes: Bytes,
    last_use: u64,
}

impl Cache {
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            runs: Mutex::new(Runs::default()),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub fn get(&self, key: &RunKey) -> Option<Bytes> {
        let found = self.runs.lock().used(key);
        let counter = match found {
            Some(_) => &self.hits,
            None => &self.misses,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Keeps the bytes of a run, and lets others go that were used longest ago.
    pub fn insert(&self, key: RunKey, bytes: Bytes) {
        if bytes.len() > self.limit_bytes {
            return;
        }
        let mut runs = self.runs.lock();
        runs.remove(&key);
        runs.bytes += bytes.len();
        let last_use = runs.next_use();
        runs.by_use.insert(last_use, key);
        runs.by_key.insert(key, Cached { bytes, last_use });
        while runs.bytes > self.limit_bytes
            && let Some((_, oldest)) = runs.by_use.first_key_value()
        {
            let oldest = *oldest;
            runs.remove(&oldest);
        }
    }

    pub fn bytes(&self) -> usize {
        self.runs.lock().bytes
    }

    /// How often what was asked for was here, and was not.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        let counts = [&self.hits, &self.misses];
        let [hits, misses] = counts.map(|count| count.load(Ordering::Relaxed));
        (hits, misses)
    }
}

impl Runs {
    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    fn used(&mut self, key: &RunKey) -> Option<Bytes> {
        let now = self.next_use();
        let cached = self.by_key.get_mut(key)?;
        self.by_use.remove(&cached.last_use);
        self.by_use.insert(now, *key);
        cached.last_use = now;
        Some(cached.bytes.clone())
    }

    fn remove(&mut self, key: &RunKey) {
        if let Some(cached) = self.by_key.remove(key) {
            self.by_use.remove(&cached.last_use);
            self.bytes -= cached.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(row: i64) -> RunKey {
        (Blob::Row(LogGroup(0), row), 0)
    }

    #[test]
    fn what_was_used_longest_ago_leaves_first() {
        let cache = Cache::new(30);
        for row in 0..3 {
            cache.insert(key(row), Bytes::from(vec![row as u8; 10]));
        }
        assert_eq!(cache.get(&key(0)).unwrap(), vec![0; 10]);
        cache.insert(key(3), Bytes::from(vec![3; 10]));
        let kept = (0..4).map(|row| cache.get(&key(row)).is_some());
        assert_eq!(kept.collect::<Vec<_>>(), [true, false, true, true]);
        assert_eq!(cache.bytes(), 30);
        assert_eq!(cache.hits_and_misses(), (4, 1));
    }

    #[test]
    fn a_run_that_comes_again_takes_its_room_once() {
        let cache = Cache::new(30);
        for _ in 0..5 {
            cache.insert(key(0), Bytes::from(vec![1; 20]));
        }
        assert_eq!(cache.bytes(), 20);
        cache.insert(key(1), Bytes::from(vec![1; 31]));
        assert_eq!(cache.bytes(), 20, "too large to be kept");
        assert!(cache.get(&key(0)).is_some());
    }
}
