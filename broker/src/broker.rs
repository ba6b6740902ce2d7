//! What all connections share.

use std::sync::Arc;
use std::time::Duration;

use storage::log::LogStore;
use tokio::sync::watch;
use uuid::Uuid;

use crate::authorizer::Authorizer;
use crate::client_metrics::ClientMetrics;
use crate::clock::Clock;
use crate::cluster::membership::Membership;
use crate::cluster::view::ClusterView;
use crate::config::BrokerConfig;
use crate::coordinator::group::GroupCoordinator;
use crate::coordinator::peers::Peers;
use crate::coordinator::stats::TransactionStats;
use crate::coordinator::txn::TransactionCoordinator;
use crate::metadata::Metadata;
use crate::metrics::RequestMetrics;
use crate::metrics::logins::LoginMetrics;
use crate::net::budget::{Budget, RequestBudget};
use crate::net::connection_rates::ConnectionRates;
use crate::net::limits::ConnectionLimits;
use crate::net::unauthenticated::Unauthenticated;
use crate::partition::fetch_session::FetchSessionCache;
use crate::partition::registry::PartitionRegistry;
use crate::partition::validation::Validators;
use crate::quota::Quotas;
use crate::security::delegation::DelegationTokens;
use crate::security::logins::Logins;
use crate::security::tls::listeners::{Reload, TlsListeners};

/// The running broker, shared by all connections.
pub struct Broker {
    pub config: Arc<BrokerConfig>,
    pub clock: Clock,
    pub authorizer: Arc<Authorizer>,
    /// Who the brokers are.
    pub cluster: Arc<ClusterView>,
    pub metadata: Metadata,
    /// This broker's place among them; `None` on one machine.
    pub members: Option<Arc<Membership>>,
    /// The id of the data directory (KIP-858).
    pub directory_id: Uuid,
    pub partitions: Arc<PartitionRegistry>,
    pub fetch_sessions: FetchSessionCache,
    pub validators: Validators,
    pub groups: GroupCoordinator,
    pub transactions: TransactionCoordinator,
    /// Those of other brokers.
    pub(crate) peers: Peers,
    pub(crate) transaction_stats: Arc<TransactionStats>,
    pub request_budget: RequestBudget,
    pub response_budget: Budget,
    /// What requests of many elements take when they are decoded and answered.
    pub element_budget: Budget,
    pub connection_limits: Arc<ConnectionLimits>,
    pub connection_rates: Arc<ConnectionRates>,
    pub quotas: Arc<Quotas>,
    /// What clients may log in with.
    pub(crate) logins: Logins,
    pub(crate) delegation: Arc<DelegationTokens>,
    /// Those that have not yet, where they have to.
    pub(crate) unauthenticated: Unauthenticated,
    pub(crate) tls: Arc<TlsListeners>,
    pub(crate) client_metrics: Arc<ClientMetrics>,
    pub logs: Arc<dyn LogStore>,
    pub requests: RequestMetrics,
    pub(crate) login_counts: LoginMetrics,
    pub(crate) shutdown: watch::Sender<bool>,
}

impl Broker {
    /// Becomes true when the broker shuts down.
    pub(crate) fn shutdown_signal(&self) -> watch::Receiver<bool> {
        self.shutdown.subscribe()
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        *self.shutdown.borrow()
    }

    /// Resolves when the broker shuts down.
    pub(crate) async fn wait_for_shutdown(&self) {
        let mut signal = self.shutdown_signal();
        // An error means that the broker is gone altogether.
        let _ = signal.wait_for(|down| *down).await;
    }

    /// Has new connections served with certificates and keys as they are now.
    #[expect(clippy::disallowed_methods, reason = "no client sees it")]
    pub async fn reload_tls(self: &Arc<Self>, reload: Reload) {
        let broker = Arc::clone(self);
        let reloading = tokio::task::spawn_blocking(move || {
            let published = broker.metadata.published();
            broker
                .tls
                .reload(&broker.config, published.dynamic_settings(), reload);
            broker.peers.reload(reload);
        });
        if let Err(error) = reloading.await {
            tracing::error!("the certificates could not be read again: {error}");
        }
    }

    /// How long a connection may be silent.
    pub(crate) fn connections_max_idle(&self) -> Duration {
        match u64::try_from(self.config.serving.connections_max_idle_ms) {
            Ok(ms) => Duration::from_millis(ms),
            Err(_) => Duration::MAX,
        }
    }
}
