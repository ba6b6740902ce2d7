//! What the answers to one request may take in memory.

use bytes::Bytes;
use protocol_shim::ErrorCode;

use crate::group::reply::{
    DeletedGroup, DescribedConsumerGroup, DescribedGroup, FetchedGroup, FetchedPartition,
    FetchedTopic, NamedPartitions,
};

/// What the answers to one request may still take in memory.
///
/// A request may name one group thousands of times, or one large group after the other, and each mention has an answer. So
/// answers are counted before they are made, or while they still share with the group what they tell. The first answer that
/// does not fit ends them all: then counting, too, takes time for the request and not for what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    whole_bytes: usize,
    left_bytes: usize,
}

impl Allowance {
    pub fn new(bytes: usize) -> Self {
        Self {
            whole_bytes: bytes,
            left_bytes: bytes,
        }
    }

    /// No limit. For callers that are no clients.
    pub fn unlimited() -> Self {
        Self::new(usize::MAX)
    }

    /// Spends what one answer takes.
    ///
    /// # Errors
    /// COORDINATOR_LOAD_IN_PROGRESS if it does not fit beside those before it: clients ask once more for what was refused so.
    /// UNKNOWN_SERVER_ERROR if it would not fit alone either.
    pub fn spend(&mut self, bytes: usize) -> Result<(), ErrorCode> {
        if let Some(left_bytes) = self.left_bytes.checked_sub(bytes) {
            self.left_bytes = left_bytes;
            return Ok(());
        }
        let error = match bytes > self.whole_bytes {
            true => ErrorCode::UnknownServerError,
            false => ErrorCode::CoordinatorLoadInProgress,
        };
        self.left_bytes = 0;
        Err(error)
    }

    /// Says at once if an answer that takes this much or more will not fit. Spends nothing yet.
    ///
    /// # Errors
    /// As [`spend`](Self::spend).
    pub fn expect_at_least(&mut self, bytes: usize) -> Result<(), ErrorCode> {
        match self.left_bytes {
            0 => Err(ErrorCode::CoordinatorLoadInProgress),
            left_bytes if bytes <= left_bytes => Ok(()),
            _ => self.spend(bytes),
        }
    }
}

/// A part of an answer that knows roughly what it takes: as a reply, as a wire struct, and encoded.
pub trait Priced {
    fn price_bytes(&self) -> usize;
}

/// What a struct takes besides its text, as a reply and on the wire. The tests compare it with the structs.
pub(super) const STRUCT_BYTES: usize = 256;
/// What one partition takes besides its metadata. Most answers of groups consist of them.
pub(super) const FETCHED_PARTITION_BYTES: usize = 160;

/// What a text takes that is shared in the reply, copied into the wire struct, and encoded from there.
pub(super) fn text_bytes(text: &str) -> usize {
    2 * text.len()
}

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
