//! The broker's configuration as the code reads it.

use std::path::PathBuf;

use storage::local::CleanerConfig;
use storage::log::Durability;

use super::ConfigError;
use super::alone::check_alone;
use super::effects::Remark;
use super::listeners::{HostPort, Listener, check_protocols, listeners, parse_host_port};
use super::properties::Properties;
use super::rules::check_together;
use super::settings::Settings;
use super::topic::parse_durability;

/// A broker's static configuration; each field names its Kafka key.
///
/// Times are milliseconds, sizes bytes. What only topics use is reached through
/// [`super::TopicDefaults`], how many connections there may be through [`super::ConnectionSettings`]; dynamic changes live
/// in the metadata image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// `node.id`
    pub node_id: i32,
    /// `broker.rack`
    pub rack: Option<String>,
    /// `listeners`, with what `advertised.listeners` says about each; at least one.
    pub listeners: Vec<Listener>,
    /// `log.dirs` or `log.dir`
    pub data_dir: PathBuf,
    /// The directory is removed at exit; set by the command line, not by a key.
    pub ephemeral: bool,
    /// `ottla.durability`
    pub durability: Durability,
    /// `ottla.open.files.max`
    pub open_files_max: usize,
    /// `ottla.metrics.listen`; `None`: nowhere
    pub metrics_listen: Option<HostPort>,
    /// `ottla.wal.ring.bytes`
    pub wal_ring_bytes: u64,
    /// `ottla.record.validation`
    pub record_validation: RecordValidation,
    /// `ottla.accept.any.replication.factor`
    pub accept_any_replication_factor: bool,

    /// `log.retention.check.interval.ms`
    pub retention_check_interval_ms: u64,
    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: i64,
    /// `producer.id.expiration.check.interval.ms`
    pub producer_id_expiration_check_interval_ms: u64,
    /// `ottla.disk.reserve.bytes`; `None`: storage chooses
    pub disk_reserve_bytes: Option<u64>,
    pub max_topics: usize,
    pub max_partitions: usize,
    /// `log.cleaner.*`
    pub cleaner: CleanerConfig,
    /// `num.partitions`
    pub num_partitions: i32,
    /// `default.replication.factor`
    pub default_replication_factor: i16,
    /// `auto.create.topics.enable`
    pub auto_create_topics_enable: bool,
    /// `delete.topic.enable`
    pub delete_topic_enable: bool,
    /// `max.request.partition.size.limit`
    pub max_request_partition_size_limit: i32,

    /// `socket.request.max.bytes`
    pub socket_request_max_bytes: usize,
    /// `socket.listen.backlog.size`
    pub socket_listen_backlog_size: i32,
    /// `connections.max.idle.ms`; negative: never
    pub connections_max_idle_ms: i64,
    /// `queued.max.request.bytes`; `None`: the broker chooses
    pub queued_max_request_bytes: Option<usize>,

    /// `fetch.max.bytes`
    pub fetch_max_bytes: usize,
    /// `max.incremental.fetch.session.cache.slots`
    pub max_incremental_fetch_session_cache_slots: usize,

    /// `group.min.session.timeout.ms`
    pub group_min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub group_max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`
    pub group_initial_rebalance_delay_ms: i32,
    /// `group.max.size`
    pub group_max_size: usize,
    /// `group.consumer.session.timeout.ms`
    pub group_consumer_session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`
    pub group_consumer_heartbeat_interval_ms: i32,
    /// `group.consumer.assignment.interval.ms`
    pub group_consumer_assignment_interval_ms: i32,
    /// `group.consumer.assignors`
    pub group_consumer_assignors: Vec<String>,
    /// `group.consumer.regex.refresh.interval.ms`
    pub group_consumer_regex_refresh_interval_ms: i64,
    /// `group.consumer.max.size`
    pub group_consumer_max_size: usize,
    /// `group.consumer.migration.policy`
    pub group_consumer_migration_policy: String,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in milliseconds
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval_ms: i64,
    /// `offsets.topic.num.partitions`
    pub offsets_topic_num_partitions: i32,
    /// `offsets.topic.segment.bytes`
    pub offsets_topic_segment_bytes: i32,

    /// Every key as text.
    pub settings: Settings,
}

