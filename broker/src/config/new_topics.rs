//! The section of topics that are created.

use super::broker_row::{BrokerRow, kafka, own};
use super::def::Kind;
use super::section::section;

section! {
    /// What topics become that are created, and which may be.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct NewTopicsConfig of BrokerRow {}
    keys {
        /// Partitions of topics that do not ask for a number, and of auto-created ones.
        num_partitions: i32 = kafka("num.partitions"),
        /// Replication factor of topics that do not ask for one. A single node stores one copy.
        default_replication_factor: i32 = kafka("default.replication.factor"),
        /// Accept replication factors above 1 and store one copy all the same: for tests written for clusters.
        accept_any_replication_factor: bool =
            own("ottla.accept.any.replication.factor", Kind::Boolean, "false"),
        /// Create a topic when a client that allows it asks for its metadata.
        auto_create_topics_enable: bool = kafka("auto.create.topics.enable"),
        /// Whether DeleteTopics is allowed.
        delete_topic_enable: bool = kafka("delete.topic.enable"),
        /// Most topics, those that clients create by asking for them among them. A request for more is answered
        /// POLICY_VIOLATION.
        max_topics: usize = own("ottla.max.topics", Kind::Int, "200000").at_least(1),
        /// Most partitions of all topics together. A request for more is answered POLICY_VIOLATION.
        max_partitions: usize = own("ottla.max.partitions", Kind::Int, "1000000").at_least(1),
        /// Partitions of __consumer_offsets when it is created.
        offsets_topic_num_partitions: i32 = kafka("offsets.topic.num.partitions"),
        /// segment.bytes of __consumer_offsets when it is created.
        offsets_topic_segment_bytes: i32 = kafka("offsets.topic.segment.bytes"),
        /// Partitions of __transaction_state when it is created.
        transaction_state_log_num_partitions: i32 = kafka("transaction.state.log.num.partitions"),
        /// segment.bytes of __transaction_state when it is created.
        transaction_state_log_segment_bytes: i32 = kafka("transaction.state.log.segment.bytes"),
    }
    also {}
}
