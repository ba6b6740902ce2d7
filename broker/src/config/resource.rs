//! Settings of the resources that only AlterConfigs knows: groups and client metrics.

use super::def::{ConfigDef, Kind, Rule, def, def_null};

/// Every setting of a group (KIP-848, KIP-932, KIP-1071), sorted by name.
#[rustfmt::skip]
pub static GROUP_CONFIGS: &[ConfigDef] = &[
    def("consumer.assignment.interval.ms", Kind::Int, "1000").at_least(0)
        .doc("Shortest time between two assignments of a consumer group."),
    def("consumer.assignor.offload.enable", Kind::Boolean, "true").hidden(),
    def("consumer.heartbeat.interval.ms", Kind::Int, "5000").at_least(1)
        .doc("Time between two heartbeats of a consumer group's member."),
    def("consumer.session.timeout.ms", Kind::Int, "45000").at_least(1)
        .doc("A consumer group's member that is silent for this long is removed."),
    def("errors.deadletterqueue.copy.record.enable", Kind::Boolean, "false")
        .doc("Whether a record that a share group cannot process is copied to its dead-letter queue."),
    def("errors.deadletterqueue.topic.name", Kind::String, "")
        .doc("Topic for the records that a share group cannot process; empty: none."),
    def("share.assignment.interval.ms", Kind::Int, "1000").at_least(0)
        .doc("Shortest time between two assignments of a share group."),
    def("share.assignor.offload.enable", Kind::Boolean, "true").hidden(),
    def("share.auto.offset.reset", Kind::String, "latest")
        .doc("Where a share group begins: latest, earliest or by_duration:PnDTnHnMn.nS."),
    def("share.delivery.count.limit", Kind::Int, "5").at_least(2)
        .doc("How often a share group delivers one record."),
    def("share.heartbeat.interval.ms", Kind::Int, "5000").at_least(1)
        .doc("Time between two heartbeats of a share group's member."),
    def("share.isolation.level", Kind::String, "read_uncommitted").rule(Rule::OneOf(&["read_committed", "read_uncommitted"]))
        .doc("Whether a share group sees records of open transactions."),
    def("share.partition.max.record.locks", Kind::Int, "2000").at_least(100)
        .doc("Most records of one partition that a share group has in delivery."),
    def("share.record.lock.duration.ms", Kind::Int, "30000").at_least(1000)
        .doc("How long a share group waits for a record's acknowledgement."),
    def("share.renew.acknowledge.enable", Kind::Boolean, "true")
        .doc("Whether a share consumer may renew the lock of a record."),
    def("share.session.timeout.ms", Kind::Int, "45000").at_least(1)
        .doc("A share group's member that is silent for this long is removed."),
    def("streams.acceptable.recovery.lag", Kind::Long, "10000").at_least(0).hidden(),
    def("streams.assignment.interval.ms", Kind::Int, "1000").at_least(0)
        .doc("Shortest time between two assignments of a streams group."),
    def_null("streams.assignor.name", Kind::String)
        .doc("Assignor of a streams group; unset: the broker's first."),
    def("streams.assignor.offload.enable", Kind::Boolean, "true").hidden(),
    def("streams.heartbeat.interval.ms", Kind::Int, "5000").at_least(1)
        .doc("Time between two heartbeats of a streams group's member."),
    def("streams.initial.rebalance.delay.ms", Kind::Int, "3000").at_least(0)
        .doc("How long an empty streams group waits for more members."),
    def("streams.num.standby.replicas", Kind::Int, "0").at_least(0)
        .doc("Standby replicas of each task of a streams group."),
    def("streams.num.warmup.replicas", Kind::Int, "2").at_least(0).hidden(),
    def("streams.rack.aware.assignment.tags", Kind::List, "")
        .doc("Client tags over which a streams group spreads its standby replicas."),
    def("streams.session.timeout.ms", Kind::Int, "45000").at_least(1)
        .doc("A streams group's member that is silent for this long is removed."),
    def("streams.task.offset.interval.ms", Kind::Int, "60000").at_least(1).hidden(),
];

/// Every setting of a client metrics subscription (KIP-714), sorted by name.
#[rustfmt::skip]
pub static CLIENT_METRICS_CONFIGS: &[ConfigDef] = &[
    def("interval.ms", Kind::Int, "300000").rule(Rule::Between(100, 3_600_000))
        .doc("Time between two reports of a client."),
    def("match", Kind::List, "").doc("Which clients report: key=regular expression, all must match."),
    def("metrics", Kind::List, "").doc("Prefixes of the metrics that are reported; * is all."),
];

/// The keys that a `match` pattern may name.
const CLIENT_MATCH_KEYS: &[&str] = &[
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// Whether every pattern of a `match` list has the form `key=expression` with a known key.
pub fn illegal_client_match(value: &str) -> Option<&str> {
    super::def::list(value).find(|pattern| {
        !pattern.split_once('=').is_some_and(|(key, expression)| {
            CLIENT_MATCH_KEYS.contains(&key.trim()) && !expression.trim().is_empty()
        })
    })
}
