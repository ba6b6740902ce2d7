//! The records of committed offsets.

use uuid::Uuid;

use crate::codec::{Reader, RecordError, Writer};
use crate::group::id::{GroupId, Name};

pub(super) const OFFSET_KEY: i16 = 1;
const MAX_OFFSET_VALUE_VERSION: i16 = 4;
const TOPIC_ID_TAG: u32 = 0;

/// What an offset is committed for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetKey {
    pub group_id: GroupId,
    pub topic: Name,
    pub partition_index: i32,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: i64,
    /// -1 if not known.
    pub leader_epoch: i32,
    pub metadata: Name,
    pub commit_timestamp_ms: i64,
    /// When the offset expires, if the client still chose that itself (OffsetCommit 2-4).
    pub expire_timestamp_ms: Option<i64>,
    /// Nil if not known.
    pub topic_id: Uuid,
}

impl OffsetKey {
    pub(crate) fn new(group_id: &GroupId, topic: &Name, partition_index: i32) -> Self {
        Self {
            group_id: group_id.clone(),
            topic: topic.clone(),
            partition_index,
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let mut writer = Writer::default();
        writer.i16(OFFSET_KEY);
        writer.string(&self.group_id)?;
        writer.string(&self.topic)?;
        writer.i32(self.partition_index);
        Ok(writer.finish())
    }
}

impl CommittedOffset {
    pub(super) fn size_bytes(&self) -> usize {
        let topic_id_bytes = if self.topic_id.is_nil() { 0 } else { 18 };
        2 + 8 + 4 + 3 + self.metadata.len() + 8 + 1 + topic_id_bytes
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let mut writer = Writer::default();
        if let Some(expire_timestamp_ms) = self.expire_timestamp_ms {
            // Only version 1 has a field for the expiry. It has none for the leader epoch and the topic id.
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

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
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

/// A text of its own, unless it is empty: most offsets have no metadata, and those share one text.
fn shared(text: &str) -> Name {
    match text {
        "" => Name::default(),
        text => text.into(),
    }
}
