//! A member of a classic group that reads one topic, with the assignor `range`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponse;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;
use tokio::time::Instant;

use crate::cluster::{Cluster, Partition};
use crate::connection::text;
use crate::failure::{Result, check, failed};
use crate::groups::Membership;
use crate::member::{assigned, assignment, subscribed, subscription};

const SESSION_TIMEOUT_MS: i32 = 45_000;
/// The others of a group may take so long before they join again: Java's max.poll.interval.ms.
const REBALANCE_TIMEOUT_MS: i32 = 300_000;
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
const PROTOCOL_TYPE: &str = "consumer";
const ASSIGNOR: &str = "range";

pub(crate) struct GroupMember {
    group: String,
    topic: String,
    membership: Option<Membership>,
    last_heartbeat: Instant,
}

impl GroupMember {
    pub(crate) fn new(group: &str, topic: &str) -> Self {
        Self {
            group: group.to_owned(),
            topic: topic.to_owned(),
            membership: None,
            last_heartbeat: Instant::now(),
        }
    }

    pub(crate) fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    fn id(&self) -> StrBytes {
        let membership = self.membership.as_ref();
        membership.map_or_else(StrBytes::new, |membership| membership.member_id.clone())
    }

    /// Joins, also again, and says which partitions it is to read.
    ///
    /// # Errors
    /// The group does not take it.
    pub(crate) async fn join(&mut self, cluster: &mut Cluster) -> Result<Vec<Partition>> {
        let what = format!("join group {}", self.group);
        let patience = cluster.timeout() + Duration::from_millis(REBALANCE_TIMEOUT_MS as u64);
        loop {
            let protocol = JoinGroupRequestProtocol::default()
                .with_name(text(ASSIGNOR))
                .with_metadata(subscription(&self.topic));
            let request = JoinGroupRequest::default()
                .with_group_id(GroupId(text(&self.group)))
                .with_session_timeout_ms(SESSION_TIMEOUT_MS)
                .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
                .with_member_id(self.id())
                .with_protocol_type(text(PROTOCOL_TYPE))
                .with_protocols(vec![protocol]);
            let joined = cluster
                .ask_coordinator(&self.group, request, patience, |answer| {
                    Some(answer.error_code)
                })
                .await?;
            self.membership = Some(Membership {
                member_id: joined.member_id.clone(),
                generation: joined.generation_id,
            });
            match ErrorCode::from_code(joined.error_code) {
                // It is told its id, and joins with it.
                Some(ErrorCode::MemberIdRequired) => continue,
                Some(ErrorCode::UnknownMemberId) => {
                    self.membership = None;
                    continue;
                }
                _ => check(&what, joined.error_code, None)?,
            }
            let shares = match joined.leader == joined.member_id {
                true => shares(cluster, &joined).await?,
                false => Vec::new(),
            };
            let request = SyncGroupRequest::default()
                .with_group_id(GroupId(text(&self.group)))
                .with_generation_id(joined.generation_id)
                .with_member_id(joined.member_id.clone())
                .with_protocol_type(Some(text(PROTOCOL_TYPE)))
                .with_protocol_name(joined.protocol_name.clone())
                .with_assignments(shares);
            let coordinator = cluster.coordinator(&self.group).await?;
            let synced = coordinator.call_within(patience, request).await?;
            if synced.error_code == ErrorCode::RebalanceInProgress as i16 {
                continue;
            }
            check(&what, synced.error_code, None)?;
            self.last_heartbeat = Instant::now();
            return assigned(synced.assignment)
                .ok_or_else(|| failed(format!("{what}: its leader has assigned something else")));
        }
    }

    /// Tells the group that it lives, every now and then; `false`: it has to join again.
    ///
    /// # Errors
    /// The group refuses it.
    pub(crate) async fn is_still_in(&mut self, cluster: &mut Cluster) -> Result<bool> {
        if self.last_heartbeat.elapsed() < HEARTBEAT_INTERVAL {
            return Ok(true);
        }
        self.last_heartbeat = Instant::now();
        let generation = self
            .membership()
            .map_or(-1, |membership| membership.generation);
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id(generation)
            .with_member_id(self.id());
        let answer = cluster
            .coordinator(&self.group)
            .await?
            .call(request)
            .await?;
        match ErrorCode::from_code(answer.error_code) {
            Some(ErrorCode::RebalanceInProgress) => Ok(false),
            // It was silent for too long, and the others have its partitions now.
            Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                self.membership = None;
                Ok(false)
            }
            _ => {
                check(
                    &format!("stay in group {}", self.group),
                    answer.error_code,
                    None,
                )?;
                Ok(true)
            }
        }
    }

    /// Leaves, so that others need not wait for it.
    ///
    /// # Errors
    /// The coordinator does not answer.
    pub(crate) async fn leave(self, cluster: &mut Cluster) -> Result<()> {
        let member = MemberIdentity::default().with_member_id(self.id());
        let request = LeaveGroupRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_members(vec![member]);
        let answer = cluster
            .coordinator(&self.group)
            .await?
            .call(request)
            .await?;
        check(
            &format!("leave group {}", self.group),
            answer.error_code,
            None,
        )
    }
}

/// As the leader: who reads what.
async fn shares(
    cluster: &mut Cluster,
    joined: &JoinGroupResponse,
) -> Result<Vec<SyncGroupRequestAssignment>> {
    let mut readers: BTreeMap<String, Vec<StrBytes>> = BTreeMap::new();
    for member in &joined.members {
        for topic in subscribed(member.metadata.clone()).unwrap_or_default() {
            readers
                .entry(topic)
                .or_default()
                .push(member.member_id.clone());
        }
    }
    let there = cluster.topics(None, false).await?;
    let mut parts: BTreeMap<StrBytes, Vec<Partition>> = BTreeMap::new();
    for topic in &there {
        let name = crate::cluster::topic_name(topic);
        let Some(readers) = readers.get_mut(&name) else {
            continue;
        };
        readers.sort();
        let count = topic.partitions.len();
        for (reader, range) in readers.iter().zip(ranges(count, readers.len())) {
            let partitions = range.filter_map(|index| i32::try_from(index).ok());
            let partitions = partitions.map(|index| (name.clone(), index));
            parts.entry(reader.clone()).or_default().extend(partitions);
        }
    }
    let share = |id: &StrBytes| -> Bytes { assignment(parts.remove(id).unwrap_or_default()) };
    let ids = joined.members.iter().map(|member| &member.member_id);
    let mut share = share;
    Ok(ids
        .map(|id| {
            SyncGroupRequestAssignment::default()
                .with_member_id(id.clone())
                .with_assignment(share(id))
        })
        .collect())
}

/// Java's range assignor: one after the other, and the first ones have one more.
fn ranges(count: usize, readers: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let readers = readers.max(1);
    let (each, more) = (count / readers, count % readers);
    (0..readers).map(move |reader| {
        let start = reader * each + reader.min(more);
        start..start + each + usize::from(reader < more)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_is_read_once_and_the_first_readers_have_one_more() {
        let parts = |count, readers| ranges(count, readers).collect::<Vec<_>>();
        assert_eq!(parts(7, 3), [0..3, 3..5, 5..7]);
        assert_eq!(parts(2, 3), [0..1, 1..2, 2..2]);
        assert_eq!(parts(4, 2), [0..2, 2..4]);
    }
}
