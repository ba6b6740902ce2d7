//! What protects is never ignored, what asks for nothing is, and Kafka's own files start quietly.

use super::*;
use crate::config::def::{ConfigDef, Kind};
use crate::config::effects::unserved_protection;

/// Everything that Kafka sets up to keep somebody out, or to hold somebody back.
#[rustfmt::skip] // a table: key and value, what the refusal says
const PROTECTING: &[(&str, &str)] = &[
    ("authorizer.class.name=kafka.security.authorizer.AclAuthorizer", "the one authorizer"),
    ("super.users=User:admin", "everybody could do everything"),
    ("super.users=admin\nauthorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "not admin"),
    ("allow.everyone.if.no.acl.found=false", "everybody could do everything"),
    ("principal.builder.class=org.example.Builder", "plugins"),
    ("create.topic.policy.class.name=org.example.Policy", "policy"),
    ("alter.config.policy.class.name=org.example.Policy", "policy"),
    ("client.quota.callback.class=org.example.Quota", "limit"),
    ("sasl.enabled.mechanisms=PLAIN", "SASL"),
    ("sasl.enabled.mechanisms=GSSAPI,SCRAM-SHA-512", "SASL"),
    ("sasl.jaas.config=x", "SASL"),
    ("sasl.server.callback.handler.class=org.example.Handler", "SASL"),
    ("sasl.oauthbearer.jwks.endpoint.url=https://example.org", "SASL"),
    ("sasl.oauthbearer.expected.audience=us", "SASL"),
    ("connections.max.reauth.ms=3600000", "SASL"),
    ("ssl.keystore.location=/etc/kafka/keystore.jks", "TLS"),
    ("ssl.keystore.password=secret", "TLS"),
    ("ssl.truststore.certificates=x", "TLS"),
    ("ssl.client.auth=required", "TLS"),
    ("ssl.client.auth=requested", "TLS"),
    ("ssl.cipher.suites=TLS_AES_256_GCM_SHA384", "TLS"),
    ("ssl.what.is.not.known.yet=x", "TLS"),
    ("ssl.keystore.pasword=x", "TLS"),
    ("security.providers=org.example.Provider", "TLS"),
    ("delegation.token.master.key=secret", "delegation.token.secret.key"),
    ("config.providers=file", "plugins"),
    ("quota.producer.default=1000", "kafka-configs"),
    ("quota.consumer.default=1000", "limit"),
    ("remote.log.storage.system.enable=true", "tiered storage"),
    ("zookeeper.set.acl=true", "ZooKeeper"),
    ("zookeeper.ssl.client.enable=true", "TLS"),
    ("listener.name.plaintext.ssl.keystore.location=/x", "TLS"),
    ("listener.name.external.ssl.client.auth=required", "TLS"),
    ("listener.name.external.sasl.enabled.mechanisms=SCRAM-SHA-256", "SASL"),
    ("listener.name.external.plain.sasl.jaas.config=x", "SASL"),
    ("listener.name.external.scram-sha-512.sasl.server.callback.handler.class=x", "SASL"),
    ("listener.name.external.connections.max.reauth.ms=5", "SASL"),
    ("listener.name.external.oauthbearer.connections.max.reauth.ms=5", "SASL"),
    ("listener.name.external.principal.builder.class=x", "plugins"),
    ("listener.name.external.max.connections=5", "limit"),
    ("listener.name.external.ssl.no.such=x", "TLS"),
    // A slip of the finger does not open the door.
    ("super.user=User:admin", "super.users"),
    ("authoriser.class.name=x", "authorizer.class.name"),
    ("create.topic.policy.clas.name=x", "create.topic.policy.class.name"),
    // Listeners.
    // Controllers elsewhere, and what was before them.
    ("process.roles=broker", "controllers elsewhere"),
    ("process.roles=controller", "expected broker"),
    ("controller.quorum.voters=2@localhost:9093", "2@localhost:9093 is another node than 1"),
    ("controller.quorum.voters=1@a:9093,2@b:9093,3@c:9093", "2@b:9093 is another node than 1"),
    ("node.id=2\ncontroller.quorum.voters=1@localhost:9093", "1@localhost:9093 is another node than 2"),
    ("controller.quorum.bootstrap.servers=controller.example.org:9093", "controller.example.org is not this node"),
    ("controller.quorum.bootstrap.servers=localhost:9093,localhost:9094", "is not this node"),
    ("zookeeper.connect=zk1:2181,zk2:2181/kafka", "zk1 is not this node"),
];

#[test]
fn what_protects_stops_the_start_in_one_line_that_names_it_and_says_why() {
    for (text, why) in PROTECTING {
        let refused = refusal(text);
        let line = text.lines().next().expect("a line");
        let (key, _) = line.split_once('=').expect("key=value");
        let named = refused.contains(key) || refused.contains("controller.quorum.voters");
        assert!(named, "{text}: {refused}");
        assert!(refused.contains(why), "{text}: {refused}");
        assert!(!refused.contains('\n'), "{text}: {refused}");
    }
}

/// Every key of Kafka's about who is let in, as whom, with what and how well hidden, and whether it may be ignored: true if
/// somebody who has set it would believe to be better protected than they are.
#[rustfmt::skip] // a table
const DECIDED: &[(&str, bool)] = &[
    ("connection.failed.authentication.delay.ms", false),
    ("connections.max.reauth.ms", true),
    ("delegation.token.expiry.check.interval.ms", false),
    ("delegation.token.expiry.time.ms", false),
    ("delegation.token.max.lifetime.ms", false),
    ("delegation.token.secret.key", false),
    ("principal.builder.class", true),
    ("sasl.client.callback.handler.class", true),
    ("sasl.enabled.mechanisms", true),
    ("sasl.jaas.config", true),
    ("sasl.kerberos.kinit.cmd", false),
    ("sasl.kerberos.min.time.before.relogin", false),
    ("sasl.kerberos.principal.to.local.rules", true),
    ("sasl.kerberos.service.name", true),
    ("sasl.kerberos.ticket.renew.jitter", false),
    ("sasl.kerberos.ticket.renew.window.factor", false),
    ("sasl.login.callback.handler.class", true),
    ("sasl.login.class", true),
    ("sasl.login.connect.timeout.ms", false),
    ("sasl.login.read.timeout.ms", false),
    ("sasl.login.refresh.buffer.seconds", false),
    ("sasl.login.refresh.min.period.seconds", false),
    ("sasl.login.refresh.window.factor", false),
    ("sasl.login.refresh.window.jitter", false),
    ("sasl.login.retry.backoff.max.ms", false),
    ("sasl.login.retry.backoff.ms", false),
    // There are no other brokers.
    ("sasl.mechanism.controller.protocol", false),
    ("sasl.mechanism.inter.broker.protocol", false),
    // They ask for less than usual.
    ("sasl.oauthbearer.allow.unverified.audience", false),
    ("sasl.oauthbearer.allow.unverified.issuer", false),
    ("sasl.oauthbearer.assertion.algorithm", true),
    ("sasl.oauthbearer.assertion.claim.aud", true),
    ("sasl.oauthbearer.assertion.claim.exp.seconds", false),
    ("sasl.oauthbearer.assertion.claim.iss", true),
    ("sasl.oauthbearer.assertion.claim.jti.include", true),
    ("sasl.oauthbearer.assertion.claim.nbf.seconds", false),
    ("sasl.oauthbearer.assertion.claim.sub", true),
    ("sasl.oauthbearer.assertion.file", true),
    ("sasl.oauthbearer.assertion.private.key.file", true),
    ("sasl.oauthbearer.assertion.private.key.passphrase", true),
    ("sasl.oauthbearer.assertion.template.file", true),
    ("sasl.oauthbearer.client.credentials.client.id", true),
    ("sasl.oauthbearer.client.credentials.client.secret", true),
    ("sasl.oauthbearer.clock.skew.seconds", false),
    ("sasl.oauthbearer.expected.audience", true),
    ("sasl.oauthbearer.expected.issuer", true),
    ("sasl.oauthbearer.jwks.endpoint.refresh.ms", false),
    ("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", false),
    ("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", false),
    ("sasl.oauthbearer.jwks.endpoint.url", true),
    ("sasl.oauthbearer.jwt.retriever.class", true),
    ("sasl.oauthbearer.jwt.validator.class", true),
    ("sasl.oauthbearer.scope", true),
    ("sasl.oauthbearer.scope.claim.name", true),
    ("sasl.oauthbearer.sub.claim.name", true),
    ("sasl.oauthbearer.token.endpoint.url", true),
    ("sasl.server.callback.handler.class", true),
    ("sasl.server.max.receive.size", false),
    ("security.inter.broker.protocol", true),
    ("security.providers", true),
    ("ssl.allow.dn.changes", true),
    ("ssl.allow.san.changes", true),
    ("ssl.cipher.suites", true),
    ("ssl.client.auth", true),
    ("ssl.enabled.protocols", true),
    // For a broker that is another's client.
    ("ssl.endpoint.identification.algorithm", false),
    ("ssl.engine.factory.class", true),
    ("ssl.key.password", true),
    // Which of the broker's own certificates it shows.
    ("ssl.keymanager.algorithm", false),
    ("ssl.keystore.certificate.chain", true),
    ("ssl.keystore.key", true),
    ("ssl.keystore.location", true),
    ("ssl.keystore.password", true),
    ("ssl.keystore.type", true),
    ("ssl.principal.mapping.rules", true),
    // ssl.enabled.protocols decides.
    ("ssl.protocol", false),
    ("ssl.provider", true),
    ("ssl.secure.random.implementation", false),
    ("ssl.trustmanager.algorithm", true),
    ("ssl.truststore.certificates", true),
    ("ssl.truststore.location", true),
    ("ssl.truststore.password", true),
    ("ssl.truststore.type", true),
];

/// The beginnings of the keys that have to be in [`DECIDED`].
const ABOUT_PROTECTION: &[&str] = &[
    "connection.",
    "connections.max.reauth.",
    "delegation.token.",
    "listener.name.",
    "principal.",
    "sasl.",
    "security.",
    "ssl.",
];

/// A value that the row takes and that is not its default.
fn unusual(row: &ConfigDef) -> &'static str {
    let values = [
        "1", "2", "0.5", "true", "false", "x", "required", "SSL", "ES256",
    ];
    let unusual = values.into_iter().find(|value| {
        row.check(value).is_ok() && row.default.is_none_or(|default| default != *value)
    });
    unusual.unwrap_or_else(|| panic!("a value for {}", row.name))
}

