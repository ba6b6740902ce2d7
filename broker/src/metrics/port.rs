//! Where metrics are served: as the operator says, or at the usual port if nobody is harmed by it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use storage::log::RecoveryProgress;
use tokio::task::JoinSet;
use tracing::info;

use super::http::{self, Http, Token};
use crate::broker::Broker;
use crate::config::{
    self, AuthorizationConfig, BrokerConfig, HostPort, MetricsListen, SecurityProtocol,
};
use crate::net::listener::{self, BindError};
use crate::vital::{Vital, VitalTaskPanicked};

/// Where metrics are if nobody says so: where Prometheus's exporter for Kafka's metrics usually is.
const USUAL_PORT: u16 = 9404;

/// Why metrics cannot be served as the operator wants it.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("{0}")]
    Token(String),
}

/// The port of metrics, or none.
pub(crate) struct MetricsPort {
    http: Arc<Http>,
    addresses: Vec<SocketAddr>,
    listeners: JoinSet<()>,
    vital: Vital,
    /// Why the usual port is not served.
    taken: Option<BindError>,
}

impl MetricsPort {
    /// Opens it, for a broker whose start begins now.
    ///
    /// # Errors
    /// What the operator has asked for cannot be had. A usual port that cannot be had is no error.
    pub fn open(config: &BrokerConfig, progress: Arc<RecoveryProgress>) -> Result<Self, PortError> {
        let token = config.serving.metrics_token_file.as_deref();
        let token = token.map(|path| Token::read(Path::new(path)).map_err(PortError::Token));
        let mut port = Self {
            http: Arc::new(Http::of_a_start(progress, token.transpose()?)),
            addresses: Vec::new(),
            listeners: JoinSet::new(),
            vital: Vital::default(),
            taken: None,
        };
        match &config.serving.metrics_listen {
            Some(MetricsListen::Nowhere) => {}
            Some(MetricsListen::At(address)) => port.listen(config, address)?,
            None if !is_open_by_default(config) => {}
            None => {
                let usual = HostPort {
                    host: "localhost".to_owned(),
                    port: USUAL_PORT,
                };
                port.taken = port.listen(config, &usual).err();
            }
        }
        Ok(port)
    }

    fn listen(&mut self, config: &BrokerConfig, address: &HostPort) -> Result<(), BindError> {
        let bound = listener::bind(&config::Listener {
            name: "METRICS".to_owned(),
            security_protocol: SecurityProtocol::Plaintext,
            mechanisms: None,
            bind: address.clone(),
            advertised: address.clone(),
        })?;
        let addresses = bound.addresses().to_vec();
        for listener in bound.open(config.serving.socket_listen_backlog_size)? {
            let serving = http::run(Arc::clone(&self.http), listener.into_socket());
            let name = "the listener of metrics";
            self.vital.spawn_on(&mut self.listeners, name, serving);
        }
        self.addresses = addresses;
        Ok(())
    }

    /// The logs are open.
    pub fn loads(&self) {
        self.http.loads();
    }

    /// Clients can connect, and are told to do so at `advertised`.
    pub fn serves(&self, broker: &Arc<Broker>, advertised: &HostPort) {
        self.http.serves(Arc::clone(broker), advertised.clone());
        if let Some(error) = &self.taken {
            info!("metrics are served nowhere: {error}; ottla.metrics.listen says where else");
        } else if let Some(address) = self.addresses.first() {
            info!("metrics are at http://{address}/metrics");
        }
    }

    pub fn reload(&self) {
        self.http.reload();
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub async fn failed(&self) -> VitalTaskPanicked {
        self.vital.failed().await
    }

    /// Waits until the port is free again.
    pub async fn close(&mut self) {
        self.listeners.shutdown().await;
    }
}

/// Metrics tell the names of topics and groups. Without being asked they are told only where everybody on this machine may
/// learn them from the broker itself. Brokers that are gone in a moment leave the port to one that stays.
fn is_open_by_default(config: &BrokerConfig) -> bool {
    let mut listeners = config.listeners.iter();
    let lets_anybody_in = listeners.any(|one| one.security_protocol == SecurityProtocol::Plaintext);
    let has_authorizer = config.section::<AuthorizationConfig>().is_on;
    lets_anybody_in && !has_authorizer && !config.ephemeral
}
