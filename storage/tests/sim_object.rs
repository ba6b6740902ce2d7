//! Worlds of brokers over one database and one object store, which a seed lets fail: what was acknowledged is there, once, in one
//! order for all, and nothing of a broker after another process has taken its place. What jobs take away is what they should: the
//! oldest records, those with a later one of the same key. Nobody sees a record of a transaction that was aborted.
//!
//! Time is simulated, and everything runs on one thread. The seed decides what fails when; ids are random all the same, so a world
//! that is run again differs in those.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::cluster::{Broker, Cluster, brisk};
use common::*;
use object_store::ObjectStore as _;
use storage::log::{
    AppendError, AppendOrigin, Appended, Isolation, LogConfig, Next, PartitionLog, ReadError,
    ReadRequest,
};
use storage::object::database::{Fate, LogGroup, OrderedLog as _};
use storage::object::jobs::JobSettings;
use storage::record::{BatchBuilder, EndTxnMarker, TransactionResult, ValidatedBatch};
use tokio::runtime::Handle;
use tokio::sync::watch;

const BROKERS: i32 = 3;
/// Of each producer, or some more.
const BATCHES: i32 = 20;
const EVENTS: usize = 30;

/// Numbers that a seed decides.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (value ^ (value >> 31)) % end.max(1)
    }

    fn ms(&mut self, below: u64) -> Duration {
        Duration::from_millis(self.below(below))
    }
}

/// What a partition is for: which of the world's rules it is there to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Everything stays.
    Kept,
    /// The oldest records leave.
    Short,
    /// The last record of each key stays.
    Compacted,
    /// Transactions, some of which are aborted. Each record has a key of its own.
    Transacted,
}

const KINDS: [Kind; 6] = [
    Kind::Kept,
    Kind::Kept,
    Kind::Kept,
    Kind::Short,
    Kind::Compacted,
    Kind::Transacted,
];
/// How many producers each partition has.
const PRODUCERS: [i64; 6] = [2, 1, 1, 1, 1, 2];

fn kind(number: i32) -> Kind {
    KINDS[number as usize]
}

fn all() -> impl Iterator<Item = i32> {
    0..KINDS.len() as i32
}

/// The processes that answer under the ids of brokers now.
type Running = watch::Receiver<Vec<Option<Arc<Broker>>>>;

async fn log_of(broker: &Broker, number: i32) -> Arc<dyn PartitionLog> {
    let kept = LogConfig {
        retention_ms: -1,
        ..LogConfig::default()
    };
    let config = match kind(number) {
        Kind::Kept => kept,
        Kind::Short => LogConfig {
            retention_bytes: 20_000,
            ..kept
        },
        Kind::Compacted | Kind::Transacted => LogConfig {
            compact: true,
            delete: false,
            min_cleanable_dirty_ratio: 0.0,
            ..kept
        },
    };
    let log = open_with(&broker.store, "topic", number, config);
    if let Some(ready) = log.ready() {
        ready.await;
    }
    log
}

/// A record that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    key: Vec<u8>,
    value: Vec<u8>,
    is_aborted: bool,
}

type Acknowledged = BTreeMap<(i32, i64), Sent>;

/// One client, which sends a batch again until somebody says that it is there.
struct Producer {
    id: i64,
    number: i32,
    running: Running,
    dice: Dice,
    sequence: i32,
    /// Each attempt to end a transaction is that of a newer coordinator.
    coordinator_epoch: i32,
}

