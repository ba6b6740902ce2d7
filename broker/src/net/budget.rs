//! Memory that clients may take of the broker, over all connections: bytes of requests, and of responses.
//!
//! Who needs more than there is waits. So that nobody's large things stop everybody else's, one address holds a part at
//! most, and what is small is not counted at all (whoever uses a [`Budget`] says what that is). When a budget, or an
//! address's part, is spent, one at a time may overdraw it: those that each hold some of it cannot wait for each other
//! for ever.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, watch};

/// Permits count in KiB, because a semaphore takes `u32` counts.
const UNIT_BYTES: usize = 1024;
/// Known addresses when those that hold nothing any more are forgotten for the first time.
const FIRST_PRUNE: usize = 64;

/// Bytes that all share, of which one address may hold a half.
pub struct Budget {
    whole: Arc<Pool>,
    addresses: Mutex<Addresses>,
}

struct Addresses {
    pools: HashMap<IpAddr, Weak<Pool>>,
    prune_at: usize,
}

/// Bytes that may be held together.
pub struct Pool {
    units: Arc<Semaphore>,
    unit_count: usize,
    overdraft: Arc<Turn<()>>,
    waiting_count: watch::Sender<usize>,
}

/// What one request or response holds of a budget; dropping it gives everything back.
pub struct Share {
    /// The narrower pool first. All wait for pools in this order.
    holds: Vec<Hold>,
}

/// What a share holds of one pool.
struct Hold {
    pool: Arc<Pool>,
    units: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedMutexGuard<()>>,
}

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self {
            whole: Pool::new(bytes),
            addresses: Mutex::new(Addresses {
                pools: HashMap::new(),
                prune_at: FIRST_PRUNE,
            }),
        }
    }

    /// What all shares together hold, without what is overdrawn.
    pub fn used_bytes(&self) -> usize {
        let free = self.whole.units.available_permits();
        self.whole.unit_count.saturating_sub(free) * UNIT_BYTES
    }

    /// Bytes that all shares together may hold.
    pub fn total_bytes(&self) -> usize {
        self.whole.unit_count * UNIT_BYTES
    }

    /// An empty share for a client at `address`.
    pub fn share(&self, address: IpAddr) -> Share {
        Share::of([self.part_of(address), Arc::clone(&self.whole)])
    }

    /// As [`share`](Self::share), for a client that has a pool of its own besides.
    pub(crate) fn share_within(&self, own: &Arc<Pool>, address: IpAddr) -> Share {
        let own = Arc::clone(own);
        Share::of([own, self.part_of(address), Arc::clone(&self.whole)])
    }

    fn part_of(&self, address: IpAddr) -> Arc<Pool> {
        let Addresses { pools, prune_at } = &mut *self.addresses.lock();
        if let Some(pool) = pools.get(&address).and_then(Weak::upgrade) {
            return pool;
        }
        if pools.len() >= *prune_at {
            pools.retain(|_, pool| pool.strong_count() > 0);
            *prune_at = FIRST_PRUNE.max(2 * pools.len());
        }
        let pool = Pool::new(self.whole.unit_count * UNIT_BYTES / 2);
        pools.insert(address, Arc::downgrade(&pool));
        pool
    }
}

impl Pool {
    pub fn new(bytes: usize) -> Arc<Self> {
        let unit_count = (bytes / UNIT_BYTES).min(u32::MAX as usize);
        Arc::new(Self {
            units: Arc::new(Semaphore::new(unit_count)),
            unit_count,
            overdraft: Arc::default(),
            waiting_count: watch::Sender::new(0),
        })
    }

    /// Whether anything of it is held.
    pub(crate) fn is_used(&self) -> bool {
        self.units.available_permits() < self.unit_count
    }
}

/// The budget of requests: what is usual does not wait behind what is large.
pub struct RequestBudget {
    usual: Budget,
    large: Budget,
}