#[test]
fn what_protects_stops_the_start_and_what_only_says_how_often_or_how_long_does_not() {
    let about_protection = broker_configs()
        .keys()
        .filter(|key| ABOUT_PROTECTION.iter().any(|start| key.starts_with(start)));
    let decided: Vec<&str> = DECIDED.iter().map(|(key, _)| *key).collect();
    assert_eq!(about_protection.copied().collect::<Vec<_>>(), decided);
    for (key, protects) in DECIDED {
        let row = &broker_configs()[key];
        let value = unusual(row);
        for key in [(*key).to_owned(), format!("listener.name.x.{key}")] {
            let text = format!("{key}={value}");
            if *protects {
                let refused = refusal(&text);
                assert!(refused.contains(row.name), "{text}: {refused}");
                continue;
            }
            let expected = format!("keys with nothing to do in Ottla: {key}");
            let expected = match (row.unused, key.starts_with("listener.name.")) {
                (true, _) => vec![Remark::Info(expected)],
                (false, false) => vec![],
                // It is used, and not for one listener alone.
                (false, true) => continue,
            };
            assert_eq!(remarks(&text), expected, "{text}");
        }
    }
}

#[test]
fn kafkas_file_starts_with_every_one_of_these_keys_at_its_default() {
    let mut text =
        format!("{KRAFT}controller.quorum.bootstrap.servers=localhost:9093\n{SHARE}{COMMON}");
    for (key, _) in DECIDED {
        if let Some(default) = broker_configs()[key].default {
            text.push_str(&format!(
                "{key}={default}\nlistener.name.plaintext.{key}={default}\n"
            ));
        }
    }
    let (_, remarks) = BrokerConfig::from_properties(properties(&text)).expect("it starts");
    assert!(matches!(&remarks[..], [Remark::Info(_)]), "{remarks:?}");
}

