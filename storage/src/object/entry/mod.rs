//! What a log group journals: effects, not commands.
//!
//! An entry says what has come of what a broker wanted: offsets are given, duplicates are left out, whoever is to be
//! fenced is. So whoever applies it decides nothing, and needs no clock: brokers that have applied the same entries
//! know the same. An entry is made for one state ([`super::plan`]) and appended only if the group is still in it.
//!
//! Encoded, all numbers of variable length unless said otherwise:
//!
//! | part | content |
//! |---|---|
//! | version | 1 byte: 1 |
//! | checksum | 4 bytes: CRC-32C of everything behind it |
//! | time | ms since 1970; other times are differences from it |
//! | topics | count, then 16 bytes each |
//! | sources | count, then each 0, broker epoch and 16 bytes of an object's id, or 1 and the number of a row |
//! | effects | count, then each: its kind, topic (as a place among the topics), partition, and what is in [`Effect`] |
//!
//! A batch of a producer takes some 15 bytes, and a run of batches some 10 more, beside its topic.

pub(super) mod encoding;

use crc_fast::CrcAlgorithm;
use uuid::Uuid;

pub use super::codec::DecodeError;
use crate::log::TopicPartition;
pub use crate::log::transaction_index::AbortedTxn;
use crate::record::batch::{
    BatchHeader, LOG_OVERHEAD_BYTES, MAGIC_V2, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID, NO_SEQUENCE, attributes,
};
use crate::record::{BuildError, CompressionType, EndTxnMarker, TimestampType, ValidatedBatch};

/// A partition, by what never changes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId {
    pub topic_id: Uuid,
    pub partition: i32,
}

/// A producer of a partition.
pub(super) type Writer = (PartitionId, i64);

impl From<&TopicPartition> for PartitionId {
    fn from(partition: &TopicPartition) -> Self {
        Self {
            topic_id: partition.topic_id,
            partition: partition.partition,
        }
    }
}

/// An object with batches. It is written once, by one broker in one of its epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    pub broker_epoch: i64,
    /// Of version 7: it begins with the time.
    pub id: Uuid,
}

impl ObjectId {
    /// Where the object is, below the prefix of the cluster: `data/HH/EPOCH/ID`. Object stores spread their load by the
    /// beginning of a key, so there a hash comes first.
    pub fn key(&self) -> String {
        let hash = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, self.id.as_bytes());
        format!("data/{:02x}/{}/{}", hash as u8, self.broker_epoch, self.id)
    }

    /// Which object has this key; `None` if none has.
    pub fn from_key(key: &str) -> Option<Self> {
        let (epoch, id) = key
            .strip_prefix("data/")?
            .split_once('/')?
            .1
            .split_once('/')?;
        let object = Self {
            broker_epoch: epoch.parse().ok()?,
            id: Uuid::try_parse(id).ok()?,
        };
        (object.key() == key).then_some(object)
    }
}

/// What has bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Source {
    Object(ObjectId),
    /// The inline bytes of a row.
    Row(i64),
}

impl Source {
    pub fn at(self, position: u32) -> Place {
        match self {
            Self::Object(object) => Place::Object { object, position },
            Self::Row(seq) => Place::Inline { seq, position },
        }
    }
}

/// Where bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In an object, which is smaller than 4 GiB.
    Object { object: ObjectId, position: u32 },
    /// In the inline bytes of the group's row `seq`.
    Inline { seq: i64, position: u32 },
    /// Nowhere: the only batch is made when it is read.
    Made(Marker),
}

impl Place {
    /// `None`: it has no bytes.
    pub(super) fn source(&self) -> Option<(Source, u32)> {
        match *self {
            Self::Object { object, position } => Some((Source::Object(object), position)),
            Self::Inline { seq, position } => Some((Source::Row(seq), position)),
            Self::Made(_) => None,
        }
    }
}

