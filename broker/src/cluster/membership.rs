//! This broker's place among others that share a database.
//!
//! A broker may die without a word, or sleep for minutes and wake as if nothing had happened. Neither may hold up others, and
//! the second may not write any more. So each broker has a lease in the database and renews it. What it writes it
//! writes under the epoch of its registration ([`Fence`]), which the database refuses when the lease has ended. Then the broker
//! registers again, with a higher epoch.
//!
//! With its lease a broker tells the version of the metadata that it has followed. Whoever has changed something answers its
//! client when all others have told as much ([`Membership::all_have_seen`]). What was changed while a broker was not there, nobody
//! has waited for. So it comes in two steps, at its start and whenever it registers again:
//!
//! | it tells | others | until |
//! |---|---|---|
//! | 0 | neither wait for it nor send clients there | it has loaded its metadata |
//! | its version, negative | wait for it, and list it | it has followed what was there when this had been told, and all list it |
//! | its version | send clients there, too | it cannot follow the metadata, or is about to leave: then it tells 0 |
//!
//! A client asks now this broker, now that one. If one names a leader that the next one does not list, librdkafka takes the
//! partition for one that does not exist. Brokers look at different moments who is there. So a broker is listed before it
//! leads (`LISTED_BEFORE`), and after it has led (`LISTED_AFTER`), for longer than it takes until all have looked.
//!
//! No clock decides about what is right: leases say whom to wait for, the database says who may write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use storage::object::database::{
    Database, DatabaseError, Fence, LiveBroker, Registered, Registration,
};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};
use uuid::Uuid;

use crate::clock::system_ms;
use crate::cluster::view::{ClusterView, Members, Node};
use crate::config::HostPort;
use crate::log_limited;
use crate::vital::Vital;

/// How long a broker that says nothing is believed to be there.
pub const LEASE: Duration = Duration::from_secs(10);
/// How often a lease is renewed.
const RENEWALS: Duration = Duration::from_millis(10_000 / 3);
/// How often it is looked who is there.
const LOOKS: Duration = Duration::from_millis(250);
/// The same while somebody waits for what others have seen.
const LOOKS_AWAITED: Duration = Duration::from_millis(10);
/// How long a broker that comes is listed before it leads.
pub(super) const LISTED_BEFORE: Duration = LOOKS.saturating_mul(2);
/// How long a broker that goes is listed after it has led.
pub(super) const LISTED_AFTER: Duration = LOOKS.saturating_mul(4);
/// How often clocks are compared.
const CLOCK_LOOKS: Duration = Duration::from_secs(10);
/// How far the clocks of this machine and of the database may be apart before somebody is told.
const CLOCKS_APART_MS: i64 = 60_000;
/// How long to wait after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// How long one question to the database may take.
const ANSWERS: Duration = Duration::from_secs(3);
/// How long a broker tries to join: another process under its id may have just died, or the database be about to start.
const JOINING: Duration = Duration::from_secs(30);
/// How long a broker that stops waits for the database.
const LEAVING: Duration = Duration::from_secs(2);

/// The broker could not join.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot join the cluster: {0}")]
pub struct JoinError(pub DatabaseError);

/// What a broker has told others, see the [module](self).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    fence: Option<Fence>,
    version: i64,
}

/// What others have seen of the metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// The look that has found it.
    look: u64,
    /// The version that all others that are waited for have told at least.
    version: i64,
}

/// See the [module](self).
pub struct Membership {
    database: Arc<dyn Database>,
    /// With the id, if that was taken from the database.
    registration: Registration,
    cluster_id: Uuid,
    groups: u16,
    view: Arc<ClusterView>,
    fence: watch::Sender<Option<Fence>>,
    /// When the lease ends, if it is not renewed.
    lease_until: Mutex<Instant>,
    /// How far the database's clock is ahead of this machine's; negative: behind it.
    database_ahead_ms: AtomicI64,
    /// How often this broker has registered.
    registrations: AtomicU64,
    /// The metadata version that this broker has followed, for others; 0: it serves nobody.
    followed: watch::Sender<i64>,
    /// Under which fence it has followed everything that nobody has waited for.
    caught_up: watch::Sender<Option<Fence>>,
    /// What the database was told last.
    told: watch::Sender<Told>,
    seen_by_others: watch::Sender<Seen>,
    /// How often it was looked who is there.
    looks: AtomicU64,
    /// Who waits for what others have seen.
    waiting: AtomicUsize,
    /// Asks for a look at once.
    look: Notify,
    /// Who has served, and when that was seen last. Those who have not for [`LISTED_AFTER`] are missing.
    served: Mutex<Vec<(Instant, Node)>>,
    /// The broker is about to leave, and others are to be sent no clients any more.
    retired: watch::Sender<bool>,
    stopped: watch::Sender<bool>,
}

