//! The section of the group coordinator.

use coordinators::group::{Assignor, GroupConfig, MigrationPolicy};

use super::broker_row::{BrokerRow, kafka};
use super::def::Rule;
use super::section::{FromText, count, section};

const MINUTE_MS: i64 = 60_000;

section! {
    fill GroupConfig of BrokerRow = GroupConfig::default();
    keys {
        /// Shortest session timeout that a member may ask for.
        min_session_timeout_ms = kafka("group.min.session.timeout.ms"),
        /// Longest session timeout that a member may ask for.
        max_session_timeout_ms = kafka("group.max.session.timeout.ms"),
        /// How long an empty classic group waits for more members after the first join.
        initial_rebalance_delay_ms =
            kafka("group.initial.rebalance.delay.ms").default("0"), // On one machine members arrive together or do not care.
        /// Most members of one classic group.
        max_size = kafka("group.max.size"),
        /// A consumer group's member that is silent for this long is removed, unless the group sets its own.
        consumer_session_timeout_ms = kafka("group.consumer.session.timeout.ms"),
        /// Time between two heartbeats of a consumer group's member, unless the group sets its own.
        consumer_heartbeat_interval_ms = kafka("group.consumer.heartbeat.interval.ms"),
        /// Shortest time between two assignments of a consumer group that does not set its own.
        consumer_assignment_interval_ms = kafka("group.consumer.assignment.interval.ms"),
        /// Assignors that members of consumer groups may ask for; the first is used where nobody asks.
        consumer_assignors =
            kafka("group.consumer.assignors").rule(Rule::SomeOf(&["uniform", "range"])), // Kafka takes class names, too.
        /// Regular expressions of consumer groups are matched anew after this time, whether topics have changed or not.
        consumer_regex_refresh_interval_ms = kafka("group.consumer.regex.refresh.interval.ms"),
        /// Most members of one consumer group.
        consumer_max_size = kafka("group.consumer.max.size"),
        /// Which way a group with members may change its protocol: upgrade is to the consumer protocol.
        migration_policy = kafka("group.consumer.migration.policy"),
        /// Longest text that may be committed beside an offset.
        offset_metadata_max_bytes = kafka("offset.metadata.max.bytes") => count,
        /// How long the offsets of an empty group are kept.
        offsets_retention_ms = kafka("offsets.retention.minutes") => |minutes: i64| minutes * MINUTE_MS,
        /// How often expired offsets are looked for.
        offsets_retention_check_interval_ms = kafka("offsets.retention.check.interval.ms"),
    }
    also {
        /// Smallest consumer.session.timeout.ms that a group may set.
        _ = kafka("group.consumer.min.session.timeout.ms"),
        /// Largest consumer.session.timeout.ms that a group may set.
        _ = kafka("group.consumer.max.session.timeout.ms"),
        /// Smallest consumer.heartbeat.interval.ms that a group may set.
        _ = kafka("group.consumer.min.heartbeat.interval.ms"),
        /// Largest consumer.heartbeat.interval.ms that a group may set.
        _ = kafka("group.consumer.max.heartbeat.interval.ms"),
        /// Smallest consumer.assignment.interval.ms that a group may set.
        _ = kafka("group.consumer.min.assignment.interval.ms"),
        /// Largest consumer.assignment.interval.ms that a group may set.
        _ = kafka("group.consumer.max.assignment.interval.ms"),
    }
}

impl FromText for MigrationPolicy {
    fn from_text(text: &str) -> Option<Self> {
        Self::from_name(text)
    }
}

impl FromText for Assignor {
    fn from_text(text: &str) -> Option<Self> {
        Self::from_name(text)
    }
}
