//! The quotas of clients at one moment: for whom, and how much (KIP-546).

pub(super) mod plan;

use std::fmt;
use std::sync::Arc;

use super::error::ApplyError;
use super::record::{MetadataRecord, QuotaName};
use super::sorted_map::SortedMap;

/// What a quota may limit; the names are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaKey {
    /// Bytes of Produce requests in a second.
    ProducerByteRate,
    /// Bytes of Fetch responses in a second.
    ConsumerByteRate,
    /// Per cent of one thread.
    RequestPercentage,
    /// Partitions that are created or deleted in a second.
    ControllerMutationRate,
    /// New connections in a second, from one address.
    ConnectionCreationRate,
}

impl QuotaKey {
    pub const ALL: [Self; 5] = [
        Self::ProducerByteRate,
        Self::ConsumerByteRate,
        Self::RequestPercentage,
        Self::ControllerMutationRate,
        Self::ConnectionCreationRate,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ProducerByteRate => "producer_byte_rate",
            Self::ConsumerByteRate => "consumer_byte_rate",
            Self::RequestPercentage => "request_percentage",
            Self::ControllerMutationRate => "controller_mutation_rate",
            Self::ConnectionCreationRate => "connection_creation_rate",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }
}

/// What a part of an entity is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntityType {
    User,
    ClientId,
    Ip,
}

impl EntityType {
    pub const ALL: [Self; 3] = [Self::User, Self::ClientId, Self::Ip];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::ClientId => "client-id",
            Self::Ip => "ip",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// One part of an entity.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The quota does not ask.
    #[default]
    Any,
    /// Everybody without a quota of his own.
    Default,
    Named(Arc<str>),
}

impl From<Option<&str>> for Part {
    fn from(name: Option<&str>) -> Self {
        name.map_or(Self::Default, |name| Self::Named(name.into()))
    }
}

impl Part {
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::Any | Self::Default => None,
        }
    }
}

/// Whom a quota is for. At least one part is there, and an ip stands alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaEntity {
    pub user: Part,
    pub client_id: Part,
    pub ip: Part,
}

impl QuotaEntity {
    pub(crate) fn part(&self, kind: EntityType) -> &Part {
        match kind {
            EntityType::User => &self.user,
            EntityType::ClientId => &self.client_id,
            EntityType::Ip => &self.ip,
        }
    }

    pub(crate) fn part_mut(&mut self, kind: EntityType) -> &mut Part {
        match kind {
            EntityType::User => &mut self.user,
            EntityType::ClientId => &mut self.client_id,
            EntityType::Ip => &mut self.ip,
        }
    }

    /// The parts that are there: what each is about, and its name or none for the default.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (EntityType, Option<&str>)> {
        let all = EntityType::ALL.into_iter();
        let there = all.filter(|kind| *self.part(*kind) != Part::Any);
        there.map(|kind| (kind, self.part(kind).name()))
    }
}

/// As Kafka's `ClientQuotaEntity`, whose map has client ids first.
impl fmt::Display for QuotaEntity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientQuotaEntity(entries={")?;
        let order = [EntityType::Ip, EntityType::ClientId, EntityType::User];
        let there = order
            .into_iter()
            .filter(|kind| *self.part(*kind) != Part::Any);
        for (index, kind) in there.enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let name = self.part(kind).name().unwrap_or("null");
            write!(f, "{comma}{}={name}", kind.name())?;
        }
        f.write_str("})")
    }
}

/// How much one entity may, by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuotaValues([Option<f64>; QuotaKey::ALL.len()]);

impl QuotaValues {
    pub(crate) fn get(&self, key: QuotaKey) -> Option<f64> {
        self.0[key as usize]
    }

    fn set(&mut self, key: QuotaKey, value: Option<f64>) {
        self.0[key as usize] = value;
    }

    /// Those that are set.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (QuotaKey, f64)> {
        let all = QuotaKey::ALL.into_iter();
        all.filter_map(|key| Some((key, self.get(key)?)))
    }
}

/// All quotas. Cloning shares them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuotasImage {
    entities: SortedMap<QuotaEntity, Arc<QuotaValues>>,
    value_count: usize,
}

impl QuotasImage {
    pub(crate) fn len(&self) -> usize {
        self.entities.len()
    }

    /// Whether nothing has changed between the two.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.entities.is_same(&other.entities)
    }

    /// Those of addresses. They come first, so the others cost nothing.
    pub(crate) fn of_addresses(&self) -> impl Iterator<Item = (&Part, &QuotaValues)> {
        let is_of_address =
            |entity: &QuotaEntity| entity.user == Part::Any && entity.client_id == Part::Any;
        self.iter()
            .take_while(move |(entity, _)| is_of_address(entity))
            .map(|(entity, values)| (&entity.ip, values))
    }

    /// What is set for exactly this entity.
    pub(crate) fn get(&self, entity: &QuotaEntity, key: QuotaKey) -> Option<f64> {
        self.entities.get(entity)?.get(key)
    }

    /// Every entity, in an order of ours.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&QuotaEntity, &QuotaValues)> {
        self.entities
            .iter()
            .map(|(entity, values)| (entity, &**values))
    }

    fn values(&self, entity: &QuotaEntity) -> Option<&QuotaValues> {
        self.entities.get(entity).map(|values| &**values)
    }

    /// Takes a record in.
    ///
    /// # Errors
    /// It is about something that no version knows.
    pub(super) fn set(
        &mut self,
        entity: &[QuotaName],
        key: &str,
        value: Option<f64>,
    ) -> Result<(), ApplyError> {
        let unknown = |what: &str| ApplyError::Inconsistent(format!("unknown quota of {what}"));
        let mut found = QuotaEntity::default();
        for QuotaName { kind, name } in entity {
            let kind = EntityType::from_name(kind).ok_or_else(|| unknown(kind))?;
            *found.part_mut(kind) = Part::from(name.as_deref());
        }
        let key = QuotaKey::from_name(key).ok_or_else(|| unknown(key))?;
        let mut values = QuotaValues::clone(self.values(&found).unwrap_or(&QuotaValues::default()));
        let before = values.iter().count();
        values.set(key, value);
        let after = values.iter().count();
        self.value_count = self.value_count - before + after;
        match after {
            0 => self.entities.remove(&found),
            _ => self.entities.insert(found, Arc::new(values)),
        }
        Ok(())
    }

    pub(super) fn records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.iter().flat_map(|(entity, values)| {
            let values = values.iter();
            values.map(move |(key, value)| quota_record(entity, key, Some(value)))
        })
    }

    /// How many records [`records`](Self::records) gives.
    pub(super) fn record_count(&self) -> usize {
        self.value_count
    }
}

/// Sets one quota, or takes it back.
pub(super) fn quota_record(
    entity: &QuotaEntity,
    key: QuotaKey,
    value: Option<f64>,
) -> MetadataRecord {
    let names = entity.parts().map(|(kind, name)| QuotaName {
        kind: kind.name().to_owned(),
        name: name.map(str::to_owned),
    });
    MetadataRecord::ClientQuota {
        entity: names.collect(),
        key: key.name().to_owned(),
        value: value.unwrap_or_default(),
        remove: value.is_none(),
    }
}
