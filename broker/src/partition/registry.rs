//! Topic-partition to handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use protocol_shim::error_code::ErrorCode;
use storage::log::{LogStore, PartitionLog, TopicPartition};
use storage::record;
use storage::record::compression::{Compression, CompressionType};
use storage::record::validate::ValidateConfig;
use tokio::runtime::Handle;
use tracing::error;
use uuid::Uuid;

use crate::authorizer::Authorized;
use crate::config::{self, RecordValidation, TopicConfig};
use crate::metadata::{LEADER_EPOCH, Published, TopicImage};

/// What a topic's configuration means to requests; shared by its partitions.
pub struct TopicSettings {
    pub config: Arc<TopicConfig>,
    pub validate: ValidateConfig,
}

impl TopicSettings {
    /// `validate_all_records`: whether compressed batches are opened on arrival even if nothing in the broker has to
    /// open them later.
    pub(crate) fn new(config: Arc<TopicConfig>, validate_all_records: bool) -> Self {
        let codec = |compression_type, level| {
            Some(Compression {
                compression_type,
                level,
            })
        };
        let validate = ValidateConfig {
            max_message_bytes: config.max_message_bytes,
            timestamp_type: match config.message_timestamp_type {
                config::TimestampType::CreateTime => record::TimestampType::CreateTime,
                config::TimestampType::LogAppendTime => record::TimestampType::LogAppendTime,
            },
            timestamp_before_max_ms: config.message_timestamp_before_max_ms,
            timestamp_after_max_ms: config.message_timestamp_after_max_ms,
            compacted: config.log.compact,
            compression: match config.compression_type {
                config::CompressionType::Producer => None,
                config::CompressionType::Uncompressed => codec(CompressionType::None, None),
                config::CompressionType::Gzip { level } => {
                    codec(CompressionType::Gzip, Some(level))
                }
                config::CompressionType::Snappy => codec(CompressionType::Snappy, None),
                config::CompressionType::Lz4 { level } => codec(CompressionType::Lz4, Some(level)),
                config::CompressionType::Zstd { level } => {
                    codec(CompressionType::Zstd, Some(level))
                }
            },
            validate_all_records,
            ..ValidateConfig::default()
        };
        Self { config, validate }
    }
}

/// One partition that this broker leads.
pub struct Partition {
    pub log: Arc<dyn PartitionLog>,
    /// Replaced when the topic's configuration changes.
    pub settings: ArcSwap<TopicSettings>,
    /// What clients have written and read.
    pub traffic: Traffic,
    /// Of the log, once its files have been looked at.
    leader_epoch: AtomicI32,
}

