//! What environment variables set. compat-tests asks the image's own mapping the same.

use std::io::ErrorKind;
use std::path::Path;

use super::*;
use crate::config::environment::Environment;

/// No file is there.
fn nothing(_: &Path) -> std::io::Result<Vec<u8>> {
    Err(ErrorKind::NotFound.into())
}

fn kafka(variables: &[(&str, &str)]) -> Properties {
    let environment = Environment::of(variables.iter().copied());
    environment
        .kafka(None, &nothing)
        .expect("usable")
        .properties
}

fn set(properties: &[(&str, &str)]) -> Properties {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    properties.iter().map(owned).collect()
}

/// What a broker with these variables listens on and tells its clients.
fn listens(variables: &[(&str, &str)]) -> Vec<String> {
    let (config, remarks) = BrokerConfig::from_properties(kafka(variables)).expect("valid");
    let warning = remarks
        .iter()
        .find(|remark| matches!(remark, Remark::Warning(_)));
    assert_eq!(warning, None);
    let listeners = config.listeners.iter();
    let told = listeners.map(|one| format!("{} {} {}", one.name, one.bind, one.advertised));
    told.collect()
}

#[test]
fn ottlas_variables_are_its_keys_and_kafkas_count_only_where_they_are_asked_for() {
    let environment = Environment::of([
        ("OTTLA_DURABILITY", " os "),
        ("OTTLA_METRICS_LISTEN", "localhost:1"),
        ("OTTLA_NO_SUCH", "x"),
        ("KAFKA_NUM_PARTITIONS", "3"),
        // They mean something else.
        ("OTTLA_PASSWORD_ANN", "canary"),
        ("OTTLA_KAFKA_ENV", "true"),
        ("OTTLA_BIN", "/x"),
        ("OTTLA_SIM_SEED", "1"),
        // Kubernetes has a service that is called ottla.
        ("OTTLA_SERVICE_HOST", "10.0.0.1"),
        ("OTTLA_SERVICE_PORT", "9092"),
        ("OTTLA_SERVICE_PORT_KAFKA", "9092"),
        ("OTTLA_PORT", "tcp://10.0.0.1:9092"),
        ("OTTLA_PORT_9092_TCP", "tcp://10.0.0.1:9092"),
        ("OTTLA_PORT_9092_TCP_ADDR", "10.0.0.1"),
    ]);
    let expected = set(&[
        ("ottla.durability", "os"),
        ("ottla.metrics.listen", "localhost:1"),
        ("ottla.no.such", "x"),
    ]);
    assert_eq!(environment.ottla(), expected);
    let kafkas = environment.kafka(None, &nothing).expect("usable");
    assert_eq!(kafkas.properties, set(&[("num.partitions", "3")]));
    assert_eq!(
        environment.variable_of("ottla.durability", false),
        Some("OTTLA_DURABILITY")
    );
    assert_eq!(
        environment.variable_of("num.partitions", true),
        Some("KAFKA_NUM_PARTITIONS")
    );
    assert_eq!(environment.variable_of("num.partitions", false), None);
}

