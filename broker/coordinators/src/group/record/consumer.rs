//! The records of a consumer group: keys 3 and 5 to 8, and 16 for resolved regular expressions.
//!
//! Key 4 held what the metadata hash in key 3 says now (KIP-1101). It is skipped.

use std::collections::BTreeSet;

use crate::codec::{Reader, RecordError, Writer};
use crate::group::assignor::spec::Partitions;
use crate::group::id::{GroupId, MemberId, Name};
use crate::group::record::consumer_member::{
    Assigned, CurrentAssignment, MemberSubscription, decode_names, encode_names,
};
use crate::machine::KeyValue;

const GROUP_KEY: i16 = 3;
const MEMBER_KEY: i16 = 5;
const TARGET_KEY: i16 = 6;
const TARGET_MEMBER_KEY: i16 = 7;
const CURRENT_KEY: i16 = 8;
const REGEX_KEY: i16 = 16;

/// The only version there has been of each value.
const VALUE_VERSION: i16 = 0;

/// One change to a consumer group. `None` as a value is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerRecord {
    /// The group and its epoch.
    Group(Option<GroupEpoch>),
    /// Who a member is and what it subscribes to.
    Member(MemberId, Option<MemberSubscription>),
    /// The epoch that the target is for.
    Target(Option<TargetEpoch>),
    /// What a member is to have.
    TargetMember(MemberId, Option<Partitions>),
    /// What a member has.
    Current(MemberId, Option<CurrentAssignment>),
    /// What a regular expression matches.
    Regex(Name, Option<ResolvedRegex>),
}

/// The epoch of a group: it goes up whenever a new target is needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupEpoch {
    pub epoch: i32,
    /// A hash of the subscribed topics. If they have another, a new epoch is needed.
    pub metadata_hash: i64,
}

impl GroupEpoch {
    /// The epoch of a group about which nothing has been written yet.
    pub(crate) const FIRST: Self = Self {
        epoch: 1,
        metadata_hash: 0,
    };
}

/// Which group epoch the target was computed for, and when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TargetEpoch {
    pub epoch: i32,
    /// 0 if not known (before Kafka 4.3), or if the next target need not wait.
    pub timestamp_ms: i64,
}

impl TargetEpoch {
    /// The epoch of a group for which nothing has been computed yet. It answers the first heartbeat if the target takes its
    /// time. It cannot be 0, which is for members that join.
    pub(crate) const FIRST: Self = Self {
        epoch: 1,
        timestamp_ms: 0,
    };
}

/// The topics a regular expression matched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvedRegex {
    pub topics: BTreeSet<Name>,
    pub version: i64,
    pub timestamp_ms: i64,
}

impl ConsumerRecord {
    pub(crate) fn is_tombstone(&self) -> bool {
        match self {
            Self::Group(value) => value.is_none(),
            Self::Member(_, value) => value.is_none(),
            Self::Target(value) => value.is_none(),
            Self::TargetMember(_, value) => value.is_none(),
            Self::Current(_, value) => value.is_none(),
            Self::Regex(_, value) => value.is_none(),
        }
    }

    /// The size of key and value without the group's name, or somewhat more.
    pub(crate) fn size_bytes(&self) -> usize {
        const FIXED_BYTES: usize = 96;
        const TOPIC_BYTES: usize = 24;
        let length = |text: Option<&str>| text.map_or(0, str::len);
        let names = |names: &BTreeSet<Name>| names.iter().map(|name| 3 + name.len()).sum::<usize>();
        let assigned = |assigned: &Assigned| {
            let topics = assigned.values();
            topics
                .map(|partitions| TOPIC_BYTES + 8 * partitions.len())
                .sum::<usize>()
        };
        let (name_bytes, value_bytes) = match self {
            Self::Group(_) | Self::Target(_) => (0, 0),
            Self::Member(id, value) => (
                id.len(),
                value.as_ref().map_or(0, |member| {
                    let protocols = member.classic.iter().flat_map(|classic| &classic.protocols);
                    let protocols =
                        protocols.map(|protocol| 8 + protocol.name.len() + protocol.metadata.len());
                    length(member.instance_id.as_deref())
                        + length(member.rack_id.as_deref())
                        + member.client_id.len()
                        + member.client_host.len()
                        + length(member.topic_regex.as_deref())
                        + length(member.server_assignor.as_deref())
                        + names(&member.topic_names)
                        + protocols.sum::<usize>()
                }),
            ),
            Self::TargetMember(id, value) => {
                let topics = value.iter().flat_map(|partitions| partitions.values());
                let topics = topics.map(|partitions| TOPIC_BYTES + 4 * partitions.len());
                (id.len(), topics.sum())
            }
            Self::Current(id, value) => (
                id.len(),
                value.as_ref().map_or(0, |current| {
                    assigned(&current.assigned) + assigned(&current.pending_revocation)
                }),
            ),
            Self::Regex(regex, value) => (
                regex.len(),
                value.as_ref().map_or(0, |resolved| names(&resolved.topics)),
            ),
        };
        FIXED_BYTES + name_bytes + value_bytes
    }

