//! DescribeConfigs, AlterConfigs and IncrementalAlterConfigs.

use anyhow::Result;
use compat_tests::scenario::{Talk, string};
use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request as incremental;
use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
};

const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

pub fn resource(resource_type: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(string(name))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| string(key)).collect()))
}

pub fn describe_request(
    version: i16,
    resources: Vec<DescribeConfigsResource>,
) -> DescribeConfigsRequest {
    DescribeConfigsRequest::default()
        .with_resources(resources)
        .with_include_synonyms(true)
        .with_include_documentation(version >= 3)
}

pub fn describe(talk: &mut Talk<'_>) -> Result<()> {
    talk.create_topic("configs-plain", 1)?;
    let changed = kafka_protocol::messages::create_topics_request::CreatableTopic::default()
        .with_name(string("configs-changed").into())
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(vec![
            super::topics::config("retention.ms", Some("1000")),
            super::topics::config("cleanup.policy", Some("compact")),
            super::topics::config("internal.segment.bytes", Some("2000000")),
        ]);
    talk.create(changed)?;
    for version in 1..=4 {
        let mut ask = |what: &str, resources| {
            talk.ask(what, version, &describe_request(version, resources))
                .map(|_| ())
        };
        ask("topic", vec![resource(TOPIC, "configs-plain", None)])?;
        ask(
            "changed topic",
            vec![resource(TOPIC, "configs-changed", None)],
        )?;
        ask(
            "some keys",
            vec![resource(
                TOPIC,
                "configs-changed",
                Some(&["retention.ms", "flush.ms"]),
            )],
        )?;
        ask(
            "unknown key",
            vec![resource(
                TOPIC,
                "configs-changed",
                Some(&["retention.ms", "no.such"]),
            )],
        )?;
        ask(
            "empty keys",
            vec![resource(TOPIC, "configs-plain", Some(&[]))],
        )?;
        ask("none", vec![])?;
        ask(
            "twice",
            vec![
                resource(TOPIC, "configs-plain", Some(&["flush.ms"])),
                resource(TOPIC, "configs-plain", Some(&["flush.ms"])),
            ],
        )?;
        ask(
            "unknown topic",
            vec![resource(TOPIC, "configs-unknown", None)],
        )?;
        ask("invalid topic", vec![resource(TOPIC, "not valid", None)])?;
        ask("unnamed topic", vec![resource(TOPIC, "", None)])?;
        ask("unknown broker", vec![resource(BROKER, "7", None)])?;
        ask("no broker's name", vec![resource(BROKER, "seven", None)])?;
        ask("all brokers", vec![resource(BROKER, "", None)])?;
        ask("unknown type", vec![resource(99, "what", None)])?;
        ask("type 0", vec![resource(0, "what", None)])?;
        ask("unnamed group", vec![resource(GROUP, "", None)])?;
        ask("group", vec![resource(GROUP, "configs-group", None)])?;
        ask("unnamed metrics", vec![resource(CLIENT_METRICS, "", None)])?;
        ask(
            "metrics",
            vec![resource(CLIENT_METRICS, "configs-metrics", None)],
        )?;
        ask("unnamed logger", vec![resource(BROKER_LOGGER, "", None)])?;
        ask(
            "logger of another broker",
            vec![resource(BROKER_LOGGER, "7", None)],
        )?;
        ask(
            "logger",
            vec![resource(BROKER_LOGGER, "1", Some(&["root"]))],
        )?;
        let terse = describe_request(version, vec![resource(TOPIC, "configs-changed", None)])
            .with_include_synonyms(false)
            .with_include_documentation(false);
        talk.ask("terse", version, &terse)?;
    }
    Ok(())
}

