//! How long it takes until the partitions and groups of a broker that is gone are served by others.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use compat_tests::bench::admin::{Topic, create_topic};
use compat_tests::cluster::{Cluster, LEASE};
use compat_tests::{RawClient, available};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    FindCoordinatorRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

const TOPIC: &str = "failover";
const PARTITIONS: i32 = 12;
const GROUPS: i64 = 12;
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// How long it took until something was served again.
struct Took {
    partitions: Duration,
    groups: Duration,
}

#[test]
#[ignore = "takes minutes, and measures: `cargo test -p compat-tests --test cluster -- --ignored --nocapture failover`"]
fn failover_after_a_kill_and_after_a_stop() -> Result<()> {
    let Some(mut cluster) = available(Cluster::start(&[]))? else {
        return Ok(());
    };
    cluster.wait_for_brokers(0, &[1, 2, 3])?;
    let topic = Topic {
        name: TOPIC.to_owned(),
        partitions: PARTITIONS,
    };
    create_topic(cluster.brokers[0].address(), &topic)?;
    for group in 0..GROUPS {
        until(|| commit(cluster.brokers[0].address(), group))?;
    }
    let (mut killed, mut stopped) = (Vec::new(), Vec::new());
    for attempt in 0..TRIES {
        killed.push(gone(&mut cluster, attempt % 3, |broker| broker.kill9())?);
        stopped.push(gone(&mut cluster, attempt % 3, |broker| {
            broker.terminate()
        })?);
    }
    report("kill -9", &killed);
    report("stop in order", &stopped);
    let median = |tries: &[Took]| middle(tries, |took| took.partitions.max(took.groups));
    ensure!(median(&killed) < LEASE + Duration::from_secs(2), "killed");
    Ok(())
}

/// Ends a broker, waits until its work is done by others, and starts it again.
fn gone(
    cluster: &mut Cluster,
    victim: usize,
    end: impl FnOnce(&mut compat_tests::BrokerProcess) -> Result<()> + Send,
) -> Result<Took> {
    let asked = cluster.brokers[(victim + 1) % 3].address();
    let id = i32::try_from(victim + 1)?;
    // One that came back is listed before it leads.
    until(|| {
        ensure!(leads(asked, id)? > 0, "broker {id} leads nothing");
        Ok(())
    })?;
    let began = Instant::now();
    let took = std::thread::scope(|scope| {
        let broker = &mut cluster.brokers[victim];
        let ending = scope.spawn(move || end(broker));
        let served = scope.spawn(move || -> Result<Duration> {
            for group in 0..GROUPS {
                until(|| is_committed(asked, group))?;
            }
            Ok(began.elapsed())
        });
        until(|| {
            ensure!(leads(asked, id)? == 0, "broker {id} leads");
            Ok(())
        })?;
        let partitions = began.elapsed();
        let groups = served
            .join()
            .map_err(|_| anyhow::anyhow!("it panicked"))??;
        ending
            .join()
            .map_err(|_| anyhow::anyhow!("it panicked"))??;
        anyhow::Ok(Took { partitions, groups })
    })?;
    cluster.brokers[victim].restart()?;
    cluster.wait_for_brokers((victim + 1) % 3, &[1, 2, 3])?;
    for group in 0..GROUPS {
        until(|| is_committed(asked, group))?;
    }
    Ok(took)
}

fn until(mut is_so: impl FnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + 6 * LEASE;
    while let Err(error) = is_so() {
        ensure!(
            Instant::now() < deadline,
            "not within six leases: {error:#}"
        );
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// How many partitions a broker leads, by what another one says.
fn leads(asked: SocketAddr, id: i32) -> Result<usize> {
    let request = MetadataRequest::default().with_topics(None);
    let told = RawClient::connect(asked)?.call(12, &request)?;
    let partitions = told.topics.iter().flat_map(|topic| &topic.partitions);
    Ok(partitions
        .filter(|partition| partition.leader_id.0 == id)
        .count())
}

fn coordinator(asked: SocketAddr, group: i64) -> Result<RawClient> {
    let find = FindCoordinatorRequest::default().with_key(name(group));
    let found = RawClient::connect(asked)?.call(3, &find)?;
    ensure!(found.error_code == 0, "error {}", found.error_code);
    let address = format!("{}:{}", &*found.host, found.port);
    RawClient::connect(address.parse().context("an address")?)
}

fn commit(asked: SocketAddr, group: i64) -> Result<()> {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(group);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(name(group).into())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let told = coordinator(asked, group)?.call(8, &request)?;
    let error = told.topics[0].partitions[0].error_code;
    ensure!(error == 0, "error {error}");
    Ok(())
}

fn is_committed(asked: SocketAddr, group: i64) -> Result<()> {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default()
        .with_group_id(name(group).into())
        .with_topics(Some(vec![topic]));
    let told = coordinator(asked, group)?.call(7, &request)?;
    ensure!(told.error_code == 0, "error {}", told.error_code);
    let offset = told.topics[0].partitions[0].committed_offset;
    ensure!(offset == group, "{offset} instead of {group}");
    Ok(())
}

fn name(group: i64) -> StrBytes {
    StrBytes::from_string(format!("failover-{group}"))
}

fn middle(tries: &[Took], of: impl Fn(&Took) -> Duration) -> Duration {
    let mut all: Vec<Duration> = tries.iter().map(of).collect();
    all.sort_unstable();
    all[all.len() / 2]
}

fn report(what: &str, tries: &[Took]) {
    let seconds = |of: fn(&Took) -> Duration| {
        let all = tries.iter().map(|took| of(took).as_secs_f64());
        let all: Vec<String> = all.map(|seconds| format!("{seconds:.2}")).collect();
        format!(
            "{:.2} s of {}",
            middle(tries, of).as_secs_f64(),
            all.join(" ")
        )
    };
    println!(
        "{what}: partitions after {}; groups after {}",
        seconds(|took| took.partitions),
        seconds(|took| took.groups)
    );
}
