//! Everything that a scrape shows, gathered when it is asked for.

#![expect(clippy::disallowed_methods, reason = "no client sees it")]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use coordinators::txn::{Measures, TransactionConfig};
use storage::log::stats::{DirectoryStats, ObjectStats};
use storage::log::{Health, RecoveryReport};
use tokio::sync::Semaphore;

use super::ApiSnapshot;
use super::census::{Groups, Topics};
use super::lag_times::LagTimes;
use super::logins::LoginCounts;
use super::process::ProcessStats;
use crate::acl::AclOperation;
use crate::broker::Broker;
use crate::clock::system_time;
use crate::cluster::view::Members;
use crate::config::HostPort;
use crate::net::session::ClientListener;
use crate::quota::{Kind, ThrottleCounts};

/// What waits for the disk is left out of a scrape when it takes longer.
const PATIENCE: Duration = Duration::from_millis(250);

/// A transaction that is silent for so much longer than the largest timeout hangs: Kafka's `LATE_TRANSACTION_BUFFER_MS`.
const LATE_AFTER_MS: i64 = 5 * 60 * 1000;

/// Who the broker is.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub node_id: i32,
    pub cluster_id: String,
    /// The first one, whose clients this is told like.
    pub listener: ClientListener,
}

/// The broker's part in its cluster at one moment.
#[derive(Debug)]
pub(super) struct InCluster {
    pub objects: ObjectStats,
    pub lease_left: Duration,
    pub registrations: u64,
    pub database_ahead_ms: i64,
}

/// The broker at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub identity: Identity,
    /// Who is there; on one machine, this broker.
    pub members: Arc<Members>,
    /// `None` on one machine.
    pub in_cluster: Option<InCluster>,
    pub directory: Option<DirectoryStats>,
    pub offline: bool,
    /// `None` while the file system does not answer.
    pub free_disk_bytes: Option<u64>,
    pub recovery: RecoveryReport,
    pub connections: usize,
    pub apis: Vec<ApiSnapshot>,
    pub request_budget_used_bytes: u64,
    pub response_budget_used_bytes: u64,
    /// By kind of quota: how often a client had to wait, and how long all together, in milliseconds.
    pub throttled: Vec<(&'static str, u64, u64)>,
    pub muted_connections: u64,
    pub logins: Vec<LoginCounts>,
    /// By operation; empty without an authorizer.
    pub denied: Vec<(AclOperation, u64)>,
    /// By listener, in seconds since 1970.
    pub certificate_expiries: Vec<(String, i64)>,
    /// `None` while the threads for what may block are all taken.
    pub topics: Option<Topics>,
    /// `None` while a coordinator does not answer.
    pub groups: Option<Groups>,
    pub groups_load: Option<Duration>,
    /// `None` while a coordinator does not answer.
    pub transactions: Option<Measures>,
    pub transactions_load: Option<Duration>,
    /// `None` while a log does not answer.
    pub late_transactions: Option<u64>,
    /// Markers written, markers skipped, verifications failed.
    pub transaction_counts: [u64; 3],
    /// Clients that report metrics of their own.
    pub client_instances: usize,
    /// Their reports, the bytes of these, and requests refused.
    pub client_metrics: [u64; 3],
    pub process: Option<ProcessStats>,
    pub started: SystemTime,
}

/// What gathering needs besides the broker.
pub(super) struct Gatherer {
    pub broker: Arc<Broker>,
    started: SystemTime,
    identity: Identity,
    /// One question of a kind to the disk at a time: one that hangs must not collect threads.
    space_question: Arc<Semaphore>,
    late_question: Arc<Semaphore>,
    topics_question: Arc<Semaphore>,
    lag_times: LagTimes,
}

impl Gatherer {
    /// `advertised`: where clients of the first listener are told to connect.
    pub fn new(broker: Arc<Broker>, advertised: HostPort) -> Self {
        let first = &broker.config.listeners[0];
        let listener = ClientListener {
            name: first.name.clone(),
            security_protocol: first.security_protocol,
            advertised,
        };
        let identity = Identity {
            node_id: broker.config.node_id,
            cluster_id: broker.metadata.image().cluster_id().to_owned(),
            listener,
        };
        Self {
            identity,
            broker,
            started: system_time(),
            space_question: Arc::new(Semaphore::new(1)),
            late_question: Arc::new(Semaphore::new(1)),
            topics_question: Arc::new(Semaphore::new(1)),
            lag_times: LagTimes::default(),
        }
    }

