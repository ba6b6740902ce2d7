//! Topic configurations: the table, and what it means to a topic's logs and its produce path.

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::log::{Durability, LogConfig};

use super::def::{ConfigDef, InvalidValue, Kind, Rule, def, def_null, list, parse_bool};
use super::settings::{DynamicSettings, Settings};

/// Where a topic key takes its value from when the topic does not set it, in this order.
#[derive(Clone, Copy, Debug)]
pub struct Synonym {
    pub broker_key: &'static str,
    /// Multiplies the broker's value: hours and minutes become milliseconds.
    pub factor: i64,
}

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

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
pub struct TopicConfigDef {
    pub def: ConfigDef,
    pub synonyms: &'static [Synonym],
}

const fn topic(def: ConfigDef, synonyms: &'static [Synonym]) -> TopicConfigDef {
    TopicConfigDef { def, synonyms }
}

pub(super) const COMPRESSION_TYPES: &[&str] =
    &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
pub(super) const CLEANUP_POLICIES: &[&str] = &["compact", "delete"];
pub(super) const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];
pub(super) const DURABILITIES: &[&str] = &["strict", "os"];
const LONG_MAX: &str = "9223372036854775807";

/// Every topic key, sorted by name.
#[rustfmt::skip]
pub static TOPIC_CONFIGS: &[TopicConfigDef] = &[
    topic(def("cleanup.policy", Kind::List, "delete").rule(Rule::OneOf(CLEANUP_POLICIES))
        .doc("What happens to old segments: delete them by age and size, compact them to the last record of each key, or both."),
        &[same("log.cleanup.policy")]),
    topic(def("compression.gzip.level", Kind::Int, "-1").rule(Rule::BetweenOr(1, 9, -1))
        .doc("Level used when compression.type is gzip; -1 is the codec's own default."),
        &[same("compression.gzip.level")]),
    topic(def("compression.lz4.level", Kind::Int, "9").rule(Rule::Between(1, 17))
        .doc("Level used when compression.type is lz4."),
        &[same("compression.lz4.level")]),
    topic(def("compression.type", Kind::String, "producer").rule(Rule::OneOf(COMPRESSION_TYPES))
        .doc("How stored batches are compressed; producer keeps each batch as it was sent."),
        &[same("compression.type")]),
    topic(def("compression.zstd.level", Kind::Int, "3").rule(Rule::Between(-131_072, 22))
        .doc("Level used when compression.type is zstd."),
        &[same("compression.zstd.level")]),
    topic(def("delete.retention.ms", Kind::Long, "86400000").at_least(0)
        .doc("How long a compacted topic keeps the tombstones of deleted keys."),
        &[same("log.cleaner.delete.retention.ms")]),
    topic(def("errors.deadletterqueue.group.enable", Kind::Boolean, "false")
        .doc("Kept for tools; there are no share groups."), &[]),
    topic(def("file.delete.delay.ms", Kind::Long, "60000").at_least(0)
        .doc("How long a file that is no longer part of the log stays on disk."),
        &[same("log.segment.delete.delay.ms")]),
    topic(def("flush.messages", Kind::Long, LONG_MAX).at_least(1)
        .doc("Force data to stable media after this many records, before the last of them is acknowledged; only matters with ottla.durability=os."),
        &[same("log.flush.interval.messages")]),
    topic(def("flush.ms", Kind::Long, LONG_MAX).at_least(0)
        .doc("Force data to stable media when it is this old; 0: before it is acknowledged. Only matters with ottla.durability=os."),
        &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")]),
    topic(def("follower.replication.throttled.replicas", Kind::List, "").rule(Rule::ThrottledReplicas)
        .doc("Kept for tools; a single node has no followers."), &[]),
    topic(def("index.interval.bytes", Kind::Int, "4096").at_least(0)
        .doc("Bytes of log between two entries of the offset index."),
        &[same("log.index.interval.bytes")]),
    topic(def_null("internal.segment.bytes", Kind::Int).hidden()
        .doc("Size at which a new segment file begins, however small: for tests."), &[]),
    topic(def("leader.replication.throttled.replicas", Kind::List, "").rule(Rule::ThrottledReplicas)
        .doc("Kept for tools; a single node has no followers."), &[]),
    topic(def("local.retention.bytes", Kind::Long, "-2").at_least(-2)
        .doc("Kept for tools; there is no tiered storage."), &[same("log.local.retention.bytes")]),
    topic(def("local.retention.ms", Kind::Long, "-2").at_least(-2)
        .doc("Kept for tools; there is no tiered storage."), &[same("log.local.retention.ms")]),
    topic(def("max.compaction.lag.ms", Kind::Long, LONG_MAX).at_least(1)
        .doc("A record is compacted at the latest after this time."),
        &[same("log.cleaner.max.compaction.lag.ms")]),
    topic(def("max.decompressed.message.bytes", Kind::Int, "2147483639").rule(Rule::Between(1, 2_147_483_639))
        .doc("Kept for tools; compressed batches are bounded by socket.request.max.bytes."),
        &[same("max.decompressed.message.bytes")]),
    topic(def("max.message.bytes", Kind::Int, "1048588").at_least(0)
        .doc("Largest record batch that is accepted, as it is sent, after compression."),
        &[same("message.max.bytes")]),
    topic(def("message.timestamp.after.max.ms", Kind::Long, "3600000").at_least(0)
        .doc("How far a record's timestamp may lie ahead of the broker's clock (CreateTime only)."),
        &[same("log.message.timestamp.after.max.ms")]),
    topic(def("message.timestamp.before.max.ms", Kind::Long, LONG_MAX).at_least(0)
        .doc("How far a record's timestamp may lie behind the broker's clock (CreateTime only)."),
        &[same("log.message.timestamp.before.max.ms")]),
    topic(def("message.timestamp.type", Kind::String, "CreateTime").rule(Rule::OneOf(TIMESTAMP_TYPES))
        .doc("Whether records keep the producer's timestamp or get the time of the append."),
        &[same("log.message.timestamp.type")]),
    topic(def("min.cleanable.dirty.ratio", Kind::Double, "0.5").rule(Rule::Within(0.0, 1.0))
        .doc("Compact when this share of the log has not been compacted yet."),
        &[same("log.cleaner.min.cleanable.ratio")]),
    topic(def("min.compaction.lag.ms", Kind::Long, "0").at_least(0)
        .doc("A record is not compacted before it has this age."),
        &[same("log.cleaner.min.compaction.lag.ms")]),
    topic(def("min.insync.replicas", Kind::Int, "1").at_least(1)
        .doc("Kept for tools; the one replica is always in sync, so larger values do not block acks=all."),
        &[same("min.insync.replicas")]),
    topic(def_null("ottla.durability", Kind::String).rule(Rule::OneOf(DURABILITIES))
        .doc("strict: a producer is answered when the record is on stable media. os: when it is in the page cache. Unset: as the broker's ottla.durability."),
        &[same("ottla.durability")]),
    topic(def("preallocate", Kind::Boolean, "false")
        .doc("Kept for tools; segments grow as they are written."), &[same("log.preallocate")]),
    topic(def("remote.copy.lag.bytes", Kind::Long, "-1").at_least(-1)
        .doc("Kept for tools; there is no tiered storage."), &[same("log.remote.copy.lag.bytes")]),
    topic(def("remote.copy.lag.ms", Kind::Long, "0").at_least(-1)
        .doc("Kept for tools; there is no tiered storage."), &[same("log.remote.copy.lag.ms")]),
    topic(def("remote.log.copy.disable", Kind::Boolean, "false")
        .doc("Kept for tools; there is no tiered storage."), &[]),
    topic(def("remote.log.delete.on.disable", Kind::Boolean, "false")
        .doc("Kept for tools; there is no tiered storage."), &[]),
    topic(def("remote.storage.enable", Kind::Boolean, "false")
        .doc("Only false: there is no tiered storage."), &[]),
    topic(def("retention.bytes", Kind::Long, "-1")
        .doc("Largest size of a partition before old segments are deleted; -1 is no limit."),
        &[same("log.retention.bytes")]),
    topic(def("retention.ms", Kind::Long, "604800000").at_least(-1)
        .doc("How long a segment is kept after its last record; -1 is forever."),
        &[same("log.retention.ms"), times("log.retention.minutes", MINUTE_MS), times("log.retention.hours", HOUR_MS)]),
    topic(def("segment.bytes", Kind::Int, "1073741824").at_least(1 << 20)
        .doc("Size at which a new segment file begins."), &[same("log.segment.bytes")]),
    topic(def("segment.index.bytes", Kind::Int, "10485760").at_least(4)
        .doc("Largest size of a segment's offset index."), &[same("log.index.size.max.bytes")]),
    topic(def("segment.jitter.ms", Kind::Long, "0").at_least(0)
        .doc("Spreads the time at which segments roll."),
        &[same("log.roll.jitter.ms"), times("log.roll.jitter.hours", HOUR_MS)]),
    topic(def("segment.ms", Kind::Long, "604800000").at_least(1)
        .doc("Age at which a new segment file begins."),
        &[same("log.roll.ms"), times("log.roll.hours", HOUR_MS)]),
    topic(def("unclean.leader.election.enable", Kind::Boolean, "false")
        .doc("Kept for tools; a single replica cannot lose an election."),
        &[same("unclean.leader.election.enable")]),
];

/// The row of a topic key.
pub fn topic_config(name: &str) -> Option<&'static TopicConfigDef> {
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
pub fn validate_topic_config(overrides: &BTreeMap<String, String>) -> Result<(), TopicConfigError> {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent them.
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

/// What is in force for topics that set nothing themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicDefaults {
    by_key: BTreeMap<&'static str, String>,
    pub config: Arc<TopicConfig>,
}

impl TopicDefaults {
    /// The topics' defaults of a broker with these settings, all of which were checked.
    pub fn new(settings: &Settings, dynamic: DynamicSettings<'_>) -> Self {
        let rows = TOPIC_CONFIGS.iter();
        let values = rows.filter_map(|row| {
            let (value, _) = settings.topic_default(row, dynamic);
            Some((row.def.name, value?))
        });
        let by_key: BTreeMap<_, _> = values.collect();
        let config = TopicConfig::from_effective(|key| by_key.get(key).map(String::as_str));
        Self {
            config: Arc::new(config),
            by_key,
        }
    }

    /// What is in force for a topic with settings of its own, which go over these.
    pub fn under(&self, overrides: &BTreeMap<String, String>) -> Arc<TopicConfig> {
        if overrides.is_empty() {
            return Arc::clone(&self.config);
        }
        let value = |key: &str| overrides.get(key).or_else(|| self.by_key.get(key));
        let config = TopicConfig::from_effective(|key| value(key).map(String::as_str));
        Arc::new(config)
    }
}

/// A topic's effective configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// What its logs need to know.
    pub log: Arc<LogConfig>,
    /// A batch larger than this is refused with MESSAGE_TOO_LARGE.
    pub max_message_bytes: usize,
    pub message_timestamp_type: TimestampType,
    pub message_timestamp_before_max_ms: i64,
    pub message_timestamp_after_max_ms: i64,
    pub compression_type: CompressionType,
    pub min_insync_replicas: i32,
}

