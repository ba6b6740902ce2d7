//! A hundred brokers and a million partitions in one process and in virtual time: what a large cluster asks of its stores.
//!
//! The engines, their plans, entries and states, and who leads what, are real. The database and the object store are in memory,
//! and take their time ([`COMMIT`], [`OBJECTS`]). Records are few, so bytes of records are not what is looked at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::time::{ClockId, clock_gettime};
use storage::env::clock::SystemClock;
use storage::log::{
    AppendOrigin, BoxFuture, Isolation, LogConfig, LogStore, Next, PartitionLog, Read, ReadRequest,
    TopicPartition,
};
use storage::object::database::{
    Brokers as _, Call, Fate, Faults, LogGroup, MemoryDatabase, OrderedLog as _, Registration, Row,
    log_group_of,
};
use storage::object::entry::{Entry, Place};
use storage::object::group_state::GroupState;
use storage::object::plan::{Candidate, Want, Wanted, plan};
use storage::object::{self, ObjectConfig};
use storage::record::{BatchBuilder, ValidatedBatch};
use storage::testing::faulty_objects::FaultyObjects;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::view::{Members, Node};

const RACKS: i32 = 3;
const PARTITIONS_PER_TOPIC: i32 = 1000;
/// How long a commit takes to the database, and how long other questions do; half of it each way.
const COMMIT: Duration = Duration::from_millis(6);
const QUESTION: Duration = Duration::from_millis(2);
/// How long an object store takes.
const OBJECTS: std::ops::Range<Duration> = Duration::from_millis(40)..Duration::from_millis(120);
/// At 10 GB/s each of a hundred brokers has 16 MiB in that time.
const FLUSH: Duration = Duration::from_millis(160);
/// In so many pieces batches come between two flushes.
const SLICES: u32 = 8;
/// How often consumers look for more.
const POLL: Duration = Duration::from_millis(50);
/// A part of the partitions has a batch for each flush.
const ACTIVE: f64 = 0.25;

#[derive(Clone, Copy)]
struct Scale {
    partitions: i32,
    groups: u16,
    brokers: i32,
    flushes: u32,
    /// Of records that were written or read a moment ago, at each broker.
    cache_bytes: usize,
}

/// The way to the database, which counts.
#[derive(Default)]
struct Way {
    commits: AtomicU64,
    questions: AtomicU64,
}

impl Way {
    fn takes(call: Call) -> Duration {
        match call {
            Call::AppendIf => COMMIT / 2,
            _ => QUESTION / 2,
        }
    }
}

impl Faults for Way {
    fn before(&self, call: Call) -> BoxFuture<'_, Fate> {
        match call {
            Call::AppendIf => self.commits.fetch_add(1, Relaxed),
            _ => self.questions.fetch_add(1, Relaxed),
        };
        Box::pin(async move {
            sleep(Self::takes(call)).await;
            Fate::Answered
        })
    }

    fn after(&self, call: Call) -> BoxFuture<'_, ()> {
        Box::pin(sleep(Self::takes(call)))
    }
}

/// A partition, who writes to it and who reads it.
struct Traffic {
    id: TopicPartition,
    writer: usize,
    reader: usize,
    written: AtomicI64,
    read: AtomicI64,
}

struct World {
    scale: Scale,
    database: MemoryDatabase,
    way: Arc<Way>,
    stores: Vec<Arc<dyn LogStore>>,
    partitions: Arc<[Traffic]>,
    // Lets no broker go.
    _fences: Vec<watch::Sender<Option<storage::object::database::Fence>>>,
}

fn members(brokers: impl IntoIterator<Item = i32>, groups: u16) -> Members {
    let node = |id| Node {
        id,
        rack: Some(Arc::from(format!("rack-{}", id % RACKS))),
        endpoints: BTreeMap::new(),
    };
    Members::new(0, brokers.into_iter().map(node).collect(), groups)
}

