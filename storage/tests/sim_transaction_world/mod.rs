//! A world in which transactions over several logs end together with a record that says so, on a disk that loses its power.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::local::{self, LocalConfig};
use storage::log::{
    AbortedTransaction, AppendError, AppendOrigin, CleanerConfig, Durability, IfRefused, Isolation,
    JointPart, LiveConfig, LogConfig, LogStore, PartitionLog, ReadRequest,
};
use storage::record::{BatchBuilder, EndTxnMarker, TransactionResult, ValidatedBatch};
use storage::testing::scheduler::{self, SimClock, sleep, timeout};
use storage::testing::sim_disk::SimDisk;

use crate::common::*;

/// Logs that transactions write to. One more has the records that say how they ended.
const LOGS: usize = 3;
const ENDINGS: usize = LOGS;
const PRODUCERS: i64 = 4;
const LIVES: usize = 12;
const STEPS: usize = 16;
/// How often somebody who waits looks whether the process has ended, and how often before it is stuck.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const STUCK_AFTER_LOOKS: usize = 100_000;

/// Something that was appended, or was to be.
#[derive(Clone, Debug)]
enum Event {
    /// Records of a transaction, in one log.
    Data {
        log: usize,
        producer: Producer,
        sequence: i32,
        count: i32,
    },
    /// The markers of a transaction, and the record.
    End {
        /// As the markers carry it.
        producer: Producer,
        coordinator_epoch: i32,
        commit: bool,
        logs: BTreeSet<usize>,
    },
}

