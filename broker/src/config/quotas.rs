//! How quotas are measured, and how fast connections may come.

use super::broker_row::{BrokerRow, kafka};
use super::listeners::Listener;
use super::section::section;
use super::settings::{DynamicSettings, Settings};
use crate::quota::Sampling;

/// Of the broker, and with a listener's prefix of that one.
pub(super) const CREATION_RATE: &str = "max.connection.creation.rate";

section! {
    /// What rates are measured over.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct QuotaSettings of BrokerRow {}
    keys {
        /// Spans of time that a rate is measured over: of bytes, of requests and of new connections.
        spans: i32 = kafka("quota.window.num"),
        /// Length of such a span, in seconds.
        span_seconds: i32 = kafka("quota.window.size.seconds"),
        /// Spans of time whose quota of creating and deleting partitions may be used at once (KIP-599).
        mutation_spans: i32 = kafka("controller.quota.window.num"),
        /// Length of such a span, in seconds.
        mutation_span_seconds: i32 = kafka("controller.quota.window.size.seconds"),
    }
    also {
        /// Most new connections in a second; further ones wait. With listener.name.LISTENER. before it: of that listener.
        _ = kafka(CREATION_RATE),
    }
}

impl QuotaSettings {
    pub(crate) fn sampling(&self) -> Sampling {
        Sampling::new(self.spans, self.span_seconds)
    }

    pub(crate) fn mutation_sampling(&self) -> Sampling {
        Sampling::new(self.mutation_spans, self.mutation_span_seconds)
    }
}

/// Most new connections in a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RateSettings {
    pub broker: Option<f64>,
    /// By name.
    pub listeners: Vec<(String, f64)>,
}

impl RateSettings {
    /// As they are in force. A listener without a rate of its own may have as many as the broker, as in Kafka.
    pub(crate) fn new(
        settings: &Settings,
        dynamic: DynamicSettings<'_>,
        listeners: &[Listener],
    ) -> Self {
        let limit = |key: &str| -> Option<f64> {
            let rate: i32 = settings.effective(key, dynamic)?.trim().parse().ok()?;
            (rate != i32::MAX).then(|| f64::from(rate))
        };
        let own = listeners.iter().filter_map(|listener| {
            let prefix = format!("listener.name.{}", listener.name.to_lowercase());
            Some((
                listener.name.clone(),
                limit(&format!("{prefix}.{CREATION_RATE}"))?,
            ))
        });
        Self {
            broker: limit(CREATION_RATE),
            listeners: own.collect(),
        }
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.broker.is_some() || !self.listeners.is_empty()
    }

    /// The limit of a listener.
    pub(crate) fn of(&self, listener: &str) -> Option<f64> {
        let mut own = self.listeners.iter();
        own.find(|(name, _)| name == listener)
            .map(|(_, limit)| *limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BrokerConfig, Properties};

    #[test]
    fn a_listener_has_the_rate_that_is_set_for_it_and_what_changes_goes_over_the_file() {
        let text = [
            ("listeners", "PLAINTEXT://:9092,EXTERNAL://:9093"),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,EXTERNAL:PLAINTEXT",
            ),
            ("max.connection.creation.rate", "7"),
            ("listener.name.external.max.connection.creation.rate", "5"),
        ];
        let text = text.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let set: Properties = text.into_iter().collect();
        let (config, _) = BrokerConfig::from_properties(set).expect("valid");
        let rates = |dynamic| RateSettings::new(&config.settings, dynamic, &config.listeners);
        let found = rates(DynamicSettings::none());
        assert_eq!((found.broker, found.of("EXTERNAL")), (Some(7.0), Some(5.0)));
        assert_eq!(found.of("PLAINTEXT"), None);
        let key = "listener.name.external.max.connection.creation.rate";
        let changed = [(key.to_owned(), "2147483647".to_owned())].into();
        let dynamic = DynamicSettings {
            cluster_wide: &changed,
            ..DynamicSettings::none()
        };
        assert_eq!(rates(dynamic).of("EXTERNAL"), None, "as many as there are");
    }
}
