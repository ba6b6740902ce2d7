//! What a log directory tells about itself to whoever operates it.
//!
//! The threads that do the work count with relaxed atomics, once for each device write and never for each batch.
//! Everything else is looked up when it is asked for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::object::jobs::JobStats;

/// Upper bounds of a [`LatencyHistogram`]'s buckets, in microseconds; one bucket more takes the rest.
const BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// How long something took, how often. To observe takes two relaxed additions.
#[derive(Debug, Default)]
pub struct LatencyHistogram {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// A [`LatencyHistogram`] at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencySnapshot {
    /// Upper bound in seconds and count of each bucket alone; the last bound is `f64::MAX`.
    pub buckets: Vec<(f64, u64)>,
    pub sum_seconds: f64,
    pub count: u64,
}

impl LatencyHistogram {
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|&bound| bound < us);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> LatencySnapshot {
        let bounds = BOUNDS_US.iter().map(|&us| us as f64 / 1e6);
        let buckets: Vec<_> = bounds
            .chain([f64::MAX])
            .zip(&self.counts)
            .map(|(bound, count)| (bound, count.load(Ordering::Relaxed)))
            .collect();
        LatencySnapshot {
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
            sum_seconds: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}

/// A log directory at one moment.
#[derive(Debug, Clone)]
pub struct DirectoryStats {
    /// Device writes of the write-ahead log, with the sync where there is one.
    pub commit_writes: LatencySnapshot,
    /// How long the commit under way has waited for room and for the device; zero if there is none.
    pub commit_in_flight: Duration,
    /// How long the commit under way has waited for room in the write-ahead log alone; zero if it does not.
    pub commit_waiting_for_room: Duration,
    /// Batches, and what the broker notes for itself, in commits that succeeded.
    pub committed_entries: u64,
    /// Bytes written by commits that succeeded, with headers and padding.
    pub committed_bytes: u64,
    /// Bytes accepted that are not in their segments yet.
    pub unwritten_bytes: u64,
    /// Memory that holds batches.
    pub chunk_bytes: u64,
    /// Bytes of the write-ahead log that only a checkpoint frees.
    pub ring_used_bytes: u64,
    pub ring_max_bytes: u64,
    pub checkpoints: LatencySnapshot,
    pub disk_full: bool,
    pub low_on_space: bool,
    /// Open files of segments.
    pub open_files: u64,
    pub cleaner_runs: u64,
    pub cleaner_read_bytes: u64,
    pub cleaner_written_bytes: u64,
}

/// What was asked of an object store, by everybody at this broker: it is paid for, whatever came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectRequests {
    /// With parts of large objects, and more than uploads where some failed or were slow.
    pub puts: u64,
    pub put_bytes: u64,
    /// With those that ask for no bytes.
    pub gets: u64,
    pub got_bytes: u64,
    pub lists: u64,
    /// Objects, of which one request may name many.
    pub deletes: u64,
}

/// A store that keeps its logs in object storage, at one moment. Counts are since the start.
#[derive(Debug, Clone)]
pub struct ObjectStats {
    /// From the first PUT of an object to the answer of the one that went well.
    pub uploads: LatencySnapshot,
    /// Statements that append rows, until it is known what became of them.
    pub commits: LatencySnapshot,
    /// GETs that went well, and looks at inline bytes.
    pub reads: LatencySnapshot,
    pub requests: ObjectRequests,
    /// Rows that this broker has appended.
    pub rows: u64,
    /// Bytes of batches that went with them.
    pub inline_bytes: u64,
    /// Rows that this broker has read, its own included where it has met them so.
    pub followed_rows: u64,
    /// Rows that came too late, because another broker's was first.
    pub conflicts: u64,
    /// Commits of which it was unknown at first whether they were applied.
    pub in_doubt: u64,
    /// Commits that were refused since another process had this broker's id, or its lease was over.
    pub fenced: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    pub cache_bytes: u64,
    pub jobs: JobStats,
    /// Batches and changes that are not answered yet.
    pub pending: u64,
    /// Bytes that were reserved for batches and are not given back yet.
    pub buffered_bytes: u64,
    /// For how long the oldest of them has waited; zero without any.
    pub oldest_pending: Duration,
    /// Log groups in use.
    pub groups: u64,
    /// For how long nobody has looked what others have appended to them; zero without any.
    pub follows_since: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_bounds_it_and_a_long_one_in_the_last() {
        let histogram = LatencyHistogram::default();
        for us in [100, 101, 60_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let snapshot = histogram.snapshot();
        let filled: Vec<_> = snapshot.buckets.iter().filter(|b| b.1 > 0).collect();
        assert_eq!(filled, [&(0.0001, 1), &(0.00025, 1), &(f64::MAX, 1)]);
        assert_eq!(snapshot.count, 3);
        assert!((snapshot.sum_seconds - 60.000_201).abs() < 1e-9);
    }
}
