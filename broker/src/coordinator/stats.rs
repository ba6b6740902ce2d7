//! What is counted of transactions besides what their coordinator knows itself.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start of the broker.
#[derive(Debug, Default)]
pub(crate) struct TransactionStats {
    markers_written: AtomicU64,
    markers_skipped: AtomicU64,
    verifications_failed: AtomicU64,
}

impl TransactionStats {
    /// A log has got the marker that ends a transaction.
    pub(crate) fn marker_written(&self) {
        self.markers_written.fetch_add(1, Ordering::Relaxed);
    }

    /// A log takes no marker: it was deleted, or knows a later epoch of the producer.
    pub(crate) fn markers_skipped(&self, count: usize) {
        self.markers_skipped
            .fetch_add(count as u64, Ordering::Relaxed);
    }

    /// A batch was refused since its partition is not known to be in the producer's transaction (KIP-890).
    pub(crate) fn verification_failed(&self) {
        self.verifications_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Markers written, markers skipped, verifications failed.
    pub(crate) fn counts(&self) -> [u64; 3] {
        [
            &self.markers_written,
            &self.markers_skipped,
            &self.verifications_failed,
        ]
        .map(|count| count.load(Ordering::Relaxed))
    }
}