#[test]
fn the_default_of_every_key_starts_without_a_word() {
    for row in broker_configs().values().filter(|row| !row.internal) {
        let Some(default) = row.default else {
            continue;
        };
        assert_eq!(
            remarks(&format!("{}={default}", row.name)),
            [],
            "{}",
            row.name
        );
    }
}

#[test]
fn a_value_that_asks_for_no_protection_starts() {
    for text in [
        "authorizer.class.name=",
        "super.users=",
        "allow.everyone.if.no.acl.found=true",
        "ssl.client.auth=none",
        "ssl.endpoint.identification.algorithm=",
        "ssl.keystore.location=",
        "sasl.enabled.mechanisms=",
        "sasl.enabled.mechanisms= GSSAPI ",
        "security.inter.broker.protocol=PLAINTEXT",
        "max.connection.creation.rate=2147483647",
        "max.connection.creation.rate=10",
        "listener.name.external.max.connection.creation.rate=5",
        "max.connections.per.ip.overrides=",
        "remote.log.storage.system.enable=FALSE",
        "listener.name.x.ssl.client.auth=none",
        "listener.name.x.max.connections=2147483647",
        "zookeeper.set.acl=false",
        "quota.producer.default=9223372036854775807",
        "controller.quorum.voters=1@localhost:9093",
        "node.id=7\ncontroller.quorum.voters=7@anything:9093",
        "controller.quorum.bootstrap.servers=127.0.0.1:9093",
        "advertised.listeners=PLAINTEXT://me.example.org:9092\ncontroller.quorum.bootstrap.servers=me.example.org:9093",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL",
    ] {
        let (_, remarks) = BrokerConfig::from_properties(properties(text)).expect(text);
        let warned = remarks.iter().any(
            |remark| matches!(remark, Remark::Warning(text) if !text.contains("allow.everyone")),
        );
        assert!(!warned, "{text}: {remarks:?}");
    }
}

