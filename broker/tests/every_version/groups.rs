//! Consumer groups and committed offsets.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitResponse,
    OffsetDeleteRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::newer::delete_groups::DeleteGroupsRequest;
use protocol_shim::newer::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol_shim::newer::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};

use uuid::Uuid;

use super::Case;
use super::support::{Client, connect, group_id, string, topic_name};

const UNKNOWN_MEMBER_ID: i16 = 25;
const UNKNOWN_TOPIC_ID: i16 = 100;
const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;

/// `group` commits offset 2 of partition 0 of `topic`, without being a member.
pub async fn commit_one_offset(client: &mut Client) {
    let response = client.call(7, commit("group", &[("topic", 0)])).await;
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
}

fn commit(group: &'static str, partitions: &[(&'static str, i32)]) -> OffsetCommitRequest {
    let topics = partitions.iter().map(|(name, partition)| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(2)
            .with_committed_metadata(Some(string("so far")));
        OffsetCommitRequestTopic::default()
            .with_name(topic_name(name))
            .with_partitions(vec![partition])
    });
    OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(topics.collect())
}

/// Partitions and their errors, sorted. A topic with a partition that does not exist is answered once.
fn commit_errors(response: &OffsetCommitResponse) -> Vec<(i32, i16)> {
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let mut errors: Vec<_> = partitions
        .map(|p| (p.partition_index, p.error_code))
        .collect();
    errors.sort_unstable();
    errors
}

pub async fn offset_commit(case: &mut Case) {
    let mut request = commit("group", &[("topic", 1), ("unknown", 0), ("topic", 9)]);
    for topic in [0, 2] {
        request.topics[topic].topic_id = case.topic_id;
    }
    let unknown = if case.version >= 10 {
        UNKNOWN_TOPIC_ID
    } else {
        3
    };
    request.topics[0].partitions[0].committed_metadata = None;
    if case.version >= 6 {
        request.topics[0].partitions[0].committed_leader_epoch = 0;
    }
    let response = case.client.call(case.version, request.clone()).await;
    assert_eq!(commit_errors(&response), [(0, unknown), (1, 0), (9, 3)]);
    if case.version >= 10 {
        let told = response.topics.iter().map(|topic| topic.topic_id);
        assert!(told.eq([Uuid::nil(), case.topic_id]), "{response:?}");
    }

    request.generation_id_or_member_epoch = 4;
    request.member_id = string("nobody");
    let response = case.client.call(case.version, request.clone()).await;
    let refused = [(0, unknown), (1, UNKNOWN_MEMBER_ID), (9, 3)];
    assert_eq!(commit_errors(&response), refused);

    request.topics.clear();
    assert!(
        case.client
            .call(case.version, request)
            .await
            .topics
            .is_empty()
    );
}

