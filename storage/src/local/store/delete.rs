//! How logs are deleted: durably in the write-ahead log first, then their directories.
//!
//! The logs of one deletion are entered together. They wait for a few writes, however many logs there are.

use std::future::ready;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::LocalStore;
use crate::env::sync::mpsc;
use crate::local::file_log::FileLog;
use crate::local::log_dir::LogDir;
use crate::local::logs::Logs;
use crate::log::{BoxFuture, StorageError, TopicPartition};

/// How many deletions wait for the write-ahead log together. It bounds what they keep in memory.
const DELETED_TOGETHER: usize = 10_000;
/// If no more logs than this are deleted together, their directories are renamed before the deletion is answered.
const MOVED_AT_ONCE: usize = 256;

impl LocalStore {
    /// See [`crate::log::LogStore::delete_logs`]. Waits on a thread of its own: a job of the pool may not wait for the
    /// write-ahead log, which may wait for the pool.
    pub(super) fn delete(
        &self,
        ids: Vec<TopicPartition>,
    ) -> BoxFuture<'static, Result<(), StorageError>> {
        if ids.is_empty() {
            return Box::pin(ready(Ok(())));
        }
        let (shared, logs) = (Arc::clone(&self.shared), Arc::clone(&self.logs));
        let (sender, outcome) = oneshot::channel();
        let started = self.panicked.start("storage-delete", move || {
            // Nobody may wait any more: the deletion holds all the same.
            let _ = sender.send(delete_all(&shared, &logs, &ids));
        });
        let failed = |why: &str| Err(StorageError(format!("logs could not be deleted: {why}")));
        Box::pin(async move {
            match started {
                Ok(_) => (outcome.await).unwrap_or_else(|_| failed("their thread panicked")),
                Err(error) => failed(&error.to_string()),
            }
        })
    }
}

fn delete_all(
    shared: &Arc<LogDir>,
    logs: &Logs,
    ids: &[TopicPartition],
) -> Result<(), StorageError> {
    let _deleting = shared.deleting.lock();
    let mut first_failure = None;
    let mut failures = 0;
    for some in ids.chunks(DELETED_TOGETHER) {
        let doomed: Vec<_> = (some.iter())
            .map(|id| logs.open(id, Arc::default(), shared))
            .collect();
        let (deleted, failed) = delete(&doomed);
        failures += failed.len();
        first_failure = first_failure.or(failed.into_iter().next());
        logs.remove(&deleted);
        if ids.len() <= MOVED_AT_ONCE {
            shared.depart(&deleted);
        }
    }
    if ids.len() > MOVED_AT_ONCE {
        let departing = Arc::clone(shared);
        shared
            .pool
            .write(move || departing.finish_departures_in_time());
    }
    match first_failure {
        None => Ok(()),
        Some(first) if failures == 1 => Err(StorageError(first)),
        Some(first) => Err(StorageError(format!("{first}, and {failures} in all"))),
    }
}

/// Enters a deletion for each log into the write-ahead log, and waits for all of them. Gives the logs that are deleted,
/// and why others are not.
fn delete(logs: &[Arc<FileLog>]) -> (Vec<TopicPartition>, Vec<String>) {
    let (sender, outcomes) = mpsc::channel();
    let (mut deleted, mut failed) = (Vec::with_capacity(logs.len()), Vec::new());
    let why = |log: &FileLog, error: &dyn std::fmt::Display| {
        format!("{} could not be deleted: {error}", log.id)
    };
    for (place, log) in logs.iter().enumerate() {
        let sender = sender.clone();
        let begun = log.begin_delete(move |outcome| {
            // The receiver is there until all outcomes have arrived.
            let _ = sender.send((place, outcome));
        });
        if let Err(error) = begun {
            failed.push(why(log, &error));
        }
    }
    drop(sender);
    for (place, outcome) in outcomes.iter() {
        match outcome {
            Ok(()) => deleted.push(logs[place].id.clone()),
            Err(error) => failed.push(why(&logs[place], &error)),
        }
    }
    (deleted, failed)
}
