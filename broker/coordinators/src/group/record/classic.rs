//! The record of a classic group.

use bytes::Bytes;

use crate::codec::{Reader, RecordError, Writer};
use crate::group::id::{InstanceId, MemberId, Name};

const MAX_GROUP_VALUE_VERSION: i16 = 4;

/// A classic group as it is when a rebalance has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadata {
    /// Empty if the group has never had members.
    pub protocol_type: Name,
    pub generation_id: i32,
    pub protocol_name: Option<Name>,
    pub leader: Option<MemberId>,
    /// When the group entered its state; -1 in records before version 2.
    pub state_timestamp_ms: i64,
    pub members: Vec<MemberMetadata>,
}

/// A member of a classic group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberMetadata {
    pub member_id: MemberId,
    pub group_instance_id: Option<InstanceId>,
    pub client_id: Name,
    pub client_host: Name,
    /// -1 in records of version 0.
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// For the protocol the group has chosen.
    pub subscription: Bytes,
    pub assignment: Bytes,
}

impl GroupMetadata {
    pub(super) fn size_bytes(&self) -> usize {
        let length = |text: Option<&str>| text.map_or(0, str::len);
        let members = self.members.iter().map(|member| {
            let ids = length(member.group_instance_id.as_deref())
                + member.member_id.len()
                + member.client_id.len()
                + member.client_host.len();
            24 + ids + member.subscription.len() + member.assignment.len()
        });
        let names = length(self.protocol_name.as_deref()) + length(self.leader.as_deref());
        32 + self.protocol_type.len() + names + members.sum::<usize>()
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, RecordError> {
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

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        if !(0..=MAX_GROUP_VALUE_VERSION).contains(&version) {
            return Err(RecordError::UnknownVersion(version));
        }
        let flexible = version >= 4;
        let protocol_type = reader.string_of(flexible)?.into();
        let generation_id = reader.i32()?;
        let protocol_name = reader.nullable_string_of(flexible)?.map(Name::from);
        let leader = reader.nullable_string_of(flexible)?.map(MemberId::from);
        let state_timestamp_ms = if version >= 2 { reader.i64()? } else { -1 };
        // The count is only a claim of the record, so it sets no capacity. Every member takes bytes, so the loop ends.
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
    pub(super) fn decode(reader: &mut Reader<'_>, version: i16) -> Result<Self, RecordError> {
        let flexible = version >= 4;
        let member = Self {
            member_id: reader.string_of(flexible)?.into(),
            group_instance_id: if version >= 3 {
                reader.nullable_string_of(flexible)?.map(InstanceId::from)
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
