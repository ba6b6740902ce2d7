//! All logs of a broker that keeps nothing on disk.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::memory_log::{MemoryLog, append_all};
use crate::env::sync::Mutex;
use crate::log::stats::DirectoryStats;
use crate::log::{
    AppendError, AppendOrigin, AppendPermit, BoxFuture, DeletedTopics, Health, JointError,
    JointPart, LiveConfig, LogConfig, LogStore, PartitionLog, PendingAppend, RecoveryReport,
    StorageError, TopicPartition,
};

/// A [`LogStore`] without files.
pub(crate) struct MemoryStore {
    logs: Mutex<HashMap<TopicPartition, Arc<MemoryLog>>>,
    verifies_transactions: AtomicBool,
    recovery_report: RecoveryReport,
    failed: watch::Sender<Option<StorageError>>,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self {
            logs: Mutex::default(),
            verifies_transactions: AtomicBool::new(true),
            recovery_report: RecoveryReport {
                clean: true,
                ..RecoveryReport::default()
            },
            failed: watch::Sender::new(None),
        }
    }
}

impl LogStore for MemoryStore {
    fn open_log(
        &self,
        id: TopicPartition,
        config: Arc<LogConfig>,
    ) -> Result<Arc<dyn PartitionLog>, StorageError> {
        let mut logs = self.logs.lock();
        let log = logs
            .entry(id.clone())
            .or_insert_with(|| Arc::new(MemoryLog::new(id, config)));
        log.verify_transactions(self.verifies_transactions.load(Ordering::Relaxed));
        Ok(Arc::clone(log) as Arc<dyn PartitionLog>)
    }

    fn reserve(
        &self,
        _bytes: usize,
        _origin: AppendOrigin,
    ) -> BoxFuture<'_, Result<AppendPermit, AppendError>> {
        Box::pin(std::future::ready(Ok(AppendPermit::unlimited())))
    }

    fn submit_all(
        &self,
        _permit: AppendPermit,
        parts: Vec<JointPart>,
    ) -> Result<Vec<Result<PendingAppend, AppendError>>, JointError> {
        let logs: Vec<_> = {
            let logs = self.logs.lock();
            parts
                .iter()
                .map(|part| logs.get(&part.log).cloned())
                .collect()
        };
        append_all(&parts, &logs)
    }

    fn delete_logs(&self, ids: &[TopicPartition]) -> Result<(), StorageError> {
        for id in ids {
            if let Some(log) = self.logs.lock().remove(id) {
                log.delete();
            }
        }
        Ok(())
    }

    fn sweep(&self, _deleted: DeletedTopics, _delay_ms: u64, done: Box<dyn FnOnce() + Send>) {
        done();
    }

    /// Memory is not compacted, and forgets no producer.
    fn change(&self, config: &LiveConfig) {
        let verifies = config.transaction_verification_enabled;
        self.verifies_transactions
            .store(verifies, Ordering::Relaxed);
        for log in self.logs.lock().values() {
            log.verify_transactions(verifies);
        }
    }

    fn recovery_report(&self) -> &RecoveryReport {
        &self.recovery_report
    }

    fn failed(&self) -> watch::Receiver<Option<StorageError>> {
        self.failed.subscribe()
    }

    fn health(&self) -> Health {
        Health::Good
    }

    fn stats(&self) -> Option<DirectoryStats> {
        None
    }

    fn free_disk_bytes(&self) -> Option<u64> {
        None
    }

    fn shutdown(&self) -> Result<(), StorageError> {
        Ok(())
    }
}
