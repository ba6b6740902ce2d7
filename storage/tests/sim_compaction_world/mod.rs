//! A world with a compacted log: a disk, transactional producers, and what they know to be true.
#![allow(dead_code)]

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::local::{self, LocalConfig};
use storage::log::{
    AppendOrigin, Durability, Isolation, LogConfig, LogStore, PartitionLog, ReadRequest,
};
use storage::log::{CleanerConfig, LiveConfig};
use storage::record::{
    BatchBuilder, BatchHeader, EndTxnMarker, RecordSet, TransactionResult, ValidatedBatch, batches,
};
use storage::testing::scheduler::{self, SimClock, sleep, timeout};
use storage::testing::sim_disk::SimDisk;

use crate::common::*;

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;
type Records = Vec<(Vec<u8>, Option<Vec<u8>>)>;

const PRODUCERS: i64 = 3;
const LIVES: usize = 5;
const STEPS: usize = 50;
/// How often somebody who waits looks whether the process has ended, and how often before it is stuck.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const STUCK_AFTER_LOOKS: usize = 100_000;

/// What was appended, in order.
#[derive(Clone, Debug)]
enum Event {
    Data {
        producer: Option<i64>,
        records: Records,
    },
    End {
        producer: i64,
        commits: bool,
    },
}

pub struct World {
    pub disk: SimDisk,
    durability: Durability,
    sync_together_from: usize,
    random: StdRng,
    /// Each with the offset behind it.
    events: Vec<(i64, Event)>,
    acknowledged: i64,
    cleaned: bool,
}

