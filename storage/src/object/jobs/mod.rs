//! What keeps the stores small and the starts short, in the background.
//!
//! | job | lease | does |
//! |---|---|---|
//! | `snapshot` | one for each group | writes a group's state as an object, and trims the rows before it |
//! | `retention` | the same | moves log starts, forgets silent producers and deleted partitions |
//! | `merge` | the same | puts what lies in many small objects, or in rows, into few large ones |
//! | `compaction` | one for each group | keeps the last record of each key, by the cleaner that every engine shares |
//! | `orphans` | one | removes objects that nothing refers to |
//!
//! A group is looked after by the broker that leads it, for all clients ([`JobsConfig::leads`]). So the work is shared as
//! evenly as that of clients, and all know whose it is. The others do it when nobody has for as long as a lease.
//!
//! A lease keeps two brokers from doing the same work. It keeps nothing safe: a job changes a group by an entry, like everybody
//! else, and such an entry is refused if what it replaces has changed. What a job reads it reads as a stream, with some tens of
//! MiB in memory, and it breaks off where it stands: objects that are written and not named are orphans.
//!
//! A database that has lost commits shows less than somebody has seen. Then the jobs stop for that group, and nothing is removed
//! for any.

mod compaction;
mod group;
mod merge;
mod object_writer;
mod orphans;
mod retention;
mod snapshot;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet, hash_map};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use object_store::ObjectStore;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::database::{Brokers, DatabaseError, Fence, Head, Jobs, LogGroup, OrderedLog};
use super::entry::PartitionId;
use super::in_flight::InFlight;
use super::read_group::ReadGroupError;
use crate::env::clock::Clock;
use crate::env::sync::Mutex;
use crate::log::{CleanerConfig, LiveConfig, LogConfig};
use group::Group;

/// What topics want of their logs, as far as this broker has followed the metadata.
pub trait Topics: Send + Sync {
    /// `None`: the partition is not known (yet).
    fn config(&self, partition: PartitionId) -> Option<Arc<LogConfig>>;
}

/// Tells whose a group is, as it is known at this broker now.
pub type Leads = Arc<dyn Fn(LogGroup) -> bool + Send + Sync>;

/// What the jobs of a broker do, at one moment. Counts are since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobStats {
    /// Log groups that it looks after.
    pub groups: u64,
    /// Objects that nothing refers to and that are there, and their bytes, when it last looked; zero if others look.
    pub orphans: u64,
    pub orphan_bytes: u64,
    /// That it has removed.
    pub removed: u64,
}

/// How often, and how much.
#[derive(Clone, Debug)]
pub struct JobSettings {
    /// How often to look whether a group has something to do.
    pub tick: Duration,
    /// How long a job is kept from others.
    pub lease: Duration,
    /// `log.retention.check.interval.ms`: how often to look for what is too old or too much, and for orphans.
    pub check_interval: Duration,
    /// `log.initial.task.delay.ms`: how long after the start a broker first looks for what is too old or too much.
    pub initial_delay: Duration,
    /// `ottla.cluster.snapshot.entries`: a start reads no more than about so many rows of a group.
    pub snapshot_entries: i64,
    /// `ottla.cluster.snapshot.interval.ms`: nor rows that are much older than this.
    pub snapshot_interval: Duration,
    /// Objects of which a group needs less than this are merged, in one go at the most some of them.
    pub merge_bytes: u64,
    /// So many are merged even if they are still less than that together.
    pub merge_objects: usize,
    /// Between two merges clients have the stores for themselves.
    pub merge_pause: Duration,
    /// `ottla.cluster.object.bytes`: merged objects are about this large.
    pub object_bytes: u64,
    /// For how long bytes may stay in rows, and a few in each of many objects.
    pub small_age: Duration,
    /// `ottla.cluster.delete.delay.ms`: an object is removed so long after nothing refers to it. Longer than any fetch.
    pub delete_delay: Duration,
    /// `ottla.cluster.orphan.age.ms`: of an object of a broker that is gone.
    pub orphan_age: Duration,
    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: i64,
    /// `log.cleaner.*`
    pub cleaner: CleanerConfig,
    /// A log with less to clean than this waits until it is overdue.
    pub clean_bytes: u64,
}

