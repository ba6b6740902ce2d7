//! The start and the stop: every part of the broker, put together once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use storage::local::{LocalConfig, OpenError};
use storage::log::StorageError;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::api;
use crate::authorizer::Authorizer;
use crate::broker::Broker;
use crate::client_metrics::ClientMetrics;
use crate::clock::Clock;
use crate::cluster::stores::{self, StoresError};
use crate::cluster::view::ClusterView;
use crate::cluster::{Cluster, LastProcess};
use crate::config::{
    BrokerConfig, ConnectionSettings, DynamicSettings, HostPort, RateSettings, SecurityProtocol,
};
use crate::control::{self, ControlSocket};
use crate::coordinator;
use crate::coordinator::group::{GroupCoordinator, Groups};
use crate::coordinator::peers::Peers;
use crate::coordinator::runtime::Runtime;
use crate::coordinator::shard::LoadError;
use crate::coordinator::txn::{TransactionCoordinator, Transactions};
use crate::import::{self, Foreign, Owner};
use crate::metadata::{
    self, MetaProperties, MetaPropertiesError, Metadata, MetadataLog, MetadataStore, Published,
    SharedMetadata,
};
use crate::metrics::RequestMetrics;
use crate::metrics::logins::LoginMetrics;
use crate::metrics::port::{MetricsPort, PortError};
use crate::net::budget::{Budget, RequestBudget};
use crate::net::connection_rates::ConnectionRates;
use crate::net::limits::{ConnectionLimits, UnknownHost, connections_within};
use crate::net::listener::{self, BindError, BoundListener};
use crate::net::unauthenticated::Unauthenticated;
use crate::partition::fetch_session::FetchSessionCache;
use crate::partition::registry::PartitionRegistry;
use crate::partition::validation::Validators;
use crate::quota::Quotas;
use crate::release::{self, RELEASE};
use crate::secure::{self, SecureError, Secured};
use crate::security::between_brokers::BetweenBrokers;
use crate::security::delegation::DelegationTokens;
use crate::security::logins::Logins;
use crate::security::tls::listeners::{Reload, TlsListeners};
use crate::vital::VitalTaskPanicked;

/// Request bytes in memory at once where `queued.max.request.bytes` does not say.
const REQUEST_BUDGET_BYTES: usize = 512 << 20;
/// Memory of decoded requests at once, see [`dispatch`](crate::dispatch).
const ELEMENT_BUDGET_BYTES: usize = 256 << 20;
/// Response bytes in memory at once.
const RESPONSE_BUDGET_BYTES: usize = 256 << 20;
/// How long the data directory may take to be closed in order.
const DISK_STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// How often it is looked whether the files of certificates have changed.
const CERTIFICATE_LOOKS: Duration = Duration::from_secs(30);
/// How often it is looked whether the certificate that `--secure` has made has to be renewed.
const RENEWAL_LOOKS: Duration = Duration::from_secs(60 * 60);

