//! The partitions of a transaction.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::id::Name;
use crate::machine::Partition;

/// The partitions that a transaction has written to, or may.
///
/// A topic that is deleted and made anew under its name is another topic. While both are in memory, each has entries of its
/// own. A record knows names only, so after a restart an entry stands for whatever topic has the name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Partitions(BTreeSet<Partition>);

impl Partitions {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains(&self, partition: &Partition) -> bool {
        self.0.contains(partition)
            || self.0.contains(&Partition {
                topic_id: Uuid::nil(),
                ..partition.clone()
            })
    }

    pub(super) fn insert(&mut self, partition: Partition) {
        if !self.contains(&partition) {
            self.0.insert(partition);
        }
    }

    pub(super) fn to_vec(&self) -> Vec<Partition> {
        self.0.iter().cloned().collect()
    }

    /// Indexes by the name of the topic, each once, in order.
    pub(super) fn by_topic(&self) -> BTreeMap<&Name, BTreeSet<i32>> {
        let mut topics: BTreeMap<&Name, BTreeSet<i32>> = BTreeMap::new();
        for partition in &self.0 {
            let indexes = topics.entry(&partition.topic).or_default();
            indexes.insert(partition.index);
        }
        topics
    }

    /// What a record says of them takes no more than this.
    pub(super) fn size_bytes(&self) -> usize {
        const COUNT_BYTES: usize = 5;
        const TAGS_BYTES: usize = 1;
        let mut topic: Option<&Name> = None;
        let mut bytes = COUNT_BYTES;
        for partition in &self.0 {
            if topic.is_none_or(|topic| *topic != partition.topic) {
                bytes += COUNT_BYTES + partition.topic.len() + COUNT_BYTES + TAGS_BYTES;
                topic = Some(&partition.topic);
            }
            bytes += size_of::<i32>();
        }
        bytes
    }
}

impl FromIterator<Partition> for Partitions {
    fn from_iter<I: IntoIterator<Item = Partition>>(partitions: I) -> Self {
        Self(partitions.into_iter().collect())
    }
}
