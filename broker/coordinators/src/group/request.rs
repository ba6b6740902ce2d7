//! What goes into a [`GroupShard`](super::GroupShard): one struct per request, free of wire types.
//!
//! A group keeps some of these strings and bytes: ids, subscriptions, assignments, metadata of commits. They must be copies
//! of their own. A slice of a request frame would pin the frame for as long as the member lives.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use protocol_shim::ErrorCode;
use uuid::Uuid;

use crate::allowance::Allowance;
use crate::group::catalog::Catalog;
use crate::group::config::GroupConfig;
use crate::group::id::{GroupId, InstanceId, MemberId, Name};
use crate::group::reply::{
    ConsumerHeartbeatReply, DeleteOffsetsReply, GroupReply, JoinReply, LeaveReply, SyncReply,
};

/// A request to the groups of one shard.
#[derive(Debug, Clone)]
pub enum GroupRequest {
    /// JoinGroup. The reply may be parked until the rebalance completes.
    Join(JoinGroup),
    /// SyncGroup. The reply may be parked until the leader has sent the assignment.
    Sync(SyncGroup),
    /// Heartbeat of the classic protocol.
    Heartbeat(Heartbeat),
    /// LeaveGroup, of one member or several.
    Leave(LeaveGroup),
    /// ConsumerGroupHeartbeat: joining, staying in and leaving a consumer group.
    ConsumerHeartbeat(ConsumerHeartbeat),
    /// OffsetCommit.
    CommitOffsets(CommitOffsets),
    /// TxnOffsetCommit: the offsets stay pending until the transaction ends.
    CommitTxnOffsets(CommitTxnOffsets),
    /// OffsetFetch, of the groups that live in this shard.
    FetchOffsets(FetchOffsets),
    /// OffsetDelete.
    DeleteOffsets(DeleteOffsets),
    /// DescribeGroups, of the groups that live in this shard.
    DescribeGroups(DescribeGroups),
    /// ConsumerGroupDescribe, of the groups that live in this shard.
    DescribeConsumerGroups(DescribeConsumerGroups),
    /// ListGroups, this shard's part.
    ListGroups(ListGroups),
    /// What metrics want to know of this shard's groups.
    Survey(SurveyGroups),
    /// DeleteGroups, of the groups that live in this shard.
    DeleteGroups(DeleteGroups),
    /// Topics were deleted: forget the offsets committed for them.
    TopicsDeleted(Vec<DeletedTopic>),
}

impl GroupRequest {
    /// The answer to a request that no group has to be looked at for: any broker gives it, whichever coordinates the group, as in
    /// Kafka.
    pub fn refused(&self, config: &GroupConfig) -> Option<GroupReply> {
        let error = ErrorCode::InvalidGroupId;
        match self {
            Self::Join(request) => {
                let timeouts = config.min_session_timeout_ms..=config.max_session_timeout_ms;
                let error = match request.group_id.is_valid() {
                    false => error,
                    true if timeouts.contains(&request.session_timeout_ms) => return None,
                    true => ErrorCode::InvalidSessionTimeout,
                };
                let member_id = request.member_id.clone();
                Some(GroupReply::Join(JoinReply::error(member_id, error)))
            }
            Self::Sync(request) if !request.group_id.is_valid() => {
                Some(GroupReply::Sync(SyncReply::error(error)))
            }
            Self::Heartbeat(request) if !request.group_id.is_valid() => {
                Some(GroupReply::Heartbeat(Some(error)))
            }
            Self::Leave(request) if !request.group_id.is_valid() => {
                Some(GroupReply::Leave(LeaveReply {
                    error: Some(error),
                    members: Vec::new(),
                }))
            }
            Self::ConsumerHeartbeat(request) => {
                let refusal = request.validate(config).err()?;
                let reply = ConsumerHeartbeatReply::refused(refusal);
                Some(GroupReply::ConsumerHeartbeat(reply))
            }
            Self::DeleteOffsets(request) if !request.group_id.is_valid() => {
                Some(GroupReply::DeleteOffsets(DeleteOffsetsReply {
                    error: Some(error),
                    topics: Vec::new(),
                }))
            }
            _ => None,
        }
    }
}