    pub(crate) fn encode(&self, group_id: &GroupId) -> Result<KeyValue, RecordError> {
        let (kind, name): (_, Option<&str>) = match self {
            Self::Group(_) => (GROUP_KEY, None),
            Self::Member(id, _) => (MEMBER_KEY, Some(id)),
            Self::Target(_) => (TARGET_KEY, None),
            Self::TargetMember(id, _) => (TARGET_MEMBER_KEY, Some(id)),
            Self::Current(id, _) => (CURRENT_KEY, Some(id)),
            Self::Regex(regex, _) => (REGEX_KEY, Some(regex)),
        };
        let mut key = Writer::default();
        key.i16(kind);
        key.string(group_id)?;
        if let Some(name) = name {
            key.string(name)?;
        }
        let mut value = Writer::default();
        value.i16(VALUE_VERSION);
        match self {
            Self::Group(Some(group)) => group.encode(&mut value)?,
            Self::Member(_, Some(member)) => member.encode(&mut value)?,
            Self::Target(Some(target)) => target.encode(&mut value)?,
            Self::TargetMember(_, Some(partitions)) => encode_target(partitions, &mut value)?,
            Self::Current(_, Some(current)) => current.encode(&mut value)?,
            Self::Regex(_, Some(regex)) => regex.encode(&mut value)?,
            _ => return Ok((key.finish(), None)),
        }
        Ok((key.finish(), Some(value.finish())))
    }

    /// Reads what follows the type of a key. `None` if no record of a consumer group has this type.
    pub(crate) fn decode(
        kind: i16,
        mut key: Reader<'_>,
        value: Option<&[u8]>,
    ) -> Result<Option<(GroupId, Self)>, RecordError> {
        if !matches!(
            kind,
            GROUP_KEY | MEMBER_KEY | TARGET_KEY | TARGET_MEMBER_KEY | CURRENT_KEY | REGEX_KEY
        ) {
            return Ok(None);
        }
        let group_id = key.string()?.into();
        let mut value = value.map(Reader::new);
        if let Some(value) = &mut value {
            match value.i16()? {
                VALUE_VERSION => {}
                version => return Err(RecordError::UnknownVersion(version)),
            }
        }
        let record = match kind {
            GROUP_KEY => Self::Group(value.map(GroupEpoch::decode).transpose()?),
            MEMBER_KEY => Self::Member(
                key.string()?.into(),
                value.map(MemberSubscription::decode).transpose()?,
            ),
            TARGET_KEY => Self::Target(value.map(TargetEpoch::decode).transpose()?),
            TARGET_MEMBER_KEY => {
                Self::TargetMember(key.string()?.into(), value.map(decode_target).transpose()?)
            }
            CURRENT_KEY => Self::Current(
                key.string()?.into(),
                value.map(CurrentAssignment::decode).transpose()?,
            ),
            _ => Self::Regex(
                key.string()?.into(),
                value.map(ResolvedRegex::decode).transpose()?,
            ),
        };
        Ok(Some((group_id, record)))
    }
}

impl GroupEpoch {
    fn encode(self, writer: &mut Writer) -> Result<(), RecordError> {
        writer.i32(self.epoch);
        writer.tagged_field((self.metadata_hash != 0).then(|| int64(self.metadata_hash)))
    }

    fn decode(mut reader: Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            epoch: reader.i32()?,
            metadata_hash: tagged_int64(&mut reader)?,
        })
    }
}

impl TargetEpoch {
    fn encode(self, writer: &mut Writer) -> Result<(), RecordError> {
        writer.i32(self.epoch);
        writer.tagged_field((self.timestamp_ms != 0).then(|| int64(self.timestamp_ms)))
    }

    fn decode(mut reader: Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            epoch: reader.i32()?,
            timestamp_ms: tagged_int64(&mut reader)?,
        })
    }
}

fn int64(value: i64) -> Writer {
    let mut writer = Writer::default();
    writer.i64(value);
    writer
}

/// Reads tagged fields; the one with number 0 is an int64 with the default 0.
fn tagged_int64(reader: &mut Reader<'_>) -> Result<i64, RecordError> {
    let mut value = 0;
    reader.tagged_fields(|tag, field| {
        if tag == 0 {
            value = Reader::new(field).i64()?;
        }
        Ok(())
    })?;
    Ok(value)
}

impl ResolvedRegex {
    fn encode(&self, writer: &mut Writer) -> Result<(), RecordError> {
        encode_names(&self.topics, writer)?;
        writer.i64(self.version);
        writer.i64(self.timestamp_ms);
        writer.tagged_field(None)
    }

    fn decode(mut reader: Reader<'_>) -> Result<Self, RecordError> {
        let regex = Self {
            topics: decode_names(&mut reader)?,
            version: reader.i64()?,
            timestamp_ms: reader.i64()?,
        };
        reader.tagged_fields(|_, _| Ok(()))?;
        Ok(regex)
    }
}

fn encode_target(target: &Partitions, writer: &mut Writer) -> Result<(), RecordError> {
    writer.compact_count(target.len())?;
    for (topic_id, partitions) in target {
        writer.bytes(topic_id.as_bytes());
        writer.compact_count(partitions.len())?;
        partitions
            .iter()
            .for_each(|&partition| writer.i32(partition));
        writer.tagged_field(None)?;
    }
    writer.tagged_field(None)
}

fn decode_target(mut reader: Reader<'_>) -> Result<Partitions, RecordError> {
    let topics = reader.compact_array(|reader| {
        let topic_id = reader.uuid()?;
        let partitions = reader.compact_array(Reader::i32)?;
        reader.tagged_fields(|_, _| Ok(()))?;
        Ok((topic_id, partitions.into_iter().collect()))
    })?;
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(topics.into_iter().collect())
}