#[test]
fn what_is_asked_of_a_listener_is_asked_of_the_key_behind_it() {
    for (key, value, protects) in [
        ("listener.name.x.ssl.client.auth", "required", false),
        ("listener.name.x.ssl.engine.factory.class", "x", true),
        ("listener.name.x.ssl.client.auth", "none", false),
        ("listener.name.x.num.network.threads", "5", false),
        ("listener.name.x.no.such", "5", false),
        ("no.such", "5", false),
    ] {
        assert_eq!(
            unserved_protection(key, value).is_some(),
            protects,
            "{key}={value}"
        );
    }
}

/// What the files that Kafka ships say.
const KRAFT: &str = "process.roles=broker,controller\nnode.id=1\n\
    listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
    advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
    controller.listener.names=CONTROLLER\n\
    listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n";
const COMMON: &str = "num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\n\
    socket.receive.buffer.bytes=102400\nsocket.request.max.bytes=104857600\n\
    log.dirs=/tmp/kraft-combined-logs\nnum.partitions=1\nnum.recovery.threads.per.data.dir=2\n\
    offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
    transaction.state.log.min.isr=1\nlog.retention.hours=168\nlog.retention.check.interval.ms=300000\n";
const SHARE: &str = "share.coordinator.state.topic.replication.factor=1\n\
    share.coordinator.state.topic.min.isr=1\nlog.segment.bytes=1073741824\n";