#[test]
fn names_become_keys_and_values_are_those_of_a_properties_file_as_in_the_image() {
    for (name, value, expected) in [
        ("KAFKA_NODE_ID", "1", Some(("node.id", "1"))),
        ("KAFKA_log_dirs", "/x", Some(("log.dirs", "/x"))),
        ("KAFKA_A__B", "x", Some(("a_b", "x"))),
        ("KAFKA_A___B", " y ", Some(("a-b", "y"))),
        ("KAFKA_A____B", r"c:\dir", Some(("a-.b", "c:dir"))),
        ("KAFKA_KAFKA_X", "1", Some(("kafka.x", "1"))),
        ("KAFKA_EMPTY", "", Some(("empty", ""))),
        ("KAFKA_LINES", "a \\\n  b", Some(("lines", "a b"))),
        ("KAFKA_HASH", "a#b=c:d", Some(("hash", "a#b=c:d"))),
        ("KAFKA_UMLAUT", "ü€😀", Some(("umlaut", "ü€😀"))),
        (
            "KAFKA_LISTENER_NAME_S_SCRAM-SHA-256_SASL_JAAS_CONFIG",
            "q",
            Some(("listener.name.s.scram-sha-256.sasl.jaas.config", "q")),
        ),
        (
            "KAFKA_LISTENER_NAME_S_SCRAM___SHA___256_SASL_JAAS_CONFIG",
            "q",
            Some(("listener.name.s.scram-sha-256.sasl.jaas.config", "q")),
        ),
        (
            "KAFKA_CFG_NUM_PARTITIONS",
            "3",
            Some(("num.partitions", "3")),
        ),
        (
            "KAFKA_CFG_LISTENER_NAME_SASL_SSL_SSL_CLIENT_AUTH",
            "none",
            Some(("listener.name.sasl_ssl.ssl.client.auth", "none")),
        ),
        ("KAFKA_", "z", None),
        ("KAFKA_OPTS", "-Xmx1g", None),
        ("KAFKA_HEAP_OPTS", "-Xmx1g", None),
        ("KAFKA_LOG4J_ROOT_LOGLEVEL", "DEBUG", None),
        ("KAFKA_JMX_PORT", "9101", None),
        ("KAFKA_PORT", "tcp://10.0.0.1:9092", None),
        ("KAFKA_PORT_9092_TCP_PROTO", "tcp", None),
        ("KAFKA_SERVICE_HOST", "10.0.0.1", None),
        ("CLUSTER_ID", "x", None),
    ] {
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(kafka(&[(name, value)]), set(&expected), "{name}={value:?}");
    }
    // Kafka's own name wins over Bitnami's.
    let both = [
        ("KAFKA_CFG_NUM_PARTITIONS", "3"),
        ("KAFKA_NUM_PARTITIONS", "4"),
    ];
    assert_eq!(kafka(&both), set(&[("num.partitions", "4")]));
    let malformed = Environment::of([("KAFKA_X", "\\u00zz")]);
    let refused = malformed.kafka(None, &nothing).expect_err("no properties");
    assert!(refused.to_string().contains("environment"), "{refused}");
}