impl Default for JobSettings {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(5),
            lease: Duration::from_secs(60),
            check_interval: Duration::from_secs(300),
            initial_delay: Duration::from_secs(30),
            snapshot_entries: 1_000,
            snapshot_interval: Duration::from_secs(60),
            merge_bytes: 8 << 20,
            merge_objects: 64,
            merge_pause: Duration::from_millis(20),
            object_bytes: 64 << 20,
            small_age: Duration::from_secs(600),
            delete_delay: Duration::from_secs(600),
            orphan_age: Duration::from_secs(24 * 3600),
            producer_id_expiration_ms: 86_400_000,
            cleaner: CleanerConfig::default(),
            clean_bytes: 1 << 20,
        }
    }
}

/// What the jobs stand on.
#[derive(Clone)]
pub struct JobsConfig {
    pub log: Arc<dyn OrderedLog>,
    pub jobs: Arc<dyn Jobs>,
    pub brokers: Arc<dyn Brokers>,
    pub objects: Arc<dyn ObjectStore>,
    pub groups: u16,
    /// Whether this broker is the one to look after a group.
    pub leads: Leads,
    /// Who this broker is. While it is `None`, nothing is done.
    pub fence: watch::Receiver<Option<Fence>>,
    pub topics: Arc<dyn Topics>,
    /// Shared with whoever else writes objects at this broker.
    pub in_flight: Arc<InFlight>,
    pub clock: Arc<dyn Clock>,
    pub settings: JobSettings,
}

