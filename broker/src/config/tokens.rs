//! Delegation tokens, as the settings say it.

use super::broker_row::{BrokerRow, kafka};
use super::section::section;
use credentials::secret::Secret;

section! {
    /// How delegation tokens are made, and for how long they hold (KIP-48). Times are milliseconds.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct TokensConfig of BrokerRow {}
    keys {
        /// Key that makes the secrets of delegation tokens. Unset or empty: there are no tokens. With another key none of those
        /// that were made before is good any more.
        secret_key: Option<Secret> = kafka("delegation.token.secret.key") => secret,
        /// How long a token can be renewed; it ends then at the latest.
        max_lifetime_ms: i64 = kafka("delegation.token.max.lifetime.ms"),
        /// How long a token holds before it has to be renewed.
        expiry_time_ms: i64 = kafka("delegation.token.expiry.time.ms"),
        /// How often tokens are removed that hold no longer.
        expiry_check_interval_ms: u64 = kafka("delegation.token.expiry.check.interval.ms"),
    }
    also {}
}

fn secret(text: Option<String>) -> Option<Secret> {
    text.filter(|text| !text.is_empty()).map(Secret::new)
}
