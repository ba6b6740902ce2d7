//! What the parts of the engine share.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::barriers::Barriers;
use super::cache::Cache;
use super::config::ObjectConfig;
use super::database::{Fence, LogGroup, log_group_of};
use super::entry::{ObjectId, PartitionId};
use super::fetcher::Fetcher;
use super::group::{Checked, Doubt, Group, Inner, Submission, duplicate};
use super::jobs::JobStats;
use super::log_configs::LogConfigs;
use super::pending::{Outcome, Pending};
use super::write_buffer::WriteBuffer;
use crate::env::sync::Mutex;
use crate::log::cold_budget::ColdBudget;
use crate::log::stats::{LatencyHistogram, ObjectStats};
use crate::log::{AppendError, StorageError, TopicPartition};

pub(super) struct Engine {
    pub config: ObjectConfig,
    pub runtime: Handle,
    pub groups: Vec<Arc<Group>>,
    pub log_configs: Arc<LogConfigs>,
    pub cache: Cache,
    pub fetcher: Arc<Fetcher>,
    pub cold_reads: ColdBudget,
    pub buffer: Mutex<WriteBuffer>,
    /// The buffer may be due.
    pub buffered: Notify,
    /// Batches that went inline and are not answered.
    pub inline_in_flight: AtomicUsize,
    /// Something is ready to be committed.
    pub ready: Notify,
    /// Batches of each object that are not answered.
    unsettled: Mutex<HashMap<ObjectId, usize>>,
    /// Something was answered: for whoever waits until all is.
    pub settled: Notify,
    pub barriers: Barriers,
    /// Bytes between `reserve` and the answer.
    pub room: Arc<Semaphore>,
    pub verifies_transactions: AtomicBool,
    pub failed: watch::Sender<Option<StorageError>>,
    /// No batch is let in any more.
    pub is_closing: AtomicBool,
    /// Every task ends.
    pub stop: watch::Sender<bool>,
    /// Why the object store did not answer when it was looked at.
    pub objects_trouble: Mutex<Option<String>>,
    /// What uploads and commits wait for now, in words.
    pub waits_for_objects: Mutex<Option<String>>,
    pub waits_for_database: Mutex<Option<String>>,
    pub counters: Counters,
}

/// What the engine counts. See [`crate::log::stats::ObjectStats`].
#[derive(Default)]
pub(super) struct Counters {
    pub uploads: LatencyHistogram,
    pub commits: LatencyHistogram,
    pub rows: AtomicU64,
    pub inline_bytes: AtomicU64,
    pub conflicts: AtomicU64,
    pub in_doubt: AtomicU64,
    pub fenced: AtomicU64,
    pub followed_rows: AtomicU64,
    /// When it was last asked what is new in the groups in use, and answered.
    pub followed_at: Mutex<Option<Instant>>,
}

impl Counters {
    pub fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

impl Engine {
    pub fn new(mut config: ObjectConfig, runtime: Handle) -> Arc<Self> {
        // All that is buffered may come to be in one object, and positions in it are 32 bits.
        config.buffer_bytes = config.buffer_bytes.min(1 << 30);
        let (objects, log) = (Arc::clone(&config.objects) as _, Arc::clone(&config.log));
        let groups = 0..config.groups.max(1);
        let buffer = WriteBuffer::new(config.flush, config.flush_bytes, config.inline_bytes);
        Arc::new(Self {
            groups: groups.map(|group| Group::new(LogGroup(group))).collect(),
            log_configs: Arc::default(),
            cache: Cache::new(config.cache_bytes),
            fetcher: Fetcher::new(objects, log, runtime.clone()),
            cold_reads: ColdBudget::new(config.cold_bytes),
            buffer: Mutex::new(buffer),
            buffered: Notify::new(),
            inline_in_flight: AtomicUsize::new(0),
            ready: Notify::new(),
            unsettled: Mutex::new(HashMap::new()),
            settled: Notify::new(),
            barriers: Barriers::default(),
            room: Arc::new(Semaphore::new(config.buffer_bytes)),
            verifies_transactions: AtomicBool::new(true),
            failed: watch::Sender::new(None),
            is_closing: AtomicBool::new(false),
            stop: watch::Sender::new(false),
            objects_trouble: Mutex::new(None),
            waits_for_objects: Mutex::new(None),
            waits_for_database: Mutex::new(None),
            counters: Counters::default(),
            runtime,
            config,
        })
    }

