//! What each key means, and what is said about one that means nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinators::group::{GroupConfig, MigrationPolicy};
use storage::local::LocalConfig;
use storage::log::{CleanerConfig, Durability, LiveConfig, LogConfig};

use super::broker_keys::{broker_config, broker_configs};
use super::properties::parse_properties;
use super::topic::{TOPIC_CONFIGS, topic_config, validate_topic_config};
use super::*;

mod dynamic;
mod environment;
mod login;
mod protection;
mod tls;

fn properties(text: &str) -> Properties {
    parse_properties(text.as_bytes()).expect("properties syntax")
}

fn config(text: &str) -> BrokerConfig {
    let (config, remarks) = BrokerConfig::from_properties(properties(text)).expect(text);
    assert_eq!(remarks, [], "{text}");
    config
}

fn remarks(text: &str) -> Vec<Remark> {
    BrokerConfig::from_properties(properties(text))
        .expect(text)
        .1
}

fn refusal(text: &str) -> String {
    let refused = BrokerConfig::from_properties(properties(text));
    refused.expect_err(text).to_string()
}

/// A topic's configuration on a broker with these properties.
fn topic_on(broker: &str, topic: &[(&str, &str)]) -> Arc<TopicConfig> {
    let overrides: BTreeMap<String, String> = topic
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let settings = config(broker).settings;
    TopicDefaults::new(&settings, DynamicSettings::none()).under(&overrides)
}

#[test]
fn properties_are_read_as_java_reads_them() {
    for (text, key, value) in [
        ("a=1\na=2", "a", "2"),
        ("a = 1 ", "a", "1"),
        ("a: 1", "a", "1"),
        ("a 1", "a", "1"),
        ("# comment\n! comment\n\na=1", "a", "1"),
        ("a=1,\\\n   2", "a", "1,2"),
        ("a\\ b=1", "a b", "1"),
        ("a=\\u0041", "a", "A"),
        ("a=x=y:z", "a", "x=y:z"),
        ("a", "a", ""),
        ("a=1\r\nb=2\r\n", "a", "1"),
    ] {
        assert_eq!(
            properties(text).get(key).map(String::as_str),
            Some(value),
            "{text:?}"
        );
    }
}

