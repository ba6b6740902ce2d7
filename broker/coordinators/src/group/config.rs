//! Settings of the group coordinator, by Kafka's names.

use crate::group::assignor::Assignor;

/// What a [`GroupShard`](super::GroupShard) needs to know of the broker's configuration.
///
/// Times are milliseconds. `Default` gives Kafka's defaults, except for `group.initial.rebalance.delay.ms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`: a join that asks for less gets INVALID_SESSION_TIMEOUT.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`: a join that asks for more gets INVALID_SESSION_TIMEOUT.
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members after the first join.
    ///
    /// Kafka's default is 3000. With zero every join that waits already still takes part: the shard completes the
    /// rebalance only when it looks at its timers next.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`: members beyond this get GROUP_MAX_SIZE_REACHED.
    pub max_size: usize,
    /// `group.consumer.session.timeout.ms`: a member of a consumer group that is silent for this long is removed.
    pub consumer_session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`: how often such a member is told to send a heartbeat.
    pub consumer_heartbeat_interval_ms: i32,
    /// `group.consumer.assignment.interval.ms`: shortest time between two targets of one group (KIP-1263).
    pub consumer_assignment_interval_ms: i32,
    /// How many members, topics and partitions an assignor may go through within one step, which takes half a millisecond.
    /// A target with more of them is computed elsewhere.
    pub consumer_assignment_step_work: usize,
    /// Shortest time between two questions about the regular expressions of a group. A constant in Kafka.
    pub consumer_regex_refresh_min_interval_ms: i64,
    /// `group.consumer.regex.refresh.interval.ms`: expressions are matched anew after this time, even if no topic has changed.
    pub consumer_regex_refresh_interval_ms: i64,
    /// `group.consumer.max.size`: members beyond this get GROUP_MAX_SIZE_REACHED.
    pub consumer_max_size: usize,
    /// `group.consumer.migration.policy`: whether groups with members change their protocol.
    pub migration_policy: MigrationPolicy,
    /// `group.consumer.assignors`: what members may ask for. The first one serves groups in which nobody asks.
    pub consumer_assignors: Vec<Assignor>,
    /// How long a member that has never finished a join may stay parked in JoinGroup. A constant in Kafka.
    pub new_member_join_timeout_ms: i32,
    /// `offset.metadata.max.bytes`: longer commit metadata gets OFFSET_METADATA_TOO_LARGE.
    ///
    /// Like Kafka, this counts UTF-16 code units, whatever the name of the setting says.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`: how often expired offsets and empty groups are looked for.
    pub offsets_retention_check_interval_ms: i64,
}

/// Which way a group that has members may change its protocol. An empty group always may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MigrationPolicy {
    Disabled,
    /// From the consumer to the classic protocol.
    Downgrade,
    /// From the classic to the consumer protocol.
    Upgrade,
    #[default]
    Bidirectional,
}

impl MigrationPolicy {
    /// The policy of this name. Case does not count.
    pub fn from_name(name: &str) -> Option<Self> {
        let named = [
            ("disabled", Self::Disabled),
            ("downgrade", Self::Downgrade),
            ("upgrade", Self::Upgrade),
            ("bidirectional", Self::Bidirectional),
        ];
        let mut named = named.into_iter();
        named
            .find(|(known, _)| known.eq_ignore_ascii_case(name.trim()))
            .map(|(_, policy)| policy)
    }

    pub(super) fn may_upgrade(self) -> bool {
        matches!(self, Self::Upgrade | Self::Bidirectional)
    }

    pub(super) fn may_downgrade(self) -> bool {
        matches!(self, Self::Downgrade | Self::Bidirectional)
    }
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 0,
            max_size: i32::MAX as usize,
            consumer_session_timeout_ms: 45_000,
            consumer_heartbeat_interval_ms: 5_000,
            consumer_assignment_interval_ms: 1_000,
            consumer_assignment_step_work: 2_500,
            consumer_regex_refresh_min_interval_ms: 10_000,
            consumer_regex_refresh_interval_ms: 600_000,
            consumer_max_size: i32::MAX as usize,
            migration_policy: MigrationPolicy::default(),
            consumer_assignors: vec![Assignor::Uniform, Assignor::Range],
            new_member_join_timeout_ms: 5 * 60 * 1000,
            offset_metadata_max_bytes: 4096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
            offsets_retention_check_interval_ms: 600_000,
        }
    }
}

impl GroupConfig {
    /// The assignor of consumer groups where no member asks for one.
    pub(super) fn consumer_default_assignor(&self) -> Assignor {
        self.consumer_assignors
            .first()
            .copied()
            .unwrap_or(Assignor::Uniform)
    }
}
