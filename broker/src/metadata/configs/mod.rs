//! The settings at one moment of everything but topics, which carry their own.

mod group;
pub(super) mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::MetadataRecord;

/// What a configuration belongs to; the discriminant is Kafka's on the wire and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum ResourceType {
    Topic = 2,
    /// By node id; the empty name is every broker.
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl ResourceType {
    pub const ALL: [Self; 5] = [
        Self::Topic,
        Self::Broker,
        Self::BrokerLogger,
        Self::ClientMetrics,
        Self::Group,
    ];

    pub(crate) fn from_wire(value: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i8 == value)
    }
}

/// Settings of one resource, by key.
pub type Overrides = BTreeMap<String, String>;
pub(super) static NO_OVERRIDES: Overrides = Overrides::new();

/// The settings of all resources but topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ConfigsImage(Arc<BTreeMap<ResourceType, OverridesByName>>);

type OverridesByName = BTreeMap<Arc<str>, Arc<Overrides>>;

impl ConfigsImage {
    /// The settings of a resource; empty if there are none.
    pub(crate) fn get(&self, kind: ResourceType, name: &str) -> &Overrides {
        let of_kind = self.0.get(&kind);
        let found = of_kind.and_then(|of_kind| of_kind.get(name));
        found.map_or(&NO_OVERRIDES, |overrides| overrides)
    }

    /// The names of all resources of a type that have settings.
    pub(crate) fn names(&self, kind: ResourceType) -> impl Iterator<Item = &str> {
        let of_kind = self.0.get(&kind).into_iter().flatten();
        of_kind.map(|(name, _)| &**name)
    }

    pub(crate) fn set(
        &mut self,
        kind: ResourceType,
        resource: &str,
        name: &str,
        value: Option<&str>,
    ) {
        let configs = Arc::make_mut(&mut self.0);
        let of_kind = configs.entry(kind).or_default();
        // What nobody else has is changed where it is: a copy for each of many keys would be work times work.
        let overrides = of_kind.entry(resource.into()).or_default();
        set(Arc::make_mut(overrides), name, value);
        if overrides.is_empty() {
            of_kind.remove(resource);
            if of_kind.is_empty() {
                configs.remove(&kind);
            }
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = MetadataRecord> {
        self.0.iter().flat_map(|(kind, of_kind)| {
            let of_kind = of_kind.iter();
            of_kind.flat_map(|(name, overrides)| config_records(*kind, name, overrides))
        })
    }
}

/// Sets a key or takes it back.
pub(super) fn set(overrides: &mut Overrides, name: &str, value: Option<&str>) {
    match value {
        Some(value) => overrides.insert(name.to_owned(), value.to_owned()),
        None => overrides.remove(name),
    };
}

/// A record for each setting of a resource.
pub(super) fn config_records<'a>(
    kind: ResourceType,
    resource: &'a str,
    overrides: &'a Overrides,
) -> impl Iterator<Item = MetadataRecord> + 'a {
    let settings = overrides.iter();
    settings.map(move |(name, value)| config_record(kind, resource, name, Some(value)))
}

/// Sets one key of a resource, or takes it back.
pub(super) fn config_record(
    kind: ResourceType,
    resource: &str,
    name: &str,
    value: Option<&str>,
) -> MetadataRecord {
    MetadataRecord::Config {
        resource_type: kind as i8,
        resource_name: resource.to_owned(),
        name: name.to_owned(),
        value: value.map(str::to_owned),
    }
}