/// JoinGroup 0-9.
#[derive(Debug, Clone)]
pub struct JoinGroup {
    pub group_id: GroupId,
    /// Empty when the member has no id yet.
    pub member_id: MemberId,
    /// `group.instance.id` (KIP-345).
    pub group_instance_id: Option<InstanceId>,
    /// From the request header; empty if the client sent none.
    pub client_id: Name,
    /// The peer's address as Java prints it: `/127.0.0.1`.
    pub client_host: Name,
    pub session_timeout_ms: i32,
    /// If negative, the session timeout counts. Version 0 has none.
    pub rebalance_timeout_ms: i32,
    pub protocol_type: Name,
    /// In the member's order of preference.
    pub protocols: Vec<Protocol>,
    /// Why the member joins (KIP-800).
    pub reason: Option<Box<str>>,
    /// 4 and more: a member id is required (KIP-394). 9 and more: the leader can be told to skip the assignment (KIP-814).
    pub api_version: i16,
    /// Random, drawn by the caller. It makes the member id if one is needed.
    pub member_uuid: Uuid,
}

/// One assignment strategy a member offers, with its subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    pub name: Name,
    pub metadata: Bytes,
}

/// SyncGroup 0-5.
#[derive(Debug, Clone)]
pub struct SyncGroup {
    pub group_id: GroupId,
    pub generation_id: i32,
    pub member_id: MemberId,
    pub group_instance_id: Option<InstanceId>,
    /// Version 5 and more: checked against the group's.
    pub protocol_type: Option<Name>,
    /// Version 5 and more: checked against the group's.
    pub protocol_name: Option<Name>,
    /// From the leader: member id and assignment.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// Heartbeat 0-4.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub group_id: GroupId,
    pub generation_id: i32,
    pub member_id: MemberId,
    pub group_instance_id: Option<InstanceId>,
}

/// LeaveGroup 0-5; before version 3 there is exactly one member.
#[derive(Debug, Clone)]
pub struct LeaveGroup {
    pub group_id: GroupId,
    pub members: Vec<LeavingMember>,
}

/// A member that leaves. An administrator who removes a static member gives its instance id and an empty member id.
#[derive(Debug, Clone)]
pub struct LeavingMember {
    pub member_id: MemberId,
    pub group_instance_id: Option<InstanceId>,
    pub reason: Option<Box<str>>,
}

/// ConsumerGroupHeartbeat 0-1. A field that is `None`, or -1, has not changed since the last heartbeat.
#[derive(Debug, Clone)]
pub struct ConsumerHeartbeat {
    pub group_id: GroupId,
    /// May be empty in version 0 when joining.
    pub member_id: MemberId,
    /// 0 joins, -1 leaves, -2 leaves for a while.
    pub member_epoch: i32,
    pub instance_id: Option<InstanceId>,
    pub rack_id: Option<Name>,
    pub rebalance_timeout_ms: i32,
    /// From the request header; empty if the client sent none.
    pub client_id: Name,
    /// The peer's address as Java prints it: `/127.0.0.1`.
    pub client_host: Name,
    pub viewer: Viewer,
    pub subscribed_topic_names: Option<Vec<Name>>,
    pub subscribed_topic_regex: Option<Name>,
    /// What the expression matches, if there is one.
    pub resolved: Option<ResolvedPattern>,
    pub server_assignor: Option<Name>,
    /// Topic ids and partitions the member has.
    pub owned: Option<Vec<(Uuid, Vec<i32>)>>,
    /// 1 and more: the member brings its own id (KIP-1082).
    pub api_version: i16,
    /// Random, drawn by the caller. It is the member's id if it needs one.
    pub member_uuid: Uuid,
}

