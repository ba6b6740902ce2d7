//! All logs of a broker of a cluster, behind the seam.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::Instant;

use super::engine::{Engine, STALLED_AFTER, closed_text};
use super::entry::PartitionId;
use super::group::{Checked, Group, Submission};
use super::jobs::JobRunner;
use super::object_log::{ObjectLog, reserve};
use super::pending::{Joint, Part, appended, left_open};
use super::plan::Want;
use crate::env::sync::Mutex;
use crate::log::stats::{DirectoryStats, ObjectStats};
use crate::log::{
    AppendError, AppendOrigin, AppendPermit, BoxFuture, DeletedTopics, Health, IfRefused,
    JointError, JointPart, LiveConfig, LogConfig, LogStore, PartitionLog, PendingAppend,
    RecoveryReport, StorageError, TopicPartition,
};

/// For how long whoever deletes logs waits for the database.
const DELETION: Duration = Duration::from_secs(30);
/// For how long a shutdown waits for what is on its way.
const CLOSING: Duration = Duration::from_secs(30);

/// A [`LogStore`] in object storage.
pub(super) struct ObjectLogs {
    engine: Arc<Engine>,
    logs: Mutex<HashMap<TopicPartition, Arc<ObjectLog>>>,
    /// `None`: this broker does no jobs, or not any more.
    jobs: Mutex<Option<JobRunner>>,
    /// The threads of the engine, unless it runs on somebody else's.
    threads: Option<Runtime>,
    recovery: RecoveryReport,
}

impl Drop for ObjectLogs {
    fn drop(&mut self) {
        self.engine.stop.send_replace(true);
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

impl ObjectLogs {
    pub fn new(engine: Arc<Engine>, jobs: Option<JobRunner>, threads: Option<Runtime>) -> Self {
        Self {
            engine,
            logs: Mutex::new(HashMap::new()),
            jobs: Mutex::new(jobs),
            threads,
            recovery: RecoveryReport {
                clean: true,
                ..RecoveryReport::default()
            },
        }
    }

    fn find(&self, id: &TopicPartition) -> Option<Arc<ObjectLog>> {
        self.logs.lock().get(id).cloned()
    }

    /// Runs a task of the engine, and blocks until it is done, or for so long. `None`: it is not.
    fn block_on<T: Send + 'static>(
        &self,
        limit: Duration,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (done, result) = mpsc::channel();
        self.engine.spawn(async move {
            let result = tokio::time::timeout(limit, task).await;
            let _ = done.send(result.ok());
        });
        // An error is an engine that was stopped.
        result.recv().ok().flatten()
    }
}

impl LogStore for ObjectLogs {
    fn open_log(
        &self,
        id: TopicPartition,
        config: Arc<LogConfig>,
    ) -> Result<Arc<dyn PartitionLog>, StorageError> {
        if self.engine.is_closing() {
            return Err(StorageError(closed_text()));
        }
        let mut logs = self.logs.lock();
        let log = logs
            .entry(id.clone())
            .or_insert_with(|| Arc::new(ObjectLog::new(id, &self.engine)));
        log.set_config(config);
        Ok(Arc::clone(log) as Arc<dyn PartitionLog>)
    }

    fn reserve(
        &self,
        bytes: usize,
        _origin: AppendOrigin,
    ) -> BoxFuture<'_, Result<AppendPermit, AppendError>> {
        reserve(&self.engine.room, self.engine.config.buffer_bytes, bytes)
    }

    fn submit_all(
        &self,
        permit: AppendPermit,
        parts: Vec<JointPart>,
    ) -> Result<Vec<Result<PendingAppend, AppendError>>, JointError> {
        submit_all(&self.engine, permit, parts, |id| self.find(id))
    }