/// The marker of a transaction, as a batch of its own: so regular that nobody has to keep its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub marker: EndTxnMarker,
}

impl Marker {
    /// What [`to_batch`](Self::to_batch) gives.
    pub const SIZE_BYTES: u32 = 78;

    /// The marker that a batch is, if [`to_batch`](Self::to_batch) makes the same bytes of it.
    pub fn of(batch: &ValidatedBatch) -> Option<Self> {
        let header = &batch.header;
        if !header.is_control() || !header.has_producer_id() {
            return None;
        }
        let made = Self {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            marker: EndTxnMarker::of_batch(&batch.bytes).ok()??,
        };
        let bytes = made.to_batch(batch.max_timestamp()).ok()?;
        let stored = batch.to_bytes(0, NO_PARTITION_LEADER_EPOCH);
        let made_as_stored = ValidatedBatch::trusted(bytes).ok()?;
        (made_as_stored.to_bytes(0, NO_PARTITION_LEADER_EPOCH) == stored).then_some(made)
    }

    /// What states depend on of it.
    pub(super) fn effect(&self, timestamp: i64) -> BatchEffect {
        BatchEffect {
            size_bytes: Self::SIZE_BYTES,
            last_offset_delta: 0,
            max_timestamp: timestamp,
            producer: Some(BatchProducer {
                producer_id: self.producer_id,
                producer_epoch: self.producer_epoch,
                base_sequence: NO_SEQUENCE,
                is_transactional: true,
                marker: Some(self.marker),
            }),
        }
    }

    /// The batch, without offset and leader epoch.
    ///
    /// # Errors
    /// None in practice: the batch is small and not compressed.
    pub fn to_batch(&self, timestamp: i64) -> Result<bytes::Bytes, BuildError> {
        self.marker
            .to_batch(self.producer_id, self.producer_epoch, timestamp)
    }
}

/// Batches of one partition that lie one behind the other, in offsets and in bytes.
///
/// Their bytes are as they will be served but for base offset and leader epoch, which no checksum covers, and which are
/// written in when they are read: append times are in them, since whoever makes an object knows those already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub base_offset: i64,
    /// Exclusive; at most 2^32 behind `base_offset`.
    pub next_offset: i64,
    pub size_bytes: u32,
    /// Of all its records, in ms.
    pub max_timestamp: i64,
    pub place: Place,
    /// The run was compacted: its batches have their offsets in them, with gaps, and only the leader epoch is written in.
    pub is_compacted: bool,
}

/// What states depend on of an appended batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEffect {
    pub size_bytes: u32,
    /// Never below 0.
    pub last_offset_delta: i32,
    /// As it is stored, in ms.
    pub max_timestamp: i64,
    /// `None` also for control batches that end no transaction: nothing depends on them.
    pub producer: Option<BatchProducer>,
}

/// Whose batch it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchProducer {
    /// Never below 0.
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub is_transactional: bool,
    pub marker: Option<EndTxnMarker>,
}

impl BatchEffect {
    /// Of a batch with the header that is stored; `marker` is what it ends, if it is a control batch.
    pub fn of(header: &BatchHeader, marker: Option<EndTxnMarker>) -> Self {
        let has_effect = header.has_producer_id() && (!header.is_control() || marker.is_some());
        Self {
            size_bytes: u32::try_from(header.size_bytes()).unwrap_or(u32::MAX),
            last_offset_delta: header.last_offset_delta.max(0),
            max_timestamp: header.max_timestamp,
            producer: has_effect.then_some(BatchProducer {
                producer_id: header.producer_id,
                producer_epoch: header.producer_epoch,
                base_sequence: header.base_sequence,
                is_transactional: header.is_transactional(),
                marker,
            }),
        }
    }

