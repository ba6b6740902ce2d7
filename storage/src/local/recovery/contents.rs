//! What the first reading of the write-ahead log finds.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::context::RecoveryError;
use crate::local::wal::format::{Entry, EntryKind, Row};
use crate::local::wal::logs;
use crate::log::TopicPartition;

/// What the first reading of the log found.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) logs: HashMap<u32, TopicPartition>,
    pub(super) deleted: BTreeSet<u32>,
    /// The log of each name that was declared last.
    pub(super) newest: HashMap<(Arc<str>, i32), u32>,
    pub(super) log_starts: HashMap<u32, i64>,
    /// The first entry of each log that has batches.
    pub(super) first_batches: BTreeMap<u32, Row>,
}

impl Contents {
    pub(super) fn declare(&mut self, id: u32, log: TopicPartition) {
        self.newest
            .insert((Arc::clone(&log.topic), log.partition), id);
        self.logs.insert(id, log);
    }

    /// The log with this id, unless it was deleted or another has taken its name.
    pub(super) fn live(&self, id: u32) -> Option<&TopicPartition> {
        let log = self.logs.get(&id)?;
        let newest = self.newest.get(&(Arc::clone(&log.topic), log.partition));
        (newest == Some(&id) && !self.deleted.contains(&id)).then_some(log)
    }

    /// The deleted logs whose directories are still their own, and not made by a later log of the name.
    pub(super) fn deleted_for_good(&self) -> impl Iterator<Item = &TopicPartition> {
        self.deleted.iter().filter_map(|id| {
            let log = self.logs.get(id)?;
            let newest = self.newest.get(&(Arc::clone(&log.topic), log.partition))?;
            self.deleted.contains(newest).then_some(log)
        })
    }

    /// Topics and partitions that had a log which was deleted.
    pub(super) fn deleted_keys(&self) -> HashSet<(String, i32)> {
        let deleted = self.deleted.iter().filter_map(|id| self.logs.get(id));
        deleted
            .map(|log| (log.topic.to_string(), log.partition))
            .collect()
    }

    pub(super) fn note(&mut self, entry: &Entry<'_>, wal_dir: &Path) -> Result<(), RecoveryError> {
        let id = entry.row.log_id;
        let inconsistent = |what: &str| RecoveryError::Inconsistent {
            path: wal_dir.to_owned(),
            what: format!("entry of log {id}: {what}"),
        };
        if entry.row.kind == EntryKind::Declare {
            let log = logs::declared(entry.payload)
                .ok_or_else(|| inconsistent("its declaration cannot be read"))?;
            self.declare(id, log);
            return Ok(());
        }
        if !self.logs.contains_key(&id) {
            return Err(inconsistent("nothing says which log that is"));
        }
        match entry.row.kind {
            EntryKind::Batch => {
                self.first_batches.entry(id).or_insert(entry.row);
            }
            EntryKind::LogStart => {
                let offset = self.log_starts.entry(id).or_insert(entry.row.offset);
                *offset = entry.row.offset.max(*offset);
            }
            EntryKind::Delete => {
                self.deleted.insert(id);
            }
            EntryKind::Declare => {}
        }
        Ok(())
    }
}
