//! What the records of a consumer group say of a member: what it subscribes to, and what it has.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use uuid::Uuid;

use crate::codec::{Reader, RecordError, Writer};
use crate::group::id::{InstanceId, Name};
use crate::group::request::Protocol;

/// The partitions that a member has, by topic, each with the epoch at which the member got it (KIP-1251).
pub type Assigned = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// What a member has said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberSubscription {
    pub instance_id: Option<InstanceId>,
    pub rack_id: Option<Name>,
    pub client_id: Name,
    pub client_host: Name,
    pub topic_names: BTreeSet<Name>,
    /// `None`, or empty, if the member does not subscribe by pattern.
    pub topic_regex: Option<Name>,
    /// -1 if not known.
    pub rebalance_timeout_ms: i32,
    pub server_assignor: Option<Name>,
    /// For a member that still uses the classic protocol.
    pub classic: Option<ClassicMember>,
}

/// What a member has said in JoinGroup and the consumer protocol has no place for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassicMember {
    pub session_timeout_ms: i32,
    /// In order of preference, each name once.
    pub protocols: Vec<Protocol>,
}

/// How far a member has got on the way to its target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MemberState {
    /// The member is at its target.
    #[default]
    Stable,
    /// The member has to give up partitions first.
    UnrevokedPartitions,
    /// The member waits for partitions that others still have.
    UnreleasedPartitions,
    /// A version that knows more states has written this.
    Unknown,
}

/// What a member has, and in which epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CurrentAssignment {
    pub member_epoch: i32,
    pub previous_member_epoch: i32,
    pub state: MemberState,
    pub assigned: Assigned,
    /// What the member was told to give up, and still has.
    pub pending_revocation: Assigned,
}

impl MemberSubscription {
    /// Whether a member with the other subscription reads the same topics.
    pub(crate) fn reads_as(&self, other: &Self) -> bool {
        self.pattern() == other.pattern() && self.topic_names == other.topic_names
    }

    pub(crate) fn reads_something(&self) -> bool {
        !self.topic_names.is_empty() || self.pattern().is_some()
    }

    /// The regular expression, if there is one.
    pub(crate) fn pattern(&self) -> Option<&Name> {
        self.topic_regex
            .as_ref()
            .filter(|pattern| !pattern.is_empty())
    }

    pub(super) fn encode(&self, writer: &mut Writer) -> Result<(), RecordError> {
        writer.nullable_compact_string(self.instance_id.as_deref())?;
        writer.nullable_compact_string(self.rack_id.as_deref())?;
        writer.compact_string(&self.client_id)?;
        writer.compact_string(&self.client_host)?;
        encode_names(&self.topic_names, writer)?;
        writer.nullable_compact_string(self.topic_regex.as_deref())?;
        writer.i32(self.rebalance_timeout_ms);
        writer.nullable_compact_string(self.server_assignor.as_deref())?;
        let classic = self.classic.as_ref().map(ClassicMember::encode);
        writer.tagged_field(classic.transpose()?)
    }

    pub(super) fn decode(mut reader: Reader<'_>) -> Result<Self, RecordError> {
        let mut member = Self {
            instance_id: reader.nullable_string_of(true)?.map(InstanceId::from),
            rack_id: reader.nullable_string_of(true)?.map(Name::from),
            client_id: reader.compact_string()?.into(),
            client_host: reader.compact_string()?.into(),
            topic_names: decode_names(&mut reader)?,
            topic_regex: reader.nullable_string_of(true)?.map(Name::from),
            rebalance_timeout_ms: reader.i32()?,
            server_assignor: reader.nullable_string_of(true)?.map(Name::from),
            classic: None,
        };
        reader.tagged_fields(|tag, field| {
            if tag == 0 {
                member.classic = ClassicMember::decode(field)?;
            }
            Ok(())
        })?;
        Ok(member)
    }
}

impl ClassicMember {
    /// The struct in a tagged field. It could be null, so a byte tells that it is there.
    pub(super) fn encode(&self) -> Result<Writer, RecordError> {
        let mut writer = Writer::default();
        writer.i8(1);
        writer.i32(self.session_timeout_ms);
        writer.compact_count(self.protocols.len())?;
        for protocol in &self.protocols {
            writer.compact_string(&protocol.name)?;
            writer.compact_count(protocol.metadata.len())?;
            writer.bytes(&protocol.metadata);
            writer.tagged_field(None)?;
        }
        writer.tagged_field(None)?;
        Ok(writer)
    }