pub async fn offset_fetch(case: &mut Case) {
    if case.version < 8 {
        let named = |name, partitions| {
            OffsetFetchRequestTopic::default()
                .with_name(topic_name(name))
                .with_partition_indexes(partitions)
        };
        let some = vec![named("topic", vec![0, 1]), named("unknown", vec![0])];
        let mut request = OffsetFetchRequest::default()
            .with_group_id(group_id("group"))
            .with_require_stable(case.version >= 7)
            .with_topics(Some(some));
        let response = case.client.call(case.version, request.clone()).await;
        assert_eq!(response.error_code, 0);
        let found = |topic: usize, partition: usize| {
            let partition = &response.topics[topic].partitions[partition];
            (partition.error_code, partition.committed_offset)
        };
        assert_eq!(
            [found(0, 0), found(0, 1), found(1, 0)],
            [(0, 2), (0, -1), (0, -1)]
        );

        request.group_id = group_id("unknown");
        let response = case.client.call(case.version, request.clone()).await;
        assert_eq!(response.topics[0].partitions[0].committed_offset, -1);
        if case.version >= 2 {
            request.group_id = group_id("group");
            request.topics = None;
            let response = case.client.call(case.version, request).await;
            assert_eq!(response.topics[0].partitions.len(), 1);
        }
        return;
    }
    let topic_id = case.topic_id;
    let named = |name, partitions| {
        let id = if name == "topic" {
            topic_id
        } else {
            Uuid::from_u128(7)
        };
        OffsetFetchRequestTopics::default()
            .with_name(topic_name(name))
            .with_topic_id(id)
            .with_partition_indexes(partitions)
    };
    let group = |id, topics| {
        let group = OffsetFetchRequestGroup::default().with_group_id(group_id(id));
        group.with_topics(topics).with_member_epoch(-1)
    };
    let some = vec![named("topic", vec![0, 1]), named("unknown", vec![0])];
    let request = OffsetFetchRequest::default()
        .with_require_stable(true)
        .with_groups(vec![
            group("group", Some(some.clone())),
            group("other-group", None),
            group("unknown", Some(some)),
        ]);
    let response = case.client.call(case.version, request).await;
    let ids: Vec<_> = response
        .groups
        .iter()
        .map(|group| group.group_id.to_string())
        .collect();
    assert_eq!(ids, ["group", "other-group", "unknown"]);
    assert_eq!(
        response.groups[0].topics[0].partitions[0].committed_offset,
        2
    );
    assert!(response.groups[1].topics.is_empty());
    let unknown = &response.groups[0].topics[1];
    match case.version {
        ..10 => assert_eq!(unknown.partitions[0].error_code, 0),
        _ => {
            assert_eq!(unknown.partitions[0].error_code, UNKNOWN_TOPIC_ID);
            assert_eq!(unknown.topic_id, Uuid::from_u128(7));
            assert_eq!(response.groups[0].topics[0].topic_id, topic_id);
        }
    }
    assert_eq!(
        response.groups[2].topics[0].partitions[0].committed_offset,
        -1
    );
    // Each mention of a group has an answer of its own.
    let one = |partition| Some(vec![named("topic", vec![partition])]);
    let request = OffsetFetchRequest::default().with_groups(vec![
        group("group", one(0)),
        group("group", one(1)),
        group("group", None),
    ]);
    let response = case.client.call(case.version, request).await;
    for group in &response.groups {
        let expected = if case.version >= 10 {
            topic_id
        } else {
            Uuid::nil()
        };
        assert_eq!(group.topics[0].topic_id, expected);
    }
    let offsets = response.groups.iter().map(|group| {
        let partitions = &group.topics[0].partitions;
        let partitions = partitions.iter();
        partitions
            .map(|p| (p.partition_index, p.committed_offset))
            .collect::<Vec<_>>()
    });
    assert_eq!(
        offsets.collect::<Vec<_>>(),
        [vec![(0, 2)], vec![(1, -1)], vec![(0, 2)]]
    );
}

pub async fn offset_delete(case: &mut Case) {
    let topic = |name, partitions: &[i32]| {
        let partitions = partitions
            .iter()
            .map(|index| OffsetDeleteRequestPartition::default().with_partition_index(*index));
        OffsetDeleteRequestTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions.collect())
    };
    let mut request = OffsetDeleteRequest::default()
        .with_group_id(group_id("group"))
        .with_topics(vec![topic("topic", &[0, 9, 1]), topic("unknown", &[0])]);
    let response = case.client.call(case.version, request.clone()).await;
    assert_eq!(response.error_code, 0);
    let errors: Vec<_> = response.topics[0]
        .partitions
        .iter()
        .map(|partition| partition.error_code)
        .collect();
    // As in Kafka, what does not exist comes first.
    assert_eq!(errors, [3, 0, 0]);
    assert_eq!(response.topics[1].partitions[0].error_code, 3);
    request.group_id = group_id("unknown");
    assert_eq!(case.client.call(case.version, request).await.error_code, 69);
}