pub fn describe_broker(talk: &mut Talk<'_>) -> Result<()> {
    for version in [1, 4] {
        let request = describe_request(version, vec![resource(BROKER, "1", None)]);
        talk.ask("broker", version, &request)?;
    }
    let some = Some(&["log.retention.hours", "num.partitions", "no.such"][..]);
    talk.ask(
        "some keys",
        4,
        &describe_request(4, vec![resource(BROKER, "1", some)]),
    )?;
    Ok(())
}

pub fn alter(talk: &mut Talk<'_>) -> Result<()> {
    talk.create_topic("alter", 1)?;
    let resource = |resource_type, name: &str, configs: &[(&str, Option<&str>)]| {
        let config = |(name, value): &(&str, Option<&str>)| {
            AlterableConfig::default()
                .with_name(string(name))
                .with_value(value.map(string))
        };
        AlterConfigsResource::default()
            .with_resource_type(resource_type)
            .with_resource_name(string(name))
            .with_configs(configs.iter().map(config).collect())
    };
    for version in 0..=2 {
        let mut ask =
            |what: &str, validate_only: bool, resources: Vec<AlterConfigsResource>| -> Result<()> {
                let request = AlterConfigsRequest::default()
                    .with_resources(resources)
                    .with_validate_only(validate_only);
                talk.ask(what, version, &request).map(|_| ())
            };
        ask("none", false, vec![])?;
        ask(
            "one",
            false,
            vec![resource(TOPIC, "alter", &[("retention.ms", Some("1000"))])],
        )?;
        ask(
            "validated",
            true,
            vec![resource(TOPIC, "alter", &[("flush.ms", Some("5"))])],
        )?;
        ask(
            "another",
            false,
            vec![resource(TOPIC, "alter", &[("flush.messages", Some("5"))])],
        )?;
        ask(
            "unknown topic",
            false,
            vec![resource(TOPIC, "alter-unknown", &[("flush.ms", Some("5"))])],
        )?;
        ask(
            "unknown key",
            false,
            vec![resource(TOPIC, "alter", &[("no.such", Some("5"))])],
        )?;
        ask(
            "bad value",
            false,
            vec![resource(TOPIC, "alter", &[("flush.ms", Some("x"))])],
        )?;
        ask(
            "null value",
            false,
            vec![resource(TOPIC, "alter", &[("flush.ms", None)])],
        )?;
        ask(
            "key twice",
            false,
            vec![resource(
                TOPIC,
                "alter",
                &[("flush.ms", Some("1")), ("flush.ms", Some("2"))],
            )],
        )?;
        // A resource that is named twice: Kafka never answers.
        ask(
            "unknown type",
            false,
            vec![resource(99, "alter", &[("flush.ms", Some("5"))])],
        )?;
        ask(
            "unknown broker",
            false,
            vec![resource(
                BROKER,
                "7",
                &[("log.flush.interval.ms", Some("5"))],
            )],
        )?;
        ask("nothing left", false, vec![resource(TOPIC, "alter", &[])])?;
        settled(talk, "alter", "flush.messages", "9223372036854775807")?;
        let described = describe_request(
            version,
            vec![super::configs::resource(TOPIC, "alter", None)],
        );
        talk.ask("after", 4, &described)?;
    }
    Ok(())
}

/// Waits until a config of a topic is in force everywhere.
fn settled(talk: &mut Talk<'_>, topic: &str, key: &str, value: &str) -> Result<()> {
    let request = describe_request(1, vec![resource(TOPIC, topic, Some(&[key]))]);
    talk.settle(&format!("{key} of {topic}"), |talk| {
        let response = talk.quietly(1, &request)?;
        Ok(response.results[0].configs[0].value.as_deref() == Some(value))
    })
}

