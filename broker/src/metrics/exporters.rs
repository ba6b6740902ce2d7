//! The same snapshot under the names of other people's exporters, for dashboards and alerts that are there already.
//!
//! Names, labels and values are those of danielqsj/kafka_exporter and of redpanda-data/kminion with their default settings.
//! `broker/tests/metrics.rs` holds them against what the programs themselves have said. What a log that was not used since the start does
//! not tell is left out; both programs would open it.
//!
//! Deviations: both know groups of the consumer protocol as empty or not at all, here they are told like all others. Where there
//! are more partitions than `ottla.metrics.partitions.max`, the rows of topics are left. kminion's
//! `consumer_group_offset_commits_total` is there, which kminion has only if it reads `__consumer_offsets`.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::census::{Groups, Lag, PartitionRow, TopicRow};
use super::label::Label;
use super::snapshot::Snapshot;
use crate::cluster::view::Endpoint;

/// The release of Kafka whose APIs are served. kminion guesses, and finds none that has just these.
const CLUSTER_VERSION: &str = "v4.4";

/// As kafka_exporter tells it.
#[derive(Debug)]
pub(super) struct KafkaExporter(pub Snapshot);

/// As kminion tells it.
#[derive(Debug)]
pub(super) struct Kminion(pub Snapshot);

