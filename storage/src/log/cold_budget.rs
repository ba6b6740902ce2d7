//! A budget for the memory of cold reads. A read takes its share before it begins, and gives it back when the last of its
//! bytes has been sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::env::sync::timeout;
use crate::log::FetchedRecords;

/// How long a read waits for room. A fetch of many partitions holds some of the budget while it waits for more, so two
/// fetches could wait for each other. After this time a read goes on with one batch, beyond the budget.
const PATIENCE: Duration = Duration::from_millis(500);

/// How many bytes all cold reads together may hold.
#[derive(Debug)]
pub(crate) struct ColdBudget {
    room: Arc<Semaphore>,
    total_bytes: u32,
}

/// How many bytes one read may hold.
#[derive(Debug)]
pub(crate) struct ColdPermit(Option<OwnedSemaphorePermit>);

impl ColdBudget {
    pub fn new(bytes: usize) -> Self {
        let total_bytes = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        let permits = (total_bytes as usize).min(Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(permits)),
            total_bytes,
        }
    }

    /// A read that is larger than the budget waits until it is alone.
    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes)
            .unwrap_or(u32::MAX)
            .min(self.total_bytes)
    }

    /// Room for a read, if there is some now.
    pub fn try_take(&self, bytes: usize) -> Option<ColdPermit> {
        let permit = Arc::clone(&self.room).try_acquire_many_owned(self.permits(bytes));
        permit.ok().map(|permit| ColdPermit(Some(permit)))
    }

    /// Waits for room, however long it takes: for whoever keeps nobody waiting who has some.
    pub async fn take_patiently(&self, bytes: usize) -> ColdPermit {
        let room = Arc::clone(&self.room).acquire_many_owned(self.permits(bytes));
        ColdPermit(room.await.ok())
    }

    /// Waits for room, but not for ever.
    pub async fn take(&self, bytes: usize) -> ColdPermit {
        let room = Arc::clone(&self.room).acquire_many_owned(self.permits(bytes));
        let taken = timeout(PATIENCE, room).await;
        ColdPermit(taken.and_then(Result::ok))
    }
}

impl ColdPermit {
    /// The read goes beyond the budget: it has to be as small as can be.
    pub fn is_overdrawn(&self) -> bool {
        self.0.is_none()
    }

    /// Ties the permit to bytes.
    pub fn hold_bytes(self, bytes: Bytes) -> Bytes {
        match self.0 {
            Some(permit) => Bytes::from_owner(Held {
                bytes,
                _permit: Arc::new(permit),
            }),
            None => bytes,
        }
    }

    /// Ties the permit to the bytes that were read, and gives back the rest.
    pub fn hold(self, fetched: FetchedRecords) -> FetchedRecords {
        let bytes = fetched.size_bytes;
        self.hold_as(bytes, fetched)
    }

    /// The same of records that lie in so many bytes, of which they are perhaps a part.
    pub fn hold_as(self, bytes: usize, mut fetched: FetchedRecords) -> FetchedRecords {
        let Some(mut permit) = self.0 else {
            return fetched;
        };
        let unused = permit.num_permits().saturating_sub(bytes);
        drop(permit.split(unused));
        let permit = Arc::new(permit);
        for records in &mut fetched.records {
            *records = Bytes::from_owner(Held {
                bytes: std::mem::take(records),
                _permit: Arc::clone(&permit),
            });
        }
        fetched
    }
}

/// Bytes that count in the budget as long as they are there.
struct Held {
    bytes: Bytes,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::log::LogOffsets;

    fn fetched(bytes: usize) -> FetchedRecords {
        FetchedRecords {
            records: vec![Bytes::from(vec![1; bytes])],
            size_bytes: bytes,
            offsets: LogOffsets {
                log_start_offset: 0,
                last_stable_offset: 0,
                high_watermark: 0,
                log_end_offset: 0,
            },
            aborted_transactions: Vec::new(),
        }
    }

    #[test]
    fn room_is_taken_until_the_last_clone_of_the_bytes_is_gone() {
        let budget = ColdBudget::new(100);
        let read = budget.try_take(80).unwrap().hold(fetched(60));
        assert!(budget.try_take(41).is_none(), "what was read counts");
        drop(budget.try_take(40).expect("what was not needed is free"));
        let slice = read.records[0].slice(5..6);
        drop(read);
        assert!(budget.try_take(41).is_none(), "a slice keeps it all");
        drop(slice);
        assert!(
            budget.try_take(1_000).is_some(),
            "larger than all, but alone"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_waits_for_room_and_goes_beyond_it_when_none_comes() {
        let budget = Arc::new(ColdBudget::new(100));
        let first = budget.try_take(100).unwrap().hold(fetched(100));
        assert!(budget.take(10).await.is_overdrawn());
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.take(10).await.is_overdrawn() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(!waiting.await.unwrap());
    }
}
