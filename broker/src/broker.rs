//! Wiring: every part of the broker, put together once.

use std::sync::Arc;

use crate::config::BrokerConfig;
use crate::metadata::Metadata;

/// The running broker, shared by all connections.
pub struct Broker {
    pub config: Arc<BrokerConfig>,
    pub metadata: Metadata,
}