/// Labels and value.
type Row<const N: usize> = ([(&'static str, String); N], f64);

fn gauges<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = Row<N>>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in rows {
        match N {
            0 => metric.encode_gauge(&value)?,
            _ => metric.encode_family(&labels)?.encode_gauge(&value)?,
        }
    }
    Ok(())
}

/// The text has `_total` after the name.
fn counter<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = ([(&'static str, String); N], u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in rows {
        let mut metric = metric.encode_family(&labels)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
    }
    Ok(())
}

/// A name as a label.
fn text(name: &str) -> String {
    Label(name).to_string()
}

/// What a group has committed of one topic: by partition, if that is told.
struct OfTopic<'a> {
    group: &'a str,
    topic: &'a str,
    partitions: BTreeMap<i32, &'a Lag>,
    sum: Lag,
}

fn by_topic(groups: &Groups) -> Vec<OfTopic<'_>> {
    let mut told: Vec<OfTopic<'_>> = Vec::new();
    for (key, lag) in &groups.lags {
        let Some(topic) = key.topic.as_deref() else {
            continue;
        };
        let group: &str = &key.group;
        match told.last_mut() {
            Some(last) if (last.group, last.topic) == (group, topic) => last.sum.merge(lag),
            _ => told.push(OfTopic {
                group,
                topic,
                partitions: BTreeMap::new(),
                sum: lag.clone(),
            }),
        }
        if let (Some(last), Some(partition)) = (told.last_mut(), key.partition) {
            last.partitions.insert(partition, lag);
        }
    }
    told
}

impl Snapshot {
    /// Topics with a name.
    fn named_topics(&self) -> impl Iterator<Item = &TopicRow> {
        let topics = self.topics.iter().flat_map(|topics| &topics.topics);
        topics.filter(|topic| !topic.name.is_empty())
    }

    /// One row for each partition of which something is known.
    fn partition_rows(
        &self,
        labels: [&'static str; 2],
        value: impl Fn(&PartitionRow) -> Option<f64>,
    ) -> impl Iterator<Item = Row<2>> {
        let rows = self.topics.iter().flat_map(|topics| &topics.partitions);
        rows.filter_map(move |row| {
            let [topic, partition] = labels;
            let labels = [
                (topic, text(&row.topic)),
                (partition, row.partition.to_string()),
            ];
            Some((labels, value(row)?))
        })
    }
}

impl Collector for KafkaExporter {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (out, snapshot) = (&mut encoder, &self.0);
        let brokers = || snapshot.members.brokers(&snapshot.identity.listener);
        let count = brokers().count() as f64;
        gauges(out, "kafka_brokers", "Number of brokers", [([], count)])?;
        // Dashboards find the exporters by it.
        let name = "kafka_exporter_build_info";
        let labels = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        gauges(out, name, "The version that runs", [(labels, 1.0)])?;
        let rows = brokers().map(|broker| {
            let address = text(&format!("{}:{}", broker.host, broker.port));
            ([("id", broker.id.to_string()), ("address", address)], 1.0)
        });
        gauges(out, "kafka_broker_info", "Who the broker is", rows)?;
        let rows = snapshot.named_topics();
        let rows = rows.map(|row| ([("topic", text(&row.name))], row.partition_count as f64));
        let name = "kafka_topic_partitions";
        gauges(out, name, "Number of partitions", rows)?;
        self.partitions(out)?;
        match &snapshot.groups {
            Some(groups) => self.groups(out, groups),
            None => Ok(()),
        }
    }
}

impl KafkaExporter {
    fn partitions(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = &self.0;
        let labels = ["topic", "partition"];
        let rows = snapshot.partition_rows(labels, |row| Some(row.glance?.high_watermark as f64));
        let name = "kafka_topic_partition_current_offset";
        gauges(out, name, "Offset after the last record", rows)?;
        let rows = snapshot.partition_rows(labels, |row| {
            Some(row.glance?.more?.log_start_offset as f64)
        });
        let name = "kafka_topic_partition_oldest_offset";
        gauges(out, name, "Offset of the first record", rows)?;
        let members = &*snapshot.members;
        let leader =
            |row: &PartitionRow| f64::from(members.leader_for(row.topic_id, row.partition, None));
        let replicas = |_: &PartitionRow| members.replica_count() as f64;
        type ValueOf<'a> = &'a dyn Fn(&PartitionRow) -> f64;
        let values: [(&str, &str, ValueOf<'_>); 5] = [
            ("leader", "Id of the leader", &leader),
            ("replicas", "Number of replicas", &replicas),
            ("in_sync_replica", "Number of in-sync replicas", &replicas),
            (
                "leader_is_preferred",
                "1: the preferred replica leads",
                &|_| 1.0,
            ),
            (
                "under_replicated_partition",
                "1: a replica is behind",
                &|_| 0.0,
            ),
        ];
        for (name, help, value) in values {
            let rows = snapshot.partition_rows(labels, |row| Some(value(row)));
            gauges(out, &format!("kafka_topic_partition_{name}"), help, rows)?;
        }
        Ok(())
    }

    /// Of a topic that a group has read, the partitions without an offset are told as -1.
    fn groups(&self, out: &mut DescriptorEncoder<'_>, groups: &Groups) -> fmt::Result {
        let rows = groups.groups.iter().filter(|(id, _)| !id.is_empty());
        let rows = rows.map(|(id, row)| ([("consumergroup", text(id))], row.member_count as f64));
        let name = "kafka_consumergroup_members";
        gauges(out, name, "Number of members", rows)?;

        let counts: BTreeMap<&str, u64> = self
            .0
            .named_topics()
            .map(|row| (&*row.name, row.partition_count))
            .collect();
        let of_topics = by_topic(groups);
        let (mut offsets, mut lags) = (Vec::new(), Vec::new());
        let (mut offset_sums, mut lag_sums) = (Vec::new(), Vec::new());
        for of_topic in &of_topics {
            let (group, topic) = (text(of_topic.group), text(of_topic.topic));
            let count = counts.get(of_topic.topic).copied().unwrap_or(0);
            let mut unread = 0;
            let has_rows = !of_topic.partitions.is_empty();
            for partition in (0..i32::try_from(count).unwrap_or(0)).filter(|_| has_rows) {
                let labels = || {
                    [
                        ("consumergroup", group.clone()),
                        ("topic", topic.clone()),
                        ("partition", partition.to_string()),
                    ]
                };
                match of_topic.partitions.get(&partition) {
                    Some(lag) => {
                        offsets.push((labels(), lag.committed as f64));
                        lags.extend(lag.records.map(|records| (labels(), records as f64)));
                    }
                    None => {
                        unread += 1;
                        offsets.push((labels(), -1.0));
                        lags.push((labels(), -1.0));
                    }
                }
            }
            let labels = [("consumergroup", group), ("topic", topic)];
            let sum = of_topic.sum.committed.saturating_sub(unread) as f64;
            offset_sums.push((labels.clone(), sum));
            let sum = of_topic.sum.records;
            lag_sums.extend(sum.map(|records| (labels, records as f64)));
        }
        let name = "kafka_consumergroup_current_offset";
        gauges(out, name, "Committed offset", offsets)?;
        let name = "kafka_consumergroup_current_offset_sum";
        gauges(out, name, "Committed offsets of a topic", offset_sums)?;
        let name = "kafka_consumergroup_lag";
        gauges(out, name, "Offsets that a group is behind", lags)?;
        let name = "kafka_consumergroup_lag_sum";
        gauges(
            out,
            name,
            "Offsets that a group is behind in a topic",
            lag_sums,
        )
    }
}

impl Collector for Kminion {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (out, snapshot) = (&mut encoder, &self.0);
        let (own, members) = (&snapshot.identity, &*snapshot.members);
        let labels = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        let name = "kminion_exporter_up";
        gauges(out, name, "1: all could be told", [(labels, 1.0)])?;
        let labels = [
            ("cluster_version", CLUSTER_VERSION.to_owned()),
            (
                "broker_count",
                members.brokers(&own.listener).count().to_string(),
            ),
            ("controller_id", members.controller().to_string()),
            ("cluster_id", text(&own.cluster_id)),
        ];
        let name = "kminion_kafka_cluster_info";
        gauges(out, name, "What the cluster is", [(labels, 1.0)])?;
        let of_broker = |broker: &Endpoint<'_>| {
            [
                ("broker_id", broker.id.to_string()),
                ("address", text(broker.host)),
                ("port", broker.port.to_string()),
                ("rack_id", text(broker.rack.unwrap_or_default())),
            ]
        };
        let rows = members.brokers(&own.listener).map(|broker| {
            let [id, address, port, rack] = of_broker(&broker);
            let is_controller = (broker.id == members.controller()).to_string();
            let labels = [id, address, port, rack, ("is_controller", is_controller)];
            (labels, 1.0)
        });
        let name = "kminion_kafka_broker_info";
        gauges(out, name, "Who the broker is", rows)?;
        let topics = snapshot.topics.iter().flat_map(|topics| &topics.topics);
        let bytes: u64 = topics.filter_map(|row| row.sum.size_bytes).sum();
        // Of the others nothing is known.
        let mut brokers = members.brokers(&own.listener);
        let this = brokers.find(|broker| broker.id == own.node_id);
        let rows = this.iter().map(|this| (of_broker(this), bytes as f64));
        let name = "kminion_kafka_broker_log_dir_size_total_bytes";
        gauges(out, name, "Bytes of all logs", rows)?;
        self.topics(out)?;
        match &snapshot.groups {
            Some(groups) => self.groups(out, groups),
            None => Ok(()),
        }
    }
}

