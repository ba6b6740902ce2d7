//! What is peculiar to a cluster: a latency for each way that records take, and what a killed broker costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kafka_protocol::messages::FindCoordinatorRequest;
use kafka_protocol::protocol::StrBytes;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};
use storage::record::CompressionType;

use super::Workload;
use super::offset_commit::{FIND_COORDINATOR_VERSION, OFFSET_COMMIT_VERSION, commit_request};
use super::start::until_acknowledged;
use crate::RawClient;
use crate::bench::admin::{self, Topic};
use crate::bench::batch::BatchShape;
use crate::bench::contender::{CLUSTER, Contender, KAFKA, OTTLA, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::open_loop::OpenLoad;
use crate::bench::load::probe;
use crate::bench::served::Served;
use crate::bench::usage::Latency;
use crate::cluster::Cluster;
use crate::stores::{BUCKET, S3};

/// `ottla.cluster.flush.ms`, and the ends of its time for the target: what the broker may take besides.
const FLUSH_MS: f64 = 250.0;
const BESIDES_MS: f64 = 20.0;
/// More than `ottla.cluster.inline.bytes`.
const LARGE_BYTES: usize = 128 << 10;
const PUTS: usize = 40;
/// So many that each broker coordinates some.
const GROUPS: usize = 48;
/// Of the broker that is killed.
const VICTIM: usize = 2;

pub(super) fn workload() -> Workload {
    let at_most = |figure: &str, most: f64| Target::absolute(&CLUSTER, figure, Limit::AtMost(most));
    Workload {
        name: "cluster",
        about: "Three brokers over PostgreSQL, which syncs, and SeaweedFS, which does not. `small`: 20 records of 1 KiB a \
                second on a schedule, over 12 partitions; in a cluster they go into the database. `large`: three batches of \
                128 KiB a second; they wait for ottla.cluster.flush.ms (250), and go into an object. `PUT`: an object of that \
                size, put by this program when nothing else goes on; `large p50 less flush and PUT` is what is left of the \
                first. Then one of the brokers is killed (kill -9, lease 10 s): time until only the others are named as \
                leaders and take records for each partition, and until all groups that it coordinated can commit; and until \
                it has acknowledged a record after its next start.",
        contenders: vec![CLUSTER, OTTLA, KAFKA],
        targets: vec![
            at_most("small p50", 15.0),
            at_most("large p50 less flush and PUT", BESIDES_MS),
            at_most("killed: partitions served again", 12.0),
            at_most("killed: groups served again", 12.0),
        ],
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let mut figures = Figures::default();
    if !contender.is_cluster {
        latencies(&contender.start()?, settings, &mut figures)?;
        return Ok(figures);
    }
    let mut cluster = contender.start_cluster()?;
    latencies(&cluster, settings, &mut figures)?;
    let put = put_latency(&cluster.s3)?.quantile_ms(0.5);
    figures.push("PUT p50", "ms", put);
    let large = figures.get("large p50").context("it was measured")?;
    let rest = large - put - FLUSH_MS;
    figures.push("large p50 less flush and PUT", "ms", rest);
    lose_a_broker(&mut cluster, &mut figures)?;
    Ok(figures)
}

fn latencies(served: &dyn Served, settings: &Settings, figures: &mut Figures) -> Result<()> {
    let small = BatchShape {
        records_count: 1,
        record_bytes: 1024,
        compression: CompressionType::None,
    };
    let large = BatchShape::kib_records(LARGE_BYTES);
    for (name, shape, requests_per_second) in [("small", small, 20.0), ("large", large, 3.0)] {
        let load = OpenLoad {
            topic: Topic {
                name: name.to_owned(),
                partitions: 12,
            },
            shape,
            requests_per_second,
            consumers: 1,
        };
        admin::create_topics(served.address(), std::slice::from_ref(&load.topic))?;
        let outcome = load.run(served, settings.warmup, settings.seconds)?;
        figures.push_latency(&format!("{name} "), &outcome.produce);
        let seen = outcome.end_to_end.quantile_ms(0.5);
        figures.push(format!("{name} end-to-end p50"), "ms", seen);
    }
    Ok(())
}

/// What the object store takes by itself.
fn put_latency(s3: &S3) -> Result<Latency> {
    let mut builder = AmazonS3Builder::new().with_bucket_name(BUCKET);
    for (name, value) in s3.environment() {
        builder = builder.with_config(name.to_ascii_lowercase().parse()?, value);
    }
    let objects = builder.build()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut latency = Latency::new()?;
    for number in 0..PUTS {
        let payload = PutPayload::from(vec![b'x'; LARGE_BYTES]);
        let began = Instant::now();
        let path = Path::from(format!("beside/{number}"));
        runtime.block_on(objects.put(&path, payload))?;
        latency.record(began.elapsed());
    }
    Ok(latency)
}

fn lose_a_broker(cluster: &mut Cluster, figures: &mut Figures) -> Result<()> {
    let topic = Topic::bench(12);
    admin::create_topic(cluster.address(), &topic)?;
    let groups: Vec<String> = (0..GROUPS).map(|group| format!("group-{group}")).collect();
    for group in &groups {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !commits(cluster, group, &topic)? {
            ensure!(Instant::now() < deadline, "{group} has no coordinator");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let victim = i32::try_from(VICTIM)? + 1;
    let mut moved = Vec::new();
    for group in groups {
        if coordinator(cluster, &group)? == Some(victim) {
            moved.push(group);
        }
    }
    ensure!(!moved.is_empty(), "broker {victim} coordinates nothing");
    cluster.brokers[VICTIM].kill9()?;
    let killed = Instant::now();
    let (partitions, groups) = std::thread::scope(|scope| -> Result<_> {
        let cluster = &*cluster;
        let commits = scope.spawn(|| until_all_commit(cluster, &moved, &topic, killed));
        cluster.wait_for_brokers(0, &[1, 2])?;
        for broker in &cluster.brokers[..VICTIM] {
            probe::produce_everywhere(broker.address(), &topic, BatchShape::kib_records(0))?;
        }
        let partitions = killed.elapsed();
        let groups = commits.join();
        let groups = groups.map_err(|_| anyhow::anyhow!("the committer panicked"))??;
        Ok((partitions, groups))
    })?;
    figures.push(
        "killed: partitions served again",
        "s",
        partitions.as_secs_f64(),
    );
    figures.push("killed: groups served again", "s", groups.as_secs_f64());
    let started = until_acknowledged(&mut cluster.brokers[VICTIM], |address| {
        probe::produce(address, &topic)
    })?;
    figures.push("start of a broker", "ms", started.as_secs_f64() * 1e3);
    Ok(())
}

/// How long after `killed` every one of these groups can commit.
fn until_all_commit(
    cluster: &Cluster,
    groups: &[String],
    topic: &Topic,
    killed: Instant,
) -> Result<Duration> {
    for group in groups {
        // Whoever is named may be the broker that is gone.
        while !commits(cluster, group, topic).unwrap_or(false) {
            ensure!(
                killed.elapsed() < Duration::from_secs(60),
                "{group} stays without a coordinator"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(killed.elapsed())
}

/// Whether a group's coordinator takes a commit now.
fn commits(cluster: &Cluster, group: &str, topic: &Topic) -> Result<bool> {
    let Some(coordinator) = coordinator(cluster, group)? else {
        return Ok(false);
    };
    let broker = usize::try_from(coordinator - 1)?;
    let broker = cluster.brokers.get(broker).context("an unknown broker")?;
    let commit = commit_request(group, topic, |_| 0);
    let committed = RawClient::connect(broker.address())?.call(OFFSET_COMMIT_VERSION, &commit)?;
    let mut partitions = committed.topics.iter().flat_map(|topic| &topic.partitions);
    Ok(partitions.all(|partition| partition.error_code == 0))
}

/// Who coordinates a group, as the first broker says.
fn coordinator(cluster: &Cluster, group: &str) -> Result<Option<i32>> {
    let find = FindCoordinatorRequest::default().with_key(StrBytes::from_string(group.to_owned()));
    let found = RawClient::connect(cluster.address())?.call(FIND_COORDINATOR_VERSION, &find)?;
    Ok((found.error_code == 0).then_some(found.node_id.0))
}