/// Why the broker did not start. Each is one line for the operator; nothing keeps running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Metrics(#[from] PortError),
    #[error("{0}")]
    Foreign(Foreign),
    #[error("an import into {} was not finished: remove it and import again", .0.display())]
    UnfinishedImport(PathBuf),
    #[error(
        "{} is a snapshot, or what is left of one: `ottla restore {} --data-dir DIR` makes a data directory of it and says if it is not whole", .0.display(), .0.display()
    )]
    Snapshot(PathBuf),
    #[error(transparent)]
    Storage(#[from] OpenError),
    /// Something in the directory is of a later release.
    #[error("{what}; {advice}")]
    Newer { what: String, advice: String },
    #[error("{}: {source}", .dir.display())]
    Release {
        dir: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Identity(#[from] MetaPropertiesError),
    #[error(transparent)]
    Log(#[from] StorageError),
    #[error(transparent)]
    Metadata(#[from] metadata::OpenError),
    #[error(transparent)]
    Stores(#[from] StoresError),
    #[error(
        "{} has the records of a broker on one machine, which would not be served in a cluster: name an empty directory with --data-dir", .0.display()
    )]
    HasRecords(PathBuf),
    #[error(transparent)]
    Override(#[from] UnknownHost),
    #[error("{0}")]
    Tls(String),
    #[error("cannot make the users that the command line names: {0}")]
    FirstUsers(String),
    #[error("cannot create topic {0}")]
    FirstTopics(String),
    #[error("the keys of OAUTHBEARER tokens cannot be used: {0}")]
    Keys(String),
    #[error(transparent)]
    Secure(#[from] SecureError),
    #[error("cannot load the groups: {0}")]
    Groups(LoadError),
    #[error("the other brokers cannot be asked: {0}")]
    Peers(String),
    #[error("cannot load the transactions: {0}")]
    Transactions(LoadError),
}

/// Why a running broker cannot go on. It is one line for the operator.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    #[error("the data directory has failed: {0}")]
    Directory(StorageError),
    #[error(transparent)]
    Task(VitalTaskPanicked),
}

/// A listener that is open.
#[derive(Clone, Debug)]
pub struct Listening {
    pub name: String,
    pub security_protocol: SecurityProtocol,
    pub addresses: Vec<SocketAddr>,
    /// Where clients are told to connect; a port of 0 is the one that was bound.
    pub advertised: HostPort,
}

/// A broker that serves clients; dropping it without [`shutdown`](Self::shutdown) is like a crash.
pub struct Server {
    pub broker: Arc<Broker>,
    addresses: Vec<SocketAddr>,
    listening: Vec<Listening>,
    listeners: JoinSet<()>,
    metrics: MetricsPort,
    secured: Option<Arc<Secured>>,
    /// Of a broker of a cluster: its directory is locked.
    _last_process: Option<LastProcess>,
}

impl Server {
    /// Recovers the data, loads the coordinators, then opens the ports.
    ///
    /// The ports are taken before anything is written, so that one in use stops the start at once.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: BrokerConfig) -> Result<Self, StartError> {
        let dir = config.data_dir.clone();
        let started = Self::start_on(config).await;
        started.map_err(|error| match (&error, release::advice(&dir)) {
            (
                StartError::Storage(OpenError::NewerFormat { .. })
                | StartError::Metadata(metadata::OpenError::Replay { .. }),
                Some(advice),
            ) => StartError::Newer {
                what: error.to_string(),
                advice,
            },
            _ => error,
        })
    }

    async fn start_on(mut config: BrokerConfig) -> Result<Self, StartError> {
        let bound: Vec<BoundListener> = config
            .listeners
            .iter()
            .map(listener::bind)
            .collect::<Result<_, _>>()?;
        let engine = config.engine();
        let metrics = MetricsPort::open(&config, Arc::clone(&engine.progress))?;
        check_owner(&config.data_dir)?;
        make_private(&config.data_dir);
        let secured = secured(&mut config)?;
        let (logs, joined, last_process) = match config.cluster.clone() {
            None => (open_logs(engine).await?, None, None),
            Some(_) if MetaProperties::is_in(&config.data_dir) => {
                return Err(StartError::HasRecords(config.data_dir));
            }
            Some(stores) => {
                let listening: Vec<_> = bound.iter().map(BoundListener::listening).collect();
                let joined = stores::join(&config, &stores, &listening).await?;
                config.take_node_id(joined.identity.node_id);
                let cluster = (joined.cluster, joined.identity);
                (joined.logs, Some(cluster), Some(joined.last_process))
            }
        };
        metrics.loads();
        let members = joined
            .as_ref()
            .map(|(cluster, _)| Arc::clone(&cluster.members));
        let opened = Arc::clone(&logs);
        let started = Self::start_over(config, bound, metrics, secured, opened, joined).await;
        if started.is_err() {
            // Dropped as they are, they would tell of a failure of the directory.
            let _ = tokio::task::spawn_blocking(move || logs.shutdown()).await;
            if let Some(members) = members {
                members.leave().await;
            }
        }
        started.map(|server| Self {
            _last_process: last_process,
            ..server
        })
    }

    /// The rest of the start, when the logs are open. A broker of a cluster has joined, and serves nobody yet.
    async fn start_over(
        config: BrokerConfig,
        bound: Vec<BoundListener>,
        metrics: MetricsPort,
        secured: Option<Secured>,
        logs: Arc<dyn storage::log::LogStore>,
        joined: Option<(Cluster, MetaProperties)>,
    ) -> Result<Self, StartError> {
        let (broker, cluster) = match joined {
            None => {
                let (dir, node_id) = (&config.data_dir, config.node_id);
                let cluster_id = config.cluster_id.as_deref();
                let identity = MetaProperties::load_or_create(dir, node_id, cluster_id)?;
                let broker = assemble(config, &identity, logs).await?;
                // Before anything is written that the release before would not read.
                release::leave(&broker.config.data_dir, RELEASE).map_err(|source| {
                    StartError::Release {
                        dir: broker.config.data_dir.clone(),
                        source,
                    }
                })?;
                (broker, None)
            }
            Some((cluster, identity)) => {
                let assembled = assemble_in(Some(cluster.clone()), config, &identity, logs);
                (assembled.await?, Some(cluster))
            }
        };
        let made = broker.metadata.make_first_users(&broker.config.first_users);
        made.await.map_err(StartError::FirstUsers)?;
        let made = broker
            .metadata
            .make_first_topics(&broker.config.first_topics);
        made.await.map_err(StartError::FirstTopics)?;
        broker.logins.begin().await.map_err(StartError::Keys)?;
        if let Some(cluster) = cluster {
            let metadata = &broker.metadata;
            let serving = cluster.members.serve(metadata.version(), metadata.vital());
            serving.await;
        }
        let listening: Vec<Listening> = bound.iter().map(BoundListener::listening).collect();
        let addresses = listening.iter();
        let addresses = addresses.flat_map(|listener| listener.addresses.clone());
        let addresses = addresses.collect();
        warn_if_nobody_has_a_name(&broker);
        let vital = broker.metadata.vital().clone();
        let secured = secured.map(Arc::new);
        if let Some(secured) = &secured {
            secured.keep_password()?;
            let advertised = listening.iter();
            let advertised = advertised.map(|listener| listener.advertised.clone());
            secured.write_client_files(&advertised.collect::<Vec<_>>())?;
            info!(
                user = secure::ADMIN,
                "clients connect with what is in {}",
                secured.dir().display()
            );
        }
        let mut listeners = JoinSet::new();
        for bound in bound {
            for listener in bound.open(broker.config.serving.socket_listen_backlog_size)? {
                let serving = listener::run(Arc::clone(&broker), listener);
                vital.spawn_on(&mut listeners, "a listener", serving);
            }
        }
        if let Some(socket) = ControlSocket::open(&broker.config.data_dir) {
            let serving = control::run(Arc::clone(&broker), socket);
            vital.spawn_on(&mut listeners, "the control socket", serving);
        }
        if !broker.tls.is_empty() {
            let watching = watch_certificates(Arc::clone(&broker), secured.clone());
            vital.spawn_on(&mut listeners, "the watch over certificates", watching);
        }
        if broker.delegation.is_on() {
            let removing = remove_expired_tokens(Arc::clone(&broker));
            vital.spawn_on(&mut listeners, "the removal of expired tokens", removing);
        }
        metrics.serves(&broker, &listening[0].advertised);
        Ok(Self {
            broker,
            addresses,
            listening,
            listeners,
            metrics,
            secured,
            _last_process: None,
        })
    }

    /// The listeners, in the order in which they are configured.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// The cluster that the data directory belongs to.
    #[expect(clippy::disallowed_methods, reason = "no client sees it")]
    pub fn cluster_id(&self) -> String {
        self.broker.metadata.image().cluster_id().to_owned()
    }

    /// Where clients can connect.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where metrics and health are; empty if they are nowhere.
    pub fn metrics_addresses(&self) -> &[SocketAddr] {
        self.metrics.addresses()
    }

    /// Reads again what may change under a running broker: certificates with their keys, and the token of metrics.
    pub async fn reload(&self) {
        self.metrics.reload();
        if let Some(secured) = &self.secured {
            renew_certificate(&self.broker, secured).await;
        }
        self.broker.reload_tls(Reload::All).await;
    }

    /// Resolves when the broker can serve no longer: its data directory or one of its own tasks has failed.
    pub async fn failed(&self) -> Failure {
        let mut directory = self.broker.logs.failed();
        tokio::select! {
            error = directory.wait_for(Option::is_some) => match error.as_deref() {
                Ok(Some(error)) => Failure::Directory(error.clone()),
                _ => std::future::pending().await,
            },
            panicked = self.broker.metadata.vital().failed() => Failure::Task(panicked),
            panicked = self.metrics.failed() => Failure::Task(panicked),
        }
    }

    /// Answers what is under way, closes the connections and leaves a clean directory. What clients do delays it by some
    /// seconds at most, and a disk that does not answer by a minute.
    ///
    /// # Errors
    /// Something could not be written; the next start recovers it.
    pub async fn shutdown(mut self) -> Result<(), StorageError> {
        info!("shutting down");
        let members = self.broker.members.clone();
        if let Some(members) = &members {
            // First of all: then others take over what is moved from here while it comes to its end.
            members.retire().await;
        }
        self.broker.shutdown.send_replace(true);
        while self.listeners.join_next().await.is_some() {}
        let logs = Arc::clone(&self.broker.logs);
        let closing = tokio::task::spawn_blocking(move || logs.shutdown());
        let outcome = match tokio::time::timeout(DISK_STOP_TIMEOUT, closing).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(StorageError(format!("the shutdown was cut short: {error}"))),
            Err(_) => Err(StorageError(format!(
                "the disk has not answered for {DISK_STOP_TIMEOUT:?}"
            ))),
        };
        if let Some(members) = members {
            members.leave().await;
        }
        // Last, so that a long shutdown can be watched; waited for, so that the port is free after.
        self.metrics.close().await;
        outcome
    }
}

/// Reads certificates and keys again when their files have changed, and renews the one of `--secure`; returns when the broker
/// shuts down.
async fn watch_certificates(broker: Arc<Broker>, secured: Option<Arc<Secured>>) {
    let mut looks = tokio::time::interval(CERTIFICATE_LOOKS);
    let mut renewals = tokio::time::interval(RENEWAL_LOOKS);
    for interval in [&mut looks, &mut renewals] {
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut shutdown = broker.shutdown_signal();
    loop {
        let is_renewal = tokio::select! {
            _ = looks.tick() => false,
            _ = renewals.tick() => true,
            _ = shutdown.wait_for(|down| *down) => return,
        };
        if let Some(secured) = secured.as_ref().filter(|_| is_renewal) {
            renew_certificate(&broker, secured).await;
        }
        broker.reload_tls(Reload::Changed).await;
    }
}

/// Makes a new certificate of `--secure` where the old one comes to its end. Who listens has to read it.
async fn renew_certificate(broker: &Broker, secured: &Arc<Secured>) {
    let (secured, now_ms) = (Arc::clone(secured), broker.clock.wall_ms());
    match tokio::task::spawn_blocking(move || secured.renew(now_ms / 1000)).await {
        Ok(Ok(false)) => {}
        Ok(Ok(true)) => info!("the certificate that --secure has made is renewed"),
        Ok(Err(error)) => warn!("the certificate that --secure has made is not renewed: {error}"),
        Err(error) => warn!("the certificate that --secure has made is not renewed: {error}"),
    }
}

/// Removes delegation tokens that hold no longer; returns when the broker shuts down.
async fn remove_expired_tokens(broker: Arc<Broker>) {
    let mut looks = tokio::time::interval(broker.delegation.check_interval());
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shutdown = broker.shutdown_signal();
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            _ = shutdown.wait_for(|down| *down) => return,
        }
        let now_ms = broker.clock.wall_ms();
        match broker.metadata.remove_expired_tokens(now_ms).await {
            Ok(0) => {}
            Ok(count) => info!(count, "expired delegation tokens are removed"),
            Err(error) => warn!(%error, "expired delegation tokens could not be removed"),
        }
    }
}

/// Opens the logs beside the threads that serve: meanwhile health is told, and a signal ends the start.
async fn open_logs(engine: LocalConfig) -> Result<Arc<dyn storage::log::LogStore>, OpenError> {
    let opening = tokio::task::spawn_blocking(move || storage::local::open(engine));
    match opening.await {
        Ok(opened) => opened,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends.
            Err(_) => std::future::pending().await,
        },
    }
}

