//! What answers about groups take in memory.

use bytes::Bytes;

use crate::allowance::{Priced, STRUCT_BYTES, text_bytes};
use crate::group::reply::{
    DeletedGroup, DescribedConsumerGroup, DescribedGroup, FetchedGroup, FetchedPartition,
    FetchedTopic, NamedPartitions,
};

/// What one partition takes besides its metadata. Most answers of groups consist of them.
pub(super) const FETCHED_PARTITION_BYTES: usize = 160;

/// Bytes are copied only when they are encoded.
fn bytes_bytes(bytes: &Bytes) -> usize {
    bytes.len()
}

impl Priced for FetchedGroup {
    fn price_bytes(&self) -> usize {
        let partitions = |topic: &FetchedTopic| -> usize {
            let of = |p: &FetchedPartition| FETCHED_PARTITION_BYTES + text_bytes(&p.metadata);
            topic.partitions.iter().map(of).sum()
        };
        let topics = self.topics.iter();
        let topics = topics.map(|topic| STRUCT_BYTES + text_bytes(&topic.name) + partitions(topic));
        STRUCT_BYTES + text_bytes(&self.group_id) + topics.sum::<usize>()
    }
}

impl Priced for DescribedGroup {
    fn price_bytes(&self) -> usize {
        let members = self.members.iter().map(|member| {
            3 * STRUCT_BYTES
                + text_bytes(&member.member_id)
                + text_bytes(&member.client_id)
                + text_bytes(&member.client_host)
                + text_bytes(member.group_instance_id.as_deref().unwrap_or_default())
                + bytes_bytes(&member.metadata)
                + bytes_bytes(&member.assignment)
        });
        3 * STRUCT_BYTES + text_bytes(&self.group_id) + members.sum::<usize>()
    }
}

impl Priced for DescribedConsumerGroup {
    fn price_bytes(&self) -> usize {
        let partitions = |topics: &[NamedPartitions]| -> usize {
            let of = |topic: &NamedPartitions| {
                STRUCT_BYTES + text_bytes(&topic.topic_name) + 3 * size_of_val(&*topic.partitions)
            };
            topics.iter().map(of).sum()
        };
        let members = self.members.iter().map(|member| {
            let names = member.subscribed_topic_names.iter();
            3 * STRUCT_BYTES
                + text_bytes(&member.member_id)
                + text_bytes(&member.client_id)
                + text_bytes(&member.client_host)
                + text_bytes(member.instance_id.as_deref().unwrap_or_default())
                + text_bytes(member.rack_id.as_deref().unwrap_or_default())
                + text_bytes(member.subscribed_topic_regex.as_deref().unwrap_or_default())
                + names
                    .map(|name| STRUCT_BYTES / 4 + text_bytes(name))
                    .sum::<usize>()
                + partitions(&member.assignment)
                + partitions(&member.target_assignment)
        });
        3 * STRUCT_BYTES + text_bytes(&self.group_id) + members.sum::<usize>()
    }
}

impl Priced for DeletedGroup {
    fn price_bytes(&self) -> usize {
        STRUCT_BYTES + text_bytes(&self.group_id)
    }
}
