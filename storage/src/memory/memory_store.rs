//! All logs of a broker that keeps nothing on disk, or those that several of them have in common.

use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::memory_log::{MemoryLog, Shared, append_all};
use crate::env::sync::Mutex;
use crate::log::stats::DirectoryStats;
use crate::log::{
    AppendError, AppendOrigin, AppendPermit, BoxFuture, DeletedTopics, Health, JointError,
    JointPart, LiveConfig, LogConfig, LogStore, PartitionLog, PendingAppend, RecoveryReport,
    StorageError, TopicPartition,
};

/// What all brokers of a memory have.
pub(super) type SharedLogs = Arc<Mutex<HashMap<TopicPartition, Arc<Shared>>>>;

/// A [`LogStore`] without files, in the hands of one broker.
pub(crate) struct MemoryStore {
    shared: SharedLogs,
    /// No other broker has these logs.
    is_alone: bool,
    logs: Mutex<HashMap<TopicPartition, Arc<MemoryLog>>>,
    verifies_transactions: AtomicBool,
    recovery_report: RecoveryReport,
    failed: watch::Sender<Option<StorageError>>,
}

impl MemoryStore {
    pub fn new(shared: SharedLogs, is_alone: bool) -> Self {
        Self {
            shared,
            is_alone,
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
        let log = logs.entry(id.clone()).or_insert_with(|| {
            let mut all = self.shared.lock();
            let new = || Arc::new(Shared::new(id.clone(), config));
            let shared = all.entry(id.clone()).or_insert_with(new);
            Arc::new(MemoryLog::new(Arc::clone(shared), self.is_alone))
        });
        log.verify_transactions(self.verifies_transactions.load(Ordering::Relaxed));
        Ok(Arc::clone(log) as Arc<dyn PartitionLog>)
    }

    fn reserve(
        &self,
        _bytes: usize,
        _origin: AppendOrigin,
    ) -> BoxFuture<'_, Result<AppendPermit, AppendError>> {
        Box::pin(ready(Ok(AppendPermit::unlimited())))
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

    fn delete_logs(
        &self,
        ids: Vec<TopicPartition>,
    ) -> BoxFuture<'static, Result<(), StorageError>> {
        for id in &ids {
            self.logs.lock().remove(id);
            if let Some(log) = self.shared.lock().remove(id) {
                log.delete();
            }
        }
        Box::pin(ready(Ok(())))
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
