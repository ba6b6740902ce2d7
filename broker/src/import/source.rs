//! Kafka's directory, checked from end to end before anything is written anywhere.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, fcntl_lock};
use storage::env::fs::RealFs;
use storage::local::text_files::{
    CLEAN_SHUTDOWN, LOG_START_OFFSETS, Offsets, RECOVERY_POINTS, read_offsets, topic_id_of,
};
use storage::log::TopicPartition;
use storage::log::producer_state::{ProducerStateConfig, snapshot};

use super::metadata_log::{self, KafkaMetadata};
use super::recognise::{LOCK_FILE, META_PROPERTIES, Owner, is_locked, owner};
use super::{ImportError, unreadable};
use crate::config::read_properties;

/// Suffixes of the files of a log that are taken.
const TAKEN: [&str; 5] = ["log", "index", "timeindex", "txnindex", "snapshot"];
pub(super) const EPOCHS: &str = "leader-epoch-checkpoint";

/// A partition that is taken over.
pub(super) struct Partition {
    pub id: TopicPartition,
    pub dir: PathBuf,
    pub files: Vec<PathBuf>,
    pub end_offset: i64,
    pub log_start_offset: Option<i64>,
    /// What it goes on with.
    pub leader_epoch: i32,
}

/// What is imported.
pub(super) struct Source {
    pub dir: PathBuf,
    pub cluster_id: String,
    pub node_id: i32,
    pub metadata: KafkaMetadata,
    pub partitions: Vec<Partition>,
    /// Shared, so that Kafka does not start meanwhile.
    _lock: Option<File>,
}

fn refused<T>(what: String) -> Result<T, ImportError> {
    Err(ImportError::Refused(what))
}

impl Source {
    /// Reads and checks everything but the records.
    pub(crate) fn open(dir: &Path) -> Result<Self, ImportError> {
        let shown = dir.display();
        let kafka = match owner(dir).map_err(unreadable(dir))? {
            Owner::Kafka(kafka) => kafka,
            Owner::Ottla | Owner::UnfinishedImport | Owner::Snapshot => {
                return refused(format!(
                    "{shown} is a data directory of Ottla: start on it with --data-dir, or copy it while Ottla is stopped"
                ));
            }
            Owner::Nobody => return refused(format!("{shown} is no data directory of Kafka")),
        };
        if kafka.is_running {
            return refused(format!(
                "Kafka is running on {shown}: stop it in order (SIGTERM)"
            ));
        }
        if !kafka.is_kraft {
            return refused(format!(
                "{shown} is of a Kafka with ZooKeeper, where the settings of topics are not in the directory: \
                 migrate it to KRaft first, or move the topics by hand (docs/moving-from-kafka.md)"
            ));
        }
        let lock = lock(dir)?;
        let (cluster_id, node_id) = identity(dir)?;
        let log = dir.join("__cluster_metadata-0");
        if !log.is_dir() {
            return refused(format!(
                "{shown} has no __cluster_metadata-0: it is in another of Kafka's log.dirs, or in metadata.log.dir, and \
                 only a Kafka that keeps everything in one directory can be imported"
            ));
        }
        if !dir.join(CLEAN_SHUTDOWN).exists() {
            return refused(format!(
                "Kafka was not stopped in order on {shown}: start it, wait until it serves, and stop it with SIGTERM"
            ));
        }
        let metadata = metadata_log::read(&log)?;
        let mut source = Self {
            dir: dir.to_owned(),
            cluster_id,
            node_id,
            metadata,
            partitions: Vec::new(),
            _lock: lock,
        };
        source.check_tiers()?;
        source.partitions = source.find_partitions()?;
        for partition in &source.partitions {
            check_transactions(partition)?;
        }
        Ok(source)
    }

    /// Of all files that are taken.
    pub(crate) fn bytes(&self) -> Result<u64, ImportError> {
        let mut bytes = 0;
        for path in self
            .partitions
            .iter()
            .flat_map(|partition| &partition.files)
        {
            bytes += fs::metadata(path).map_err(unreadable(path))?.len();
        }
        Ok(bytes)
    }

    /// Only a part of such a topic is on this disk.
    fn check_tiers(&self) -> Result<(), ImportError> {
        for ((_, topic), configs) in &self.metadata.configs {
            let is_tiered = configs.get("remote.storage.enable");
            if is_tiered.is_some_and(|value| value == "true") {
                return refused(format!(
                    "topic {topic} has remote.storage.enable=true: what lies in tiered storage cannot be imported"
                ));
            }
        }
        Ok(())
    }

