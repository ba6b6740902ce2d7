//! What each stock client can do: its program in `clients/` tries it all, against Ottla and against real Kafka, and the
//! outcome is what `coverage/clients/` says. Then clients with one another, and Kafka's console tools.
//!
//! `COMPAT_BROKER=ottla` or `kafka` runs the programs against that one only.

mod across;
mod console_tools;

use std::process::Command;

use anyhow::Result;
use compat_tests::coverage::Subject;
use compat_tests::python::Python;
use compat_tests::toolchain::{crate_dir, find};
use compat_tests::{go, java, node, rust, trial};

/// Tries a client against both brokers and compares with what is expected.
fn covers(name: &str, version: &str, command: impl Fn() -> Result<Command>) -> Result<()> {
    let subject = Subject {
        section: "clients",
        name,
        version,
    };
    trial::covers(subject, 1, command)
}

/// One test for each client and version.
macro_rules! clients {
    ($($test:ident: $name:literal $version:literal, $command:expr;)*) => {
        $(
            #[test]
            fn $test() -> Result<()> {
                covers($name, $version, || $command)
            }
        )*
    };
}

fn python(client: &str, version: &str, program: &str) -> Result<Command> {
    Ok(Python::with(client, version)?.command(program, &[]))
}

/// kcat of the system, driven by Python's standard library.
fn kcat_by_python() -> Result<Command> {
    find("kcat")?;
    find("python3")?;
    let clients = crate_dir().join("clients");
    let mut python = Command::new("python3");
    python
        .env("PYTHONPATH", &clients)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    python
        .arg("-u")
        .arg(clients.join("kcat/capabilities_of_kcat.py"));
    Ok(python)
}

clients! {
    kcat: "kcat" "1.7.1", kcat_by_python();
    confluent_kafka_2_0_2: "confluent-kafka" "2.0.2", python("confluent-kafka", "2.0.2", "capabilities_of_confluent_kafka.py");
    confluent_kafka_2_16_1: "confluent-kafka" "2.16.1", python("confluent-kafka", "2.16.1", "capabilities_of_confluent_kafka.py");
    kafka_python_1_4_7: "kafka-python" "1.4.7", python("kafka-python", "1.4.7", "capabilities_of_kafka_python.py");
    kafka_python_2_0_2: "kafka-python" "2.0.2", python("kafka-python", "2.0.2", "capabilities_of_kafka_python.py");
    kafka_python_2_3_3: "kafka-python" "2.3.3", python("kafka-python", "2.3.3", "capabilities_of_kafka_python.py");
    kafka_python_3_0_12: "kafka-python" "3.0.12", python("kafka-python", "3.0.12", "capabilities_of_kafka_python.py");
    kafka_clients_2_8_2: "kafka-clients" "2.8.2", java::client("2.8.2", "Capabilities");
    kafka_clients_3_9_1: "kafka-clients" "3.9.1", java::client("3.9.1", "Capabilities");
    kafka_clients_4_4_0: "kafka-clients" "4.4.0", java::client("4.4.0", "Capabilities");
    franz_go: "franz-go" "1.22.3", go::program("franz-go").map(Command::new);
    platformatic_kafka: "platformatic-kafka" "2.12.1", node::command("platformatic-kafka", "capabilities_of_platformatic_kafka.mjs");
    quix: "quixstreams" "3.28.1", python("quix", "3.28.1", "capabilities_of_quix.py");
    aiokafka: "aiokafka" "0.14.0", python("aiokafka", "0.14.0", "capabilities_of_aiokafka.py");
    kafkajs: "kafkajs" "2.2.4", node::command("kafkajs", "capabilities_of_kafkajs.js");
    confluent_kafka_javascript: "confluent-kafka-javascript" "1.10.1", node::command("confluent-kafka-javascript", "capabilities_of_confluent_kafka_javascript.js");
    rdkafka: "rdkafka" "0.39.0", rust::program("rdkafka").map(Command::new);
    kafka_go: "kafka-go" "0.4.51", go::program("kafka-go").map(Command::new);
    sarama: "sarama" "1.61.1", go::program("sarama").map(Command::new);
}
