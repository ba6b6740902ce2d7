//! Groups of the consumer protocol (KIP-848).

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};

use super::Case;
use super::support::{group_id, string, topic_name};

const INVALID_REQUEST: i16 = 42;
const GROUP_ID_NOT_FOUND: i16 = 69;
const FENCED_MEMBER_EPOCH: i16 = 110;
const INVALID_REGULAR_EXPRESSION: i16 = 128;

async fn join(case: &mut Case, version: i16) -> ConsumerGroupHeartbeatResponse {
    let response = case.client.call(version, joining()).await;
    assert_eq!(
        (response.error_code, response.error_message.clone()),
        (0, None)
    );
    response
}

fn joining() -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id("consumers"))
        .with_member_id(string("member"))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![topic_name("topic")]))
        .with_topic_partitions(Some(Vec::new()))
}

pub async fn heartbeat(case: &mut Case) {
    let joined = join(case, case.version).await;
    assert_eq!(joined.member_id.as_deref(), Some("member"));
    let assigned = joined.assignment.expect("a new member is told what it has");
    assert_eq!(assigned.topic_partitions[0].topic_id, case.topic_id);

    let owned = assigned.topic_partitions.iter().map(|topic| {
        TopicPartitions::default()
            .with_topic_id(topic.topic_id)
            .with_partitions(topic.partitions.clone())
    });
    let staying = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id("consumers"))
        .with_member_id(string("member"))
        .with_member_epoch(joined.member_epoch)
        .with_topic_partitions(Some(owned.collect()));
    let response = case.client.call(case.version, staying.clone()).await;
    assert_eq!((response.error_code, response.assignment), (0, None));
    let ahead = staying.clone().with_member_epoch(joined.member_epoch + 1);
    let response = case.client.call(case.version, ahead).await;
    assert_eq!(response.error_code, FENCED_MEMBER_EPOCH);

    let anonymous = joining().with_member_id(string(""));
    let response = case.client.call(case.version, anonymous).await;
    if case.version == 0 {
        assert!(response.member_id.is_some_and(|id| !id.is_empty()));
    } else {
        assert_eq!(response.error_code, INVALID_REQUEST);
        let pattern = joining().with_subscribed_topic_regex(Some(string("(")));
        let response = case.client.call(case.version, pattern).await;
        assert_eq!(response.error_code, INVALID_REGULAR_EXPRESSION);
    }

    let response = case
        .client
        .call(case.version, staying.with_member_epoch(-1))
        .await;
    assert_eq!((response.error_code, response.member_epoch), (0, -1));
}

pub async fn describe(case: &mut Case) {
    let joined = join(case, 1).await;
    let request = ConsumerGroupDescribeRequest::default()
        .with_group_ids(vec![group_id("consumers"), group_id("unknown")])
        .with_include_authorized_operations(true);
    let response = case.client.call(case.version, request).await;
    let [group, unknown] = &response.groups[..] else {
        panic!("{response:?}");
    };
    assert_eq!((group.error_code, &*group.group_state), (0, "Stable"));
    assert_eq!(&*group.assignor_name, "uniform");
    assert!(group.authorized_operations > 0);
    let member = &group.members[0];
    assert_eq!(member.member_epoch, joined.member_epoch);
    assert_eq!(member.assignment, member.target_assignment);
    assert_eq!(&**member.assignment.topic_partitions[0].topic_name, "topic");
    assert_eq!(member.member_type, if case.version == 0 { -1 } else { 1 });
    assert_eq!(unknown.error_code, GROUP_ID_NOT_FOUND);
}