impl Membership {
    /// Registers this broker, and looks who else is there. It serves nobody yet.
    ///
    /// # Errors
    /// The database refuses it, or it has not been possible for half a minute.
    pub async fn join(
        database: Arc<dyn Database>,
        mut registration: Registration,
    ) -> Result<Arc<Self>, JoinError> {
        let deadline = Instant::now() + JOINING;
        let (registered, others, lease_until) = loop {
            let lease_until = Instant::now() + LEASE;
            let error = match Self::try_to_join(&*database, &registration).await {
                Ok((registered, others)) => break (registered, others, lease_until),
                Err(error @ DatabaseError::Refused(_)) => return Err(JoinError(error)),
                Err(error) if Instant::now() >= deadline => return Err(JoinError(error)),
                Err(error) => error,
            };
            log_limited!(warn, "cannot join the cluster yet: {error}");
            sleep(AFTER_FAILURE).await;
        };
        let me = registered.fence.broker_id;
        registration.broker_id = Some(me);
        let joined = Self {
            database,
            registration,
            cluster_id: registered.cluster_id,
            groups: registered.groups,
            view: Arc::new(ClusterView::of(Members::new(
                me,
                Vec::new(),
                registered.groups,
            ))),
            fence: watch::Sender::new(Some(registered.fence)),
            lease_until: Mutex::new(lease_until),
            database_ahead_ms: AtomicI64::new(0),
            registrations: AtomicU64::new(1),
            followed: watch::Sender::new(0),
            caught_up: watch::Sender::new(None),
            told: watch::Sender::default(),
            seen_by_others: watch::Sender::default(),
            looks: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            look: Notify::new(),
            served: Mutex::default(),
            retired: watch::Sender::new(false),
            stopped: watch::Sender::new(false),
        };
        joined.take_in(0, others);
        Ok(Arc::new(joined))
    }

    async fn try_to_join(
        database: &dyn Database,
        registration: &Registration,
    ) -> Result<(Registered, Vec<LiveBroker>), DatabaseError> {
        let registered = within(database.register(registration)).await?;
        Ok((registered, within(database.brokers()).await?))
    }

    /// Keeps the lease, and looks who comes and goes, until the broker leaves. The tasks are the broker's own.
    pub fn keep(self: &Arc<Self>, vital: &Vital) {
        vital.spawn("the lease in the cluster", Arc::clone(self).renew_always());
        vital.spawn("the look at the cluster", Arc::clone(self).look_always());
        let comparing = Arc::clone(self).compare_clocks_always();
        vital.spawn("the look at the clocks", comparing);
    }

    /// This broker's id.
    pub fn me(&self) -> i32 {
        self.view.me()
    }

    /// The cluster, as the database knows it.
    pub fn cluster_id(&self) -> Uuid {
        self.cluster_id
    }

    /// How many log groups the cluster has.
    pub fn groups(&self) -> u16 {
        self.groups
    }

    /// Who is there.
    pub fn view(&self) -> &Arc<ClusterView> {
        &self.view
    }

    /// The ids of all brokers of the cluster, also of those that are not there now.
    ///
    /// # Errors
    /// The database does not tell.
    pub(crate) async fn registered(&self) -> Result<BTreeSet<i32>, DatabaseError> {
        Ok(within(self.database.registered())
            .await?
            .into_iter()
            .collect())
    }

