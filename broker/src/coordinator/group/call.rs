//! Typed requests to group shards: which reply belongs to which request.

use coordinators::group::{
    CommitOffsets, CommitTxnOffsets, ConsumerHeartbeat, ConsumerHeartbeatReply, DeleteGroups,
    DeleteOffsets, DeleteOffsetsReply, DeletedGroup, DeletedTopic, DescribeConsumerGroups,
    DescribeGroups, DescribedConsumerGroup, DescribedGroup, FetchOffsets, FetchedGroup, GroupReply,
    GroupRequest, GroupsSurveyed, Heartbeat, JoinGroup, JoinReply, LeaveGroup, LeaveReply,
    ListGroups, ListGroupsReply, SurveyGroups, SyncGroup, SyncReply, TopicResult,
};
use protocol_shim::ErrorCode;

/// A request whose reply is known by type.
pub(crate) trait GroupCall {
    type Reply;
    fn into_request(self) -> GroupRequest;
    /// # Errors
    /// The request was turned away. UNKNOWN_SERVER_ERROR if the reply is that of another kind of request, which does not
    /// happen.
    fn reply(reply: GroupReply) -> Result<Self::Reply, ErrorCode>;
}

macro_rules! calls {
    ($($request:ty as $kind:ident -> $reply:ty;)*) => {
        $(impl GroupCall for $request {
            type Reply = $reply;

            fn into_request(self) -> GroupRequest {
                GroupRequest::$kind(self)
            }

            fn reply(reply: GroupReply) -> Result<$reply, ErrorCode> {
                match reply {
                    GroupReply::$kind(reply) => Ok(reply),
                    GroupReply::Refused(error) => Err(error),
                    _ => Err(ErrorCode::UnknownServerError),
                }
            }
        })*
    };
}

calls! {
    JoinGroup as Join -> JoinReply;
    SyncGroup as Sync -> SyncReply;
    Heartbeat as Heartbeat -> Option<ErrorCode>;
    LeaveGroup as Leave -> LeaveReply;
    ConsumerHeartbeat as ConsumerHeartbeat -> ConsumerHeartbeatReply;
    CommitOffsets as CommitOffsets -> Vec<TopicResult>;
    CommitTxnOffsets as CommitTxnOffsets -> Vec<TopicResult>;
    FetchOffsets as FetchOffsets -> Vec<FetchedGroup>;
    DeleteOffsets as DeleteOffsets -> DeleteOffsetsReply;
    DescribeGroups as DescribeGroups -> Vec<DescribedGroup>;
    DescribeConsumerGroups as DescribeConsumerGroups -> Vec<DescribedConsumerGroup>;
    ListGroups as ListGroups -> ListGroupsReply;
    SurveyGroups as Survey -> GroupsSurveyed;
    DeleteGroups as DeleteGroups -> Vec<DeletedGroup>;
    Vec<DeletedTopic> as TopicsDeleted -> Option<ErrorCode>;
}