impl World {
    async fn new(scale: Scale) -> Self {
        let members = members(0..scale.brokers, scale.groups);
        let database = MemoryDatabase::new(Arc::new(SystemClock::default()), scale.groups);
        let (way, objects) = (Arc::new(Way::default()), FaultyObjects::new(1));
        objects.change(|faults| faults.latency = OBJECTS);
        let (mut stores, mut fences) = (Vec::new(), Vec::new());
        for id in 0..scale.brokers {
            let registration = Registration {
                broker_id: Some(id),
                incarnation: Uuid::from_u128(id as u128 + 1),
                replaces: None,
                rack: None,
                endpoints: Vec::new(),
                lease: Duration::from_secs(1 << 20),
            };
            let registered = database.register(&registration).await.expect("it is free");
            let (sender, fence) = watch::channel(Some(registered.fence));
            fences.push(sender);
            let log = Arc::new(database.with_faults(Arc::clone(&way) as _));
            let config = ObjectConfig {
                flush: FLUSH,
                cache_bytes: scale.cache_bytes,
                // What is small here stands for what is large.
                inline_bytes: 0,
                runtime: Some(tokio::runtime::Handle::current()),
                ..ObjectConfig::new(log, Arc::clone(&objects) as _, scale.groups, fence)
            };
            stores.push(object::open(config).expect("it opens"));
        }
        let random = &mut StdRng::seed_from_u64(1);
        let mut rack = || format!("rack-{}", random.random_range(0..RACKS));
        let traffic = |number: i32| {
            let id = TopicPartition {
                topic: Arc::from("t"),
                topic_id: Uuid::from_u128((number / PARTITIONS_PER_TOPIC) as u128 + 1),
                partition: number % PARTITIONS_PER_TOPIC,
            };
            let mut leader = || members.leader_for(id.topic_id, id.partition, Some(&rack()));
            let (writer, reader) = (leader() as usize, leader() as usize);
            let (written, read) = (AtomicI64::new(0), AtomicI64::new(0));
            Traffic {
                id,
                writer,
                reader,
                written,
                read,
            }
        };
        Self {
            partitions: (0..scale.partitions).map(traffic).collect(),
            scale,
            database,
            way,
            stores,
            _fences: fences,
        }
    }

    async fn open(store: &Arc<dyn LogStore>, id: &TopicPartition) -> Arc<dyn PartitionLog> {
        let config = Arc::new(LogConfig::default());
        let log = store.open_log(id.clone(), config).expect("it is served");
        if let Some(ready) = log.ready() {
            ready.await;
        }
        log
    }

    /// What a broker's producers do; gives the latencies of their batches.
    async fn write(
        store: Arc<dyn LogStore>,
        partitions: Arc<[Traffic]>,
        broker: usize,
        flushes: u32,
    ) -> Vec<Duration> {
        let random = &mut StdRng::seed_from_u64(broker as u64);
        let mut logs = Vec::new();
        for (number, traffic) in partitions.iter().enumerate() {
            if traffic.writer == broker {
                logs.push((number, 0, Self::open(&store, &traffic.id).await));
            }
        }
        sleep(FLUSH.mul_f64(random.random_range(0.0..1.0))).await;
        let mut answers = Vec::new();
        let at_once = logs.len() as f64 * ACTIVE / f64::from(SLICES);
        for slice in 0..flushes * SLICES {
            let next = Instant::now() + FLUSH / SLICES;
            let count =
                (f64::from(slice + 1) * at_once) as usize - (f64::from(slice) * at_once) as usize;
            for _ in 0..count {
                let at = random.random_range(0..logs.len());
                let (number, sequence, log) = &mut logs[at];
                let batch = batch(*number as i64, *sequence);
                *sequence += 1;
                let origin = AppendOrigin::CLIENT;
                let permit = log.reserve(batch.bytes.len(), origin).await;
                let permit = permit.expect("there is room");
                let appended = log.submit(permit, batch, origin, Next::Append);
                let (appended, since) = (appended.expect("it fits"), Instant::now());
                let (partitions, number) = (Arc::clone(&partitions), *number);
                answers.push(tokio::spawn(async move {
                    let appended = appended.await.expect("it is appended");
                    let written = &partitions[number].written;
                    written.fetch_max(appended.last_offset + 1, Relaxed);
                    since.elapsed()
                }));
            }
            tokio::time::sleep_until(next).await;
        }
        let mut latencies = Vec::with_capacity(answers.len());
        for answer in answers {
            latencies.push(answer.await.expect("it was answered"));
        }
        latencies
    }