/// What `--secure` makes, and the user that it adds to those of the command line.
fn secured(config: &mut BrokerConfig) -> Result<Option<Secured>, SecureError> {
    if !config.secure {
        return Ok(None);
    }
    let secured = Secured::prepare(&config.data_dir, &config.host_names())?;
    config.first_users.push(secured.admin());
    Ok(Some(secured))
}

/// Everything but the ports: a broker on one machine, over logs that are open already.
///
/// # Errors
/// When metadata, groups or transactions cannot be read back, or a listener cannot encrypt.
pub async fn assemble(
    config: BrokerConfig,
    identity: &MetaProperties,
    logs: Arc<dyn storage::log::LogStore>,
) -> Result<Arc<Broker>, StartError> {
    assemble_in(None, config, identity, logs).await
}

/// The same for a broker of a cluster, whose logs are those of the whole cluster.
///
/// # Errors
/// As there.
#[expect(clippy::disallowed_methods, reason = "no client sees it")]
pub async fn assemble_in(
    cluster: Option<Cluster>,
    config: BrokerConfig,
    identity: &MetaProperties,
    logs: Arc<dyn storage::log::LogStore>,
) -> Result<Arc<Broker>, StartError> {
    let config = Arc::new(config);
    let clock = Clock::new();
    let shutdown = watch::Sender::new(false);
    let partitions = Arc::new(PartitionRegistry::new(config.serving.record_validation));
    let store: Box<dyn MetadataStore> = match &cluster {
        Some(cluster) => Box::new(SharedMetadata::new(
            Arc::clone(&cluster.database) as _,
            cluster.members.fence(),
        )),
        None => {
            let log_config = Arc::new(metadata::metadata_log_config());
            let log = logs.open_log(metadata::metadata_log_id(), log_config)?;
            Box::new(MetadataLog::new(log))
        }
    };
    let members = cluster.map(|cluster| cluster.members);
    let connection_limits =
        ConnectionLimits::new(&config.section(), max_connections_by_files(&config))?;
    let quotas = Arc::new(Quotas::new(&config.section(), clock.clone()));
    let delegation = Arc::new(DelegationTokens::new(config.section()));
    let rates = RateSettings::new(&config.settings, DynamicSettings::none(), &config.listeners);
    let connection_rates = Arc::new(ConnectionRates::new(rates, Arc::clone(&quotas)));
    let client_metrics = Arc::new(ClientMetrics::new(config.serving.telemetry_max_bytes));
    let follow = {
        let client_metrics = Arc::clone(&client_metrics);
        let (quotas, rates) = (Arc::clone(&quotas), Arc::clone(&connection_rates));
        let (limits, logs) = (Arc::clone(&connection_limits), Arc::clone(&logs));
        let (partitions, config) = (Arc::clone(&partitions), Arc::clone(&config));
        let delegation = Arc::clone(&delegation);
        move |old: &Published, new: &Published| {
            partitions.follow(&*logs, old, new);
            delegation.follow(old.image.tokens(), new.image.tokens());
            client_metrics.follow(&old.image, &new.image);
            let limits_of = |published: &Published| -> ConnectionSettings {
                config.settings.section(published.dynamic_settings())
            };
            if limits_of(old) != limits_of(new) {
                limits.change(limits_of(new));
            }
            let (quotas_before, quotas_now) = (old.image.quotas(), new.image.quotas());
            let is_other = !quotas_before.is_same(quotas_now);
            if is_other {
                quotas.change(quotas_now);
            }
            let rates_in = |published: &Published| {
                RateSettings::new(
                    &config.settings,
                    published.dynamic_settings(),
                    &config.listeners,
                )
            };
            if is_other || rates_in(old) != rates_in(new) {
                rates.change(rates_in(new), quotas_now);
            }
            let live = |published: &Published| config.settings.live(published.dynamic_settings());
            if live(old) != live(new) {
                logs.change(&live(new));
            }
        }
    };
    let metadata = open_metadata(
        &config,
        &identity.cluster_id,
        store,
        &*logs,
        Arc::new(follow),
    )
    .await?
    .in_cluster(members.clone());
    let transaction_stats = Arc::default();
    let is_alone = members.is_none();
    let tls = TlsListeners::open(
        &config,
        metadata.published().dynamic_settings(),
        BetweenBrokers::shown(&config, is_alone),
    );
    let tls = tls.map_err(StartError::Tls)?;
    let between = BetweenBrokers::open(&config, &tls, is_alone).map_err(StartError::Peers)?;
    let cluster = match &members {
        Some(members) => {
            members.keep(metadata.vital());
            Arc::clone(members.view())
        }
        None => {
            let rack = config.serving.rack.as_deref().map(Arc::from);
            Arc::new(ClusterView::alone(config.node_id, rack))
        }
    };
    let runtime = Runtime {
        metadata: metadata.clone(),
        clock: clock.clone(),
        cluster: Arc::clone(&cluster),
        is_alone,
        logs: Arc::clone(&logs),
        partitions: Arc::clone(&partitions),
        stats: Arc::clone(&transaction_stats),
        shutdown: shutdown.subscribe(),
    };
    let authorizer = Arc::new(Authorizer::new(config.section()));
    let groups = Groups::new(config.section(), Arc::clone(&authorizer));
    let groups = GroupCoordinator::new(groups, runtime.clone());
    let transactions = Transactions::new(config.section(), metadata.clone());
    let transactions = TransactionCoordinator::new(transactions, runtime);
    let vital = metadata.vital().clone();
    let peers = Peers::new(Arc::clone(&cluster), between, vital);
    let broker = Arc::new(Broker {
        authorizer,
        cluster,
        members,
        metadata,
        directory_id: identity.directory_id,
        fetch_sessions: FetchSessionCache::new(
            config.serving.max_incremental_fetch_session_cache_slots,
        ),
        groups,
        transactions,
        peers,
        transaction_stats,
        validators: Validators::default(),
        connection_limits,
        connection_rates,
        quotas,
        logins: Logins::new(&config.listeners, identity.directory_id),
        delegation,
        unauthenticated: Unauthenticated::new(
            config.authentication.unauthenticated_max,
            Duration::from_millis(config.authentication.timeout_ms),
        ),
        tls: Arc::new(tls),
        request_budget: RequestBudget::new(
            config
                .serving
                .queued_max_request_bytes
                .unwrap_or(REQUEST_BUDGET_BYTES),
        ),
        response_budget: Budget::new(RESPONSE_BUDGET_BYTES),
        element_budget: Budget::new(ELEMENT_BUDGET_BYTES),
        login_counts: LoginMetrics::new(&config.listeners),
        client_metrics,
        shutdown,
        config,
        clock,
        partitions,
        logs,
        requests: RequestMetrics::new(api::advertised()),
    });
    broker.groups.load().await.map_err(StartError::Groups)?;
    // They may have to end what groups have in their logs.
    let loaded = broker.transactions.load().await;
    loaded.map_err(StartError::Transactions)?;
    if !broker.groups.runtime().is_alone {
        let following = coordinator::topics::follow(Arc::clone(&broker));
        let vital = broker.metadata.vital();
        vital.spawn("the coordinators' watch over topics", following);
    }
    Ok(broker)
}

