//! What may change while the broker runs. compat-tests asks Kafka the same for every key.

use super::*;
use crate::config::dynamic::{Change, check_change};

/// Changes one key for this broker, or for all where `broker` is empty.
fn change(file: &str, broker: &str, key: &str, value: &str) -> Result<(), String> {
    let (config, _) = BrokerConfig::from_properties(properties(file)).expect(file);
    let set = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let before = DynamicSettings::none();
    let mut after = before;
    match broker.is_empty() {
        true => after.cluster_wide = &set,
        false => after.per_broker = &set,
    }
    let change = Change {
        set: BTreeMap::from([(key, value)]),
        for_one_broker: !broker.is_empty(),
    };
    check_change(&config.settings, &change, before, after)
}

#[test]
fn threads_neither_more_than_double_nor_fall_below_half() {
    let file = "num.io.threads=10";
    for (value, allowed) in [
        ("4", false),
        ("5", true),
        ("20", true),
        ("21", false),
        ("0", false),
    ] {
        for broker in ["1", ""] {
            let changed = change(file, broker, "num.io.threads", value);
            assert_eq!(changed.is_ok(), allowed, "{value}: {changed:?}");
        }
    }
}

#[test]
fn what_kafka_refuses_is_refused_in_its_words() {
    for (broker, key, value, expected) in [
        (
            "1",
            "num.partitions",
            "3",
            "Cannot update these configs dynamically: [num.partitions]",
        ),
        (
            "1",
            "ssl.keystore.type",
            "JKS",
            "These security configs can be dynamically updated only per-listener using the listener prefix: [ssl.keystore.type]",
        ),
        (
            "",
            "sasl.enabled.mechanisms",
            "PLAIN",
            "Cannot update these configs at default cluster level, broker id must be specified: [sasl.enabled.mechanisms]",
        ),
        (
            "",
            "listener.name.x.no.such",
            "1",
            "Cannot update these configs at default cluster level, broker id must be specified: [listener.name.x.no.such]",
        ),
        (
            "1",
            "listener.name.x.log.retention.ms",
            "x",
            "Invalid value x for configuration log.retention.ms: Not a number of type LONG",
        ),
        (
            "1",
            "log.retention.ms",
            "0",
            "Invalid value 0 for configuration log.retention.ms: must be unlimited (-1) or at least 1",
        ),
        (
            "1",
            "log.roll.jitter.ms",
            "-1",
            "Invalid value -1 for configuration log.roll.jitter.ms: Value must be at least 0",
        ),
        (
            "",
            "log.cleaner.dedupe.buffer.size",
            "1048576",
            "Invalid value 1048576 for configuration log.cleaner.dedupe.buffer.size: must be more than 1 MiB per cleaner thread",
        ),
        (
            "",
            "log.local.retention.ms",
            "-1",
            "Invalid value -1 for configuration log.local.retention.ms: Value must not be -1 as log.retention.ms value is set as 604800000.",
        ),
        (
            "1",
            "listeners",
            "PLAINTEXT://:9999",
            "listeners cannot change while the broker runs",
        ),
        (
            "1",
            "log.cleanup.policy",
            "delete,delete",
            "Invalid value delete,delete for configuration log.cleanup.policy: values must not be duplicated.",
        ),
    ] {
        assert_eq!(change("", broker, key, value), Err(expected.to_owned()));
    }
}

#[test]
fn what_protects_cannot_be_set_while_the_broker_runs_either() {
    for (key, value) in [
        ("super.users", "User:admin"),
        ("sasl.enabled.mechanisms", "PLAIN"),
        ("listener.name.plaintext.ssl.keystore.location", "/x"),
        ("listener.name.plaintext.plain.sasl.jaas.config", "x"),
        ("listener.name.plaintext.max.connections", "5"),
        ("client.quota.callback.class", "x"),
        ("principal.builder.class", "x"),
    ] {
        let refused = change("", "1", key, value).expect_err(key);
        assert!(!refused.is_empty());
        assert_eq!(change("", "1", "my.plugin.key", value), Ok(()));
    }
}

#[test]
fn what_is_so_anyway_may_be_said() {
    let jaas = "listener.name.login.plain.sasl.jaas.config";
    for (key, value) in [
        ("listener.name.plaintext.ssl.client.auth", "none"),
        ("listener.name.plaintext.ssl.key.password", ""),
        (jaas, ""),
    ] {
        assert_eq!(change("", "1", key, value), Ok(()), "{key}");
    }
    let users = format!(
        "listeners=LOGIN://localhost:1\nlistener.security.protocol.map=LOGIN:SASL_PLAINTEXT\n\
         sasl.enabled.mechanisms=PLAIN\n\
         {jaas}=org.apache.kafka.common.security.plain.PlainLoginModule required user_a=\"b\";"
    );
    let refused = change(&users, "1", jaas, "").expect_err("its users would stay");
    assert!(
        refused.contains("cannot change while the broker runs"),
        "{refused}"
    );
}

#[test]
fn what_limits_connections_may_change_if_it_can_be_understood() {
    let overrides = "max.connections.per.ip.overrides";
    for value in ["", "127.0.0.1:3", "localhost:3,::1:0"] {
        assert_eq!(change("", "", overrides, value), Ok(()), "{value}");
    }
    for value in ["127.0.0.1", "127.0.0.1:x", "a b:1"] {
        assert!(change("", "", overrides, value).is_err(), "{value}");
    }
    let of_all = "max.connections.per.ip";
    assert!(change("", "1", of_all, "0").is_err());
    let text = "max.connections.per.ip.overrides=127.0.0.1:3";
    assert_eq!(change(text, "1", of_all, "0"), Ok(()));
}

#[test]
fn the_own_limit_of_a_listener_counts_from_that_of_all() {
    assert_eq!(
        change("", "", "listener.name.x.num.network.threads", "6"),
        Ok(())
    );
    assert!(change("", "1", "listener.name.x.num.network.threads", "7").is_err());
}