    fn delete_logs(
        &self,
        ids: Vec<TopicPartition>,
    ) -> BoxFuture<'static, Result<(), StorageError>> {
        let mut deletions = Vec::with_capacity(ids.len());
        for id in &ids {
            if let Some(log) = self.logs.lock().remove(id) {
                log.delete();
            }
            deletions.push(self.engine.change(id, Want::Delete));
        }
        let engine = Arc::clone(&self.engine);
        Box::pin(async move {
            let deleted = tokio::time::timeout(DELETION, async move {
                for deletion in deletions {
                    deletion.await.unwrap_or_else(|_| Err(left_open()))?;
                }
                Ok::<_, AppendError>(())
            });
            let failed = |what: String| StorageError(format!("logs are not deleted yet: {what}"));
            match deleted.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(failed(error.to_string())),
                Err(_) => {
                    let waits = engine.waits_for_database.lock().clone();
                    Err(failed(waits.unwrap_or_else(|| {
                        format!("no answer within {} s", DELETION.as_secs())
                    })))
                }
            }
        })
    }

    /// What a broker has left out when it died, others have done. What all have left out is done here, at once: objects stay for a
    /// while anyway.
    fn sweep(&self, deleted: DeletedTopics, _delay_ms: u64, done: Box<dyn FnOnce() + Send>) {
        if let Some(jobs) = &*self.jobs.lock() {
            jobs.sweep(deleted.into_keys().collect(), done);
        }
    }

    fn change(&self, config: &LiveConfig) {
        let verifies = config.transaction_verification_enabled;
        self.engine
            .verifies_transactions
            .store(verifies, Ordering::Relaxed);
        for group in &self.engine.groups {
            group.lock().change_verification(verifies);
        }
        if let Some(jobs) = &*self.jobs.lock() {
            jobs.change(config);
        }
    }

    fn recovery_report(&self) -> &RecoveryReport {
        &self.recovery
    }

    fn failed(&self) -> watch::Receiver<Option<StorageError>> {
        self.engine.failed.subscribe()
    }

    fn health(&self) -> Health {
        let engine = &self.engine;
        if let Some(StorageError(what)) = &*engine.failed.borrow() {
            return Health::Offline(what.clone());
        }
        let is_stalled = |since: &Instant| since.elapsed() >= STALLED_AFTER;
        if engine.oldest_pending().filter(is_stalled).is_none() {
            if let Some(what) = engine.objects_trouble.lock().clone() {
                return Health::Stalled(what);
            }
            let jobs = self.jobs.lock();
            let trouble = jobs.as_ref().and_then(JobRunner::trouble);
            return trouble.map_or(Health::Good, Health::Neglected);
        }
        let waits_for = [&engine.waits_for_objects, &engine.waits_for_database];
        let waits_for = waits_for.iter().filter_map(|what| what.lock().clone());
        let waits_for: Vec<_> = waits_for.collect();
        Health::Stalled(match waits_for.is_empty() {
            true => "the commit is slow".to_owned(),
            false => waits_for.join("; "),
        })
    }

    fn stats(&self) -> Option<DirectoryStats> {
        None
    }

    fn object_stats(&self) -> Option<ObjectStats> {
        let jobs = self.jobs.lock().as_ref().map(JobRunner::stats);
        Some(ObjectStats {
            jobs: jobs.unwrap_or_default(),
            ..self.engine.stats()
        })
    }

    fn free_disk_bytes(&self) -> Option<u64> {
        None
    }

    fn shutdown(&self) -> Result<(), StorageError> {
        let engine = &self.engine;
        if engine.is_closing.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // Before the stores may go. A job can be broken off anywhere.
        drop(self.jobs.lock().take());
        engine.buffered.notify_one();
        let closing = Arc::clone(engine);
        let is_empty = self.block_on(CLOSING, async move {
            while closing.oldest_pending().is_some() {
                closing.settled.notified().await;
            }
        });
        engine.room.close();
        let mut left = 0;
        for group in &engine.groups {
            left += group.close();
        }
        engine.stop.send_replace(true);
        match is_empty {
            Some(()) => Ok(()),
            None => Err(StorageError(format!(
                "{left} batches and changes were on their way after {} s, and it is not known what became of them",
                CLOSING.as_secs()
            ))),
        }
    }
}

/// A part that goes into a queue.
struct Admitted {
    part: usize,
    /// Which of the locked groups.
    group: usize,
    submission: Submission,
    if_refused: IfRefused,
}

