//! `ottla topics`

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
};
use protocol_shim::ErrorCode;
use serde_json::json;

use crate::cluster::{
    Cluster, EARLIEST, LATEST, Partition, by_topic, parse_partitions, topic, topic_name,
};
use crate::connection::text;
use crate::failure::{Outcomes, Result, check, usage};
use crate::page::{Output, Table};
use crate::progress::progress;

/// Partitions in one request: each is a piece of work for the broker.
const PARTITIONS_AT_ONCE: usize = 100;

/// List, describe, create and delete topics and their records
#[derive(Debug, Subcommand)]
pub(crate) enum Topics {
    /// All topics
    List,
    /// Partitions with their leaders, replicas and the range of their offsets
    Describe {
        /// Topics [default: all]
        #[arg(value_name = "TOPIC")]
        names: Vec<String>,
    },
    /// Create topics
    Create {
        #[arg(value_name = "TOPIC", required = true)]
        names: Vec<String>,
        #[command(flatten)]
        shape: Shape,
        /// It is fine if a topic is there already
        #[arg(long)]
        if_not_exists: bool,
    },
    /// Delete topics with all their records
    Delete {
        #[arg(value_name = "TOPIC", required = true)]
        names: Vec<String>,
    },
    /// Give topics more partitions; what has a key may go to another partition from then on
    AddPartitions {
        #[arg(value_name = "TOPIC", required = true)]
        names: Vec<String>,
        /// How many partitions each has then
        #[arg(long, short, value_name = "COUNT")]
        partitions: i32,
    },
    /// Delete the oldest records
    DeleteRecords {
        /// A topic, or some partitions: orders, orders:0,2
        #[arg(value_name = "TOPIC[:PARTITION,...]", required = true)]
        topics: Vec<String>,
        /// Delete what is before this offset; `end` deletes all that is there now
        #[arg(long, value_name = "OFFSET|end", value_parser = parse_before)]
        before: i64,
    },
}

/// What a topic is made with.
#[derive(Args, Clone, Debug)]
pub(crate) struct Shape {
    /// [default: the broker's num.partitions]
    #[arg(long, short, value_name = "COUNT")]
    pub(crate) partitions: Option<i32>,
    /// [default: the broker's default.replication.factor]
    #[arg(long, value_name = "COUNT")]
    pub(crate) replication_factor: Option<i16>,
    /// A setting, such as retention.ms=60000; repeat it for several
    #[arg(long = "config", short, value_name = "KEY=VALUE", value_parser = crate::parse_pair)]
    pub(crate) configs: Vec<(String, String)>,
}

fn parse_before(text: &str) -> Result<i64, String> {
    match text {
        "end" => Ok(-1),
        number => number
            .parse()
            .ok()
            .filter(|offset| *offset >= 0)
            .ok_or_else(|| "expected an offset, or end".to_owned()),
    }
}

impl Topics {
    pub(crate) async fn run(self, cluster: &mut Cluster, output: Output) -> Result<()> {
        match self {
            Self::List => list(cluster, output).await,
            Self::Describe { names } => describe(cluster, output, &names).await,
            Self::Create {
                names,
                shape,
                if_not_exists,
            } => {
                let mut outcomes = Outcomes::default();
                for made in create(cluster, &names, &shape).await? {
                    let name = made.name;
                    match made.already_there && if_not_exists {
                        true => outcomes.add(Ok(()), || format!("topic {name} is there already")),
                        false => outcomes.add(made.outcome, || format!("created topic {name}")),
                    }
                }
                outcomes.end()
            }
            Self::Delete { names } => {
                let mut outcomes = Outcomes::default();
                for (name, outcome) in delete(cluster, &names).await? {
                    outcomes.add(outcome, || format!("deleted topic {name}"));
                }
                outcomes.end()
            }
            Self::AddPartitions { names, partitions } => {
                let mut outcomes = Outcomes::default();
                for (name, outcome) in add_partitions(cluster, &names, partitions).await? {
                    outcomes.add(outcome, || {
                        format!("topic {name} has {partitions} partitions now")
                    });
                }
                outcomes.end()
            }
            Self::DeleteRecords { topics, before } => {
                delete_records(cluster, output, &topics, before).await
            }
        }
    }
}

