//! The records of `__consumer_offsets`, byte for byte as Kafka writes them.
//!
//! A key is its type (int16: 0 and 1 an offset, 2 a classic group, more for newer kinds of groups) and fields; a value
//! is a version (int16) and fields. Written are the versions Kafka 4.3 writes: key types 1 and 2, group metadata
//! version 3, offsets version 4, or 1 when an offset carries its own expiry. Read is every version there has been.
//! The records of consumer groups have a file of their own.

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
    /// An offset was committed in a transaction that is still open. Same bytes, in a transactional batch.
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
    /// The bytes to append; `None` for a transaction marker, which has no record but a control batch of its own.
    ///
    /// # Errors
    /// [`RecordError::StringTooLong`] if an id exceeds what Kafka's schema can hold. The shard refuses such ids when
    /// they come in, so a record it made does not fail.
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

    /// Reads one record of a batch; `producer` is the batch's producer id and epoch if it is transactional.
    ///
    /// `None` for a key type this version does not know, which is to be skipped.
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
    /// What the record takes in a batch, or somewhat more: counted, not made.
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