/// Which compressed batches are opened when they arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RecordValidation {
    /// All, as by Kafka: what no consumer can open is refused.
    #[default]
    Full,
    /// Those that the broker has to open, now or later: of compacted topics, or to compress them otherwise.
    Compacted,
}

impl BrokerConfig {
    /// Refuses listeners that shall be encrypted or ask who is there, whatever else the properties say: options may
    /// put other listeners in their place, but not by accident.
    ///
    /// # Errors
    /// The first such listener.
    pub fn refuse_protected_listeners(properties: &Properties) -> Result<(), ConfigError> {
        check_protocols(&Settings::unchecked(properties.clone()))
    }

    /// Checks and reads properties; the second value is what the operator is told about keys without effect.
    ///
    /// # Errors
    /// The first value that cannot be used, with its key and what was expected; a key that protects and is not
    /// served.
    pub fn from_properties(properties: Properties) -> Result<(Self, Vec<Remark>), ConfigError> {
        let (s, remarks) = Settings::check(properties)?;
        let node_id = match (s.explicit("node.id"), s.explicit("broker.id")) {
            (None, Some(_)) => s.int("broker.id"),
            _ => s.int("node.id"),
        };
        check_alone(&s, node_id)?;
        let value = |key: &str| s.get(key).map(str::to_owned);
        check_together(&value)
            .map_err(|misfit| ConfigError::invalid(&s, misfit.key, misfit.what))?;
        // A stock server.properties with replication factor 3 must not make every topic fail.
        let factor = i16::try_from(s.int("default.replication.factor")).unwrap_or(i16::MAX);
        let accept_any_replication_factor = s.bool("ottla.accept.any.replication.factor");
        if factor < 1 || (factor > 1 && !accept_any_replication_factor) {
            let expected = "a single node stores one copy: expected 1, or \
                            ottla.accept.any.replication.factor=true"
                .to_owned();
            let key = "default.replication.factor";
            return Err(ConfigError::invalid(&s, key, expected));
        }
        let config = Self {
            node_id,
            rack: s.get("broker.rack").map(str::to_owned),
            listeners: listeners(&s)?,
            data_dir: data_dir(&s)?,
            ephemeral: false,
            durability: s
                .get("ottla.durability")
                .and_then(parse_durability)
                .unwrap_or_default(),
            open_files_max: usize::try_from(s.int("ottla.open.files.max")).unwrap_or(0),
            metrics_listen: metrics_listen(&s)?,
            wal_ring_bytes: u64::try_from(s.long("ottla.wal.ring.bytes")).unwrap_or(0),
            record_validation: match s.get("ottla.record.validation").map(str::trim) {
                Some("compacted") => RecordValidation::Compacted,
                _ => RecordValidation::Full,
            },
            accept_any_replication_factor,
            retention_check_interval_ms: s.long("log.retention.check.interval.ms").unsigned_abs(),
            producer_id_expiration_ms: s.int("producer.id.expiration.ms").into(),
            producer_id_expiration_check_interval_ms: s
                .int("producer.id.expiration.check.interval.ms")
                .unsigned_abs()
                .into(),
            disk_reserve_bytes: u64::try_from(s.long("ottla.disk.reserve.bytes")).ok(),
            max_topics: s.count("ottla.max.topics"),
            max_partitions: s.count("ottla.max.partitions"),
            cleaner: CleanerConfig {
                enabled: s.bool("log.cleaner.enable"),
                backoff_ms: s.long("log.cleaner.backoff.ms").unsigned_abs(),
                dedupe_buffer_bytes: s.count("log.cleaner.dedupe.buffer.size"),
                io_max_bytes_per_second: cleaner_rate(&s),
                ..CleanerConfig::default()
            },
            num_partitions: s.int("num.partitions"),
            default_replication_factor: factor,
            auto_create_topics_enable: s.bool("auto.create.topics.enable"),
            delete_topic_enable: s.bool("delete.topic.enable"),
            max_request_partition_size_limit: s.int("max.request.partition.size.limit"),
            socket_request_max_bytes: s.count("socket.request.max.bytes"),
            socket_listen_backlog_size: s.int("socket.listen.backlog.size"),
            connections_max_idle_ms: s.long("connections.max.idle.ms"),
            queued_max_request_bytes: usize::try_from(s.long("queued.max.request.bytes"))
                .ok()
                .filter(|bytes| *bytes > 0),
            fetch_max_bytes: s.count("fetch.max.bytes"),
            max_incremental_fetch_session_cache_slots: s
                .count("max.incremental.fetch.session.cache.slots"),
            group_min_session_timeout_ms: s.int("group.min.session.timeout.ms"),
            group_max_session_timeout_ms: s.int("group.max.session.timeout.ms"),
            group_initial_rebalance_delay_ms: s.int("group.initial.rebalance.delay.ms"),
            group_max_size: s.count("group.max.size"),
            group_consumer_session_timeout_ms: s.int("group.consumer.session.timeout.ms"),
            group_consumer_heartbeat_interval_ms: s.int("group.consumer.heartbeat.interval.ms"),
            group_consumer_assignment_interval_ms: s.int("group.consumer.assignment.interval.ms"),
            group_consumer_assignors: s
                .list("group.consumer.assignors")
                .map(str::to_owned)
                .collect(),
            group_consumer_regex_refresh_interval_ms: s
                .int("group.consumer.regex.refresh.interval.ms")
                .into(),
            group_consumer_max_size: s.count("group.consumer.max.size"),
            group_consumer_migration_policy: s
                .get("group.consumer.migration.policy")
                .unwrap_or_default()
                .to_owned(),
            offset_metadata_max_bytes: s.count("offset.metadata.max.bytes"),
            offsets_retention_ms: s.long("offsets.retention.minutes") * 60_000,
            offsets_retention_check_interval_ms: s.long("offsets.retention.check.interval.ms"),
            offsets_topic_num_partitions: s.int("offsets.topic.num.partitions"),
            offsets_topic_segment_bytes: s.int("offsets.topic.segment.bytes"),
            settings: s,
        };
        Ok((config, remarks))
    }
}