impl Producer {
    async fn append(&mut self, batch: ValidatedBatch, is_marker: bool) -> Appended {
        loop {
            let broker = self.dice.below(BROKERS as u64) as usize;
            let broker = self.running.borrow()[broker].clone();
            let Some(broker) = broker else {
                tokio::time::sleep(self.dice.ms(50)).await;
                continue;
            };
            let batch = match is_marker {
                true => self.marker(&batch),
                false => batch.clone(),
            };
            let patience = Duration::from_millis(200) + self.dice.ms(2_000);
            let number = self.number;
            let sent = async {
                let log = log_of(&broker, number).await;
                let origin = match is_marker {
                    true => AppendOrigin::Marker {
                        transaction_version: 0,
                    },
                    false => {
                        // Another broker may have written the marker before.
                        let caught_up = log.current_offsets().await;
                        caught_up.map_err(|error| AppendError::Storage(error.to_string()))?;
                        verified(&log, &batch)?
                    }
                };
                match append_as(&log, batch, origin).await {
                    // What this broker has heard since it gave the guard, of the transaction before or of a second marker, has
                    // taken the guard away. It would be asked for again.
                    Err(AppendError::InvalidTxnState { what, .. }) => {
                        Err(AppendError::Storage(what))
                    }
                    appended => appended,
                }
            };
            match tokio::time::timeout(patience, sent).await {
                Ok(Ok(appended)) => return appended,
                Ok(Err(
                    error @ (AppendError::OutOfOrderSequence { .. }
                    | AppendError::InvalidProducerEpoch { .. }
                    | AppendError::TooLarge { .. }
                    | AppendError::Deleted
                    | AppendError::Fenced { .. }
                    | AppendError::TransactionCoordinatorFenced { .. }),
                )) => panic!("producer {} did nothing to hear: {error}", self.id),
                Ok(Err(_)) | Err(_) => tokio::time::sleep(self.dice.ms(100)).await,
            }
        }
    }

    /// The same end of a transaction, in the name of the next coordinator: one that comes late has no effect then.
    fn marker(&mut self, batch: &ValidatedBatch) -> ValidatedBatch {
        self.coordinator_epoch += 1;
        let marker = EndTxnMarker::of_batch(&batch.bytes).unwrap().unwrap();
        let marker = EndTxnMarker {
            coordinator_epoch: self.coordinator_epoch,
            ..marker
        };
        trusted(marker.to_batch(self.id, 0, 2_000).unwrap())
    }

    /// Two records, of which the second is of any size.
    async fn send(&mut self, transaction: Option<TransactionResult>) -> [(i64, Sent); 2] {
        let (id, sequence) = (self.id, self.sequence);
        let is_aborted = transaction == Some(TransactionResult::Abort);
        let mut builder = BatchBuilder::new().producer(id, 0, 2 * sequence);
        if transaction.is_some() {
            builder = builder.transactional();
        }
        let small = format!(
            "{id}:{sequence}{}",
            if is_aborted { " aborted" } else { "" }
        );
        let mut large = format!("{small} large ").into_bytes();
        large.resize(large.len() + self.dice.below(4_000) as usize, b'x');
        let keys = match kind(self.number) {
            // Few, and those of one producer are its own.
            Kind::Compacted => [0, 1].map(|at| format!("{id}:{}", (sequence + at) % 4)),
            _ => [0, 1].map(|at| format!("{id}:{sequence}:{at}")),
        };
        let sent = [small.into_bytes(), large];
        for (key, value) in keys.iter().zip(&sent) {
            builder.append(1_000, Some(key.as_bytes()), Some(value), &[]);
        }
        let batch = trusted(builder.build().unwrap());
        let appended = self.append(batch, false).await;
        self.sequence += 1;
        let mut offset = appended.base_offset;
        let mut at = keys.into_iter().zip(sent).map(|(key, value)| {
            let sent = Sent {
                key: key.into_bytes(),
                value,
                is_aborted,
            };
            offset += 1;
            (offset - 1, sent)
        });
        [at.next().unwrap(), at.next().unwrap()]
    }
}

/// What a producer sends, and what it has heard of where that is.
async fn produce(mut producer: Producer) -> Acknowledged {
    let mut acknowledged = BTreeMap::new();
    let mut left = BATCHES;
    while left > 0 {
        let (count, transaction) = match kind(producer.number) {
            Kind::Transacted => {
                let results = [TransactionResult::Commit, TransactionResult::Abort];
                let result = results[producer.dice.below(2) as usize];
                (1 + producer.dice.below(3) as i32, Some(result))
            }
            _ => (1, None),
        };
        for _ in 0..count {
            let sent = producer.send(transaction).await;
            let number = producer.number;
            acknowledged.extend(sent.map(|(offset, sent)| ((number, offset), sent)));
        }
        if let Some(result) = transaction {
            let marker = EndTxnMarker {
                result,
                coordinator_epoch: 0,
            };
            let marker = marker.to_batch(producer.id, 0, 2_000).unwrap();
            producer.append(trusted(marker), true).await;
        }
        left -= count;
    }
    acknowledged
}

