//! The stores that the brokers of a cluster share, opened for one of them.
//!
//! What is wrong with them is found before the broker joins, and told in one line: an operator has two addresses, two sets of
//! credentials and two sets of permissions to get right.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use object_store::aws::AmazonS3Builder;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig};
use storage::local::OpenError;
use storage::log::{LogStore, StorageError};
use storage::object::database::{
    DEFAULT_GROUPS, DatabaseError, Endpoint, LogGroup, PostgresDatabase, Registration,
};
use storage::object::jobs::{JobSettings, Leads};
use storage::object::{ObjectConfig, Upkeep};
use tokio::time::{Instant, sleep};
use tracing::warn;
use uuid::Uuid;

use super::membership::{JoinError, LEASE, Membership};
use super::view::ClusterView;
use super::{Cluster, LastProcess, place};
use crate::clock::system_ms;
use crate::config::{BrokerConfig, ClusterConfig, ClusterStores, DynamicSettings};
use crate::log_limited;
use crate::metadata::MetaProperties;
use crate::server::Listening;

/// How long a database that cannot be reached is waited for: it may be about to start.
const PATIENCE: Duration = Duration::from_secs(30);
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// How often it is looked whether the object store answers, for whoever asks how the broker is.
const OBJECTS_LOOKS: Duration = Duration::from_secs(5);
/// For how long a client of the object store repeats a request by itself. Who has asked repeats it, too, and tells why it has to.
const REPEATS: Duration = Duration::from_secs(5);
/// How far the clocks of this machine and of the object store may be apart before the operator is told. S3 refuses requests
/// that are a quarter of an hour off.
const CLOCKS_APART_MS: i64 = 60_000;

/// Why the stores cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoresError {
    #[error("the cluster's database: {0}")]
    Database(DatabaseError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("ottla.cluster.objects.url: {0}")]
    ObjectsUrl(String),
    #[error("{url}: {what}")]
    Objects { url: String, what: String },
    #[error(transparent)]
    Directory(#[from] OpenError),
    #[error(transparent)]
    Engine(#[from] StorageError),
}

/// A broker that has joined, what it is called in its cluster, and the logs of the cluster.
pub struct Joined {
    pub cluster: Cluster,
    pub identity: MetaProperties,
    pub logs: Arc<dyn LogStore>,
    /// To be kept as long as the broker is there.
    pub(crate) last_process: LastProcess,
}

/// Opens the stores and joins. The broker's id is that of the configuration, or one that is free.
///
/// # Errors
/// See [`StoresError`].
pub async fn join(
    config: &BrokerConfig,
    stores: &ClusterStores,
    listening: &[Listening],
) -> Result<Joined, StoresError> {
    let section = config.section::<ClusterConfig>();
    let last_process = LastProcess::of(&config.data_dir)?;
    let objects = open_objects(&stores.objects_url)?;
    probe(&*objects, &stores.objects_url).await?;
    let database = open_database(stores, section.log_groups).await?;
    patiently("the cluster's place cannot be looked at yet", async || {
        place::claim(&*objects, &stores.objects_url, &*database).await
    })
    .await?;
    let endpoints = listening.iter().map(|listening| Endpoint {
        listener: listening.name.clone(),
        host: listening.advertised.host.clone(),
        port: listening.advertised.port,
    });
    let incarnation = Uuid::new_v4();
    let registration = Registration {
        broker_id: config.given_node_id(),
        incarnation,
        replaces: last_process.incarnation,
        rack: config.serving.rack.clone(),
        endpoints: endpoints.collect(),
        lease: LEASE,
    };
    let members = Membership::join(Arc::clone(&database) as _, registration).await?;
    last_process.is_now(incarnation);
    if section.log_groups != members.groups() && section.log_groups != DEFAULT_GROUPS {
        let (wanted, made_with) = (section.log_groups, members.groups());
        warn!(
            "ottla.cluster.log.groups={wanted} has no effect: the cluster was made with {made_with}"
        );
    }
    let engine = ObjectConfig {
        flush: Duration::from_millis(section.flush_ms),
        flush_bytes: section.flush_bytes,
        inline_bytes: section.inline_bytes,
        cache_bytes: section.cache_bytes,
        look: Some(OBJECTS_LOOKS),
        upkeep: Some(Upkeep {
            jobs: Arc::clone(&database) as _,
            brokers: Arc::clone(&database) as _,
            leads: leads(members.view()),
            settings: job_settings(config, &section),
        }),
        ..ObjectConfig::new(
            Arc::clone(&database) as _,
            objects,
            members.groups(),
            members.fence(),
        )
    };
    let logs = storage::object::open(engine)?;
    logs.change(&config.settings.live(DynamicSettings::none()));
    let identity = MetaProperties {
        cluster_id: storage::kafka_uuid(members.cluster_id()),
        node_id: members.me(),
        directory_id: secret_of_all(stores, members.cluster_id()),
    };
    Ok(Joined {
        cluster: Cluster { database, members },
        identity,
        logs,
        last_process,
    })
}

/// Each broker looks after the log groups that it leads for all clients.
fn leads(view: &Arc<ClusterView>) -> Leads {
    let view = Arc::clone(view);
    Arc::new(move |LogGroup(group)| {
        let members = view.now();
        members.leader_of(group) == members.me()
    })
}

fn job_settings(config: &BrokerConfig, section: &ClusterConfig) -> JobSettings {
    let live = config.settings.live(DynamicSettings::none());
    let engine = config.engine();
    let (usual, ms) = (JobSettings::default(), Duration::from_millis);
    let snapshot_interval = ms(section.snapshot_interval_ms);
    JobSettings {
        tick: usual.tick.min(snapshot_interval),
        check_interval: ms(engine.retention_check_interval_ms),
        initial_delay: ms(engine.initial_task_delay_ms),
        snapshot_entries: section.snapshot_entries,
        snapshot_interval,
        merge_bytes: usual.merge_bytes.min(section.object_bytes / 8),
        object_bytes: section.object_bytes,
        small_age: snapshot_interval * 10,
        delete_delay: ms(section.delete_delay_ms),
        orphan_age: ms(section.orphan_age_ms),
        producer_id_expiration_ms: live.producer_id_expiration_ms,
        cleaner: live.cleaner,
        ..usual
    }
}

/// What all brokers know and no client: it makes up credentials of users that are not there, at each broker the same.
fn secret_of_all(stores: &ClusterStores, cluster_id: Uuid) -> Uuid {
    let text = format!("{cluster_id} {}", stores.database_url.expose());
    let digest = digest(&SHA256, text.as_bytes());
    let bytes = digest.as_ref().first_chunk::<16>().copied();
    Uuid::from_bytes(bytes.unwrap_or_default())
}

/// The database, with tables for so many log groups if it had none.
async fn open_database(
    stores: &ClusterStores,
    log_groups: u16,
) -> Result<Arc<PostgresDatabase>, StoresError> {
    let url = stores.database_url.expose();
    let opened = patiently("the cluster's database cannot be reached yet", async || {
        let opened = PostgresDatabase::open(url, log_groups).await;
        opened.map_err(StoresError::Database)
    });
    opened.await.map(Arc::new)
}

/// Tries for a while, as long as it is the database that does not answer.
async fn patiently<T>(
    what_not: &str,
    attempt: impl AsyncFn() -> Result<T, StoresError>,
) -> Result<T, StoresError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Err(StoresError::Database(
                error @ (DatabaseError::Unavailable(_) | DatabaseError::InDoubt(_)),
            )) if Instant::now() < deadline => {
                log_limited!(warn, "{what_not}: {error}");
                sleep(AFTER_FAILURE).await;
            }
            outcome => return outcome,
        }
    }
}