    /// Lets a task run until it ends or the store does.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut stop = self.stop.subscribe();
        self.runtime.spawn(async move {
            tokio::select! {
                biased;
                // An error is an engine that is gone.
                _ = stop.wait_for(|stop| *stop) => {}
                () = task => {}
            }
        });
    }

    pub fn group_of(&self, id: &PartitionId) -> &Arc<Group> {
        let LogGroup(group) = log_group_of(id.topic_id, id.partition, self.config.groups);
        &self.groups[usize::from(group)]
    }

    pub fn group(&self, id: LogGroup) -> Option<&Arc<Group>> {
        self.groups.get(usize::from(id.0))
    }

    pub fn now_ms(&self) -> i64 {
        self.config.clock.now_ms()
    }

    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// Waits until this broker may write.
    pub async fn fence(&self) -> Fence {
        self.fence_but(None).await
    }

    /// Waits until this broker has another fence than one that was refused.
    pub async fn fence_but(&self, refused: Option<Fence>) -> Fence {
        let mut fences = self.config.fence.clone();
        loop {
            let fence = *fences.borrow_and_update();
            match fence {
                Some(fence) if Some(fence) != refused => return fence,
                _ => {
                    let what = "this broker is not registered in the database".to_owned();
                    *self.waits_for_database.lock() = Some(what);
                    if fences.changed().await.is_err() {
                        // Nobody will register any more.
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }

    /// The engine cannot go on.
    pub fn fail(&self, what: &str) {
        tracing::error!("{what}");
        self.failed.send_if_modified(|failed| {
            let is_first = failed.is_none();
            failed.get_or_insert_with(|| StorageError(what.to_owned()));
            is_first
        });
    }

    /// Submits a batch; `waiting` hears what comes of it, now or later.
    ///
    /// # Errors
    /// It is refused at once.
    pub fn submit(
        self: &Arc<Self>,
        group: &Arc<Group>,
        inner: &mut Inner,
        submission: Submission,
        waiting: oneshot::Sender<Outcome>,
    ) -> Result<(), AppendError> {
        match inner.check(&submission, self.now_ms())? {
            Checked::Append => {
                let pending = submission.into_pending(None);
                pending.add_waiting(waiting);
                self.enqueue(inner, pending);
            }
            Checked::Duplicate(appended) => {
                // Whoever has gone away does not need it.
                let _ = waiting.send(duplicate(appended));
            }
            Checked::Follow(pending) => pending.add_waiting(waiting),
            Checked::Doubtful(_) => {
                inner.doubts.push(Doubt {
                    submission,
                    waiting,
                });
                if !std::mem::replace(&mut inner.is_clearing_doubts, true) {
                    let (engine, group) = (Arc::clone(self), Arc::clone(group));
                    self.spawn(async move { engine.clear_doubts(&group).await });
                }
            }
        }
        Ok(())
    }

    /// Puts a batch or a change into its group's queue, whose lock the caller has, and a batch into the write buffer.
    pub fn enqueue(&self, inner: &mut Inner, pending: Arc<Pending>) {
        inner.push(Arc::clone(&pending));
        if pending.is_ready() {
            self.ready.notify_one();
        } else if let Some(batch) = pending.batch() {
            let bytes = batch.stored.len();
            self.buffer.lock().push(pending, bytes, Instant::now());
            self.buffered.notify_one();
        }
    }

    /// Wants a change of a partition; resolves when it is committed.
    pub fn change(
        self: &Arc<Self>,
        partition: &TopicPartition,
        want: super::plan::Want,
    ) -> oneshot::Receiver<Outcome> {
        let group = self.group_of(&PartitionId::from(partition));
        let work = super::pending::Work::Change(want);
        let pending = Pending::new(partition.clone(), work, None, None);
        let outcome = pending.outcome();
        let mut inner = group.lock();
        match group.is_broken() || self.is_closing() {
            true => {
                drop(inner);
                let what = group.trouble().unwrap_or_else(closed_text);
                pending.settle(Err(AppendError::Storage(what)));
            }
            false => {
                self.enqueue(&mut inner, pending);
                drop(inner);
                self.load(group);
            }
        }
        outcome
    }

    /// Puts the parts of a joint append into the write buffer, all at once, so that they leave it together. The caller has put them
    /// into their queues, whose locks it holds.
    pub fn buffer_together(&self, parts: Vec<Arc<Pending>>) {
        let mut buffer = self.buffer.lock();
        let now = Instant::now();
        for pending in parts {
            if let Some(batch) = pending.batch()
                && !pending.is_ready()
            {
                let bytes = batch.stored.len();
                buffer.push(pending, bytes, now);
            }
        }
        drop(buffer);
        self.buffered.notify_one();
        self.ready.notify_one();
    }

    /// So many batches know an object by its name.
    pub fn name_object(&self, object: ObjectId, batches: usize) {
        self.unsettled.lock().insert(object, batches);
    }

    /// A batch of the object is in the log, or never will be with these bytes.
    pub fn settle_batch_of(&self, object: ObjectId) {
        let mut unsettled = self.unsettled.lock();
        if let Some(batches) = unsettled.get_mut(&object) {
            *batches -= 1;
            if *batches == 0 {
                unsettled.remove(&object);
                self.config.in_flight.settle(&object);
            }
        }
    }

    /// Looks whether batches that did not fit do so with what others have written meanwhile.
    async fn clear_doubts(self: &Arc<Self>, group: &Arc<Group>) {
        loop {
            let doubts = {
                let mut inner = group.lock();
                if inner.doubts.is_empty() {
                    inner.is_clearing_doubts = false;
                    return;
                }
                std::mem::take(&mut inner.doubts)
            };
            let known = self.barrier(group.id).await;
            let mut inner = group.lock();
            // One that cannot be read is not known to its end, whatever the barrier says of the others.
            let known = group.trouble().map_or(known, Err);
            for Doubt {
                submission,
                waiting,
            } in doubts
            {
                let checked = match &known {
                    Ok(()) => inner.check(&submission, self.now_ms()),
                    Err(what) => Err(AppendError::Storage(what.clone())),
                };
                match checked {
                    Ok(Checked::Append) => {
                        let pending = submission.into_pending(None);
                        pending.add_waiting(waiting);
                        self.enqueue(&mut inner, pending);
                    }
                    Ok(Checked::Follow(pending)) => pending.add_waiting(waiting),
                    Ok(Checked::Duplicate(appended)) => {
                        let _ = waiting.send(duplicate(appended));
                    }
                    Ok(Checked::Doubtful(error)) | Err(error) => {
                        let _ = waiting.send(Err(error));
                    }
                }
            }
        }
    }

    pub fn stats(&self) -> ObjectStats {
        let counters = &self.counters;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (cache_hits, cache_misses) = self.cache.hits_and_misses();
        let (mut pending, mut groups) = (0, 0);
        for group in &self.groups {
            pending += group.lock().queue.len() as u64;
            groups += u64::from(group.is_ready());
        }
        let free = self.room.available_permits();
        ObjectStats {
            uploads: counters.uploads.snapshot(),
            commits: counters.commits.snapshot(),
            reads: self.fetcher.latency().snapshot(),
            requests: self.config.objects.requests(),
            rows: count(&counters.rows),
            inline_bytes: count(&counters.inline_bytes),
            followed_rows: count(&counters.followed_rows),
            conflicts: count(&counters.conflicts),
            in_doubt: count(&counters.in_doubt),
            fenced: count(&counters.fenced),
            cache_hits,
            cache_misses,
            cache_bytes: self.cache.bytes() as u64,
            // The engine has no part in them.
            jobs: JobStats::default(),
            pending,
            buffered_bytes: self.config.buffer_bytes.saturating_sub(free) as u64,
            oldest_pending: self
                .oldest_pending()
                .map_or(Duration::ZERO, |since| since.elapsed()),
            groups,
            follows_since: counters
                .followed_at
                .lock()
                .map_or(Duration::ZERO, |then| then.elapsed()),
        }
    }

    /// What has waited for longest, and since when.
    pub fn oldest_pending(&self) -> Option<Instant> {
        let groups = self.groups.iter();
        groups
            .filter_map(|group| group.lock().queue.front().map(|pending| pending.since))
            .min()
    }
}

/// For how long something may wait until the store counts as stalled.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(5);

pub(super) fn closed_text() -> String {
    "the store was shut down".to_owned()
}
