//! What has to be there before a load can start, and what is asked when it has ended.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, CreateAclsRequest, CreateTopicsRequest, InitProducerIdRequest,
    ListOffsetsRequest, MetadataRequest, ProducerId,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::batch::Producer;
use super::request::topic_name;
use crate::RawClient;

const CREATE_TOPICS_VERSION: i16 = 7;
const CREATE_ACLS_VERSION: i16 = 3;
const INIT_PRODUCER_ID_VERSION: i16 = 4;
const LIST_OFFSETS_VERSION: i16 = 7;
const METADATA_VERSION: i16 = 12;
// As codes of an entry.
const RESOURCE_TOPIC: i8 = 2;
const PATTERN_LITERAL: i8 = 3;
const PATTERN_PREFIXED: i8 = 4;
const OPERATION_ALL: i8 = 2;
const PERMISSION_ALLOW: i8 = 3;
const READ_UNCOMMITTED: i8 = 0;
const READ_COMMITTED: i8 = 1;
/// In ListOffsets, asks for the end of the log.
const LATEST: i64 = -1;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// A topic of a load.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topic {
    pub name: String,
    pub partitions: i32,
}

impl Topic {
    /// A topic called `bench`.
    pub fn bench(partitions: i32) -> Self {
        Self {
            name: "bench".to_owned(),
            partitions,
        }
    }

    /// Topics `bench-0`, `bench-1`, ... that have `partitions` in all, each at most `most_in_one`.
    ///
    /// # Errors
    /// There are more than the protocol can count.
    pub fn several(partitions: u32, most_in_one: u32) -> Result<Vec<Self>> {
        (0..partitions.div_ceil(most_in_one))
            .map(|index| {
                let left = partitions - index * most_in_one;
                Ok(Self {
                    name: format!("bench-{index}"),
                    partitions: i32::try_from(left.min(most_in_one))?,
                })
            })
            .collect()
    }
}

/// Asks which requests the broker knows: the first thing that every client asks.
///
/// # Errors
/// It does not answer.
pub fn api_versions(address: SocketAddr) -> Result<()> {
    let response = RawClient::connect(address)?.call(0, &ApiVersionsRequest::default())?;
    ensure!(
        response.error_code == 0,
        "ApiVersions: error {}",
        response.error_code
    );
    Ok(())
}