impl Kminion {
    fn topics(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = &self.0;
        let replication_factor = snapshot.members.replica_count().to_string();
        let rows = snapshot.named_topics().map(|row| {
            let policy = match (row.compacts, row.deletes) {
                (true, true) => "compact,delete",
                (true, false) => "compact",
                (false, true) => "delete",
                (false, false) => "",
            };
            let labels = [
                ("topic_name", text(&row.name)),
                ("partition_count", row.partition_count.to_string()),
                ("replication_factor", replication_factor.clone()),
                ("cleanup_policy", policy.to_owned()),
            ];
            (labels, 1.0)
        });
        gauges(out, "kminion_kafka_topic_info", "What a topic is", rows)?;
        let rows = snapshot.named_topics().filter_map(|row| {
            let bytes = row.sum.size_bytes? as f64;
            Some(([("topic_name", text(&row.name))], bytes))
        });
        let name = "kminion_kafka_topic_log_dir_size_total_bytes";
        gauges(out, name, "Bytes of a topic's logs", rows)?;
        // Of the broker's own topics it tells no offsets.
        let clients = |value: Option<i64>, is_internal: bool| {
            let value = value.filter(|_| !is_internal);
            value.map(|offset| offset as f64)
        };
        let of_clients = |value: fn(&TopicRow) -> Option<i64>| {
            let rows = snapshot.named_topics();
            rows.filter_map(move |row| {
                let value = clients(value(row), row.is_internal)?;
                Some(([("topic_name", text(&row.name))], value))
            })
        };
        let name = "kminion_kafka_topic_low_water_mark_sum";
        let rows = of_clients(|row| row.sum.log_start_offset);
        gauges(out, name, "First offsets, all together", rows)?;
        let name = "kminion_kafka_topic_high_water_mark_sum";
        let rows = of_clients(|row| row.sum.high_watermark);
        gauges(out, name, "High watermarks, all together", rows)?;
        let labels = ["topic_name", "partition_id"];
        let name = "kminion_kafka_topic_partition_low_water_mark";
        let rows = snapshot.partition_rows(labels, |row| {
            clients(Some(row.glance?.more?.log_start_offset), row.is_internal)
        });
        gauges(out, name, "First offset", rows)?;
        let name = "kminion_kafka_topic_partition_high_water_mark";
        let rows = snapshot.partition_rows(labels, |row| {
            clients(Some(row.glance?.high_watermark), row.is_internal)
        });
        gauges(out, name, "High watermark", rows)
    }