    /// What a broker's consumers do, until `written` is over and they have all of it.
    async fn read(
        store: Arc<dyn LogStore>,
        partitions: Arc<[Traffic]>,
        broker: usize,
        written: watch::Receiver<bool>,
    ) {
        let mut logs = Vec::new();
        for (number, traffic) in partitions.iter().enumerate() {
            if traffic.reader == broker {
                logs.push((number, Self::open(&store, &traffic.id).await));
            }
        }
        loop {
            let is_over = *written.borrow();
            let mut behind = false;
            let mut reads = Vec::new();
            for (number, log) in &logs {
                let traffic = &partitions[*number];
                let fetch_offset = traffic.read.load(Relaxed);
                if log.offsets().high_watermark == fetch_offset {
                    behind |= traffic.written.load(Relaxed) > fetch_offset;
                    continue;
                }
                let request = ReadRequest {
                    fetch_offset,
                    max_bytes: 1 << 20,
                    at_least_one_batch: true,
                    isolation: Isolation::ReadUncommitted,
                };
                let (read, partitions, number) =
                    (log.read(request), Arc::clone(&partitions), *number);
                reads.push(tokio::spawn(async move {
                    let fetched = match read.expect("it is there") {
                        Read::Ready(fetched) => fetched,
                        Read::Cold(fetched) => fetched.await.expect("it is fetched"),
                    };
                    let end = fetched.records.iter().flat_map(storage_batches).last();
                    partitions[number]
                        .read
                        .fetch_max(end.expect("a batch"), Relaxed);
                }));
            }
            behind |= !reads.is_empty();
            for read in reads {
                read.await.expect("it was read");
            }
            if is_over && !behind {
                return;
            }
            sleep(POLL).await;
        }
    }

    /// The traffic, until it has arrived; gives the latencies of producers.
    async fn run(&self) -> Vec<Duration> {
        let (over, is_over) = watch::channel(false);
        let (mut writing, mut reading) = (Vec::new(), Vec::new());
        for (broker, store) in self.stores.iter().enumerate() {
            let world = || (Arc::clone(store), Arc::clone(&self.partitions));
            let (store, partitions) = world();
            writing.push(tokio::spawn(Self::write(
                store,
                partitions,
                broker,
                self.scale.flushes,
            )));
            let (store, partitions) = world();
            reading.push(tokio::spawn(Self::read(
                store,
                partitions,
                broker,
                is_over.clone(),
            )));
        }
        let mut latencies = Vec::new();
        for writing in writing {
            latencies.extend(writing.await.expect("all was written"));
        }
        over.send_replace(true);
        for reading in reading {
            reading.await.expect("all was read");
        }
        latencies.sort_unstable();
        latencies
    }

    async fn rows(&self) -> Vec<Row> {
        let known: Vec<_> = (0..self.scale.groups)
            .map(|group| (LogGroup(group), 0))
            .collect();
        let news = self.database.read_from(&known, usize::MAX).await;
        news.expect("memory answers").rows
    }
}

fn storage_batches(bytes: &bytes::Bytes) -> Vec<i64> {
    let batches = storage::record::batches(bytes);
    let headers = batches.map(|batch| batch.expect("it is whole").header);
    headers.map(|header| header.next_offset()).collect()
}

