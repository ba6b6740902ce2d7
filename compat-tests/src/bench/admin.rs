//! What has to be there before a load can start, and what is asked when it has ended.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, InitProducerIdRequest, ListOffsetsRequest, ProducerId,
};

use super::batch::Producer;
use super::request::topic_name;
use crate::RawClient;

const CREATE_TOPICS_VERSION: i16 = 7;
const INIT_PRODUCER_ID_VERSION: i16 = 4;
const LIST_OFFSETS_VERSION: i16 = 7;
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

/// The end offset of every partition, in their order.
///
/// # Errors
/// The broker does not know one of them yet.
pub fn end_offsets(address: SocketAddr, topic: &Topic) -> Result<Vec<i64>> {
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
