//! What the tests of the engine share.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make and damage files behind the engine's back"
)]
#![allow(dead_code)]

pub mod cluster;

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use storage::local::LocalConfig;
use storage::log::{
    AppendError, AppendOrigin, Appended, FetchedRecords, Isolation, LogConfig, LogStore, Next,
    PartitionLog, PendingAppend, Read, ReadError, ReadRequest, TopicPartition,
};
use storage::record::{
    BatchBuilder, BatchHeader, EndTxnMarker, RecordSet, TransactionResult, ValidatedBatch, batches,
};
use uuid::Uuid;

/// The seeds to run: so many from a random one on, unless the environment says otherwise.
pub fn seeds(count: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let (first, count) = match number("OTTLA_SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (
            rand::random_range(0..1 << 40),
            number("OTTLA_SIM_SEEDS").unwrap_or(count),
        ),
    };
    eprintln!(
        "OTTLA_SIM_SEED={first}, and {} that follow",
        count.saturating_sub(1)
    );
    first..first.saturating_add(count)
}

/// For how long worlds are run where there is no end of them.
pub fn minutes() -> Duration {
    let minutes = std::env::var("OTTLA_SIM_MINUTES");
    let minutes = minutes.ok().and_then(|minutes| minutes.parse().ok());
    Duration::from_secs(60 * minutes.unwrap_or(1))
}

/// A manager with a ring so small that it turns often.
pub fn small(dir: &Path) -> LocalConfig {
    LocalConfig {
        wal_ring_bytes: 1 << 20,
        wal_region_bytes: 256 << 10,
        wal_first_region_bytes: 256 << 10,
        append_budget_bytes: 1 << 20,
        tail_cache_bytes: 128 << 10,
        io_threads: 2,
        // Records of tests may be older than the retention time.
        initial_task_delay_ms: 300_000,
        ..LocalConfig::new(dir)
    }
}

pub fn partition(topic: &str, number: i32) -> TopicPartition {
    // The same name is the same topic, however often a test opens it.
    let id = topic
        .bytes()
        .fold(7u128, |id, byte| id.wrapping_mul(257) + u128::from(byte));
    TopicPartition {
        topic: Arc::from(topic),
        topic_id: Uuid::from_u128(id),
        partition: number,
    }
}

pub fn open(manager: &Arc<dyn LogStore>, topic: &str, number: i32) -> Arc<dyn PartitionLog> {
    open_with(manager, topic, number, LogConfig::default())
}

pub fn open_with(
    manager: &Arc<dyn LogStore>,
    topic: &str,
    number: i32,
    config: LogConfig,
) -> Arc<dyn PartitionLog> {
    manager
        .open_log(partition(topic, number), Arc::new(config))
        .expect("the log opens")
}

/// One batch with a record for each value, a millisecond apart.
pub fn batch_at(timestamp: i64, values: &[&[u8]]) -> ValidatedBatch {
    trusted(build(BatchBuilder::new(), timestamp, values))
}

pub fn batch(values: &[&[u8]]) -> ValidatedBatch {
    batch_at(1_000, values)
}

pub fn build(mut builder: BatchBuilder, timestamp: i64, values: &[&[u8]]) -> Bytes {
    for (at, value) in values.iter().enumerate() {
        builder.append(timestamp + at as i64, None, Some(value), &[]);
    }
    builder.build().expect("the batch is small")
}

pub fn trusted(bytes: Bytes) -> ValidatedBatch {
    ValidatedBatch::trusted(bytes).expect("one whole batch")
}

pub async fn append(
    log: &Arc<dyn PartitionLog>,
    batch: ValidatedBatch,
) -> Result<Appended, AppendError> {
    let origin = verified(log, &batch)?;
    append_as(log, batch, origin).await
}

/// The origin of a producer's batch, with the guard that it needs if it begins a transaction.
pub fn verified(
    log: &Arc<dyn PartitionLog>,
    batch: &ValidatedBatch,
) -> Result<AppendOrigin, AppendError> {
    let header = &batch.header;
    if !header.is_transactional() {
        return Ok(AppendOrigin::CLIENT);
    }
    let (id, epoch) = (header.producer_id, header.producer_epoch);
    let guard = log.begin_verification(id, epoch, header.base_sequence, false)?;
    Ok(AppendOrigin::Client(guard))
}