/// What clients have written to a partition and read from it since the start. To count is one relaxed addition each.
#[derive(Debug, Default)]
pub struct Traffic {
    records_in: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// [`Traffic`] at one moment, of one partition or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrafficCounts {
    pub records_in: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl Traffic {
    /// A batch was appended.
    pub(crate) fn came_in(&self, records: u64, bytes: usize) {
        self.records_in.fetch_add(records, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Records were given to a client.
    pub(crate) fn went_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> TrafficCounts {
        TrafficCounts {
            records_in: self.records_in.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}

impl TrafficCounts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.records_in += other.records_in;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}

/// All partitions of this broker. Guards of the map never leave this file.
pub struct PartitionRegistry {
    partitions: DashMap<(Uuid, i32), Arc<Partition>>,
    /// Some log has an epoch of its own.
    has_epochs: AtomicBool,
    validation: RecordValidation,
}

impl PartitionRegistry {
    pub(crate) fn new(validation: RecordValidation) -> Self {
        Self {
            partitions: DashMap::new(),
            has_epochs: AtomicBool::new(false),
            validation,
        }
    }

    /// A partition whose log can be used without blocking.
    pub(crate) async fn get(
        &self,
        topic_id: Authorized<Uuid>,
        partition: i32,
    ) -> Option<Arc<Partition>> {
        let found = self.known(*topic_id, partition)?;
        if let Some(prepared) = found.log.ready() {
            prepared.await;
            self.note_epoch(&found);
        }
        Some(found)
    }

    /// A log whose files were another broker's, or which may have lost its end, has a later epoch than its topic was
    /// created with: clients have to be told of it, or each of their requests would be fenced.
    fn note_epoch(&self, partition: &Partition) {
        let epoch = partition.log.leader_epoch();
        if epoch > LEADER_EPOCH {
            partition.leader_epoch.store(epoch, Ordering::Relaxed);
            self.has_epochs.store(true, Ordering::Release);
        }
    }

    /// The leader epoch to tell clients. Touches no file: of a log that was not used yet it is what the metadata knows. A
    /// client that comes with that may be fenced, and asks again.
    pub(crate) fn leader_epoch(&self, topic: &TopicImage, partition: i32) -> i32 {
        let known = topic.leader_epoch(partition);
        if !self.has_epochs.load(Ordering::Acquire) {
            return known;
        }
        let found = self.known(topic.topic_id, partition);
        let of_log = found.map(|found| found.leader_epoch.load(Ordering::Relaxed));
        known.max(of_log.unwrap_or(LEADER_EPOCH))
    }

    /// Gets all partitions that a request names, in its order. Logs that are used for the first time are looked at side by
    /// side. What is refused already stays so.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION
    pub(crate) async fn get_all(
        &self,
        wanted: Vec<Result<(Authorized<Uuid>, i32), ErrorCode>>,
    ) -> Vec<Result<Arc<Partition>, ErrorCode>> {
        let known = |(topic_id, partition): (Authorized<Uuid>, i32)| {
            let found = self.known(*topic_id, partition);
            found.ok_or(ErrorCode::UnknownTopicOrPartition)
        };
        let found: Vec<_> = wanted
            .into_iter()
            .map(|wanted| wanted.and_then(known))
            .collect();
        let partitions = found.iter().flatten();
        let preparing: Vec<_> = partitions
            .filter_map(|partition| Some((partition, partition.log.ready()?)))
            .collect();
        for (partition, prepared) in preparing {
            prepared.await;
            self.note_epoch(partition);
        }
        found
    }

    /// A partition for whoever only counts, or will see to it that its log is ready.
    pub(crate) fn known(&self, topic_id: Uuid, partition: i32) -> Option<Arc<Partition>> {
        self.partitions
            .get(&(topic_id, partition))
            .map(|entry| Arc::clone(entry.value()))
    }

    /// How many transactions are open whose producers have been silent for longer than `silent_for_ms`. Asks every log, and so
    /// waits for those that are being looked at for the first time.
    pub(crate) fn late_transactions(&self, silent_for_ms: i64) -> u64 {
        let partitions = self.partitions.iter();
        let partitions: Vec<_> = partitions.map(|entry| Arc::clone(&entry)).collect();
        let logs = partitions.iter().map(|partition| &partition.log);
        logs.map(|log| log.late_transactions(silent_for_ms) as u64)
            .sum()
    }

    /// Opens, deletes and reconfigures logs so that they are those of `new`; called before `new` is published, on a thread
    /// of the runtime that may block.
    ///
    /// Costs work only for topics that differ, unless the broker's settings do. A name may pass from one topic to another.
    /// So deletions go first, all of them together, and are waited for.
    pub(crate) fn follow(&self, logs: &dyn LogStore, old: &Published, new: &Published) {
        let (mut changed, mut deleted) = (Vec::new(), Vec::new());
        new.image
            .changes_since(&old.image, |before, after| match (before, after) {
                (_, Some(topic)) => changed.push(topic),
                (Some(topic), None) => {
                    deleted.extend((0..topic.partition_count).map(|index| topic.partition(index)));
                }
                (None, None) => {}
            });
        self.delete(logs, deleted);
        if !new.topic_configs.has_defaults_of(&old.topic_configs) {
            changed = new.image.topics().collect();
        }
        for topic in changed {
            // What stands in an internal topic has to be read at the next start.
            let validate_all = self.validation == RecordValidation::Full || topic.is_internal();
            let config = new.topic_configs.of(topic);
            let settings = Arc::new(TopicSettings::new(config, validate_all));
            for partition in 0..topic.partition_count {
                match self.known(topic.topic_id, partition) {
                    Some(known) => {
                        known.log.set_config(Arc::clone(&settings.config.log));
                        known.settings.store(Arc::clone(&settings));
                    }
                    None => self.open(logs, topic.partition(partition), &settings),
                }
            }
        }
    }

    fn delete(&self, logs: &dyn LogStore, deleted: Vec<TopicPartition>) {
        // At the start there is nothing to delete, and the thread must not be blocked.
        if deleted.is_empty() {
            return;
        }
        for id in &deleted {
            self.partitions.remove(&(id.topic_id, id.partition));
        }
        // Their directories are looked for at the next start.
        if let Err(error) = Handle::current().block_on(logs.delete_logs(deleted)) {
            error!("{error}");
        }
    }

    fn open(&self, logs: &dyn LogStore, id: TopicPartition, settings: &Arc<TopicSettings>) {
        let key = (id.topic_id, id.partition);
        match logs.open_log(id.clone(), Arc::clone(&settings.config.log)) {
            Ok(log) => {
                let partition = Partition {
                    log,
                    settings: ArcSwap::new(Arc::clone(settings)),
                    traffic: Traffic::default(),
                    leader_epoch: AtomicI32::new(LEADER_EPOCH),
                };
                self.partitions.insert(key, Arc::new(partition));
            }
            // The topic exists; this partition answers UNKNOWN_TOPIC_OR_PARTITION until the next start.
            Err(error) => error!("cannot open {id}: {error}"),
        }
    }
}

/// Compares the leader epoch a client believes in with the log's (KIP-320); -1 means it does not say.
///
/// # Errors
/// `FENCED_LEADER_EPOCH` for an older one, `UNKNOWN_LEADER_EPOCH` for one to come.
pub(crate) fn check_leader_epoch(
    log: &dyn PartitionLog,
    current_leader_epoch: i32,
) -> Result<(), ErrorCode> {
    match current_leader_epoch {
        epoch if epoch < 0 => Ok(()),
        epoch if epoch < log.leader_epoch() => Err(ErrorCode::FencedLeaderEpoch),
        epoch if epoch > log.leader_epoch() => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}
