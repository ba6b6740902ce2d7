//! Coordinators on a log whose moods the test decides.

mod catalog;
mod groups;
mod joint;
mod moves;
mod outside;
mod peers;
mod runtime;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use coordinators::allowance::Allowance;
use coordinators::group::OFFSETS_TOPIC;
use coordinators::group::*;
use coordinators::machine::{Machine, Moment, Token};
use parking_lot::Mutex;
use protocol_shim::ErrorCode;
use storage::log::{
    ActiveProducer, AppendError, AppendOrigin, AppendPermit, FetchWait, Glance, Isolation,
    LiveConfig, LogConfig, LogOffsets, Next, PartitionLog, PendingAppend, Read, ReadError,
    ReadRequest, TimestampOffset, TopicPartition, VerificationGuard, WaitRegistration,
};
use storage::memory;
use storage::record::ValidatedBatch;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::clock::Clock;
use crate::cluster::view::ClusterView;
use crate::config::RecordValidation;
use crate::config::{BrokerConfig, Properties};
use crate::coordinator::group::assignors::Assignors;
use crate::coordinator::group::call::GroupCall;
use crate::coordinator::group::patterns::PatternResolver;
use crate::coordinator::group::{GroupCoordinator, GroupShards, Groups};
use crate::coordinator::runtime::Runtime;
use crate::metadata::{
    Metadata, MetadataLog, Observer, Published, TopicRef, metadata_log_config, metadata_log_id,
};
use crate::partition::registry::PartitionRegistry;

type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

const MAX_BATCH_BYTES: usize = 1_048_588;

/// A batch that the device still has to write.
struct InFlight {
    batch: ValidatedBatch,
    origin: AppendOrigin,
    reply: oneshot::Sender<Result<storage::log::Appended, AppendError>>,
}

struct TestLog {
    inner: Arc<dyn PartitionLog>,
    /// What the next appends are answered with.
    refusals: Mutex<VecDeque<AppendError>>,
    /// Whether batches stay in flight until [`release`](Self::release).
    holds: Mutex<bool>,
    in_flight: Mutex<VecDeque<InFlight>>,
    /// Whether nobody is told the current offsets.
    stalls: watch::Sender<bool>,
    batch_bytes: Mutex<Vec<usize>>,
    /// How often the log was read from its start.
    loads: AtomicUsize,
}

impl TestLog {
    fn new() -> Arc<Self> {
        let id = TopicPartition {
            topic: "__consumer_offsets".into(),
            topic_id: Uuid::from_u128(1),
            partition: 0,
        };
        let inner = logs_in_memory()
            .open_log(id, Arc::new(LogConfig::default()))
            .expect("open");
        Self::over(inner)
    }

    fn over(inner: Arc<dyn PartitionLog>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            refusals: Mutex::default(),
            holds: Mutex::default(),
            in_flight: Mutex::default(),
            stalls: watch::Sender::new(false),
            batch_bytes: Mutex::default(),
            loads: AtomicUsize::new(0),
        })
    }

    fn stall(&self, stalls: bool) {
        self.stalls.send_replace(stalls);
    }

    fn refuse(&self, error: AppendError) {
        self.refusals.lock().push_back(error);
    }

    /// What is in flight becomes durable, or is refused.
    async fn release(&self) {
        *self.holds.lock() = false;
        let in_flight: Vec<InFlight> = self.in_flight.lock().drain(..).collect();
        for InFlight {
            batch,
            origin,
            reply,
        } in in_flight
        {
            let permit = AppendPermit::unlimited();
            let outcome = match self.inner.submit(permit, batch, origin, Next::Append) {
                Ok(append) => append.await,
                Err(error) => Err(error),
            };
            let _ = reply.send(outcome);
        }
    }

    /// What is in flight never becomes durable; what follows does.
    fn lose(&self, why: &str) {
        *self.holds.lock() = false;
        for InFlight { reply, .. } in self.in_flight.lock().drain(..) {
            let _ = reply.send(Err(AppendError::Indeterminate(why.to_owned())));
        }
    }

    async fn until_in_flight(&self, count: usize) {
        while self.in_flight.lock().len() < count {
            tokio::task::yield_now().await;
        }
    }
}

impl PartitionLog for TestLog {
    fn id(&self) -> &TopicPartition {
        self.inner.id()
    }

