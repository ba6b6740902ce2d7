//! Finds the group for requests of members: JoinGroup, SyncGroup, Heartbeat, LeaveGroup and ConsumerGroupHeartbeat.

use protocol_shim::ErrorCode;

use crate::group::any::Group;
use crate::group::classic::ClassicGroup;
use crate::group::consumer::{ConsumerGroup, JOIN_EPOCH};
use crate::group::effects::Effects;
use crate::group::id::GroupId;
use crate::group::migration;
use crate::group::reply::{
    ConsumerHeartbeatReply, GroupReply, JoinReply, LeaveReply, Refusal, SyncReply,
};
use crate::group::request::{ConsumerHeartbeat, Heartbeat, JoinGroup, LeaveGroup, SyncGroup};
use crate::group::shard::GroupShard;
use crate::machine::Token;

impl GroupShard {
    pub(super) fn join(&mut self, now_ms: i64, token: Token, request: JoinGroup) -> Effects {
        let refusal = if !request.fits_record(self.max_batch_bytes) {
            Some(ErrorCode::UnknownServerError)
        } else if self.may_be_joined(&request.group_id) {
            None
        } else if !request.member_id.is_empty() {
            Some(ErrorCode::UnknownMemberId)
        } else if request.protocol_type.is_empty() || request.protocols.is_empty() {
            Some(ErrorCode::InconsistentGroupProtocol)
        } else {
            None
        };
        let mut effects = Effects::default();
        if let Some(error) = refusal {
            let reply = JoinReply::error(request.member_id, error);
            effects.reply(token, GroupReply::Join(reply));
            return effects;
        }
        let group_id = request.group_id.clone();
        if !self.may_be_joined(&group_id) {
            // An empty consumer group makes room. The classic group that takes its place is written at once, so that it does
            // not vanish in a crash before its first generation.
            let group = ClassicGroup::new(group_id.clone(), Some(self.wall_ms(now_ms)));
            let mut records = self.group_tombstones(&group_id);
            records.push(group.to_record());
            for record in records {
                self.append(&mut effects, record);
            }
        }
        self.with_group(now_ms, &group_id, &mut effects, |group, cx| match group {
            Group::Classic(group) => group.join(cx, token, request),
            Group::Consumer(group) => {
                let joined = group.join_classic(cx, request);
                let reply = joined.unwrap_or_else(|error| JoinReply::error("".into(), error));
                cx.effects.reply(token, GroupReply::Join(reply));
            }
        });
        effects
    }

    /// Whether JoinGroup can go to this group as it is.
    fn may_be_joined(&self, group_id: &str) -> bool {
        match self.groups.get(group_id) {
            None => false,
            Some(Group::Classic(_)) => true,
            Some(Group::Consumer(group)) => !group.is_empty(),
        }
    }

    pub(super) fn sync(&mut self, now_ms: i64, token: Token, request: SyncGroup) -> Effects {
        let mut effects = Effects::default();
        if let Err(error) = self.find_classic(&request.group_id) {
            effects.reply(token, GroupReply::Sync(SyncReply::error(error)));
            return effects;
        }
        let group_id = request.group_id.clone();
        self.with_group(now_ms, &group_id, &mut effects, |group, cx| match group {
            Group::Classic(group) => group.sync(cx, token, request),
            Group::Consumer(group) => {
                let synced = group.sync_classic(cx, request);
                let reply = synced.unwrap_or_else(SyncReply::error);
                cx.effects.reply(token, GroupReply::Sync(reply));
            }
        });
        effects
    }

    pub(super) fn heartbeat(&mut self, now_ms: i64, token: Token, request: Heartbeat) -> Effects {
        let mut effects = Effects::default();
        let mut result = self.find_classic(&request.group_id);
        if result.is_ok() {
            self.with_group(now_ms, &request.group_id, &mut effects, |group, cx| {
                result = match group {
                    Group::Classic(group) => group.heartbeat(cx, &request),
                    Group::Consumer(group) => group.heartbeat_classic(cx, &request),
                };
            });
        }
        effects.reply(token, GroupReply::Heartbeat(result.err()));
        effects
    }

