//! Settings that may change while the broker runs: whoever goes by one goes by the new value, and by the old when it is gone.

use std::fmt::Debug;

use coordinators::group::Catalog as _;
use parking_lot::Mutex;
use storage::log::stats::DirectoryStats;
use storage::log::{
    AppendError, AppendOrigin, AppendPermit, BoxFuture, DeletedTopics, Health, JointError,
    JointPart, LiveConfig, LogConfig, LogStore, PartitionLog, PendingAppend, RecoveryReport,
    StorageError, TopicPartition,
};
use tokio::sync::watch;

use super::*;
use crate::authorizer::Authorized;
use crate::config::broker_keys::broker_configs;
use crate::config::changes_while_running;
use crate::config::def::{ConfigDef, UpdateMode};
use crate::metadata::{AlterConfig, ConfigChange, MetadataError, Operation, ResourceType};

/// Values among which each key finds one that it is not set to by default.
const CANDIDATES: &[&str] = &[
    "2",
    "1",
    "3000000",
    "0.25",
    "true",
    "false",
    "compact",
    "lz4",
    "LogAppendTime",
    "127.0.0.1:1",
    "PLAINTEXT://:1",
    "A:PLAINTEXT",
    "PLAIN",
];

/// Nobody ever asks: there is one broker, which is always in sync and leads.
const NEVER_ASKED: &[&str] = &["unclean.leader.election.enable", "min.insync.replicas"];

/// Logs that tell what they were last told.
struct Told {
    logs: Arc<dyn LogStore>,
    live: Mutex<Option<LiveConfig>>,
}

impl LogStore for Told {
    fn open_log(
        &self,
        id: TopicPartition,
        config: Arc<LogConfig>,
    ) -> Result<Arc<dyn PartitionLog>, StorageError> {
        self.logs.open_log(id, config)
    }

    fn reserve(
        &self,
        bytes: usize,
        origin: AppendOrigin,
    ) -> BoxFuture<'_, Result<AppendPermit, AppendError>> {
        self.logs.reserve(bytes, origin)
    }

    fn submit_all(
        &self,
        permit: AppendPermit,
        parts: Vec<JointPart>,
    ) -> Result<Vec<Result<PendingAppend, AppendError>>, JointError> {
        self.logs.submit_all(permit, parts)
    }

    fn delete_logs(
        &self,
        ids: Vec<TopicPartition>,
    ) -> BoxFuture<'static, Result<(), StorageError>> {
        self.logs.delete_logs(ids)
    }

    fn sweep(&self, deleted: DeletedTopics, delay_ms: u64, done: Box<dyn FnOnce() + Send>) {
        self.logs.sweep(deleted, delay_ms, done);
    }

    fn change(&self, config: &LiveConfig) {
        *self.live.lock() = Some(config.clone());
        self.logs.change(config);
    }

    fn recovery_report(&self) -> &RecoveryReport {
        self.logs.recovery_report()
    }

    fn failed(&self) -> watch::Receiver<Option<StorageError>> {
        self.logs.failed()
    }

    fn health(&self) -> Health {
        self.logs.health()
    }

    fn stats(&self) -> Option<DirectoryStats> {
        self.logs.stats()
    }

    fn free_disk_bytes(&self) -> Option<u64> {
        self.logs.free_disk_bytes()
    }

    fn shutdown(&self) -> Result<(), StorageError> {
        self.logs.shutdown()
    }
}

struct Running {
    broker: Arc<Broker>,
    logs: Arc<Told>,
}

impl Running {
    async fn start(lines: &str) -> Self {
        let live = Mutex::default();
        let logs = Arc::new(Told {
            logs: memory::open(),
            live,
        });
        let store: Arc<dyn LogStore> = Arc::clone(&logs) as _;
        let broker = broker_on(lines, store).await;
        assert_eq!(create(&broker, vec![creatable("t", 1)]).await[0].1, NONE);
        Self { broker, logs }
    }

