//! Random appends, reads, deletions, crashes and restarts, held against a plain vector.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::local::{self, LocalConfig};
use storage::log::{
    Durability, Isolation, LogConfig, LogStore, PartitionLog, PendingAppend, ReadError, ReadRequest,
};
use storage::memory;

const PARTITIONS: usize = 3;
const STEPS: usize = 250;

/// What a partition holds: a value and a timestamp for each offset.
#[derive(Clone, Default)]
struct Model {
    records: Vec<(Vec<u8>, i64)>,
    log_start: usize,
    /// Everything before was acknowledged.
    acknowledged: usize,
}

struct World {
    seed: u64,
    random: StdRng,
    dir: tempfile::TempDir,
    config: LogConfig,
    durability: Durability,
    manager: Arc<dyn LogStore>,
    logs: Vec<Arc<dyn PartitionLog>>,
    models: Vec<Model>,
    pending: Vec<(usize, PendingAppend)>,
    trace: Vec<String>,
}

fn open_manager(dir: &std::path::Path, durability: Durability) -> Arc<dyn LogStore> {
    local::open(LocalConfig {
        durability,
        ..small(dir)
    })
    .expect("the directory opens")
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let durability = if random.random_bool(0.8) {
            Durability::Strict
        } else {
            Durability::Os
        };
        let config = LogConfig {
            segment_bytes: random.random_range(1_000..200_000),
            segment_ms: random.random_range(10..10_000),
            segment_jitter_ms: random.random_range(0..2_000),
            index_interval_bytes: random.random_range(0..10_000),
            segment_index_bytes: random.random_range(100..10_000),
            ..LogConfig::default()
        };
        let manager = open_manager(dir.path(), durability);
        let mut world = Self {
            seed,
            random,
            dir,
            config,
            durability,
            manager,
            logs: Vec::new(),
            models: vec![Model::default(); PARTITIONS],
            pending: Vec::new(),
            trace: Vec::new(),
        };
        world.open_logs();
        world
    }

    fn open_logs(&mut self) {
        self.logs = (0..PARTITIONS as i32)
            .map(|number| open_with(&self.manager, "model", number, self.config.clone()))
            .collect();
    }

    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..55 => self.append().await,
            55..70 => self.settle().await,
            70..85 => self.read().await,
            85..90 => self.find_time().await,
            90..93 => self.delete_records().await,
            93..95 => self.shut_down().await,
            95..98 => self.crash().await,
            _ => self.check_all().await,
        }
    }

    async fn append(&mut self) {
        let at = self.random.random_range(0..PARTITIONS);
        let count = self.random.random_range(1..6);
        let time = self.random.random_range(0..1_000);
        let size = match self.random.random_range(0..20) {
            0 => self.random.random_range(0..40_000),
            _ => self.random.random_range(0..2_000),
        };
        let model = &mut self.models[at];
        let values: Vec<Vec<u8>> = (0..count)
            .map(|number| {
                let mut value = format!("{}-{} ", at, model.records.len() + number).into_bytes();
                value.resize(value.len() + size, b'x');
                value
            })
            .collect();
        let base_offset = model.records.len();
        for (number, value) in values.iter().enumerate() {
            model.records.push((value.clone(), time + number as i64));
        }
        self.trace
            .push(format!("append {at} {count} of {size} at {time}"));
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let pending = submit(&self.logs[at], batch_at(time, &values)).await;
        self.pending.push((at, pending));
        if self.random.random_bool(0.3) {
            self.settle().await;
        }
        assert!(self.logs[at].offsets().high_watermark as usize <= base_offset + count);
    }

    /// Waits for all acknowledgements.
    async fn settle(&mut self) {
        for (at, pending) in self.pending.drain(..) {
            let appended = pending.await.unwrap();
            let model = &mut self.models[at];
            assert_eq!(appended.base_offset as usize, model.acknowledged);
            model.acknowledged = appended.last_offset as usize + 1;
        }
    }

    async fn read(&mut self) {
        let at = self.random.random_range(0..PARTITIONS);
        let model = &self.models[at];
        let from = self.random.random_range(0..model.records.len() + 2);
        let max_bytes = self.random.random_range(0..50_000);
        self.trace
            .push(format!("read {at} from {from}, {max_bytes}"));
        let request = ReadRequest {
            max_bytes,
            ..request(from as i64)
        };
        match read(&self.logs[at], request).await {
            Ok(fetched) => {
                let headers = headers(&fetched);
                let end = fetched.offsets.high_watermark as usize;
                assert!(end >= model.acknowledged && end <= model.records.len());
                assert!(fetched.size_bytes <= max_bytes || headers.len() == 1);
                if let Some(first) = headers.first() {
                    assert!(first.base_offset as usize <= from);
                    assert!(first.last_offset() as usize >= from);
                } else {
                    assert!(from >= end, "nothing at {from} of {end}");
                }
                for (offset, value) in values(&fetched) {
                    assert_eq!(value, model.records[offset as usize].0, "offset {offset}");
                }
            }
            Err(ReadError::OffsetOutOfRange { .. }) => {
                assert!(from < model.log_start || from > model.records.len());
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn find_time(&mut self) {
        self.settle().await;
        let at = self.random.random_range(0..PARTITIONS);
        let time = self.random.random_range(-1..1_100);
        self.trace.push(format!("find {time} in {at}"));
        let model = &self.models[at];
        let records = || model.records.iter().enumerate().skip(model.log_start);
        let expected = records()
            .find(|(_, (_, stamp))| *stamp >= time)
            .map(|(offset, (_, stamp))| (*stamp, offset as i64));
        let found = self.logs[at]
            .offset_for_timestamp(time, Isolation::ReadUncommitted)
            .await
            .unwrap();
        assert_eq!(found.map(|found| (found.timestamp, found.offset)), expected);
        if model.log_start == 0 {
            let newest = records().map(|(_, (_, stamp))| *stamp).max();
            let expected = records()
                .find(|(_, (_, stamp))| Some(*stamp) == newest)
                .map(|(offset, (_, stamp))| (*stamp, offset as i64));
            let found = self.logs[at].offset_of_max_timestamp().await.unwrap();
            assert_eq!(found.map(|found| (found.timestamp, found.offset)), expected);
        }
    }

    async fn delete_records(&mut self) {
        self.settle().await;
        let at = self.random.random_range(0..PARTITIONS);
        let model = &mut self.models[at];
        let offset = self.random.random_range(0..=model.records.len());
        self.trace.push(format!("delete {at} before {offset}"));
        model.log_start = model.log_start.max(offset);
        let start = self.logs[at].delete_records_before(offset as i64).await;
        assert_eq!(start.unwrap() as usize, model.log_start);
    }

    async fn shut_down(&mut self) {
        self.trace.push("shut down".to_owned());
        self.manager.shutdown().unwrap();
        self.settle().await;
        assert!(!self.dir.path().join("wal").exists());
        self.manager = open_manager(self.dir.path(), self.durability);
        assert!(self.manager.recovery_report().clean);
        self.open_logs();
        self.check_all().await;
    }

    /// The process is killed, with appends on their way: each is found, or was never acknowledged.
    async fn crash(&mut self) {
        self.trace.push("crash".to_owned());
        self.logs.clear();
        self.manager = memory::open();
        for (at, pending) in self.pending.drain(..) {
            if let Ok(appended) = pending.await {
                self.models[at].acknowledged = appended.last_offset as usize + 1;
            }
        }
        self.manager = open_manager(self.dir.path(), self.durability);
        self.open_logs();
        for (log, model) in self.logs.iter().zip(&mut self.models) {
            let found = log.offsets().log_end_offset as usize;
            assert!(found >= model.acknowledged && found <= model.records.len());
            model.records.truncate(found);
            model.acknowledged = found;
        }
        self.check_all().await;
    }

    async fn check_all(&mut self) {
        self.settle().await;
        for (log, model) in self.logs.iter().zip(&self.models) {
            let offsets = log.offsets();
            assert_eq!(offsets.log_start_offset as usize, model.log_start);
            assert_eq!(offsets.high_watermark as usize, model.records.len());
            let all = read_all(log, model.log_start as i64).await;
            assert_eq!(all.len(), model.records.len() - model.log_start);
            for (offset, value) in all {
                assert_eq!(value, model.records[offset as usize].0, "offset {offset}");
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let from = self.trace.len().saturating_sub(30);
            eprintln!(
                "seed {}, {:?}\n{}",
                self.seed,
                self.config,
                self.trace[from..].join("\n")
            );
        }
    }
}

fn run(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step().await;
        }
        world.check_all().await;
    });
}

#[test]
fn a_log_is_what_was_appended_to_it() {
    for seed in 0..12 {
        run(seed);
    }
}

#[test]
fn a_log_is_what_was_appended_to_it_whatever_the_seed() {
    run(rand::rng().random());
}
