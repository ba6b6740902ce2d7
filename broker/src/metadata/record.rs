//! Records of the `__cluster_metadata` log, in the frames of Kafka's own (KRaft).
//!
//! Kafka's schema costs no more than one of our own, and `kafka-dump-log --cluster-metadata-decoder`
//! reads it: an independent check, and a way out. Key: null. Value:
//!
//! | bytes | what |
//! |---|---|
//! | unsigned varint | frame version, 1 |
//! | unsigned varint | record type (Kafka's apiKey), below |
//! | unsigned varint | record version, 0 |
//! | ... | fields in Kafka's flexible encoding, then tagged fields |
//!
//! | type | record | fields |
//! |---|---|---|
//! | 2 | TopicRecord | name, topic id |
//! | 3 | PartitionRecord | partition, topic id, replicas, isr, removing, adding, leader, leader epoch, partition epoch |
//! | 4 | ConfigRecord | resource type, resource name, key, value or null |
//! | 9 | RemoveTopicRecord | topic id |
//! | 12 | FeatureLevelRecord | name, level |
//! | 15 | ProducerIdsRecord | broker id, broker epoch, next producer id |
//!
//! The first record of a log is FeatureLevelRecord `ottla.metadata.version`: a broker refuses to start on a
//! level above its own, or on a type or version that it does not know, instead of dropping what it says.

use uuid::Uuid;

/// The feature that says which records a log may hold.
pub const METADATA_VERSION_FEATURE: &str = "ottla.metadata.version";
/// The highest level that this version reads, and the one that it writes.
pub const METADATA_VERSION: i16 = 1;

const FRAME_VERSION: u32 = 1;
/// Kafka's limit of a replica set is far below; a count beyond is damage.
const MAX_REPLICAS: u32 = 1024;

/// One change of the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataRecord {
    Topic {
        name: String,
        topic_id: Uuid,
    },
    /// Partitions of a topic follow in ascending order from 0.
    Partition {
        topic_id: Uuid,
        partition: i32,
        replicas: Vec<i32>,
        leader: i32,
        leader_epoch: i32,
    },
    RemoveTopic {
        topic_id: Uuid,
    },
    /// `value: None` takes the key back.
    Config {
        resource_type: i8,
        resource_name: String,
        name: String,
        value: Option<String>,
    },
    ProducerIds {
        broker_id: i32,
        next_producer_id: i64,
    },
    FeatureLevel {
        name: String,
        level: i16,
    },
    /// A snapshot follows: records that lead from nothing to the state.
    BeginTransaction,
    /// The snapshot is complete: what came before it no longer counts.
    EndTransaction,
    /// The snapshot that has begun does not count.
    AbortTransaction,
}

/// Why a record is not understood; a broker does not start on such a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error(
        "metadata record of type {record_type} version {version} was written by a newer version"
    )]
    Newer { record_type: u32, version: u32 },
    #[error("metadata record is damaged")]
    Damaged,
}

