//! Room for batches between their submission and their segment: this is where back-pressure is felt.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::log_dir::LogDir;
use crate::log::{AppendError, AppendOrigin, AppendPermit, BoxFuture};

impl LogDir {
    /// See [`crate::log::PartitionLog::reserve`].
    pub fn reserve(
        &self,
        bytes: usize,
        origin: AppendOrigin,
    ) -> BoxFuture<'_, Result<AppendPermit, AppendError>> {
        // Without groups and metadata nothing could be deleted: they may use what is kept free.
        let refused = origin.is_client() && self.low_on_space.load(Ordering::Relaxed);
        if refused || *self.disk_full.borrow() {
            return Box::pin(std::future::ready(Err(disk_full())));
        }
        // A batch larger than the budget waits until it is alone.
        let permits = u32::try_from(bytes.min(self.append_budget_bytes)).unwrap_or(u32::MAX);
        let budget = Arc::clone(&self.append_budget);
        if let Ok(permit) = Arc::clone(&budget).try_acquire_many_owned(permits) {
            if self.is_short_of_budget() {
                self.maintenance.wake();
            }
            return Box::pin(std::future::ready(Ok(AppendPermit::of(permit))));
        }
        self.maintenance.wake();
        let mut full = self.disk_full.subscribe();
        Box::pin(async move {
            let mut room = pin!(budget.acquire_many_owned(permits));
            let mut full = pin!(full.wait_for(|full| *full));
            poll_fn(|context| {
                if let Poll::Ready(permit) = room.as_mut().poll(context) {
                    return Poll::Ready(match permit {
                        Ok(permit) => Ok(AppendPermit::of(permit)),
                        Err(_) => Err(AppendError::Storage(
                            "the log directory is closed".to_owned(),
                        )),
                    });
                }
                full.as_mut().poll(context).map(|_| Err(disk_full()))
            })
            .await
        })
    }
}

fn disk_full() -> AppendError {
    AppendError::Storage("no space left for segments".to_owned())
}
