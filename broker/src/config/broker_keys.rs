//! The broker's own configuration keys: those that Ottla uses, and Kafka's others.
//!
//! `kafka_keys.txt` names the keys that Kafka 4.3 has and nothing in Ottla reads yet: setting one
//! is worth a warning, not an error. A key moves from there to `USED` with the code that reads it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::def::{ConfigDef, Kind, Rule, UpdateMode, def, def_null};
use super::topic::{CLEANUP_POLICIES, COMPRESSION_TYPES, DURABILITIES, TIMESTAMP_TYPES};

const LONG_MAX: &str = "9223372036854775807";
const INT_MAX: &str = "2147483647";

/// The assignors there are (KIP-848). Kafka takes class names too; there are no classes here.
const CONSUMER_ASSIGNORS: &[&str] = &["uniform", "range"];
const MIGRATION_POLICIES: &[&str] = &["disabled", "downgrade", "upgrade", "bidirectional"];

#[rustfmt::skip]
static USED: &[ConfigDef] = &[
    def_null("advertised.listeners", Kind::List)
        .doc("Where clients are told to connect, one LISTENER://host:port each; unset: as listeners."),
    def("auto.create.topics.enable", Kind::Boolean, "true")
        .doc("Create a topic when a client that allows it asks for its metadata."),
    def("broker.id", Kind::Int, "-1").doc("Older name of node.id; node.id wins."),
    def_null("broker.rack", Kind::String).doc("Rack of this broker, as Metadata reports it."),
    def("compression.gzip.level", Kind::Int, "-1").rule(Rule::BetweenOr(1, 9, -1)).dynamic()
        .doc("Default of the topic's compression.gzip.level."),
    def("compression.lz4.level", Kind::Int, "9").rule(Rule::Between(1, 17)).dynamic()
        .doc("Default of the topic's compression.lz4.level."),
    def("compression.type", Kind::String, "producer").rule(Rule::OneOf(COMPRESSION_TYPES)).dynamic()
        .doc("Default of the topic's compression.type."),
    def("compression.zstd.level", Kind::Int, "3").rule(Rule::Between(-131_072, 22)).dynamic()
        .doc("Default of the topic's compression.zstd.level."),
    def("connections.max.idle.ms", Kind::Long, "600000")
        .doc("A connection without traffic for this long is closed."),
    def("controller.listener.names", Kind::List, "")
        .doc("Listeners of Kafka's controller; Ottla has none and does not open them."),
    def("default.replication.factor", Kind::Int, "1")
        .doc("Replication factor of topics that do not ask for one. A single node stores one copy."),
    def("delete.topic.enable", Kind::Boolean, "true").doc("Whether DeleteTopics is allowed."),
    def("fetch.max.bytes", Kind::Int, "57671680").at_least(1024)
        .doc("Largest amount of records in one Fetch response, whatever the client asks for."),
    def("group.consumer.assignment.interval.ms", Kind::Int, "1000").at_least(0).dynamic()
        .doc("Shortest time between two assignments of a consumer group that does not set its own."),
    def("group.consumer.assignors", Kind::List, "uniform,range").rule(Rule::OneOf(CONSUMER_ASSIGNORS))
        .doc("Assignors that members of consumer groups may ask for; the first is used where nobody asks."),
    def("group.consumer.heartbeat.interval.ms", Kind::Int, "5000").at_least(1)
        .doc("Time between two heartbeats of a consumer group's member, unless the group sets its own."),
    def("group.consumer.max.assignment.interval.ms", Kind::Int, "15000").at_least(0)
        .doc("Largest consumer.assignment.interval.ms that a group may set."),
    def("group.consumer.max.heartbeat.interval.ms", Kind::Int, "15000").at_least(1)
        .doc("Largest consumer.heartbeat.interval.ms that a group may set."),
    def("group.consumer.max.session.timeout.ms", Kind::Int, "60000").at_least(1)
        .doc("Largest consumer.session.timeout.ms that a group may set."),
    def("group.consumer.max.size", Kind::Int, INT_MAX).at_least(1).doc("Most members of one consumer group."),
    def("group.consumer.migration.policy", Kind::String, "bidirectional")
        .rule(Rule::OneOfIgnoringCase(MIGRATION_POLICIES))
        .doc("Which way a group with members may change its protocol: upgrade is to the consumer protocol."),
    def("group.consumer.min.assignment.interval.ms", Kind::Int, "0").at_least(0)
        .doc("Smallest consumer.assignment.interval.ms that a group may set."),
    def("group.consumer.min.heartbeat.interval.ms", Kind::Int, "5000").at_least(1)
        .doc("Smallest consumer.heartbeat.interval.ms that a group may set."),
    def("group.consumer.min.session.timeout.ms", Kind::Int, "45000").at_least(1)
        .doc("Smallest consumer.session.timeout.ms that a group may set."),
    def("group.consumer.session.timeout.ms", Kind::Int, "45000").at_least(1)
        .doc("A consumer group's member that is silent for this long is removed, unless the group sets its own."),
    // Kafka's default is 3000: on one machine members arrive together or do not care.
    def("group.initial.rebalance.delay.ms", Kind::Int, "0")
        .doc("How long an empty classic group waits for more members after the first join."),
    def("group.max.session.timeout.ms", Kind::Int, "1800000")
        .doc("Longest session timeout that a member may ask for."),
    def("group.max.size", Kind::Int, INT_MAX).at_least(1).doc("Most members of one classic group."),
    def("group.min.session.timeout.ms", Kind::Int, "6000")
        .doc("Shortest session timeout that a member may ask for."),
    def("listener.security.protocol.map", Kind::String, "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT")
        .doc("Security protocol of each listener name. Only PLAINTEXT is there yet."),
    def("listeners", Kind::List, "PLAINTEXT://localhost:9092").rule(Rule::NonEmptyList)
        .doc("Where the broker listens, one NAME://host:port each; an empty host is every interface."),
    def("log.cleaner.delete.retention.ms", Kind::Long, "86400000").at_least(0).dynamic()
        .doc("Default of the topic's delete.retention.ms."),
    def("log.cleaner.max.compaction.lag.ms", Kind::Long, LONG_MAX).at_least(1).dynamic()
        .doc("Default of the topic's max.compaction.lag.ms."),
    def("log.cleaner.min.cleanable.ratio", Kind::Double, "0.5").rule(Rule::Fraction).dynamic()
        .doc("Default of the topic's min.cleanable.dirty.ratio."),
    def("log.cleaner.min.compaction.lag.ms", Kind::Long, "0").at_least(0).dynamic()
        .doc("Default of the topic's min.compaction.lag.ms."),
    def("log.cleaner.backoff.ms", Kind::Long, "15000").at_least(0).dynamic()
        .doc("How long the log cleaner sleeps when nothing is due."),
    def("log.cleaner.dedupe.buffer.size", Kind::Long, "134217728").at_least(1).dynamic()
        .doc("Bytes that the log cleaner may use to tell keys apart."),
    def("log.cleaner.enable", Kind::Boolean, "true").doc("Whether compacted topics are compacted."),
    def("log.cleaner.io.max.bytes.per.second", Kind::Double, "1.7976931348623157E308").dynamic()
        .doc("What the log cleaner reads and writes a second at most."),
    def("log.cleanup.policy", Kind::List, "delete").rule(Rule::OneOf(CLEANUP_POLICIES)).dynamic()
        .doc("Default of the topic's cleanup.policy."),
    def("log.dir", Kind::List, "ottla-data").rule(Rule::NonEmptyList)
        .doc("Directory of all data, if log.dirs is not set."),
    def_null("log.dirs", Kind::List).doc("Directory of all data; exactly one."),
    def("log.flush.interval.messages", Kind::Long, LONG_MAX).at_least(1).dynamic()
        .doc("Default of the topic's flush.messages."),
    def_null("log.flush.interval.ms", Kind::Long).dynamic().doc("Default of the topic's flush.ms."),
    def("log.flush.scheduler.interval.ms", Kind::Long, LONG_MAX)
        .doc("Default of the topic's flush.ms where log.flush.interval.ms is not set."),
    def("log.index.interval.bytes", Kind::Int, "4096").at_least(0).dynamic()
        .doc("Default of the topic's index.interval.bytes."),
    def("log.index.size.max.bytes", Kind::Int, "10485760").at_least(4).dynamic()
        .doc("Default of the topic's segment.index.bytes."),
    def("log.message.timestamp.after.max.ms", Kind::Long, "3600000").at_least(0).dynamic()
        .doc("Default of the topic's message.timestamp.after.max.ms."),
    def("log.message.timestamp.before.max.ms", Kind::Long, LONG_MAX).at_least(0).dynamic()
        .doc("Default of the topic's message.timestamp.before.max.ms."),
    def("log.message.timestamp.type", Kind::String, "CreateTime").rule(Rule::OneOf(TIMESTAMP_TYPES)).dynamic()
        .doc("Default of the topic's message.timestamp.type."),
    def("log.retention.bytes", Kind::Long, "-1").dynamic().doc("Default of the topic's retention.bytes."),
    def("log.retention.hours", Kind::Int, "168")
        .doc("Default of the topic's retention.ms, in hours; log.retention.minutes and log.retention.ms win."),
    def_null("log.retention.minutes", Kind::Int)
        .doc("Default of the topic's retention.ms, in minutes; log.retention.ms wins."),
    def_null("log.retention.ms", Kind::Long).dynamic().doc("Default of the topic's retention.ms; -1 is forever."),
    def("log.roll.hours", Kind::Int, "168").at_least(1)
        .doc("Default of the topic's segment.ms, in hours; log.roll.ms wins."),
    def("log.roll.jitter.hours", Kind::Int, "0").at_least(0)
        .doc("Default of the topic's segment.jitter.ms, in hours; log.roll.jitter.ms wins."),
    def_null("log.roll.jitter.ms", Kind::Long).dynamic().doc("Default of the topic's segment.jitter.ms."),
    def_null("log.roll.ms", Kind::Long).at_least(1).dynamic().doc("Default of the topic's segment.ms."),
    def("log.retention.check.interval.ms", Kind::Long, "300000").at_least(1)
        .doc("How often it is looked for segments that may be deleted."),
    def("log.segment.bytes", Kind::Int, "1073741824").at_least(1 << 20).dynamic()
        .doc("Default of the topic's segment.bytes."),
    def("log.segment.delete.delay.ms", Kind::Long, "60000").at_least(0).dynamic()
        .doc("Default of the topic's file.delete.delay.ms."),
    def("max.connections", Kind::Int, INT_MAX).at_least(0).dynamic().doc("Most connections at one time."),
    def("max.connections.per.ip", Kind::Int, INT_MAX).at_least(0).dynamic()
        .doc("Most connections of one address at one time."),
    def("max.incremental.fetch.session.cache.slots", Kind::Int, "1000").at_least(0)
        .doc("Most incremental fetch sessions that are remembered (KIP-227)."),
    def("max.request.partition.size.limit", Kind::Int, "2000").at_least(1)
        .doc("Most partitions in one DescribeTopicPartitions response (KIP-966)."),
    def("message.max.bytes", Kind::Int, "1048588").at_least(0).dynamic()
        .doc("Default of the topic's max.message.bytes."),
    def("min.insync.replicas", Kind::Int, "1").at_least(1).dynamic()
        .doc("Default of the topic's min.insync.replicas."),
    def("node.id", Kind::Int, "1").at_least(0).doc("Number of this broker."),
    def("num.partitions", Kind::Int, "1").at_least(1)
        .doc("Partitions of topics that do not ask for a number, and of auto-created ones."),
    def("offset.metadata.max.bytes", Kind::Int, "4096")
        .doc("Longest text that may be committed beside an offset."),
    def("offsets.retention.check.interval.ms", Kind::Long, "600000").at_least(1)
        .doc("How often expired offsets are looked for."),
    def("offsets.retention.minutes", Kind::Int, "10080").at_least(1)
        .doc("How long the offsets of an empty group are kept."),
    def("offsets.topic.num.partitions", Kind::Int, "50").at_least(1)
        .doc("Partitions of __consumer_offsets when it is created."),
    def("offsets.topic.segment.bytes", Kind::Int, "104857600").at_least(1)
        .doc("segment.bytes of __consumer_offsets when it is created."),
    def("ottla.accept.any.replication.factor", Kind::Boolean, "false")
        .doc("Accept replication factors above 1 and store one copy all the same: for tests written for clusters."),
    def("ottla.disk.reserve.bytes", Kind::Long, "-1").at_least(-1)
        .doc("Room to keep free on the disk: below it producers are refused. -1: a twentieth of the file system, at most 512 MiB."),
    def("ottla.durability", Kind::String, "strict").rule(Rule::OneOf(DURABILITIES))
        .doc("strict: a producer is answered when the record is on stable media. os: when it is in the page cache."),
    def("ottla.max.partitions", Kind::Int, "1000000").at_least(1)
        .doc("Most partitions of all topics together; one takes some 3 KB of memory. A request for more is answered POLICY_VIOLATION."),
    def("ottla.max.topics", Kind::Int, "200000").at_least(1)
        .doc("Most topics, those that clients create by asking for them among them. A request for more is answered POLICY_VIOLATION."),
    def_null("ottla.metrics.listen", Kind::String)
        .doc("Serve /metrics and /health over HTTP at this host:port; unset: nowhere."),
    def("ottla.open.files.max", Kind::Int, "32768").at_least(16)
        .doc("Most segment files that are kept open; never more than half of what the system allows the process."),
    def("ottla.record.validation", Kind::String, "full").rule(Rule::OneOf(RECORD_VALIDATIONS))
        .doc("full: compressed batches are opened on arrival, and those that do not open are refused. compacted: only those of compacted topics, and those that are stored with another compression."),
    def("ottla.wal.ring.bytes", Kind::Long, "1073741824").at_least(16 << 20)
        .doc("How far the write-ahead log may grow."),
    def("process.roles", Kind::List, "broker,controller").rule(Rule::OneOf(&["broker", "controller"]))
        .doc("Must name broker; Ottla is its own controller."),
    def("producer.id.expiration.check.interval.ms", Kind::Int, "600000").at_least(1).hidden()
        .doc("How often it is looked for producers that may be forgotten."),
    def("producer.id.expiration.ms", Kind::Int, "86400000").at_least(1).dynamic()
        .doc("A producer that has been silent in a partition for this long, and has no transaction open, is forgotten there."),
    def("queued.max.request.bytes", Kind::Long, "-1")
        .doc("Bytes of requests that may be in memory at one time; -1: the broker chooses."),
    def("socket.listen.backlog.size", Kind::Int, "50").at_least(1)
        .doc("Connections that the system accepts ahead of the broker."),
    def("socket.request.max.bytes", Kind::Int, "104857600").at_least(1)
        .doc("Largest request frame that is accepted."),
    def("unclean.leader.election.enable", Kind::Boolean, "false").dynamic()
        .doc("Default of the topic's unclean.leader.election.enable."),
    def("log.preallocate", Kind::Boolean, "false").dynamic().without_effect(),
    def("log.local.retention.bytes", Kind::Long, "-2").at_least(-2).dynamic().without_effect(),
    def("log.local.retention.ms", Kind::Long, "-2").at_least(-2).dynamic().without_effect(),
];