pub async fn find_coordinator(case: &mut Case) {
    let request = FindCoordinatorRequest::default();
    if case.version < 4 {
        let mut request = request.with_key(string("group"));
        let response = case.client.call(case.version, request.clone()).await;
        assert_eq!(
            (response.error_code, &*response.host),
            (0, "broker.example")
        );
        if case.version >= 1 {
            request.key_type = 1;
            assert_eq!(case.client.call(case.version, request).await.error_code, 0);
        }
        return;
    }
    let mut request = request.with_coordinator_keys(vec![string("group"), string("another")]);
    let response = case.client.call(case.version, request.clone()).await;
    let keys: Vec<_> = response
        .coordinators
        .iter()
        .map(|c| (c.error_code, &*c.key))
        .collect();
    assert_eq!(keys, [(0, "group"), (0, "another")]);
    request.key_type = 1;
    let response = case.client.call(case.version, request.clone()).await;
    assert!(
        response
            .coordinators
            .iter()
            .all(|coordinator| coordinator.error_code == 0)
    );
    request.coordinator_keys.clear();
    assert!(
        case.client
            .call(case.version, request)
            .await
            .coordinators
            .is_empty()
    );
}

fn join(version: i16) -> JoinGroupRequest {
    let protocol = |name| {
        JoinGroupRequestProtocol::default()
            .with_name(string(name))
            .with_metadata(Bytes::from_static(b"metadata"))
    };
    JoinGroupRequest::default()
        .with_group_id(group_id("members"))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(if version >= 1 { 20_000 } else { -1 })
        .with_protocol_type(string("consumer"))
        .with_protocols(vec![protocol("range"), protocol("roundrobin")])
        .with_reason((version >= 8).then(|| string("a test")))
}

/// Joins as the only member, by the way of the version: its id comes first from v4 on.
async fn join_alone(client: &mut Client, version: i16) -> JoinGroupResponse {
    let mut request = join(version);
    if version >= 4 {
        let response = client.call(version, request.clone()).await;
        assert_eq!(response.error_code, MEMBER_ID_REQUIRED);
        let no_protocol = (version < 7).then_some("");
        assert_eq!(response.protocol_name.as_deref(), no_protocol);
        request.member_id = response.member_id;
    }
    let response = client.call(version, request).await;
    assert_eq!((response.error_code, response.generation_id), (0, 1));
    assert_eq!(response.leader, response.member_id);
    assert_eq!(response.protocol_name.as_deref(), Some("range"));
    assert_eq!(response.members.len(), 1);
    response
}

pub async fn join_group(case: &mut Case) {
    let leader = join_alone(&mut case.client, case.version).await;
    sync_alone(&mut case.client, 3, "members", &leader).await;

    // A second member makes the first join again: both answers come when both have asked.
    let mut second = connect(&case.broker);
    let mut request = join(case.version);
    if case.version >= 4 {
        request.member_id = second.call(case.version, request.clone()).await.member_id;
    }
    let joining = second.send(case.version, request).await;
    // The first learns of it as every client does, by its heartbeats.
    let heartbeat = HeartbeatRequest::default()
        .with_group_id(group_id("members"))
        .with_generation_id(leader.generation_id)
        .with_member_id(leader.member_id.clone());
    while case.client.call(0, heartbeat.clone()).await.error_code != REBALANCE_IN_PROGRESS {}
    let mut again = join(case.version);
    again.member_id = leader.member_id.clone();
    let leader = case.client.call(case.version, again).await;
    let follower = second.answer(joining).await;
    assert_eq!(
        (
            leader.error_code,
            leader.generation_id,
            leader.members.len()
        ),
        (0, 2, 2)
    );
    assert_eq!(
        (
            follower.error_code,
            follower.generation_id,
            follower.members.len()
        ),
        (0, 2, 0)
    );
    assert_eq!(follower.leader, leader.member_id);

    let mut unknown = join(case.version);
    unknown.member_id = string("nobody");
    let response = case.client.call(case.version, unknown).await;
    assert_eq!(response.error_code, UNKNOWN_MEMBER_ID);

    let mut impatient = join(case.version);
    impatient.session_timeout_ms = 1;
    assert_eq!(
        case.client.call(case.version, impatient).await.error_code,
        26
    );

    if case.version >= 5 {
        let mut static_member = join(case.version);
        static_member.group_id = group_id("static");
        static_member.group_instance_id = Some(string("instance"));
        let response = case.client.call(case.version, static_member.clone()).await;
        assert_eq!(response.error_code, 0);
        let member = &response.members[0];
        assert_eq!(member.group_instance_id.as_deref(), Some("instance"));
        sync_alone(&mut case.client, 3, "static", &response).await;

        // It comes back after a restart: its assignment stays, and who leads may skip computing it.
        let response = case.client.call(case.version, static_member).await;
        assert_eq!((response.error_code, response.generation_id), (0, 1));
        assert_eq!(response.skip_assignment, case.version >= 9);
    }
}