pub fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1_500,
        compact: true,
        delete: false,
        delete_retention_ms: 0,
        min_cleanable_dirty_ratio: 0.0,
        index_interval_bytes: 200,
        ..LogConfig::default()
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        Self {
            disk: SimDisk::new(),
            durability: match random.random_bool(0.5) {
                true => Durability::Strict,
                false => Durability::Os,
            },
            sync_together_from: [1, usize::MAX][random.random_range(0..2)],
            random,
            events: Vec::new(),
            acknowledged: 0,
            cleaned: false,
        }
    }

    pub fn start(&self, stop_at: Option<u64>, cleans: bool) -> Result<Arc<dyn LogStore>, String> {
        let opened = local::open(LocalConfig {
            wal_ring_bytes: 128 << 10,
            wal_region_bytes: 32 << 10,
            wal_first_region_bytes: 16 << 10,
            append_budget_bytes: 64 << 10,
            io_threads: 1,
            note_interval_bytes: 1_000,
            sync_together_from: self.sync_together_from,
            live: LiveConfig {
                producer_id_expiration_ms: i64::MAX,
                cleaner: CleanerConfig {
                    enabled: cleans,
                    backoff_ms: 1,
                    dedupe_buffer_bytes: 2_000,
                    ..CleanerConfig::default()
                },
                ..LiveConfig::default()
            },
            durability: self.durability,
            fs: Arc::new(self.disk.boot(stop_at)),
            clock: Arc::new(SimClock),
            initial_task_delay_ms: 300_000,
            ..LocalConfig::new("/data")
        });
        opened.map_err(|error| error.to_string())
    }

    /// The result, unless the process ends before there is one.
    async fn alive<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        for _ in 0..STUCK_AFTER_LOOKS {
            match timeout(LOOK_INTERVAL, &mut future).await {
                Some(value) => return Some(value),
                None if self.disk.is_stopped() => return None,
                None => {}
            }
        }
        panic!("stuck");
    }

    fn is_open(&self, producer: i64) -> bool {
        let last = self.events.iter().rev().find_map(|(_, event)| match event {
            Event::Data { producer: of, .. } if *of == Some(producer) => Some(true),
            Event::End { producer: of, .. } if *of == producer => Some(false),
            _ => None,
        });
        last.unwrap_or(false)
    }

    fn next_event(&mut self) -> Event {
        let producer = self.random.random_range(0..=PRODUCERS);
        if producer > 0 && self.is_open(producer) && self.random.random_bool(0.4) {
            let commits = self.random.random_bool(0.6);
            return Event::End { producer, commits };
        }
        let number = self.events.len();
        let records = (0..self.random.random_range(1..4))
            .map(|_| {
                let key = format!("key {}", self.random.random_range(0..12)).into_bytes();
                let bytes = self.random.random_range(0..100);
                let value = (self.random.random_range(0..5) > 0)
                    .then(|| format!("{number} {}", "x".repeat(bytes)).into_bytes());
                (key, value)
            })
            .collect();
        Event::Data {
            producer: (producer > 0).then_some(producer),
            records,
        }
    }

    fn batch_of(&self, event: &Event) -> ValidatedBatch {
        match event {
            Event::End { producer, commits } => {
                let marker = EndTxnMarker {
                    result: match commits {
                        true => TransactionResult::Commit,
                        false => TransactionResult::Abort,
                    },
                    coordinator_epoch: 1,
                };
                trusted(marker.to_batch(*producer, 0, 1_000).unwrap())
            }
            Event::Data { producer, records } => {
                let mut builder = BatchBuilder::new();
                if let Some(producer) = *producer {
                    let sent = self.events.iter().filter_map(|(_, event)| match event {
                        Event::Data {
                            producer: of,
                            records,
                        } if *of == Some(producer) => Some(records.len() as i32),
                        _ => None,
                    });
                    builder = builder.producer(producer, 0, sent.sum()).transactional();
                }
                for (key, value) in records {
                    builder.append(1_000, Some(key), value.as_deref(), &[]);
                }
                trusted(builder.build().unwrap())
            }
        }
    }

    /// What a reader that waits for commits has to find.
    fn expected(&self) -> Contents {
        let stable_count = (0..self.events.len())
            .find(|&at| match self.events[at].1 {
                Event::Data {
                    producer: Some(producer),
                    ..
                } => self.fate(producer, at).is_none(),
                _ => false,
            })
            .unwrap_or(self.events.len());
        let mut contents = Contents::new();
        for (at, (_, event)) in self.events[..stable_count].iter().enumerate() {
            let Event::Data { producer, records } = event else {
                continue;
            };
            if producer.is_some_and(|producer| self.fate(producer, at) != Some(true)) {
                continue;
            }
            for (key, value) in records {
                match value {
                    Some(value) => contents.insert(key.clone(), value.clone()),
                    None => contents.remove(key),
                };
            }
        }
        contents
    }

    /// A tombstone may go, with what it deletes, between two fetches of a reader that has seen the one and not the other:
    /// `delete.retention.ms` is 0 here. Where nothing is compacted meanwhile, all has to be right.
    fn compare(&self, found: &Contents, quiet: bool) {
        let expected = self.expected();
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        for (key, value) in &expected {
            assert_eq!(found.get(key).map(text), Some(text(value)), "{}", text(key));
        }
        for (key, value) in found {
            let deleted = !expected.contains_key(key);
            assert!(!(deleted && quiet), "{} is {}", text(key), text(value));
        }
    }

    /// Whether the transaction that an event is part of commits; nothing if it is open.
    fn fate(&self, producer: i64, at: usize) -> Option<bool> {
        self.events[at..].iter().find_map(|(_, event)| match event {
            Event::End {
                producer: of,
                commits,
            } if *of == producer => Some(*commits),
            _ => None,
        })
    }

    /// Reads as a consumer with `read_committed` does; nothing if the process ends before.
    async fn contents(&mut self, log: &Arc<dyn PartitionLog>) -> Option<Contents> {
        let end = log.offsets().last_stable_offset;
        let mut contents = Contents::new();
        let (mut next, mut count) = (0, 0);
        while next < end {
            let wanted = ReadRequest {
                max_bytes: self.random.random_range(1..4_000),
                isolation: Isolation::ReadCommitted,
                ..request(next)
            };
            let fetched = match self.alive(read(log, wanted)).await? {
                Ok(fetched) => fetched,
                Err(_) if self.disk.is_stopped() => return None,
                Err(error) => panic!("at {next}: {error}"),
            };
            let last = headers(&fetched).last().map(BatchHeader::next_offset);
            if last.is_none() && self.disk.is_stopped() {
                return None;
            }
            let mut aborted = fetched.aborted_transactions.clone();
            let mut aborting = HashSet::new();
            for records in &fetched.records {
                for batch in batches(records) {
                    let batch = batch.unwrap();
                    let header = batch.header;
                    for begun in
                        aborted.extract_if(.., |txn| txn.first_offset <= header.last_offset())
                    {
                        aborting.insert(begun.producer_id);
                    }
                    if header.is_control() {
                        aborting.remove(&header.producer_id);
                        continue;
                    }
                    if header.is_transactional() && aborting.contains(&header.producer_id) {
                        continue;
                    }
                    let set = RecordSet::open(&records.slice_ref(batch.bytes), 1 << 20).unwrap();
                    for record in &set {
                        let record = record.unwrap();
                        if record.offset < next || record.offset >= end {
                            continue;
                        }
                        count += 1;
                        let key = record.key.unwrap().to_vec();
                        match record.value {
                            Some(value) => contents.insert(key, value.to_vec()),
                            None => contents.remove(&key),
                        };
                    }
                }
            }
            next = last.unwrap_or_else(|| panic!("nothing at {next} of {end}"));
        }
        self.cleaned |= count < end / 2;
        Some(contents)
    }

    async fn live(&mut self, stop_at: Option<u64>, steps: usize) -> Option<()> {
        let manager = match self.start(stop_at, steps > 0) {
            Ok(manager) => manager,
            Err(_) if self.disk.is_stopped() => return None,
            Err(error) => panic!("refuses to start: {error}"),
        };
        let log = open_with(&manager, "topic", 0, config());
        let end = log.offsets().log_end_offset;
        if self.disk.is_stopped() {
            return None;
        }
        assert!(end >= self.acknowledged, "{end} of {}", self.acknowledged);
        self.events.retain(|(event_end, _)| *event_end <= end);
        let known_end = self.events.last().map_or(0, |(end, _)| *end);
        assert_eq!(end, known_end, "ends within a batch");
        self.acknowledged = end;
        let found = self.contents(&log).await?;
        self.compare(&found, steps == 0);
        for _ in 0..steps {
            let event = self.next_event();
            let batch = self.batch_of(&event);
            let next_offset = known_or_zero(&self.events) + i64::from(batch.header.records_count);
            let origin = match event {
                Event::Data { .. } => verified(&log, &batch),
                Event::End { .. } => Ok(AppendOrigin::COORDINATOR),
            };
            let append = async { append_as(&log, batch, origin?).await };
            self.events.push((next_offset, event));
            match self.alive(append).await? {
                Ok(appended) => self.acknowledged = appended.last_offset + 1,
                Err(_) if self.disk.is_stopped() => return None,
                Err(error) => panic!("not appended: {error}"),
            }
            match self.random.random_range(0..10) {
                0 => {
                    let found = self.contents(&log).await?;
                    self.compare(&found, false);
                }
                1..3 => sleep(Duration::from_millis(4)).await,
                _ => {}
            }
        }
        if self.random.random_bool(0.3) {
            drop(log);
            let (sender, closed) = tokio::sync::oneshot::channel();
            let shutdown = move || sender.send(manager.shutdown().is_ok());
            let thread = scheduler::thread::spawn(shutdown).unwrap();
            let closed = self.alive(closed).await;
            let _ = thread.join();
            closed?.ok()?;
        }
        Some(())
    }
}

