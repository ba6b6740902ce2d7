//! Topic configurations: the table, and what it means to a topic's logs and its produce path.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use storage::log::LogConfig;

use super::def::{ConfigDef, InvalidValue, Kind, Rule, def, def_null, list, parse_bool};
use super::section::{FromText, Row, Section, Values, section};

/// Where a topic key takes its value from when the topic does not set it, in this order.
#[derive(Clone, Copy, Debug)]
pub struct Synonym {
    pub broker_key: &'static str,
    /// Multiplies the broker's value: hours and minutes become milliseconds.
    pub factor: i64,
}

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const MINUTE_MS: i64 = 60_000;

const fn same(broker_key: &'static str) -> Synonym {
    Synonym {
        broker_key,
        factor: 1,
    }
}

const fn times(broker_key: &'static str, factor: i64) -> Synonym {
    Synonym { broker_key, factor }
}

/// A topic key and the broker keys that stand in for it (Kafka's `ServerTopicConfigSynonyms`).
#[derive(Clone, Debug)]
pub struct TopicConfigDef {
    pub def: ConfigDef,
    pub synonyms: &'static [Synonym],
    /// Tools set the key, and nothing reads it or the broker's keys for it.
    pub idle: bool,
}

const fn topic(def: ConfigDef, synonyms: &'static [Synonym]) -> TopicConfigDef {
    TopicConfigDef {
        def,
        synonyms,
        idle: false,
    }
}

impl TopicConfigDef {
    const fn idle(mut self) -> Self {
        self.idle = true;
        self
    }

    const fn doc(mut self, documentation: &'static str) -> Self {
        self.def = self.def.doc(documentation);
        self
    }
}

impl Row for TopicConfigDef {
    fn name(&self) -> &'static str {
        self.def.name
    }
}

const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
const CLEANUP_POLICIES: &[&str] = &["compact", "delete"];
const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];
pub(super) const DURABILITIES: &[&str] = &["strict", "os"];
const LONG_MAX: &str = "9223372036854775807";

section! {
    /// A topic's effective configuration.
    #[derive(Clone, Debug, PartialEq)]
    pub struct TopicConfig of TopicConfigDef {
        /// What its logs need to know.
        pub log: Arc<LogConfig>,
        /// How batches are stored.
        pub compression_type: CompressionType,
    }
    keys {
        /// Largest record batch that is accepted, as it is sent, after compression.
        max_message_bytes: usize = topic(def("max.message.bytes", Kind::Int, "1048588").at_least(0), &[same("message.max.bytes")]),
        /// Whether records keep the producer's timestamp or get the time of the append.
        message_timestamp_type: TimestampType = topic(def("message.timestamp.type", Kind::String, "CreateTime").rule(Rule::OneOf(TIMESTAMP_TYPES)), &[same("log.message.timestamp.type")]),
        /// How far a record's timestamp may lie behind the broker's clock (CreateTime only).
        message_timestamp_before_max_ms: i64 = topic(def("message.timestamp.before.max.ms", Kind::Long, LONG_MAX).at_least(0), &[same("log.message.timestamp.before.max.ms")]),
        /// How far a record's timestamp may lie ahead of the broker's clock (CreateTime only).
        message_timestamp_after_max_ms: i64 = topic(def("message.timestamp.after.max.ms", Kind::Long, "3600000").at_least(0), &[same("log.message.timestamp.after.max.ms")]),
        /// Kept for tools; the one replica is always in sync, so larger values do not block acks=all.
        min_insync_replicas: i32 = topic(def("min.insync.replicas", Kind::Int, "1").at_least(1), &[same("min.insync.replicas")]),
    }
    also {
        /// How stored batches are compressed; producer keeps each batch as it was sent.
        _ = topic(def("compression.type", Kind::String, "producer").rule(Rule::OneOf(COMPRESSION_TYPES)), &[same("compression.type")]),
        /// Level used when compression.type is gzip; -1 is the codec's own default.
        _ = topic(def("compression.gzip.level", Kind::Int, "-1").rule(Rule::BetweenOr(1, 9, -1)), &[same("compression.gzip.level")]),
        /// Level used when compression.type is lz4.
        _ = topic(def("compression.lz4.level", Kind::Int, "9").rule(Rule::Between(1, 17)), &[same("compression.lz4.level")]),
        /// Level used when compression.type is zstd.
        _ = topic(def("compression.zstd.level", Kind::Int, "3").rule(Rule::Between(-131_072, 22)), &[same("compression.zstd.level")]),
        /// Only false: there is no tiered storage.
        _ = topic(def("remote.storage.enable", Kind::Boolean, "false"), &[]),
        /// Kept for tools; a single replica cannot lose an election.
        _ = topic(def("unclean.leader.election.enable", Kind::Boolean, "false"), &[same("unclean.leader.election.enable")]),
        /// Kept for tools; there are no share groups.
        _ = topic(def("errors.deadletterqueue.group.enable", Kind::Boolean, "false"), &[]).idle(),
        /// Kept for tools; a single node has no followers.
        _ = topic(def("follower.replication.throttled.replicas", Kind::List, "").rule(Rule::ThrottledReplicas), &[]).idle(),
        /// Kept for tools; a single node has no followers.
        _ = topic(def("leader.replication.throttled.replicas", Kind::List, "").rule(Rule::ThrottledReplicas), &[]).idle(),
        /// Kept for tools; there is no tiered storage.
        _ = topic(def("local.retention.bytes", Kind::Long, "-2").at_least(-2), &[same("log.local.retention.bytes")]).idle(),
        /// Kept for tools; there is no tiered storage.
        _ = topic(def("local.retention.ms", Kind::Long, "-2").at_least(-2), &[same("log.local.retention.ms")]).idle(),
        /// Kept for tools; compressed batches are bounded by socket.request.max.bytes.
        _ = topic(def("max.decompressed.message.bytes", Kind::Int, "2147483639").rule(Rule::Between(1, 2_147_483_639)), &[same("max.decompressed.message.bytes")]).idle(),
        /// Kept for tools; segments grow as they are written.
        _ = topic(def("preallocate", Kind::Boolean, "false"), &[same("log.preallocate")]).idle(),
        /// Kept for tools; there is no tiered storage.
        _ = topic(def("remote.copy.lag.bytes", Kind::Long, "-1").at_least(-1), &[same("log.remote.copy.lag.bytes")]).idle(),
        /// Kept for tools; there is no tiered storage.
        _ = topic(def("remote.copy.lag.ms", Kind::Long, "0").at_least(-1), &[same("log.remote.copy.lag.ms")]).idle(),
        /// Kept for tools; there is no tiered storage.
        _ = topic(def("remote.log.copy.disable", Kind::Boolean, "false"), &[]).idle(),
        /// Kept for tools; there is no tiered storage.
        _ = topic(def("remote.log.delete.on.disable", Kind::Boolean, "false"), &[]).idle(),
    }
}