/// `s3://bucket/prefix`.
fn open_objects(url: &str) -> Result<Arc<dyn ObjectStore>, StoresError> {
    let place = url.strip_prefix("s3://").unwrap_or_default();
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let endpoint =
        std::env::var("AWS_ENDPOINT_URL_S3").or_else(|_| std::env::var("AWS_ENDPOINT_URL"));
    let endpoint = endpoint.ok();
    let repeats = RetryConfig {
        max_retries: 3,
        retry_timeout: REPEATS,
        ..RetryConfig::default()
    };
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(repeats);
    if let Some(endpoint) = &endpoint {
        // Who names an address without TLS means it.
        builder = builder
            .with_endpoint(endpoint)
            .with_allow_http(endpoint.starts_with("http://"));
    }
    let opened = builder.build();
    let opened = opened.map_err(|error| StoresError::ObjectsUrl(error.to_string()))?;
    Ok(match prefix.trim_matches('/') {
        "" => Arc::new(opened),
        prefix => Arc::new(PrefixStore::new(opened, prefix)),
    })
}

/// Writes, reads and deletes an object, as the broker will.
async fn probe(objects: &dyn ObjectStore, url: &str) -> Result<(), StoresError> {
    let refused = |doing: &str, error: &Error| {
        let what = match error {
            Error::NotFound { .. } => format!(
                "there is no such bucket, or it is not at the endpoint that AWS_ENDPOINT_URL names: {error}"
            ),
            Error::Unauthenticated { .. } => format!(
                "the credentials are refused; they are in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or where AWS's tools look for them: {error}"
            ),
            Error::PermissionDenied { .. } => format!(
                "{doing} is not permitted: the credentials are wrong (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), or may not get, put, list and delete objects: {error}"
            ),
            _ => format!("{doing} has failed: {error}"),
        };
        StoresError::Objects {
            url: url.to_owned(),
            what,
        }
    };
    let path = object_store::path::Path::from(format!("probe/{}", Uuid::new_v4()));
    let began_ms = system_ms();
    let put = objects.put(&path, PutPayload::from_static(b"ottla")).await;
    put.map_err(|error| refused("to put an object", &error))?;
    let found = objects.head(&path).await;
    let found = found.map_err(|error| refused("to get an object", &error))?;
    let apart_ms = (found.last_modified.timestamp_millis() - began_ms).abs();
    if apart_ms > CLOCKS_APART_MS {
        warn!(
            "the clock of this machine and that of the object store are {} s apart: timestamps of records and retention go by the first",
            apart_ms / 1000
        );
    }
    let deleted = objects.delete(&path).await;
    deleted.map_err(|error| refused("to delete an object", &error))
}
