//! Offset commits by 64 groups.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    ResponseHeader,
};
use kafka_protocol::protocol::{Decodable as _, HeaderVersion as _, StrBytes};

use super::{Workload, window};
use crate::RawClient;
use crate::bench::admin::{self, Topic};
use crate::bench::connection::Connection;
use crate::bench::contender::{Contender, KAFKA, OTTLA, OTTLA_OS, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::poll::Poll;
use crate::bench::request::{frame, topic_name};
use crate::bench::usage::{Latency, Usage, Window};

const GROUPS: usize = 64;
/// In one request.
const PARTITIONS: [(&str, i32); 2] = [("1 partition", 1), ("12 partitions", 12)];
pub(super) const FIND_COORDINATOR_VERSION: i16 = 3;
pub(super) const OFFSET_COMMIT_VERSION: i16 = 8;
const OFFSET_FETCH_VERSION: i16 = 7;
const READY_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn workload() -> Workload {
    let targets = PARTITIONS.into_iter().flat_map(|(name, _)| {
        let commits = format!("{name}, commits");
        [
            Target::absolute(&OTTLA, &commits, Limit::AtLeast(20_000.0)),
            Target::ratio(&commits, &OTTLA, &KAFKA, Limit::AtLeast(3.0)),
        ]
    });
    Workload {
        name: "offset-commit",
        about: "64 groups, each with one connection and one OffsetCommit request in flight. A commit is one \
                request, for one partition or for 12, answered without an error for each. `ottla` has \
                them on stable media then, `kafka` and `ottla os` in the page cache. A fresh broker for \
                each number of partitions; at the end every group's last commit is fetched.",
        contenders: vec![OTTLA, KAFKA, OTTLA_OS],
        targets: targets.collect(),
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let mut figures = Figures::default();
    for (name, partitions) in PARTITIONS {
        let (latency, usage) = commit(contender, settings, partitions)?;
        let mut of_size = Figures::default();
        of_size.push_cost_of("commit", latency.count(), &usage);
        of_size.push_latency("", &latency);
        figures.extend(&format!("{name}, "), &of_size);
    }
    Ok(figures)
}

fn commit(contender: &Contender, settings: &Settings, partitions: i32) -> Result<(Latency, Usage)> {
    let broker = contender.start()?;
    let topic = Topic::bench(partitions);
    admin::create_topics(broker.address(), std::slice::from_ref(&topic))?;
    let mut groups = Vec::new();
    for index in 0..GROUPS {
        groups.push(Group::open(
            broker.address(),
            format!("group-{index}"),
            topic.clone(),
        )?);
    }
    let window = window(settings);
    let (mut groups, usage) = std::thread::scope(|scope| -> Result<_> {
        let commits = scope.spawn(move || commit_until(groups, window));
        let usage = Usage::during(&broker, window)?;
        let groups = commits
            .join()
            .map_err(|_| anyhow!("the groups panicked"))??;
        Ok((groups, usage))
    })?;
    let mut latency = Latency::new()?;
    for group in &mut groups {
        group.check(broker.address())?;
        latency.merge(&group.latency)?;
    }
    Ok((latency, usage))
}

fn commit_until(mut groups: Vec<Group>, window: Window) -> Result<Vec<Group>> {
    let mut poll = Poll::new(groups.iter().map(|group| &group.connection))?;
    for group in &mut groups {
        group.send()?;
    }
    let mut waiting = groups.len();
    while waiting > 0 {
        poll.wait(|index| {
            let group = &mut groups[index];
            let now = group.receive(window)?;
            if now < window.until {
                group.send()
            } else {
                waiting -= 1;
                Ok(())
            }
        })?;
    }
    Ok(groups)
}

/// One group that commits without members, as a consumer does that assigns itself its partitions.
struct Group {
    id: String,
    topic: Topic,
    connection: Connection,
    frame: Vec<u8>,
    offsets_at: Vec<usize>,
    committed: i64,
    sent_at: Instant,
    latency: Latency,
}

impl Group {
    fn open(address: SocketAddr, id: String, topic: Topic) -> Result<Self> {
        const MARK: i64 = 0x5eed_0ff5_e7c0_0000;
        let request = commit_request(&id, &topic, |partition| MARK + i64::from(partition));
        let frame = frame(OFFSET_COMMIT_VERSION, &request)?;
        let find = |partition| {
            let mark = (MARK + i64::from(partition)).to_be_bytes();
            let at = frame.windows(mark.len()).position(|window| window == mark);
            at.context("a mark that was just encoded")
        };
        let offsets_at = (0..topic.partitions).map(find).collect::<Result<_>>()?;
        wait_for_coordinator(address, &id, &topic)?;
        Ok(Self {
            id,
            topic,
            connection: Connection::open(address)?,
            frame,
            offsets_at,
            committed: 0,
            sent_at: Instant::now(),
            latency: Latency::new()?,
        })
    }

    fn send(&mut self) -> Result<()> {
        self.committed += 1;
        for at in &self.offsets_at {
            self.frame[*at..at + 8].copy_from_slice(&self.committed.to_be_bytes());
        }
        self.sent_at = Instant::now();
        self.connection.send(&self.frame)
    }

    fn receive(&mut self, window: Window) -> Result<Instant> {
        let mut response = Bytes::copy_from_slice(self.connection.receive()?);
        let now = Instant::now();
        let header_version = OffsetCommitResponse::header_version(OFFSET_COMMIT_VERSION);
        ResponseHeader::decode(&mut response, header_version)?;
        let response = OffsetCommitResponse::decode(&mut response, OFFSET_COMMIT_VERSION)?;
        let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        ensure!(
            partitions.clone().count() == self.offsets_at.len()
                && partitions.all(|partition| partition.error_code == 0),
            "{response:?}"
        );
        if window.contains(now) {
            self.latency.record(now - self.sent_at);
        }
        Ok(now)
    }

    /// The last acknowledged offset is the committed one, in every partition.
    fn check(&self, address: SocketAddr) -> Result<()> {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(topic_name(&self.topic.name))
            .with_partition_indexes((0..self.topic.partitions).collect());
        let request = OffsetFetchRequest::default()
            .with_group_id(group_id(&self.id))
            .with_topics(Some(vec![topic]));
        let response = RawClient::connect(address)?.call(OFFSET_FETCH_VERSION, &request)?;
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        let committed: Vec<i64> = partitions
            .map(|partition| partition.committed_offset)
            .collect();
        let expected = vec![self.committed; self.offsets_at.len()];
        ensure!(
            committed == expected,
            "{}: {committed:?} instead of {expected:?}",
            self.id
        );
        Ok(())
    }
}

/// A new broker makes its offsets topic when it is first asked for a coordinator.
pub(super) fn wait_for_coordinator(address: SocketAddr, id: &str, topic: &Topic) -> Result<()> {
    let find = FindCoordinatorRequest::default().with_key(StrBytes::from_string(id.to_owned()));
    let commit = commit_request(id, topic, |_| 0);
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let mut client = RawClient::connect(address)?;
        let found = client.call(FIND_COORDINATOR_VERSION, &find)?;
        if found.error_code == 0 {
            let committed = client.call(OFFSET_COMMIT_VERSION, &commit)?;
            let mut partitions = committed.topics.iter().flat_map(|topic| &topic.partitions);
            if partitions.all(|partition| partition.error_code == 0) {
                return Ok(());
            }
        }
        ensure!(Instant::now() < deadline, "{id} has no coordinator");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn commit_request(
    id: &str,
    topic: &Topic,
    offset: impl Fn(i32) -> i64,
) -> OffsetCommitRequest {
    let partition = |index| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset(index))
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(StrBytes::default()))
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(&topic.name))
        .with_partitions((0..topic.partitions).map(partition).collect());
    OffsetCommitRequest::default()
        .with_group_id(group_id(id))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

fn group_id(id: &str) -> GroupId {
    GroupId(StrBytes::from_string(id.to_owned()))
}
