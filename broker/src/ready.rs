//! The line on stdout that says that the broker is ready, and where.
//!
//! With `--kafka-env` lines of Kafka's follow: modules of testcontainers wait for them in the output of a container.
//!
//! | line | who waits for it |
//! |---|---|
//! | `Transitioning from RECOVERY to RUNNING` | Java, Go, .NET |
//! | `[KafkaRaftServer nodeId=N] Kafka Server started` | Rust, on stdout; Python with KRaft; kafka-python's own tests |
//! | `[KafkaServer id=N] started` | Python without KRaft, older ones of .NET |

use std::io::Write as _;

use broker::server::Server;
use clap::ValueEnum;
use serde_json::json;
use storage::log::Durability;
use storage::object::database::PostgresDatabase;

/// How that line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReadyFormat {
    Text,
    Json,
}

/// Says where the broker listens, where the data is, how durable it is.
pub fn announce(running: &Server, format: ReadyFormat, kafkas_words: bool) {
    let mut lines = match format {
        ReadyFormat::Text => text(running),
        ReadyFormat::Json => json(running),
    };
    if kafkas_words {
        let id = running.broker.config.node_id;
        lines += &format!(
            "\nTransitioning from RECOVERY to RUNNING\n[KafkaRaftServer nodeId={id}] Kafka Server started\n[KafkaServer id={id}] started"
        );
    }
    // A closed stdout is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{lines}");
}

fn text(running: &Server) -> String {
    let config = &running.broker.config;
    let join = |items: Vec<String>| items.join(", ");
    let addresses = running.addresses().iter().map(ToString::to_string);
    let advertised = running.listening().iter();
    let advertised = advertised.map(|listener| listener.advertised.to_string());
    let durability = match (config.ephemeral, config.engine().durability) {
        (true, _) => "gone when the broker stops (ephemeral)",
        (_, Durability::Strict) => "acknowledged records survive a power cut (strict)",
        (_, Durability::Os) => {
            "acknowledged records survive a crash of the broker, not a power cut (os)"
        }
    };
    let data = match &config.cluster {
        None => format!("data in {}, {durability}", data_dir(running)),
        Some(stores) => format!(
            "broker {} of a cluster, whose records are in {}",
            config.node_id, stores.objects_url
        ),
    };
    format!(
        "Ottla {} listens on {}, clients connect to {}; {data}",
        env!("CARGO_PKG_VERSION"),
        join(addresses.collect()),
        join(advertised.collect()),
    )
}

fn json(running: &Server) -> String {
    let broker = &running.broker;
    let listeners = running.listening().iter().map(|listener| {
        json!({
            "name": listener.name,
            "security_protocol": listener.security_protocol.name(),
            "addresses": listener.addresses,
            "advertised": listener.advertised.to_string(),
        })
    });
    let mut ready = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "cluster_id": running.cluster_id(),
        "node_id": broker.config.node_id,
        "listeners": listeners.collect::<Vec<_>>(),
        "metrics": running.metrics_addresses(),
    });
    match &broker.config.cluster {
        None => {
            ready["data_dir"] = data_dir(running).into();
            ready["durability"] = match broker.config.engine().durability {
                Durability::Strict => "strict".into(),
                Durability::Os => "os".into(),
            };
            ready["ephemeral"] = broker.config.ephemeral.into();
        }
        // The records are elsewhere. Neither of these has a password.
        Some(stores) => {
            let database = PostgresDatabase::address_of(stores.database_url.expose());
            ready["cluster"] = json!({ "database": database, "objects": stores.objects_url });
        }
    }
    ready.to_string()
}

fn data_dir(running: &Server) -> String {
    let dir = &running.broker.config.data_dir;
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
    absolute.display().to_string()
}
