//! What a shard may know of topics and of the settings of groups.

use std::fmt;

use uuid::Uuid;

use crate::group::id::Name;

/// Topics and group settings at one moment. The owner hands in a new one when anything has changed.
pub trait Catalog: fmt::Debug + Send + Sync {
    /// Name and number of partitions of a topic.
    fn topic(&self, name: &str) -> Option<(Uuid, i32)>;

    /// The name of a topic.
    fn topic_name(&self, topic_id: Uuid) -> Option<Name>;

    /// Calls `visit` with the name of every topic, internal ones too.
    fn visit_topic_names(&self, visit: &mut dyn FnMut(&Name));

    /// A setting such as `consumer.session.timeout.ms`, if it has been altered: for the group, or for all groups while the
    /// broker runs.
    fn group_setting(&self, group_id: &str, key: &str) -> Option<i32>;
}

/// The catalog of a shard that has not been given one.
#[derive(Debug)]
pub(super) struct NoTopics;

impl Catalog for NoTopics {
    fn topic(&self, _: &str) -> Option<(Uuid, i32)> {
        None
    }

    fn topic_name(&self, _: Uuid) -> Option<Name> {
        None
    }

    fn visit_topic_names(&self, _: &mut dyn FnMut(&Name)) {}

    fn group_setting(&self, _: &str, _: &str) -> Option<i32> {
        None
    }
}
