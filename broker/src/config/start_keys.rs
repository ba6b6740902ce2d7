//! Keys that say together who the broker is and where: [`BrokerConfig`](super::BrokerConfig) reads them by their names.

use super::broker_row::{BrokerRow, kafka};
use super::def::Rule;

#[rustfmt::skip] // a table
pub(super) static STARTING: &[BrokerRow] = &[
    // Kafka must be told.
    kafka("node.id").default("1")
        .doc("Number of this broker. One of a cluster that is not given one takes it from the database."),
    kafka("broker.id")
        .doc("Older name of node.id; node.id wins."),
    // Kafka must be told.
    kafka("process.roles").default("broker,controller")
        .doc("Must name broker; Ottla is its own controller."),
    // Nobody listens to the world without being told to.
    kafka("listeners").default("PLAINTEXT://localhost:9092")
        .doc("Where the broker listens, one NAME://host:port each; an empty host is every interface."),
    kafka("advertised.listeners")
        .doc("Where clients are told to connect, one LISTENER://host:port each; unset: as listeners."),
    kafka("listener.security.protocol.map")
        .doc("Security protocol of each listener name: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."),
    kafka("security.inter.broker.protocol")
        .doc("Protocol of the listener by which brokers of a cluster reach each other, if inter.broker.listener.name does not say which; a listener must have it on one machine, too."),
    kafka("controller.listener.names").default("").rule(Rule::Set)
        .doc("Listeners of Kafka's controller; Ottla has none and does not open them."),
    kafka("log.dirs")
        .doc("Directory of all data; exactly one."),
    // What is acknowledged is not kept in /tmp.
    kafka("log.dir").default("ottla-data")
        .doc("Directory of all data, if log.dirs is not set."),
];