/// Who a member is, and where: an expression matches the topics that one who has it may know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    /// Type and name of the principal.
    pub kind: Name,
    pub name: Name,
    pub host: IpAddr,
}

impl Viewer {
    /// Somebody on this machine who has not said who it is.
    pub fn anonymous() -> Self {
        Self {
            kind: "User".into(),
            name: "ANONYMOUS".into(),
            host: Ipv4Addr::LOCALHOST.into(),
        }
    }
}

/// What the caller has found out about a regular expression.
#[derive(Debug, Clone)]
pub struct ResolvedPattern {
    /// The topics it matches, or what is wrong with it.
    pub topics: Result<BTreeSet<Name>, String>,
    /// Where the topics are from.
    pub catalog: Arc<dyn Catalog>,
}

/// What the expressions match that a shard has asked about.
#[derive(Debug, Clone)]
pub struct PatternsResolved {
    pub group_id: GroupId,
    pub topics: Vec<(Name, BTreeSet<Name>)>,
    /// Where the topics are from.
    pub catalog: Arc<dyn Catalog>,
}

/// OffsetCommit 2-10.
#[derive(Debug, Clone)]
pub struct CommitOffsets {
    pub group_id: GroupId,
    /// -1 outside of group management.
    pub generation_id_or_member_epoch: i32,
    pub member_id: MemberId,
    pub group_instance_id: Option<InstanceId>,
    /// Versions 2 to 4: how long after the commit the offsets expire, whatever the group does. `None` for -1.
    pub retention_time_ms: Option<i64>,
    pub topics: Vec<CommitTopic>,
    /// An unknown group is GROUP_ID_NOT_FOUND from 9 on, ILLEGAL_GENERATION before.
    pub api_version: i16,
}

/// TxnOffsetCommit 0-6. The caller has already checked producer id and epoch against the partition's log.
#[derive(Debug, Clone)]
pub struct CommitTxnOffsets {
    pub group_id: GroupId,
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// -1 before version 3.
    pub generation_id: i32,
    pub member_id: MemberId,
    pub group_instance_id: Option<InstanceId>,
    pub topics: Vec<CommitTopic>,
    /// An unknown group is GROUP_ID_NOT_FOUND from 6 on, and a member's wrong epoch STALE_MEMBER_EPOCH; both are
    /// ILLEGAL_GENERATION before.
    pub api_version: i16,
}

/// The offsets to commit for one topic.
#[derive(Debug, Clone)]
pub struct CommitTopic {
    pub name: Name,
    /// Nil if not known.
    pub topic_id: Uuid,
    pub partitions: Vec<CommitPartition>,
}

/// The offset to commit for one partition.
#[derive(Debug, Clone)]
pub struct CommitPartition {
    pub partition_index: i32,
    pub committed_offset: i64,
    /// -1 if not known.
    pub committed_leader_epoch: i32,
    /// A null on the wire is an empty string here.
    pub metadata: Name,
}

/// OffsetFetch 1-10.
#[derive(Debug, Clone)]
pub struct FetchOffsets {
    pub groups: Vec<FetchGroup>,
    /// Answer UNSTABLE_OFFSET_COMMIT where a transaction is still open (KIP-447).
    pub require_stable: bool,
    pub allowance: Allowance,
}

/// What to fetch of one group.
#[derive(Debug, Clone)]
pub struct FetchGroup {
    pub group_id: GroupId,
    /// Version 9 and more: the member that fetches, if one of a consumer group does.
    pub member_id: Option<MemberId>,
    /// -1 if nobody in particular.
    pub member_epoch: i32,
    /// `None`: all topics the group has offsets for.
    pub topics: Option<Vec<FetchTopic>>,
}

