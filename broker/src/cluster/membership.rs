//! This broker's place among others that share a database.
//!
//! A broker may die without a word, or sleep for minutes and wake as if nothing had happened. Neither may hold up others, and
//! the second may not write any more. So each broker has a lease in the database and renews it. What it writes it
//! writes under the epoch of its registration ([`Fence`]), which the database refuses when the lease has ended. Then the broker
//! registers again, with a higher epoch.
//!
//! With its lease a broker tells the version of the metadata that it has followed. Whoever has changed something answers its
//! client when all others have told as much ([`Membership::all_have_seen`]). A broker that tells 0 serves nobody: it has
//! not loaded its metadata yet, cannot follow them, or is about to leave. Others send no client there and do not wait for it.
//!
//! No clock decides about what is right: leases say whom to wait for, the database says who may write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use storage::object::database::{
    Brokers, DatabaseError, Fence, LiveBroker, Registered, Registration,
};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};
use uuid::Uuid;

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

/// See the [module](self).
pub struct Membership {
    database: Arc<dyn Brokers>,
    /// With the id, if that was taken from the database.
    registration: Registration,
    cluster_id: Uuid,
    groups: u16,
    view: Arc<ClusterView>,
    fence: watch::Sender<Option<Fence>>,
    /// The metadata version that others are to be told; 0: this broker serves nobody.
    to_tell: watch::Sender<i64>,
    /// What the database was told last.
    told: watch::Sender<i64>,
    /// What all others that serve have told at least.
    seen_by_others: watch::Sender<i64>,
    /// Who waits for what others have seen.
    waiting: AtomicUsize,
    /// Asks for a look at once.
    look: Notify,
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
        database: Arc<dyn Brokers>,
        mut registration: Registration,
    ) -> Result<Arc<Self>, JoinError> {
        let deadline = Instant::now() + JOINING;
        let (registered, others) = loop {
            let error = match Self::try_to_join(&*database, &registration).await {
                Ok(joined) => break joined,
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
            to_tell: watch::Sender::new(0),
            told: watch::Sender::new(0),
            seen_by_others: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            look: Notify::new(),
            retired: watch::Sender::new(false),
            stopped: watch::Sender::new(false),
        };
        joined.take_in(others);
        Ok(Arc::new(joined))
    }

    async fn try_to_join(
        database: &dyn Brokers,
        registration: &Registration,
    ) -> Result<(Registered, Vec<LiveBroker>), DatabaseError> {
        let registered = within(database.register(registration)).await?;
        Ok((registered, within(database.brokers()).await?))
    }

    /// Keeps the lease, and looks who comes and goes, until the broker leaves. The tasks are the broker's own.
    pub fn keep(self: &Arc<Self>, vital: &Vital) {
        vital.spawn("the lease in the cluster", Arc::clone(self).renew_always());
        vital.spawn("the look at the cluster", Arc::clone(self).look_always());
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

    /// As which broker this one writes; `None` while it is not registered.
    pub fn fence(&self) -> watch::Receiver<Option<Fence>> {
        self.fence.subscribe()
    }

    /// From now on this broker serves: others are told how far it has followed the metadata. Resolves when the database has
    /// been told, and this broker is among those who are there.
    pub async fn serve(self: &Arc<Self>, version: watch::Receiver<Option<i64>>, vital: &Vital) {
        vital.spawn(
            "the metadata version for others",
            Arc::clone(self).tell_always(version),
        );
        let mut told = self.told.subscribe();
        // The sender is `self`'s.
        let _ = told.wait_for(|told| *told > 0).await;
        let mut changes = self.view.watch();
        loop {
            changes.mark_unchanged();
            if self.view.now().broker_ids().any(|id| id == self.me()) {
                return;
            }
            self.look.notify_one();
            let _ = timeout(LOOKS, changes.changed()).await;
        }
    }

    /// Others are to send no clients here any more. Resolves when the database knows, or does not answer.
    pub async fn retire(&self) {
        self.retired.send_replace(true);
        self.to_tell.send_replace(0);
        let mut told = self.told.subscribe();
        let _ = timeout(LEAVING, told.wait_for(|told| *told == 0)).await;
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

    /// Waits until all others that serve have seen a version of the metadata. Who has not for as long as a lease lasts is
    /// waited for no longer.
    pub async fn all_have_seen(&self, version: i64) {
        let mut seen = self.seen_by_others.subscribe();
        let is_seen = |seen: &i64| *seen >= version;
        if is_seen(&seen.borrow()) {
            return;
        }
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
            self.to_tell.send_if_modified(|to_tell| {
                let next = if *self.retired.borrow() { 0 } else { seen };
                std::mem::replace(to_tell, next) != next
            });
            tokio::select! {
                changed = version.changed() => if changed.is_err() {
                    return;
                },
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    async fn renew_always(self: Arc<Self>) {
        let mut to_tell = self.to_tell.subscribe();
        let mut stopped = self.stopped.subscribe();
        let mut lease_until = Instant::now() + LEASE;
        let mut next = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(next) => {}
                Ok(()) = to_tell.changed() => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            let began = Instant::now();
            let version = *to_tell.borrow_and_update();
            let fence = *self.fence.borrow();
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
                    lease_until = began + LEASE;
                    next = match fence {
                        Some(_) => began + RENEWALS,
                        // What is seen is told with the next renewal.
                        None => began,
                    };
                    if fence.is_some() && self.told.send_replace(version) != version {
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
                    if lease_until <= next {
                        self.lose_fence();
                    }
                }
            }
        }
    }

    fn lose_fence(&self) {
        self.fence.send_if_modified(|fence| fence.take().is_some());
        self.told.send_replace(0);
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
        self.fence.send_replace(Some(registered.fence));
        Ok(())
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
            match within(self.database.brokers()).await {
                Ok(brokers) => self.take_in(brokers),
                Err(error) => {
                    log_limited!(warn, "cannot see who is in the cluster: {error}");
                    sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    fn take_in(&self, brokers: Vec<LiveBroker>) {
        let serving = brokers
            .into_iter()
            .filter(|broker| broker.seen_metadata > 0);
        let serving: Vec<LiveBroker> = serving.collect();
        let others = serving
            .iter()
            .filter(|broker| broker.broker_id != self.me());
        let seen = others.map(|broker| broker.seen_metadata).min();
        let seen = seen.unwrap_or(i64::MAX);
        let nodes = serving.into_iter().map(node);
        let members = Members::new(self.me(), nodes.collect(), self.groups);
        let ids = |members: &Members| members.broker_ids().collect::<BTreeSet<_>>();
        let (before, now) = (ids(&self.view.now()), ids(&members));
        if self.view.show(members) && before != now {
            info!(?before, ?now, "the brokers of the cluster have changed");
        }
        // Last: who has waited for others finds them in the view.
        self.seen_by_others
            .send_if_modified(|before| std::mem::replace(before, seen) != seen);
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