impl MetadataRecord {
    /// The record's value in the log.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        put_uvarint(&mut out, FRAME_VERSION);
        put_uvarint(&mut out, self.record_type());
        put_uvarint(&mut out, 0);
        match self {
            Self::Topic { name, topic_id } => {
                put_string(&mut out, name);
                out.extend_from_slice(topic_id.as_bytes());
            }
            Self::Partition {
                topic_id,
                partition,
                replicas,
                leader,
                leader_epoch,
            } => {
                out.extend_from_slice(&partition.to_be_bytes());
                out.extend_from_slice(topic_id.as_bytes());
                put_brokers(&mut out, replicas);
                put_brokers(&mut out, replicas);
                put_brokers(&mut out, &[]);
                put_brokers(&mut out, &[]);
                out.extend_from_slice(&leader.to_be_bytes());
                out.extend_from_slice(&leader_epoch.to_be_bytes());
                out.extend_from_slice(&0_i32.to_be_bytes());
            }
            Self::RemoveTopic { topic_id } => out.extend_from_slice(topic_id.as_bytes()),
            Self::Config {
                resource_type,
                resource_name,
                name,
                value,
            } => {
                out.extend_from_slice(&resource_type.to_be_bytes());
                put_string(&mut out, resource_name);
                put_string(&mut out, name);
                match value {
                    Some(value) => put_string(&mut out, value),
                    None => put_uvarint(&mut out, 0),
                }
            }
            Self::ProducerIds {
                broker_id,
                next_producer_id,
            } => {
                out.extend_from_slice(&broker_id.to_be_bytes());
                out.extend_from_slice(&(-1_i64).to_be_bytes());
                out.extend_from_slice(&next_producer_id.to_be_bytes());
            }
            Self::FeatureLevel { name, level } => {
                put_string(&mut out, name);
                out.extend_from_slice(&level.to_be_bytes());
            }
            Self::BeginTransaction | Self::EndTransaction | Self::AbortTransaction => {}
        }
        put_uvarint(&mut out, 0);
        out
    }

    fn record_type(&self) -> u32 {
        match self {
            Self::Topic { .. } => 2,
            Self::Partition { .. } => 3,
            Self::Config { .. } => 4,
            Self::RemoveTopic { .. } => 9,
            Self::FeatureLevel { .. } => 12,
            Self::ProducerIds { .. } => 15,
            Self::BeginTransaction => 23,
            Self::EndTransaction => 24,
            Self::AbortTransaction => 25,
        }
    }

    /// Reads a record's value; nothing is allocated beyond what the bytes hold.
    ///
    /// # Errors
    /// The record was written by a newer version, or is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut input = Input(bytes);
        let frame_version = input.uvarint()?;
        let record_type = input.uvarint()?;
        let version = input.uvarint()?;
        if frame_version != FRAME_VERSION || version != 0 {
            return Err(RecordError::Newer {
                record_type,
                version,
            });
        }
        let record = match record_type {
            2 => Self::Topic {
                name: input.string()?,
                topic_id: input.uuid()?,
            },
            3 => {
                let partition = input.i32()?;
                let topic_id = input.uuid()?;
                let replicas = input.brokers()?;
                let (_isr, _removing, _adding) =
                    (input.brokers()?, input.brokers()?, input.brokers()?);
                let leader = input.i32()?;
                let leader_epoch = input.i32()?;
                let _partition_epoch = input.i32()?;
                Self::Partition {
                    topic_id,
                    partition,
                    replicas,
                    leader,
                    leader_epoch,
                }
            }
            4 => Self::Config {
                resource_type: i8::from_be_bytes(input.array()?),
                resource_name: input.string()?,
                name: input.string()?,
                value: input.nullable_string()?,
            },
            9 => Self::RemoveTopic {
                topic_id: input.uuid()?,
            },
            12 => Self::FeatureLevel {
                name: input.string()?,
                level: i16::from_be_bytes(input.array()?),
            },
            15 => {
                let broker_id = input.i32()?;
                let _broker_epoch = i64::from_be_bytes(input.array()?);
                Self::ProducerIds {
                    broker_id,
                    next_producer_id: i64::from_be_bytes(input.array()?),
                }
            }
            23 => Self::BeginTransaction,
            24 => Self::EndTransaction,
            25 => Self::AbortTransaction,
            _ => {
                return Err(RecordError::Newer {
                    record_type,
                    version,
                });
            }
        };
        // A tagged field would say something that this version does not know.
        if input.uvarint()? != 0 {
            return Err(RecordError::Newer {
                record_type,
                version,
            });
        }
        if !input.0.is_empty() {
            return Err(RecordError::Damaged);
        }
        Ok(record)
    }
}

fn put_uvarint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_brokers(out: &mut Vec<u8>, brokers: &[i32]) {
    put_length(out, brokers.len());
    for broker in brokers {
        out.extend_from_slice(&broker.to_be_bytes());
    }
}

/// Compact lengths are one more than what they count; 0 is null.
fn put_length(out: &mut Vec<u8>, length: usize) {
    put_uvarint(out, u32::try_from(length + 1).unwrap_or(u32::MAX));
}

/// Reads fields in Kafka's flexible encoding; never past the end, and nothing is allocated beyond what the bytes hold.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(RecordError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub fn i32(&mut self) -> Result<i32, RecordError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn uuid(&mut self) -> Result<Uuid, RecordError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    pub fn uvarint(&mut self) -> Result<u32, RecordError> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| RecordError::Damaged);
            }
        }
        Err(RecordError::Damaged)
    }

    pub fn nullable_string(&mut self) -> Result<Option<String>, RecordError> {
        let Some(length) = self.uvarint()?.checked_sub(1) else {
            return Ok(None);
        };
        let bytes = self.take(length as usize)?;
        let text = std::str::from_utf8(bytes).map_err(|_| RecordError::Damaged)?;
        Ok(Some(text.to_owned()))
    }

    pub fn string(&mut self) -> Result<String, RecordError> {
        self.nullable_string()?.ok_or(RecordError::Damaged)
    }

    pub fn brokers(&mut self) -> Result<Vec<i32>, RecordError> {
        let count = self.uvarint()?.checked_sub(1).ok_or(RecordError::Damaged)?;
        if count > MAX_REPLICAS {
            return Err(RecordError::Damaged);
        }
        (0..count).map(|_| self.i32()).collect()
    }
}
