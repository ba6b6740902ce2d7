//! What comes out of a [`GroupShard`](super::GroupShard): one reply per request, free of wire types.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol_shim::ErrorCode;
use uuid::Uuid;

use crate::group::assignor::spec::Partitions;
use crate::group::id::{GroupId, InstanceId, MemberId, Name};
use crate::group::request::SurveyPlace;
use crate::machine::Refused;

/// The reply to the [`GroupRequest`](super::request::GroupRequest) of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupReply {
    Join(JoinReply),
    Sync(SyncReply),
    Heartbeat(Option<ErrorCode>),
    Leave(LeaveReply),
    ConsumerHeartbeat(ConsumerHeartbeatReply),
    CommitOffsets(Vec<TopicResult>),
    CommitTxnOffsets(Vec<TopicResult>),
    FetchOffsets(Vec<FetchedGroup>),
    DeleteOffsets(DeleteOffsetsReply),
    DescribeGroups(Vec<DescribedGroup>),
    DescribeConsumerGroups(Vec<DescribedConsumerGroup>),
    ListGroups(ListGroupsReply),
    Survey(GroupsSurveyed),
    DeleteGroups(Vec<DeletedGroup>),
    TopicsDeleted(Option<ErrorCode>),
    /// To any request, by the owner of the shard.
    Refused(ErrorCode),
}

/// Nothing of the request has happened, or nobody can tell what has.
impl From<Refused> for GroupReply {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused.into())
    }
}

/// JoinGroup response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinReply {
    pub error: Option<ErrorCode>,
    /// -1 on error.
    pub generation_id: i32,
    pub protocol_type: Option<Name>,
    /// Before version 7 a `None` goes out as an empty string.
    pub protocol_name: Option<Name>,
    /// Empty on error.
    pub leader: MemberId,
    pub skip_assignment: bool,
    pub member_id: MemberId,
    /// For the leader only.
    pub members: Vec<JoinReplyMember>,
}

impl JoinReply {
    pub(super) fn error(member_id: MemberId, error: ErrorCode) -> Self {
        Self {
            error: Some(error),
            generation_id: -1,
            protocol_type: None,
            protocol_name: Some("".into()),
            leader: "".into(),
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        }
    }
}

/// A member as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinReplyMember {
    pub member_id: MemberId,
    pub group_instance_id: Option<InstanceId>,
    pub metadata: Bytes,
}

/// SyncGroup response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncReply {
    pub error: Option<ErrorCode>,
    pub protocol_type: Option<Name>,
    pub protocol_name: Option<Name>,
    pub assignment: Bytes,
}

impl SyncReply {
    pub(super) fn error(error: ErrorCode) -> Self {
        Self {
            error: Some(error),
            protocol_type: None,
            protocol_name: None,
            assignment: Bytes::new(),
        }
    }
}

/// LeaveGroup response. Before version 3 the one member's error is the response's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveReply {
    pub error: Option<ErrorCode>,
    pub members: Vec<LeftMember>,
}

/// The outcome for one member that was to leave, named as in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftMember {
    pub member_id: MemberId,
    pub group_instance_id: Option<InstanceId>,
    pub error: Option<ErrorCode>,
}

/// An error, and what is wrong in words. No words are needed where the error says it all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub error: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub(super) fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            error,
            message: message.into(),
        }
    }
}

/// ConsumerGroupHeartbeat response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerHeartbeatReply {
    /// If there is one, nothing else counts.
    pub refusal: Option<Refusal>,
    pub member_id: Option<MemberId>,
    pub member_epoch: i32,
    pub heartbeat_interval_ms: i32,
    /// What the member may use. `None` if the member knows already.
    pub assignment: Option<Partitions>,
}

impl ConsumerHeartbeatReply {
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self {
            refusal: Some(refusal),
            member_id: None,
            member_epoch: 0,
            heartbeat_interval_ms: 0,
            assignment: None,
        }
    }
}

/// The outcome of a commit or a deletion for the partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicResult {
    pub name: Name,
    pub topic_id: Uuid,
    pub partitions: Vec<PartitionResult>,
}

impl TopicResult {
    pub(super) fn fail(&mut self, error: ErrorCode) {
        self.partitions
            .iter_mut()
            .for_each(|partition| partition.error = Some(error));
    }
}

/// The outcome for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionResult {
    pub partition_index: i32,
    pub error: Option<ErrorCode>,
}

/// OffsetFetch response, one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedGroup {
    pub group_id: GroupId,
    pub error: Option<ErrorCode>,
    pub topics: Vec<FetchedTopic>,
}

impl FetchedGroup {
    pub fn failed(group_id: GroupId, error: ErrorCode) -> Self {
        Self {
            group_id,
            error: Some(error),
            topics: Vec::new(),
        }
    }
}

/// The offsets of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedTopic {
    pub name: Name,
    pub topic_id: Uuid,
    pub partitions: Vec<FetchedPartition>,
}

/// The offset of one partition; -1 if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedPartition {
    pub partition_index: i32,
    pub committed_offset: i64,
    pub committed_leader_epoch: i32,
    pub metadata: Name,
    pub error: Option<ErrorCode>,
}