fn batch(producer_id: i64, sequence: i32) -> ValidatedBatch {
    let mut builder = BatchBuilder::new().producer(producer_id, 0, sequence);
    builder.append(1_700_000_000_000, None, Some(&[b'x'; 100]), &[]);
    ValidatedBatch::trusted(builder.build().expect("it is small")).expect("one batch")
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What came of it.
#[derive(Debug)]
struct Counts {
    batches: usize,
    p50: Duration,
    p99: Duration,
    puts: u64,
    rows: u64,
    conflicts: u64,
    entry_bytes: usize,
    commits: u64,
    questions: u64,
    followed_rows: u64,
    gets: u64,
    hits: u64,
    misses: u64,
    cpu: Duration,
}

/// Runs a world, and checks that nothing is lost.
fn run(scale: Scale) -> (Counts, World) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let world = World::new(scale).await;
        let before = cpu();
        let latencies = world.run().await;
        let cpu = cpu() - before;
        let written = world
            .partitions
            .iter()
            .map(|traffic| traffic.written.load(Relaxed));
        assert_eq!(
            written.sum::<i64>(),
            latencies.len() as i64,
            "all are there, once"
        );
        let stats = world
            .stores
            .iter()
            .map(|store| store.object_stats().expect("objects"));
        let mut counts = Counts {
            batches: latencies.len(),
            p50: latencies[latencies.len() / 2],
            p99: latencies[latencies.len() * 99 / 100],
            puts: 0,
            rows: 0,
            conflicts: 0,
            entry_bytes: world.rows().await.iter().map(|row| row.entry.len()).sum(),
            commits: world.way.commits.load(Relaxed),
            questions: world.way.questions.load(Relaxed),
            followed_rows: 0,
            gets: 0,
            hits: 0,
            misses: 0,
            cpu,
        };
        for stats in stats {
            counts.puts += stats.requests.puts;
            counts.rows += stats.rows;
            counts.conflicts += stats.conflicts;
            counts.followed_rows += stats.followed_rows;
            counts.gets += stats.requests.gets;
            counts.hits += stats.cache_hits;
            counts.misses += stats.cache_misses;
        }
        (counts, world)
    })
}

/// What a broker's own part of it takes: its planning, and to come to know its groups.
struct Own {
    /// Of one flush: planned, encoded, applied.
    effects: usize,
    plan: Duration,
    encode: Duration,
    /// And read and applied by another broker.
    take_in: Duration,
    /// Of the groups that it leads.
    partitions: usize,
    snapshot_bytes: usize,
    write_snapshots: Duration,
    read_snapshots: Duration,
}

/// Of the first broker, from the rows of a world that has run.
fn own(world: &World, rows: &[Row]) -> Own {
    let groups = world.scale.groups;
    let mine: Vec<&Traffic> = (world.partitions.iter())
        .filter(|traffic| traffic.writer == 0)
        .collect();
    let group_of =
        |traffic: &Traffic| log_group_of(traffic.id.topic_id, traffic.id.partition, groups);
    let mut own = Own {
        effects: 0,
        plan: Duration::ZERO,
        encode: Duration::ZERO,
        take_in: Duration::ZERO,
        partitions: 0,
        snapshot_bytes: 0,
        write_snapshots: Duration::ZERO,
        read_snapshots: Duration::ZERO,
    };
    let mut position = 0;
    let mut led: BTreeMap<LogGroup, Vec<&Traffic>> = BTreeMap::new();
    for traffic in mine {
        led.entry(group_of(traffic)).or_default().push(traffic);
    }
    for (group, traffic) in led {
        let mut state = GroupState::new();
        for row in rows.iter().filter(|row| row.group == group) {
            let entry = Entry::decode(&row.entry).expect("it was encoded");
            state.apply(row.seq, &entry).expect("it is the next");
        }
        let began = cpu();
        let snapshot = state.to_snapshot();
        own.write_snapshots += cpu() - began;
        let began = cpu();
        let mut read = GroupState::from_snapshot(&snapshot).expect("it was written");
        own.read_snapshots += cpu() - began;
        own.partitions += read.partitions().count();
        own.snapshot_bytes += snapshot.len();

        let object = storage::object::entry::ObjectId {
            broker_epoch: 1,
            id: Uuid::now_v7(),
        };
        let every = (1.0 / ACTIVE) as usize;
        let wanted = traffic.iter().step_by(every).map(|traffic| {
            let id = &traffic.id;
            let number = id.topic_id.as_u128() as i64 * 1_000_000 + i64::from(id.partition);
            let batch = Candidate::of(&batch(number, 0)).expect("it is a batch");
            position += 6_700;
            Wanted {
                partition: id.clone(),
                what: Want::Append {
                    batch,
                    origin: AppendOrigin::CLIENT,
                    claim: None,
                    place: Place::Object { object, position },
                },
            }
        });
        let wanted: Vec<_> = wanted.collect();
        let began = cpu();
        let planned = plan(&state, &wanted, 1_700_000_000_000);
        own.plan += cpu() - began;
        own.effects += planned.entry.effects.len();
        let began = cpu();
        let bytes = planned.entry.encode();
        own.encode += cpu() - began;
        let began = cpu();
        let entry = Entry::decode(&bytes).expect("it was encoded");
        read.apply(read.seq() + 1, &entry).expect("it is the next");
        own.take_in += cpu() - began;
    }
    own
}

