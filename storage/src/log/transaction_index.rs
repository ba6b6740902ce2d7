//! `.txnindex`: the aborted transactions whose marker lies in a segment.
//!
//! | at | bytes | entry, big-endian |
//! |---|---|---|
//! | 0 | 2 | version 0 |
//! | 2 | 8 | producer id |
//! | 10 | 8 | first offset of the transaction |
//! | 18 | 8 | offset of its marker |
//! | 26 | 8 | last stable offset when the marker was written |

use super::AbortedTransaction;
use super::producer_state::CompletedTxn;
use crate::record::TransactionResult;

pub(crate) const ENTRY_BYTES: usize = 34;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTxn {
    pub producer_id: i64,
    pub first_offset: i64,
    pub last_offset: i64,
    pub last_stable_offset: i64,
}

impl AbortedTxn {
    /// `None` for a transaction that was committed.
    pub fn of(completed: &CompletedTxn) -> Option<Self> {
        (completed.result == TransactionResult::Abort).then_some(Self {
            producer_id: completed.producer_id,
            first_offset: completed.first_offset,
            last_offset: completed.last_offset,
            last_stable_offset: completed.last_stable_offset,
        })
    }

    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut entry = [0; ENTRY_BYTES];
        entry[2..10].copy_from_slice(&self.producer_id.to_be_bytes());
        entry[10..18].copy_from_slice(&self.first_offset.to_be_bytes());
        entry[18..26].copy_from_slice(&self.last_offset.to_be_bytes());
        entry[26..34].copy_from_slice(&self.last_stable_offset.to_be_bytes());
        entry
    }

    fn decode(entry: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let number = |at: usize| {
            let mut value = [0; 8];
            value.copy_from_slice(&entry[at..at + 8]);
            i64::from_be_bytes(value)
        };
        (entry[..2] == [0, 0]).then(|| Self {
            producer_id: number(2),
            first_offset: number(10),
            last_offset: number(18),
            last_stable_offset: number(26),
        })
    }
}

/// The entries of an index file, up to the first that makes no sense.
pub fn parse(bytes: &[u8]) -> Vec<AbortedTxn> {
    let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
    let mut last_offset = -1;
    entries
        .iter()
        .map_while(AbortedTxn::decode)
        .take_while(|txn| {
            // A marker comes behind its data. What a power cut has left as zeros does not pass for an entry.
            let follows = txn.last_offset > last_offset && txn.first_offset < txn.last_offset;
            last_offset = txn.last_offset;
            follows
        })
        .collect()
}

/// The entries that a reader of `from..end` must know. `aborted` is sorted by marker.
pub(crate) fn reaching(
    aborted: &[AbortedTxn],
    from: i64,
    end: i64,
) -> impl Iterator<Item = &AbortedTxn> {
    let first = aborted.partition_point(|txn| txn.last_offset < from);
    // Whatever ends behind a marker begins at or behind its last stable offset.
    let mut is_behind = false;
    aborted[first..]
        .iter()
        .take_while(move |txn| !std::mem::replace(&mut is_behind, txn.last_stable_offset >= end))
        .filter(move |txn| txn.first_offset < end)
}

/// The aborted transactions that a reader of `from..end` must know. `aborted` is sorted by marker.
pub(crate) fn overlapping(aborted: &[AbortedTxn], from: i64, end: i64) -> Vec<AbortedTransaction> {
    reaching(aborted, from, end)
        .map(|txn| AbortedTransaction {
            producer_id: txn.producer_id,
            first_offset: txn.first_offset,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_a_power_cut_has_left_are_no_entries() {
        assert_eq!(parse(&[0; 2 * ENTRY_BYTES]), []);
    }
}