    /// A header that says the same to whoever keeps state. Of the bytes it does not tell the truth.
    pub(crate) fn header(&self, base_offset: i64) -> BatchHeader {
        let producer = self.producer;
        BatchHeader {
            base_offset,
            batch_length: (self.size_bytes as i32).saturating_sub(LOG_OVERHEAD_BYTES as i32),
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            magic: MAGIC_V2,
            crc: 0,
            attributes: attributes(
                CompressionType::None,
                TimestampType::CreateTime,
                producer.is_some_and(|producer| producer.is_transactional),
                producer.is_some_and(|producer| producer.marker.is_some()),
                false,
            ),
            last_offset_delta: self.last_offset_delta,
            base_timestamp: self.max_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: producer.map_or(NO_PRODUCER_ID, |producer| producer.producer_id),
            producer_epoch: producer.map_or(NO_PRODUCER_EPOCH, |producer| producer.producer_epoch),
            base_sequence: producer.map_or(NO_SEQUENCE, |producer| producer.base_sequence),
            records_count: self.last_offset_delta.saturating_add(1),
        }
    }
}

/// What has happened to one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A run of batches was appended. `place` is in an object or inline.
    Append {
        partition: PartitionId,
        base_offset: i64,
        place: Place,
        batches: Vec<BatchEffect>,
    },
    /// The marker of a transaction was appended, which has no bytes.
    Marker {
        partition: PartitionId,
        offset: i64,
        timestamp: i64,
        marker: Marker,
    },
    /// The log begins here now.
    LogStart { partition: PartitionId, offset: i64 },
    /// A coordinator has taken the log over.
    Claim {
        partition: PartitionId,
        leader_epoch: i32,
    },
    /// The partition is gone. That is remembered, for a broker that has not heard of it may still append.
    Deleted { partition: PartitionId },
    /// Nobody can append to a deleted partition any more: it need not be remembered.
    Forgotten { partition: PartitionId },
    /// What was in `from..to`, which are whole runs, is in `runs` now: they are merged, or compacted.
    Replaced {
        partition: PartitionId,
        from: i64,
        to: i64,
        runs: Vec<Run>,
        /// The aborted transactions whose marker is in `from..to`, if there are fewer now.
        aborted: Option<Vec<AbortedTxn>>,
    },
    /// These producers have been silent for long. They are in ascending order.
    Expired {
        partition: PartitionId,
        producer_ids: Vec<i64>,
    },
}

impl Effect {
    /// Whom it concerns.
    pub fn partition(&self) -> PartitionId {
        match self {
            Self::Append { partition, .. }
            | Self::Marker { partition, .. }
            | Self::LogStart { partition, .. }
            | Self::Claim { partition, .. }
            | Self::Deleted { partition }
            | Self::Forgotten { partition }
            | Self::Replaced { partition, .. }
            | Self::Expired { partition, .. } => *partition,
        }
    }

    /// The producers of whom it says something.
    fn writers(&self) -> Vec<Writer> {
        let partition = self.partition();
        let producer = |batch: &BatchEffect| Some((partition, batch.producer?.producer_id));
        match self {
            Self::Append { batches, .. } => batches.iter().filter_map(producer).collect(),
            Self::Marker { marker, .. } => vec![(partition, marker.producer_id)],
            Self::Expired { producer_ids, .. } => {
                producer_ids.iter().map(|id| (partition, *id)).collect()
            }
            Self::LogStart { .. }
            | Self::Claim { .. }
            | Self::Deleted { .. }
            | Self::Forgotten { .. }
            | Self::Replaced { .. } => Vec::new(),
        }
    }
}

/// What has happened to a log group at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// When, by the clock of the broker that says so, in ms since 1970. Producers are as old as it makes them.
    pub at_ms: i64,
    pub effects: Vec<Effect>,
}

impl Entry {
    /// The producers of whom it says something, each as often as it does. Of a partition that is deleted it says nothing more.
    pub(super) fn writers(&self) -> impl Iterator<Item = Writer> {
        self.effects.iter().flat_map(Effect::writers)
    }

    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }
}

#[cfg(test)]
mod tests;