    /// `with_assignments`: groups tell what their members are assigned, too.
    pub async fn snapshot(&self, with_assignments: bool) -> Snapshot {
        let broker = &self.broker;
        let (free_disk_bytes, late_transactions, topics, groups, transactions) = tokio::join!(
            tokio::time::timeout(PATIENCE, self.free_disk_bytes()),
            tokio::time::timeout(PATIENCE, self.late_transactions()),
            tokio::time::timeout(PATIENCE, self.topics()),
            self.groups(with_assignments),
            tokio::time::timeout(PATIENCE, broker.transactions.measures()),
        );
        Snapshot {
            identity: self.identity.clone(),
            members: broker.cluster.now(),
            in_cluster: in_cluster(broker),
            directory: broker.logs.stats(),
            offline: matches!(broker.logs.health(), Health::Offline(_)),
            free_disk_bytes: free_disk_bytes.ok().flatten(),
            recovery: broker.logs.recovery_report().clone(),
            connections: broker.connection_limits.open_count(),
            apis: broker.requests.snapshot(),
            request_budget_used_bytes: broker.request_budget.used_bytes() as u64,
            response_budget_used_bytes: broker.response_budget.used_bytes() as u64,
            throttled: throttled(&broker.quotas.throttled),
            muted_connections: broker.quotas.throttled.muted(),
            logins: broker.login_counts.snapshot(),
            denied: broker.authorizer.denied_counts(),
            certificate_expiries: broker.tls.expiries(),
            topics: topics.ok().flatten(),
            groups,
            groups_load: broker.groups.load_time(),
            transactions: transactions.ok().and_then(Result::ok),
            transactions_load: broker.transactions.load_time(),
            late_transactions: late_transactions.ok().flatten(),
            transaction_counts: broker.transaction_stats.counts(),
            client_instances: broker.client_metrics.instance_count(),
            client_metrics: broker.client_metrics.counts(),
            process: ProcessStats::read(),
            started: self.started,
        }
    }

    async fn free_disk_bytes(&self) -> Option<u64> {
        let logs = Arc::clone(&self.broker.logs);
        ask(&self.space_question, move || logs.free_disk_bytes())
            .await
            .flatten()
    }

    /// Many logs are asked, none of which waits: that is done beside the threads that serve clients.
    async fn topics(&self) -> Option<Topics> {
        let partitions = Arc::clone(&self.broker.partitions);
        let published = self.broker.metadata.published();
        let rows_max = self.broker.config.serving.metrics_partitions_max;
        ask(&self.topics_question, move || {
            Topics::gather(&published, &partitions, rows_max)
        })
        .await
    }

    async fn groups(&self, with_assignments: bool) -> Option<Groups> {
        let rows_max = self.broker.config.serving.metrics_partitions_max;
        let mut groups = Groups::gather(&self.broker, rows_max, with_assignments).await?;
        let now_ms = self.broker.clock.wall_ms();
        self.lag_times.fill_in(&mut groups, now_ms).await;
        Some(groups)
    }

    async fn late_transactions(&self) -> Option<u64> {
        let partitions = Arc::clone(&self.broker.partitions);
        let config: TransactionConfig = self.broker.config.section();
        let silent_for_ms = i64::from(config.max_timeout_ms) + LATE_AFTER_MS;
        ask(&self.late_question, move || {
            partitions.late_transactions(silent_for_ms)
        })
        .await
    }
}

/// Asks what may wait for the disk on a thread for it, when nobody else of this kind does.
async fn ask<T: Send + 'static>(
    question: &Arc<Semaphore>,
    answer: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let place = Arc::clone(question).acquire_owned().await.ok()?;
    let asked = tokio::task::spawn_blocking(move || {
        let answer = answer();
        drop(place);
        answer
    });
    asked.await.ok()
}

impl Snapshot {
    pub fn started_seconds(&self) -> f64 {
        let since = self.started.duration_since(UNIX_EPOCH);
        since.unwrap_or_default().as_secs_f64()
    }
}

/// Asks neither of the stores.
fn in_cluster(broker: &Broker) -> Option<InCluster> {
    let members = broker.members.as_deref()?;
    Some(InCluster {
        objects: broker.logs.object_stats()?,
        lease_left: members.lease_left(),
        registrations: members.registrations(),
        database_ahead_ms: members.database_ahead_ms(),
    })
}

fn throttled(counts: &ThrottleCounts) -> Vec<(&'static str, u64, u64)> {
    let kinds = Kind::ALL.into_iter();
    let row = kinds.map(|kind| {
        let (count, total_ms) = counts.of(kind);
        (kind.name(), count, total_ms)
    });
    row.collect()
}