    /// As which broker this one writes; `None` while it is not registered.
    pub fn fence(&self) -> watch::Receiver<Option<Fence>> {
        self.fence.subscribe()
    }

    /// How long this broker's lease lasts unless it is renewed.
    pub fn lease_left(&self) -> Duration {
        match *self.fence.borrow() {
            Some(_) => self
                .lease_until
                .lock()
                .saturating_duration_since(Instant::now()),
            None => Duration::ZERO,
        }
    }

    /// How often this broker has registered: more than once, if it was taken for dead.
    pub fn registrations(&self) -> u64 {
        self.registrations.load(Ordering::Relaxed)
    }

    /// This broker begins to serve: others are told how far it has followed the metadata. Resolves when it has followed what
    /// was there before, and is among those who are there.
    pub async fn serve(self: &Arc<Self>, version: watch::Receiver<Option<i64>>, vital: &Vital) {
        vital.spawn(
            "the metadata version for others",
            Arc::clone(self).tell_always(version.clone()),
        );
        vital.spawn(
            "the catching up after a registration",
            Arc::clone(self).catch_up_always(version),
        );
        let mut told = self.told.subscribe();
        // The sender is `self`'s.
        let _ = told.wait_for(|told| told.version > 0).await;
        let mut changes = self.view.watch();
        loop {
            changes.mark_unchanged();
            if self.view.now().has_me() {
                return;
            }
            self.look.notify_one();
            let _ = timeout(LOOKS, changes.changed()).await;
        }
    }

    /// Others are to send no clients here any more. Resolves when the database knows, or does not answer.
    pub async fn retire(&self) {
        self.retired.send_replace(true);
        self.followed.send_replace(0);
        let mut told = self.told.subscribe();
        let _ = timeout(LEAVING, told.wait_for(|told| told.version == 0)).await;
    }

    /// Gives up the lease. Nothing is to be written any more.
    pub async fn leave(&self) {
        self.stopped.send_replace(true);
        let Some(fence) = self.fence.send_replace(None) else {
            return;
        };
        match timeout(LEAVING, self.database.leave(fence)).await {
            Ok(Ok(())) => info!(broker_id = self.me(), "left the cluster"),
            // The lease ends by itself.
            Ok(Err(error)) => warn!(%error, "could not leave the cluster in order"),
            Err(_) => warn!("could not leave the cluster in order: the database does not answer"),
        }
    }

    /// Ends as if the process had died.
    #[cfg(test)]
    pub(crate) fn die(&self) {
        self.stopped.send_replace(true);
    }

    /// How far the database's clock is ahead of this machine's, at least; negative: behind it.
    pub fn database_ahead_ms(&self) -> i64 {
        self.database_ahead_ms.load(Ordering::Relaxed)
    }

    /// What somebody should know of this machine's clock, or the database's. All that goes by a clock goes wrong by as much, and the
    /// broker goes on: nothing is lost or doubled by that.
    pub fn clock_trouble(&self) -> Option<String> {
        let ahead_ms = self.database_ahead_ms();
        let seconds = ahead_ms.unsigned_abs() / 1000;
        let how = match ahead_ms > 0 {
            true => "behind",
            false => "ahead of",
        };
        (ahead_ms.abs() > CLOCKS_APART_MS).then(|| {
            format!(
                "the clock of this machine is {seconds} s {how} that of the cluster's database: \
                 timestamps of records and retention go by the first"
            )
        })
    }

    /// Waits until all others that are there now have seen a version of the metadata. Who has not for as long as a lease lasts
    /// is waited for no longer.
    pub async fn all_have_seen(&self, version: i64) {
        let mut seen = self.seen_by_others.subscribe();
        // An earlier look does not know of a broker that has come since.
        let earlier = self.looks.load(Ordering::Acquire);
        let is_seen = |seen: &Seen| seen.look > earlier && seen.version >= version;
        let _waiting = Waiting::of(&self.waiting);
        self.look.notify_one();
        if timeout(LEASE, seen.wait_for(is_seen)).await.is_err() {
            log_limited!(
                warn,
                "a change of metadata was not followed by all brokers within {LEASE:?}"
            );
        }
    }

