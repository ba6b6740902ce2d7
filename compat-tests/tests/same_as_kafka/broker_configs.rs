//! What may be changed of a broker's configs while it runs: every key that Kafka has, with values that are right,
//! out of range and nonsense, for one broker and for all, in every way there is to change it.
//!
//! Only error codes are of interest; nothing but the last scenario leaves anything changed.

use anyhow::{Context as _, Result};
use compat_tests::java::KafkaTools;
use compat_tests::scenario::{Talk, string};
use compat_tests::toolchain::available;
use kafka_protocol::messages::alter_configs_request as legacy;
use kafka_protocol::messages::incremental_alter_configs_request as incremental;
use kafka_protocol::messages::{AlterConfigsRequest, IncrementalAlterConfigsRequest};

use super::configs::{BROKER, describe_request, resource};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// The broker itself, and all brokers.
const NAMES: [&str; 2] = ["1", ""];

/// Kafka's own definitions, a key a line: name, type, update mode, rule, default.
const KEYS: &str = include_str!("../../../broker/src/config/kafka_keys.txt");

struct Key {
    name: &'static str,
    kind: &'static str,
    mode: &'static str,
    default: Option<&'static str>,
}

fn keys() -> impl Iterator<Item = Key> {
    KEYS.lines().map(|line| {
        let mut fields = line.splitn(5, ' ');
        let mut next = || fields.next().unwrap_or_default();
        let (name, kind, mode, _rule, default) = (next(), next(), next(), next(), next());
        let default = Some(default).filter(|default| *default != "-");
        Key {
            name,
            kind,
            mode,
            default,
        }
    })
}

impl Key {
    /// Right, out of range, nonsense; of what cannot change at all two are enough.
    fn values(&self) -> Vec<String> {
        let values: &[&str] = match self.kind {
            "INT" => &[
                "x",
                "",
                "-2",
                "-1",
                "0",
                "1",
                "3",
                " 7 ",
                "2147483647",
                "2147483648",
            ],
            "LONG" => &[
                "x",
                "",
                "-3",
                "-1",
                "0",
                "1",
                "1048576",
                "9223372036854775807",
                "1e3",
            ],
            "SHORT" => &["x", "", "-1", "0", "1", "32768"],
            "DOUBLE" => &["x", "", "-1", "0", "0.5", "1", "2"],
            "BOOLEAN" => &["x", "", "true", "FALSE", "yes"],
            "LIST" => &["x", "", "x,y", "x,x", "x,,y", ","],
            _ => &["x", "", "x:1", "org.example.NoSuchClass"],
        };
        let count = if self.mode.starts_with("read-only") {
            1
        } else {
            values.len()
        };
        let mut all: Vec<String> = values[..count]
            .iter()
            .map(|value| (*value).to_owned())
            .collect();
        all.extend(self.default.map(str::to_owned));
        // Of what counts threads: twice as many and one more, half and one less.
        if let (Some(Ok(number @ 2..1_000_000)), "INT", "cluster-wide") =
            (self.default.map(str::parse::<i64>), self.kind, self.mode)
        {
            let around = [number * 2, number * 2 + 1, number / 2, number / 2 - 1];
            all.extend(around.iter().map(ToString::to_string));
        }
        all.sort();
        all.dedup();
        all
    }
}

/// Changes one key, or asks whether it could be changed.
fn one(
    name: &str,
    key: &str,
    operation: i8,
    value: Option<&str>,
    validate_only: bool,
) -> IncrementalAlterConfigsRequest {
    let config = incremental::AlterableConfig::default()
        .with_name(string(key))
        .with_config_operation(operation)
        .with_value(value.map(string));
    let resource = incremental::AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(string(name))
        .with_configs(vec![config]);
    IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource])
        .with_validate_only(validate_only)
}

fn replace(name: &str, configs: &[(&str, &str)]) -> AlterConfigsRequest {
    let config = |(key, value): &(&str, &str)| {
        legacy::AlterableConfig::default()
            .with_name(string(key))
            .with_value(Some(string(value)))
    };
    let resource = legacy::AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(string(name))
        .with_configs(configs.iter().map(config).collect());
    AlterConfigsRequest::default()
        .with_resources(vec![resource])
        .with_validate_only(true)
}

fn who(name: &str) -> &str {
    if name.is_empty() { "all" } else { "one" }
}

pub fn set(talk: &mut Talk<'_>) -> Result<()> {
    for key in keys() {
        for value in key.values() {
            for name in NAMES {
                let what = format!("{} {}={value:?}", who(name), key.name);
                talk.ask(&what, 1, &one(name, key.name, SET, Some(&value), true))?;
            }
        }
    }
    Ok(())
}