    fn groups(&self, out: &mut DescriptorEncoder<'_>, groups: &Groups) -> fmt::Result {
        let named = || groups.groups.iter().filter(|(id, _)| !id.is_empty());
        let coordinator = self.0.identity.node_id.to_string();
        let rows = named().map(|(id, row)| {
            let labels = [
                ("group_id", text(id)),
                ("protocol", text(&row.protocol_name)),
                ("protocol_type", text(&row.protocol_type)),
                ("state", row.state.to_owned()),
                ("coordinator_id", coordinator.clone()),
            ];
            (labels, f64::from(u8::from(row.state == "Stable")))
        });
        let name = "kminion_kafka_consumer_group_info";
        gauges(out, name, "What a group is; 1 if it is stable", rows)?;
        let rows = named().map(|(id, row)| ([("group_id", text(id))], row.member_count as f64));
        let name = "kminion_kafka_consumer_group_members";
        gauges(out, name, "Number of members", rows)?;
        let rows = named().filter(|(_, row)| row.assigned.empty_members > 0);
        let rows =
            rows.map(|(id, row)| ([("group_id", text(id))], row.assigned.empty_members as f64));
        let name = "kminion_kafka_consumer_group_empty_members";
        gauges(out, name, "Members without a partition", rows)?;
        let rows = named().filter(|(_, row)| row.commits > 0);
        let rows = rows.map(|(id, row)| ([("group_id", text(id))], row.commits));
        let name = "kminion_kafka_consumer_group_offset_commits";
        counter(out, name, "Commits of offsets, each of a partition", rows)?;
        let assigned = |value: fn(&coordinators::group::AssignedTopic) -> usize| {
            named().flat_map(move |(id, row)| {
                let topics = row.assigned.topics.iter();
                topics.map(move |(topic, assigned)| {
                    let labels = [("group_id", text(id)), ("topic_name", text(topic))];
                    (labels, value(assigned) as f64)
                })
            })
        };
        let name = "kminion_kafka_consumer_group_topic_members";
        let rows = assigned(|topic| topic.members);
        gauges(out, name, "Members with a partition of a topic", rows)?;
        let name = "kminion_kafka_consumer_group_topic_assigned_partitions";
        let rows = assigned(|topic| topic.partitions);
        gauges(out, name, "Partitions of a topic that members have", rows)?;

        let of_topics = by_topic(groups);
        let sums = |value: fn(&Lag) -> Option<i64>| {
            of_topics.iter().filter_map(move |of_topic| {
                let group = ("group_id", text(of_topic.group));
                let labels = [group, ("topic_name", text(of_topic.topic))];
                Some((labels, value(&of_topic.sum)? as f64))
            })
        };
        let name = "kminion_kafka_consumer_group_topic_offset_sum";
        let rows = sums(|lag| Some(lag.committed));
        gauges(out, name, "Committed offsets of a topic", rows)?;
        let name = "kminion_kafka_consumer_group_topic_lag";
        let rows = sums(|lag| lag.records);
        gauges(out, name, "Offsets that a group is behind in a topic", rows)?;
        let rows = of_topics.iter().flat_map(|of_topic| {
            let lags = of_topic.partitions.iter();
            lags.filter_map(move |(partition, lag)| {
                let labels = [
                    ("group_id", text(of_topic.group)),
                    ("topic_name", text(of_topic.topic)),
                    ("partition_id", partition.to_string()),
                ];
                Some((labels, lag.records? as f64))
            })
        });
        let name = "kminion_kafka_consumer_group_topic_partition_lag";
        gauges(out, name, "Offsets that a group is behind", rows)
    }
}