impl Event {
    /// How many offsets it takes in which logs.
    fn parts(&self) -> Vec<(usize, i64)> {
        match self {
            Self::Data { log, count, .. } => vec![(*log, i64::from(*count))],
            Self::End { logs, .. } => {
                let markers = logs.iter().map(|log| (*log, 1));
                markers.chain([(ENDINGS, 1)]).collect()
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Producer {
    id: i64,
    epoch: i16,
}

impl Producer {
    /// Half of the producers get a new epoch with each transaction.
    fn bumps(self) -> bool {
        self.id % 2 == 0
    }
}

/// What a log is expected to hold.
#[derive(Default)]
struct Expected {
    end: i64,
    open: BTreeMap<i64, i64>,
    aborted: Vec<AbortedTransaction>,
    /// Epoch, last sequence and coordinator epoch.
    producers: BTreeMap<i64, (i16, i32, i32)>,
    /// Whose a record is and whether it was committed, by offset; `None` while that is open.
    records: BTreeMap<i64, (i64, Option<bool>)>,
}

/// What a world came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Ends that a crash has taken before they were acknowledged.
    pub lost: u32,
    /// Ends that a crash has left although they were not acknowledged.
    pub kept: u32,
    /// Ends in all.
    pub ends: u32,
    /// What the world did to its disk.
    pub history: u64,
}

struct World {
    disk: SimDisk,
    durability: Durability,
    cuts_power: bool,
    segment_bytes: u64,
    random: StdRng,
    life: i32,
    events: Vec<Event>,
    /// How many of the events were acknowledged, or found after a crash.
    acknowledged: usize,
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
        cuts_power: random.random_bool(0.7),
        segment_bytes: [600, 5_000, 1 << 20][random.random_range(0..3)],
        random,
        life: 0,
        events: Vec::new(),
        acknowledged: 0,
        outcome: Outcome::default(),
    };
    let ran = scheduler::run(seed, || async { Ok(world.run().await) });
    ran.map_err(|what| format!("OTTLA_SIM_SEED={seed} {what}"))
}

/// What the events come to in one log.
fn expected(events: &[Event], log: usize) -> Expected {
    let mut expected = Expected::default();
    for event in events {
        match event {
            Event::Data {
                log: of,
                producer,
                sequence,
                count,
            } if *of == log => expected.data(*producer, *sequence, *count),
            Event::End {
                producer,
                coordinator_epoch,
                commit,
                logs,
            } if logs.contains(&log) => expected.marker(*producer, *coordinator_epoch, *commit),
            Event::End { .. } if log == ENDINGS => expected.end += 1,
            Event::Data { .. } | Event::End { .. } => {}
        }
    }
    expected
}

impl Expected {
    fn data(&mut self, producer: Producer, sequence: i32, count: i32) {
        self.open.entry(producer.id).or_insert(self.end);
        let known = self.producers.entry(producer.id).or_insert((0, -1, -1));
        (known.0, known.1) = (producer.epoch, sequence + count - 1);
        for _ in 0..count {
            self.records.insert(self.end, (producer.id, None));
            self.end += 1;
        }
    }

    fn marker(&mut self, producer: Producer, coordinator_epoch: i32, commit: bool) {
        if let Some(first) = self.open.remove(&producer.id) {
            if !commit {
                self.aborted.push(AbortedTransaction {
                    producer_id: producer.id,
                    first_offset: first,
                });
            }
            for (id, decided) in self.records.values_mut() {
                if *id == producer.id {
                    decided.get_or_insert(commit);
                }
            }
        }
        let known = self.producers.entry(producer.id).or_insert((0, -1, -1));
        if known.0 != producer.epoch {
            known.1 = -1;
        }
        (known.0, known.2) = (producer.epoch, coordinator_epoch);
        self.end += 1;
    }

    fn last_stable_offset(&self) -> i64 {
        self.open.values().min().copied().unwrap_or(self.end)
    }

    fn aborted(&self) -> Vec<AbortedTransaction> {
        let stable = self.last_stable_offset();
        let listed = self.aborted.iter().filter(|txn| txn.first_offset < stable);
        let mut listed: Vec<_> = listed.copied().collect();
        listed.sort_by_key(|txn| txn.first_offset);
        listed
    }

    fn committed(&self) -> Vec<i64> {
        let stable = self.records.range(..self.last_stable_offset());
        stable
            .filter(|(_, (_, decided))| *decided == Some(true))
            .map(|(offset, _)| *offset)
            .collect()
    }
}

impl World {
    async fn run(mut self) -> Outcome {
        for _ in 0..LIVES {
            let stop_at = Some(self.random.random_range(30..250));
            let _ = self.live(stop_at, STEPS).await;
            match self.cuts_power && self.random.random_bool(0.8) {
                true => {
                    let cut = self.random.random();
                    self.disk.power_cut(cut);
                    if self.durability == Durability::Os {
                        // What was acknowledged may be gone. What ended a transaction stays, and all before it.
                        let is_end = |event: &Event| matches!(event, Event::End { .. });
                        let acknowledged = &self.events[..self.acknowledged];
                        let last = acknowledged.iter().rposition(is_end);
                        self.acknowledged = last.map_or(0, |last| last + 1);
                    }
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
            live: LiveConfig {
                producer_id_expiration_ms: i64::MAX,
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

    /// What an append gave, unless the process has ended.
    fn unless_ended<T>(&self, result: Result<T, AppendError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(_) if self.disk.is_stopped() => None,
            Err(error) => panic!("refused: {error}"),
        }
    }

    /// One life of the process; nothing if it has ended before its time.
    async fn live(&mut self, stop_at: Option<u64>, steps: usize) -> Option<()> {
        self.life += 1;
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
        let logs: Vec<_> = (0..=ENDINGS)
            .map(|number| open_with(&manager, "transactions", number as i32, config.clone()))
            .collect();
        self.settle(&logs)?;
        self.check(&logs).await?;
        for _ in 0..steps {
            match self.random.random_range(0..20) {
                0..9 => self.write(&logs).await?,
                9..17 => self.end(&manager, &logs).await?,
                17 => self.repeat(&logs).await?,
                18 => self.check(&logs).await?,
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

    /// Finds out which of the events that were not safe a crash has left. Of an end everything or nothing is there, and if
    /// it is, so is all that came before.
    fn settle(&mut self, logs: &[Arc<dyn PartitionLog>]) -> Option<()> {
        let found: Vec<i64> = logs
            .iter()
            .map(|log| log.offsets().log_end_offset)
            .collect();
        if self.disk.is_stopped() {
            return None;
        }
        let unsafe_events = self.events.split_off(self.acknowledged);
        let mut ends: Vec<i64> = (0..=ENDINGS)
            .map(|log| expected(&self.events, log).end)
            .collect();
        let mut is_one_missing = false;
        for event in unsafe_events {
            let parts = event.parts();
            let are_there = parts.iter().map(|(log, count)| {
                ends[*log] += count;
                ends[*log] <= found[*log]
            });
            let are_there: Vec<bool> = are_there.collect();
            let is_there = are_there[0];
            let is_whole = are_there.iter().all(|part| *part == is_there);
            assert!(is_whole, "torn: {event:?}");
            if matches!(event, Event::End { .. }) {
                assert!(!(is_there && is_one_missing), "overtakes: {event:?}");
                match is_there {
                    true => self.outcome.kept += 1,
                    false => self.outcome.lost += 1,
                }
            }
            is_one_missing |= !is_there;
            if is_there {
                self.events.push(event);
            }
        }
        for (log, found) in found.iter().enumerate() {
            let end = expected(&self.events, log).end;
            assert_eq!(*found, end, "log {log} after {:?}", self.events);
        }
        self.acknowledged = self.events.len();
        Some(())
    }

    /// Holds everything that the logs tell against the events.
    async fn check(&mut self, logs: &[Arc<dyn PartitionLog>]) -> Option<()> {
        for (number, log) in logs.iter().enumerate() {
            let expected = expected(&self.events, number);
            let (offsets, producers) = (log.offsets(), log.producers());
            let (committed, aborted) = self.committed(log).await?;
            assert_eq!(offsets.high_watermark, expected.end);
            assert_eq!(offsets.last_stable_offset, expected.last_stable_offset());
            let known = producers.iter().map(|producer| {
                let known = (
                    producer.producer_epoch,
                    producer.last_sequence,
                    producer.coordinator_epoch,
                );
                (producer.producer_id, known)
            });
            assert_eq!(known.collect::<BTreeMap<_, _>>(), expected.producers);
            let open = producers.iter().filter_map(|producer| {
                Some((producer.producer_id, producer.current_txn_start_offset?))
            });
            assert_eq!(open.collect::<BTreeMap<_, _>>(), expected.open);
            if number != ENDINGS {
                assert_eq!(committed, expected.committed());
                assert_eq!(aborted, expected.aborted());
            }
        }
        Some(())
    }

    /// The offsets of committed records, and all aborted transactions that were listed.
    async fn committed(
        &self,
        log: &Arc<dyn PartitionLog>,
    ) -> Option<(Vec<i64>, Vec<AbortedTransaction>)> {
        let end = log.offsets().last_stable_offset;
        let (mut committed, mut aborted, mut next) = (Vec::new(), Vec::new(), 0);
        while next < end {
            let request = ReadRequest {
                isolation: Isolation::ReadCommitted,
                ..request(next)
            };
            let fetched = match self.alive(read(log, request)).await? {
                Ok(fetched) => fetched,
                Err(_) if self.disk.is_stopped() => return None,
                Err(error) => panic!("at {next}: {error}"),
            };
            for listed in &fetched.aborted_transactions {
                if !aborted.contains(listed) {
                    aborted.push(*listed);
                }
            }
            let after = take_committed(&fetched, &mut committed);
            if after.is_none() && self.disk.is_stopped() {
                return None;
            }
            next = after.expect("it goes on");
        }
        aborted.sort_by_key(|txn| txn.first_offset);
        let committed = committed.into_iter().map(|(offset, _)| offset);
        // A process that has ended does not say how its logs are.
        (!self.disk.is_stopped()).then(|| (committed.collect(), aborted))
    }

    /// The epoch of a producer and the logs in which its transaction is open.
    fn a_producer(&mut self) -> (Producer, BTreeSet<usize>) {
        let id = self.random.random_range(0..PRODUCERS);
        let mut producer = Producer { id, epoch: 0 };
        let mut open = BTreeSet::new();
        for event in &self.events {
            match event {
                Event::Data { log, producer, .. } if producer.id == id => {
                    open.insert(*log);
                }
                Event::End { producer: of, .. } if of.id == id => {
                    producer = *of;
                    open.clear();
                }
                Event::Data { .. } | Event::End { .. } => {}
            }
        }
        (producer, open)
    }

    async fn write(&mut self, logs: &[Arc<dyn PartitionLog>]) -> Option<()> {
        let (producer, _) = self.a_producer();
        let log = self.random.random_range(0..LOGS);
        let known = expected(&self.events, log).producers;
        let known = known.get(&producer.id);
        let sequence = known
            .filter(|(epoch, ..)| *epoch == producer.epoch)
            .map_or(0, |(_, last_sequence, _)| last_sequence + 1);
        let count = self.random.random_range(1..4);
        self.events.push(Event::Data {
            log,
            producer,
            sequence,
            count,
        });
        let batch = self.data(producer, sequence, count);
        let log = &logs[log];
        let append = async {
            let origin = verified(log, &batch)?;
            append_as(log, batch, origin).await
        };
        let appended = self.alive(append).await?;
        self.unless_ended(appended)?;
        self.acknowledged = self.events.len();
        Some(())
    }

    fn data(&mut self, producer: Producer, sequence: i32, count: i32) -> ValidatedBatch {
        let mut builder = BatchBuilder::new()
            .producer(producer.id, producer.epoch, sequence)
            .transactional();
        let value = vec![b'x'; self.random.random_range(0..400)];
        for _ in 0..count {
            builder.append(1_000, None, Some(&value), &[]);
        }
        trusted(builder.build().unwrap())
    }

    /// Sends the last batch of a producer again.
    async fn repeat(&mut self, logs: &[Arc<dyn PartitionLog>]) -> Option<()> {
        let last = self.events.iter().rev().find_map(|event| match event {
            Event::Data {
                log,
                producer,
                sequence,
                count,
            } => Some((*log, *producer, *sequence, *count)),
            Event::End { .. } => None,
        });
        let Some((log, producer, sequence, count)) = last else {
            return Some(());
        };
        let before = logs[log].offsets();
        let batch = self.data(producer, sequence, count);
        let repeated = append_as(&logs[log], batch, AppendOrigin::CLIENT);
        let repeated = self.alive(repeated).await?;
        let known = expected(&self.events, log).producers[&producer.id];
        match repeated {
            _ if self.disk.is_stopped() => return None,
            Ok(appended) => assert!(appended.duplicate && known.0 == producer.epoch),
            Err(AppendError::InvalidProducerEpoch { .. }) => assert!(known.0 > producer.epoch),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(logs[log].offsets(), before);
        Some(())
    }

    async fn end(
        &mut self,
        manager: &Arc<dyn LogStore>,
        logs: &[Arc<dyn PartitionLog>],
    ) -> Option<()> {
        let (mut producer, open) = self.a_producer();
        if open.is_empty() {
            return Some(());
        }
        producer.epoch += i16::from(producer.bumps());
        let (commit, coordinator_epoch) = (self.random.random_bool(0.5), self.life);
        let marker = EndTxnMarker {
            result: match commit {
                true => TransactionResult::Commit,
                false => TransactionResult::Abort,
            },
            coordinator_epoch,
        };
        let marker = marker.to_batch(producer.id, producer.epoch, 2_000).unwrap();
        let markers = open.iter().map(|&log| JointPart {
            log: logs[log].id().clone(),
            batch: trusted(marker.clone()),
            origin: AppendOrigin::Marker {
                transaction_version: if producer.bumps() { 2 } else { 0 },
            },
            if_refused: IfRefused::Skip,
        });
        let mut parts: Vec<_> = markers.collect();
        parts.push(JointPart {
            log: logs[ENDINGS].id().clone(),
            batch: batch(&[b"ended"]),
            origin: AppendOrigin::COORDINATOR,
            if_refused: IfRefused::FailAll,
        });
        let bytes = parts.iter().map(|part| part.batch.bytes.len()).sum();
        let reserved = manager.reserve(bytes, AppendOrigin::COORDINATOR);
        let permit = self.alive(reserved).await?;
        let permit = self.unless_ended(permit)?;
        self.outcome.ends += 1;
        if self.random.random_bool(0.2) {
            // Ends are what this world is about: more of them meet a crash than chance would have it.
            self.disk.stop_after(self.random.random_range(1..5));
        }
        self.events.push(Event::End {
            producer,
            coordinator_epoch,
            commit,
            logs: open,
        });
        let answers = manager.submit_all(permit, parts);
        let answers = self.unless_ended(answers.map_err(|error| error.error))?;
        for answer in answers {
            let pending = self.unless_ended(answer)?;
            let appended = self.alive(pending).await?;
            self.unless_ended(appended)?;
            // Whichever log says so first: then all have it.
            self.acknowledged = self.events.len();
        }
        Some(())
    }
}
