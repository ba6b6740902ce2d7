//! The programs that log in, one for each client: BOOTSTRAP MECHANISM USER PASSWORD TOPIC SECONDS. Each tells what it
//! has read, or that it was refused.

use std::process::Command;

use anyhow::{Context as _, Result};
use compat_tests::python::Python;
use compat_tests::{go, java, node};

/// A client and its program.
pub struct Client {
    pub name: &'static str,
    pub command: fn() -> Result<Command>,
}

pub const CLIENTS: &[Client] = &[
    Client {
        name: "kafka-python 2.0.2",
        command: || python("kafka-python", "2.0.2"),
    },
    Client {
        name: "kafka-python 3.0.12",
        command: || python("kafka-python", "3.0.12"),
    },
    Client {
        name: "confluent-kafka",
        command: || python("confluent-kafka", "2.16.1"),
    },
    Client {
        name: "aiokafka",
        command: || python("aiokafka", "0.14.0"),
    },
    Client {
        name: "kafkajs",
        command: || node::command("kafkajs", "log_in.js"),
    },
    Client {
        name: "franz-go",
        command: || go("franz-go"),
    },
    Client {
        name: "sarama v0",
        command: || go("sarama v0"),
    },
    Client {
        name: "sarama v1",
        command: || go("sarama v1"),
    },
    Client {
        name: "java",
        command: || java::client("4.4.0", "LogInSince4"),
    },
];

/// The client of this name.
pub fn client(name: &str) -> Result<&'static Client> {
    let mut clients = CLIENTS.iter();
    let client = clients.find(|client| client.name == name);
    client.with_context(|| format!("there is no {name}"))
}

fn python(client: &str, version: &str) -> Result<Command> {
    Ok(Python::with(client, version)?.command("log_in.py", &[]))
}

fn go(client: &str) -> Result<Command> {
    let mut command = Command::new(go::program("log-in")?);
    command.arg(client);
    Ok(command)
}
