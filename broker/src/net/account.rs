//! What the response that a connection is being given takes of the broker's memory.
//!
//! A response is paid for before it is made, with `RequestContext::pay`, and its
//! bytes count until the kernel has them. There is one account for each connection, since its responses are made one
//! after the other.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::budget::{Budget, Crowd, Share};

/// A response up to this size is not counted: however scarce memory is, small questions are answered.
pub const FREE_BYTES: usize = 64 << 10;
/// How long a response waits for memory. Clients ask again after 30 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// A response that will not be made, since there is no memory for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unaffordable {
    #[error("the answer would take {bytes} bytes of memory, {limit_bytes} are allowed")]
    TooLarge { bytes: usize, limit_bytes: usize },
    #[error("there was no memory for an answer of {bytes} bytes within {PATIENCE:?}")]
    Crowded { bytes: usize },
}

/// See the [module](self).
#[derive(Default)]
pub struct ResponseAccount {
    /// What has been asked for; 0 in between.
    bytes: AtomicUsize,
    /// What of it is limited.
    limited_bytes: AtomicUsize,
    share: Mutex<Option<Box<Share>>>,
}

impl ResponseAccount {
    /// Takes `bytes` more for the response that is being made; waits while others have them.
    ///
    /// # Errors
    /// What was asked for with a limit adds up to more than `limit_bytes`; or too little became free in time.
    pub(crate) async fn pay(
        &self,
        budget: &Budget,
        address: IpAddr,
        bytes: usize,
        limit_bytes: Option<usize>,
    ) -> Result<(), Unaffordable> {
        if let Some(limit_bytes) = limit_bytes {
            let limited = self.limited_bytes.load(Ordering::Relaxed);
            let bytes = limited.saturating_add(bytes);
            if bytes > limit_bytes {
                return Err(Unaffordable::TooLarge { bytes, limit_bytes });
            }
            self.limited_bytes.store(bytes, Ordering::Relaxed);
        }
        let bytes = self.bytes.load(Ordering::Relaxed).saturating_add(bytes);
        self.bytes.store(bytes, Ordering::Relaxed);
        if bytes <= FREE_BYTES {
            return Ok(());
        }
        let share = self.share.lock().take();
        let mut share = share.unwrap_or_else(|| Box::new(budget.share(address)));
        let grown = tokio::time::timeout(PATIENCE, share.grow(bytes)).await;
        *self.share.lock() = Some(share);
        grown.map_err(|_| Unaffordable::Crowded { bytes })
    }

    /// The response is made: from now on it takes `bytes`, whatever making it took.
    pub(crate) fn made(&self, bytes: usize) {
        if self.bytes.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.bytes.store(bytes.max(1), Ordering::Relaxed);
        let mut share = self.share.lock();
        match &mut *share {
            Some(_) if bytes <= FREE_BYTES => *share = None,
            Some(share) => share.shrink(bytes),
            None => {}
        }
    }

    /// Takes `bytes` in all for a response that is there already. Does not wait: false if they are not free.
    pub(crate) fn cover_now(&self, budget: &Budget, address: IpAddr, bytes: usize) -> bool {
        self.bytes.store(bytes.max(1), Ordering::Relaxed);
        if bytes <= FREE_BYTES {
            return true;
        }
        let mut share = self.share.lock();
        let share = share.get_or_insert_with(|| Box::new(budget.share(address)));
        share.grow_now(bytes)
    }

    /// Those who wait for the memory that the response holds.
    pub(crate) fn crowd(&self) -> Option<Crowd> {
        self.share.lock().as_ref().map(|share| share.crowd())
    }

    /// The response is with the kernel, or given up.
    pub(crate) fn settle(&self) {
        if self.bytes.load(Ordering::Relaxed) > 0 {
            self.bytes.store(0, Ordering::Relaxed);
            self.limited_bytes.store(0, Ordering::Relaxed);
            *self.share.lock() = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test(start_paused = true)]
    async fn small_responses_are_free_and_larger_ones_count_until_they_are_sent() {
        let budget = Budget::new(8 * MIB);
        let account = ResponseAccount::default();
        let pay = async |bytes| account.pay(&budget, CLIENT, bytes, None).await;
        pay(FREE_BYTES).await.unwrap();
        assert_eq!(budget.used_bytes(), 0);
        pay(MIB - FREE_BYTES).await.unwrap();
        assert_eq!(budget.used_bytes(), MIB, "payments add up");
        account.made(MIB / 4);
        assert_eq!(budget.used_bytes(), MIB / 4);
        account.settle();
        assert_eq!(budget.used_bytes(), 0);
        pay(FREE_BYTES).await.unwrap();
        assert_eq!(
            budget.used_bytes(),
            0,
            "the next response begins at nothing"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_large_is_refused_and_what_does_not_fit_waits_for_those_who_read() {
        let budget = Budget::new(4 * MIB);
        let accounts = [(); 3].map(|()| ResponseAccount::default());
        let pay = async |at: usize, bytes| {
            accounts[at]
                .pay(&budget, CLIENT, bytes, Some(3 * MIB))
                .await
        };
        let too_large = Unaffordable::TooLarge {
            bytes: 3 * MIB + 1,
            limit_bytes: 3 * MIB,
        };
        assert_eq!(pay(0, 3 * MIB + 1).await, Err(too_large));
        assert_eq!(
            pay(0, 3 * MIB).await,
            Ok(()),
            "one overdraws the address's half"
        );
        assert_eq!(pay(1, MIB).await, Ok(()));
        let crowded = Unaffordable::Crowded { bytes: 2 * MIB };
        assert_eq!(pay(2, 2 * MIB).await, Err(crowded));
        accounts[2].settle();
        accounts[0].settle();
        assert_eq!(pay(2, MIB).await, Ok(()));
    }
}