/// Producers send 1 MiB at most unless they are told otherwise.
const USUAL_REQUEST_BYTES: usize = 2 << 20;

impl RequestBudget {
    pub fn new(bytes: usize) -> Self {
        Self {
            usual: Budget::new(bytes / 2),
            large: Budget::new(bytes / 2),
        }
    }

    /// The budget that a request of this size takes its share of.
    pub(crate) fn of(&self, request_bytes: usize) -> &Budget {
        match request_bytes <= USUAL_REQUEST_BYTES {
            true => &self.usual,
            false => &self.large,
        }
    }

    /// Bytes that all requests together may hold.
    pub fn total_bytes(&self) -> usize {
        self.usual.total_bytes() + self.large.total_bytes()
    }

    /// What all requests together hold, without what is overdrawn and what is too small to be counted.
    pub fn used_bytes(&self) -> usize {
        self.usual.used_bytes() + self.large.used_bytes()
    }

    /// Those who wait for what a client at `address` may hold.
    pub(crate) fn crowd(&self, address: IpAddr) -> Crowd {
        let of = |budget: &Budget| budget.share(address).crowd().0;
        Crowd([of(&self.usual), of(&self.large)].concat())
    }
}

impl Share {
    fn of<const N: usize>(pools: [Arc<Pool>; N]) -> Self {
        let hold = |pool| Hold {
            pool,
            units: None,
            overdraft: None,
        };
        Self {
            holds: pools.into_iter().map(hold).collect(),
        }
    }

    /// Waits until the share covers `bytes` in all. Cancelled, it keeps what it has by then.
    pub async fn grow(&mut self, bytes: usize) {
        for at in 0..self.holds.len() {
            if !self.may_overdraw(at) {
                self.holds[at].grow(bytes).await;
            }
        }
    }

    /// As [`grow`](Self::grow), without waiting: false if it is not free.
    pub(crate) fn grow_now(&mut self, bytes: usize) -> bool {
        (0..self.holds.len()).all(|at| self.may_overdraw(at) || self.holds[at].grow_now(bytes))
    }

    /// A share that overdraws a pool waits for it no more, nor for the narrower ones. Others may wait there for what it
    /// holds.
    fn may_overdraw(&self, at: usize) -> bool {
        self.holds[at..].iter().any(|hold| hold.overdraft.is_some())
    }

    /// Gives back what is beyond `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        for hold in &mut self.holds {
            hold.shrink(bytes);
        }
    }

    /// Those who wait for what the share holds.
    pub(crate) fn crowd(&self) -> Crowd {
        let subscribe = |hold: &Hold| hold.pool.waiting_count.subscribe();
        Crowd(self.holds.iter().map(subscribe).collect())
    }
}

impl Hold {
    /// The units that are missing to `bytes`.
    fn missing(&self, bytes: usize) -> u32 {
        let held = self.units.as_ref().map_or(0, |p| p.num_permits());
        let missing = bytes.div_ceil(UNIT_BYTES).saturating_sub(held);
        u32::try_from(missing).unwrap_or(u32::MAX)
    }

    fn add(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.units {
            Some(units) => units.merge(permit),
            None => self.units = Some(permit),
        }
    }

    fn grow_now(&mut self, bytes: usize) -> bool {
        let missing = self.missing(bytes);
        if missing == 0 {
            return true;
        }
        let permit = Arc::clone(&self.pool.units).try_acquire_many_owned(missing);
        permit.map(|permit| self.add(permit)).is_ok()
    }

    async fn grow(&mut self, bytes: usize) {
        if self.grow_now(bytes) {
            return;
        }
        let missing = self.missing(bytes);
        let pool = Arc::clone(&self.pool);
        let _waiting = Waiting::new(&pool);
        tokio::select! {
            biased;
            permit = Arc::clone(&pool.units).acquire_many_owned(missing) => {
                self.add(permit.expect("a budget is never closed"));
            }
            guard = Arc::clone(&pool.overdraft).lock_owned() => self.overdraft = Some(guard),
        }
    }

