//! What readers see of transactions: random ones, restarts and deletions, held against a model.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::local::{self, LocalConfig};
use storage::log::{
    AbortedTransaction, AppendOrigin, Durability, Isolation, LogConfig, LogStore, PartitionLog,
    ReadRequest,
};
use storage::memory;
use storage::record::{BatchBuilder, BatchHeader, EndTxnMarker, TransactionResult, ValidatedBatch};

const STEPS: usize = 400;
const PRODUCERS: i64 = 5;

/// A transaction in the log.
#[derive(Clone, Copy, Debug)]
struct Txn {
    producer_id: i64,
    first_offset: i64,
    /// Where its marker is, and whether it was committed.
    end: Option<(i64, bool)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Producer {
    epoch: i16,
    sequence: i32,
    /// Its place in the list of transactions.
    open: Option<usize>,
}

#[derive(Default)]
struct Model {
    /// A value for each offset, and its transaction. A marker has none.
    records: Vec<Option<(Vec<u8>, Option<usize>)>>,
    txns: Vec<Txn>,
    log_start: i64,
    producers: BTreeMap<i64, Producer>,
}

impl Model {
    fn end(&self) -> i64 {
        self.records.len() as i64
    }

    fn last_stable_offset(&self) -> i64 {
        let open = self.txns.iter().filter(|txn| txn.end.is_none());
        let first = open.map(|txn| txn.first_offset).min();
        first.unwrap_or(self.end()).max(self.log_start)
    }

    /// The aborted transactions that a reader of `from..end` must know, by their markers.
    fn aborted(&self, from: i64, end: i64) -> Vec<AbortedTransaction> {
        let mut aborted: Vec<(i64, AbortedTransaction)> = Vec::new();
        for txn in &self.txns {
            if let Some((marker, false)) = txn.end
                && marker >= from
                && txn.first_offset < end
            {
                let listed = AbortedTransaction {
                    producer_id: txn.producer_id,
                    first_offset: txn.first_offset,
                };
                aborted.push((marker, listed));
            }
        }
        aborted.sort_by_key(|(marker, _)| *marker);
        aborted.into_iter().map(|(_, txn)| txn).collect()
    }