async fn list(cluster: &mut Cluster, output: Output) -> Result<()> {
    let mut table = Table::new(&["topic", "partitions", "replication_factor", "internal"]);
    for topic in cluster.topics(None, false).await? {
        let replicas = topic.partitions.first();
        table.row([
            json!(topic_name(&topic)),
            json!(topic.partitions.len()),
            json!(replicas.map_or(0, |partition| partition.replica_nodes.len())),
            json!(topic.is_internal),
        ]);
    }
    output.table(&table);
    Ok(())
}

async fn describe(cluster: &mut Cluster, output: Output, names: &[String]) -> Result<()> {
    let names = (!names.is_empty()).then_some(names);
    let topics = cluster.topics(names, false).await?;
    let at = |offset| -> BTreeMap<Partition, i64> {
        let partitions = topics.iter().flat_map(|topic| {
            let indexes = topic.partitions.iter().map(|one| one.partition_index);
            indexes.map(|index| (topic_name(topic), index))
        });
        partitions.map(|partition| (partition, offset)).collect()
    };
    let first = cluster.offsets(&at(EARLIEST)).await?;
    let next = cluster.offsets(&at(LATEST)).await?;
    let mut table = Table::new(&[
        "topic",
        "partition",
        "leader",
        "replicas",
        "in_sync",
        "first_offset",
        "next_offset",
    ]);
    for topic in &topics {
        let mut partitions: Vec<_> = topic.partitions.iter().collect();
        partitions.sort_by_key(|partition| partition.partition_index);
        for partition in partitions {
            let ids = |nodes: &[kafka_protocol::messages::BrokerId]| {
                json!(nodes.iter().map(|id| id.0).collect::<Vec<_>>())
            };
            let key = (topic_name(topic), partition.partition_index);
            table.row([
                json!(key.0),
                json!(key.1),
                json!(partition.leader_id.0),
                ids(&partition.replica_nodes),
                ids(&partition.isr_nodes),
                json!(first.get(&key)),
                json!(next.get(&key)),
            ]);
        }
    }
    output.table(&table);
    Ok(())
}

/// What became of a topic that was to be made.
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) already_there: bool,
    pub(crate) outcome: Result<()>,
}

pub(crate) async fn create(
    cluster: &mut Cluster,
    names: &[String],
    shape: &Shape,
) -> Result<Vec<Made>> {
    let config = |(key, value): &(String, String)| {
        CreatableTopicConfig::default()
            .with_name(text(key))
            .with_value(Some(text(value)))
    };
    let new = |name: &String| {
        CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(shape.partitions.unwrap_or(-1))
            .with_replication_factor(shape.replication_factor.unwrap_or(-1))
            .with_configs(shape.configs.iter().map(config).collect())
    };
    let request = CreateTopicsRequest::default()
        .with_topics(names.iter().map(new).collect())
        .with_timeout_ms(cluster.timeout_ms());
    let answer = cluster.any().call(request).await?;
    let made = answer.topics.into_iter().map(|topic| {
        let name = topic.name.to_string();
        let what = format!("create topic {name}");
        Made {
            already_there: topic.error_code == ErrorCode::TopicAlreadyExists as i16,
            outcome: check(&what, topic.error_code, topic.error_message.as_ref()),
            name,
        }
    });
    let made: Vec<Made> = made.collect();
    let names = made.iter().filter(|made| made.outcome.is_ok());
    let names: Vec<String> = names.map(|made| made.name.clone()).collect();
    let not_yet = [
        ErrorCode::UnknownTopicOrPartition as i16,
        ErrorCode::LeaderNotAvailable as i16,
    ];
    let is_there = |topic: &MetadataResponseTopic| {
        let mut partitions = topic.partitions.iter();
        !not_yet.contains(&topic.error_code)
            && partitions.all(|partition| !not_yet.contains(&partition.error_code))
    };
    cluster.until_known(&names, is_there).await?;
    Ok(made)
}

/// The names of topics that were changed.
fn changed(outcomes: &[(String, Result<()>)]) -> Vec<String> {
    let changed = outcomes.iter().filter(|(_, outcome)| outcome.is_ok());
    changed.map(|(name, _)| name.clone()).collect()
}

