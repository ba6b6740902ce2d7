//! Worlds of brokers over one database and one object store, which a seed lets fail: what was acknowledged is there, once, in one
//! order for all, and nothing of a broker after another process has taken its place.
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
use storage::log::{AppendError, AppendOrigin, LogConfig, Next, PartitionLog, ReadError};
use storage::object::database::{Fate, LogGroup, OrderedLog as _};
use storage::object::jobs::JobSettings;
use storage::record::BatchBuilder;
use tokio::runtime::Handle;
use tokio::sync::watch;

const BROKERS: i32 = 3;
const PARTITIONS: i32 = 3;
const PRODUCERS: i64 = 4;
const BATCHES: i32 = 25;
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

/// The processes that answer under the ids of brokers now.
type Running = watch::Receiver<Vec<Option<Arc<Broker>>>>;

async fn log_of(broker: &Broker, number: i32) -> Arc<dyn PartitionLog> {
    let config = LogConfig {
        retention_ms: -1,
        ..LogConfig::default()
    };
    let log = open_with(&broker.store, "topic", number, config);
    if let Some(ready) = log.ready() {
        ready.await;
    }
    log
}

/// A producer that sends each batch until somebody says that it is there. Gives the offset of each.
async fn produce(id: i64, running: Running, mut dice: Dice) -> BTreeMap<(i32, i64), Vec<u8>> {
    let partition = (id % i64::from(PARTITIONS)) as i32;
    let mut acknowledged = BTreeMap::new();
    for sequence in 0..BATCHES {
        let value = format!("{id}:{sequence}").into_bytes();
        let padding = vec![b'x'; dice.below(4000) as usize];
        loop {
            let broker = running.borrow()[dice.below(BROKERS as u64) as usize].clone();
            let Some(broker) = broker else {
                tokio::time::sleep(dice.ms(50)).await;
                continue;
            };
            let values: [&[u8]; 2] = [&value, &padding];
            let builder = BatchBuilder::new().producer(id, 0, 2 * sequence);
            let batch = trusted(build(builder, 1_000, &values));
            let patience = Duration::from_millis(200) + dice.ms(2_000);
            let sent = async {
                let log = log_of(&broker, partition).await;
                append(&log, batch).await
            };
            match tokio::time::timeout(patience, sent).await {
                Ok(Ok(appended)) => {
                    acknowledged.insert((partition, appended.base_offset), value.clone());
                    break;
                }
                Ok(Err(
                    error @ (AppendError::OutOfOrderSequence { .. }
                    | AppendError::InvalidProducerEpoch { .. }
                    | AppendError::InvalidTxnState { .. }
                    | AppendError::TooLarge { .. }
                    | AppendError::Deleted
                    | AppendError::Fenced { .. }
                    | AppendError::TransactionCoordinatorFenced { .. }),
                )) => panic!("producer {id} did nothing to hear at {sequence}: {error}"),
                Ok(Err(_)) | Err(_) => tokio::time::sleep(dice.ms(100)).await,
            }
        }
    }
    acknowledged
}

/// A reader that goes from broker to broker while jobs move what it reads. Whoever it asks, an offset has one record for ever.
async fn consume(running: Running, mut dice: Dice) {
    let mut seen: BTreeMap<(i32, i64), Vec<u8>> = BTreeMap::new();
    loop {
        tokio::time::sleep(dice.ms(40)).await;
        let broker = running.borrow()[dice.below(BROKERS as u64) as usize].clone();
        let Some(broker) = broker else {
            continue;
        };
        let number = dice.below(PARTITIONS as u64) as i32;
        let asked = async {
            let log = log_of(&broker, number).await;
            let end = log.current_offsets().await?.high_watermark;
            read(&log, request(dice.below(end.max(1) as u64) as i64)).await
        };
        let answer = tokio::time::timeout(Duration::from_secs(20), asked).await;
        match answer {
            Ok(Ok(records)) => {
                for (offset, value) in values(&records) {
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
            Ok(Err(error)) => panic!("a reader hears: {error}"),
            Err(_) => {}
        }
    }
}

/// A world, and how many objects jobs have removed in it.
async fn world(seed: u64) -> u64 {
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
    for id in 0..PRODUCERS {
        let dice = Dice(seed.wrapping_mul(31).wrapping_add(id as u64));
        producing.spawn(produce(id, running.clone(), dice));
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
    let mut acknowledged = BTreeMap::new();
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
    let mut logs = Vec::new();
    for broker in brokers
        .borrow()
        .iter()
        .flatten()
        .map(|broker| &**broker)
        .chain([&fresh])
    {
        let mut all = Vec::new();
        for number in 0..PARTITIONS {
            let log = log_of(broker, number).await;
            log.current_offsets().await.unwrap();
            let records = read_all(&log, 0).await;
            for (expected, (offset, _)) in records.iter().enumerate() {
                assert_eq!(*offset, expected as i64, "seed {seed}: a gap");
            }
            all.extend(
                records
                    .into_iter()
                    .filter(|(offset, _)| offset % 2 == 0)
                    .map(|(offset, value)| ((number, offset), value)),
            );
        }
        logs.push(all);
    }
    for log in &logs {
        assert!(*log == logs[0], "seed {seed}: brokers see another order");
    }
    let found: BTreeMap<_, _> = logs.swap_remove(0).into_iter().collect();
    let zombies = |value: &&Vec<u8>| said_by_zombies.contains(*value);
    assert_eq!(found.values().filter(zombies).count(), 0, "seed {seed}");
    assert_eq!(
        found.len(),
        (PRODUCERS as usize) * BATCHES as usize,
        "seed {seed}"
    );
    assert!(
        found == acknowledged,
        "seed {seed}: what was acknowledged is not what is there"
    );
    let groups: Vec<_> = (0..8).map(LogGroup).collect();
    let heads = cluster.database.heads(&groups).await.unwrap();
    let snapshots: i64 = heads.iter().map(|head| head.snapshot_seq).sum();
    assert!(snapshots > 0, "seed {seed}: no group has a snapshot");
    let mut left = 0;
    let mut listing = cluster.objects.list(None);
    while let Some(meta) = std::future::poll_fn(|context| listing.as_mut().poll_next(context)).await
    {
        meta.unwrap();
        left += 1;
    }
    cluster.objects.puts().saturating_sub(left)
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_out_of_order_whatever_fails() {
    let mut removed = 0;
    for seed in seeds(10) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        // Of simulated time.
        let limit = Duration::from_secs(300);
        let ended = runtime.block_on(async { tokio::time::timeout(limit, world(seed)).await });
        removed += ended.unwrap_or_else(|_| panic!("seed {seed}: it comes to no end"));
    }
    assert!(removed > 0, "jobs have removed nothing");
}
