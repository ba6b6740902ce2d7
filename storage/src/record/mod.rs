//! Record batches (magic 2) as opaque bytes.

use bytes::Bytes;

/// A batch that has passed the leader's checks and may be appended.
#[derive(Clone, Debug)]
pub struct ValidatedBatch {
    pub bytes: Bytes,
}