/// What is there to be read of a partition from an offset on, as a client that wants what is committed sees it.
async fn read_committed(
    log: &Arc<dyn PartitionLog>,
    from: i64,
) -> Result<Vec<(i64, Vec<u8>)>, ReadError> {
    let mut all = Vec::new();
    let mut next = from;
    loop {
        let request = ReadRequest {
            isolation: Isolation::ReadCommitted,
            ..request(next)
        };
        match take_committed(&read(log, request).await?, &mut all) {
            Some(end) => next = end,
            None => return Ok(all),
        }
    }
}

/// A reader that goes from broker to broker while jobs move what it reads. Whoever it asks, an offset has one record for ever, and none
/// of a transaction that was aborted.
async fn consume(running: Running, mut dice: Dice) {
    let mut seen: BTreeMap<(i32, i64), Vec<u8>> = BTreeMap::new();
    loop {
        tokio::time::sleep(dice.ms(40)).await;
        let broker = running.borrow()[dice.below(BROKERS as u64) as usize].clone();
        let Some(broker) = broker else {
            continue;
        };
        let number = dice.below(KINDS.len() as u64) as i32;
        let asked = async {
            let log = log_of(&broker, number).await;
            let offsets = log.current_offsets().await?;
            let (from, end) = (offsets.log_start_offset, offsets.high_watermark);
            let from = from + dice.below((end - from).max(1) as u64) as i64;
            let request = ReadRequest {
                isolation: Isolation::ReadCommitted,
                ..request(from)
            };
            let mut taken = Vec::new();
            take_committed(&read(&log, request).await?, &mut taken);
            Ok(taken)
        };
        let answer = tokio::time::timeout(Duration::from_secs(20), asked).await;
        match answer {
            Ok(Ok(records)) => {
                for (offset, value) in records {
                    assert!(!is_aborted(&value), "aborted, at {number}, {offset}");
                    let first = seen
                        .entry((number, offset))
                        .or_insert_with(|| value.clone());
                    assert!(*first == value, "two records at {number}, {offset}");
                }
            }
            Ok(Err(ReadError::Storage(what))) => {
                let is_passing = !["are lost", "is gone", "was trimmed", "lost commits"]
                    .iter()
                    .any(|bad| what.contains(bad));
                assert!(is_passing, "a reader hears: {what}");
            }
            // Its beginning has left meanwhile.
            Ok(Err(ReadError::OffsetOutOfRange { .. })) if kind(number) == Kind::Short => {}
            Ok(Err(error)) => panic!("a reader hears: {error}"),
            Err(_) => {}
        }
    }
}

fn is_aborted(value: &[u8]) -> bool {
    value.windows(8).any(|part| part == b" aborted")
}

/// What a broker shows of a partition, in its order.
struct Shown {
    start: i64,
    records: BTreeMap<i64, Vec<u8>>,
}

async fn shown(broker: &Broker, number: i32) -> Shown {
    loop {
        let log = log_of(broker, number).await;
        let start = log.current_offsets().await.unwrap().log_start_offset;
        match read_committed(&log, start).await {
            Ok(records) => {
                let count = records.len();
                let records: BTreeMap<_, _> = records.into_iter().collect();
                assert_eq!(records.len(), count, "an offset came twice");
                return Shown { start, records };
            }
            Err(ReadError::OffsetOutOfRange { .. }) if kind(number) == Kind::Short => {}
            Err(error) => panic!("{number}: {error}"),
        }
    }
}

/// What the jobs of a world have taken away.
#[derive(Debug, Default)]
struct Removed {
    /// Entries that snapshots stand for.
    snapshot_entries: i64,
    objects: u64,
    /// At the start of logs.
    records: u64,
    /// Those with a later record of the same key.
    overwritten: u64,
}

/// Holds what a broker shows against what was acknowledged. Gives what is not there any more, as it should be.
fn check(number: i32, shown: &Shown, acknowledged: &Acknowledged, what: &str) -> Removed {
    let sent = acknowledged.range((number, 0)..(number + 1, 0));
    let sent: BTreeMap<i64, &Sent> = sent.map(|((_, offset), sent)| (*offset, sent)).collect();
    let committed = || sent.iter().filter(|(_, sent)| !sent.is_aborted);
    for (offset, value) in &shown.records {
        let known = sent.get(offset).map(|sent| (&sent.value, sent.is_aborted));
        assert_eq!(known, Some((value, false)), "{what}: offset {offset}");
    }
    let mut last = BTreeMap::new();
    for (offset, sent) in committed() {
        last.insert(&sent.key, *offset);
    }
    let mut removed = Removed::default();
    for (offset, sent) in committed() {
        if shown.records.contains_key(offset) {
            continue;
        }
        match kind(number) {
            Kind::Short if *offset < shown.start => removed.records += 1,
            Kind::Compacted if last[&sent.key] > *offset => removed.overwritten += 1,
            kind => panic!("{what}: offset {offset} of a log that is {kind:?} is lost"),
        }
    }
    removed
}

