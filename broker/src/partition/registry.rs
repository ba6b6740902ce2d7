//! Topic-partition to handle.

use std::sync::Arc;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use protocol_shim::error_code::ErrorCode;
use storage::log::{PartitionLog, TopicPartition};
use storage::manager::LogManager;
use storage::record;
use storage::record::compression::{Compression, CompressionType};
use storage::record::validate::ValidateConfig;
use tracing::error;
use uuid::Uuid;

use crate::config::{self, TopicConfig};
use crate::metadata::{MetadataImage, TopicImage};

/// What a topic's configuration means to requests; shared by its partitions.
pub struct TopicSettings {
    pub config: Arc<TopicConfig>,
    pub validate: ValidateConfig,
}

impl TopicSettings {
    pub fn new(config: Arc<TopicConfig>) -> Self {
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
}

/// All partitions of this broker. Guards of the map never leave this file.
#[derive(Default)]
pub struct PartitionRegistry {
    partitions: DashMap<(Uuid, i32), Arc<Partition>>,
}

impl PartitionRegistry {
    /// A partition whose log can be used without blocking.
    pub async fn get(&self, topic_id: Uuid, partition: i32) -> Option<Arc<Partition>> {
        let found = self.known(topic_id, partition)?;
        if let Some(prepared) = found.log.prepare() {
            prepared.await;
        }
        Some(found)
    }

    /// The same for a topic that may not exist.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`
    pub async fn find(
        &self,
        topic_id: Option<Uuid>,
        partition: i32,
    ) -> Result<Arc<Partition>, ErrorCode> {
        let found = match topic_id {
            Some(topic_id) => self.get(topic_id, partition).await,
            None => None,
        };
        found.ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    /// The same for all that a request names, in its order: logs that are used for the first time are looked at side
    /// by side.
    pub async fn get_all(&self, wanted: Vec<Option<(Uuid, i32)>>) -> Vec<Option<Arc<Partition>>> {
        let known = |(topic_id, partition)| self.known(topic_id, partition);
        let found: Vec<_> = wanted.into_iter().map(|wanted| known(wanted?)).collect();
        let logs = found.iter().flatten().map(|partition| &partition.log);
        let preparing: Vec<_> = logs.filter_map(|log| log.prepare()).collect();
        for prepared in preparing {
            prepared.await;
        }
        found
    }

    fn known(&self, topic_id: Uuid, partition: i32) -> Option<Arc<Partition>> {
        self.partitions
            .get(&(topic_id, partition))
            .map(|entry| Arc::clone(entry.value()))
    }

    /// Opens, deletes and reconfigures logs so that they are those of `new`; called before `new` is published.
    ///
    /// Costs work only for topics that differ. A name may pass from one topic to another: deletions go first.
    pub fn follow(&self, logs: &LogManager, old: &MetadataImage, new: &MetadataImage) {
        let mut changed = Vec::new();
        new.changes_since(old, |before, after| match (before, after) {
            (_, Some(topic)) => changed.push(topic),
            (Some(topic), None) => self.delete(logs, topic),
            (None, None) => {}
        });
        for topic in changed {
            let settings = Arc::new(TopicSettings::new(Arc::clone(&topic.config)));
            for partition in 0..topic.partition_count {
                match self.known(topic.topic_id, partition) {
                    Some(known) => {
                        known.log.set_config(Arc::clone(&topic.config.log));
                        known.settings.store(Arc::clone(&settings));
                    }
                    None => self.open(logs, topic.partition(partition), &settings),
                }
            }
        }
    }

    fn delete(&self, logs: &LogManager, topic: &TopicImage) {
        for partition in 0..topic.partition_count {
            self.partitions.remove(&(topic.topic_id, partition));
            if let Err(error) = logs.delete_log(&topic.partition(partition)) {
                error!("cannot delete {}: {error}", topic.partition(partition));
            }
        }
    }

    fn open(&self, logs: &LogManager, id: TopicPartition, settings: &Arc<TopicSettings>) {
        let key = (id.topic_id, id.partition);
        match logs.open_log(id.clone(), Arc::clone(&settings.config.log)) {
            Ok(log) => {
                let partition = Partition {
                    log,
                    settings: ArcSwap::new(Arc::clone(settings)),
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
pub fn check_leader_epoch(
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