const RECORD_VALIDATIONS: &[&str] = &["full", "compacted"];

/// Kafka's other keys: `name TYPE update-mode default`, `-` for null; the default may be empty.
static UNUSED: &str = include_str!("kafka_keys.txt");

static BROKER_CONFIGS: LazyLock<BTreeMap<&'static str, ConfigDef>> = LazyLock::new(|| {
    let unused = UNUSED.lines().filter_map(parse_unused);
    let all = unused.chain(USED.iter().cloned());
    all.map(|row| (row.name, row)).collect()
});

fn parse_unused(line: &'static str) -> Option<ConfigDef> {
    let mut fields = line.splitn(4, ' ');
    let (name, kind, mode) = (fields.next()?, fields.next()?, fields.next()?);
    let default = fields.next().unwrap_or("");
    let mut row = def_null(name, Kind::from_kafka_name(kind)?).without_effect();
    row.default = Some(default).filter(|default| *default != "-");
    row.update_mode = match mode {
        "cluster-wide" => UpdateMode::ClusterWide,
        "per-broker" => UpdateMode::PerBroker,
        _ => UpdateMode::ReadOnly,
    };
    row.internal = mode == "internal";
    Some(row)
}

/// Every key that Kafka's or Ottla's broker knows, by name.
pub fn broker_configs() -> &'static BTreeMap<&'static str, ConfigDef> {
    &BROKER_CONFIGS
}

