//! What consumers of the classic protocol tell each other through the coordinator: each of them sends a subscription, and
//! their leader computes the assignments.
//!
//! In a classic group these are mere bytes. In a group of the other protocol the coordinator has to read and write them. A
//! newer version only adds fields at the end. Kafka's `ConsumerProtocol` is the model.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use uuid::Uuid;

use crate::codec::{Reader, RecordError, Writer};
use crate::group::assignor::spec::Partitions;
use crate::group::catalog::Catalog;
use crate::group::id::Name;

/// The protocol type of plain consumers. The coordinator can read the subscriptions of no other type.
pub(super) const PROTOCOL_TYPE: &str = "consumer";

/// The newest version of both.
const MAX_VERSION: i16 = 3;

/// Partitions by topic name.
type NamedPartitions = Vec<(Name, Vec<i32>)>;

/// What a consumer subscribes to and has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) topics: BTreeSet<Name>,
    /// Empty before version 1.
    pub(super) owned: NamedPartitions,
    /// `None` before version 3.
    pub(super) rack_id: Option<Name>,
}

impl Subscription {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        let version = read_version(&mut reader)?;
        let mut read = Self {
            topics: read_topics(&mut reader)?,
            ..Self::default()
        };
        if version >= 1 {
            read.owned = read_partitions(&mut reader)?;
        }
        if version >= 2 {
            // The generation in which it had them.
            reader.i32()?;
        }
        if version >= 3 {
            read.rack_id = reader.nullable_string_of(false)?.map(Name::from);
        }
        Ok(read)
    }

    /// The topics alone. Nothing else is needed of members that only talk to each other.
    pub(super) fn read_topics(bytes: &[u8]) -> Result<BTreeSet<Name>, RecordError> {
        let mut reader = Reader::new(bytes);
        read_version(&mut reader)?;
        read_topics(&mut reader)
    }

    /// What the consumer has, by topic id; topics that are gone are left out.
    pub(super) fn owned_ids(&self, catalog: &dyn Catalog) -> Vec<(Uuid, Vec<i32>)> {
        let known = |(name, indexes): &(Name, Vec<i32>)| {
            let (topic_id, _) = catalog.topic(name)?;
            Some((topic_id, indexes.clone()))
        };
        self.owned.iter().filter_map(known).collect()
    }
}

fn read_version(reader: &mut Reader<'_>) -> Result<i16, RecordError> {
    match reader.i16()? {
        version @ ..0 => Err(RecordError::UnknownVersion(version)),
        version => Ok(version),
    }
}

/// Topics and user data.
fn read_topics(reader: &mut Reader<'_>) -> Result<BTreeSet<Name>, RecordError> {
    let mut topics = BTreeSet::new();
    for _ in 0..reader.count_of(false)? {
        topics.insert(reader.string()?.into());
    }
    reader.nullable_bytes_of(false)?;
    Ok(topics)
}

fn read_partitions(reader: &mut Reader<'_>) -> Result<NamedPartitions, RecordError> {
    // The counts are only a claim of the client, so they set no capacity.
    let mut topics = Vec::new();
    for _ in 0..reader.count_of(false)? {
        let name = reader.string()?.into();
        let mut indexes = Vec::new();
        for _ in 0..reader.count_of(false)? {
            indexes.push(reader.i32()?);
        }
        topics.push((name, indexes));
    }
    Ok(topics)
}

/// What a leader gave to one member.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) partitions: NamedPartitions,
    /// Whether the leader's assignor added data of its own. Nobody else could make such data.
    pub(super) has_user_data: bool,
}

impl Assignment {
    /// Reads an assignment. No bytes at all are an assignment of nothing.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut reader = Reader::new(bytes);
        read_version(&mut reader)?;
        let partitions = read_partitions(&mut reader)?;
        let user_data = reader.nullable_bytes_of(false)?;
        Ok(Self {
            partitions,
            has_user_data: user_data.is_some_and(|data| !data.is_empty()),
        })
    }
}

/// An assignment in the version of the member's own `subscription`. Topics that are gone are left out.
///
/// # Errors
/// When a topic's name or the number of its partitions does not fit.
pub(super) fn write_assignment(
    partitions: &Partitions,
    subscription: &[u8],
    catalog: &dyn Catalog,
) -> Result<Bytes, RecordError> {
    let version = Reader::new(subscription).i16().unwrap_or(0);
    let named: BTreeMap<Name, &BTreeSet<i32>> = partitions
        .iter()
        .filter_map(|(topic_id, indexes)| Some((catalog.topic_name(*topic_id)?, indexes)))
        .collect();
    let mut writer = Writer::default();
    writer.i16(version.clamp(0, MAX_VERSION));
    writer.length(named.len())?;
    for (name, indexes) in named {
        writer.string(&name)?;
        writer.length(indexes.len())?;
        indexes.iter().for_each(|&index| writer.i32(index));
    }
    // No user data.
    writer.i32(-1);
    Ok(writer.finish().into())
}
