//! The open logs of a directory. Lists of work hold the ids of logs; this table has the logs themselves.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::file_log::FileLog;
use super::log_dir::LogDir;
use crate::env::sync::Mutex;
use crate::log::{LogConfig, TopicPartition};

/// Every log that was opened and is not deleted.
#[derive(Default)]
pub(crate) struct Logs(Mutex<Table>);

#[derive(Default)]
struct Table {
    last_log_id: u32,
    by_name: BTreeMap<TopicPartition, Arc<FileLog>>,
    /// By the id in the write-ahead log.
    by_id: HashMap<u32, Arc<FileLog>>,
}

impl Logs {
    /// The log of this name. If there is none, it is made, with the id that it has in the write-ahead log.
    pub fn open(
        &self,
        id: &TopicPartition,
        config: Arc<LogConfig>,
        shared: &Arc<LogDir>,
    ) -> Arc<FileLog> {
        let mut table = self.0.lock();
        if let Some(log) = table.by_name.get(id) {
            return Arc::clone(log);
        }
        table.last_log_id += 1;
        let log = FileLog::new(id.clone(), table.last_log_id, config, Arc::clone(shared));
        // What is in its directory is not known: the next check has a look.
        log.check_retention_at(0);
        log.may_be_dirty();
        let log = Arc::new(log);
        table.by_name.insert(id.clone(), Arc::clone(&log));
        table.by_id.insert(log.log_id, Arc::clone(&log));
        log
    }

    /// Those of some ids that are not deleted, in the order of the ids.
    pub fn of(&self, ids: impl IntoIterator<Item = u32>) -> Vec<Arc<FileLog>> {
        let table = self.0.lock();
        let find = |id| table.by_id.get(&id).cloned();
        ids.into_iter().filter_map(find).collect()
    }

    /// The log of this name, if there is one.
    pub fn find(&self, id: &TopicPartition) -> Option<Arc<FileLog>> {
        self.0.lock().by_name.get(id).cloned()
    }

    pub fn contains(&self, id: &TopicPartition) -> bool {
        self.0.lock().by_name.contains_key(id)
    }

    /// Topic and partition of all logs.
    pub fn names(&self) -> Vec<(Arc<str>, i32)> {
        let table = self.0.lock();
        let name = |id: &TopicPartition| (Arc::clone(&id.topic), id.partition);
        table.by_name.keys().map(name).collect()
    }

    /// All logs, by name.
    pub fn all(&self) -> Vec<Arc<FileLog>> {
        self.0.lock().by_name.values().cloned().collect()
    }

    /// Takes out deleted logs.
    pub fn remove(&self, ids: &[TopicPartition]) {
        let mut table = self.0.lock();
        for id in ids {
            if let Some(log) = table.by_name.remove(id) {
                table.by_id.remove(&log.log_id);
            }
        }
    }

    /// Takes out all logs.
    pub fn clear(&self) -> Vec<Arc<FileLog>> {
        let table = std::mem::take(&mut *self.0.lock());
        table.by_name.into_values().collect()
    }
}
