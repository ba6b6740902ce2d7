//! Log-ins are counted by listener and mechanism: words of the operator's and of this broker's, none of a client's.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::{Listener, SecurityProtocol};

/// Where clients are known by their certificates, or need not be.
pub(crate) const BY_TLS: &str = "SSL";
/// The client was refused before it had named a mechanism.
const NONE: &str = "none";

/// What all connections count.
pub struct LoginMetrics {
    rows: Vec<Row>,
}

struct Row {
    listener: String,
    mechanism: &'static str,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// The log-ins of one listener with one mechanism.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoginCounts {
    pub listener: String,
    pub mechanism: &'static str,
    pub succeeded: u64,
    pub failed: u64,
}

impl LoginMetrics {
    /// Counts the log-ins of each listener that asks for one.
    pub(crate) fn new(listeners: &[Listener]) -> Self {
        let rows = listeners.iter().flat_map(|listener| {
            let mechanisms: Vec<&'static str> = match &listener.mechanisms {
                Some(mechanisms) => mechanisms.names().chain([NONE]).collect(),
                None if listener.security_protocol == SecurityProtocol::Ssl => vec![BY_TLS],
                None => Vec::new(),
            };
            let name = &listener.name;
            mechanisms.into_iter().map(move |mechanism| Row {
                listener: name.clone(),
                mechanism,
                succeeded: AtomicU64::new(0),
                failed: AtomicU64::new(0),
            })
        });
        Self {
            rows: rows.collect(),
        }
    }

    /// Counts a log-in. `mechanism` is none where the client has not named one.
    pub(crate) fn count(&self, listener: &str, mechanism: Option<&str>, succeeded: bool) {
        let mechanism = mechanism.unwrap_or(NONE);
        let mut rows = self.rows.iter();
        let row = rows.find(|row| row.listener == listener && row.mechanism == mechanism);
        if let Some(row) = row {
            let counter = match succeeded {
                true => &row.succeeded,
                false => &row.failed,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn snapshot(&self) -> Vec<LoginCounts> {
        let counts = self.rows.iter().map(|row| LoginCounts {
            listener: row.listener.clone(),
            mechanism: row.mechanism,
            succeeded: row.succeeded.load(Ordering::Relaxed),
            failed: row.failed.load(Ordering::Relaxed),
        });
        counts.collect()
    }
}