    async fn tell_always(self: Arc<Self>, mut version: watch::Receiver<Option<i64>>) {
        let mut stopped = self.stopped.subscribe();
        loop {
            // Of a cluster in which nobody has written anything yet, too, it has seen everything.
            let seen = version
                .borrow_and_update()
                .map_or(0, |version| version.max(1));
            self.followed.send_if_modified(|followed| {
                let next = if *self.retired.borrow() { 0 } else { seen };
                std::mem::replace(followed, next) != next
            });
            tokio::select! {
                changed = version.changed() => if changed.is_err() {
                    return;
                },
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    /// Follows what nobody has waited for, once for each registration.
    async fn catch_up_always(self: Arc<Self>, mut version: watch::Receiver<Option<i64>>) {
        let mut told = self.told.subscribe();
        let mut stopped = self.stopped.subscribe();
        loop {
            let caught_up = async {
                // From then on others wait for this broker.
                let fence = told.wait_for(|told| told.version < 0).await.ok()?.fence;
                let newest = within(self.database.version()).await;
                let newest = newest.map_err(|error| {
                    log_limited!(warn, "cannot see how far the metadata are: {error}");
                });
                if let Ok(newest) = newest {
                    // `None`: the broker cannot follow, and has said why.
                    let is_there = |version: &Option<i64>| version.is_none_or(|at| at >= newest);
                    version.wait_for(is_there).await.ok()?;
                    if self.view.now().broker_count() > 0 {
                        sleep(LISTED_BEFORE).await;
                    }
                    self.caught_up.send_replace(fence);
                    let is_over = |told: &Told| told.version >= 0 || told.fence != fence;
                    told.wait_for(is_over).await.ok()?;
                } else {
                    sleep(AFTER_FAILURE).await;
                }
                Some(())
            };
            tokio::select! {
                going_on = caught_up => if going_on.is_none() {
                    return;
                },
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    async fn renew_always(self: Arc<Self>) {
        let mut followed = self.followed.subscribe();
        let mut caught_up = self.caught_up.subscribe();
        let mut stopped = self.stopped.subscribe();
        let mut next = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(next) => {}
                Ok(()) = followed.changed() => {}
                Ok(()) = caught_up.changed() => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            let began = Instant::now();
            let fence = *self.fence.borrow();
            let version = match (
                *followed.borrow_and_update(),
                *caught_up.borrow_and_update(),
            ) {
                (followed, caught_up) if caught_up == fence => followed,
                (followed, _) => -followed,
            };
            let renewed = async {
                match fence {
                    Some(fence) => within(self.database.renew(fence, LEASE, version)).await,
                    None => self.register_again().await,
                }
            };
            let renewed = tokio::select! {
                renewed = renewed => renewed,
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            match renewed {
                Ok(()) => {
                    *self.lease_until.lock() = began + LEASE;
                    next = match fence {
                        Some(_) => began + RENEWALS,
                        // What is seen is told with the next renewal.
                        None => began,
                    };
                    let told = Told { fence, version };
                    if fence.is_some() && self.told.send_replace(told) != told {
                        self.look.notify_one();
                    }
                }
                Err(DatabaseError::Fenced) => {
                    log_limited!(
                        warn,
                        "this broker was taken for dead, or another process has its id; it registers again"
                    );
                    self.lose_fence();
                    next = began;
                }
                Err(error) => {
                    log_limited!(
                        warn,
                        "the lease in the cluster could not be renewed: {error}"
                    );
                    next = Instant::now() + AFTER_FAILURE;
                    if *self.lease_until.lock() <= next {
                        self.lose_fence();
                    }
                }
            }
        }
    }

    fn lose_fence(&self) {
        self.fence.send_if_modified(|fence| fence.take().is_some());
        self.told.send_replace(Told::default());
    }

    async fn register_again(&self) -> Result<(), DatabaseError> {
        let registered = within(self.database.register(&self.registration)).await?;
        if *self.stopped.borrow() {
            return Ok(());
        }
        info!(
            broker_id = self.me(),
            broker_epoch = registered.fence.broker_epoch,
            "registered again"
        );
        self.registrations.fetch_add(1, Ordering::Relaxed);
        self.fence.send_replace(Some(registered.fence));
        Ok(())
    }

    async fn compare_clocks_always(self: Arc<Self>) {
        let mut stopped = self.stopped.subscribe();
        loop {
            let before_ms = system_ms();
            // The others tell when the database does not answer.
            if let Ok(there_ms) = within(self.database.clock_ms()).await {
                let after_ms = system_ms();
                // As long as the answer was on its way they may be apart by less than it seems.
                let ahead_ms = (there_ms - after_ms).max(0) + (there_ms - before_ms).min(0);
                self.database_ahead_ms.store(ahead_ms, Ordering::Relaxed);
                if let Some(trouble) = self.clock_trouble() {
                    log_limited!(warn, "{trouble}");
                }
            }
            tokio::select! {
                () = sleep(CLOCK_LOOKS) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    async fn look_always(self: Arc<Self>) {
        let mut stopped = self.stopped.subscribe();
        loop {
            let pause = match self.waiting.load(Ordering::Relaxed) {
                0 => LOOKS,
                _ => LOOKS_AWAITED,
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.look.notified() => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            let look = self.looks.fetch_add(1, Ordering::AcqRel) + 1;
            match within(self.database.brokers()).await {
                Ok(brokers) => self.take_in(look, brokers),
                Err(error) => {
                    log_limited!(warn, "cannot see who is in the cluster: {error}");
                    sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    fn take_in(&self, look: u64, brokers: Vec<LiveBroker>) {
        let others = brokers
            .iter()
            .filter(|broker| broker.seen_metadata != 0 && broker.broker_id != self.me());
        let version = others.map(|broker| broker.seen_metadata.saturating_abs());
        let version = version.min().unwrap_or(i64::MAX);
        let seen = Seen { look, version };
        let awaited = brokers
            .into_iter()
            .filter(|broker| broker.seen_metadata != 0);
        let (serving, coming): (Vec<_>, Vec<_>) =
            awaited.partition(|broker| broker.seen_metadata > 0);
        let serving: Vec<Node> = serving.into_iter().map(node).collect();
        let mut listed: Vec<Node> = coming.into_iter().map(node).collect();
        listed.extend(self.have_served(&serving));
        let before = self.view.now();
        if self.view.follow(serving, listed, self.groups) {
            let ids = |members: &Members| members.broker_ids().collect::<BTreeSet<_>>();
            let (before, now) = (ids(&before), ids(&self.view.now()));
            if before != now {
                info!(?before, ?now, "the brokers of the cluster have changed");
            }
        }
        // Last: who has waited for others finds them in the view.
        self.seen_by_others
            .send_if_modified(|before| std::mem::replace(before, seen) != seen);
    }

    /// Those who serve now or did a moment ago.
    fn have_served(&self, serving: &[Node]) -> Vec<Node> {
        let now = Instant::now();
        let mut served = self.served.lock();
        served.retain(|(seen, node)| {
            now - *seen < LISTED_AFTER && serving.iter().all(|serving| serving.id != node.id)
        });
        served.extend(serving.iter().map(|node| (now, node.clone())));
        served.iter().map(|(_, node)| node.clone()).collect()
    }
}

fn node(broker: LiveBroker) -> Node {
    let endpoints = broker.endpoints.into_iter().map(|endpoint| {
        let address = HostPort {
            host: endpoint.host,
            port: endpoint.port,
        };
        (endpoint.listener, address)
    });
    Node {
        id: broker.broker_id,
        rack: broker.rack.map(Arc::from),
        endpoints: BTreeMap::from_iter(endpoints),
    }
}

/// Waits for an answer, but not for ever: a connection may be dead without anybody noticing.
async fn within<T>(
    answer: impl Future<Output = Result<T, DatabaseError>>,
) -> Result<T, DatabaseError> {
    let silent = || {
        let what = format!("the database has not answered for {ANSWERS:?}");
        Err(DatabaseError::InDoubt(what))
    };
    timeout(ANSWERS, answer).await.unwrap_or_else(|_| silent())
}

/// Somebody waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn of(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