    fn ready(&self) -> Option<BoxFuture<'static, ()>> {
        self.inner.ready()
    }

    fn reserve(
        &self,
        bytes: usize,
        origin: AppendOrigin,
    ) -> BoxFuture<'_, Result<AppendPermit, AppendError>> {
        self.inner.reserve(bytes, origin)
    }

    fn submit(
        &self,
        permit: AppendPermit,
        batch: ValidatedBatch,
        origin: AppendOrigin,
        next: Next,
    ) -> Result<PendingAppend, AppendError> {
        if let Some(error) = self.refusals.lock().pop_front() {
            return Err(error);
        }
        self.batch_bytes.lock().push(batch.size_bytes());
        if !*self.holds.lock() {
            return self.inner.submit(permit, batch, origin, next);
        }
        let (reply, written) = oneshot::channel();
        let in_flight = InFlight {
            batch,
            origin,
            reply,
        };
        self.in_flight.lock().push_back(in_flight);
        Ok(Box::pin(async move { written.await.expect("released") }))
    }

    fn late_transactions(&self, silent_for_ms: i64) -> usize {
        self.inner.late_transactions(silent_for_ms)
    }

    fn begin_verification(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        supports_epoch_bump: bool,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        self.inner.begin_verification(
            producer_id,
            producer_epoch,
            base_sequence,
            supports_epoch_bump,
        )
    }

    fn check_transaction(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        guard: Option<VerificationGuard>,
    ) -> Result<(), AppendError> {
        self.inner
            .check_transaction(producer_id, producer_epoch, guard)
    }

    fn offsets(&self) -> LogOffsets {
        self.inner.offsets()
    }

    fn current_offsets(&self) -> BoxFuture<'static, Result<LogOffsets, ReadError>> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let mut stalls = self.stalls.subscribe();
        let current = self.inner.current_offsets();
        Box::pin(async move {
            let _ = stalls.wait_for(|stalls| !stalls).await;
            current.await
        })
    }

    fn glance(&self) -> Option<Glance> {
        self.inner.glance()
    }

    fn timestamp_at(&self, offset: i64) -> BoxFuture<'static, Result<Option<i64>, ReadError>> {
        self.inner.timestamp_at(offset)
    }

    fn leader_epoch(&self) -> i32 {
        self.inner.leader_epoch()
    }

    fn claim(&self) -> BoxFuture<'static, Result<i32, AppendError>> {
        self.inner.claim()
    }

    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn read(&self, request: ReadRequest) -> Result<Read, ReadError> {
        self.inner.read(request)
    }

    fn watch(&self, end: i64, isolation: Isolation, wait: &Arc<FetchWait>) -> WaitRegistration {
        self.inner.watch(end, isolation, wait)
    }

    fn offset_for_timestamp(
        &self,
        timestamp: i64,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>> {
        self.inner.offset_for_timestamp(timestamp, isolation)
    }

    fn offset_of_max_timestamp(
        &self,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>> {
        self.inner.offset_of_max_timestamp()
    }

    fn producers(&self) -> Vec<ActiveProducer> {
        self.inner.producers()
    }

    fn end_offset_for_epoch(&self, leader_epoch: i32) -> Option<(i32, i64)> {
        self.inner.end_offset_for_epoch(leader_epoch)
    }

    fn delete_records_before(&self, offset: i64) -> BoxFuture<'static, Result<i64, AppendError>> {
        self.inner.delete_records_before(offset)
    }

    fn set_config(&self, config: Arc<LogConfig>) {
        self.inner.set_config(config);
    }
}

/// The machines of these tests begin transactions without asking anybody.
fn logs_in_memory() -> Arc<dyn storage::log::LogStore> {
    let logs = memory::open();
    logs.change(&LiveConfig {
        transaction_verification_enabled: false,
        ..LiveConfig::default()
    });
    logs
}

async fn metadata() -> Metadata {
    metadata_with(&memory::open(), Arc::new(|_: &_, _: &_| {})).await
}

async fn metadata_with(logs: &Arc<dyn storage::log::LogStore>, observer: Observer) -> Metadata {
    let store = logs
        .open_log(metadata_log_id(), Arc::new(metadata_log_config()))
        .expect("open");
    let config = BrokerConfig::from_properties(Properties::new()).expect("valid");
    let store = Box::new(MetadataLog::new(store));
    let metadata = Metadata::open(store, "c", Arc::new(config.0), observer);
    metadata.await.expect("open")
}

/// A cluster of one.
fn alone() -> ClusterView {
    ClusterView::alone(0, None)
}

/// The metadata of a broker that has nothing but memory, and what its coordinators work with.
async fn runtime(shutdown: watch::Receiver<bool>) -> Runtime {
    let logs = logs_in_memory();
    let partitions = Arc::new(PartitionRegistry::new(RecordValidation::Full));
    let observer = {
        let (logs, partitions) = (Arc::clone(&logs), Arc::clone(&partitions));
        move |old: &Published, new: &Published| partitions.follow(&*logs, old, new)
    };
    Runtime {
        metadata: metadata_with(&logs, Arc::new(observer)).await,
        clock: Clock::new(),
        cluster: Arc::new(alone()),
        is_alone: true,
        logs,
        partitions,
        stats: Arc::default(),
        shutdown,
    }
}

impl GroupShards {
    /// Puts a request to the shard of a group.
    async fn call<C: GroupCall>(&self, group_id: &str, request: C) -> Result<C::Reply, ErrorCode> {
        self.call_shard(self.shard_of(group_id), request).await
    }
}
