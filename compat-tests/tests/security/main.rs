//! Clients that have to say who they are, and what strangers are told.

mod client_programs;
mod kerberos;
mod same_log_ins;
mod sasl;
mod secured;
mod tls;
mod tokens;

use std::net::SocketAddr;

use anyhow::Result;
use compat_tests::broker_process::free_port;
use compat_tests::{BrokerKind, BrokerProcess};

/// A broker with one listener for everybody and one that asks for a log-in.
struct Secured {
    broker: BrokerProcess,
    login: SocketAddr,
}

const PLAIN_MODULE: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";

impl Secured {
    /// Starts it with further properties, in which `LOGIN` names the listener.
    fn start(kind: BrokerKind, properties: &[(&str, &str)]) -> Result<Self> {
        let mut secured = Self::stopped(kind, properties)?;
        secured.broker.restart()?;
        Ok(secured)
    }

    /// The same before its first start.
    fn stopped(kind: BrokerKind, properties: &[(&str, &str)]) -> Result<Self> {
        let mut broker = BrokerProcess::stopped(kind, &[], &[])?;
        let (open, login) = (
            broker.address(),
            SocketAddr::from(([127, 0, 0, 1], free_port()?)),
        );
        let mut listeners = format!("PLAINTEXT://{open},LOGIN://{login}");
        let advertised = listeners.clone();
        if kind == BrokerKind::Kafka {
            listeners += &format!(",CONTROLLER://127.0.0.1:{}", open.port() + 10_000);
        }
        let protocols = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,LOGIN:SASL_PLAINTEXT";
        let plain =
            format!("{PLAIN_MODULE} required user_alice=\"alice-secret\" user_bob=\"bob-secret\";");
        let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let mut all = vec![
            ("listeners", listeners.as_str()),
            ("advertised.listeners", &advertised),
            ("listener.security.protocol.map", protocols),
            (
                "sasl.enabled.mechanisms",
                "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            ),
            ("listener.name.login.plain.sasl.jaas.config", &plain),
            ("listener.name.login.scram-sha-256.sasl.jaas.config", scram),
            ("listener.name.login.scram-sha-512.sasl.jaas.config", scram),
        ];
        all.extend(properties);
        broker.override_with(&all)?;
        Ok(Self { broker, login })
    }
}
