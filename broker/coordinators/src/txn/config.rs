//! Settings of the transaction coordinator, by Kafka's names.

/// What a [`TransactionShard`](super::TransactionShard) needs to know of the broker's configuration.
///
/// Times are milliseconds. `Default` gives Kafka's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`: a producer that asks for more gets INVALID_TRANSACTION_TIMEOUT.
    pub max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`: an id without an open transaction is forgotten when it was silent for this long.
    pub id_expiration_ms: i32,
}

impl Default for TransactionConfig {
    fn default() -> Self {
        Self {
            max_timeout_ms: 900_000,
            id_expiration_ms: 604_800_000,
        }
    }
}