#[test]
fn a_line_that_is_not_properties_syntax_is_named() {
    assert_eq!(
        parse_properties(b"a=1\nb=\\uXYZW").map_err(|(line, _)| line),
        Err(2)
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = read_properties(std::path::Path::new("/no/such.properties"));
    let error = error.expect_err("no file").to_string();
    assert!(
        error.starts_with("cannot read /no/such.properties: "),
        "{error}"
    );
}

#[test]
fn the_defaults_are_kafkas() {
    let config = BrokerConfig::default();
    assert_eq!(config.node_id, 1);
    assert_eq!(config.new_topics.num_partitions, 1);
    assert_eq!(config.new_topics.default_replication_factor, 1);
    assert!(config.new_topics.auto_create_topics_enable);
    assert!(config.new_topics.delete_topic_enable);
    assert_eq!(config.serving.socket_request_max_bytes, 104_857_600);
    assert_eq!(config.serving.connections_max_idle_ms, 600_000);
    let connections: ConnectionSettings = config.section();
    assert_eq!(
        (connections.max, connections.max_per_ip),
        (2_147_483_647, 2_147_483_647)
    );
    assert_eq!(connections.overrides, []);
    assert_eq!(config.serving.fetch_max_bytes, 57_671_680);
    assert_eq!(
        config.serving.max_incremental_fetch_session_cache_slots,
        1000
    );
    let groups: GroupConfig = config.section();
    assert_eq!(groups, GroupConfig::default());
    assert_eq!(groups.min_session_timeout_ms, 6000);
    assert_eq!(groups.max_session_timeout_ms, 1_800_000);
    assert_eq!(groups.offset_metadata_max_bytes, 4096);
    assert_eq!(groups.offsets_retention_ms, 7 * 86_400_000);
    assert_eq!(config.new_topics.offsets_topic_num_partitions, 50);
    assert_eq!(config.new_topics.offsets_topic_segment_bytes, 104_857_600);
    assert_eq!(config.serving.queued_max_request_bytes, None);
    assert_eq!(config.engine().durability, Durability::Strict);
}

#[test]
fn a_topic_without_settings_has_kafkas_defaults() {
    let topic = topic_on("", &[]);
    let expected = LogConfig {
        durability: Some(Durability::Strict),
        ..LogConfig::default()
    };
    assert_eq!(*topic.log, expected);
    assert_eq!(topic.max_message_bytes, 1_048_588);
    assert_eq!(topic.message_timestamp_type, TimestampType::CreateTime);
    assert_eq!(topic.message_timestamp_before_max_ms, i64::MAX);
    assert_eq!(topic.message_timestamp_after_max_ms, 3_600_000);
    assert_eq!(topic.compression_type, CompressionType::Producer);
    assert_eq!(topic.min_insync_replicas, 1);
}

#[test]
fn settings_of_groups_have_to_agree_with_each_other() {
    for (text, expected) in [
        (
            "group.consumer.session.timeout.ms=44999",
            "Invalid value 44999 for configuration group.consumer.session.timeout.ms: group.consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
        ),
        (
            "group.consumer.heartbeat.interval.ms=15001",
            "Invalid value 15001 for configuration group.consumer.heartbeat.interval.ms: group.consumer.heartbeat.interval.ms must be less than or equal to group.consumer.max.heartbeat.interval.ms",
        ),
        (
            "group.consumer.min.session.timeout.ms=1\ngroup.consumer.session.timeout.ms=5000",
            "Invalid value 5000 for configuration group.consumer.heartbeat.interval.ms: group.consumer.heartbeat.interval.ms must be less than group.consumer.session.timeout.ms",
        ),
        (
            "group.consumer.assignment.interval.ms=15001",
            "Invalid value 15001 for configuration group.consumer.assignment.interval.ms: group.consumer.assignment.interval.ms must be less than or equal to group.consumer.max.assignment.interval.ms",
        ),
        (
            "group.max.session.timeout.ms=5000",
            "Invalid value 5000 for configuration group.max.session.timeout.ms: group.max.session.timeout.ms must be greater than or equal to group.min.session.timeout.ms",
        ),
    ] {
        assert_eq!(refusal(text), expected);
    }
}

#[test]
fn a_migration_policy_may_be_written_in_any_case_and_must_be_one() {
    let config = config("group.consumer.migration.policy=UpGrade");
    let groups: GroupConfig = config.section();
    assert_eq!(groups.migration_policy, MigrationPolicy::Upgrade);
    let refused = refusal("group.consumer.migration.policy=sideways");
    assert!(refused.contains("BIDIRECTIONAL"), "{refused}");
}

#[test]
fn an_invalid_value_is_refused_with_key_value_and_what_was_expected() {
    for (text, expected) in [
        (
            "num.partitions=x",
            "Invalid value x for configuration num.partitions: Not a number of type INT",
        ),
        (
            "num.partitions=0",
            "Invalid value 0 for configuration num.partitions: Value must be at least 1",
        ),
        (
            "num.partitions=",
            "Invalid value  for configuration num.partitions: Not a number of type INT",
        ),
        (
            "num.partitions=3000000000",
            "Invalid value 3000000000 for configuration num.partitions: Not a number of type INT",
        ),
        (
            "auto.create.topics.enable=yes",
            "Invalid value yes for configuration auto.create.topics.enable: Expected value to be either true or false",
        ),
        (
            "log.cleanup.policy=delete,x",
            "Invalid value x for configuration log.cleanup.policy: String must be one of: compact, delete",
        ),
        (
            "ottla.durability=fast",
            "Invalid value fast for configuration ottla.durability: String must be one of: strict, os",
        ),
        (
            "log.retention.hours=0",
            "Invalid value 0 for configuration log.retention.hours: must be unlimited (-1) or at least 1",
        ),
        (
            "log.roll.ms=0",
            "Invalid value 0 for configuration log.roll.ms: Value must be at least 1",
        ),
        // A key without effect is checked all the same: a typo is a typo.
        (
            "num.io.threads=many",
            "Invalid value many for configuration num.io.threads: Not a number of type INT",
        ),
        (
            "log.dirs=/a,/b",
            "Invalid value /a,/b for configuration log.dirs: expected one directory; Ottla keeps all data in one",
        ),
        (
            "process.roles=controller",
            "Invalid value controller for configuration process.roles: expected broker among the roles, as in broker,controller",
        ),
        (
            "default.replication.factor=3",
            "Invalid value 3 for configuration default.replication.factor: a single node stores one copy: expected 1, or ottla.accept.any.replication.factor=true",
        ),
    ] {
        assert_eq!(refusal(text), expected);
    }
}

#[test]
fn log_dirs_wins_over_log_dir_and_empty_means_unset() {
    let dir = |text: &str| config(text).data_dir.display().to_string();
    assert_eq!(dir(""), "ottla-data");
    assert_eq!(dir("log.dir=/a"), "/a");
    assert_eq!(dir("log.dir=/a\nlog.dirs=/b"), "/b");
    assert_eq!(dir("log.dir=/a\nlog.dirs="), "/a");
}

#[test]
fn broker_id_is_the_older_name_of_node_id() {
    assert_eq!(config("broker.id=7").node_id, 7);
    assert_eq!(config("broker.id=7\nnode.id=8").node_id, 8);
}

#[test]
fn a_listener_advertises_itself_unless_told_otherwise() {
    let told = |text: &str| -> Vec<(String, String, String)> {
        let listeners = config(text).listeners.into_iter();
        listeners
            .map(|l| (l.name, l.bind.to_string(), l.advertised.to_string()))
            .collect()
    };
    let row = |name: &str, bind: &str, advertised: &str| {
        (name.to_owned(), bind.to_owned(), advertised.to_owned())
    };
    assert_eq!(
        told(""),
        [row("PLAINTEXT", "localhost:9092", "localhost:9092")]
    );
    assert_eq!(
        told("listeners=plaintext://[::1]:1"),
        [row("PLAINTEXT", "[::1]:1", "[::1]:1")]
    );
    assert_eq!(
        told("listeners=PLAINTEXT://0.0.0.0:1\nadvertised.listeners=PLAINTEXT://kafka.example:2"),
        [row("PLAINTEXT", "0.0.0.0:1", "kafka.example:2")]
    );
    assert_eq!(
        told(
            "listeners=IN://:1,OUT://:2\nadvertised.listeners=OUT://b:9,IN://a:8\n\
              listener.security.protocol.map=IN:PLAINTEXT,OUT:plaintext"
        ),
        [row("IN", ":1", "a:8"), row("OUT", ":2", "b:9")]
    );
}

#[test]
fn a_listener_that_nobody_can_use_is_refused() {
    for (text, expected) in [
        ("listeners=", "must not be empty"),
        ("listeners=garbage", "expected NAME://host:port"),
        ("listeners=PLAINTEXT://:99999", "expected NAME://host:port"),
        ("listeners=PLAINTEXT://a b:1", "expected NAME://host:port"),
        (
            "listeners=FOO://:1",
            "No security protocol defined for listener FOO",
        ),
        (
            "listeners=PLAINTEXT://:1,PLAINTEXT://:2",
            "Each listener must have a different name",
        ),
        (
            "listeners=A://h:1,B://h:1\nlistener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT",
            "h:1 is listed twice",
        ),
        (
            "listeners=SSL://:1",
            "listener SSL, ssl.keystore.location: the listener is to encrypt, and there is no certificate",
        ),
        (
            "listeners=A://:1\nlistener.security.protocol.map=A:SASL_SSL",
            "listener A asks for a log-in",
        ),
        (
            "listener.security.protocol.map=A:FOO",
            "Invalid security protocol `FOO`",
        ),
        (
            "listeners=PLAINTEXT://0.0.0.0:1",
            "clients cannot connect to 0.0.0.0:1",
        ),
        (
            "advertised.listeners=PLAINTEXT://0.0.0.0:1",
            "clients cannot connect to 0.0.0.0:1",
        ),
        (
            "advertised.listeners=OTHER://h:1",
            "OTHER is not among the listeners",
        ),
    ] {
        let refused = refusal(text);
        assert!(refused.contains(expected), "{text}: {refused}");
    }
}

#[test]
fn milliseconds_win_over_minutes_and_minutes_over_hours() {
    let retention_ms = |text: &str| topic_on(text, &[]).log.retention_ms;
    assert_eq!(retention_ms("log.retention.hours=2"), 7_200_000);
    assert_eq!(
        retention_ms("log.retention.hours=2\nlog.retention.minutes=3"),
        180_000
    );
    assert_eq!(
        retention_ms("log.retention.hours=2\nlog.retention.minutes=3\nlog.retention.ms=4"),
        4
    );
    assert_eq!(retention_ms("log.retention.ms=-1"), -1);
    assert_eq!(retention_ms("log.retention.hours=-1"), -1);
    assert_eq!(topic_on("log.roll.hours=1", &[]).log.segment_ms, 3_600_000);
    assert_eq!(
        topic_on("log.roll.hours=1\nlog.roll.ms=5", &[])
            .log
            .segment_ms,
        5
    );
    let flush_ms = |text: &str| topic_on(text, &[]).log.flush_ms;
    assert_eq!(flush_ms("log.flush.scheduler.interval.ms=6"), 6);
    assert_eq!(
        flush_ms("log.flush.scheduler.interval.ms=6\nlog.flush.interval.ms=7"),
        7
    );
}

#[test]
fn a_topics_own_setting_wins_over_the_brokers() {
    let broker = "log.segment.bytes=2097152\nlog.cleanup.policy=compact\ncompression.type=gzip\n\
                  message.max.bytes=5000\nottla.durability=os";
    let inherited = topic_on(broker, &[]);
    assert_eq!(inherited.log.segment_bytes, 2_097_152);
    assert!(inherited.log.compact && !inherited.log.delete);
    assert_eq!(
        inherited.compression_type,
        CompressionType::Gzip { level: -1 }
    );
    assert_eq!(inherited.max_message_bytes, 5000);
    assert_eq!(inherited.log.durability, Some(Durability::Os));

    let own = topic_on(
        broker,
        &[
            ("segment.bytes", "1048576"),
            ("cleanup.policy", "compact, delete"),
            ("compression.type", "zstd"),
            ("compression.zstd.level", "7"),
            ("max.message.bytes", "6000"),
            ("ottla.durability", "strict"),
        ],
    );
    assert_eq!(own.log.segment_bytes, 1_048_576);
    assert!(own.log.compact && own.log.delete);
    assert_eq!(own.compression_type, CompressionType::Zstd { level: 7 });
    assert_eq!(own.max_message_bytes, 6000);
    assert_eq!(own.log.durability, Some(Durability::Strict));
}

#[test]
fn a_dynamic_setting_wins_over_a_static_one_and_this_broker_over_all() {
    let settings = config("log.retention.hours=1").settings;
    let one = |value: &str| BTreeMap::from([("log.retention.ms".to_owned(), value.to_owned())]);
    let (mine, all, none) = (one("10"), one("20"), BTreeMap::new());
    let retention_ms = |per_broker, cluster_wide| {
        let dynamic = DynamicSettings {
            per_broker,
            cluster_wide,
        };
        TopicDefaults::new(&settings, dynamic)
            .config
            .log
            .retention_ms
    };
    assert_eq!(retention_ms(&none, &none), 3_600_000);
    assert_eq!(retention_ms(&none, &all), 20);
    assert_eq!(retention_ms(&mine, &all), 10);
}

#[test]
fn the_topic_table_is_sorted_and_names_only_known_broker_keys() {
    assert!(TOPIC_CONFIGS.is_sorted_by_key(|row| row.def.name));
    for row in TOPIC_CONFIGS.iter() {
        assert!(topic_config(row.def.name).is_some());
        for synonym in row.synonyms {
            let known = broker_config(synonym.broker_key);
            assert!(known.is_some(), "{}", synonym.broker_key);
        }
        if let Some(default) = row.def.default {
            assert_eq!(row.def.check(default), Ok(()));
        }
    }
}

#[test]
fn a_topics_default_is_that_of_its_broker_key() {
    let settings = BrokerConfig::default().settings;
    for row in TOPIC_CONFIGS.iter().filter(|row| row.def.default.is_some()) {
        let (value, _) = settings.topic_default(row, DynamicSettings::none());
        assert_eq!(value.as_deref(), row.def.default, "{}", row.def.name);
    }
}

#[test]
fn a_wrong_topic_setting_is_refused_in_kafkas_words() {
    for (key, value, expected) in [
        (
            "retention.ms",
            "abc",
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (
            "retention.ms",
            "-5",
            "Invalid value -5 for configuration retention.ms: Value must be at least -1",
        ),
        (
            "cleanup.policy",
            "foo",
            "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        ("foo.bar", "1", "Unknown topic config name: foo.bar"),
        (
            "min.cleanable.dirty.ratio",
            "1.5",
            "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
        ),
        (
            "min.cleanable.dirty.ratio",
            "NaN",
            "Invalid value NaN for configuration min.cleanable.dirty.ratio: Not a number of type DOUBLE",
        ),
        (
            "segment.bytes",
            "100",
            "Invalid value 100 for configuration segment.bytes: Value must be at least 1048576",
        ),
        (
            "compression.gzip.level",
            "0",
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
        ),
        (
            "compression.zstd.level",
            "23",
            "Invalid value 23 for configuration compression.zstd.level: Value must be no more than 22",
        ),
        (
            "message.timestamp.type",
            "x",
            "Invalid value x for configuration message.timestamp.type: String must be one of: CreateTime, LogAppendTime",
        ),
        (
            "leader.replication.throttled.replicas",
            "x",
            "Invalid value [x] for configuration leader.replication.throttled.replicas: leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
        ),
        (
            "remote.storage.enable",
            "true",
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.",
        ),
    ] {
        let overrides = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let refused = validate_topic_config(&overrides).expect_err(key);
        assert_eq!(refused.to_string(), expected);
    }
}

#[test]
fn what_kafka_accepts_in_a_topic_setting_is_accepted() {
    for (key, value) in [
        ("cleanup.policy", ""),
        ("cleanup.policy", "compact,delete"),
        ("preallocate", "TRUE"),
        ("max.message.bytes", " 100 "),
        ("retention.bytes", "-100"),
        ("min.insync.replicas", "2"),
        ("leader.replication.throttled.replicas", "0:1,1:1"),
        ("leader.replication.throttled.replicas", "*"),
        ("internal.segment.bytes", "1000"),
    ] {
        let overrides = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert_eq!(validate_topic_config(&overrides), Ok(()), "{key}={value}");
    }
}

#[test]
fn a_record_is_not_kept_from_compaction_for_longer_than_it_may_wait() {
    let overrides = [
        ("min.compaction.lag.ms", "100"),
        ("max.compaction.lag.ms", "50"),
    ];
    let overrides = overrides.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let refused = validate_topic_config(&overrides.into()).expect_err("conflict");
    assert_eq!(
        refused.to_string(),
        "conflict topic config setting min.compaction.lag.ms (100) > max.compaction.lag.ms (50)"
    );
}

#[test]
fn the_engine_goes_by_its_own_defaults_where_nothing_is_set() {
    let config = BrokerConfig::default();
    // What cannot be compared is not read from the settings.
    let shown = |engine: &LocalConfig| {
        let known = (
            engine.durability,
            engine.wal_ring_bytes,
            engine.open_files_max,
        );
        let intervals_ms = (
            engine.retention_check_interval_ms,
            engine.initial_task_delay_ms,
            engine.producer_id_expiration_check_interval_ms,
        );
        let live = engine.live.clone();
        (known, intervals_ms, engine.disk_reserve_bytes, live)
    };
    assert_eq!(shown(&config.engine()), shown(&LocalConfig::new("")));
}

/// Values that may pass a row's check and be more than the code can hold.
const EXTREMES: &[&str] = &[
    "-1",
    "0",
    "1",
    "5",
    "0.5",
    "1e400",
    "-1e400",
    "32768",
    "-32768",
    "2147483647",
    "-2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    " 7 ",
    "true",
    "FALSE",
    "",
    "x",
    "a:1",
    "a,b",
    "x, y",
    "range",
    "Upgrade",
    "compact",
    "delete,compact",
    "lz4",
    "LogAppendTime",
    "os",
    "full",
];

#[test]
fn whatever_passes_the_check_of_its_row_can_be_read() {
    for row in broker_configs().values().filter(|row| !row.unused) {
        for value in EXTREMES.iter().filter(|value| row.check(value).is_ok()) {
            let one = BTreeMap::from([(row.name.to_owned(), (*value).to_owned())]);
            let settings = Settings::unchecked(one.clone());
            let mut dynamic = DynamicSettings::none();
            dynamic.per_broker = &one;
            for dynamic in [DynamicSettings::none(), dynamic] {
                settings.section::<super::serving::ServingConfig>(dynamic);
                settings.section::<super::new_topics::NewTopicsConfig>(dynamic);
                settings.section::<ConnectionSettings>(dynamic);
                settings.section::<GroupConfig>(dynamic);
                settings.section::<LocalConfig>(dynamic);
                settings.section::<CleanerConfig>(dynamic);
                settings.section::<LiveConfig>(dynamic);
                TopicDefaults::new(&settings, dynamic);
            }
        }
    }
    let defaults = TopicDefaults::new(&Settings::default(), DynamicSettings::none());
    for row in TOPIC_CONFIGS.iter() {
        for value in EXTREMES {
            let one = BTreeMap::from([(row.def.name.to_owned(), (*value).to_owned())]);
            defaults.under(&one);
        }
    }
}

#[test]
fn a_value_that_no_check_has_seen_counts_as_the_default() {
    let wrong = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let settings = Settings::default();
    let connections = wrong("max.connections", "many");
    let dynamic = DynamicSettings {
        per_broker: &connections,
        cluster_wide: &BTreeMap::new(),
    };
    let read: ConnectionSettings = settings.section(dynamic);
    assert_eq!(read.max, 2_147_483_647);
    let defaults = TopicDefaults::new(&settings, DynamicSettings::none());
    let topic = defaults.under(&wrong("segment.bytes", "x"));
    assert_eq!(topic.log.segment_bytes, 1 << 30);
}