    /// What a reader of committed data is to be given from an offset on.
    fn committed(&self, from: i64) -> Vec<(i64, Vec<u8>)> {
        let mut committed = Vec::new();
        for offset in from..self.last_stable_offset() {
            let Some((value, txn)) = &self.records[offset as usize] else {
                continue;
            };
            let end = txn.map(|txn| self.txns[txn].end.expect("stable"));
            if end.is_none_or(|(_, is_committed)| is_committed) {
                committed.push((offset, value.clone()));
            }
        }
        committed
    }
}

/// A store that may be closed or killed, and opened again.
enum Engine {
    Memory,
    Files(tempfile::TempDir, Durability),
}

impl Engine {
    fn open(&self) -> Arc<dyn LogStore> {
        match self {
            Self::Memory => memory::open(),
            Self::Files(dir, durability) => open_at(dir.path(), *durability),
        }
    }
}

fn open_at(dir: &Path, durability: Durability) -> Arc<dyn LogStore> {
    let config = LocalConfig {
        durability,
        tail_cache_bytes: 16 << 10,
        note_interval_bytes: 4 << 10,
        ..small(dir)
    };
    local::open(config).unwrap()
}

struct World {
    seed: u64,
    random: StdRng,
    engine: Engine,
    config: LogConfig,
    manager: Arc<dyn LogStore>,
    log: Arc<dyn PartitionLog>,
    model: Model,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64, engine: Engine) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let config = LogConfig {
            segment_bytes: random.random_range(500..20_000),
            index_interval_bytes: random.random_range(0..2_000),
            file_delete_delay_ms: 0,
            ..LogConfig::default()
        };
        let manager = engine.open();
        let log = open_with(&manager, "topic", 0, config.clone());
        Self {
            seed,
            random,
            engine,
            config,
            manager,
            log,
            model: Model::default(),
            trace: Vec::new(),
        }
    }

    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..30 => self.write().await,
            30..55 => self.end().await,
            55..62 => self.write_plain().await,
            62..64 => self.fence().await,
            64..68 => self.delete_records().await,
            68..88 => self.read().await,
            88..94 => self.consume().await,
            94..96 => self.find_time().await,
            96..98 => self.restart(true).await,
            _ => self.restart(false).await,
        }
        self.check_offsets();
    }

    fn a_producer(&mut self) -> (i64, Producer) {
        let id = self.random.random_range(0..PRODUCERS);
        let producer = self.model.producers.entry(id).or_default();
        (id, *producer)
    }

    /// Half of the producers get a new epoch with each transaction.
    fn bumps(producer_id: i64) -> bool {
        producer_id % 2 == 0
    }

    async fn write(&mut self) {
        let (id, mut producer) = self.a_producer();
        let end = self.model.end();
        let txn = *producer.open.get_or_insert_with(|| {
            self.model.txns.push(Txn {
                producer_id: id,
                first_offset: end,
                end: None,
            });
            self.model.txns.len() - 1
        });
        let values = self.values(Some(txn));
        self.trace.push(format!("write {} of {id}", values.len()));
        let builder = BatchBuilder::new()
            .producer(id, producer.epoch, producer.sequence)
            .transactional();
        self.append(&values, builder).await;
        producer.sequence += values.len() as i32;
        self.model.producers.insert(id, producer);
    }

    async fn write_plain(&mut self) {
        let values = self.values(None);
        self.trace.push(format!("write {}", values.len()));
        self.append(&values, BatchBuilder::new()).await;
    }

    fn values(&mut self, txn: Option<usize>) -> Vec<Vec<u8>> {
        let count = self.random.random_range(1..4);
        let size = self.random.random_range(0..600);
        let values = (0..count).map(|_| {
            let mut value = self.model.end().to_be_bytes().to_vec();
            value.resize(8 + size, b'x');
            let kept = Some((value.clone(), txn));
            self.model.records.push(kept);
            value
        });
        values.collect()
    }

    /// Appends what the model has already.
    async fn append(&mut self, values: &[Vec<u8>], builder: BatchBuilder) {
        let base_offset = self.model.end() - values.len() as i64;
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let batch = trusted(build(builder, base_offset, &values));
        let appended = append(&self.log, batch).await.unwrap();
        assert_eq!(appended.base_offset, base_offset);
    }

    async fn end(&mut self) {
        let (id, mut producer) = self.a_producer();
        let Some(txn) = producer.open.take() else {
            return;
        };
        let is_committed = self.random.random_bool(0.5);
        self.trace.push(format!("end {id}: {is_committed}"));
        self.model.txns[txn].end = Some((self.model.end(), is_committed));
        if Self::bumps(id) {
            producer.epoch += 1;
            producer.sequence = 0;
        }
        self.model.producers.insert(id, producer);
        self.write_marker(id, producer.epoch, is_committed).await;
    }

    /// A marker of a transaction that has written nothing here.
    async fn fence(&mut self) {
        let (id, mut producer) = self.a_producer();
        if producer.open.is_some() {
            return;
        }
        self.trace.push(format!("fence {id}"));
        producer.epoch += 1;
        producer.sequence = 0;
        self.model.producers.insert(id, producer);
        self.write_marker(id, producer.epoch, false).await;
    }

    async fn write_marker(&mut self, id: i64, epoch: i16, is_committed: bool) {
        let marker = EndTxnMarker {
            result: match is_committed {
                true => TransactionResult::Commit,
                false => TransactionResult::Abort,
            },
            coordinator_epoch: 0,
        };
        let batch = marker.to_batch(id, epoch, self.model.end()).unwrap();
        let origin = AppendOrigin::Marker {
            transaction_version: if Self::bumps(id) { 2 } else { 0 },
        };
        let batch = ValidatedBatch::trusted(batch).unwrap();
        let appended = append_as(&self.log, batch, origin).await.unwrap();
        assert_eq!(appended.base_offset, self.model.end());
        self.model.records.push(None);
    }

    async fn delete_records(&mut self) {
        let start = self.model.log_start;
        // Seldom everything, or there would never be much.
        let most = match self.random.random_range(0..4) {
            0 => self.model.end(),
            _ => (start + 10).min(self.model.end()),
        };
        let offset = self.random.random_range(start..=most);
        self.trace.push(format!("delete before {offset}"));
        self.model.log_start = offset;
        let start = self.log.delete_records_before(offset).await;
        assert_eq!(start.unwrap(), offset);
    }

    fn committed_request(&mut self, from: i64) -> ReadRequest {
        ReadRequest {
            isolation: Isolation::ReadCommitted,
            max_bytes: self.random.random_range(0..5_000),
            ..request(from)
        }
    }

    async fn read(&mut self) {
        let (start, end) = (self.model.log_start, self.model.end());
        let from = self.random.random_range(start..=end);
        let request = self.committed_request(from);
        let fetched = read(&self.log, request).await.unwrap();
        let headers = headers(&fetched);
        let stable = self.model.last_stable_offset();
        assert_eq!(headers.is_empty(), from >= stable, "from {from}");
        let next = headers.last().map_or(from, BatchHeader::next_offset);
        assert!(next <= stable.max(from));
        let expected = match headers.is_empty() {
            true => Vec::new(),
            false => self.model.aborted(from, next),
        };
        let listed = fetched.aborted_transactions;
        assert_eq!(listed, expected, "from {from} to {next}");
        let uncommitted = ReadRequest {
            isolation: Isolation::ReadUncommitted,
            ..request
        };
        let fetched = read(&self.log, uncommitted).await.unwrap();
        assert_eq!(fetched.records.is_empty(), from == end);
        assert_eq!(fetched.aborted_transactions, []);
    }

    /// Reads to the end as a client does that wants only what is committed.
    async fn consume(&mut self) {
        let start = self.model.log_start;
        let stable = self.model.last_stable_offset();
        let from = self.random.random_range(start..=stable);
        let (mut next, mut consumed) = (from, Vec::new());
        while next < stable {
            let request = self.committed_request(next);
            let fetched = read(&self.log, request).await.unwrap();
            next = take_committed(&fetched, &mut consumed).expect("it goes on");
        }
        consumed.retain(|(offset, _)| *offset >= from);
        let expected = self.model.committed(from);
        assert_eq!(consumed, expected, "from {from} to {stable}");
    }

    async fn find_time(&mut self) {
        // The time of a record is its offset.
        let (start, end) = (self.model.log_start, self.model.end());
        let time = self.random.random_range(start..=end);
        for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
            let visible = match isolation {
                Isolation::ReadCommitted => self.model.last_stable_offset(),
                Isolation::ReadUncommitted => end,
            };
            let found = self
                .log
                .offset_for_timestamp(time, isolation)
                .await
                .unwrap();
            let expected = (time < visible).then_some(time);
            assert_eq!(found.map(|found| found.offset), expected, "{isolation:?}");
        }
    }

    async fn restart(&mut self, is_orderly: bool) {
        if matches!(self.engine, Engine::Memory) {
            return;
        }
        self.trace.push(format!("restart, orderly: {is_orderly}"));
        let producers = self.log.producers();
        if is_orderly {
            self.manager.shutdown().unwrap();
        }
        // Both go before the directory is opened anew.
        self.manager = memory::open();
        self.log = open(&self.manager, "none", 0);
        self.manager = self.engine.open();
        self.log = open_with(&self.manager, "topic", 0, self.config.clone());
        if let Some(ready) = self.log.ready() {
            ready.await;
        }
        assert_eq!(self.log.producers(), producers);
        self.check_offsets();
        self.consume().await;
    }

    fn check_offsets(&self) {
        let (offsets, model) = (self.log.offsets(), &self.model);
        assert_eq!(offsets.high_watermark, model.end());
        assert_eq!(offsets.log_start_offset, model.log_start);
        assert_eq!(offsets.last_stable_offset, model.last_stable_offset());
        for producer in self.log.producers() {
            let known = self.model.producers[&producer.producer_id];
            let first = known.open.map(|txn| self.model.txns[txn].first_offset);
            assert_eq!(producer.current_txn_start_offset, first, "{producer:?}");
            assert_eq!(producer.producer_epoch, known.epoch);
            assert_eq!(producer.last_sequence, known.sequence - 1, "{producer:?}");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let from = self.trace.len().saturating_sub(40);
            eprintln!(
                "OTTLA_SIM_SEED={}, {:?}\n{}",
                self.seed,
                self.config,
                self.trace[from..].join("\n")
            );
        }
    }
}

fn run(seed: u64, engine: Engine) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, engine);
        for _ in 0..STEPS {
            world.step().await;
        }
    });
}

#[test]
fn readers_see_what_is_decided_in_memory() {
    for seed in seeds(10) {
        run(seed, Engine::Memory);
    }
}

#[test]
fn readers_see_what_is_decided_on_files() {
    for seed in seeds(3) {
        let dir = tempfile::tempdir().unwrap();
        run(seed, Engine::Files(dir, Durability::Strict));
    }
}

#[test]
fn readers_see_what_is_decided_in_the_page_cache() {
    for seed in seeds(3) {
        let dir = tempfile::tempdir().unwrap();
        run(seed, Engine::Files(dir, Durability::Os));
    }
}