fn sync(version: i16, joined: &JoinGroupResponse) -> SyncGroupRequest {
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from_static(b"assignment"));
    let request = SyncGroupRequest::default()
        .with_group_id(group_id("members"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![assignment]);
    if version < 5 {
        return request;
    }
    request
        .with_protocol_type(Some(string("consumer")))
        .with_protocol_name(Some(string("range")))
}

async fn sync_alone(
    client: &mut Client,
    version: i16,
    group: &'static str,
    joined: &JoinGroupResponse,
) {
    let request = sync(version, joined).with_group_id(group_id(group));
    let response = client.call(version, request).await;
    assert_eq!(
        (response.error_code, &*response.assignment),
        (0, &b"assignment"[..])
    );
}

pub async fn sync_group(case: &mut Case) {
    let joined = join_alone(&mut case.client, 4).await;
    let request = sync(case.version, &joined);
    let response = case.client.call(case.version, request.clone()).await;
    assert_eq!(
        (response.error_code, &*response.assignment),
        (0, &b"assignment"[..])
    );
    let protocol = (case.version >= 5).then_some("range");
    assert_eq!(response.protocol_name.as_deref(), protocol);

    let mut old = request.clone();
    old.generation_id = 0;
    assert_eq!(case.client.call(case.version, old).await.error_code, 22);
    let mut unknown = request.clone();
    unknown.member_id = string("nobody");
    assert_eq!(
        case.client.call(case.version, unknown).await.error_code,
        UNKNOWN_MEMBER_ID
    );
    if case.version >= 5 {
        let none = request.clone().with_protocol_name(None);
        assert_eq!(case.client.call(case.version, none).await.error_code, 23);
        let other = request.with_protocol_name(Some(string("roundrobin")));
        assert_eq!(case.client.call(case.version, other).await.error_code, 23);
    }
}

pub async fn heartbeat(case: &mut Case) {
    let joined = join_alone(&mut case.client, 4).await;
    sync_alone(&mut case.client, 3, "members", &joined).await;
    let mut request = HeartbeatRequest::default()
        .with_group_id(group_id("members"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id);
    assert_eq!(
        case.client
            .call(case.version, request.clone())
            .await
            .error_code,
        0
    );
    if case.version >= 3 {
        let fenced = request
            .clone()
            .with_group_instance_id(Some(string("instance")));
        assert_eq!(
            case.client.call(case.version, fenced).await.error_code,
            UNKNOWN_MEMBER_ID
        );
    }
    request.generation_id = 7;
    assert_eq!(
        case.client
            .call(case.version, request.clone())
            .await
            .error_code,
        22
    );
    request.group_id = group_id("unknown");
    assert_eq!(
        case.client.call(case.version, request).await.error_code,
        UNKNOWN_MEMBER_ID
    );
}

pub async fn leave_group(case: &mut Case) {
    let joined = join_alone(&mut case.client, 4).await;
    if case.version < 3 {
        let mut request = LeaveGroupRequest::default()
            .with_group_id(group_id("members"))
            .with_member_id(string("nobody"));
        let response = case.client.call(case.version, request.clone()).await;
        assert_eq!(response.error_code, UNKNOWN_MEMBER_ID);
        request.member_id = joined.member_id;
        assert_eq!(case.client.call(case.version, request).await.error_code, 0);
        return;
    }
    let member = |member_id: StrBytes, instance: Option<&'static str>| {
        MemberIdentity::default()
            .with_member_id(member_id)
            .with_group_instance_id(instance.map(string))
            .with_reason((case.version >= 5).then(|| string("done")))
    };
    let members = vec![
        member(joined.member_id, None),
        member(string(""), Some("nobody")),
    ];
    let mut request = LeaveGroupRequest::default()
        .with_group_id(group_id("members"))
        .with_members(members);
    let response = case.client.call(case.version, request.clone()).await;
    let errors: Vec<_> = response
        .members
        .iter()
        .map(|member| member.error_code)
        .collect();
    assert_eq!(
        (response.error_code, errors),
        (0, vec![0, UNKNOWN_MEMBER_ID])
    );
    request.members.clear();
    assert!(
        case.client
            .call(case.version, request)
            .await
            .members
            .is_empty()
    );
}

