//! How brokers of a cluster ask each other, as the settings say it.

use super::broker_row::{BrokerRow, kafka, own_null};
use super::def::Kind;
use super::listeners::{Listener, SecurityProtocol};
use super::section::section;
use super::settings::Settings;

section! {
    /// By which listener brokers of a cluster reach each other, and as whom.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct BetweenBrokersConfig of BrokerRow {}
    keys {
        /// Listener by which brokers of a cluster reach each other; unset: the first one.
        listener_name: Option<String> = kafka("inter.broker.listener.name"),
        /// How a broker logs in at the others, if the listener for it asks who they are: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, with
        /// username and password of listener.name.LISTENER.MECHANISM.sasl.jaas.config.
        mechanism: String = kafka("sasl.mechanism.inter.broker.protocol"),
        /// File that says how brokers of a cluster connect to each other, in place of what the listener for it says:
        /// client.properties as for Kafka's tools.
        client_config: Option<String> = own_null("ottla.cluster.client.config", Kind::String),
    }
    also {}
}

impl BetweenBrokersConfig {
    /// The listener by which brokers reach each other; `None` if none has the name or the protocol that is set.
    pub(crate) fn listener<'a>(
        &self,
        settings: &Settings,
        listeners: &'a [Listener],
    ) -> Option<&'a Listener> {
        let protocol = settings.explicit("security.inter.broker.protocol");
        let mut all = listeners.iter();
        match (&self.listener_name, protocol) {
            (Some(name), _) => all.find(|listener| listener.name.eq_ignore_ascii_case(name)),
            (None, Some(protocol)) => {
                let protocol = SecurityProtocol::from_name(protocol)?;
                all.find(|listener| listener.security_protocol == protocol)
            }
            (None, None) => all.next(),
        }
    }
}