/// ACLs say what clients of a name may do, and an operator who sets an authorizer means to be protected.
fn warn_if_nobody_has_a_name(broker: &Broker) {
    let mut listeners = broker.config.listeners.iter();
    let is_nameless = |protocol| protocol == SecurityProtocol::Plaintext;
    if broker.authorizer.is_on() && listeners.all(|one| is_nameless(one.security_protocol)) {
        warn!(
            "there is an authorizer, and no listener on which clients say who they are: each of them is User:ANONYMOUS"
        );
    }
}

/// A directory that is made here is its owner's alone: it says how passwords are checked.
fn make_private(dir: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    if let Some(parent) = dir.parent() {
        let _ = std::fs::create_dir_all(parent);
    }
    // What cannot be made cannot be opened either, which says why.
    let _ = std::fs::DirBuilder::new().mode(0o700).create(dir);
}

/// Whether the directory is one to write to: before the first write, and without one.
fn check_owner(dir: &Path) -> Result<(), StartError> {
    match import::owner(dir) {
        Ok(Owner::Kafka(foreign)) => Err(StartError::Foreign(foreign)),
        Ok(Owner::UnfinishedImport) => Err(StartError::UnfinishedImport(dir.to_owned())),
        Ok(Owner::Snapshot) => Err(StartError::Snapshot(dir.to_owned())),
        // What cannot be read cannot be opened either, which says why.
        Ok(Owner::Ottla | Owner::Nobody) | Err(_) => Ok(()),
    }
}

/// Opens the metadata log, and looks for what deleted topics have left.
#[expect(clippy::disallowed_methods, reason = "no client sees it")]
async fn open_metadata(
    config: &Arc<BrokerConfig>,
    cluster_id: &str,
    store: Box<dyn MetadataStore>,
    logs: &dyn storage::log::LogStore,
    observer: metadata::Observer,
) -> Result<Metadata, StartError> {
    let opened = Metadata::open_with_history(store, cluster_id, Arc::clone(config), observer);
    let (metadata, deleted) = opened.await?;
    let delay_ms = metadata
        .published()
        .topic_configs
        .default()
        .log
        .file_delete_delay_ms;
    let topics = deleted.topics.clone();
    let delay_ms = u64::try_from(delay_ms).unwrap_or(0);
    logs.sweep(topics, delay_ms, Box::new(move || drop(deleted)));
    Ok(metadata)
}

fn max_connections_by_files(config: &BrokerConfig) -> usize {
    let allowed = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let allowed = allowed.unwrap_or(u64::MAX);
    let engine = config.engine();
    connections_within(allowed, engine.open_files_max, engine.wal_ring_bytes)
}