pub(crate) async fn delete(
    cluster: &mut Cluster,
    names: &[String],
) -> Result<Vec<(String, Result<()>)>> {
    let state = |name: &String| DeleteTopicState::default().with_name(Some(topic(name)));
    let request = DeleteTopicsRequest::default()
        .with_topics(names.iter().map(state).collect())
        .with_timeout_ms(cluster.timeout_ms());
    let answer = cluster.any().call(request).await?;
    let outcomes = answer.responses.into_iter().map(|topic| {
        let name = topic.name.map_or_else(String::new, |name| name.to_string());
        let what = format!("delete topic {name}");
        let outcome = check(&what, topic.error_code, topic.error_message.as_ref());
        (name, outcome)
    });
    let outcomes: Vec<_> = outcomes.collect();
    let is_gone = |topic: &MetadataResponseTopic| topic.error_code != 0;
    cluster.until_known(&changed(&outcomes), is_gone).await?;
    Ok(outcomes)
}

pub(crate) async fn add_partitions(
    cluster: &mut Cluster,
    names: &[String],
    count: i32,
) -> Result<Vec<(String, Result<()>)>> {
    let grown = |name: &String| {
        CreatePartitionsTopic::default()
            .with_name(topic(name))
            .with_count(count)
            .with_assignments(None)
    };
    let request = CreatePartitionsRequest::default()
        .with_topics(names.iter().map(grown).collect())
        .with_timeout_ms(cluster.timeout_ms());
    let answer = cluster.any().call(request).await?;
    let outcomes = answer.results.into_iter().map(|topic| {
        let name = topic.name.to_string();
        let what = format!("add partitions to topic {name}");
        let outcome = check(&what, topic.error_code, topic.error_message.as_ref());
        (name, outcome)
    });
    let outcomes: Vec<_> = outcomes.collect();
    let wanted = usize::try_from(count).unwrap_or_default();
    let has_grown =
        |topic: &MetadataResponseTopic| topic.error_code != 0 || topic.partitions.len() >= wanted;
    cluster.until_known(&changed(&outcomes), has_grown).await?;
    Ok(outcomes)
}

async fn delete_records(
    cluster: &mut Cluster,
    output: Output,
    topics: &[String],
    before: i64,
) -> Result<()> {
    let wanted = select(cluster, topics).await?;
    let wanted = wanted.into_iter().map(|partition| (partition, before));
    let parted = cluster.by_leader(wanted.collect()).await?;
    let bar = progress(
        parted.values().map(BTreeMap::len).sum::<usize>() as u64,
        "partitions",
    );
    let mut table = Table::new(&["topic", "partition", "first_offset"]);
    let mut outcomes = Outcomes::default();
    for (leader, partitions) in parted {
        let partitions: Vec<_> = partitions.into_iter().collect();
        for partitions in partitions.chunks(PARTITIONS_AT_ONCE) {
            let topics = by_topic(partitions.iter().cloned());
            let topics = topics.into_iter().map(|(name, partitions)| {
                let partition = |(index, offset)| {
                    DeleteRecordsPartition::default()
                        .with_partition_index(index)
                        .with_offset(offset)
                };
                DeleteRecordsTopic::default()
                    .with_name(topic(&name))
                    .with_partitions(partitions.into_iter().map(partition).collect())
            });
            let request = DeleteRecordsRequest::default()
                .with_topics(topics.collect())
                .with_timeout_ms(cluster.timeout_ms());
            let answer = cluster.broker(leader).await?.call(request).await?;
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    let (name, index) = (topic.name.to_string(), partition.partition_index);
                    let what = format!("delete records of {name}-{index}");
                    match check(&what, partition.error_code, None) {
                        Ok(()) => {
                            table.row([json!(name), json!(index), json!(partition.low_watermark)]);
                        }
                        refused => outcomes.add(refused, String::new),
                    }
                }
            }
            bar.inc(partitions.len() as u64);
        }
    }
    bar.finish_and_clear();
    output.table(&table);
    outcomes.end()
}

/// The partitions that `orders` and `orders:0,2` name.
pub(crate) async fn select(cluster: &mut Cluster, given: &[String]) -> Result<Vec<Partition>> {
    let mut selected = Vec::new();
    for given in given {
        let (name, numbers) = parse_partitions(given)?;
        let there = cluster.leaders(std::slice::from_ref(&name), false).await?;
        match numbers {
            None => selected.extend(there.into_keys()),
            Some(numbers) => {
                for number in numbers {
                    let partition = (name.clone(), number);
                    if !there.contains_key(&partition) {
                        let count = there.len();
                        return Err(usage(format!(
                            "{given}: topic {name} has {count} partitions, counted from 0"
                        )));
                    }
                    selected.push(partition);
                }
            }
        }
    }
    Ok(selected)
}