/// How evenly the brokers lead, for all and in their racks, and what moves when one of them goes or another comes.
fn spread(brokers: i32, groups: u16) -> String {
    let led = |members: &Members, rack: Option<i32>| -> Vec<i32> {
        let rack = rack.map(|rack| format!("rack-{rack}"));
        // One partition for each group is enough, once it is known which that is.
        let mut leaders = vec![-1; usize::from(groups)];
        let topic_id = Uuid::from_u128(7);
        for partition in 0..i32::from(groups) * 20 {
            let LogGroup(group) = log_group_of(topic_id, partition, groups);
            leaders[usize::from(group)] = members.leader_for(topic_id, partition, rack.as_deref());
        }
        leaders
    };
    let in_racks = |members: &Members| (0..RACKS).map(|rack| led(members, Some(rack))).collect();
    let now = members(0..brokers, groups);
    let (for_all, in_rack): (_, Vec<_>) = (vec![led(&now, None)], in_racks(&now));
    let moved = |before: &[Vec<i32>], after: &[Vec<i32>]| -> usize {
        let pairs = before.iter().flatten().zip(after.iter().flatten());
        pairs.filter(|(before, after)| before != after).count()
    };
    let (mut without, mut without_in_racks) = (Vec::new(), Vec::new());
    for gone in 0..brokers {
        let rest = members((0..brokers).filter(|id| *id != gone), groups);
        without.push(moved(&for_all, &[led(&rest, None)]));
        without_in_racks.push(moved(&in_rack, &in_racks(&rest)));
    }
    assert_eq!(
        without.iter().sum::<usize>(),
        usize::from(groups),
        "only what a broker has led moves when it goes"
    );
    let more = members(0..=brokers, groups);
    let tell = |leaders: &[Vec<i32>], without: &[usize], with: usize| {
        let of = |broker| {
            let all = leaders.iter().flatten();
            all.filter(|leader| **leader == broker).count()
        };
        let leads: Vec<_> = (0..brokers).map(of).collect();
        format!(
            "the busiest leads {}, the mean {:.1}, {} none; one goes: {} at most move, the mean {:.1}; one comes: {with}",
            leads.iter().max().unwrap_or(&0),
            leads.iter().sum::<usize>() as f64 / f64::from(brokers),
            leads.iter().filter(|leads| **leads == 0).count(),
            without.iter().max().unwrap_or(&0),
            without.iter().sum::<usize>() as f64 / f64::from(brokers),
        )
    };
    format!(
        "{brokers} brokers, {groups} groups: for all, {}\n  in their racks, {}",
        tell(&for_all, &without, moved(&for_all, &[led(&more, None)])),
        tell(
            &in_rack,
            &without_in_racks,
            moved(&in_rack, &in_racks(&more))
        ),
    )
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok()).expect("a size") / 1024
}

