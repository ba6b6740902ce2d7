//! The broker's own configuration keys: Kafka's, as Kafka defines them, and Ottla's.
//!
//! `kafka_keys.txt` is what Kafka 4.4's own definitions say, a line for each key; compat-tests holds it against
//! Kafka's jars. `USED` names the keys that Ottla reads; what the others mean is in [`super::effects`]. A key moves
//! from there to `USED` with the code that reads it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::def::{ConfigDef, Kind, Rule, UpdateMode, def, def_null};
use super::topic::DURABILITIES;

/// The assignors there are (KIP-848). Kafka takes class names too; there are no classes here.
const CONSUMER_ASSIGNORS: &[&str] = &["uniform", "range"];
const RECORD_VALIDATIONS: &[&str] = &["full", "compacted"];

/// Ottla's own keys.
#[rustfmt::skip] // a table
static OWN: &[ConfigDef] = &[
    def("ottla.accept.any.replication.factor", Kind::Boolean, "false")
        .doc("Accept replication factors above 1 and store one copy all the same: for tests written for clusters."),
    def("ottla.disk.reserve.bytes", Kind::Long, "-1").at_least(-1)
        .doc("Room to keep free on the disk: below it producers are refused. -1: a twentieth of the file system, at most 512 MiB."),
    def("ottla.durability", Kind::String, "strict").rule(Rule::OneOf(DURABILITIES))
        .doc("strict: a producer is answered when the record is on stable media. os: when it is in the page cache."),
    def("ottla.max.partitions", Kind::Int, "1000000").at_least(1)
        .doc("Most partitions of all topics together. A request for more is answered POLICY_VIOLATION."),
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
];

