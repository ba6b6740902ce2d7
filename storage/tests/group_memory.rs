//! What log groups take: in memory while their bytes are read, whatever these say, and afterwards.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/group.rs"]
mod group;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use common::cluster::Cluster;
use group::{eventful, object, partition_of};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::log::{AppendOrigin, FetchedRecords, Read};
use storage::object::ObjectConfig;
use storage::object::database::{Mode, OrderedLog, Proposal, log_group_of};
use storage::object::entry::{BatchEffect, BatchProducer, Effect, Entry, PartitionId, Place};
use storage::object::group_state::GroupState;
use storage::object::plan::{Candidate, Want, Wanted, plan};
use storage::record::{BatchBuilder, ValidatedBatch};
use tokio::runtime::Handle;
use uuid::Uuid;

/// Counts, for each thread, the bytes that it was given, and those that it has.
struct Counting;

thread_local! {
    static GIVEN: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is passed on to the system's allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Fails only while the thread ends.
        let _ = GIVEN.try_with(|given| given.set(given.get() + layout.size()));
        let _ = HELD.try_with(|held| held.set(held.get() + layout.size() as isize));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = HELD.try_with(|held| held.set(held.get() - layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// No byte that is read may take more.
const BYTES_PER_BYTE: usize = 400;

/// A few changes of the kinds that damage and malice make, with a checksum that is right.
fn tamper(random: &mut StdRng, valid: &[u8]) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(5..bytes.len());
        match random.random_range(0..4) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes.truncate(at.max(6)),
            2 => bytes[at] = [0, 0x7F, 0xFF][random.random_range(0..3)],
            // A number as large as there is.
            _ => {
                let large = [0xFF; 9].into_iter().chain([random.random_range(0..2)]);
                bytes.splice(at..=at, large.skip(random.random_range(0..9)));
            }
        }
    }
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[5..]) as u32;
    bytes[1..5].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn bytes_that_were_tampered_with_neither_panic_nor_take_more_memory_than_they_are_worth() {
    let seed = std::env::var("OTTLA_FUZZ_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    eprintln!("OTTLA_FUZZ_SEED={seed}");
    let random = &mut StdRng::seed_from_u64(seed);
    let (entries, snapshot) = eventful();
    let (mut read, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let at = random.random_range(0..=entries.len());
        let bytes = tamper(random, entries.get(at).unwrap_or(&snapshot));
        GIVEN.set(0);
        let is_fine = match at == entries.len() {
            true => GroupState::from_snapshot(&bytes).is_ok(),
            false => Entry::decode(&bytes).is_ok(),
        };
        let given = GIVEN.get();
        assert!(
            given <= 10_000 + bytes.len() * BYTES_PER_BYTE,
            "{} bytes took {given}",
            bytes.len()
        );
        match is_fine {
            true => read += 1,
            false => refused += 1,
        }
    }
    assert!(
        read > 100 && refused > 100,
        "{read} read, {refused} refused"
    );
}

#[test]
fn a_plan_takes_what_its_batches_take_however_many_producers_the_state_knows() {
    let batch = |id: i64, sequence: i32| {
        let mut builder = BatchBuilder::new().producer(id, 0, sequence);
        builder.append(1_000, None, None, &[]);
        let batch = ValidatedBatch::trusted(builder.build().unwrap()).unwrap();
        Wanted {
            partition: partition_of(0),
            what: Want::Append {
                batch: Candidate::of(&batch).unwrap(),
                origin: AppendOrigin::CLIENT,
                claim: None,
                place: Place::Inline {
                    seq: 0,
                    position: 0,
                },
            },
        }
    };
    let mut state = GroupState::new();
    let given_for_one = |state: &GroupState| {
        let one = [batch(0, 1)];
        GIVEN.set(0);
        let planned = plan(state, &one, 0);
        assert!(planned.answers[0].is_ok());
        GIVEN.get()
    };
    let mut given = Vec::new();
    for count in [1, 20_000] {
        let wanted: Vec<_> = (0..count).map(|id| batch(id, 0)).collect();
        let entry = plan(&state, &wanted, 0).entry;
        state.apply(state.seq() + 1, &entry).unwrap();
        given.push(given_for_one(&state));
    }
    assert_eq!(given[0], given[1]);
    assert!(given[0] < 5_000, "{given:?}");
}

/// All is done on one thread, which counts its bytes.
#[tokio::test(start_paused = true)]
async fn a_group_that_nobody_uses_gives_its_memory_back() {
    const PARTITIONS: i32 = 20_000;
    let cluster = Cluster::new(1);
    let appended = (0..PARTITIONS).map(|number| Effect::Append {
        partition: PartitionId::from(&partition_of(number)),
        base_offset: 0,
        place: Place::Object {
            object: object(1),
            position: number as u32 * 100,
        },
        batches: vec![BatchEffect {
            size_bytes: 100,
            last_offset_delta: 0,
            max_timestamp: 1_000,
            producer: None,
        }],
    });
    let entry = Entry {
        at_ms: 1_000,
        effects: appended.collect(),
    };
    let id = common::partition("topic", 0);
    let group = log_group_of(id.topic_id, id.partition, 8);
    let proposal = Proposal {
        group,
        expected_seq: 0,
        entry: entry.encode().into(),
        inline: bytes::Bytes::new(),
    };
    let fence = cluster.register(7, 7);
    let database = &cluster.database;
    let proposals = [proposal];
    let rows = database.append_if(fence, Uuid::from_u128(1), Mode::Each, &proposals);
    assert_eq!(rows.await.unwrap(), [group]);
    let broker = cluster.broker_with(1, |config| {
        config.runtime = Some(Handle::current());
        config.idle = Duration::from_secs(60);
    });
    let log = common::open(&broker.store, "topic", 0);
    for _ in 0..3 {
        let before = HELD.get();
        log.ready().expect("it is not read").await;
        let taken = HELD.get() - before;
        assert!(taken > 100 * PARTITIONS as isize, "{taken} bytes");
        tokio::time::sleep(Duration::from_secs(120)).await;
        let left = HELD.get() - before;
        assert!(left < taken / 100, "of {taken} bytes {left} are left");
    }
}

/// Each asks for much, and keeps what it gets. Beyond the budget it gets one run.
#[tokio::test(start_paused = true)]
async fn fetches_of_old_data_take_what_they_may_and_not_what_they_ask_for() {
    const LOGS: i32 = 24;
    const BATCHES: usize = 16;
    const BATCH_BYTES: usize = 64 << 10;
    const BUDGET: usize = 2 << 20;
    let cluster = Cluster::new(1);
    let here = |engine: &mut ObjectConfig| engine.runtime = Some(Handle::current());
    let writer = cluster.broker_with(1, here);
    let mut logs = Vec::new();
    for number in 0..LOGS {
        let log = common::open(&writer.store, "topic", number);
        log.current_offsets().await.unwrap();
        for _ in 0..BATCHES {
            let value = vec![b'x'; BATCH_BYTES];
            common::append(&log, common::batch(&[&value]))
                .await
                .unwrap();
        }
        logs.push(number);
    }
    let reader = cluster.broker_with(2, |engine| {
        here(engine);
        engine.cold_bytes = BUDGET;
        engine.cache_bytes = 0;
    });
    let mut reads = Vec::new();
    for number in logs {
        let log = common::open(&reader.store, "topic", number);
        log.current_offsets().await.unwrap();
        let mut request = common::request(0);
        request.max_bytes = 2 * BATCHES * BATCH_BYTES;
        match log.read(request).unwrap() {
            Read::Cold(read) => reads.push(tokio::spawn(read)),
            Read::Ready(_) => panic!("nothing is in memory"),
        }
    }
    let before = HELD.get();
    let mut fetched = Vec::new();
    for read in reads {
        let records = read.await.unwrap().unwrap();
        assert!(records.size_bytes >= BATCH_BYTES);
        fetched.push(records);
    }
    let held = usize::try_from(HELD.get() - before).unwrap();
    let most = BUDGET + LOGS as usize * BATCH_BYTES;
    assert!(held <= most * 3 / 2, "{held} bytes, and {most} are let in");
    let whole = |records: &&FetchedRecords| records.size_bytes > BATCHES * BATCH_BYTES;
    assert_eq!(fetched.iter().filter(whole).count(), 1);
    // What was sent makes room.
    drop(fetched);
    let log = common::open(&reader.store, "topic", 0);
    let records = common::read(&log, common::request(0)).await.unwrap();
    assert!(records.size_bytes > BATCH_BYTES);
}

/// What a million partitions take and cost: `cargo test --release -p ottla-storage --test group_memory -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, of an optimised build"]
fn a_million_partitions() {
    for with_producers in [false, true] {
        measure(with_producers);
    }
}

fn measure(with_producers: bool) {
    const PARTITIONS: i32 = 1_000_000;
    const GROUPS: i32 = 64;
    const RUNS: i64 = 4;
    const PER_ENTRY: usize = 1_000;
    let producer = with_producers.then_some(BatchProducer {
        producer_id: 1_000,
        producer_epoch: 0,
        base_sequence: 0,
        is_transactional: false,
        marker: None,
    });
    let batch = |run: i64| BatchEffect {
        size_bytes: 20_000,
        last_offset_delta: 99,
        max_timestamp: 1_700_000_000_000 + run,
        producer,
    };
    let (mut states, mut entry_bytes, mut entries, mut effects) = (Vec::new(), 0, 0_u32, 0_u32);
    let before = HELD.get();
    let mut applying = std::time::Duration::ZERO;
    for group in 0..GROUPS {
        let mut state = GroupState::new();
        let ids: Vec<_> = (group..PARTITIONS).step_by(GROUPS as usize).collect();
        for run in 0..RUNS {
            for (number, ids) in ids.chunks(PER_ENTRY).enumerate() {
                let place = |position: usize| Place::Object {
                    object: object((run as u128) << 32 | number as u128),
                    position: position as u32 * 20_000,
                };
                let appended = ids.iter().enumerate().map(|(at, id)| Effect::Append {
                    partition: PartitionId::from(&partition_of(*id)),
                    base_offset: run * 100,
                    place: place(at),
                    batches: vec![batch(run)],
                });
                let entry = Entry {
                    at_ms: 1_700_000_000_000 + run,
                    effects: appended.collect(),
                };
                let bytes = entry.encode();
                drop(entry);
                entry_bytes += bytes.len();
                entries += 1;
                effects += ids.len() as u32;
                let started = Instant::now();
                let entry = Entry::decode(&bytes).unwrap();
                state.apply(state.seq() + 1, &entry).unwrap();
                applying += started.elapsed();
            }
        }
        states.push(state);
    }
    let held = HELD.get() - before;
    let started = Instant::now();
    let snapshot = states[0].to_snapshot();
    let writing = started.elapsed();
    let started = Instant::now();
    let read = GroupState::from_snapshot(&snapshot).unwrap();
    let reading = started.elapsed();
    assert_eq!(read.partitions().count(), states[0].partitions().count());
    println!(
        "{PARTITIONS} partitions in {GROUPS} groups, {RUNS} runs each, {} producers:",
        if with_producers { "one has" } else { "no" }
    );
    println!(
        "  {} bytes of memory for each partition",
        held / PARTITIONS as isize
    );
    println!(
        "  {} bytes of entry for each effect",
        entry_bytes / effects as usize
    );
    println!(
        "  {:?} to read and apply an entry of {PER_ENTRY} effects, {:?} for each effect",
        applying / entries,
        applying / effects
    );
    println!(
        "  a group's snapshot: {} bytes, {} for each partition; {writing:?} to write, {reading:?} to read",
        snapshot.len(),
        snapshot.len() / (PARTITIONS / GROUPS) as usize
    );
}