/// Why a job was not done, or not to its end. It is tried again, unless commits are lost or something is damaged.
#[derive(Debug, Error)]
pub(super) enum JobError {
    #[error("the database: {0}")]
    Database(#[from] DatabaseError),
    #[error("the object store: {0}")]
    Objects(#[from] object_store::Error),
    #[error("this broker is not registered in the database")]
    NotRegistered,
    #[error("another broker has the job now")]
    LeaseLost,
    #[error("log group {0} is appended to all the time")]
    Busy(u16),
    /// Somebody else has done the job meanwhile.
    #[error("{0}")]
    Outdated(String),
    /// Nobody can tell any more what came of a commit.
    #[error("{0}")]
    InDoubt(String),
    /// The database has less than it once had.
    #[error("{0}")]
    Lost(String),
    /// What was read cannot be what was written.
    #[error("{0}")]
    Damaged(String),
}

/// What all jobs of a broker share.
pub(super) struct Shared {
    pub config: JobsConfig,
    settings: Mutex<Arc<JobSettings>>,
    /// The last entry of each group that this broker has seen.
    seen: Mutex<HashMap<LogGroup, i64>>,
    /// Groups that cannot go on, and why.
    stopped: Mutex<BTreeMap<LogGroup, String>>,
    /// Logs that cleaning again would not help.
    pub uncleanable: Mutex<HashSet<PartitionId>>,
    pub rows_read: AtomicU64,
    pub stats: Mutex<JobStats>,
    is_stopping: AtomicBool,
}

impl From<ReadGroupError> for JobError {
    fn from(error: ReadGroupError) -> Self {
        match error {
            ReadGroupError::Database(error) => Self::Database(error),
            ReadGroupError::Objects(error) => Self::Objects(error),
            ReadGroupError::Trimmed => Self::Outdated(error.to_string()),
            ReadGroupError::Damaged(what) => Self::Damaged(what),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub fn new(config: JobsConfig) -> Arc<Self> {
        Arc::new(Self {
            settings: Mutex::new(Arc::new(config.settings.clone())),
            config,
            seen: Mutex::default(),
            stopped: Mutex::default(),
            uncleanable: Mutex::default(),
            rows_read: AtomicU64::new(0),
            stats: Mutex::default(),
            is_stopping: AtomicBool::new(false),
        })
    }

    /// Those that are in force.
    pub fn settings(&self) -> Arc<JobSettings> {
        Arc::clone(&self.settings.lock())
    }

    pub fn fence(&self) -> Result<Fence, JobError> {
        (*self.config.fence.borrow()).ok_or(JobError::NotRegistered)
    }

    /// Takes a job, or keeps it.
    pub async fn take(&self, job: &str) -> Result<bool, JobError> {
        let fence = self.fence()?;
        let lease = self.settings().lease;
        Ok(self.config.jobs.take(fence, job, lease).await?)
    }

    /// Takes what has to be done in a group, or keeps it: if it is this broker's to do, or nobody does it.
    async fn take_group(&self, group: LogGroup, job: &str) -> Result<bool, JobError> {
        if (self.config.leads)(group) {
            return self.take(job).await;
        }
        let (fence, lease) = (self.fence()?, self.settings().lease);
        Ok(self.config.jobs.take_idle(fence, job, lease, lease).await?)
    }

    /// Keeps a job, or gives it up.
    pub async fn keep(&self, job: &str) -> Result<(), JobError> {
        match self.take(job).await? {
            true => Ok(()),
            false => Err(JobError::LeaseLost),
        }
    }

    pub fn saw(&self, group: LogGroup, seq: i64) {
        let mut seen = self.seen.lock();
        let seen = seen.entry(group).or_default();
        *seen = (*seen).max(seq);
    }

    pub fn seen(&self) -> Vec<(LogGroup, i64)> {
        let seen = self.seen.lock();
        let mut seen: Vec<_> = seen.iter().map(|(group, seq)| (*group, *seq)).collect();
        seen.sort_unstable();
        seen
    }

    /// Takes note of where a group ends. `seen` is what had been seen before the database was asked: jobs go on side by side, and
    /// while an answer is on its way another may see more.
    ///
    /// # Errors
    /// [`JobError::Lost`]: it has been further.
    pub fn check_head(&self, head: &Head, seen: &[(LogGroup, i64)]) -> Result<(), JobError> {
        let known = seen.iter().find(|(group, _)| *group == head.group);
        let known = known.map_or(0, |(_, seq)| *seq).max(head.snapshot_seq);
        if head.seq < known {
            return Err(self.lost(head, known));
        }
        self.saw(head.group, head.seq);
        Ok(())
    }

    pub fn lost(&self, head: &Head, known_seq: i64) -> JobError {
        let Head { group, seq, .. } = head;
        let what = format!(
            "log group {} ends at entry {seq} and had {known_seq}: the database has lost commits, as one does that answers \
             before its standby has them; restore it, and no broker will write to or remove anything of the group until then",
            group.0
        );
        self.stop(*group, &what);
        JobError::Lost(what)
    }

    fn stop(&self, group: LogGroup, what: &str) {
        let mut stopped = self.stopped.lock();
        if stopped.insert(group, what.to_owned()).is_none() {
            tracing::error!("{what}");
        }
    }

    fn is_stopped(&self, group: LogGroup) -> bool {
        self.stopped.lock().contains_key(&group)
    }

    /// What to do about an error: tell it, and stop the group if it is for good.
    fn tell(&self, job: &str, group: Option<LogGroup>, error: &JobError) {
        match (error, group) {
            (JobError::Lost(what) | JobError::Damaged(what), Some(group)) => self.stop(group, what),
            (
                JobError::NotRegistered
                | JobError::LeaseLost
                | JobError::Busy(_)
                | JobError::Outdated(_),
                _,
            ) => tracing::debug!("{job}: {error}"),
            _ => tracing::warn!("{job}: {error}; it is tried again"),
        }
    }

    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    fn all_groups(&self) -> Vec<LogGroup> {
        (0..self.config.groups).map(LogGroup).collect()
    }
}

/// The jobs of a broker. They end when it is dropped.
#[derive(Debug)]
pub struct JobRunner {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    runtime: Handle,
}

impl JobRunner {
    /// Starts them on the threads of a runtime.
    pub fn start(config: JobsConfig, runtime: &Handle) -> Self {
        let shared = Shared::new(config);
        let stop = watch::Sender::new(false);
        let spawn = |job: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            let mut stopped = stop.subscribe();
            runtime.spawn(async move {
                tokio::select! {
                    biased;
                    // An error is a runner that is gone.
                    _ = stopped.wait_for(|stop| *stop) => {}
                    () = job => {}
                }
            });
        };
        let (due, dues) = mpsc::channel(1);
        spawn(Box::pin(tidy_for_ever(Arc::clone(&shared), due)));
        spawn(Box::pin(orphans::declare_for_ever(Arc::clone(&shared))));
        spawn(Box::pin(orphans::sweep_for_ever(Arc::clone(&shared))));
        if shared.settings().cleaner.enabled {
            spawn(Box::pin(compaction::clean_for_ever(
                Arc::clone(&shared),
                dues,
            )));
        }
        Self {
            shared,
            stop,
            runtime: runtime.clone(),
        }
    }

    /// Goes by other settings from now on. Whether logs are compacted does not change.
    pub fn change(&self, live: &LiveConfig) {
        let mut settings = self.shared.settings.lock();
        let mut next = JobSettings::clone(&settings);
        next.producer_id_expiration_ms = live.producer_id_expiration_ms;
        next.cleaner.clone_from(&live.cleaner);
        *settings = Arc::new(next);
    }

    /// Why jobs have stopped for good, for whoever asks how the store does; `None` if they have not.
    pub fn trouble(&self) -> Option<String> {
        self.shared.stopped.lock().values().next().cloned()
    }

    pub fn stats(&self) -> JobStats {
        *self.shared.stats.lock()
    }

    /// Removes what is left of topics that the metadata has deleted: a broker may have died before it told the log groups.
    pub fn sweep(&self, deleted: Vec<Uuid>, done: Box<dyn FnOnce() + Send>) {
        let shared = Arc::clone(&self.shared);
        let mut stopped = self.stop.subscribe();
        self.runtime.spawn(async move {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => {}
                () = retention::delete_topics(&shared, &deleted) => done(),
            }
        });
    }
}

impl Drop for JobRunner {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        self.stop.send_replace(true);
    }
}

/// Snapshots, retention and merges of all groups, one after the other.
async fn tidy_for_ever(shared: Arc<Shared>, due: mpsc::Sender<compaction::Due>) {
    let mut followed: HashMap<LogGroup, Group> = HashMap::new();
    let mut tended: HashMap<LogGroup, snapshot::Tended> = HashMap::new();
    let mut checked_at: HashMap<LogGroup, Instant> = HashMap::new();
    let started_at = Instant::now();
    loop {
        tokio::time::sleep(shared.settings().tick).await;
        let seen = shared.seen();
        let heads = match shared.config.log.heads(&shared.all_groups()).await {
            Ok(heads) => heads,
            Err(error) => {
                shared.tell("jobs", None, &error.into());
                continue;
            }
        };
        for head in heads {
            if let Err(error) = shared.check_head(&head, &seen) {
                shared.tell("jobs", Some(head.group), &error);
            }
            if shared.is_stopped(head.group) || head.seq == 0 {
                continue;
            }
            let settings = shared.settings();
            let is_check_due = match checked_at.get(&head.group) {
                Some(last) => last.elapsed() >= settings.check_interval,
                None => started_at.elapsed() >= settings.initial_delay,
            };
            if head.seq == head.snapshot_seq && !is_check_due {
                continue;
            }
            let tended = tended
                .entry(head.group)
                .or_insert_with(snapshot::Tended::new);
            match tidy(&shared, &head, &mut followed, tended, is_check_due, &due).await {
                Ok(_) if is_check_due => {
                    checked_at.insert(head.group, Instant::now());
                }
                Ok(_) => {}
                Err(error) => {
                    followed.remove(&head.group);
                    shared.tell("jobs", Some(head.group), &error);
                }
            }
            shared.stats.lock().groups = followed.len() as u64;
        }
    }
}

/// Looks after one group; false if that is another broker's job.
async fn tidy(
    shared: &Arc<Shared>,
    head: &Head,
    followed: &mut HashMap<LogGroup, Group>,
    tended: &mut snapshot::Tended,
    is_check_due: bool,
    due: &mpsc::Sender<compaction::Due>,
) -> Result<bool, JobError> {
    let job = format!("tidy/{}", head.group.0);
    if !shared.take_group(head.group, &job).await? {
        followed.remove(&head.group);
        return Ok(false);
    }
    let group = match followed.entry(head.group) {
        hash_map::Entry::Occupied(followed) => followed.into_mut(),
        hash_map::Entry::Vacant(place) => place.insert(Group::load(shared, head.group).await?),
    };
    group.catch_up().await?;
    tended.settle(shared, group.snapshot_seq);
    if is_check_due {
        retention::enforce(shared, group).await?;
    }
    merge::merge_all(shared, group, &job, tended.merges_small(shared)).await?;
    snapshot::write_if_due(shared, group, tended).await?;
    // While a log is cleaned none is looked for.
    if let Ok(place) = due.try_reserve() {
        let now_ms = shared.config.clock.now_ms();
        let (topics, settings) = (&*shared.config.topics, shared.settings());
        let uncleanable = shared.uncleanable.lock().clone();
        if let Some(log) = compaction::due(&group.state, topics, &settings, now_ms, &uncleanable) {
            place.send((head.group, log));
        }
    }
    Ok(true)
}
