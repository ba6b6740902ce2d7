//! Settings of the resources that only AlterConfigs knows: groups and client metrics.

use coordinators::pattern::NamePattern;

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

/// What of a client a `match` pattern may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAttribute {
    InstanceId,
    ClientId,
    SoftwareName,
    SoftwareVersion,
    SourceAddress,
    SourcePort,
}

impl ClientAttribute {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "client_instance_id" => Self::InstanceId,
            "client_id" => Self::ClientId,
            "client_software_name" => Self::SoftwareName,
            "client_software_version" => Self::SoftwareVersion,
            "client_source_address" => Self::SourceAddress,
            "client_source_port" => Self::SourcePort,
            _ => return None,
        })
    }
}

/// A pattern of a `match` list.
#[derive(Debug)]
pub struct ClientMatch {
    pub attribute: ClientAttribute,
    expression: NamePattern,
}

impl ClientMatch {
    pub fn is_met_by(&self, value: &str) -> bool {
        self.expression.matches(value)
    }
}

/// The patterns of a `match` list, `attribute=regular expression`; of two for the same attribute the last one counts, as in
/// Kafka. Takes up to some milliseconds for each.
///
/// # Errors
/// The first that is none.
pub fn client_matches(value: &str) -> Result<Vec<ClientMatch>, &str> {
    let mut matches: Vec<ClientMatch> = Vec::new();
    for pattern in super::def::list(value) {
        let parsed = client_match(pattern).ok_or(pattern)?;
        matches.retain(|before| before.attribute != parsed.attribute);
        matches.push(parsed);
    }
    Ok(matches)
}

fn client_match(pattern: &str) -> Option<ClientMatch> {
    // As Java splits: what is empty at the end is nothing.
    let (name, expression) = pattern.trim_end_matches('=').split_once('=')?;
    if expression.contains('=') {
        return None;
    }
    Some(ClientMatch {
        attribute: ClientAttribute::from_name(name.trim())?,
        expression: NamePattern::compile(expression.trim()).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Kafka 4.4.0 said to each.
    #[test]
    fn patterns_of_clients_are_those_that_kafka_takes() {
        for legal in [
            "client_id=a",
            " client_id = a.* ",
            "client_id=a=",
            "client_id=a==",
            "client_source_port=[0-9]+",
        ] {
            assert!(client_match(legal).is_some(), "{legal}");
        }
        for illegal in [
            "",
            "client_id",
            "client_id=",
            "=a",
            "planet=earth",
            "client_id=a=b",
            "client_id==a",
            "client_id=(",
            "Client_id=a",
        ] {
            assert!(client_match(illegal).is_none(), "{illegal}");
        }
    }

    #[test]
    fn a_pattern_is_for_the_whole_value_and_the_last_one_of_an_attribute_counts() {
        let matches =
            client_matches("client_id=b,client_source_port=9.,client_id=a").expect("legal");
        assert_eq!(matches.len(), 2);
        let of = |attribute| {
            matches
                .iter()
                .find(|one| one.attribute == attribute)
                .expect("named")
        };
        assert!(of(ClientAttribute::ClientId).is_met_by("a"));
        assert!(!of(ClientAttribute::ClientId).is_met_by("b"));
        assert!(!of(ClientAttribute::ClientId).is_met_by("aa"));
        assert!(of(ClientAttribute::SourcePort).is_met_by("99"));
        assert_eq!(
            client_matches("client_id=a,planet=earth").expect_err("one is none"),
            "planet=earth"
        );
    }
}