#[test]
fn kafkas_own_files_start_with_one_line_at_most() {
    for (file, own) in [
        (
            "config/server.properties of 4.4",
            format!("{KRAFT}controller.quorum.bootstrap.servers=localhost:9093\n{SHARE}"),
        ),
        (
            "config/kraft/server.properties of 3.9",
            format!("{KRAFT}controller.quorum.voters=1@localhost:9093\nlog.segment.bytes=1073741824\n"),
        ),
        (
            "config/kraft/reconfig-server.properties of 3.9",
            format!("{KRAFT}controller.quorum.bootstrap.servers=localhost:9093\n"),
        ),
        (
            "config/server.properties of 3.9",
            "broker.id=0\nzookeeper.connect=localhost:2181\nzookeeper.connection.timeout.ms=18000\n\
             group.initial.rebalance.delay.ms=0\n"
                .to_owned(),
        ),
    ] {
        let text = format!("{own}{COMMON}");
        let (config, remarks) = BrokerConfig::from_properties(properties(&text)).expect(file);
        assert_eq!(config.listeners.len(), 1, "{file}: Kafka's controller port is not opened");
        assert!(matches!(&remarks[..], [Remark::Info(_)]), "{file}: {remarks:?}");
    }
}

#[test]
fn a_broker_of_a_cluster_with_controllers_elsewhere_does_not_start() {
    let broker = KRAFT
        .replace("broker,controller", "broker")
        .replace(",CONTROLLER://:9093", "");
    let refused = refusal(&format!(
        "{broker}controller.quorum.bootstrap.servers=localhost:9093"
    ));
    assert!(
        refused.contains("process.roles") && refused.contains("broker,controller"),
        "{refused}"
    );
}

#[test]
fn a_key_is_worth_a_warning_that_says_what_is_missing_or_was_meant() {
    for (text, expected) in [
        (
            "my.plugin.key=1",
            "key my.plugin.key is unknown and has no effect",
        ),
        (
            "num.partition=3",
            "key num.partition is unknown and has no effect; did you mean num.partitions?",
        ),
        (
            "retention.ms=3",
            "key retention.ms is unknown and has no effect; did you mean log.retention.ms?",
        ),
        (
            "metric.reporters=org.example.Reporter",
            "key metric.reporters has no effect: there are no plugins; /metrics serves Prometheus (ottla.metrics.listen)",
        ),
        (
            "transaction.two.phase.commit.enable=true",
            "key transaction.two.phase.commit.enable has no effect: there is no two-phase commit yet",
        ),
        (
            "listener.name.x.connections.max.idle.ms=5",
            "key listener.name.x.connections.max.idle.ms has no effect: connections.max.idle.ms is for all listeners or none",
        ),
        ("port=9092", "key port has no effect: use listeners"),
    ] {
        assert_eq!(remarks(text), [Remark::Warning(expected.to_owned())]);
    }
}

#[test]
fn all_keys_with_nothing_to_do_are_one_line() {
    let text = "num.io.threads=16\nlog.cleaner.threads=2\ncontroller.quorum.fetch.timeout.ms=5\nzookeeper.session.timeout.ms=5";
    let expected = "keys with nothing to do in Ottla: controller.quorum.fetch.timeout.ms, \
        log.cleaner.threads, num.io.threads, zookeeper.session.timeout.ms";
    assert_eq!(remarks(text), [Remark::Info(expected.to_owned())]);
}

#[test]
fn a_password_is_not_told() {
    for text in ["ssl.key.password=hunter2", "sasl.jaas.config=hunter2"] {
        assert!(!refusal(text).contains("hunter2"));
    }
    let row = broker_configs()
        .values()
        .find(|row| row.kind == Kind::Password);
    assert!(row.is_some_and(ConfigDef::is_sensitive));
}