/// Hands a batch in without waiting for the disk.
pub async fn submit(log: &Arc<dyn PartitionLog>, batch: ValidatedBatch) -> PendingAppend {
    let origin = verified(log, &batch).expect("a batch of now");
    let permit = log.reserve(batch.bytes.len(), origin).await.expect("room");
    log.submit(permit, batch, origin, Next::Append)
        .expect("the batch is let in")
}

pub async fn append_as(
    log: &Arc<dyn PartitionLog>,
    batch: ValidatedBatch,
    origin: AppendOrigin,
) -> Result<Appended, AppendError> {
    let permit = log.reserve(batch.bytes.len(), origin).await?;
    log.submit(permit, batch, origin, Next::Append)?.await
}

pub fn request(fetch_offset: i64) -> ReadRequest {
    ReadRequest {
        fetch_offset,
        max_bytes: 1 << 20,
        at_least_one_batch: true,
        isolation: Isolation::ReadUncommitted,
    }
}

pub async fn read(
    log: &Arc<dyn PartitionLog>,
    request: ReadRequest,
) -> Result<FetchedRecords, ReadError> {
    match log.read(request)? {
        Read::Ready(records) => Ok(records),
        Read::Cold(records) => records.await,
    }
}

/// The headers of the batches of a read.
pub fn headers(fetched: &FetchedRecords) -> Vec<BatchHeader> {
    fetched
        .records
        .iter()
        .flat_map(|records| batches(records).map(|batch| batch.expect("whole batches").header))
        .collect()
}

/// Offset and value of every record of a read.
pub fn values(fetched: &FetchedRecords) -> Vec<(i64, Vec<u8>)> {
    let mut values = Vec::new();
    for records in &fetched.records {
        for batch in batches(records) {
            let batch = batch.expect("whole batches");
            let set = RecordSet::open(&records.slice_ref(batch.bytes), 1 << 30).expect("records");
            for record in &set {
                let record = record.expect("a record");
                values.push((record.offset, record.value.unwrap_or_default().to_vec()));
            }
        }
    }
    values
}

/// Adds the records of a fetch that a client takes for committed; where the next fetch begins.
pub fn take_committed(fetched: &FetchedRecords, taken: &mut Vec<(i64, Vec<u8>)>) -> Option<i64> {
    let mut upcoming = fetched.aborted_transactions.clone();
    let (mut aborting, mut next) = (HashSet::new(), None);
    for records in &fetched.records {
        for batch in batches(records) {
            let batch = batch.expect("whole batches");
            let (header, bytes) = (batch.header, records.slice_ref(batch.bytes));
            next = Some(header.next_offset());
            for begun in upcoming.extract_if(.., |txn| txn.first_offset <= header.last_offset()) {
                aborting.insert(begun.producer_id);
            }
            if header.is_control() {
                let marker = EndTxnMarker::of_batch(&bytes).expect("a control record");
                if marker.is_some_and(|marker| marker.result == TransactionResult::Abort) {
                    aborting.remove(&header.producer_id);
                }
            } else if !(header.is_transactional() && aborting.contains(&header.producer_id)) {
                let alone = FetchedRecords {
                    records: vec![bytes],
                    ..fetched.clone()
                };
                taken.extend(values(&alone));
            }
        }
    }
    next
}

/// Everything that a log shows from an offset on.
pub async fn read_all(log: &Arc<dyn PartitionLog>, from: i64) -> Vec<(i64, Vec<u8>)> {
    let mut all = Vec::new();
    let mut next = from;
    loop {
        let fetched = read(log, request(next)).await.expect("a readable log");
        let Some(last) = headers(&fetched).last().map(BatchHeader::next_offset) else {
            return all;
        };
        assert!(last > next, "a read must move on");
        all.extend(
            values(&fetched)
                .into_iter()
                .filter(|(offset, _)| *offset >= next),
        );
        next = last;
    }
}

/// Ends a manager like a process that is killed, and gives a copy of what that leaves behind.
pub fn crash(manager: Arc<dyn LogStore>, dir: &Path) -> tempfile::TempDir {
    // Without a shutdown nothing more is written: the page cache stays, memory goes.
    assert_eq!(Arc::strong_count(&manager), 1);
    drop(manager);
    copy_of(dir)
}

pub fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    copy_dir(dir, copy.path());
    copy
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a new directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}

/// The names in a directory, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}