section! {
    fill LogConfig of TopicConfigDef = LogConfig::default();
    keys {
        /// Size at which a new segment file begins.
        segment_bytes = topic(def("segment.bytes", Kind::Int, "1073741824").at_least(1 << 20), &[same("log.segment.bytes")]),
        /// Age at which a new segment file begins.
        segment_ms = topic(def("segment.ms", Kind::Long, "604800000").at_least(1), &[same("log.roll.ms"), times("log.roll.hours", HOUR_MS)]),
        /// Spreads the time at which segments roll.
        segment_jitter_ms = topic(def("segment.jitter.ms", Kind::Long, "0").at_least(0), &[same("log.roll.jitter.ms"), times("log.roll.jitter.hours", HOUR_MS)]),
        /// Largest size of a segment's offset index.
        segment_index_bytes = topic(def("segment.index.bytes", Kind::Int, "10485760").at_least(4), &[same("log.index.size.max.bytes")]),
        /// Bytes of log between two entries of the offset index.
        index_interval_bytes = topic(def("index.interval.bytes", Kind::Int, "4096").at_least(0), &[same("log.index.interval.bytes")]),
        /// Largest size of a partition before old segments are deleted; -1 is no limit.
        retention_bytes = topic(def("retention.bytes", Kind::Long, "-1"), &[same("log.retention.bytes")]) => unlimited_below_zero,
        /// How long a segment is kept after its last record; -1 is forever.
        retention_ms = topic(def("retention.ms", Kind::Long, "604800000").at_least(-1), &[same("log.retention.ms"), times("log.retention.minutes", MINUTE_MS), times("log.retention.hours", HOUR_MS)]) => unlimited_below_zero,
        /// How long a file that is no longer part of the log stays on disk.
        file_delete_delay_ms = topic(def("file.delete.delay.ms", Kind::Long, "60000").at_least(0), &[same("log.segment.delete.delay.ms")]),
        /// How long a compacted topic keeps the tombstones of deleted keys.
        delete_retention_ms = topic(def("delete.retention.ms", Kind::Long, "86400000").at_least(0), &[same("log.cleaner.delete.retention.ms")]),
        /// A record is not compacted before it has this age.
        min_compaction_lag_ms = topic(def("min.compaction.lag.ms", Kind::Long, "0").at_least(0), &[same("log.cleaner.min.compaction.lag.ms")]),
        /// A record is compacted at the latest after this time.
        max_compaction_lag_ms = topic(def("max.compaction.lag.ms", Kind::Long, LONG_MAX).at_least(1), &[same("log.cleaner.max.compaction.lag.ms")]),
        /// Compact when this share of the log has not been compacted yet.
        min_cleanable_dirty_ratio = topic(def("min.cleanable.dirty.ratio", Kind::Double, "0.5").rule(Rule::Within(0.0, 1.0)), &[same("log.cleaner.min.cleanable.ratio")]),
        /// Force data to stable media after this many records, before the last of them is acknowledged; only matters
        /// with ottla.durability=os.
        flush_messages = topic(def("flush.messages", Kind::Long, LONG_MAX).at_least(1), &[same("log.flush.interval.messages")]),
        /// Force data to stable media when it is this old; 0: before it is acknowledged. Only matters with
        /// ottla.durability=os.
        flush_ms = topic(def("flush.ms", Kind::Long, LONG_MAX).at_least(0), &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")]),
        /// strict: a producer is answered when the record is on stable media. os: when it is in the page cache.
        /// Unset: as the broker's ottla.durability.
        durability = topic(def_null("ottla.durability", Kind::String).rule(Rule::OneOf(DURABILITIES)), &[same("ottla.durability")]),
    }
    also {
        /// What happens to old segments: delete them by age and size, compact them to the last record of each key, or
        /// both.
        _ = topic(def("cleanup.policy", Kind::List, "delete").rule(Rule::OneOf(CLEANUP_POLICIES)), &[same("log.cleanup.policy")]),
        /// Size at which a new segment file begins, however small: for tests.
        _ = topic(def_null("internal.segment.bytes", Kind::Int).hidden(), &[]),
    }
}

/// Every topic key, sorted by name.
pub static TOPIC_CONFIGS: LazyLock<Vec<TopicConfigDef>> = LazyLock::new(|| {
    let mut rows = [TopicConfig::ROWS, LogConfig::ROWS].concat();
    rows.sort_by_key(|row| row.def.name);
    rows
});

/// The row of a topic key.
pub(crate) fn topic_config(name: &str) -> Option<&'static TopicConfigDef> {
    TOPIC_CONFIGS
        .binary_search_by(|row| row.def.name.cmp(name))
        .ok()
        .map(|index| &TOPIC_CONFIGS[index])
}

