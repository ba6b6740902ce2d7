//! The records of `__consumer_offsets`, byte for byte as Kafka writes them.
//!
//! A key is its type (int16: 0 and 1 an offset, 2 a classic group, more for newer kinds of groups) and fields; a value
//! is a version (int16) and fields. Written are the versions Kafka 4.3 writes: key types 1 and 2, group metadata
//! version 3, offsets version 4, or 1 when an offset carries its own expiry. Read is every version there has been.
//! The records of consumer groups have a file of their own.

use bytes::Bytes;
use thiserror::Error;
use uuid::Uuid;

use crate::machine::{BATCH_OVERHEAD_BYTES, EndTxn, KeyValue, record_bytes};

use super::{
    codec::{Reader, Writer},
    consumer::ConsumerRecord,
    event::Id,
};

const LEGACY_OFFSET_KEY: i16 = 0;
const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const MAX_OFFSET_VALUE_VERSION: i16 = 4;
const MAX_GROUP_VALUE_VERSION: i16 = 4;
const TOPIC_ID_TAG: u32 = 0;

/// Why bytes are no record, or a record has no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordError {
    #[error("the record ends in the middle of a field")]
    Truncated,
    #[error("a length or count in the record is out of range")]
    BadLength,
    #[error("a string in the record is not UTF-8")]
    BadString,
    #[error("record value version {0} is not known")]
    UnknownVersion(i16),
    #[error("a string of {0} bytes does not fit a record")]
    StringTooLong(usize),
    #[error("the end of a transaction is a control batch")]
    IsMarker,
}

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
        group_id: Id,
        value: Option<GroupMetadata>,
    },
    /// Something about a consumer group changed (KIP-848).
    Consumer {
        group_id: Id,
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

/// What an offset is committed for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetKey {
    pub group_id: Id,
    pub topic: Id,
    pub partition_index: i32,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: i64,
    /// -1 if not known.
    pub leader_epoch: i32,
    pub metadata: Id,
    pub commit_timestamp_ms: i64,
    /// When it expires, for clients that still choose that themselves (OffsetCommit 2-4).
    pub expire_timestamp_ms: Option<i64>,
    /// Nil if not known.
    pub topic_id: Uuid,
}

/// A classic group as it is when a rebalance has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadata {
    /// Empty: the group has never had members.
    pub protocol_type: Id,
    pub generation_id: i32,
    pub protocol_name: Option<Id>,
    pub leader: Option<Id>,
    /// When the group entered its state; -1 in records before version 2.
    pub state_timestamp_ms: i64,
    pub members: Vec<MemberMetadata>,
}

/// A member of a classic group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberMetadata {
    pub member_id: Id,
    pub group_instance_id: Option<Id>,
    pub client_id: Id,
    pub client_host: Id,
    /// -1 in records of version 0.
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// For the protocol the group has chosen.
    pub subscription: Bytes,
    pub assignment: Bytes,
}