    pub(super) fn leave(&mut self, now_ms: i64, token: Token, request: LeaveGroup) -> Effects {
        let mut effects = Effects::default();
        let mut reply = LeaveReply {
            error: None,
            members: Vec::new(),
        };
        let members = request.members;
        match self.find_classic(&request.group_id) {
            Ok(()) => self.with_group(now_ms, &request.group_id, &mut effects, |group, cx| {
                reply.members = match group {
                    Group::Classic(group) => group.leave(cx, members),
                    Group::Consumer(group) => group.leave_classic(cx, members),
                };
            }),
            Err(error) => {
                let members = members.into_iter();
                reply.members = members.map(|member| member.left(Some(error))).collect();
            }
        }
        effects.reply(token, GroupReply::Leave(reply));
        effects
    }

    /// Checks that there is a group for requests of the classic protocol other than JoinGroup.
    fn find_classic(&self, group_id: &GroupId) -> Result<(), ErrorCode> {
        match self.groups.contains_key(group_id) {
            true => Ok(()),
            false => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// ConsumerGroupHeartbeat. A member that joins makes a consumer group where there is none, or turns a classic one into one.
    pub(super) fn consumer_heartbeat(
        &mut self,
        now_ms: i64,
        request: ConsumerHeartbeat,
        effects: &mut Effects,
    ) -> Result<ConsumerHeartbeatReply, Refusal> {
        let group_id = request.group_id.clone();
        let not_found = |message: String| Err(Refusal::new(ErrorCode::GroupIdNotFound, message));
        let is_join = request.member_epoch == JOIN_EPOCH;
        match self.groups.get(&group_id) {
            Some(Group::Consumer(_)) => {}
            Some(Group::Classic(_)) if !is_join => {
                return not_found(format!("Group {group_id} is not a consumer group."));
            }
            None if request.member_epoch < JOIN_EPOCH => {
                return not_found(format!("Group {group_id} not found."));
            }
            None if !is_join => {
                return not_found(format!("Consumer group {group_id} not found."));
            }
            Some(Group::Classic(_)) | None => {
                // The effects stay apart until it is known that the member may join: a refusal changes nothing.
                let mut made = Effects::default();
                let (groups, mut cx) = self.groups_and_context(now_ms, &mut made);
                let mut group = match groups.get(&group_id) {
                    Some(Group::Classic(classic)) if !classic.is_empty() => {
                        migration::upgrade(classic, &group_id, &mut cx)?
                    }
                    _ => ConsumerGroup::new(group_id.clone()),
                };
                let reply = group.heartbeat(&mut cx, request)?;
                let tombstones = self.group_tombstones(&group_id);
                if let Some(previous) = self.groups.remove(&group_id) {
                    previous.cancel_timers(&mut self.timers);
                    // A member that waits for the classic group's rebalance joins again, in the new group.
                    let parked = previous.unload(ErrorCode::RebalanceInProgress);
                    effects.replies.extend(parked);
                }
                for record in tombstones {
                    self.append(effects, record);
                }
                effects.extend(made);
                self.groups.insert(group_id.clone(), Group::Consumer(group));
                // The group that made room took its deadlines along. The new ones may have had the same names, so set them again.
                self.with_group(now_ms, &group_id, effects, Group::loaded);
                return Ok(reply);
            }
        }
        let mut reply = Ok(ConsumerHeartbeatReply::refused(Refusal::new(
            ErrorCode::UnknownServerError,
            "",
        )));
        self.with_group(now_ms, &group_id, effects, |group, cx| {
            if let Some(group) = group.as_consumer_mut() {
                reply = group.heartbeat(cx, request);
            }
        });
        reply
    }
}