/// The partitions to fetch of one topic.
#[derive(Debug, Clone)]
pub struct FetchTopic {
    pub name: Name,
    /// An offset committed under another topic id counts as absent. Nil if not known.
    pub topic_id: Uuid,
    pub partition_indexes: Vec<i32>,
}

/// OffsetDelete 0.
#[derive(Debug, Clone)]
pub struct DeleteOffsets {
    pub group_id: GroupId,
    pub topics: Vec<(Name, Vec<i32>)>,
}

/// DescribeGroups 0-6.
#[derive(Debug, Clone)]
pub struct DescribeGroups {
    pub group_ids: Vec<GroupId>,
    /// An unknown group is GROUP_ID_NOT_FOUND from 6 on, a group in state Dead before.
    pub api_version: i16,
    pub allowance: Allowance,
}

/// ConsumerGroupDescribe 0-1.
#[derive(Debug, Clone)]
pub struct DescribeConsumerGroups {
    pub group_ids: Vec<GroupId>,
    pub allowance: Allowance,
}

/// ListGroups 0-5.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListGroups {
    pub states: NameFilter<7>,
    pub types: NameFilter<2>,
}

/// Every state that a group may be in.
const STATES: [&str; 7] = [
    "Empty",
    "PreparingRebalance",
    "CompletingRebalance",
    "Assigning",
    "Reconciling",
    "Stable",
    "Dead",
];
/// Every type that a group may have.
const TYPES: [&str; 2] = ["classic", "consumer"];

impl ListGroups {
    /// Filters by names as clients give them. No name at all passes everything, and case does not count.
    ///
    /// A client may give very many names, and there may be very many groups. So only names that exist are kept: a shard looks at
    /// no more than those for each group.
    pub fn filtered<'a>(
        states: impl IntoIterator<Item = &'a str>,
        types: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            states: NameFilter::of(STATES, states),
            types: NameFilter::of(TYPES, types),
        }
    }
}

/// Some of the names that exist, or all.
#[derive(Debug, Clone, Copy)]
pub struct NameFilter<const N: usize>(Option<[Option<&'static str>; N]>);

impl<const N: usize> Default for NameFilter<N> {
    fn default() -> Self {
        Self(None)
    }
}

impl<const N: usize> NameFilter<N> {
    fn of<'a>(known: [&'static str; N], wanted: impl IntoIterator<Item = &'a str>) -> Self {
        let mut filter = Self(None);
        for wanted in wanted {
            let passing = filter.0.get_or_insert([None; N]);
            let mut names = passing.iter_mut().zip(known);
            if let Some((place, name)) =
                names.find(|(_, name)| wanted.trim().eq_ignore_ascii_case(name))
            {
                *place = Some(name);
            }
        }
        filter
    }

    pub(super) fn passes(&self, name: &str) -> bool {
        let passing = self.0.as_ref();
        passing.is_none_or(|passing| passing.iter().flatten().any(|passing| *passing == name))
    }
}

/// Asks for groups and committed offsets, a part at a time.
#[derive(Debug, Clone)]
pub struct SurveyGroups {
    /// Where the last part ended; `None` begins.
    pub from: Option<SurveyPlace>,
    /// How many groups, offsets and members whose assignments are counted may be looked at; the members of one group are
    /// looked at together.
    pub rows_max: usize,
    /// Count what members are assigned, too.
    pub with_assignments: bool,
}

/// Where a survey goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyPlace {
    pub group_id: GroupId,
    /// The group itself was told, and some of its offsets were not.
    pub is_told: bool,
    /// The last offset of the group that was told.
    pub after: Option<(Name, i32)>,
}

/// DeleteGroups 0-2.
#[derive(Debug, Clone)]
pub struct DeleteGroups {
    pub group_ids: Vec<GroupId>,
}

/// A topic that no longer exists.
#[derive(Debug, Clone)]
pub struct DeletedTopic {
    pub name: Name,
    pub topic_id: Uuid,
}