impl GroupRecord {
    /// The bytes to append; `None` for a transaction marker, which has no record but a control batch of its own.
    ///
    /// # Errors
    /// [`RecordError::StringTooLong`] if an id exceeds what Kafka's schema can hold. The shard refuses such ids when
    /// they come in, so a record it made does not fail.
    pub fn encode(&self) -> Result<Option<KeyValue>, RecordError> {
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
    pub fn decode(
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
    pub fn size_bytes(&self) -> usize {
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

impl OffsetKey {
    fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let mut writer = Writer::default();
        writer.i16(OFFSET_KEY);
        writer.string(&self.group_id)?;
        writer.string(&self.topic)?;
        writer.i32(self.partition_index);
        Ok(writer.finish())
    }
}

impl CommittedOffset {
    fn size_bytes(&self) -> usize {
        let topic_id_bytes = if self.topic_id.is_nil() { 0 } else { 18 };
        2 + 8 + 4 + 3 + self.metadata.len() + 8 + 1 + topic_id_bytes
    }

    fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let mut writer = Writer::default();
        if let Some(expire_timestamp_ms) = self.expire_timestamp_ms {
            // Only version 1 has a field for the expiry; it has none for the leader epoch and the topic id.
            writer.i16(1);
            writer.i64(self.offset);
            writer.string(&self.metadata)?;
            writer.i64(self.commit_timestamp_ms);
            writer.i64(expire_timestamp_ms);
        } else {
            writer.i16(4);
            writer.i64(self.offset);
            writer.i32(self.leader_epoch);
            writer.compact_string(&self.metadata)?;
            writer.i64(self.commit_timestamp_ms);
            if self.topic_id.is_nil() {
                writer.uvarint(0);
            } else {
                writer.uvarint(1);
                writer.uvarint(TOPIC_ID_TAG);
                writer.uvarint(16);
                writer.bytes(self.topic_id.as_bytes());
            }
        }
        Ok(writer.finish())
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        if !(0..=MAX_OFFSET_VALUE_VERSION).contains(&version) {
            return Err(RecordError::UnknownVersion(version));
        }
        let offset = reader.i64()?;
        let leader_epoch = if version >= 3 { reader.i32()? } else { -1 };
        let metadata = if version >= 4 {
            reader.compact_string()?
        } else {
            reader.string()?
        };
        let commit_timestamp_ms = reader.i64()?;
        let expire_timestamp_ms = if version == 1 {
            Some(reader.i64()?).filter(|&at| at != -1)
        } else {
            None
        };
        let mut topic_id = Uuid::nil();
        if version >= 4 {
            reader.tagged_fields(|tag, field| {
                if tag == TOPIC_ID_TAG {
                    topic_id = Uuid::from_slice(field).map_err(|_| RecordError::BadLength)?;
                }
                Ok(())
            })?;
        }
        Ok(Self {
            offset,
            leader_epoch,
            metadata: shared(metadata),
            commit_timestamp_ms,
            expire_timestamp_ms,
            topic_id,
        })
    }
}

/// Most offsets have no metadata: those share one text.
fn shared(text: &str) -> Id {
    match text {
        "" => Id::default(),
        text => text.into(),
    }
}

impl GroupMetadata {
    fn size_bytes(&self) -> usize {
        let length = |text: &Option<Id>| text.as_ref().map_or(0, |text| text.len());
        let members = self.members.iter().map(|member| {
            let ids = length(&member.group_instance_id)
                + member.member_id.len()
                + member.client_id.len()
                + member.client_host.len();
            24 + ids + member.subscription.len() + member.assignment.len()
        });
        let names = length(&self.protocol_name) + length(&self.leader);
        32 + self.protocol_type.len() + names + members.sum::<usize>()
    }

    fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let mut writer = Writer::default();
        writer.i16(3);
        writer.string(&self.protocol_type)?;
        writer.i32(self.generation_id);
        writer.nullable_string(self.protocol_name.as_deref())?;
        writer.nullable_string(self.leader.as_deref())?;
        writer.i64(self.state_timestamp_ms);
        writer.length(self.members.len())?;
        for member in &self.members {
            writer.string(&member.member_id)?;
            writer.nullable_string(member.group_instance_id.as_deref())?;
            writer.string(&member.client_id)?;
            writer.string(&member.client_host)?;
            writer.i32(member.rebalance_timeout_ms);
            writer.i32(member.session_timeout_ms);
            writer.length(member.subscription.len())?;
            writer.bytes(&member.subscription);
            writer.length(member.assignment.len())?;
            writer.bytes(&member.assignment);
        }
        Ok(writer.finish())
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        if !(0..=MAX_GROUP_VALUE_VERSION).contains(&version) {
            return Err(RecordError::UnknownVersion(version));
        }
        let flexible = version >= 4;
        let protocol_type = reader.string_of(flexible)?.into();
        let generation_id = reader.i32()?;
        let protocol_name = reader.nullable_string_of(flexible)?.map(Id::from);
        let leader = reader.nullable_string_of(flexible)?.map(Id::from);
        let state_timestamp_ms = if version >= 2 { reader.i64()? } else { -1 };
        // No capacity from the count: it is the record's claim. Every member takes bytes, so the loop ends.
        let member_count = reader.count_of(flexible)?;
        let mut members = Vec::new();
        for _ in 0..member_count {
            members.push(MemberMetadata::decode(&mut reader, version)?);
        }
        if flexible {
            reader.tagged_fields(|_, _| Ok(()))?;
        }
        Ok(Self {
            protocol_type,
            generation_id,
            protocol_name,
            leader,
            state_timestamp_ms,
            members,
        })
    }
}

impl MemberMetadata {
    fn decode(reader: &mut Reader<'_>, version: i16) -> Result<Self, RecordError> {
        let flexible = version >= 4;
        let member = Self {
            member_id: reader.string_of(flexible)?.into(),
            group_instance_id: if version >= 3 {
                reader.nullable_string_of(flexible)?.map(Id::from)
            } else {
                None
            },
            client_id: reader.string_of(flexible)?.into(),
            client_host: reader.string_of(flexible)?.into(),
            rebalance_timeout_ms: if version >= 1 { reader.i32()? } else { -1 },
            session_timeout_ms: reader.i32()?,
            subscription: Bytes::copy_from_slice(reader.bytes_of(flexible)?),
            assignment: Bytes::copy_from_slice(reader.bytes_of(flexible)?),
        };
        if flexible {
            reader.tagged_fields(|_, _| Ok(()))?;
        }
        Ok(member)
    }
}
