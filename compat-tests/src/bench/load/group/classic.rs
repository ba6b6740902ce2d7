//! A member of the classic protocol: what Java's consumer does with the range assignor.

use anyhow::{Result, bail};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, SyncGroupRequest,
};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, StrBytes};

use super::board::Place;
use super::{GroupLoad, HEARTBEAT_VERSION, group_id};
use crate::bench::admin::Topic;
use crate::bench::async_client::AsyncClient;
use crate::bench::request::topic_name;

const JOIN_GROUP_VERSION: i16 = 9;
const SYNC_GROUP_VERSION: i16 = 5;
/// Of what members and the leader tell each other.
const EMBEDDED_VERSION: i16 = 1;
/// `max.poll.interval.ms`, a default.
const REBALANCE_TIMEOUT_MS: i32 = 300_000;
const PROTOCOL_TYPE: StrBytes = StrBytes::from_static_str("consumer");
const ASSIGNOR: StrBytes = StrBytes::from_static_str("range");

const ILLEGAL_GENERATION: i16 = 22;
const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;

/// Joins, and joins again whenever the broker says so; ends with an error or never.
pub async fn be_member(load: &GroupLoad, mut client: AsyncClient, place: Place) -> Result<()> {
    let mut member_id = StrBytes::default();
    loop {
        let joined = join(load, &mut client, &place, &mut member_id).await?;
        let mut assignments = Vec::new();
        if joined.leader == member_id {
            assignments = assign_ranges(&load.topic, &joined.members)?;
        }
        let sync = SyncGroupRequest::default()
            .with_group_id(group_id(&load.id))
            .with_generation_id(joined.generation_id)
            .with_member_id(member_id.clone())
            .with_protocol_type(Some(PROTOCOL_TYPE))
            .with_protocol_name(Some(ASSIGNOR))
            .with_assignments(assignments);
        place.sign_of_life();
        let synced = client.call(SYNC_GROUP_VERSION, &sync).await?;
        match synced.error_code {
            0 => place.hold(joined.generation_id, assigned(synced.assignment)?)?,
            REBALANCE_IN_PROGRESS | ILLEGAL_GENERATION => continue,
            error => bail!("SyncGroup: error {error}"),
        }

        let heartbeat = HeartbeatRequest::default()
            .with_group_id(group_id(&load.id))
            .with_generation_id(joined.generation_id)
            .with_member_id(member_id.clone());
        loop {
            tokio::time::sleep(load.heartbeat_interval).await;
            place.sign_of_life();
            match client.call(HEARTBEAT_VERSION, &heartbeat).await?.error_code {
                0 => {}
                REBALANCE_IN_PROGRESS | ILLEGAL_GENERATION => break,
                error => bail!("Heartbeat: error {error}"),
            }
        }
        // The eager protocol: nothing is held while the group rebalances.
        place.revoke();
    }
}

async fn join(
    load: &GroupLoad,
    client: &mut AsyncClient,
    place: &Place,
    member_id: &mut StrBytes,
) -> Result<JoinGroupResponse> {
    let subscription = ConsumerProtocolSubscription::default()
        .with_topics(vec![StrBytes::from_string(load.topic.name.clone())]);
    let mut metadata = BytesMut::new();
    metadata.put_i16(EMBEDDED_VERSION);
    subscription.encode(&mut metadata, EMBEDDED_VERSION)?;
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(ASSIGNOR)
        .with_metadata(metadata.freeze());
    let mut request = JoinGroupRequest::default()
        .with_group_id(group_id(&load.id))
        .with_session_timeout_ms(i32::try_from(load.session_timeout.as_millis())?)
        .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
        .with_protocol_type(PROTOCOL_TYPE)
        .with_protocols(vec![protocol]);
    loop {
        request.member_id = member_id.clone();
        place.sign_of_life();
        let joined = client.call(JOIN_GROUP_VERSION, &request).await?;
        match joined.error_code {
            0 => {
                *member_id = joined.member_id.clone();
                return Ok(joined);
            }
            // KIP-394: the broker gives the id, the member comes back with it.
            MEMBER_ID_REQUIRED => *member_id = joined.member_id,
            REBALANCE_IN_PROGRESS => {}
            error => bail!("JoinGroup: error {error}"),
        }
    }
}

/// As Kafka's RangeAssignor: members by their ids, each a range, the first ones one partition longer.
fn assign_ranges(
    topic: &Topic,
    members: &[JoinGroupResponseMember],
) -> Result<Vec<SyncGroupRequestAssignment>> {
    let name = StrBytes::from_string(topic.name.clone());
    let mut subscribed = Vec::new();
    for member in members {
        let mut metadata = member.metadata.clone();
        let version = metadata.try_get_i16()?;
        let subscription = ConsumerProtocolSubscription::decode(&mut metadata, version)?;
        if subscription.topics.contains(&name) {
            subscribed.push(&member.member_id);
        }
    }
    subscribed.sort_unstable();
    let members_count = i32::try_from(subscribed.len())?;
    let (share, longer) = (
        topic.partitions / members_count,
        topic.partitions % members_count,
    );
    let mut next = 0;
    let mut assignments = Vec::new();
    for (index, member_id) in (0..).zip(subscribed) {
        let end = next + share + i32::from(index < longer);
        let partitions = TopicPartition::default()
            .with_topic(topic_name(&topic.name))
            .with_partitions((next..end).collect());
        next = end;
        let assignment =
            ConsumerProtocolAssignment::default().with_assigned_partitions(vec![partitions]);
        let mut encoded = BytesMut::new();
        encoded.put_i16(EMBEDDED_VERSION);
        assignment.encode(&mut encoded, EMBEDDED_VERSION)?;
        assignments.push(
            SyncGroupRequestAssignment::default()
                .with_member_id(member_id.clone())
                .with_assignment(encoded.freeze()),
        );
    }
    Ok(assignments)
}

fn assigned(mut assignment: Bytes) -> Result<Vec<i32>> {
    let version = assignment.try_get_i16()?;
    let assignment = ConsumerProtocolAssignment::decode(&mut assignment, version)?;
    let topics = assignment.assigned_partitions.into_iter();
    Ok(topics.flat_map(|topic| topic.partitions).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_the_member_ids_and_the_first_are_one_longer() {
        let subscription = ConsumerProtocolSubscription::default()
            .with_topics(vec![StrBytes::from_static_str("bench")]);
        let mut metadata = BytesMut::new();
        metadata.put_i16(EMBEDDED_VERSION);
        subscription
            .encode(&mut metadata, EMBEDDED_VERSION)
            .unwrap();
        let metadata = metadata.freeze();
        let members = ["b", "a", "c"].map(|id| {
            JoinGroupResponseMember::default()
                .with_member_id(StrBytes::from_static_str(id))
                .with_metadata(metadata.clone())
        });
        let assignments = assign_ranges(&Topic::bench(5), &members).unwrap();
        let assignments: Vec<(String, Vec<i32>)> = assignments
            .into_iter()
            .map(|to| (to.member_id.to_string(), assigned(to.assignment).unwrap()))
            .collect();
        let expected = [("a", vec![0, 1]), ("b", vec![2, 3]), ("c", vec![4])];
        assert_eq!(
            assignments,
            expected.map(|(id, share)| (id.to_owned(), share))
        );
    }
}