fn report(scale: Scale) {
    let before_mib = resident_mib();
    let (counts, world) = run(scale);
    let rows = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(world.rows());
    let own = own(&world, &rows);
    let seconds = FLUSH.as_secs_f64() * f64::from(scale.flushes);
    let rate = |count: u64| count as f64 / seconds;
    let per_put = |count: u64| count as f64 / counts.puts as f64;
    println!(
        "{} partitions, {} brokers in {RACKS} racks, {} groups, {} MiB of cache, {seconds:.2} s:",
        scale.partitions,
        scale.brokers,
        scale.groups,
        scale.cache_bytes >> 20
    );
    println!(
        "  batches: {:.0}/s, produce p50 {:?}, p99 {:?}",
        rate(counts.batches as u64),
        counts.p50,
        counts.p99
    );
    println!(
        "  PUTs: {:.0}/s; rows: {:.0}/s, {:.1} a PUT; entries: {:.1} MB/s, {:.1} bytes a batch",
        rate(counts.puts),
        rate(counts.rows),
        per_put(counts.rows),
        counts.entry_bytes as f64 / seconds / 1e6,
        counts.entry_bytes as f64 / counts.batches as f64
    );
    println!(
        "  commits: {:.0}/s; rows that came too late: {:.1} %; other questions: {:.0}/s; rows followed: {:.0}/s",
        rate(counts.commits),
        100.0 * counts.conflicts as f64 / (counts.conflicts + counts.rows) as f64,
        rate(counts.questions),
        rate(counts.followed_rows)
    );
    println!(
        "  GETs: {:.0}/s, {:.1} a PUT; reads from memory: {:.0} %",
        rate(counts.gets),
        per_put(counts.gets),
        100.0 * counts.hits as f64 / (counts.hits + counts.misses) as f64
    );
    println!(
        "  CPU of all, clients and stores in memory included: {:.2} ms a flush, {:.1} us a batch; memory {} MiB more",
        counts.cpu.as_secs_f64() * 1e3 / counts.puts as f64,
        counts.cpu.as_secs_f64() * 1e6 / counts.batches as f64,
        resident_mib() - before_mib
    );
    println!(
        "  one broker, one flush: {} effects; plan {:?}, encode {:?}, read and applied elsewhere {:?}",
        own.effects, own.plan, own.encode, own.take_in
    );
    println!(
        "  its groups: {} partitions, {} KiB of snapshots, written in {:?}, read in {:?}",
        own.partitions,
        own.snapshot_bytes >> 10,
        own.write_snapshots,
        own.read_snapshots
    );
    println!("  {}", spread(scale.brokers, scale.groups));
}

/// `cargo test --release --workspace --lib -- --ignored --nocapture a_million_partitions_and_a_hundred_brokers`
#[test]
#[ignore = "a measurement, of an optimised build"]
fn a_million_partitions_and_a_hundred_brokers() {
    let number = |name: &str, otherwise: i32| {
        let given = std::env::var(name).ok();
        given.map_or(otherwise, |given| given.parse().expect("a number"))
    };
    for groups in [64, 256, 1024] {
        if number("OTTLA_SCALE_GROUPS", groups) == groups {
            report(Scale {
                partitions: number("OTTLA_SCALE_PARTITIONS", 1_000_000),
                groups: groups as u16,
                brokers: number("OTTLA_SCALE_BROKERS", 100),
                flushes: number("OTTLA_SCALE_FLUSHES", 4) as u32,
                cache_bytes: (number("OTTLA_SCALE_CACHE_MIB", 16) as usize) << 20,
            });
        }
    }
}

/// What is asked of the stores grows with flushes and groups, and not with partitions.
#[test]
fn stores_are_asked_as_often_however_many_partitions_there_are() {
    let small = Scale {
        partitions: 400,
        groups: 32,
        brokers: 6,
        flushes: 6,
        cache_bytes: 16 << 20,
    };
    let large = Scale {
        partitions: 4000,
        ..small
    };
    let [small, large] = [small, large].map(|scale| run(scale).0);
    assert!(large.batches > 8 * small.batches, "{small:?} {large:?}");
    for (what, few, many) in [
        ("PUTs", small.puts, large.puts),
        ("rows", small.rows, large.rows),
        ("commits", small.commits, large.commits),
        ("GETs", small.gets, large.gets),
    ] {
        assert!(many < 2 * few, "{what}: {small:?} {large:?}");
    }
    let bytes = large.entry_bytes / large.batches;
    assert!(bytes < 60, "{bytes} bytes of entries for each batch");
}

#[test]
fn about_a_hundredth_moves_when_one_of_a_hundred_brokers_comes_or_goes() {
    for groups in [64, 1024] {
        println!("{}", spread(100, groups));
    }
}
