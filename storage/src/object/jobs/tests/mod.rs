//! The jobs over stores in memory. What they may never do is lose or double a record, or remove what somebody needs.

mod world;

use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::group::{Group, nameless};
use super::*;
use crate::log::BoxFuture;
use crate::object::database::{Call, Fate, Faults, LogGroup, Mode, Proposal};
use crate::object::entry::{BatchEffect, Effect, Entry, Place};
use crate::object::plan::{Want, Wanted};
use crate::record::TransactionResult;
use world::{BLOWS, Blow, Broker, Seen, Steps, World, partition};

const HOUR: Duration = Duration::from_secs(3600);

fn compacted() -> LogConfig {
    LogConfig {
        compact: true,
        delete: false,
        ..LogConfig::default()
    }
}

/// What a compacted log comes to: the last value of each key.
fn latest(seen: &Seen) -> BTreeMap<&[u8], &[u8]> {
    let mut latest = BTreeMap::new();
    for (key, value) in seen.values() {
        match value {
            Some(value) => latest.insert(&key[..], &value[..]),
            None => latest.remove(&key[..]),
        };
    }
    latest
}

async fn tidy_twice(world: &World, broker: &Broker) {
    for _ in 0..2 {
        broker.all_jobs().await.unwrap();
        world.pass(world.settings.delete_delay, &[broker]).await;
    }
    broker.all_jobs().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_small_produces_end_as_few_objects() {
    let mut world = World::new(1);
    world.settings = JobSettings::default();
    world.topic(1, LogConfig::default());
    let broker = world.broker(1, None).await;
    let mut group = Group::load(&broker.shared, LogGroup(0)).await.unwrap();
    let in_flight = &broker.shared.config.in_flight;
    let fence = broker.shared.fence().unwrap();
    let mut builder = crate::record::BatchBuilder::new();
    builder.append(world.clock.now_ms(), Some(b"key"), Some(&[b'v'; 200]), &[]);
    let batch = builder.build().unwrap();
    let validated = crate::record::ValidatedBatch::trusted(batch.clone()).unwrap();
    for number in 0..10_000 {
        let object = in_flight.begin(fence.broker_epoch);
        let payload = PutPayload::from_bytes(batch.clone());
        world
            .objects
            .put(&Path::from(object.key()), payload)
            .await
            .unwrap();
        let wanted = [Wanted {
            partition: nameless(partition(1, number % 10)),
            what: Want::Append {
                batch: crate::object::plan::Candidate::of(&validated).unwrap(),
                origin: crate::log::AppendOrigin::CLIENT,
                claim: None,
                place: Place::Object {
                    object,
                    position: 0,
                },
            },
        }];
        group
            .commit(fence, &wanted)
            .await
            .unwrap()
            .pop()
            .unwrap()
            .unwrap();
        in_flight.settle(&object);
        if number % 1_000 == 999 {
            let job = "tidy/0";
            assert!(broker.shared.take(job).await.unwrap());
            merge::merge_all(&broker.shared, &mut group, job, false)
                .await
                .unwrap();
        }
    }
    let objects = group.state.objects().len();
    assert!(objects <= 64, "{objects} objects");
    let runs: usize = group.state.partitions().map(|one| one.run_count()).sum();
    assert!(runs <= 10 * 64, "{runs} runs");
    // The small ones are removed.
    for _ in 0..2 {
        broker.sweep().await.unwrap();
        world.pass(world.settings.delete_delay, &[&broker]).await;
    }
    assert_eq!(world.keys("data").await.len(), objects);
    for id in (0..10).map(|number| partition(1, number)) {
        let seen = world.read(&group.state, id, 0..i64::MAX).await;
        assert!(seen.keys().copied().eq(0..1_000), "{id:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_reads_few_rows_however_many_there_have_been() {
    let world = World::new(1);
    let broker = world.broker(1, None).await;
    let fence = broker.shared.fence().unwrap();
    let mut group = Group::load(&broker.shared, LogGroup(0)).await.unwrap();
    let mut tended = snapshot::Tended::new();
    let id = partition(1, 0);
    let object = broker.shared.config.in_flight.begin(fence.broker_epoch);
    const ROWS: i64 = 100_000;
    for offset in 0..ROWS {
        // Retention keeps up, or a snapshot would hold as many runs.
        let mut effects = vec![Effect::Append {
            partition: id,
            base_offset: offset,
            place: Place::Object {
                object,
                position: 0,
            },
            batches: vec![BatchEffect {
                size_bytes: 100,
                last_offset_delta: 0,
                max_timestamp: 0,
                producer: None,
            }],
        }];
        if offset % 100 == 99 {
            effects.push(Effect::LogStart {
                partition: id,
                offset,
            });
        }
        let at_ms = 0;
        let entry = Entry { at_ms, effects };
        let proposal = Proposal {
            group: LogGroup(0),
            expected_seq: offset,
            entry: entry.encode().into(),
            inline: bytes::Bytes::new(),
        };
        let database: &dyn OrderedLog = &world.database;
        let id = Uuid::from_u128(offset as u128 + 1);
        database
            .append_if(fence, id, Mode::Each, &[proposal])
            .await
            .unwrap();
        if offset % 500 == 0 {
            group.catch_up().await.unwrap();
            snapshot::write_if_due(&broker.shared, &mut group, &mut tended)
                .await
                .unwrap();
        }
    }
    let restarted = world.broker(2, None).await;
    let loaded = Group::load(&restarted.shared, LogGroup(0)).await.unwrap();
    assert_eq!(loaded.state.seq(), ROWS);
    let rows = restarted.shared.rows_read.load(Ordering::Relaxed);
    assert!(rows <= 2_000, "{rows} rows");
    assert_eq!(
        loaded.state.partition(id).unwrap().offsets().log_end_offset,
        ROWS
    );
}

/// Produces of all kinds into a few partitions, some of them compacted.
async fn fill(world: &mut World, broker: &Broker, random: &mut StdRng, rounds: usize) {
    for _ in 0..rounds {
        let id = partition(random.random_range(1..=2), random.random_range(0..3));
        let inline = random.random_bool(0.3);
        let records: Vec<_> = (0..random.random_range(1..5))
            .map(|_| {
                let key = format!("key-{}", random.random_range(0..6));
                let value =
                    (!random.random_bool(0.2)).then(|| "v".repeat(random.random_range(0..300)));
                (key, value)
            })
            .collect();
        let records: Vec<_> = records
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_deref()))
            .collect();
        world.send(broker, id, &records, inline).await;
    }
}

/// Whether readers see what they should: of logs with retention everything, of compacted ones the last value of each key.
fn check(world: &World, seen: &BTreeMap<PartitionId, Seen>, what: &str) {
    for (id, written) in &world.written {
        let config = world.topics.config(*id).unwrap();
        match config.compact {
            false => assert_eq!(&seen[id], written, "{what}: {id:?}"),
            true => assert_eq!(latest(&seen[id]), latest(written), "{what}: {id:?}"),
        }
    }
}

/// Two groups with logs of both kinds, and the broker that has filled them.
async fn filled(random: &mut StdRng) -> (World, Broker) {
    let mut world = World::new(2);
    world.topic(1, LogConfig::default());
    world.topic(2, compacted());
    let producer = world.broker(1, None).await;
    fill(&mut world, &producer, random, 24).await;
    (world, producer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_broken_off_at_any_call_loses_nothing_and_removes_nothing_that_is_needed() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    for blow in BLOWS {
        for number in 0.. {
            let what = format!("{blow:?} at call {number}, seed {seed}");
            let mut random = StdRng::seed_from_u64(seed);
            let (mut world, producer) = filled(&mut random).await;
            let steps = Steps::new(number, blow);
            let struck = world.broker(2, Some(Arc::clone(&steps))).await;
            // Two rounds with time in between: the second one removes, too.
            let jobs = async {
                let first = struck.all_jobs().await;
                world
                    .pass(world.settings.delete_delay, &[&producer, &struck])
                    .await;
                first.and(struck.all_jobs().await)
            };
            let done = tokio::select! {
                done = jobs => done.is_ok(),
                () = steps.died.notified() => false,
            };
            check(&world, &world.read_all(&producer).await, &what);

            steps.buried.send_replace(true);
            assert!(done || steps.is_over(), "{what}: jobs fail without a blow");
            // Another broker takes over, and whoever was in doubt or died is gone after a day.
            fill(&mut world, &producer, &mut random, 3).await;
            struck.fence.send_replace(None);
            while world.database.late() > 0 {
                world.database.let_late_arrive(0);
            }
            world.pass(HOUR, &[&producer]).await;
            let restarted = world.broker(2, None).await;
            for _ in 0..6 {
                world.pass(25 * HOUR, &[&producer, &restarted]).await;
                producer.all_jobs().await.unwrap();
                check(&world, &world.read_all(&producer).await, &what);
            }
            let mut named = HashSet::new();
            for group in [0, 1].map(LogGroup) {
                let state = world.state(&producer, group).await;
                named.extend(state.objects().map(|(object, _)| object.key()));
            }
            let there: HashSet<_> = world.keys("data").await.into_iter().collect();
            assert_eq!(there, named, "{what}: nothing is left over");
            assert_eq!(world.keys("snapshots").await.len(), 2, "{what}");
            if done && !steps.is_over() {
                assert!(number > 30, "{number} calls");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stands_still_until_it_has_another_epoch_names_no_object_of_the_old_one() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    for number in 0.. {
        let what = format!("at call {number}, seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let (world, producer) = filled(&mut random).await;
        let steps = Steps::new(number, Blow::Stalls);
        let stalled = world.broker(2, Some(Arc::clone(&steps))).await;
        let others = async {
            steps.stalled.notified().await;
            // Its lease ends, another comes, and what it has written and not named is removed.
            let another = world.broker(3, None).await;
            for _ in 0..3 {
                world.pass(25 * HOUR, &[&producer, &another]).await;
                producer.sweep().await.unwrap();
            }
            stalled.fence.send_replace(Some(world.register(2).await));
            steps.woken.notify_one();
        };
        let jobs = stalled.all_jobs();
        tokio::pin!(jobs);
        tokio::select! {
            _ = &mut jobs => {}
            () = others => drop(jobs.await),
        }
        check(&world, &world.read_all(&producer).await, &what);
        if !steps.is_over() {
            assert!(number > 30, "{number} calls");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_lease_another_broker_has_taken_changes_nothing_that_has_changed() {
    let mut world = World::new(1);
    world.topic(1, LogConfig::default());
    let (first, second) = (world.broker(1, None).await, world.broker(2, None).await);
    for _ in 0..10 {
        let id = partition(1, 0);
        world
            .send(&first, id, &[("key", Some("value"))], false)
            .await;
    }
    assert!(first.shared.take("tidy/0").await.unwrap());
    let mut group = Group::load(&first.shared, LogGroup(0)).await.unwrap();
    let settings = &first.shared.config.settings;
    let planned = merge::plan_merge(&group.state, settings, false).unwrap();
    // It is away for as long as its lease.
    world.pass(world.settings.lease, &[&first, &second]).await;
    second.all_jobs().await.unwrap();
    assert!(matches!(
        first.shared.keep("tidy/0").await,
        Err(JobError::LeaseLost)
    ));
    // Even if it did not look: what it wants to replace is not there any more.
    let before = world.state(&second, LogGroup(0)).await;
    merge::merge(&first.shared, &mut group, planned)
        .await
        .unwrap();
    let after = world.state(&second, LogGroup(0)).await;
    assert_eq!(before.to_snapshot(), after.to_snapshot());
    check(&world, &world.read_all(&second).await, "afterwards");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_every_record_once_through_merges_compactions_and_trims() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..10 {
        let mut world = World::new(2);
        world.topic(1, LogConfig::default());
        world.topic(2, compacted());
        let broker = world.broker(1, None).await;
        let mut seen: BTreeMap<PartitionId, Seen> = BTreeMap::new();
        // What readers have planned with, some time ago, and not read yet.
        let mut states: Vec<_> = Vec::new();
        for _ in 0..60 {
            match random.random_range(0..10) {
                0..5 => fill(&mut world, &broker, &mut random, 3).await,
                5 => {
                    states = vec![
                        world.state(&broker, LogGroup(0)).await,
                        world.state(&broker, LogGroup(1)).await,
                    ]
                }
                6 | 7 => {
                    for state in &states {
                        let ids: Vec<_> = state.partitions().map(|one| one.id()).collect();
                        for id in ids {
                            let seen = seen.entry(id).or_default();
                            let from = seen.last_key_value().map_or(0, |(last, _)| last + 1);
                            let to = from + random.random_range(1..20);
                            seen.extend(world.read(state, id, from..to).await);
                        }
                    }
                }
                _ => {
                    broker.all_jobs().await.unwrap();
                    // Less than any fetch may take.
                    world
                        .pass(world.settings.delete_delay / 100, &[&broker])
                        .await;
                }
            }
        }
        for state in [0, 1].map(LogGroup) {
            let state = world.state(&broker, state).await;
            let ids: Vec<_> = state.partitions().map(|one| one.id()).collect();
            for id in ids {
                let seen = seen.entry(id).or_default();
                let from = seen.last_key_value().map_or(0, |(last, _)| last + 1);
                seen.extend(world.read(&state, id, from..i64::MAX).await);
            }
        }
        check(&world, &seen, "readers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_stay_decided_through_merges_and_compaction() {
    let mut world = World::new(1);
    world.topic(1, LogConfig::default());
    world.topic(2, compacted());
    let broker = world.broker(1, None).await;
    for id in [partition(1, 0), partition(2, 0)] {
        for sequence in 0..12 {
            let result = match sequence % 3 {
                0 => TransactionResult::Abort,
                _ => TransactionResult::Commit,
            };
            world.transaction(&broker, id, 7, sequence, result).await;
        }
        world
            .send(&broker, id, &[("end", Some("end"))], false)
            .await;
        world
            .send(&broker, id, &[("end", Some("newer"))], false)
            .await;
    }
    let before = world.read_all(&broker).await;
    assert_eq!(before[&partition(1, 0)].len(), 8 + 2);
    tidy_twice(&world, &broker).await;
    let after = world.read_all(&broker).await;
    assert_eq!(after[&partition(1, 0)], before[&partition(1, 0)]);
    assert_eq!(
        latest(&after[&partition(2, 0)]),
        latest(&before[&partition(2, 0)])
    );
    let state = world.state(&broker, LogGroup(0)).await;
    let compacted = state.partition(partition(2, 0)).unwrap();
    assert!(compacted.runs(0).next().unwrap().is_compacted);
    assert_eq!(compacted.producers().len(), 1, "nobody is forgotten");
    let merged = state.partition(partition(1, 0)).unwrap();
    assert!(
        merged.run_count() <= 3,
        "markers do not keep runs apart: {}",
        merged.run_count()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_leaves_and_its_objects_are_removed_after_the_delay() {
    let mut world = World::new(1);
    let retention_ms = 10 * HOUR.as_millis() as i64;
    world.topic(
        1,
        LogConfig {
            retention_ms,
            ..LogConfig::default()
        },
    );
    let broker = world.broker(1, None).await;
    let id = partition(1, 0);
    for _ in 0..20 {
        world
            .send(&broker, id, &[("old", Some("value"))], false)
            .await;
    }
    world.pass(11 * HOUR, &[&broker]).await;
    world
        .send(&broker, id, &[("new", Some("value"))], false)
        .await;
    let before = world.keys("data").await;
    broker.all_jobs().await.unwrap();
    let state = world.state(&broker, LogGroup(0)).await;
    assert_eq!(state.partition(id).unwrap().offsets().log_start_offset, 20);
    assert_eq!(world.keys("data").await, before, "a fetch may be under way");
    world.pass(world.settings.delete_delay, &[&broker]).await;
    broker.sweep().await.unwrap();
    assert_eq!(world.keys("data").await.len(), 1);
    assert_eq!(world.read(&state, id, 20..21).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_stays_until_the_initial_delay_is_over() {
    let mut world = World::new(1);
    let config = LogConfig {
        retention_ms: HOUR.as_millis() as i64,
        ..LogConfig::default()
    };
    world.topic(1, config);
    let broker = world.broker(1, None).await;
    let config = broker.shared.config.clone();
    let _runner = JobRunner::start(config, &tokio::runtime::Handle::current());
    let id = partition(1, 0);
    world
        .send(&broker, id, &[("old", Some("value"))], false)
        .await;
    world.pass(2 * HOUR, &[&broker]).await;
    let delay = world.settings.initial_delay;
    for (waited, log_start) in [(delay - world.settings.tick, 0), (delay, 1)] {
        tokio::time::sleep(waited).await;
        let state = world.state(&broker, LogGroup(0)).await;
        let found = state.partition(id).unwrap().offsets().log_start_offset;
        assert_eq!(found, log_start, "after {waited:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_topics_leave_nothing_and_are_forgotten_after_a_day() {
    let mut world = World::new(2);
    world.topic(1, LogConfig::default());
    world.topic(2, LogConfig::default());
    let broker = world.broker(1, None).await;
    let mut random = StdRng::seed_from_u64(1);
    fill(&mut world, &broker, &mut random, 30).await;
    let topic = Uuid::from_u128(1);
    retention::delete_topics(&broker.shared, &[topic]).await;
    world.written.retain(|id, _| id.topic_id != topic);
    tidy_twice(&world, &broker).await;
    let seen = world.read_all(&broker).await;
    assert!(seen.keys().all(|id| id.topic_id != topic));
    check(&world, &seen, "the other topic");
    let deleted = async |group| {
        world
            .state(&broker, LogGroup(group))
            .await
            .deleted()
            .count()
    };
    assert_eq!(deleted(0).await + deleted(1).await, 3);
    world.pass(25 * HOUR, &[&broker]).await;
    broker.all_jobs().await.unwrap();
    assert_eq!(deleted(0).await + deleted(1).await, 0);
}

/// An object on its way: written, and not named yet.
async fn upload(world: &World, broker: &Broker) -> (String, crate::object::entry::ObjectId) {
    let fence = broker.shared.fence().unwrap();
    let object = broker.shared.config.in_flight.begin(fence.broker_epoch);
    let payload = PutPayload::from_static(b"batches");
    world
        .objects
        .put(&Path::from(object.key()), payload)
        .await
        .unwrap();
    (object.key(), object)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_may_still_be_named_is_not_removed_however_old_it_is() {
    let world = World::new(1);
    let (writer, sweeper) = (world.broker(1, None).await, world.broker(2, None).await);
    let (key, object) = upload(&world, &writer).await;
    for _ in 0..4 {
        world.pass(100 * HOUR, &[&writer, &sweeper]).await;
        orphans::declare(&writer.shared).await.unwrap();
        sweeper.sweep().await.unwrap();
    }
    assert!(
        world.keys("data").await.contains(&key),
        "its commit is under way"
    );
    // It was not named after all, and the writer says so.
    writer.shared.config.in_flight.settle(&object);
    orphans::declare(&writer.shared).await.unwrap();
    sweeper.sweep().await.unwrap();
    assert!(
        world.keys("data").await.contains(&key),
        "a fetch may be under way"
    );
    world
        .pass(world.settings.delete_delay, &[&writer, &sweeper])
        .await;
    sweeper.sweep().await.unwrap();
    assert!(world.keys("data").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_of_a_broker_that_is_gone_is_removed_after_a_day_and_not_before() {
    let world = World::new(1);
    let (writer, sweeper) = (world.broker(1, None).await, world.broker(2, None).await);
    let (key, _) = upload(&world, &writer).await;
    // Killed: its lease ends, or it comes back with another epoch.
    let _restarted = world.broker(3, None).await;
    world.pass(23 * HOUR, &[&sweeper]).await;
    for _ in 0..2 {
        sweeper.sweep().await.unwrap();
        world.pass(world.settings.delete_delay, &[&sweeper]).await;
    }
    assert!(world.keys("data").await.contains(&key), "too young");
    world.pass(2 * HOUR, &[&sweeper]).await;
    sweeper.sweep().await.unwrap();
    assert!(world.keys("data").await.contains(&key), "looked at once");
    world.pass(world.settings.delete_delay, &[&sweeper]).await;
    sweeper.sweep().await.unwrap();
    assert!(world.keys("data").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_has_lost_commits_stops_the_group_and_every_removal() {
    let mut world = World::new(2);
    world.topic(1, LogConfig::default());
    let broker = world.broker(1, None).await;
    let id = partition(1, 0);
    let group = world.group_of(id);
    for _ in 0..20 {
        world
            .send(&broker, id, &[("key", Some("value"))], false)
            .await;
    }
    broker.sweep().await.unwrap();
    let before = world.keys("data").await;
    world.database.lose_commits(group, 12);
    // The broker that has seen more, and one that never has.
    let other = world.broker(2, None).await;
    for sweeper in [&broker, &other] {
        for _ in 0..3 {
            let delay = world.settings.delete_delay;
            world.pass(delay, &[&broker, &other]).await;
            let error = sweeper.sweep().await.unwrap_err();
            assert!(error.contains("lost commits"), "{error}");
        }
        let error = Group::load(&sweeper.shared, group).await.err().unwrap();
        assert!(matches!(error, JobError::Lost(_)), "{error}");
        let runner = JobRunner {
            shared: Arc::clone(&sweeper.shared),
            stop: watch::Sender::new(false),
            runtime: tokio::runtime::Handle::current(),
        };
        assert!(runner.trouble().unwrap().contains("lost commits"));
    }
    assert_eq!(world.keys("data").await, before);
}

/// Another job sees more of a group while the database's answer to this one is on its way.
struct Meanwhile(Arc<std::sync::OnceLock<Arc<Shared>>>);

impl Faults for Meanwhile {
    fn before(&self, _call: Call) -> BoxFuture<'_, Fate> {
        Box::pin(std::future::ready(Fate::Answered))
    }

    fn after(&self, _call: Call) -> BoxFuture<'_, ()> {
        if let Some(shared) = self.0.get() {
            shared.saw(LogGroup(0), 1_000_000);
        }
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_grows_while_it_is_asked_for_has_lost_nothing() {
    let world = World::new(1);
    let broker = world.broker(1, None).await;
    let later = Arc::default();
    let database = world
        .database
        .with_faults(Arc::new(Meanwhile(Arc::clone(&later))));
    let shared = Shared::new(JobsConfig {
        log: Arc::new(database),
        ..broker.shared.config.clone()
    });
    assert!(later.set(Arc::clone(&shared)).is_ok());
    Group::load(&shared, LogGroup(0))
        .await
        .expect("nothing is lost");
    assert!(shared.stopped.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_runner_does_all_of_it_by_itself() {
    let mut world = World::new(2);
    world.topic(1, LogConfig::default());
    world.topic(2, compacted());
    let broker = world.broker(1, None).await;
    let mut random = StdRng::seed_from_u64(3);
    fill(&mut world, &broker, &mut random, 60).await;
    let before = world.keys("data").await.len();
    let config = broker.shared.config.clone();
    let runner = JobRunner::start(config, &tokio::runtime::Handle::current());
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        world.pass(Duration::from_secs(60), &[&broker]).await;
    }
    assert_eq!(runner.trouble(), None);
    let after = world.keys("data").await.len();
    assert!(after < before / 2, "{before} objects, then {after}");
    let heads = world
        .database
        .heads(&[LogGroup(0), LogGroup(1)])
        .await
        .unwrap();
    assert!(heads.iter().all(|head| head.snapshot_seq > 0), "{heads:?}");
    check(&world, &world.read_all(&broker).await, "at the end");
}

/// How often each group was put into a snapshot, and what the brokers say they look after, while groups are written to.
async fn upkeep_of(
    world: &mut World,
    brokers: [&Broker; 2],
    runners: [Option<&JobRunner>; 2],
) -> ([bool; 2], [u64; 2]) {
    let heads = async |world: &World| {
        let heads = world.database.heads(&[LogGroup(0), LogGroup(1)]).await;
        heads
            .unwrap()
            .iter()
            .map(|head| head.snapshot_seq)
            .collect::<Vec<_>>()
    };
    let before = heads(world).await;
    for _ in 0..8 {
        for index in 0..8 {
            let records = [("key", Some("value"))];
            world
                .send(brokers[0], partition(1, index), &records, true)
                .await;
        }
        for _ in 0..4 {
            tokio::time::sleep(world.settings.lease / 4).await;
            world.pass(world.settings.lease / 4, &brokers).await;
        }
    }
    let after = heads(world).await;
    let is_done = [after[0] > before[0], after[1] > before[1]];
    (
        is_done,
        runners.map(|runner| runner.map_or(0, |runner| runner.stats().groups)),
    )
}

#[tokio::test(start_paused = true)]
async fn each_group_is_looked_after_by_the_broker_that_leads_it_or_else_by_another() {
    let mut world = World::new(2);
    world.topic(1, LogConfig::default());
    let (one, two) = (world.broker(1, None).await, world.broker(2, None).await);
    let is_alone = Arc::new(AtomicBool::new(true));
    let run = |broker: &Broker, own: u16| {
        let is_alone = Arc::clone(&is_alone);
        let leads = move |group: LogGroup| is_alone.load(Ordering::Relaxed) || group.0 == own;
        let config = JobsConfig {
            leads: Arc::new(leads),
            ..broker.shared.config.clone()
        };
        JobRunner::start(config, &tokio::runtime::Handle::current())
    };
    let brokers = [&one, &two];
    let first = run(&one, 0);
    let did = upkeep_of(&mut world, brokers, [Some(&first), None]).await;
    assert_eq!(did, ([true, true], [2, 0]));
    // Another one comes, and gets its share.
    is_alone.store(false, Ordering::Relaxed);
    let second = run(&two, 1);
    let did = upkeep_of(&mut world, brokers, [Some(&first), Some(&second)]).await;
    assert_eq!(did, ([true, true], [1, 1]));
    // It is there, and does not do it.
    drop(second);
    let (is_done, _) = upkeep_of(&mut world, brokers, [Some(&first), None]).await;
    assert_eq!(is_done, [true, true]);
    check(&world, &world.read_all(&one).await, "at the end");
}