/// AlterConfigs says what a resource has, and nothing else: `min.insync.replicas` is of all brokers.
pub fn replace_all(talk: &mut Talk<'_>) -> Result<()> {
    for key in keys().filter(|key| key.name != "min.insync.replicas") {
        for value in key.values() {
            let what = format!("one {}={value:?}", key.name);
            talk.ask(&what, 2, &replace("1", &[(key.name, &value)]))?;
            let what = format!("all {}={value:?}", key.name);
            let all = [(key.name, value.as_str()), ("min.insync.replicas", "1")];
            talk.ask(&what, 2, &replace("", &all))?;
        }
    }
    for name in NAMES {
        talk.ask(&format!("{} nothing", who(name)), 2, &replace(name, &[]))?;
        let lone = [("min.insync.replicas", "2")];
        talk.ask(&format!("{} in sync", who(name)), 2, &replace(name, &lone))?;
    }
    Ok(())
}

pub fn edit(talk: &mut Talk<'_>) -> Result<()> {
    for key in keys() {
        let item = key.default.filter(|default| !default.is_empty());
        let item = item.map_or("x", |default| default.split(',').next().unwrap_or(default));
        let operations = [
            ("delete", DELETE, None),
            ("append", APPEND, Some("x")),
            ("append what is there", APPEND, Some(item)),
            ("subtract", SUBTRACT, Some(item)),
            ("subtract what is not there", SUBTRACT, Some("x")),
        ];
        // Of what cannot change at all, and is no list, the first two say everything.
        let few = key.mode.starts_with("read-only") && key.kind != "LIST";
        for name in NAMES {
            for (verb, operation, value) in operations.iter().take(if few { 2 } else { 5 }) {
                let what = format!("{} {verb} {}", who(name), key.name);
                talk.ask(&what, 1, &one(name, key.name, *operation, *value, true))?;
            }
        }
    }
    Ok(())
}

/// Keys for one listener, and keys that nobody knows.
#[rustfmt::skip] // a table
const OTHER_KEYS: &[(&str, &[&str])] = &[
    ("no.such", &["1", ""]),
    ("", &["1"]),
    ("listener.name.", &["1"]),
    ("listener.name.plaintext", &["1"]),
    ("listener.name.plaintext.no.such", &["1"]),
    ("listener.name.other.no.such", &["1"]),
    ("listener.name.plaintext.max.connections", &["x", "0", ""]),
    ("listener.name.plaintext.max.connection.creation.rate", &["x", "0", "-1"]),
    ("listener.name.plaintext.num.network.threads", &["x", "0", "1", "3", "6", "7"]),
    ("listener.name.other.num.network.threads", &["x", "3"]),
    ("listener.name.plaintext.num.io.threads", &["x", "8", "999"]),
    ("listener.name.plaintext.num.partitions", &["x", "8"]),
    ("listener.name.plaintext.log.retention.ms", &["x", "5"]),
    ("listener.name.plaintext.ssl.client.auth", &["x", "none"]),
    ("listener.name.plaintext.ssl.keystore.type", &["JKS"]),
    ("listener.name.plaintext.ssl.enabled.protocols", &["TLSv1.2,TLSv1.2"]),
    ("listener.name.plaintext.principal.builder.class", &["x"]),
    ("max.connections.per.ip.overrides", &["127.0.0.1:x", "127.0.0.1"]),
    ("config.providers", &["x,x"]),
    ("log.roll.ms", &["${file:x:y}"]),
];

pub fn others(talk: &mut Talk<'_>) -> Result<()> {
    for (key, values) in OTHER_KEYS {
        for name in NAMES {
            for value in *values {
                let what = format!("{} {key:?}={value:?}", who(name));
                talk.ask(&what, 1, &one(name, key, SET, Some(value), true))?;
            }
            for (verb, operation, value) in [
                ("delete", DELETE, None),
                ("append", APPEND, Some("x")),
                ("subtract", SUBTRACT, Some("x")),
            ] {
                let what = format!("{} {verb} {key:?}", who(name));
                talk.ask(&what, 1, &one(name, key, operation, value, true))?;
            }
        }
    }
    Ok(())
}