    /// What those go by who go by settings: a topic, the limits of connections, the logs, groups.
    async fn in_force(&self) -> Vec<String> {
        let broker = &self.broker;
        let published = broker.metadata.published();
        let topic = published.image.topic("t").expect("a topic");
        let topic_id = Authorized::internal(topic.topic_id, "a test");
        let partition = broker.partitions.get(topic_id, 0).await;
        let settings = partition.expect("a partition").settings.load_full();
        let assignment = "consumer.assignment.interval.ms";
        let told: [&dyn Debug; 5] = [
            &(&settings.config, settings.validate.max_message_bytes),
            &broker.connection_limits.in_force(),
            &broker.connection_rates.in_force(),
            &published.group_setting("g", assignment),
            &self.logs.live.lock().clone(),
        ];
        told.map(|told| format!("{told:?}")).to_vec()
    }

    /// Sets a key, or forgets it, for a broker or for all.
    async fn alter(&self, name: &str, key: &str, value: Option<&str>) -> Result<(), MetadataError> {
        let operation = match value {
            Some(_) => Operation::Set,
            None => Operation::Delete,
        };
        let change = vec![(key.to_owned(), operation, value.map(str::to_owned))];
        let alter = AlterConfig {
            resource_type: ResourceType::Broker,
            resource_name: name.to_owned(),
            change: ConfigChange::Incremental(change),
        };
        let alter = Authorized::internal(alter, "a test");
        let altered = self.broker.metadata.alter_configs(vec![alter], false).await;
        altered.into_iter().next().expect("an answer")
    }

    /// Changes a key for a broker or for all, and says whether anybody goes by it.
    async fn reaches(&self, name: &str, key: &str, row: &ConfigDef) -> bool {
        let before = self.in_force().await;
        let new = CANDIDATES
            .iter()
            .filter(|value| row.default != Some(value) && row.check(value).is_ok());
        for value in new {
            if self.alter(name, key, Some(value)).await.is_err() {
                continue;
            }
            let after = self.in_force().await;
            self.alter(name, key, None).await.expect("forgotten");
            let undone = self.in_force().await;
            if after != before {
                // Nobody tells the logs before anything has changed.
                assert_eq!(undone[..4], before[..4], "{key} of {name:?} stays");
                return true;
            }
        }
        false
    }
}

#[tokio::test]
async fn whoever_goes_by_a_key_that_may_change_goes_by_its_new_value() {
    let plain = Running::start("").await;
    for row in broker_configs().values() {
        if row.update_mode == UpdateMode::ReadOnly || row.unused || NEVER_ASKED.contains(&row.name)
        {
            continue;
        }
        // Its listeners are told by their own tests.
        if row.name.starts_with("ssl.") {
            continue;
        }
        // A level counts where its codec is the one.
        let codec = row.name.strip_prefix("compression.");
        let codec = codec.and_then(|rest| rest.strip_suffix(".level"));
        let other = match codec {
            Some(codec) => Some(Running::start(&format!("compression.type={codec}")).await),
            None => None,
        };
        let running = other.as_ref().unwrap_or(&plain);
        for name in ["1", ""] {
            if name.is_empty() && row.update_mode == UpdateMode::PerBroker {
                continue;
            }
            assert_eq!(
                running.reaches(name, row.name, row).await,
                changes_while_running(row),
                "{} of {name:?}",
                row.name
            );
        }
    }
    let rate = "max.connection.creation.rate";
    let row = broker_configs().get(rate).expect("a key");
    for name in ["1", ""] {
        let of_one = format!("listener.name.plaintext.{rate}");
        assert!(plain.reaches(name, &of_one, row).await, "{of_one}");
    }
}

/// What is the broker's own goes over what is for all, and that over the file.
#[tokio::test]
async fn a_brokers_own_value_goes_over_that_of_all() {
    let running = Running::start("message.max.bytes=1000").await;
    let key = "message.max.bytes";
    let max = async || {
        let published = running.broker.metadata.published();
        published.topic_configs.default().max_message_bytes
    };
    assert_eq!(max().await, 1000);
    for (name, value, expected) in [
        ("", Some("2000"), 2000),
        ("1", Some("3000"), 3000),
        ("", Some("4000"), 3000),
        ("1", None, 4000),
        ("", None, 1000),
    ] {
        running.alter(name, key, value).await.expect("altered");
        assert_eq!(max().await, expected, "{value:?} for {name:?}");
    }
}