/// Kafka's keys that Ottla uses, and what they do.
#[rustfmt::skip] // a table
static USED: &[(&str, &str)] = &[
    ("advertised.listeners",
        "Where clients are told to connect, one LISTENER://host:port each; unset: as listeners."),
    ("auto.create.topics.enable", "Create a topic when a client that allows it asks for its metadata."),
    ("broker.id", "Older name of node.id; node.id wins."),
    ("broker.rack", "Rack of this broker, as Metadata reports it."),
    ("compression.gzip.level", "Default of the topic's compression.gzip.level."),
    ("compression.lz4.level", "Default of the topic's compression.lz4.level."),
    ("compression.type", "Default of the topic's compression.type."),
    ("compression.zstd.level", "Default of the topic's compression.zstd.level."),
    ("connections.max.idle.ms", "A connection without traffic for this long is closed."),
    ("controller.listener.names", "Listeners of Kafka's controller; Ottla has none and does not open them."),
    ("default.replication.factor",
        "Replication factor of topics that do not ask for one. A single node stores one copy."),
    ("delete.topic.enable", "Whether DeleteTopics is allowed."),
    ("fetch.max.bytes", "Largest amount of records in one Fetch response, whatever the client asks for."),
    ("group.consumer.assignment.interval.ms",
        "Shortest time between two assignments of a consumer group that does not set its own."),
    ("group.consumer.assignors",
        "Assignors that members of consumer groups may ask for; the first is used where nobody asks."),
    ("group.consumer.heartbeat.interval.ms",
        "Time between two heartbeats of a consumer group's member, unless the group sets its own."),
    ("group.consumer.max.assignment.interval.ms",
        "Largest consumer.assignment.interval.ms that a group may set."),
    ("group.consumer.max.heartbeat.interval.ms", "Largest consumer.heartbeat.interval.ms that a group may set."),
    ("group.consumer.max.session.timeout.ms", "Largest consumer.session.timeout.ms that a group may set."),
    ("group.consumer.max.size", "Most members of one consumer group."),
    ("group.consumer.migration.policy",
        "Which way a group with members may change its protocol: upgrade is to the consumer protocol."),
    ("group.consumer.min.assignment.interval.ms",
        "Smallest consumer.assignment.interval.ms that a group may set."),
    ("group.consumer.min.heartbeat.interval.ms",
        "Smallest consumer.heartbeat.interval.ms that a group may set."),
    ("group.consumer.min.session.timeout.ms", "Smallest consumer.session.timeout.ms that a group may set."),
    ("group.consumer.regex.refresh.interval.ms",
        "Regular expressions of consumer groups are matched anew after this time, whether topics have changed or not."),
    ("group.consumer.session.timeout.ms",
        "A consumer group's member that is silent for this long is removed, unless the group sets its own."),
    ("group.initial.rebalance.delay.ms",
        "How long an empty classic group waits for more members after the first join."),
    ("group.max.session.timeout.ms", "Longest session timeout that a member may ask for."),
    ("group.max.size", "Most members of one classic group."),
    ("group.min.session.timeout.ms", "Shortest session timeout that a member may ask for."),
    ("listener.security.protocol.map", "Security protocol of each listener name. Only PLAINTEXT is there yet."),
    ("listeners", "Where the broker listens, one NAME://host:port each; an empty host is every interface."),
    ("log.cleaner.delete.retention.ms", "Default of the topic's delete.retention.ms."),
    ("log.cleaner.max.compaction.lag.ms", "Default of the topic's max.compaction.lag.ms."),
    ("log.cleaner.min.cleanable.ratio", "Default of the topic's min.cleanable.dirty.ratio."),
    ("log.cleaner.min.compaction.lag.ms", "Default of the topic's min.compaction.lag.ms."),
    ("log.cleaner.backoff.ms", "How long the log cleaner sleeps when nothing is due."),
    ("log.cleaner.dedupe.buffer.size", "Bytes that the log cleaner may use to tell keys apart."),
    ("log.cleaner.enable", "Whether compacted topics are compacted."),
    ("log.cleaner.io.max.bytes.per.second", "What the log cleaner reads and writes a second at most."),
    ("log.cleanup.policy", "Default of the topic's cleanup.policy."),
    ("log.dir", "Directory of all data, if log.dirs is not set."),
    ("log.dirs", "Directory of all data; exactly one."),
    ("log.flush.interval.messages", "Default of the topic's flush.messages."),
    ("log.flush.interval.ms", "Default of the topic's flush.ms."),
    ("log.flush.scheduler.interval.ms",
        "Default of the topic's flush.ms where log.flush.interval.ms is not set."),
    ("log.index.interval.bytes", "Default of the topic's index.interval.bytes."),
    ("log.index.size.max.bytes", "Default of the topic's segment.index.bytes."),
    ("log.message.timestamp.after.max.ms", "Default of the topic's message.timestamp.after.max.ms."),
    ("log.message.timestamp.before.max.ms", "Default of the topic's message.timestamp.before.max.ms."),
    ("log.message.timestamp.type", "Default of the topic's message.timestamp.type."),
    ("log.retention.bytes", "Default of the topic's retention.bytes."),
    ("log.retention.hours",
        "Default of the topic's retention.ms, in hours; log.retention.minutes and log.retention.ms win."),
    ("log.retention.minutes", "Default of the topic's retention.ms, in minutes; log.retention.ms wins."),
    ("log.retention.ms", "Default of the topic's retention.ms; -1 is forever."),
    ("log.roll.hours", "Default of the topic's segment.ms, in hours; log.roll.ms wins."),
    ("log.roll.jitter.hours", "Default of the topic's segment.jitter.ms, in hours; log.roll.jitter.ms wins."),
    ("log.roll.jitter.ms", "Default of the topic's segment.jitter.ms."),
    ("log.roll.ms", "Default of the topic's segment.ms."),
    ("log.retention.check.interval.ms", "How often it is looked for segments that may be deleted."),
    ("log.segment.bytes", "Default of the topic's segment.bytes."),
    ("log.segment.delete.delay.ms", "Default of the topic's file.delete.delay.ms."),
    ("max.connections", "Most connections at one time."),
    ("max.connections.per.ip", "Most connections of one address at one time."),
    ("max.connections.per.ip.overrides",
        "Hosts with a max.connections.per.ip of their own, as host:limit, separated by commas."),
    ("max.incremental.fetch.session.cache.slots",
        "Most incremental fetch sessions that are remembered (KIP-227)."),
    ("max.request.partition.size.limit", "Most partitions in one DescribeTopicPartitions response (KIP-966)."),
    ("message.max.bytes", "Default of the topic's max.message.bytes."),
    ("min.insync.replicas", "Default of the topic's min.insync.replicas."),
    ("node.id", "Number of this broker."),
    ("num.partitions", "Partitions of topics that do not ask for a number, and of auto-created ones."),
    ("offset.metadata.max.bytes", "Longest text that may be committed beside an offset."),
    ("offsets.retention.check.interval.ms", "How often expired offsets are looked for."),
    ("offsets.retention.minutes", "How long the offsets of an empty group are kept."),
    ("offsets.topic.num.partitions", "Partitions of __consumer_offsets when it is created."),
    ("offsets.topic.segment.bytes", "segment.bytes of __consumer_offsets when it is created."),
    ("process.roles", "Must name broker; Ottla is its own controller."),
    ("producer.id.expiration.check.interval.ms", "How often it is looked for producers that may be forgotten."),
    ("producer.id.expiration.ms",
        "A producer that has been silent in a partition for this long, and has no transaction open, is forgotten there."),
    ("queued.max.request.bytes", "Bytes of requests that may be in memory at one time; -1: the broker chooses."),
    ("socket.listen.backlog.size", "Connections that the system accepts ahead of the broker."),
    ("socket.request.max.bytes", "Largest request frame that is accepted."),
    ("unclean.leader.election.enable", "Default of the topic's unclean.leader.election.enable."),
];

