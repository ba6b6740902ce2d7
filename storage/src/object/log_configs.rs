//! What the logs of this broker are configured to be, for the jobs.

use std::collections::HashMap;
use std::sync::Arc;

use super::entry::PartitionId;
use super::jobs::Topics;
use crate::env::sync::Mutex;
use crate::log::LogConfig;

/// The configurations of all logs that are open here. A broker opens those of all topics, whoever leads them.
#[derive(Default)]
pub(super) struct LogConfigs(Mutex<HashMap<PartitionId, Arc<LogConfig>>>);

impl LogConfigs {
    pub fn set(&self, partition: PartitionId, config: Arc<LogConfig>) {
        self.0.lock().insert(partition, config);
    }

    pub fn remove(&self, partition: &PartitionId) {
        self.0.lock().remove(partition);
    }
}

impl Topics for LogConfigs {
    fn config(&self, partition: PartitionId) -> Option<Arc<LogConfig>> {
        self.0.lock().get(&partition).cloned()
    }
}