/// What is told about a key that was changed, and that it is gone when it is deleted.
pub fn change_and_describe(talk: &mut Talk<'_>) -> Result<()> {
    for (key, value) in [
        ("log.retention.ms", "86400000"),
        ("log.cleanup.policy", "compact,delete"),
        ("num.io.threads", "9"),
        ("leader.replication.throttled.rate", "1000"),
        ("group.consumer.assignor.offload.enable", "false"),
        ("ssl.endpoint.identification.algorithm", ""),
        ("min.insync.replicas", "2"),
        ("no.such", "1"),
        ("listener.name.plaintext.no.such", "1"),
        ("listener.name.plaintext.num.network.threads", "4"),
        ("listener.name.plaintext.log.retention.ms", "5"),
        ("listener.name.plaintext.ssl.client.auth", "none"),
        ("listener.name.plaintext.ssl.key.password", ""),
        ("listener.name.plaintext.plain.sasl.jaas.config", ""),
    ] {
        for name in NAMES {
            let label = format!("{} {key}", who(name));
            let set = talk.ask(&label, 1, &one(name, key, SET, Some(value), false))?;
            if set.responses[0].error_code != 0 {
                continue;
            }
            let described = describe_request(4, vec![resource(BROKER, "1", Some(&[key]))]);
            let source = if name.is_empty() { 3 } else { 2 };
            talk.settle(&label, |talk| {
                let response = talk.quietly(4, &described)?;
                let found = response.results[0].configs.first();
                Ok(found.is_some_and(|config| {
                    let seen = config.value.as_deref();
                    config.config_source == source && seen.is_none_or(|seen| seen == value)
                }))
            })?;
            talk.ask(&label, 4, &described)?;
            let all = describe_request(4, vec![resource(BROKER, "", None)]);
            talk.ask(&format!("{label}, for all"), 4, &all)?;
            // `min.insync.replicas` of all brokers can be changed, not deleted.
            let undo = match (key, name) {
                ("min.insync.replicas", _) => one(name, key, SET, Some("1"), false),
                _ => one(name, key, DELETE, None, false),
            };
            let undone = talk.ask(&format!("{label}, undone"), 1, &undo)?;
            anyhow::ensure!(undone.responses[0].error_code == 0, "{label} stays changed");
            talk.settle(&label, |talk| {
                let response = talk.quietly(4, &described)?;
                let found = response.results[0].configs.first();
                let value_is_old = |config: &kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult| {
                    config.config_source != source || config.value.as_deref() == Some("1")
                };
                Ok(found.is_none_or(value_is_old))
            })
            .context("after it was undone")?;
        }
    }
    Ok(())
}

#[test]
fn kafkas_keys_are_what_its_own_definitions_say() -> Result<()> {
    let Some(tools) = available(KafkaTools::new())? else {
        return Ok(());
    };
    let defined = tools.run("BrokerKeys", &[])?;
    for (ours, kafkas) in KEYS.lines().zip(defined.lines()) {
        assert_eq!(ours, kafkas, "broker/src/config/kafka_keys.txt");
    }
    assert_eq!(KEYS.lines().count(), defined.lines().count());
    Ok(())
}

/// The image apache/kafka has its mapping in Kafka's own jar.
#[test]
fn variables_become_the_keys_that_kafkas_image_makes_of_them() -> Result<()> {
    let Some(tools) = available(KafkaTools::new())? else {
        return Ok(());
    };
    let variables = [
        ("KAFKA_NODE_ID", "1"),
        (
            "KAFKA_ADVERTISED_LISTENERS",
            "PLAINTEXT://kafka:29092,SASL_SSL://localhost:9092",
        ),
        (
            "KAFKA_LISTENERS",
            "PLAINTEXT://:29092,SASL_SSL://:9092,CONTROLLER://:9093",
        ),
        (
            "KAFKA_LISTENER_NAME_SASL__SSL_SCRAM-SHA-256_SASL_JAAS_CONFIG",
            "a.B required x=\"y\";",
        ),
        (
            "KAFKA_LISTENER_NAME_SASL__SSL_SCRAM___SHA___512_SASL_JAAS_CONFIG",
            "a.B required \\\n  x=y;",
        ),
        ("KAFKA_A__B", "x"),
        ("KAFKA_A___B", " y "),
        ("KAFKA_A____B", "c:\\dir"),
        ("KAFKA_A_____B", "5"),
        ("KAFKA_KAFKA_X", "KAFKA_X"),
        ("KAFKA_log_dirs", "/x"),
        ("KAFKA_EMPTY", ""),
        ("KAFKA_TWO", "a\nc=d"),
        ("KAFKA_HASH", "#a#b!"),
        ("KAFKA_ESCAPED", "\\u0041\\t\\q"),
        ("KAFKA_VERSION", "4"),
        ("KAFKA_HEAP_OPTS", "-Xmx1g"),
        ("KAFKA_LOG4J_OPTS", "x"),
        ("KAFKA_OPTS", "x"),
        ("KAFKA_JMX_OPTS", "x"),
        ("KAFKA_JVM_PERFORMANCE_OPTS", "x"),
        ("KAFKA_GC_LOG_OPTS", "x"),
        ("KAFKA_LOG4J_ROOT_LOGLEVEL", "INFO"),
        ("KAFKA_LOG4J_LOGGERS", "x"),
        ("KAFKA_TOOLS_LOG4J_LOGLEVEL", "INFO"),
        ("KAFKA_JMX_HOSTNAME", "x"),
        ("KAFKAESQUE", "x"),
        ("HOME", "/x"),
    ];
    let pairs: Vec<String> = variables
        .map(|(name, value)| format!("{name}={value}"))
        .into();
    let pairs: Vec<&str> = pairs.iter().map(String::as_str).collect();
    let kafkas = tools.run("KafkaEnvironment", &pairs)?;
    let no_file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let ours = broker::config::Environment::of(variables).kafka(None, &no_file)?;
    let ours = ours
        .properties
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    assert_eq!(ours.collect::<Vec<_>>(), kafkas.lines().collect::<Vec<_>>());
    Ok(())
}
