//! A client of our own that asks for offsets: ends of partitions, and what groups have committed.
//!
//! Of several brokers that serve a partition it asks any one: what one has told, no other may take back.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, FindCoordinatorRequest, GroupId, ListOffsetsRequest,
    MetadataRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};
use rand::seq::IndexedRandom as _;

use super::topics::{ALL_PARTITIONS, INPUTS, OUTPUTS, PARTITIONS, number};
use crate::RawClient;
use crate::checker::{Batch, Place};
use crate::records::stored_batches;

const ADD_PARTITIONS_TO_TXN: i16 = 24;
const TXN_OFFSET_COMMIT: i16 = 28;
const METADATA_VERSION: i16 = 12;
const FIND_COORDINATOR_VERSION: i16 = 3;
const LIST_OFFSETS_VERSION: i16 = 7;
const LATEST: i64 = -1;
const OFFSET_FETCH_VERSION: i16 = 7;

/// High watermark and last stable offset of a partition.
pub(super) struct Ends {
    pub partition: u32,
    pub high: i64,
    pub stable: i64,
}

pub(super) struct Asker {
    addresses: Vec<SocketAddr>,
    connections: HashMap<SocketAddr, RawClient>,
}

impl Asker {
    /// One that finds the brokers at these addresses.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            connections: HashMap::new(),
        }
    }

    /// Whether the brokers have transactions.
    pub fn has_transactions(&mut self) -> Result<bool> {
        let response = self.call(self.addresses[0], 0, &ApiVersionsRequest::default())?;
        let has = |key| response.api_keys.iter().any(|api| api.api_key == key);
        Ok(has(ADD_PARTITIONS_TO_TXN) && has(TXN_OFFSET_COMMIT))
    }

    /// The ends of all partitions.
    pub fn ends(&mut self) -> Result<Vec<Ends>> {
        // In this order: the other way round, the last stable offset could be higher.
        let stable = self.latest(1)?;
        let high = self.latest(0)?;
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
    fn latest(&mut self, isolation_level: i8) -> Result<BTreeMap<u32, i64>> {
        let mut latest = BTreeMap::new();
        for (address, partitions) in self.served()? {
            let topic = |name| {
                let indexes = partitions.iter().filter(|(topic, _)| *topic == name);
                let partitions = indexes.map(|(_, index)| {
                    ListOffsetsPartition::default()
                        .with_partition_index(*index)
                        .with_timestamp(LATEST)
                });
                ListOffsetsTopic::default()
                    .with_name(TopicName(StrBytes::from_static_str(name)))
                    .with_partitions(partitions.collect())
            };
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_isolation_level(isolation_level)
                .with_topics(vec![topic(INPUTS), topic(OUTPUTS)]);
            let response = self.call(address, LIST_OFFSETS_VERSION, &request)?;
            for topic in &response.topics {
                for partition in &topic.partitions {
                    ensure!(
                        partition.error_code == 0,
                        "ListOffsets: error {}",
                        partition.error_code
                    );
                    let number = number(&topic.name, partition.partition_index.into());
                    latest.insert(number.context("one of ours")?, partition.offset);
                }
            }
        }
        ensure!(
            latest.len() == ALL_PARTITIONS as usize,
            "ListOffsets: {latest:?}"
        );
        Ok(latest)
    }

    /// What all batches say of themselves, by partition.
    pub fn batches(&mut self) -> Result<BTreeMap<u32, Vec<Batch>>> {
        let ends = self.latest(0)?;
        let mut batches = BTreeMap::new();
        for (address, partitions) in self.served()? {
            let mut connection = RawClient::connect(address)?;
            for (topic, index) in partitions {
                let number = number(topic, index.into()).context("one of ours")?;
                let end = ends.get(&number).copied().context("an end")?;
                let stored = stored_batches(&mut connection, topic, index, end)
                    .with_context(|| format!("the batches of {topic}-{index}"))?;
                batches.insert(number, stored);
            }
        }
        Ok(batches)
    }

    /// Each partition at one of those that serve it.
    fn served(&mut self) -> Result<BTreeMap<SocketAddr, Vec<(&'static str, i32)>>> {
        let topic = |name| {
            let name = TopicName(StrBytes::from_static_str(name));
            MetadataRequestTopic::default().with_name(Some(name))
        };
        let request =
            MetadataRequest::default().with_topics(Some(vec![topic(INPUTS), topic(OUTPUTS)]));
        let response = self.ask_any(METADATA_VERSION, &request)?;
        let mut addresses = HashMap::new();
        for broker in &response.brokers {
            addresses.insert(broker.node_id, address(&broker.host, broker.port)?);
        }
        let mut served: BTreeMap<SocketAddr, Vec<_>> = BTreeMap::new();
        for topic in &response.topics {
            let name = topic.name.as_ref().map(|name| &*name.0);
            let name = if name == Some(INPUTS) {
                INPUTS
            } else {
                OUTPUTS
            };
            for partition in &topic.partitions {
                let broker = partition.isr_nodes.choose(&mut rand::rng());
                let broker = broker.context("nobody serves a partition")?;
                let address = addresses.get(broker).context("a broker without address")?;
                let served = served.entry(*address).or_default();
                served.push((name, partition.partition_index));
            }
        }
        Ok(served)
    }

    /// What a group reads next, where no transaction is about to change it. Nothing while the group's coordinator starts.
    pub fn offsets(&mut self, group: &str) -> Result<Vec<Place>> {
        let group = StrBytes::from_string(group.to_owned());
        let find = FindCoordinatorRequest::default().with_key(group.clone());
        let found = self.ask_any(FIND_COORDINATOR_VERSION, &find)?;
        if found.error_code != 0 {
            return Ok(Vec::new());
        }
        let topic = OffsetFetchRequestTopic::default()
            .with_name(TopicName(StrBytes::from_static_str(INPUTS)))
            .with_partition_indexes((0..PARTITIONS as i32).collect());
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(group))
            .with_topics(Some(vec![topic]))
            .with_require_stable(true);
        let coordinator = address(&found.host, found.port)?;
        let response = self.call(coordinator, OFFSET_FETCH_VERSION, &request)?;
        let topics = response.topics.iter();
        let partitions = topics.flat_map(|topic| &topic.partitions);
        let told =
            partitions.filter(|partition| response.error_code == 0 && partition.error_code == 0);
        told.map(|told| {
            let partition = number(INPUTS, told.partition_index.into()).context("one of ours")?;
            let offset = told.committed_offset;
            Ok(Place { partition, offset })
        })
        .collect()
    }

    fn ask_any<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        let address = self.addresses.choose(&mut rand::rng());
        self.call(*address.context("no broker")?, version, request)
    }

    /// Whatever goes wrong goes wrong with the connection.
    fn call<R: Request>(
        &mut self,
        address: SocketAddr,
        version: i16,
        request: &R,
    ) -> Result<R::Response> {
        let mut connection = match self.connections.remove(&address) {
            Some(connection) => connection,
            None => RawClient::connect(address)?,
        };
        let response = connection.call(version, request)?;
        self.connections.insert(address, connection);
        Ok(response)
    }
}

fn address(host: &str, port: i32) -> Result<SocketAddr> {
    match format!("{host}:{port}").parse() {
        Ok(address) => Ok(address),
        Err(_) => bail!("{host}:{port} is no address"),
    }
}