/// Where a default is not Kafka's.
static OTHER_DEFAULTS: &[(&str, &str)] = &[
    // Ottla has no controller's listener.
    ("controller.listener.names", ""),
    // On one machine members arrive together or do not care.
    ("group.initial.rebalance.delay.ms", "0"),
    // Nobody listens to the world without being told to.
    ("listeners", "PLAINTEXT://localhost:9092"),
    // What is acknowledged is not kept in /tmp.
    ("log.dir", "ottla-data"),
    // Kafka must be told.
    ("node.id", "1"),
    ("process.roles", "broker,controller"),
];

/// Where a rule is not Kafka's.
static OTHER_RULES: &[(&str, Rule)] = &[
    ("group.consumer.assignors", Rule::SomeOf(CONSUMER_ASSIGNORS)),
    ("controller.listener.names", Rule::Set),
];

/// `name TYPE mode rule default`, as `compat-tests/clients/java/BrokerKeys.java` writes it.
static KAFKA: &str = include_str!("kafka_keys.txt");

static BROKER_CONFIGS: LazyLock<BTreeMap<&'static str, ConfigDef>> = LazyLock::new(|| {
    let kafkas = KAFKA.lines().filter_map(parse_line);
    let mut rows: BTreeMap<_, _> = kafkas.map(|row| (row.name, row)).collect();
    for (name, documentation) in USED {
        if let Some(row) = rows.get_mut(name) {
            (row.unused, row.documentation) = (false, documentation);
        }
    }
    for (name, default) in OTHER_DEFAULTS {
        if let Some(row) = rows.get_mut(name) {
            row.default = Some(default);
        }
    }
    for (name, rule) in OTHER_RULES {
        if let Some(row) = rows.get_mut(name) {
            row.rule = *rule;
        }
    }
    rows.extend(OWN.iter().map(|row| (row.name, row.clone())));
    rows
});

fn parse_line(line: &'static str) -> Option<ConfigDef> {
    let mut fields = line.splitn(5, ' ');
    let mut next = || fields.next();
    let (name, kind, mode, rule) = (next()?, next()?, next()?, next()?);
    let default = next().unwrap_or("");
    let mut row = def_null(name, Kind::from_kafka_name(kind)?).without_effect();
    row.rule = parse_rule(row.kind, rule)?;
    row.default = Some(default).filter(|default| *default != "-");
    let (mode, visible) = match mode.split_once(",internal") {
        Some((mode, _)) => (mode, false),
        None => (mode, true),
    };
    row.internal = !visible;
    row.update_mode = match mode {
        "read-only" => UpdateMode::ReadOnly,
        "per-broker" => UpdateMode::PerBroker,
        "cluster-wide" => UpdateMode::ClusterWide,
        // No file can set it, and nobody is told a default.
        "dynamic-only" => {
            (row.internal, row.default) = (true, None);
            UpdateMode::ClusterWide
        }
        _ => return None,
    };
    Some(row)
}