    pub(super) fn decode(field: &[u8]) -> Result<Option<Self>, RecordError> {
        let mut reader = Reader::new(field);
        // Kafka 4.4 writes null as 0. Earlier versions wrote -1.
        if reader.i8()? <= 0 {
            return Ok(None);
        }
        let classic = Self {
            session_timeout_ms: reader.i32()?,
            protocols: reader.compact_array(|reader| {
                let protocol = Protocol {
                    name: reader.compact_string()?.into(),
                    metadata: Bytes::copy_from_slice(reader.bytes_of(true)?),
                };
                reader.tagged_fields(|_, _| Ok(()))?;
                Ok(protocol)
            })?,
        };
        reader.tagged_fields(|_, _| Ok(()))?;
        Ok(Some(classic))
    }
}

impl MemberState {
    fn code(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown => 127,
        }
    }

    fn from_code(code: i8) -> Self {
        [
            Self::Stable,
            Self::UnrevokedPartitions,
            Self::UnreleasedPartitions,
        ]
        .into_iter()
        .find(|state| state.code() == code)
        .unwrap_or(Self::Unknown)
    }
}

impl CurrentAssignment {
    pub(super) fn encode(&self, writer: &mut Writer) -> Result<(), RecordError> {
        writer.i32(self.member_epoch);
        writer.i32(self.previous_member_epoch);
        writer.i8(self.state.code());
        for partitions in [&self.assigned, &self.pending_revocation] {
            writer.compact_count(partitions.len())?;
            for (topic_id, partitions) in partitions {
                writer.bytes(topic_id.as_bytes());
                writer.compact_count(partitions.len())?;
                partitions
                    .keys()
                    .for_each(|&partition| writer.i32(partition));
                let mut epochs = Writer::default();
                epochs.compact_count(partitions.len())?;
                partitions.values().for_each(|&epoch| epochs.i32(epoch));
                writer.tagged_field(Some(epochs))?;
            }
        }
        writer.tagged_field(None)
    }

    pub(super) fn decode(mut reader: Reader<'_>) -> Result<Self, RecordError> {
        let member_epoch = reader.i32()?;
        let current = Self {
            member_epoch,
            previous_member_epoch: reader.i32()?,
            state: MemberState::from_code(reader.i8()?),
            assigned: decode_assigned(&mut reader, member_epoch)?,
            pending_revocation: decode_assigned(&mut reader, member_epoch)?,
        };
        reader.tagged_fields(|_, _| Ok(()))?;
        Ok(current)
    }
}

/// Records before Kafka 4.3 have no assignment epochs. Then a member has its partitions since its own epoch.
fn decode_assigned(reader: &mut Reader<'_>, member_epoch: i32) -> Result<Assigned, RecordError> {
    let topics = reader.compact_array(|reader| {
        let topic_id = reader.uuid()?;
        let partitions = reader.compact_array(Reader::i32)?;
        let mut epochs = Vec::new();
        reader.tagged_fields(|tag, field| {
            let mut field = Reader::new(field);
            if tag == 0 && !field.is_null_array()? {
                epochs = field.compact_array(Reader::i32)?;
            }
            Ok(())
        })?;
        if !epochs.is_empty() && epochs.len() != partitions.len() {
            return Err(RecordError::BadLength);
        }
        let epochs = epochs.into_iter().chain(std::iter::repeat(member_epoch));
        Ok((topic_id, partitions.into_iter().zip(epochs).collect()))
    })?;
    Ok(topics.into_iter().collect())
}

pub(super) fn encode_names(names: &BTreeSet<Name>, writer: &mut Writer) -> Result<(), RecordError> {
    writer.compact_count(names.len())?;
    names
        .iter()
        .try_for_each(|name| writer.compact_string(name))
}

pub(super) fn decode_names(reader: &mut Reader<'_>) -> Result<BTreeSet<Name>, RecordError> {
    let names = reader.compact_array(|reader| Ok(Name::from(reader.compact_string()?)))?;
    Ok(names.into_iter().collect())
}