/// The row of a broker key.
pub fn broker_config(name: &str) -> Option<&'static ConfigDef> {
    BROKER_CONFIGS.get(name)
}

/// The keys that give one setting, the strongest first (Kafka's `DynamicBrokerConfig.brokerConfigSynonyms`).
pub fn broker_synonyms(name: &'static str) -> &'static [&'static str] {
    match name {
        "log.roll.ms" | "log.roll.hours" => &["log.roll.ms", "log.roll.hours"],
        "log.roll.jitter.ms" | "log.roll.jitter.hours" => {
            &["log.roll.jitter.ms", "log.roll.jitter.hours"]
        }
        "log.retention.ms" | "log.retention.minutes" | "log.retention.hours" => &[
            "log.retention.ms",
            "log.retention.minutes",
            "log.retention.hours",
        ],
        "log.flush.interval.ms" => &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_kafkas_other_keys_is_a_row() {
        for line in UNUSED.lines() {
            assert!(parse_unused(line).is_some(), "{line}");
        }
    }

    #[test]
    fn no_key_has_two_rows() {
        let unused = UNUSED.lines().filter_map(parse_unused).count();
        assert_eq!(broker_configs().len(), unused + USED.len());
    }

    #[test]
    fn every_default_passes_its_own_check() {
        for row in broker_configs().values() {
            if let Some(default) = row.default {
                row.check(default).expect("default");
            }
        }
    }
}
