//! The section of the transaction coordinator.

use coordinators::txn::TransactionConfig;

use super::broker_row::{BrokerRow, kafka};
use super::section::section;

section! {
    fill TransactionConfig of BrokerRow = TransactionConfig::default();
    keys {
        /// Longest time that a producer may ask for, after which its open transaction is aborted.
        max_timeout_ms = kafka("transaction.max.timeout.ms"),
        /// A transactional id that was silent for this long, and has no transaction open, is forgotten.
        id_expiration_ms = kafka("transactional.id.expiration.ms"),
    }
    also {}
}