impl TopicConfig {
    /// Reads every value through `effective`, which gives the value in force for a topic key.
    ///
    /// Values have passed [`ConfigDef::check`]; one that has not counts as the table's default.
    pub fn from_effective<'a>(effective: impl Fn(&'static str) -> Option<&'a str>) -> Self {
        let text = |key: &'static str| effective(key).or_else(|| default_of(key));
        let long = |key: &'static str| -> i64 {
            let parsed = text(key).and_then(|value| value.trim().parse().ok());
            parsed
                .or_else(|| default_of(key)?.parse().ok())
                .unwrap_or_default()
        };
        let int = |key| i32::try_from(long(key)).unwrap_or(i32::MAX);
        let bytes = |key| u64::try_from(long(key)).unwrap_or(0);
        let unlimited_below_zero = |key| long(key).max(-1);
        let policies = || list(text("cleanup.policy").unwrap_or("delete"));
        let ratio = text("min.cleanable.dirty.ratio").and_then(|value| value.trim().parse().ok());
        let segment_bytes = match text("internal.segment.bytes") {
            Some(_) => bytes("internal.segment.bytes"),
            None => bytes("segment.bytes"),
        };
        Self {
            log: Arc::new(LogConfig {
                segment_bytes,
                segment_ms: long("segment.ms"),
                segment_index_bytes: bytes("segment.index.bytes"),
                index_interval_bytes: bytes("index.interval.bytes"),
                retention_bytes: unlimited_below_zero("retention.bytes"),
                retention_ms: unlimited_below_zero("retention.ms"),
                file_delete_delay_ms: long("file.delete.delay.ms"),
                compact: policies().any(|policy| policy == "compact"),
                delete: policies().any(|policy| policy == "delete"),
                delete_retention_ms: long("delete.retention.ms"),
                min_compaction_lag_ms: long("min.compaction.lag.ms"),
                max_compaction_lag_ms: long("max.compaction.lag.ms"),
                min_cleanable_dirty_ratio: ratio.unwrap_or(0.5),
                flush_messages: long("flush.messages"),
                flush_ms: long("flush.ms"),
                durability: text("ottla.durability").and_then(parse_durability),
            }),
            max_message_bytes: usize::try_from(long("max.message.bytes")).unwrap_or(0),
            message_timestamp_type: match text("message.timestamp.type") {
                Some("LogAppendTime") => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            message_timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
            message_timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
            compression_type: match text("compression.type") {
                Some("uncompressed") => CompressionType::Uncompressed,
                Some("gzip") => CompressionType::Gzip {
                    level: int("compression.gzip.level"),
                },
                Some("snappy") => CompressionType::Snappy,
                Some("lz4") => CompressionType::Lz4 {
                    level: int("compression.lz4.level"),
                },
                Some("zstd") => CompressionType::Zstd {
                    level: int("compression.zstd.level"),
                },
                _ => CompressionType::Producer,
            },
            min_insync_replicas: int("min.insync.replicas"),
        }
    }
}

fn default_of(key: &str) -> Option<&'static str> {
    topic_config(key).and_then(|row| row.def.default)
}

pub(super) fn parse_durability(value: &str) -> Option<Durability> {
    match value.trim() {
        "strict" => Some(Durability::Strict),
        "os" => Some(Durability::Os),
        _ => None,
    }
}
