//! The bytes of requests that may be in memory at once, over all connections.
//!
//! A frame takes its share as its bytes arrive, not when it announces them: a length is a promise.
//! When the budget is spent, one connection at a time may overdraw it to finish its frame, so that
//! frames that each hold a part of the budget cannot wait for each other for ever.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// Permits count in KiB, because a semaphore takes `u32` counts.
const UNIT_BYTES: usize = 1024;

/// Bytes of requests in flight, shared by all connections.
#[derive(Clone)]
pub struct RequestBudget {
    units: Arc<Semaphore>,
    unit_count: usize,
    overdraft: Arc<Mutex<()>>,
}

/// What one frame holds of the budget; dropping it gives everything back.
#[derive(Default)]
pub struct BudgetShare {
    units: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedMutexGuard<()>>,
}

impl RequestBudget {
    pub fn new(bytes: usize) -> Self {
        Self {
            units: Arc::new(Semaphore::new(bytes / UNIT_BYTES)),
            unit_count: bytes / UNIT_BYTES,
            overdraft: Arc::new(Mutex::new(())),
        }
    }

    /// What all frames together hold, without what is overdrawn.
    pub fn used_bytes(&self) -> usize {
        self.unit_count
            .saturating_sub(self.units.available_permits())
            * UNIT_BYTES
    }

    /// Waits until `share` covers `bytes` in all.
    pub async fn grow(&self, share: &mut BudgetShare, bytes: usize) {
        let held = share.units.as_ref().map_or(0, |p| p.num_permits());
        let missing = bytes.div_ceil(UNIT_BYTES).saturating_sub(held);
        if missing == 0 || share.overdraft.is_some() {
            return;
        }
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            permit = Arc::clone(&self.units).acquire_many_owned(missing) => {
                let permit = permit.expect("the request budget is never closed");
                match &mut share.units {
                    Some(units) => units.merge(permit),
                    None => share.units = Some(permit),
                }
            }
            guard = Arc::clone(&self.overdraft).lock_owned() => share.overdraft = Some(guard),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn when_the_budget_is_spent_one_frame_may_overdraw_it_and_others_wait() {
        let budget = RequestBudget::new(4 * UNIT_BYTES);
        let (mut a, mut b, mut c) = Default::default();
        budget.grow(&mut a, 3 * UNIT_BYTES).await;
        budget.grow(&mut b, 3 * UNIT_BYTES).await;
        assert!(b.overdraft.is_some(), "the second frame overdraws");
        let waiting = tokio::time::timeout(
            std::time::Duration::from_millis(10),
            budget.grow(&mut c, 3 * UNIT_BYTES),
        );
        assert!(waiting.await.is_err(), "the third frame waits");
        drop(b);
        budget.grow(&mut c, 3 * UNIT_BYTES).await;
        assert!(c.overdraft.is_some());
    }

    #[tokio::test]
    async fn what_a_frame_held_is_free_again_when_it_is_dropped() {
        let budget = RequestBudget::new(2 * UNIT_BYTES);
        for _ in 0..10 {
            let mut share = BudgetShare::default();
            budget.grow(&mut share, 1).await;
            budget.grow(&mut share, 2 * UNIT_BYTES).await;
            assert!(share.overdraft.is_none());
        }
    }
}
