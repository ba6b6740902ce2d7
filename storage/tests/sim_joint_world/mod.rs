//! A world in which several logs are appended to together, on a disk that loses its power.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use storage::local::{self, LocalConfig};
use storage::log::{
    AppendOrigin, CleanerConfig, Durability, IfRefused, JointPart, LiveConfig, LogConfig, LogStore,
    PartitionLog,
};
use storage::record::BatchBuilder;
use storage::testing::scheduler::{self, SimClock, sleep, timeout};
use storage::testing::sim_disk::SimDisk;

use crate::common::*;

const LOGS: usize = 4;
const LIVES: usize = 6;
const STEPS: usize = 40;
/// How often somebody who waits looks whether the process has ended, and how often before it is stuck.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const STUCK_AFTER_LOOKS: usize = 100_000;

/// A joint append, or one that was to be.
struct Joint {
    number: u32,
    logs: Vec<usize>,
    /// It was said to be durable, or was found after a crash: it must not go any more.
    stays: bool,
}

/// What a world came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Joint appends that a crash has taken before they were acknowledged.
    pub lost: u32,
    /// Joint appends that a crash has left although they were not acknowledged.
    pub kept: u32,
    /// What the world did to its disk.
    pub history: u64,
}

struct World {
    disk: SimDisk,
    durability: Durability,
    sync_together_from: usize,
    segment_bytes: u64,
    random: StdRng,
    joints: Vec<Joint>,
    outcome: Outcome,
}

/// Runs one world.
///
/// # Errors
/// What went wrong.
pub fn run(seed: u64) -> Result<Outcome, String> {
    let mut random = StdRng::seed_from_u64(seed);
    let world = World {
        disk: SimDisk::new(),
        durability: match random.random_bool(0.5) {
            true => Durability::Strict,
            false => Durability::Os,
        },
        sync_together_from: [1, usize::MAX][random.random_range(0..2)],
        segment_bytes: [600, 5_000, 1 << 20][random.random_range(0..3)],
        random,
        joints: Vec::new(),
        outcome: Outcome::default(),
    };
    let ran = scheduler::run(seed, || async { Ok(world.run().await) });
    ran.map_err(|what| format!("OTTLA_SIM_SEED={seed} {what}"))
}

impl World {
    async fn run(mut self) -> Outcome {
        for _ in 0..LIVES {
            let stop_at = Some(self.random.random_range(30..500));
            let _ = self.live(stop_at, STEPS).await;
            match self.random.random_bool(0.8) {
                true => {
                    let cut = self.random.random();
                    self.disk.power_cut(cut);
                }
                false => self.disk.kill(),
            }
        }
        assert_eq!(self.live(None, 0).await, Some(()));
        self.disk.kill();
        self.outcome.history = self.disk.history();
        self.outcome
    }