pub async fn describe_groups(case: &mut Case) {
    // A static member: from v4 on its instance id is told.
    let mut request = join(5);
    request.group_instance_id = Some(string("instance"));
    let joined = case.client.call(5, request).await;
    sync_alone(&mut case.client, 3, "members", &joined).await;

    let groups = ["members", "group", "unknown"].map(group_id).to_vec();
    let request = DescribeGroupsRequest::default()
        .with_groups(groups)
        .with_include_authorized_operations(case.version >= 3);
    let response = case.client.call(case.version, request).await;
    let [members, group, unknown] = &response.groups[..] else {
        panic!("{response:?}")
    };
    assert_eq!((members.error_code, &*members.group_state), (0, "Stable"));
    assert_eq!(&*members.members[0].client_host, "/192.0.2.7");
    let instance = (case.version >= 4).then_some("instance");
    assert_eq!(members.members[0].group_instance_id.as_deref(), instance);
    assert_eq!((group.error_code, &*group.group_state), (0, "Empty"));
    let error = if case.version >= 6 { 69 } else { 0 };
    assert_eq!((unknown.error_code, &*unknown.group_state), (error, "Dead"));
    if case.version >= 3 {
        // READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS.
        assert_eq!(members.authorized_operations, 0b1101_0100_1000);
    }
    let request = DescribeGroupsRequest::default();
    assert!(
        case.client
            .call(case.version, request)
            .await
            .groups
            .is_empty()
    );
}

pub async fn list_groups(case: &mut Case) {
    join_alone(&mut case.client, 4).await;
    let mut request = ListGroupsRequest::default();
    let response = case.client.call(case.version, request.clone()).await;
    let mut ids: Vec<_> = response
        .groups
        .iter()
        .map(|group| group.group_id.to_string())
        .collect();
    ids.sort();
    assert_eq!(ids, ["group", "members"]);
    if case.version >= 4 {
        request.states_filter = vec![string("Empty"), string("NoSuchState")];
        let response = case.client.call(case.version, request.clone()).await;
        assert_eq!(response.groups.len(), 1);
        assert_eq!(&*response.groups[0].group_state, "Empty");
    }
    if case.version >= 5 {
        request.types_filter = vec![string("consumer")];
        assert!(
            case.client
                .call(case.version, request)
                .await
                .groups
                .is_empty()
        );
    }
}

pub async fn delete_groups(case: &mut Case) {
    join_alone(&mut case.client, 4).await;
    let groups = ["group", "members", "unknown"].map(group_id).to_vec();
    let request = DeleteGroupsRequest::default().with_groups_names(groups);
    let response = case.client.call(case.version, request).await;
    let errors: Vec<_> = response
        .results
        .iter()
        .map(|group| group.error_code)
        .collect();
    assert_eq!(errors, [0, 68, 69]);
    let request = DeleteGroupsRequest::default();
    assert!(
        case.client
            .call(case.version, request)
            .await
            .results
            .is_empty()
    );
}