    fn shrink(&mut self, bytes: usize) {
        let wanted = bytes.div_ceil(UNIT_BYTES);
        if let Some(units) = &mut self.units {
            let unused = units.num_permits().saturating_sub(wanted);
            drop(units.split(unused));
        }
    }
}

/// Counts one who waits for a pool.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn new(pool: &'a Pool) -> Self {
        pool.waiting_count.send_modify(|count| *count += 1);
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting_count.send_modify(|count| *count -= 1);
    }
}

/// Those who wait for what somebody holds.
pub struct Crowd(Vec<watch::Receiver<usize>>);

impl Crowd {
    /// Whether somebody waits now.
    pub(crate) fn is_there(&self) -> bool {
        self.0.iter().any(|count| *count.borrow() > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    const MIB: usize = 1 << 20;

    fn client(number: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, number))
    }

    async fn has_to_wait(growing: impl Future<Output = ()>) -> bool {
        tokio::time::timeout(Duration::from_secs(60), growing)
            .await
            .is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn when_a_budget_is_spent_one_may_overdraw_it_and_others_wait() {
        let budget = Budget::new(4 * MIB);
        let mut shares = [1, 2, 3, 4, 5].map(|number| budget.share(client(number)));
        for share in &mut shares[..4] {
            share.grow(MIB).await;
        }
        assert_eq!(budget.used_bytes(), 4 * MIB);
        let [a, .., d, e] = &mut shares;
        d.grow(2 * MIB).await;
        assert!(has_to_wait(e.grow(MIB)).await, "one overdraws already");
        a.shrink(0);
        e.grow(MIB).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_holds_a_half_at_most_however_many_connections_it_has() {
        let budget = Budget::new(8 * MIB);
        let mut greedy: Vec<Share> = (0..5).map(|_| budget.share(client(1))).collect();
        for share in &mut greedy[..4] {
            share.grow(MIB).await;
        }
        greedy[3].grow(2 * MIB).await;
        assert!(has_to_wait(greedy[4].grow(MIB)).await);
        let mut other = budget.share(client(2));
        other.grow(3 * MIB).await;
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_each_hold_some_of_it_do_not_wait_for_each_other_for_ever() {
        let budget = Arc::new(Budget::new(4 * MIB));
        let growing = (0..20).map(|number| {
            let budget = Arc::clone(&budget);
            tokio::spawn(async move {
                let mut share = budget.share(client(number % 3));
                for bytes in [MIB, 2 * MIB, 8 * MIB] {
                    share.grow(bytes).await;
                    tokio::task::yield_now().await;
                }
            })
        });
        for one in growing.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_something_hears_of_those_who_wait_for_it_and_only_of_them() {
        let budget = Arc::new(Budget::new(4 * MIB));
        let mut held = [1, 1, 2, 2].map(|number| budget.share(client(number)));
        for share in &mut held {
            share.grow(MIB).await;
        }
        let mut first = budget.share(client(1));
        first.grow(2 * MIB).await;
        let crowd_of_1 = held[0].crowd();
        let crowd_of_2 = held[2].crowd();
        assert!(!crowd_of_1.is_there());
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.share(client(1)).grow(MIB).await }
        });
        tokio::task::yield_now().await;
        assert!(crowd_of_1.is_there());
        assert!(
            !crowd_of_2.is_there(),
            "it is not 2 who holds what is missing"
        );
        waiting.abort();
        let _ = waiting.await;
        assert!(!crowd_of_1.is_there());
    }

    #[test]
    fn addresses_that_hold_nothing_are_forgotten() {
        let budget = Budget::new(MIB);
        let kept = budget.share(client(0));
        for number in 0..10_000_u32 {
            budget.share(IpAddr::V4(Ipv4Addr::from(number)));
        }
        assert!(budget.addresses.lock().pools.len() <= FIRST_PRUNE + 1);
        drop(kept);
    }
}