impl Default for BrokerConfig {
    /// What `ottla` without arguments runs with.
    fn default() -> Self {
        let (config, _) = Self::from_properties(Properties::new())
            .expect("the defaults are valid, a test says so");
        config
    }
}

/// Bytes a second; 0, for no limit, where Kafka's default says so.
fn cleaner_rate(settings: &Settings) -> u64 {
    let rate = settings.get("log.cleaner.io.max.bytes.per.second");
    match rate.and_then(|rate| rate.trim().parse::<f64>().ok()) {
        Some(rate) if (1.0..1e18).contains(&rate) => rate as u64,
        _ => 0,
    }
}

fn metrics_listen(settings: &Settings) -> Result<Option<HostPort>, ConfigError> {
    let key = "ottla.metrics.listen";
    let Some(text) = settings.get(key).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let address = parse_host_port(text);
    let expected = || ConfigError::invalid(settings, key, "expected host:port".to_owned());
    address.map(Some).ok_or_else(expected)
}

fn data_dir(settings: &Settings) -> Result<PathBuf, ConfigError> {
    let key = match settings.get("log.dirs") {
        Some(_) => "log.dirs",
        None => "log.dir",
    };
    let mut dirs = settings.list(key);
    match (dirs.next(), dirs.next()) {
        (Some(dir), None) => Ok(PathBuf::from(dir)),
        (Some(_), Some(_)) => {
            let expected = "expected one directory; Ottla keeps all data in one".to_owned();
            Err(ConfigError::invalid(settings, key, expected))
        }
        _ => {
            let expected = "expected a directory".to_owned();
            Err(ConfigError::invalid(settings, key, expected))
        }
    }
}