/// Compose files of the internet's kind, and what modules of testcontainers set.
#[test]
fn usual_environments_start_a_broker_without_a_warning() {
    const MAX: &str = "9223372036854775807";
    let compose = [
        ("KAFKA_NODE_ID", "1"),
        ("KAFKA_PROCESS_ROLES", "broker,controller"),
        (
            "KAFKA_LISTENERS",
            "PLAINTEXT://0.0.0.0:29092,CONTROLLER://0.0.0.0:29093,PLAINTEXT_HOST://0.0.0.0:9092",
        ),
        (
            "KAFKA_ADVERTISED_LISTENERS",
            "PLAINTEXT://kafka:29092,PLAINTEXT_HOST://localhost:9092",
        ),
        (
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT",
        ),
        ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
        ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@kafka:29093"),
        ("KAFKA_INTER_BROKER_LISTENER_NAME", "PLAINTEXT"),
        ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
        ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1"),
        ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1"),
        ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
        ("KAFKA_LOG_FLUSH_INTERVAL_MESSAGES", MAX),
        ("KAFKA_LOG_DIRS", "/tmp/kraft-combined-logs"),
        ("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "true"),
        (
            "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR",
            "1",
        ),
        ("KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR", "1"),
        ("KAFKA_HEAP_OPTS", "-Xmx512m"),
        ("KAFKA_JMX_PORT", "9101"),
        ("KAFKA_JMX_HOSTNAME", "localhost"),
        ("KAFKA_LOG4J_LOGGERS", "kafka=WARN"),
        ("KAFKA_CREATE_TOPICS", "a:1:1"),
        ("KAFKA_CONFLUENT_SUPPORT_METRICS_ENABLE", "false"),
        ("KAFKA_CONFLUENT_LICENSE_TOPIC_REPLICATION_FACTOR", "1"),
        ("KAFKA_CONFLUENT_BALANCER_TOPIC_REPLICATION_FACTOR", "1"),
    ];
    let expected = [
        "PLAINTEXT 0.0.0.0:29092 kafka:29092",
        "PLAINTEXT_HOST 0.0.0.0:9092 localhost:9092",
    ];
    assert_eq!(listens(&compose), expected);
    let (config, _) = BrokerConfig::from_properties(kafka(&compose)).expect("valid");
    // Kafka would answer before the disk has a record. Here that is asked for by another key.
    let log = TopicDefaults::new(&config.settings, DynamicSettings::none())
        .config
        .log
        .clone();
    assert_eq!(
        (log.flush_messages, log.durability),
        (i64::MAX, Some(Durability::Strict))
    );
    assert_eq!(config.engine().durability, Durability::Strict);

    let testcontainers = [
        ("CLUSTER_ID", "4L6g3nShT-eMCtK--X86sw"),
        (
            "KAFKA_LISTENERS",
            "TC-0://kafka:19092,PLAINTEXT://:9092,BROKER://:9093,CONTROLLER://:9094",
        ),
        (
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
            "BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TC-0:PLAINTEXT",
        ),
        (
            "KAFKA_ADVERTISED_LISTENERS",
            "PLAINTEXT://localhost:32768,BROKER://0f0f0f:9093,TC-0://kafka:19092",
        ),
        ("KAFKA_INTER_BROKER_LISTENER_NAME", "BROKER"),
        ("KAFKA_PROCESS_ROLES", "broker,controller"),
        ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
        ("KAFKA_NODE_ID", "1"),
        ("KAFKA_BROKER_ID", "1"),
        ("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "1"),
        ("KAFKA_LOG_FLUSH_INTERVAL_MESSAGES", MAX),
        ("KAFKA_ZOOKEEPER_CONNECT", "localhost:2181"),
    ];
    let expected = [
        "TC-0 kafka:19092 kafka:19092",
        "PLAINTEXT :9092 localhost:32768",
        "BROKER :9093 0f0f0f:9093",
    ];
    assert_eq!(listens(&testcontainers), expected);

    // Of a cluster that somebody means to join.
    let joins = [("KAFKA_ZOOKEEPER_CONNECT", "zookeeper:2181")];
    let refused = BrokerConfig::from_properties(kafka(&joins)).expect_err("another node");
    assert!(
        refused.to_string().contains("zookeeper is not this node"),
        "{refused}"
    );
}

#[test]
fn without_listeners_those_that_are_advertised_are_opened_on_every_interface() {
    for (advertised, expected) in [
        ("PLAINTEXT://broker:9092", "PLAINTEXT://0.0.0.0:9092"),
        ("A://a:1,B://b.c:2", "A://0.0.0.0:1,B://0.0.0.0:2"),
        ("A://:1", "A://0.0.0.0:1"),
        ("A://[::1]:1", "A://0.0.0.0:1"),
        ("nonsense", "nonsense"),
    ] {
        let told = ("KAFKA_ADVERTISED_LISTENERS", advertised);
        let found = kafka(&[told, ("KAFKA_LISTENERS", "")]);
        assert_eq!(found.get("listeners").map(String::as_str), Some(expected));
        let own = kafka(&[told, ("KAFKA_LISTENERS", "C://:3")]);
        assert_eq!(own.get("listeners").map(String::as_str), Some("C://:3"));
    }
}

#[test]
fn a_file_comes_first_and_where_there_is_nothing_it_is_as_in_the_image() {
    let mounted = |path: &Path| match path.to_str() {
        Some("/mnt/shared/config/server.properties") => {
            Ok(b"num.partitions=3\nbroker.rack=a".to_vec())
        }
        _ => nothing(path),
    };
    let environment = Environment::of([("KAFKA_NUM_PARTITIONS", "4")]);
    let found = environment.kafka(None, &mounted).expect("usable");
    assert_eq!(
        found.properties,
        set(&[("num.partitions", "4"), ("broker.rack", "a")])
    );
    let given = environment
        .kafka(Some(set(&[("log.dirs", "/x")])), &mounted)
        .expect("usable");
    assert_eq!(
        given.properties,
        set(&[("num.partitions", "4"), ("log.dirs", "/x")])
    );

    let listeners = |environment: &Environment, mut properties: Properties| {
        let found = environment.kafka(None, &nothing).expect("usable");
        properties.extend(found.properties.clone());
        found.set_listeners(&mut properties);
        properties.get("listeners").cloned()
    };
    let bare = Environment::of([("KAFKA_OPTS", "-Dx=y"), ("CLUSTER_ID", "")]);
    assert_eq!(
        listeners(&bare, Properties::new()).as_deref(),
        Some("PLAINTEXT://:9092")
    );
    let by_option = set(&[("listeners", "SSL://:1")]);
    assert_eq!(listeners(&bare, by_option).as_deref(), Some("SSL://:1"));
    assert_eq!(listeners(&environment, Properties::new()), None);
    let unreadable = |_: &Path| Err(ErrorKind::PermissionDenied.into());
    let refused = bare.kafka(None, &unreadable).expect_err("unreadable");
    assert!(
        refused.to_string().contains("/mnt/shared/config"),
        "{refused}"
    );
}

#[test]
fn a_cluster_id_is_that_of_the_image_unless_it_is_set() {
    let cluster = |id| {
        let found = Environment::of([("CLUSTER_ID", id)]).kafka(None, &nothing);
        found
            .map(|found| found.cluster_id)
            .map_err(|error| error.to_string())
    };
    assert_eq!(cluster("").as_deref(), Ok("5L6g3nShT-eMCtK--X86sw"));
    for id in [
        "4L6g3nShT-eMCtK--X86sw",
        "MkU3OEVBNTcwNTJENDM2Qg==",
        "a+b/c",
    ] {
        assert_eq!(cluster(id).as_deref(), Ok(id));
    }
    for id in ["a\nnode.id=7", "a b", "ü", &"x".repeat(65)] {
        assert!(cluster(id).expect_err(id).contains("CLUSTER_ID"));
    }
}

#[test]
fn keystores_and_their_passwords_stand_in_files_of_the_image() {
    let secrets = |path: &Path| match path.to_str() {
        Some("/etc/kafka/secrets/keystore_creds") => Ok(b"store secret\n\n".to_vec()),
        Some("/etc/kafka/secrets/key_creds") => Ok(b"key".to_vec()),
        Some("/etc/kafka/secrets/truststore_creds") => Ok(b"trust\n".to_vec()),
        _ => nothing(path),
    };
    let variables = [
        ("KAFKA_ADVERTISED_LISTENERS", "SSL://localhost:9093"),
        ("KAFKA_SSL_KEYSTORE_FILENAME", "kafka01.keystore.jks"),
        ("KAFKA_SSL_KEYSTORE_CREDENTIALS", "keystore_creds"),
        ("KAFKA_SSL_KEY_CREDENTIALS", "key_creds"),
        ("KAFKA_SSL_TRUSTSTORE_FILENAME", "kafka.truststore.jks"),
        ("KAFKA_SSL_TRUSTSTORE_CREDENTIALS", "truststore_creds"),
    ];
    let with = |more: &[(&'static str, &'static str)]| {
        let all = variables.iter().chain(more).copied();
        Environment::of(all).kafka(None, &secrets)
    };
    let without_clients = [
        ("listeners", "SSL://0.0.0.0:9093"),
        ("advertised.listeners", "SSL://localhost:9093"),
        (
            "ssl.keystore.location",
            "/etc/kafka/secrets/kafka01.keystore.jks",
        ),
        ("ssl.keystore.password", "store secret"),
        ("ssl.key.password", "key"),
    ];
    assert_eq!(with(&[]).expect("usable").properties, set(&without_clients));
    let clients = [
        ("ssl.client.auth", "required"),
        (
            "ssl.truststore.location",
            "/etc/kafka/secrets/kafka.truststore.jks",
        ),
        ("ssl.truststore.password", "trust"),
    ];
    let asked = with(&[("KAFKA_SSL_CLIENT_AUTH", "required")]).expect("usable");
    assert_eq!(
        asked.properties,
        set(&[&without_clients[..], &clients].concat())
    );
    let missing = with(&[("KAFKA_SSL_KEY_CREDENTIALS", "no_such")]).expect_err("no file");
    let text = missing.to_string();
    assert!(
        text.contains("KAFKA_SSL_KEY_CREDENTIALS") && text.contains("/etc/kafka/secrets/no_such"),
        "{text}"
    );
    // Where nothing encrypts they mean nothing, as in the image.
    let open =
        with(&[("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://localhost:9092")]).expect("usable");
    assert!(!open.properties.keys().any(|key| key.starts_with("ssl")));
}

#[test]
fn users_stand_in_the_jaas_file_of_the_image() {
    let jaas = |path: &Path| {
        match path.to_str() {
        Some("/etc/kafka/secrets/jaas.conf") => Ok(b"KafkaServer {\n  \
            org.apache.kafka.common.security.plain.PlainLoginModule required\n    user_ann=\"a\\\"b\";\n  \
            org.apache.kafka.common.security.scram.ScramLoginModule required;\n};\n\
            inner.KafkaServer { org.apache.kafka.common.security.plain.PlainLoginModule required user_bob=b; };\n"
            .to_vec()),
        Some("/etc/kafka/secrets/other.conf") => Ok(b"Client { a.B required; };".to_vec()),
        _ => nothing(path),
    }
    };
    let with = |file: &'static str, more: &[(&'static str, &'static str)]| {
        let options = format!("-Xmx1g -Djava.security.auth.login.config={file} -Da=b");
        let variables = [
            (
                "KAFKA_LISTENERS",
                "SASL_PLAINTEXT://localhost:1,INNER://localhost:2,PLAINTEXT://localhost:3,CONTROLLER://localhost:4",
            ),
            (
                "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
                "SASL_PLAINTEXT:SASL_PLAINTEXT,INNER:SASL_PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
            ),
            ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
            ("KAFKA_SASL_ENABLED_MECHANISMS", "PLAIN,SCRAM-SHA-256"),
            ("KAFKA_SASL_MECHANISM_INTER_BROKER_PROTOCOL", "PLAIN"),
            ("KAFKA_OPTS", options.as_str()),
        ];
        let environment = Environment::of(variables.into_iter().chain(more.iter().copied()));
        let found = environment.kafka(None, &jaas).expect("usable");
        let mut properties = found.properties.clone();
        let completed = found.complete_logins(&mut properties, &jaas);
        completed
            .map(|()| properties)
            .map_err(|error| error.to_string())
    };
    let found = with("/etc/kafka/secrets/jaas.conf", &[]).expect("usable");
    let told: Vec<_> = found
        .iter()
        .filter(|(key, _)| key.ends_with("jaas.config"))
        .collect();
    let plain = "org.apache.kafka.common.security.plain.PlainLoginModule required";
    let expected = set(&[
        (
            "listener.name.inner.plain.sasl.jaas.config",
            &format!("{plain} \"user_bob\"=\"b\";"),
        ),
        (
            "listener.name.sasl_plaintext.plain.sasl.jaas.config",
            &format!("{plain} \"user_ann\"=\"a\\\"b\";"),
        ),
        (
            "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        ),
    ]);
    assert_eq!(told, expected.iter().collect::<Vec<_>>());
    let (config, _) = BrokerConfig::from_properties(found).expect("valid");
    assert_eq!(
        config
            .listeners
            .iter()
            .filter(|one| one.mechanisms.is_some())
            .count(),
        2
    );
    // What a key says counts instead.
    let key = "KAFKA_LISTENER_NAME_INNER_PLAIN_SASL_JAAS_CONFIG";
    let own = with("/etc/kafka/secrets/jaas.conf", &[(key, "x")]).expect("usable");
    assert_eq!(own["listener.name.inner.plain.sasl.jaas.config"], "x");
    for (file, expected) in [
        ("/no/such", "cannot read /no/such"),
        (
            "/etc/kafka/secrets/other.conf",
            "neither sasl_plaintext.KafkaServer nor KafkaServer",
        ),
    ] {
        let refused = with(file, &[]).expect_err(file);
        assert!(
            refused.contains("KAFKA_OPTS") && refused.contains(expected),
            "{refused}"
        );
    }
}

#[test]
fn kafkas_levels_are_levels_of_the_log() {
    let level = |text| Environment::of([("KAFKA_LOG4J_ROOT_LOGLEVEL", text)]).kafka_log_level();
    for (text, expected) in [
        ("", None),
        ("WARN", Some("warn")),
        ("fatal", Some("error")),
        ("ALL", Some("trace")),
        ("OFF", Some("off")),
    ] {
        assert_eq!(level(text).expect(text), expected);
    }
    assert!(level("loud").is_err());
}