/// Creates topics, and waits until every partition answers.
///
/// # Errors
/// The broker refuses, or a partition does not answer in time.
pub fn create_topics(address: SocketAddr, topics: &[Topic]) -> Result<()> {
    for topic in topics {
        create_topic(address, topic)?;
    }
    let deadline = Instant::now() + READY_TIMEOUT;
    for topic in topics {
        while let Err(error) = end_offsets(address, topic) {
            ensure!(
                Instant::now() < deadline,
                "{} is not ready: {error:#}",
                topic.name
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Creates one topic, unless it is there already; its partitions may need a moment more.
///
/// # Errors
/// The broker refuses.
pub fn create_topic(address: SocketAddr, topic: &Topic) -> Result<()> {
    let wanted = CreatableTopic::default()
        .with_name(topic_name(&topic.name))
        .with_num_partitions(topic.partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_timeout_ms(15_000)
        .with_topics(vec![wanted]);
    let response = RawClient::connect(address)?.call(CREATE_TOPICS_VERSION, &request)?;
    for created in response.topics {
        ensure!(
            [0, TOPIC_ALREADY_EXISTS].contains(&created.error_code),
            "creating {}: error {} {:?}",
            topic.name,
            created.error_code,
            created.error_message
        );
    }
    Ok(())
}

/// Creates access control entries, `count` in all: everybody may do everything with the topic `served`. The others are about
/// it, about its beginnings, and about other topics, for users that never come.
///
/// # Errors
/// The broker refuses.
pub fn create_acls(address: SocketAddr, served: &str, count: usize) -> Result<()> {
    let text = |text: String| StrBytes::from_string(text);
    let entry = |name: String, pattern: i8, principal: String| {
        AclCreation::default()
            .with_resource_type(RESOURCE_TOPIC)
            .with_resource_name(text(name))
            .with_resource_pattern_type(pattern)
            .with_principal(text(principal))
            .with_host(text("*".to_owned()))
            .with_operation(OPERATION_ALL)
            .with_permission_type(PERMISSION_ALLOW)
    };
    let other = |number: usize| {
        let user = format!("User:user-{number}");
        match number % 4 {
            0 => entry(served.to_owned(), PATTERN_LITERAL, user),
            1 => entry(
                served[..1 + number % served.len()].to_owned(),
                PATTERN_PREFIXED,
                user,
            ),
            2 => entry(format!("team-{number}-"), PATTERN_PREFIXED, user),
            _ => entry(format!("topic-{number}"), PATTERN_LITERAL, user),
        }
    };
    let everybody = entry(served.to_owned(), PATTERN_LITERAL, "User:*".to_owned());
    let creations = std::iter::once(everybody).chain((1..count).map(other));
    let request = CreateAclsRequest::default().with_creations(creations.collect());
    let response = RawClient::connect(address)?.call(CREATE_ACLS_VERSION, &request)?;
    for created in response.results {
        ensure!(
            created.error_code == 0,
            "creating an entry: error {} {:?}",
            created.error_code,
            created.error_message
        );
    }
    Ok(())
}

/// The end offset of every partition, in their order.
///
/// # Errors
/// The broker does not know one of them yet.
pub fn end_offsets(address: SocketAddr, topic: &Topic) -> Result<Vec<i64>> {
    latest_offsets(address, topic, READ_UNCOMMITTED)
}

/// How far each partition can be read by who reads what is committed.
///
/// # Errors
/// As [`end_offsets`].
pub fn stable_offsets(address: SocketAddr, topic: &Topic) -> Result<Vec<i64>> {
    latest_offsets(address, topic, READ_COMMITTED)
}

fn latest_offsets(address: SocketAddr, topic: &Topic, isolation_level: i8) -> Result<Vec<i64>> {
    let partition = |index| {
        ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_timestamp(LATEST)
    };
    let topics = ListOffsetsTopic::default()
        .with_name(topic_name(&topic.name))
        .with_partitions((0..topic.partitions).map(partition).collect());
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(isolation_level)
        .with_topics(vec![topics]);
    let response = RawClient::connect(address)?.call(LIST_OFFSETS_VERSION, &request)?;
    let partitions = response
        .topics
        .into_iter()
        .flat_map(|topic| topic.partitions);
    let mut offsets: Vec<(i32, i64)> = Vec::new();
    for partition in partitions {
        ensure!(
            partition.error_code == 0,
            "{}-{}: error {}",
            topic.name,
            partition.partition_index,
            partition.error_code
        );
        offsets.push((partition.partition_index, partition.offset));
    }
    offsets.sort_unstable();
    if !offsets
        .iter()
        .map(|(index, _)| *index)
        .eq(0..topic.partitions)
    {
        bail!(
            "{}: answers for {} of {} partitions",
            topic.name,
            offsets.len(),
            topic.partitions
        );
    }
    Ok(offsets.into_iter().map(|(_, offset)| offset).collect())
}

/// Asks for the metadata of all topics at once.
///
/// # Errors
/// A topic is not there, or one of its partitions has no leader yet.
pub fn every_partition_has_a_leader(address: SocketAddr, topics: &[Topic]) -> Result<()> {
    let found = metadata(address, None)?;
    for topic in topics {
        let name = topic_name(&topic.name);
        let found = found
            .iter()
            .find(|found| found.name.as_ref() == Some(&name))
            .with_context(|| format!("no {}", topic.name))?;
        let is_led = |partition: &&MetadataResponsePartition| {
            partition.error_code == 0 && partition.leader_id.0 >= 0
        };
        let led_count = found.partitions.iter().filter(is_led).count();
        ensure!(
            found.error_code == 0 && led_count == usize::try_from(topic.partitions)?,
            "{}: {led_count} of {} partitions have a leader",
            topic.name,
            topic.partitions
        );
    }
    Ok(())
}

/// The id that the broker gave a topic.
///
/// # Errors
/// The topic is not there.
pub fn topic_id(address: SocketAddr, topic: &Topic) -> Result<Uuid> {
    let asked = MetadataRequestTopic::default().with_name(Some(topic_name(&topic.name)));
    let found = metadata(address, Some(vec![asked]))?;
    let found = found.first().context("metadata of no topic")?;
    ensure!(
        found.error_code == 0,
        "{}: error {}",
        topic.name,
        found.error_code
    );
    Ok(found.topic_id)
}

fn metadata(
    address: SocketAddr,
    topics: Option<Vec<MetadataRequestTopic>>,
) -> Result<Vec<MetadataResponseTopic>> {
    let request = MetadataRequest::default().with_topics(topics);
    let response = RawClient::connect(address)?.call(METADATA_VERSION, &request)?;
    Ok(response.topics)
}

/// An identity for an idempotent producer, as every Java client since 3.0 has one by default.
///
/// # Errors
/// The broker gives none.
pub fn init_producer_id(address: SocketAddr) -> Result<Producer> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let response = RawClient::connect(address)?.call(INIT_PRODUCER_ID_VERSION, &request)?;
        if response.error_code == 0 {
            return Ok(Producer {
                id: response.producer_id.0,
                epoch: response.producer_epoch,
            });
        }
        ensure!(
            Instant::now() < deadline,
            "no producer id: error {}",
            response.error_code
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