    fn find_partitions(&self) -> Result<Vec<Partition>, ImportError> {
        let ends = offsets(&self.dir.join(RECOVERY_POINTS))?;
        let starts = offsets(&self.dir.join(LOG_START_OFFSETS))?;
        let mut partitions = Vec::new();
        for (topic_id, topic) in self.metadata.imported() {
            let name: Arc<str> = Arc::from(topic.name.as_str());
            for (&partition, registered) in &topic.partitions {
                let id = TopicPartition {
                    topic: Arc::clone(&name),
                    topic_id: *topic_id,
                    partition,
                };
                if registered.replicas != [self.node_id] {
                    return refused(format!(
                        "{id} has the replicas {:?}, and this directory is of broker {}: a cluster of several brokers \
                         cannot be imported; reassign every partition to this one first",
                        registered.replicas, self.node_id
                    ));
                }
                let dir = self.dir.join(id.to_string());
                let files = files_of(&dir, &id)?;
                let key = (topic.name.clone(), partition);
                let Some(&end_offset) = ends.get(&key) else {
                    return refused(format!(
                        "{} does not say where {id} ends: Kafka was not stopped in order",
                        self.dir.join(RECOVERY_POINTS).display()
                    ));
                };
                partitions.push(Partition {
                    id,
                    dir,
                    files,
                    end_offset,
                    log_start_offset: starts.get(&key).copied(),
                    leader_epoch: registered.next_leader_epoch(),
                });
            }
        }
        Ok(partitions)
    }
}

fn lock(dir: &Path) -> Result<Option<File>, ImportError> {
    let path = dir.join(LOCK_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        // A copy of the directory.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&path)(error)),
    };
    match fcntl_lock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(file)),
        Err(_) if is_locked(&path) => refused(format!(
            "Kafka is running on {}: stop it in order (SIGTERM)",
            dir.display()
        )),
        // Not every file system has locks.
        Err(_) => Ok(None),
    }
}

/// Cluster id and node id.
fn identity(dir: &Path) -> Result<(String, i32), ImportError> {
    let path = dir.join(META_PROPERTIES);
    let properties =
        read_properties(&path).map_err(|error| ImportError::Refused(error.to_string()))?;
    let node_id = properties.get("node.id").and_then(|id| id.parse().ok());
    match (properties.get("cluster.id"), node_id) {
        (Some(cluster_id), Some(node_id)) => Ok((cluster_id.clone(), node_id)),
        _ => refused(format!("{} has no cluster.id and node.id", path.display())),
    }
}

/// Kafka leaves a checkpoint without entries empty.
fn offsets(path: &Path) -> Result<Offsets, ImportError> {
    match fs::metadata(path) {
        Ok(found) if found.len() > 0 => read_offsets(&RealFs, path).map_err(unreadable(path)),
        _ => Ok(Offsets::new()),
    }
}

fn files_of(dir: &Path, id: &TopicPartition) -> Result<Vec<PathBuf>, ImportError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return refused(format!(
                "{} is not there: Kafka keeps {id} in another of its log.dirs, and only a Kafka that keeps everything in \
                 one directory can be imported",
                dir.display()
            ));
        }
        Err(error) => return Err(unreadable(dir)(error)),
    };
    let tag = dir.join("partition.metadata");
    let text = fs::read_to_string(&tag).map_err(unreadable(&tag))?;
    if topic_id_of(&text) != Some(id.topic_id) {
        return refused(format!(
            "{} names another topic than Kafka's metadata",
            tag.display()
        ));
    }
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable(dir))?.path();
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        if extension == "swap" {
            return refused(format!(
                "{} is left over from a compaction that was cut short: start Kafka, and stop it with SIGTERM",
                path.display()
            ));
        }
        if TAKEN.contains(&&*extension) || path.file_name().is_some_and(|name| name == EPOCHS) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// An orderly stop writes down the producers of each log. Without that, what was copied is looked at.
fn check_transactions(partition: &Partition) -> Result<(), ImportError> {
    let newest = partition
        .dir
        .join(format!("{:020}.snapshot", partition.end_offset));
    let Ok(bytes) = fs::read(&newest) else {
        return Ok(());
    };
    let config = ProducerStateConfig {
        producer_id_expiration_ms: i64::MAX,
        ..ProducerStateConfig::default()
    };
    let Ok(state) = snapshot::from_snapshot(&bytes, partition.end_offset, config, 0) else {
        return Ok(());
    };
    let open: BTreeMap<i64, i64> = state
        .producers()
        .filter_map(|producer| Some((producer.current_txn_first_offset?, producer.producer_id)))
        .collect();
    match open.first_key_value() {
        None => Ok(()),
        Some((offset, producer_id)) => refused(format!(
            "{} has an open transaction of producer id {producer_id} from offset {offset} on: let it end, or end it with \
             `kafka-transactions.sh abort`, and stop Kafka again",
            partition.id
        )),
    }
}
