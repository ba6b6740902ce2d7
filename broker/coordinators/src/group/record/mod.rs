//! The records of `__consumer_offsets`, byte for byte as Kafka writes them.
//!
//! A key begins with its type (int16), a value with its version (int16); fields follow.
//!
//! | type of key | what | versions of the value |
//! |---|---|---|
//! | 0, 1 | an offset | read 0 to 4; written 4, or 1 if the offset has an expiry of its own |
//! | 2 | a classic group | read 0 to 4; written 3 |
//! | 3, 5 to 8, 16 | a consumer group | 0, see `consumer.rs` |
//!
//! These are the versions that Kafka 4.3 writes. Type 0 is only read.

pub(crate) mod classic;
pub(crate) mod consumer;
pub(crate) mod consumer_member;
pub(crate) mod offset;

use crate::batch_size::{BATCH_OVERHEAD_BYTES, record_bytes};
use crate::codec::{Reader, RecordError, Writer};
use crate::group::id::GroupId;
use crate::group::record::classic::GroupMetadata;
use crate::group::record::consumer::ConsumerRecord;
use crate::group::record::offset::{CommittedOffset, OFFSET_KEY, OffsetKey};
use crate::machine::{EndTxn, KeyValue};

const LEGACY_OFFSET_KEY: i16 = 0;

const GROUP_KEY: i16 = 2;

/// One entry of a shard's log. `None` as a value is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupRecord {
    /// An offset was committed or removed.
    Offset {
        key: OffsetKey,
        value: Option<CommittedOffset>,
    },
    /// An offset was committed in a transaction that is still open. The bytes are the same, in a transactional batch.
    TxnOffset {
        producer_id: i64,
        producer_epoch: i16,
        key: OffsetKey,
        value: CommittedOffset,
    },
    /// A transaction ended. In the log this is a control batch.
    EndTxn {
        producer_id: i64,
        producer_epoch: i16,
        coordinator_epoch: i32,
        commit: bool,
    },
    /// A classic group settled, or was deleted.
    Group {
        group_id: GroupId,
        value: Option<GroupMetadata>,
    },
    /// Something about a consumer group changed (KIP-848).
    Consumer {
        group_id: GroupId,
        record: ConsumerRecord,
    },
}

impl From<EndTxn> for GroupRecord {
    fn from(end: EndTxn) -> Self {
        Self::EndTxn {
            producer_id: end.producer_id,
            producer_epoch: end.producer_epoch,
            coordinator_epoch: end.coordinator_epoch,
            commit: end.commit,
        }
    }
}

impl GroupRecord {
    /// The bytes to append. `None` for the end of a transaction, which is a control batch and no record.
    ///
    /// # Errors
    /// [`RecordError::StringTooLong`] if an id is longer than Kafka's schema allows. The shard refuses such ids when they
    /// come in, so this does not happen to its own records.
    pub(crate) fn encode(&self) -> Result<Option<KeyValue>, RecordError> {
        Ok(Some(match self {
            Self::Offset { key, value } => (
                key.encode()?,
                value.as_ref().map(CommittedOffset::encode).transpose()?,
            ),
            Self::TxnOffset { key, value, .. } => (key.encode()?, Some(value.encode()?)),
            Self::Group { group_id, value } => {
                let mut writer = Writer::default();
                writer.i16(GROUP_KEY);
                writer.string(group_id)?;
                (
                    writer.finish(),
                    value.as_ref().map(GroupMetadata::encode).transpose()?,
                )
            }
            Self::Consumer { group_id, record } => record.encode(group_id)?,
            Self::EndTxn { .. } => return Ok(None),
        }))
    }

    /// Reads one record of a batch. `producer` is the producer id and epoch of a transactional batch.
    ///
    /// `None` for a type of key that is not known and is to be skipped.
    ///
    /// # Errors
    /// The bytes are not what their type and version say.
    pub(crate) fn decode(
        key: &[u8],
        value: Option<&[u8]>,
        producer: Option<(i64, i16)>,
    ) -> Result<Option<Self>, RecordError> {
        let mut reader = Reader::new(key);
        match reader.i16()? {
            LEGACY_OFFSET_KEY | OFFSET_KEY => {
                let key = OffsetKey {
                    group_id: reader.string()?.into(),
                    topic: reader.string()?.into(),
                    partition_index: reader.i32()?,
                };
                let value = value.map(CommittedOffset::decode).transpose()?;
                Ok(Some(match (producer, value) {
                    (Some((producer_id, producer_epoch)), Some(value)) => Self::TxnOffset {
                        producer_id,
                        producer_epoch,
                        key,
                        value,
                    },
                    (_, value) => Self::Offset { key, value },
                }))
            }
            GROUP_KEY => Ok(Some(Self::Group {
                group_id: reader.string()?.into(),
                value: value.map(GroupMetadata::decode).transpose()?,
            })),
            kind => {
                let record = ConsumerRecord::decode(kind, reader, value)?;
                Ok(record.map(|(group_id, record)| Self::Consumer { group_id, record }))
            }
        }
    }
}

impl GroupRecord {
    /// What the record takes in a batch, or somewhat more. It is counted without making the bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        let offset_key = |key: &OffsetKey| 2 + 2 + key.group_id.len() + 2 + key.topic.len() + 4;
        match self {
            Self::Offset { key, value } => {
                let value_bytes = value.as_ref().map(CommittedOffset::size_bytes);
                record_bytes(offset_key(key), value_bytes)
            }
            Self::TxnOffset { key, value, .. } => {
                record_bytes(offset_key(key), Some(value.size_bytes()))
            }
            Self::Group { group_id, value } => {
                let value_bytes = value.as_ref().map(GroupMetadata::size_bytes);
                record_bytes(4 + group_id.len(), value_bytes)
            }
            Self::Consumer { group_id, record } => {
                record_bytes(4 + group_id.len(), Some(record.size_bytes()))
            }
            Self::EndTxn { .. } => BATCH_OVERHEAD_BYTES,
        }
    }
}