fn submit_all(
    engine: &Arc<Engine>,
    permit: AppendPermit,
    parts: Vec<JointPart>,
    find: impl Fn(&TopicPartition) -> Option<Arc<ObjectLog>>,
) -> Result<Vec<Result<PendingAppend, AppendError>>, JointError> {
    let room = permit.into_inner().map(Arc::new);
    let all = |error| JointError { part: None, error };
    if engine.is_closing() {
        return Err(all(AppendError::Storage(closed_text())));
    }
    let logs: Vec<_> = parts.iter().map(|part| find(&part.log)).collect();
    // Two joint appends lock in the same order, so neither waits for the other.
    let groups = logs.iter().flatten().map(|log| &log.shared.group);
    let mut groups: Vec<&Arc<Group>> = groups.collect();
    groups.sort_by_key(|group| group.id);
    groups.dedup_by_key(|group| group.id);
    let prepared = logs.iter().flatten().map(|log| log.shared.prepare());
    // Until the parts are in the queues.
    let _holds: Vec<_> = prepared.collect();
    for group in &groups {
        if let Some(what) = group.trouble() {
            return Err(all(AppendError::Storage(what)));
        }
    }
    let mut locked: Vec<_> = groups.iter().map(|group| group.lock()).collect();
    let place_of = |group: &Arc<Group>| groups.binary_search_by_key(&group.id, |group| group.id);
    let mut answers: Vec<Option<Result<PendingAppend, AppendError>>> = Vec::new();
    answers.resize_with(parts.len(), || None);
    let mut admitted: Vec<Admitted> = Vec::with_capacity(parts.len());
    let mut seen = HashSet::new();
    let mut refused = None;
    for (
        at,
        JointPart {
            log: id,
            batch,
            origin,
            if_refused,
        },
    ) in parts.into_iter().enumerate()
    {
        let log = logs[at].as_ref().filter(|log| !log.is_deleted());
        let outcome = match (log, log.map(|log| place_of(&log.shared.group))) {
            _ if !seen.insert(PartitionId::from(&id)) => {
                let what = format!("two parts of a joint append are for {id}");
                Err(AppendError::Storage(what))
            }
            (Some(log), Some(Ok(group))) => {
                let claim = log.claim_epoch();
                Submission::new(id, &batch, origin, claim, room.clone()).and_then(|submission| {
                    let checked = locked[group].check(&submission, engine.now_ms())?;
                    Ok((group, submission, checked))
                })
            }
            _ => Err(AppendError::Deleted),
        };
        let outcome = outcome.and_then(|(group, submission, checked)| match checked {
            Checked::Doubtful(error) => Err(error),
            checked => Ok((group, submission, checked)),
        });
        match outcome {
            Ok((group, submission, Checked::Append)) => admitted.push(Admitted {
                part: at,
                group,
                submission,
                if_refused,
            }),
            Ok((_, _, Checked::Duplicate(there))) => {
                answers[at] = Some(Ok(Box::pin(std::future::ready(Ok(there)))));
            }
            Ok((_, _, Checked::Follow(pending))) => {
                answers[at] = Some(Ok(appended(pending.outcome())));
            }
            Ok((_, _, Checked::Doubtful(error))) | Err(error) => match if_refused {
                IfRefused::Skip => answers[at] = Some(Err(error)),
                IfRefused::FailAll => {
                    let part = Some(at);
                    refused = Some(JointError { part, error });
                    break;
                }
            },
        }
    }
    if let Some(refused) = refused {
        for Admitted {
            group, submission, ..
        } in &admitted
        {
            locked[*group].take_back(submission);
        }
        return Err(refused);
    }
    let joint = Joint::new(admitted.len());
    let mut together = Vec::with_capacity(admitted.len());
    for Admitted {
        part,
        group,
        submission,
        if_refused,
    } in admitted
    {
        let joint = Arc::clone(&joint);
        let pending = submission.into_pending(Some(Part { joint, if_refused }));
        answers[part] = Some(Ok(appended(pending.outcome())));
        locked[group].push(Arc::clone(&pending));
        together.push(pending);
    }
    engine.buffer_together(together);
    drop(locked);
    Ok(answers.into_iter().flatten().collect())
}