/// A world, and what jobs have removed in it.
async fn world(seed: u64) -> Removed {
    let mut dice = Dice(seed);
    let cluster = Arc::new(Cluster::new(seed));
    let incarnations = AtomicU64::new(100);
    let start = |id: i32| {
        let incarnation = incarnations.fetch_add(1, Ordering::Relaxed);
        let broker = cluster.broker_as(id, u128::from(incarnation), |config| {
            config.runtime = Some(Handle::current());
            config.idle = Duration::from_millis(50 + 150 * (incarnation % 4));
            config.upkeep = cluster.upkeep(JobSettings {
                tick: Duration::from_millis(30),
                ..brisk()
            });
        });
        broker.faults.refused.store(40, Ordering::Relaxed);
        broker.faults.answer_lost.store(80, Ordering::Relaxed);
        Some(Arc::new(broker))
    };
    cluster.objects.change(|faults| {
        faults.latency = Duration::from_millis(5)..Duration::from_millis(60);
        faults.refused = 80;
        faults.answer_lost = 80;
        faults.stalled = 20;
    });
    let (brokers, running) = watch::channel((1..=BROKERS).map(start).collect::<Vec<_>>());
    let mut producing = tokio::task::JoinSet::new();
    let numbers = all().zip(PRODUCERS);
    let numbers = numbers.flat_map(|(number, count)| (0..count).map(move |_| number));
    for (number, id) in numbers.zip(0..) {
        producing.spawn(produce(Producer {
            id,
            number,
            running: running.clone(),
            dice: Dice(seed.wrapping_mul(31).wrapping_add(id as u64)),
            sequence: 0,
            coordinator_epoch: 0,
        }));
    }
    let dice_of_reader = Dice(seed.wrapping_mul(37));
    let reading = tokio::spawn(consume(running.clone(), dice_of_reader));
    let (mut zombies, mut said_by_zombies) = (Vec::new(), BTreeSet::new());
    for event in 0..EVENTS {
        tokio::time::sleep(dice.ms(150)).await;
        let at = dice.below(BROKERS as u64) as usize;
        let id = at as i32 + 1;
        let there = brokers.borrow()[at].clone();
        match (there, dice.below(5)) {
            // It dies, whatever it was about to do.
            (Some(dead), 0) => {
                brokers.send_modify(|brokers| brokers[at] = None);
                let fence = *dead.fence.borrow();
                cluster.database_leave(fence.unwrap()).await;
                drop(dead);
            }
            // Another process takes its place, and it has not noticed.
            (Some(zombie), 1) => {
                let old = zombie.fence.borrow().unwrap();
                cluster.database_leave(old).await;
                brokers.send_modify(|brokers| brokers[at] = start(id));
                let log = log_of(&zombie, 0).await;
                let value = format!("zombie {event}").into_bytes();
                let batch = batch(&[&value]);
                let origin = AppendOrigin::CLIENT;
                let permit = log.reserve(batch.bytes.len(), origin);
                let permit = tokio::time::timeout(Duration::from_secs(1), permit).await;
                if let Ok(permit) = permit
                    && let Ok(said) = log.submit(permit.unwrap(), batch, origin, Next::Append)
                {
                    said_by_zombies.insert(value);
                    zombies.push((zombie, said));
                }
            }
            // It is registered again: under another epoch.
            (Some(broker), 2) => {
                let old = broker.fence.borrow().unwrap();
                cluster.database_leave(old).await;
                tokio::time::sleep(dice.ms(300)).await;
                let incarnation = incarnations.fetch_add(1, Ordering::Relaxed);
                let fence = cluster.register(id, u128::from(incarnation));
                broker.fence.send_replace(Some(fence));
            }
            // Its next commits come late.
            (Some(broker), _) => {
                let mut next = broker.faults.next_commits.lock().unwrap();
                next.extend([Fate::Late, Fate::AnswerLost]);
            }
            (None, _) => brokers.send_modify(|brokers| brokers[at] = start(id)),
        }
        if cluster.database.late() > 0 && dice.below(2) == 0 {
            let number = dice.below(cluster.database.late() as u64) as usize;
            cluster.database.let_late_arrive(number);
        }
    }
    // All is well again, and everybody comes to his end.
    cluster.objects.change(|faults| {
        *faults = storage::testing::faulty_objects::ObjectFaults::default();
    });
    for at in 0..BROKERS as usize {
        brokers.send_modify(|brokers| {
            let broker = brokers[at].take().or_else(|| start(at as i32 + 1));
            if let Some(broker) = &broker {
                broker.faults.refused.store(0, Ordering::Relaxed);
                broker.faults.answer_lost.store(0, Ordering::Relaxed);
                broker.faults.next_commits.lock().unwrap().clear();
            }
            brokers[at] = broker;
        });
    }
    let mut acknowledged = Acknowledged::new();
    while let Some(done) = producing.join_next().await {
        acknowledged.extend(done.unwrap());
    }
    while cluster.database.late() > 0 {
        cluster.database.let_late_arrive(0);
    }
    for (_, said) in &mut zombies {
        let said = tokio::time::timeout(Duration::from_secs(1), said).await;
        assert!(
            !matches!(said, Ok(Ok(_))),
            "seed {seed}: a zombie was answered"
        );
    }
    drop(zombies);
    // Jobs go on for a while.
    tokio::time::sleep(Duration::from_secs(2)).await;
    reading.abort();
    match reading.await {
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        _ => {}
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for broker in brokers.borrow().iter().flatten() {
        let groups = broker.store.object_stats().unwrap().groups;
        assert_eq!(groups, 0, "seed {seed}: nobody uses them");
    }
    let fresh = cluster.broker_as(9, 9, |config| config.runtime = Some(Handle::current()));
    let mut removed = Removed::default();
    for number in all() {
        let mut known: Option<Shown> = None;
        let running: Vec<_> = brokers.borrow().iter().flatten().map(Arc::clone).collect();
        for broker in running.iter().map(|broker| &**broker).chain([&fresh]) {
            let what = format!("seed {seed}, broker {}, partition {number}", broker.id);
            let shown = shown(broker, number).await;
            let is_zombies = |value: &&Vec<u8>| said_by_zombies.contains(*value);
            assert_eq!(
                shown.records.values().filter(is_zombies).count(),
                0,
                "{what}"
            );
            let gone = check(number, &shown, &acknowledged, &what);
            removed.records += gone.records;
            removed.overwritten += gone.overwritten;
            let Some(known) = &known else {
                known = Some(shown);
                continue;
            };
            // Jobs may have gone on since then.
            assert!(
                known.start <= shown.start,
                "{what}: it begins earlier again"
            );
            let now_there = shown.records.range(shown.start..);
            let was_there =
                |record: (&i64, &Vec<u8>)| known.records.get(record.0) == Some(record.1);
            assert!(
                now_there.into_iter().all(was_there),
                "{what}: another order"
            );
        }
    }
    let groups: Vec<_> = (0..8).map(LogGroup).collect();
    let heads = cluster.database.heads(&groups).await.unwrap();
    removed.snapshot_entries = heads.iter().map(|head| head.snapshot_seq).sum();
    let mut left = 0;
    let mut listing = cluster.objects.list(None);
    while let Some(meta) = std::future::poll_fn(|context| listing.as_mut().poll_next(context)).await
    {
        meta.unwrap();
        left += 1;
    }
    removed.objects = cluster.objects.puts().saturating_sub(left);
    removed
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_out_of_order_whatever_fails() {
    let mut removed = Removed::default();
    let seeds = seeds(8);
    let are_many = seeds.clone().nth(1).is_some();
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        // Of simulated time.
        let limit = Duration::from_secs(300);
        let ended = runtime.block_on(async { tokio::time::timeout(limit, world(seed)).await });
        let ended = ended.unwrap_or_else(|_| panic!("seed {seed}: it comes to no end"));
        removed.objects += ended.objects;
        removed.records += ended.records;
        removed.overwritten += ended.overwritten;
        removed.snapshot_entries += ended.snapshot_entries;
    }
    // In a single world there may be nothing to remove.
    if !are_many {
        return;
    }
    assert!(removed.snapshot_entries > 0, "no group has a snapshot");
    assert!(removed.objects > 0, "{removed:?}");
    assert!(removed.records > 0, "{removed:?}");
    assert!(removed.overwritten > 0, "{removed:?}");
}