/// Why a topic's configuration is refused (INVALID_CONFIG).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicConfigError {
    #[error("Unknown topic config name: {0}")]
    UnknownKey(String),
    #[error(transparent)]
    InvalidValue(#[from] InvalidValue),
    #[error(
        "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
    )]
    CompactionLag { min: i64, max: i64 },
    #[error(
        "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."
    )]
    TieredStorage,
}

/// Checks a topic's own settings, one by one and together.
pub(crate) fn validate_topic_config(
    overrides: &BTreeMap<String, String>,
) -> Result<(), TopicConfigError> {
    for (name, value) in overrides {
        let row = topic_config(name).ok_or_else(|| TopicConfigError::UnknownKey(name.clone()))?;
        row.def.check(value)?;
    }
    let number = |name: &str| -> Option<i64> { overrides.get(name)?.trim().parse().ok() };
    let (min, max) = (
        number("min.compaction.lag.ms"),
        number("max.compaction.lag.ms"),
    );
    if let (min, Some(max)) = (min.unwrap_or(0), max)
        && min > max
    {
        return Err(TopicConfigError::CompactionLag { min, max });
    }
    if overrides
        .get("remote.storage.enable")
        .is_some_and(|value| parse_bool(value) == Some(true))
    {
        return Err(TopicConfigError::TieredStorage);
    }
    Ok(())
}

/// Whose clock stamps the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// How batches are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent them.
    #[default]
    Producer,
    Uncompressed,
    Gzip {
        level: i32,
    },
    Snappy,
    Lz4 {
        level: i32,
    },
    Zstd {
        level: i32,
    },
}

impl TopicConfig {
    /// Reads every value through `effective`, which gives the value in force for a topic key. What does not pass the check of its
    /// row counts as the default.
    pub(crate) fn from_effective<'a>(effective: impl Fn(&'static str) -> Option<&'a str>) -> Self {
        let values = |key: &'static str| {
            let row = &topic_config(key)?.def;
            let value = effective(key).filter(|value| row.check(value).is_ok());
            value.or(row.default)
        };
        let policies = || list(values("cleanup.policy").unwrap_or_default());
        let mut log = LogConfig {
            compact: policies().any(|policy| policy == "compact"),
            delete: policies().any(|policy| policy == "delete"),
            ..LogConfig::read(&values)
        };
        if let Some(bytes) = values("internal.segment.bytes").and_then(u64::from_text) {
            log.segment_bytes = bytes;
        }
        Self {
            log: Arc::new(log),
            compression_type: compression_type(&values),
            ..Self::read(&values)
        }
    }
}

impl FromText for TimestampType {
    fn from_text(text: &str) -> Option<Self> {
        match text {
            "CreateTime" => Some(Self::CreateTime),
            "LogAppendTime" => Some(Self::LogAppendTime),
            _ => None,
        }
    }
}

fn compression_type(values: &Values<'_>) -> CompressionType {
    let level = |key| values(key).and_then(i32::from_text).unwrap_or_default();
    match values("compression.type").map(str::trim) {
        Some("uncompressed") => CompressionType::Uncompressed,
        Some("gzip") => CompressionType::Gzip {
            level: level("compression.gzip.level"),
        },
        Some("snappy") => CompressionType::Snappy,
        Some("lz4") => CompressionType::Lz4 {
            level: level("compression.lz4.level"),
        },
        Some("zstd") => CompressionType::Zstd {
            level: level("compression.zstd.level"),
        },
        _ => CompressionType::Producer,
    }
}

fn unlimited_below_zero(number: i64) -> i64 {
    number.max(-1)
}