    fn start(&self, stop_at: Option<u64>) -> Result<Arc<dyn LogStore>, String> {
        let opened = local::open(LocalConfig {
            wal_ring_bytes: 128 << 10,
            wal_region_bytes: 32 << 10,
            wal_first_region_bytes: 16 << 10,
            append_budget_bytes: 64 << 10,
            tail_cache_bytes: 4 << 10,
            io_threads: 2,
            note_interval_bytes: 1_000,
            sync_together_from: self.sync_together_from,
            live: LiveConfig {
                cleaner: CleanerConfig {
                    enabled: false,
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

    /// One life of the process; nothing if it has ended before its time.
    async fn live(&mut self, stop_at: Option<u64>, steps: usize) -> Option<()> {
        let manager = match self.start(stop_at) {
            Ok(manager) => manager,
            Err(_) if self.disk.is_stopped() => return None,
            Err(error) => panic!("refuses to start: {error}"),
        };
        let config = LogConfig {
            segment_bytes: self.segment_bytes,
            delete: false,
            ..LogConfig::default()
        };
        let logs: Vec<_> = (0..LOGS)
            .map(|number| open_with(&manager, "joint", number as i32, config.clone()))
            .collect();
        self.check(&logs).await?;
        for _ in 0..steps {
            match self.random.random_range(0..10) {
                0..6 => self.append_together(&manager, &logs).await?,
                6..9 => self.append_alone(&logs).await?,
                _ => sleep(Duration::from_millis(1_500)).await,
            }
        }
        if self.random.random_bool(0.3) {
            drop(logs);
            let (sender, closed) = tokio::sync::oneshot::channel();
            let shutdown = move || sender.send(manager.shutdown().is_ok());
            let thread = scheduler::thread::spawn(shutdown).unwrap();
            let closed = self.alive(closed).await;
            let _ = thread.join();
            closed?.ok()?;
        }
        Some(())
    }

    /// Holds what the logs have against what was appended to several of them.
    async fn check(&mut self, logs: &[Arc<dyn PartitionLog>]) -> Option<()> {
        let mut found = Vec::new();
        for log in logs {
            found.push(self.numbers(log).await?);
        }
        for joint in &mut self.joints {
            let has = joint
                .logs
                .iter()
                .map(|&log| found[log].contains(&joint.number));
            let count = has.filter(|has| *has).count();
            let number = joint.number;
            let all = joint.logs.len();
            assert!(
                count == 0 || count == all,
                "{number} is in {count} of {all} logs"
            );
            assert!(count == all || !joint.stays, "{number} was lost");
            if !joint.stays {
                match count == all {
                    true => self.outcome.kept += 1,
                    false => self.outcome.lost += 1,
                }
            }
            joint.stays = count == all;
        }
        // What is not there will not come back.
        self.joints.retain(|joint| joint.stays);
        Some(())
    }

    /// The numbers of the joint appends in a log, each of which is there once; nothing if the process ends before.
    async fn numbers(&self, log: &Arc<dyn PartitionLog>) -> Option<BTreeSet<u32>> {
        let end = log.offsets().high_watermark;
        let (mut numbers, mut next) = (BTreeSet::new(), 0);
        while next < end {
            let fetched = match self.alive(read(log, request(next))).await? {
                Ok(fetched) => fetched,
                Err(_) if self.disk.is_stopped() => return None,
                Err(error) => panic!("at {next}: {error}"),
            };
            let values = values(&fetched);
            if values.is_empty() && self.disk.is_stopped() {
                return None;
            }
            let from = next;
            for (offset, value) in values.into_iter().filter(|(offset, _)| *offset >= from) {
                assert_eq!(offset, next, "a gap");
                next = offset + 1;
                if let Some(number) = value.first_chunk::<4>() {
                    let is_new = numbers.insert(u32::from_be_bytes(*number));
                    assert!(is_new, "appended twice");
                }
            }
        }
        // A process that has ended does not say how its logs are.
        (!self.disk.is_stopped()).then_some(numbers)
    }

    async fn append_together(
        &mut self,
        manager: &Arc<dyn LogStore>,
        logs: &[Arc<dyn PartitionLog>],
    ) -> Option<()> {
        let number = self.joints.last().map_or(0, |joint| joint.number) + 1;
        let mut places: Vec<usize> = (0..LOGS).collect();
        places.shuffle(&mut self.random);
        places.truncate(self.random.random_range(2..=LOGS));
        let parts: Vec<JointPart> = places
            .iter()
            .map(|&place| {
                let mut value = number.to_be_bytes().to_vec();
                value.resize(4 + self.random.random_range(0..1_500), b'x');
                JointPart {
                    log: logs[place].id().clone(),
                    batch: batch(&[&value]),
                    origin: AppendOrigin::CLIENT,
                    if_refused: IfRefused::FailAll,
                }
            })
            .collect();
        let bytes = parts.iter().map(|part| part.batch.bytes.len()).sum();
        let reserved = manager.reserve(bytes, AppendOrigin::CLIENT);
        let permit = match self.alive(reserved).await? {
            Ok(permit) => permit,
            Err(_) if self.disk.is_stopped() => return None,
            Err(error) => panic!("no room: {error}"),
        };
        self.joints.push(Joint {
            number,
            logs: places,
            stays: false,
        });
        let at = self.joints.len() - 1;
        let answers = match manager.submit_all(permit, parts) {
            Ok(answers) => answers,
            Err(_) if self.disk.is_stopped() => return None,
            Err(error) => panic!("refused: {error}"),
        };
        for answer in answers {
            match self.alive(answer.expect("no part may be skipped")).await? {
                // Whichever log says so first: then all have it.
                Ok(_) => self.joints[at].stays = true,
                Err(_) if self.disk.is_stopped() => return None,
                Err(error) => panic!("not appended: {error}"),
            }
        }
        Some(())
    }

    async fn append_alone(&mut self, logs: &[Arc<dyn PartitionLog>]) -> Option<()> {
        let log = &logs[self.random.random_range(0..LOGS)];
        let mut builder = BatchBuilder::new();
        for _ in 0..self.random.random_range(1..4) {
            // Shorter than a number.
            builder.append(1_000, None, Some(b"one"), &[]);
        }
        let appended = append(log, trusted(builder.build().unwrap()));
        let appended = self.alive(appended).await?;
        assert!(appended.is_ok() || self.disk.is_stopped(), "{appended:?}");
        Some(())
    }
}