fn known_or_zero(events: &[(i64, Event)]) -> i64 {
    events.last().map_or(0, |(end, _)| *end)
}

/// Processes that end in each world.
pub const ENDS: u64 = LIVES as u64 + 1;

/// Whether compaction has taken anything, and what the world did to its disk.
pub type Outcome = (bool, u64);

/// Runs one world.
///
/// # Errors
/// What went wrong.
pub fn run(seed: u64) -> Result<Outcome, String> {
    let world = World::new(seed);
    let ran = scheduler::run(seed, || async { Ok(world.run().await) });
    ran.map_err(|what| format!("OTTLA_SIM_SEED={seed} {what}"))
}

impl World {
    async fn run(mut self) -> Outcome {
        for _ in 0..LIVES {
            let stop_at = match self.random.random_range(0..4) {
                0 => None,
                _ => Some(self.random.random_range(30..600)),
            };
            let _ = self.live(stop_at, STEPS).await;
            if self.random.random_bool(0.3) {
                self.disk.kill();
                continue;
            }
            let cut = self.random.random();
            self.disk.power_cut(cut);
            if self.durability == Durability::Os {
                // Nothing was promised: what is left is a log, from its beginning to somewhere.
                self.acknowledged = 0;
            }
        }
        assert_eq!(self.live(None, 0).await, Some(()));
        self.disk.kill();
        (self.cleaned, self.disk.history())
    }
}