/// A rule in the words of `kafka_keys.txt`; `None`: there is no such rule.
fn parse_rule(kind: Kind, rule: &'static str) -> Option<Rule> {
    // Read once, and kept for as long as the process lives.
    let words =
        |words: &'static str| -> &'static [&'static str] { Vec::leak(words.split('|').collect()) };
    if let Some(names) = rule.strip_prefix("any-case:") {
        return Some(Rule::OneOfIgnoringCase(words(names)));
    }
    if let Some(names) = rule.strip_prefix("set-of:") {
        return Some(match names.strip_suffix(",not-empty") {
            Some(names) => Rule::SomeOf(words(names)),
            None => Rule::OneOf(words(names)),
        });
    }
    match rule {
        "-" | "non-null-string" | "non-empty-list" => return Some(Rule::Any),
        "set" => return Some(Rule::Set),
        "set,not-empty" => return Some(Rule::NonEmptySet),
        "non-empty-string" => return Some(Rule::NonEmptyString),
        _ => {}
    }
    let Some((min, max)) = rule.split_once("..") else {
        return rule.contains('|').then(|| Rule::OneOf(words(rule)));
    };
    if kind == Kind::Double {
        return Some(Rule::Within(min.parse().ok()?, max.parse().ok()?));
    }
    let min = min.parse().ok()?;
    Some(match max.split_once(",or=") {
        Some((max, other)) => Rule::BetweenOr(min, max.parse().ok()?, other.parse().ok()?),
        None if max.is_empty() => Rule::AtLeast(min),
        None => Rule::Between(min, max.parse().ok()?),
    })
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

/// Kafka's file has no such key: it is a quota, and set while the broker runs or not at all.
pub fn is_dynamic_only(row: &ConfigDef) -> bool {
    row.internal && row.default.is_none() && row.update_mode == UpdateMode::ClusterWide
}

/// The listener and the key of `listener.name.LISTENER.KEY`.
pub fn listener_key(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("listener.name.")?.split_once('.')
}

/// Keys that are set for one mechanism of one listener: `listener.name.LISTENER.MECHANISM.KEY`.
const MECHANISM_KEYS: &[&str] = &[
    "connections.max.reauth.ms",
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
];

/// The row that says what a key means, for one listener or for all.
pub fn row_behind(name: &str) -> Option<&'static ConfigDef> {
    let Some((_, key)) = listener_key(name) else {
        return broker_config(name);
    };
    let of_mechanism = MECHANISM_KEYS.iter().find(|suffix| key.ends_with(*suffix));
    broker_config(of_mechanism.copied().unwrap_or(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_kafkas_keys_is_a_row() {
        for line in KAFKA.lines() {
            assert!(parse_line(line).is_some(), "{line}");
        }
    }

    #[test]
    fn every_other_table_names_keys_that_there_are() {
        let names = USED.iter().map(|(name, _)| name);
        let names = names.chain(OTHER_DEFAULTS.iter().map(|(name, _)| name));
        for name in names.chain(OTHER_RULES.iter().map(|(name, _)| name)) {
            assert!(broker_config(name).is_some(), "{name}");
        }
        let used = broker_configs().values().filter(|row| !row.unused).count();
        assert_eq!(used, USED.len() + OWN.len(), "no key stands twice");
    }

    #[test]
    fn every_default_passes_its_own_check() {
        for row in broker_configs().values() {
            if let Some(default) = row.default {
                row.check(default).expect("default");
            }
        }
    }

    #[test]
    fn a_key_for_one_listener_means_what_the_key_means() {
        let behind = |name| row_behind(name).map(|row| row.name);
        for (name, expected) in [
            ("num.partitions", Some("num.partitions")),
            ("listener.name.x.ssl.client.auth", Some("ssl.client.auth")),
            (
                "listener.name.x.plain.sasl.jaas.config",
                Some("sasl.jaas.config"),
            ),
            ("listener.name.x.sasl.jaas.config", Some("sasl.jaas.config")),
            ("listener.name.x.no.such", None),
            ("listener.name.x", None),
            ("listener.name.", None),
        ] {
            assert_eq!(behind(name), expected, "{name}");
        }
    }
}
