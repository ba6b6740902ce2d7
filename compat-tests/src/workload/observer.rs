//! A client of our own that asks for offsets: ends of partitions, and what groups have committed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, GroupId, ListOffsetsRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::Stop;
use super::recorder::Recorder;
use super::topics::{ALL_PARTITIONS, INPUTS, OUTPUTS, PARTITIONS, number};
use crate::RawClient;
use crate::checker::{Action, Outcome, Place};

const ADD_PARTITIONS_TO_TXN: i16 = 24;
const TXN_OFFSET_COMMIT: i16 = 28;
const LIST_OFFSETS_VERSION: i16 = 7;
const LATEST: i64 = -1;
const OFFSET_FETCH_VERSION: i16 = 7;
const PAUSE: Duration = Duration::from_millis(250);

pub(super) struct Observer {
    pub id: u32,
    pub address: SocketAddr,
    pub recorder: Arc<Recorder>,
    /// By number.
    pub groups: Vec<(u32, &'static str)>,
}

/// High watermark and last stable offset of a partition.
pub(super) struct Ends {
    pub partition: u32,
    pub high: i64,
    pub stable: i64,
}

impl Observer {
    /// Asks again and again until it is told to stop.
    pub fn run(self, stop: &Stop) -> Result<()> {
        while !stop.is_set() {
            if let Ok(mut client) = RawClient::connect(self.address) {
                // Whatever goes wrong goes wrong with the connection.
                while !stop.is_set() && self.look(&mut client).is_ok() {
                    stop.wait(PAUSE);
                }
            }
            stop.wait(PAUSE);
        }
        Ok(())
    }

    fn look(&self, client: &mut RawClient) -> Result<()> {
        let start = self.recorder.moment();
        let ends = ends(client)?.into_iter().map(|ends| {
            let Ends {
                partition,
                high,
                stable,
            } = ends;
            let read = Action::ReadEnds {
                partition,
                high,
                stable,
            };
            (Outcome::Ok, read)
        });
        self.recorder.ended(self.id, start, ends);
        for &(group, name) in &self.groups {
            let start = self.recorder.moment();
            let offsets = offsets(client, name)?.into_iter();
            let read = offsets.map(|next| (Outcome::Ok, Action::ReadOffset { group, next }));
            self.recorder.ended(self.id, start, read);
        }
        Ok(())
    }
}

/// Whether the broker has transactions.
pub(super) fn has_transactions(address: SocketAddr) -> Result<bool> {
    let response = RawClient::connect(address)?.call(0, &ApiVersionsRequest::default())?;
    let has = |key| response.api_keys.iter().any(|api| api.api_key == key);
    Ok(has(ADD_PARTITIONS_TO_TXN) && has(TXN_OFFSET_COMMIT))
}

/// The ends of all partitions.
pub(super) fn ends(client: &mut RawClient) -> Result<Vec<Ends>> {
    // In this order: the other way round, the last stable offset could be higher.
    let stable = latest(client, 1)?;
    let high = latest(client, 0)?;
    let both = stable.into_iter().zip(high);
    Ok(both
        .map(|((partition, stable), (_, high))| Ends {
            partition,
            high,
            stable,
        })
        .collect())
}

/// The last offset of each partition that a consumer with this isolation level may read.
fn latest(client: &mut RawClient, isolation_level: i8) -> Result<Vec<(u32, i64)>> {
    let partition = |index| {
        ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_timestamp(LATEST)
    };
    let topic = |name| {
        ListOffsetsTopic::default()
            .with_name(TopicName(StrBytes::from_static_str(name)))
            .with_partitions((0..PARTITIONS as i32).map(partition).collect())
    };
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(isolation_level)
        .with_topics(vec![topic(INPUTS), topic(OUTPUTS)]);
    let response = client.call(LIST_OFFSETS_VERSION, &request)?;
    let mut latest = Vec::new();
    for topic in &response.topics {
        for partition in &topic.partitions {
            ensure!(
                partition.error_code == 0,
                "ListOffsets: error {}",
                partition.error_code
            );
            let number = number(&topic.name, partition.partition_index.into());
            latest.push((number.context("one of ours")?, partition.offset));
        }
    }
    latest.sort_unstable();
    ensure!(
        latest.len() == ALL_PARTITIONS as usize,
        "ListOffsets: {latest:?}"
    );
    Ok(latest)
}

/// What a group reads next, where no transaction is about to change it. Nothing while the group's coordinator starts.
pub(super) fn offsets(client: &mut RawClient, group: &str) -> Result<Vec<Place>> {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(TopicName(StrBytes::from_static_str(INPUTS)))
        .with_partition_indexes((0..PARTITIONS as i32).collect());
    let request = OffsetFetchRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_topics(Some(vec![topic]))
        .with_require_stable(true);
    let response = client.call(OFFSET_FETCH_VERSION, &request)?;
    let topics = response.topics.iter();
    let partitions = topics.flat_map(|topic| &topic.partitions);
    let told = partitions.filter(|partition| response.error_code == 0 && partition.error_code == 0);
    told.map(|told| {
        let partition = number(INPUTS, told.partition_index.into()).context("one of ours")?;
        let offset = told.committed_offset;
        Ok(Place { partition, offset })
    })
    .collect()
}