/// OffsetDelete response. With a top-level error there are no topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteOffsetsReply {
    pub error: Option<ErrorCode>,
    pub topics: Vec<TopicResult>,
}

/// DescribeGroups response, one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedGroup {
    pub error: Option<ErrorCode>,
    /// Version 6 and more.
    pub error_message: Option<String>,
    pub group_id: GroupId,
    /// `Stable`, `Dead`, ...; empty on error.
    pub state: &'static str,
    pub protocol_type: Name,
    /// The chosen protocol, only while stable.
    pub protocol_data: Name,
    pub members: Vec<DescribedMember>,
}

impl DescribedGroup {
    pub fn failed(group_id: GroupId, error: ErrorCode) -> Self {
        Self {
            error: Some(error),
            ..Self::named(group_id)
        }
    }

    pub(super) fn named(group_id: GroupId) -> Self {
        Self {
            error: None,
            error_message: None,
            group_id,
            state: "",
            protocol_type: "".into(),
            protocol_data: "".into(),
            members: Vec::new(),
        }
    }
}

/// A member as an administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    pub member_id: MemberId,
    pub group_instance_id: Option<InstanceId>,
    pub client_id: Name,
    pub client_host: Name,
    /// Empty unless the group is stable.
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// ConsumerGroupDescribe response, one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedConsumerGroup {
    pub refusal: Option<Refusal>,
    pub group_id: GroupId,
    /// `Stable`, `Assigning`, ...; empty on error.
    pub state: &'static str,
    pub group_epoch: i32,
    pub assignment_epoch: i32,
    pub assignor: &'static str,
    pub members: Vec<DescribedConsumer>,
}

impl DescribedConsumerGroup {
    pub fn failed(group_id: GroupId, error: ErrorCode) -> Self {
        Self {
            refusal: Some(Refusal::new(error, "")),
            ..Self::named(group_id)
        }
    }

    pub(super) fn named(group_id: GroupId) -> Self {
        Self {
            refusal: None,
            group_id,
            state: "",
            group_epoch: 0,
            assignment_epoch: 0,
            assignor: "",
            members: Vec::new(),
        }
    }
}

/// A member of a consumer group as an administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedConsumer {
    pub member_id: MemberId,
    pub instance_id: Option<InstanceId>,
    pub rack_id: Option<Name>,
    pub member_epoch: i32,
    /// Whether it still uses the classic protocol.
    pub is_classic: bool,
    pub client_id: Name,
    pub client_host: Name,
    pub subscribed_topic_names: Vec<Name>,
    pub subscribed_topic_regex: Option<Name>,
    pub assignment: Vec<NamedPartitions>,
    pub target_assignment: Vec<NamedPartitions>,
}

/// Partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPartitions {
    pub topic_id: Uuid,
    pub topic_name: Name,
    pub partitions: Vec<i32>,
}

/// ListGroups response, this shard's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListGroupsReply {
    pub error: Option<ErrorCode>,
    pub groups: Vec<ListedGroup>,
}

/// One group of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    pub group_id: GroupId,
    pub protocol_type: Name,
    pub state: &'static str,
    /// `classic` or `consumer`.
    pub group_type: &'static str,
}

/// A part of what metrics want to know of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupsSurveyed {
    pub groups: Vec<SurveyedGroup>,
    /// Where the next part begins, if there is one. It may be in the last group of this one.
    pub next: Option<SurveyPlace>,
}

/// One group of a survey, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedGroup {
    pub group_id: GroupId,
    /// The last part had the group already, and these are more of its offsets.
    pub goes_on: bool,
    /// `classic` or `consumer`.
    pub group_type: &'static str,
    pub state: &'static str,
    pub protocol_type: Name,
    /// The protocol of a classic group that is stable.
    pub protocol_name: Name,
    pub member_count: usize,
    /// Where that was asked for, in the first part of a group.
    pub assigned: AssignedTopics,
    /// Topic, partition and committed offset.
    pub offsets: Vec<(Name, i32, i64)>,
    /// How often these were committed, as far as the log tells since the load.
    pub commits: u64,
}

/// What members of a group are assigned. Nothing is known of classic groups that are not stable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AssignedTopics {
    pub topics: BTreeMap<Name, AssignedTopic>,
    /// Members without any partition.
    pub empty_members: usize,
}

impl AssignedTopics {
    /// Adds what one member has: topics, and how many partitions of each.
    pub(super) fn add(&mut self, partitions: impl IntoIterator<Item = (Name, usize)>) {
        let mut is_empty = true;
        for (topic, count) in partitions {
            let of_topic = self.topics.entry(topic).or_default();
            of_topic.members += 1;
            of_topic.partitions += count;
            is_empty = false;
        }
        self.empty_members += usize::from(is_empty);
    }
}

/// What members of a group are assigned of one topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AssignedTopic {
    /// Members with at least one partition.
    pub members: usize,
    pub partitions: usize,
}

/// DeleteGroups response, one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedGroup {
    pub group_id: GroupId,
    pub error: Option<ErrorCode>,
}
