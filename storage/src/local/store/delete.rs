//! How logs are deleted: durably in the write-ahead log first, then their directories.
//!
//! The logs of one deletion are entered together. They wait for a few writes, however many logs there are.

use std::sync::Arc;

use super::LocalStore;
use crate::env::sync::mpsc;
use crate::local::file_log::FileLog;
use crate::log::{StorageError, TopicPartition};

/// How many deletions wait for the write-ahead log together. It bounds what they keep in memory.
const DELETED_TOGETHER: usize = 10_000;
/// If no more logs than this are deleted together, their directories are renamed before the deletion returns.
const MOVED_AT_ONCE: usize = 256;

impl LocalStore {
    /// See [`crate::log::LogStore::delete_logs`].
    pub(super) fn delete(&self, ids: &[TopicPartition]) -> Result<(), StorageError> {
        if ids.is_empty() {
            return Ok(());
        }
        let _deleting = self.deleting.lock();
        let mut first_failure = None;
        let mut failures = 0;
        for some in ids.chunks(DELETED_TOGETHER) {
            let logs: Vec<_> = some.iter().map(|id| self.log(id, Arc::default())).collect();
            let (deleted, failed) = delete(&logs);
            failures += failed.len();
            first_failure = first_failure.or(failed.into_iter().next());
            self.logs.remove(&deleted);
            if ids.len() <= MOVED_AT_ONCE {
                self.shared.depart(&deleted);
            }
        }
        if ids.len() > MOVED_AT_ONCE {
            let shared = Arc::clone(&self.shared);
            self.shared
                .pool
                .write(move || shared.finish_departures_in_time());
        }
        match first_failure {
            None => Ok(()),
            Some(first) if failures == 1 => Err(StorageError(first)),
            Some(first) => Err(StorageError(format!("{first}, and {failures} in all"))),
        }
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
