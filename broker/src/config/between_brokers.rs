//! How brokers of a cluster ask each other, as the settings say it.

use super::broker_row::{BrokerRow, kafka, own_null};
use super::def::Kind;
use super::listeners::Listener;
use super::section::section;

section! {
    /// By which listener brokers of a cluster reach each other, and as whom.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct BetweenBrokersConfig of BrokerRow {}
    keys {
        /// Listener by which brokers of a cluster reach each other; unset: the first one.
        listener_name: Option<String> = kafka("inter.broker.listener.name"),
        /// File that says how brokers of a cluster connect to each other, if the listener for it encrypts or asks who they
        /// are: client.properties as for Kafka's tools.
        client_config: Option<String> = own_null("ottla.cluster.client.config", Kind::String),
    }
    also {}
}

impl BetweenBrokersConfig {
    /// The listener by which brokers reach each other; `None` if none has the name.
    pub(crate) fn listener<'a>(&self, listeners: &'a [Listener]) -> Option<&'a Listener> {
        match &self.listener_name {
            Some(name) => {
                let mut listeners = listeners.iter();
                listeners.find(|listener| listener.name.eq_ignore_ascii_case(name))
            }
            None => listeners.first(),
        }
    }
}