pub fn alter_incrementally(talk: &mut Talk<'_>) -> Result<()> {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    const APPEND: i8 = 2;
    const SUBTRACT: i8 = 3;
    talk.create_topic("incremental", 1)?;
    let resource = |resource_type, name: &str, configs: &[(&str, i8, Option<&str>)]| {
        let config = |(name, operation, value): &(&str, i8, Option<&str>)| {
            incremental::AlterableConfig::default()
                .with_name(string(name))
                .with_config_operation(*operation)
                .with_value(value.map(string))
        };
        incremental::AlterConfigsResource::default()
            .with_resource_type(resource_type)
            .with_resource_name(string(name))
            .with_configs(configs.iter().map(config).collect())
    };
    let topic = |configs: &[(&str, i8, Option<&str>)]| resource(TOPIC, "incremental", configs);
    for version in 0..=1 {
        let mut ask =
            |what: &str, resources: Vec<incremental::AlterConfigsResource>| -> Result<()> {
                let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
                talk.ask(what, version, &request).map(|_| ())
            };
        ask("none", vec![])?;
        ask("no config", vec![topic(&[])])?;
        ask("set", vec![topic(&[("retention.ms", SET, Some("1000"))])])?;
        ask(
            "append",
            vec![topic(&[("cleanup.policy", APPEND, Some("compact"))])],
        )?;
        ask(
            "append what is there",
            vec![topic(&[("cleanup.policy", APPEND, Some("compact"))])],
        )?;
        ask(
            "subtract",
            vec![topic(&[("cleanup.policy", SUBTRACT, Some("compact"))])],
        )?;
        ask(
            "subtract what is not there",
            vec![topic(&[("cleanup.policy", SUBTRACT, Some("compact"))])],
        )?;
        ask(
            "append to a number",
            vec![topic(&[("retention.ms", APPEND, Some("5"))])],
        )?;
        ask(
            "subtract from a number",
            vec![topic(&[("retention.ms", SUBTRACT, Some("5"))])],
        )?;
        ask(
            "append to what nobody knows",
            vec![topic(&[("no.such", APPEND, Some("5"))])],
        )?;
        ask("delete", vec![topic(&[("retention.ms", DELETE, None)])])?;
        ask(
            "delete what is not set",
            vec![topic(&[("flush.ms", DELETE, None)])],
        )?;
        ask(
            "delete what nobody knows",
            vec![topic(&[("no.such", DELETE, None)])],
        )?;
        ask(
            "set what nobody knows",
            vec![topic(&[("no.such", SET, Some("5"))])],
        )?;
        ask("null", vec![topic(&[("flush.ms", SET, None)])])?;
        ask("bad value", vec![topic(&[("flush.ms", SET, Some("soon"))])])?;
        ask("bad operation", vec![topic(&[("flush.ms", 9, Some("5"))])])?;
        ask(
            "key twice",
            vec![topic(&[
                ("flush.ms", SET, Some("1")),
                ("flush.ms", SET, Some("2")),
            ])],
        )?;
        let once = topic(&[("flush.ms", SET, Some("1"))]);
        ask("resource twice", vec![once.clone(), once.clone()])?;
        ask(
            "good and bad",
            vec![
                once,
                resource(
                    TOPIC,
                    "incremental-unknown",
                    &[("flush.ms", SET, Some("1"))],
                ),
            ],
        )?;
        ask(
            "invalid topic",
            vec![resource(
                TOPIC,
                "not valid",
                &[("flush.ms", SET, Some("1"))],
            )],
        )?;
        ask(
            "unnamed topic",
            vec![resource(TOPIC, "", &[("flush.ms", SET, Some("1"))])],
        )?;
        ask(
            "unknown type",
            vec![resource(99, "what", &[("flush.ms", SET, Some("1"))])],
        )?;
        let broker =
            |name: &str, key: &str, value: &str| resource(BROKER, name, &[(key, SET, Some(value))]);
        ask(
            "unknown broker",
            vec![broker("7", "log.flush.interval.ms", "5")],
        )?;
        ask(
            "no broker's name",
            vec![broker("seven", "log.flush.interval.ms", "5")],
        )?;
        ask(
            "broker, bad value",
            vec![broker("1", "log.retention.ms", "soon")],
        )?;
        ask(
            "broker, read-only",
            vec![broker("1", "num.partitions", "3")],
        )?;
        ask("broker, unknown", vec![broker("1", "no.such", "3")])?;
        ask(
            "all brokers, bad value",
            vec![broker("", "log.retention.ms", "soon")],
        )?;
        ask(
            "all brokers, read-only",
            vec![broker("", "log.dirs", "/tmp")],
        )?;
        ask(
            "all brokers, for one only",
            vec![broker("", "listeners", "PLAINTEXT://:1")],
        )?;
        let group =
            |name: &str, key: &str, value: &str| resource(GROUP, name, &[(key, SET, Some(value))]);
        ask(
            "group",
            vec![group("incremental", "consumer.session.timeout.ms", "50000")],
        )?;
        ask(
            "group, bad value",
            vec![group("incremental", "consumer.session.timeout.ms", "1")],
        )?;
        ask("group, unknown", vec![group("incremental", "no.such", "1")])?;
        ask(
            "group, unnamed",
            vec![group("", "consumer.session.timeout.ms", "50000")],
        )?;
        let metrics = |key: &str, value: &str| {
            resource(CLIENT_METRICS, "incremental", &[(key, SET, Some(value))])
        };
        ask("metrics", vec![metrics("interval.ms", "1000")])?;
        ask("metrics, bad value", vec![metrics("interval.ms", "1")])?;
        ask("metrics, unknown", vec![metrics("no.such", "1")])?;
        ask("metrics, bad pattern", vec![metrics("match", "no_equals")])?;
        ask(
            "logger",
            vec![resource(
                BROKER_LOGGER,
                "1",
                &[("no.such.Logger", SET, Some("INFO"))],
            )],
        )?;
        ask(
            "logger level",
            vec![resource(BROKER_LOGGER, "1", &[("root", SET, Some("LOUD"))])],
        )?;
        for (name, logger, change) in [
            ("logger, no change", "1", ("root", SET, Some("INFO"))),
            ("logger, lower case", "1", ("root", SET, Some("info"))),
            ("logger, null", "1", ("root", SET, None)),
            ("logger, deleted root", "1", ("root", DELETE, None)),
            (
                "logger, unknown deleted",
                "1",
                ("no.such.Logger", DELETE, None),
            ),
            ("logger, appended", "1", ("root", APPEND, Some("INFO"))),
            ("logger, subtracted", "1", ("root", SUBTRACT, Some("INFO"))),
            ("logger, operation", "1", ("root", 9, Some("INFO"))),
            ("logger of another", "7", ("root", SET, Some("INFO"))),
            ("logger of nobody", "", ("root", SET, Some("INFO"))),
            ("logger of no number", "x", ("root", SET, Some("INFO"))),
        ] {
            ask(name, vec![resource(BROKER_LOGGER, logger, &[change])])?;
        }
        let twice = [("root", SET, Some("INFO")), ("root", SET, Some("INFO"))];
        ask("logger, twice", vec![resource(BROKER_LOGGER, "1", &twice)])?;
        settled(talk, "incremental", "flush.ms", "1")?;
        let after = vec![super::configs::resource(TOPIC, "incremental", None)];
        talk.ask("after", 4, &describe_request(4, after))?;
        // What both versions leave behind, taken back.
        let undo = IncrementalAlterConfigsRequest::default().with_resources(vec![
            topic(&[("flush.ms", DELETE, None), ("cleanup.policy", DELETE, None)]),
            resource(
                GROUP,
                "incremental",
                &[("consumer.session.timeout.ms", DELETE, None)],
            ),
            resource(
                CLIENT_METRICS,
                "incremental",
                &[("interval.ms", DELETE, None)],
            ),
        ]);
        talk.ask("undo", version, &undo)?;
        settled(talk, "incremental", "flush.ms", "9223372036854775807")?;
    }
    Ok(())
}
