//! The join phase: how it begins, what ends it, and what happens to members that miss it.

use crate::group::classic::{ClassicGroup, InitialRebalance, State};
use crate::group::context::{Context, TimerKey};
use crate::group::effects::NoteKind;
use crate::group::id::MemberId;
use crate::group::reply::GroupReply;

impl ClassicGroup {
    /// Starts a rebalance. If one is being prepared already, sees whether it can go on.
    pub(super) fn prepare_or_complete_join(&mut self, cx: &mut Context<'_>, reason: String) {
        if self.state == State::PreparingRebalance {
            self.maybe_complete_join(cx);
        } else {
            self.prepare_rebalance(cx, reason);
        }
    }

    /// Makes the group ask all members to join again, through their heartbeats and pending syncs.
    pub(crate) fn prepare_rebalance(&mut self, cx: &mut Context<'_>, reason: String) {
        if self.state == State::CompletingRebalance {
            self.withdraw_assignments(cx);
        }
        self.pending_sync.clear();
        cx.timers.cancel(TimerKey::Sync(self.id.clone()));
        let was_empty = self.state == State::Empty;
        self.transition(cx, State::PreparingRebalance);
        self.note(
            cx,
            NoteKind::Rebalance {
                generation_id: self.generation_id,
                reason,
            },
        );
        if was_empty {
            let delay_ms = cx.config.initial_rebalance_delay_ms.max(0);
            self.initial_rebalance = Some(InitialRebalance {
                delay_ms,
                remaining_ms: (self.rebalance_timeout_ms() - delay_ms).max(0),
                new_member_added: false,
            });
            cx.schedule(TimerKey::Join(self.id.clone()), delay_ms);
        } else if self.all_members_joined() {
            self.complete_join(cx);
        } else {
            cx.schedule(TimerKey::Join(self.id.clone()), self.rebalance_timeout_ms());
        }
    }

    /// Ends the join phase if nobody is missing. In the first rebalance of a group only time ends it.
    pub(super) fn maybe_complete_join(&mut self, cx: &mut Context<'_>) {
        if self.state == State::PreparingRebalance
            && self.initial_rebalance.is_none()
            && self.all_members_joined()
        {
            self.complete_join(cx);
        }
    }

    /// Ends the join phase when its time is up. In the first rebalance the time is extended while members keep coming.
    pub(crate) fn on_join_deadline(&mut self, cx: &mut Context<'_>) {
        if self.state != State::PreparingRebalance {
            return;
        }
        match &mut self.initial_rebalance {
            Some(initial) if initial.new_member_added && initial.remaining_ms > 0 => {
                initial.new_member_added = false;
                let delay_ms = cx
                    .config
                    .initial_rebalance_delay_ms
                    .clamp(0, initial.remaining_ms);
                initial.remaining_ms = (initial.remaining_ms - initial.delay_ms).max(0);
                initial.delay_ms = delay_ms;
                cx.schedule(TimerKey::Join(self.id.clone()), delay_ms);
            }
            _ => self.complete_join(cx),
        }
    }

    /// Removes dynamic members that have not come back and opens the next generation with the others.
    pub(super) fn complete_join(&mut self, cx: &mut Context<'_>) {
        cx.timers.cancel(TimerKey::Join(self.id.clone()));
        self.initial_rebalance = None;
        let absent: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, member)| {
                member.awaiting_join.is_none() && member.group_instance_id.is_none()
            })
            .map(|(member_id, _)| member_id.clone())
            .collect();
        for member_id in absent {
            self.remove(cx, &member_id);
            self.note(
                cx,
                NoteKind::MemberRemoved {
                    member_id,
                    reason: "did not rejoin in time".into(),
                },
            );
        }
        if !self.elect_joined_leader() && !self.members.is_empty() {
            // All members are static and none is back. Wait for one, or for their sessions to end.
            return cx.schedule(TimerKey::Join(self.id.clone()), self.rebalance_timeout_ms());
        }
        self.generation_id = self.generation_id.wrapping_add(1).max(0);
        self.pending_sync.clear();
        self.protocol_name = self.select_protocol();
        self.subscribed_topics = self.compute_subscribed_topics();
        let (generation_id, member_count) = (self.generation_id, self.members.len());
        if self.members.is_empty() {
            self.transition(cx, State::Empty);
            cx.effects.write(self.to_record());
            self.note(
                cx,
                NoteKind::Settled {
                    generation_id,
                    member_count,
                },
            );
        } else {
            self.transition(cx, State::CompletingRebalance);
            self.note(
                cx,
                NoteKind::Joined {
                    generation_id,
                    member_count,
                },
            );
            self.release_joins(cx);
            cx.schedule(TimerKey::Sync(self.id.clone()), self.rebalance_timeout_ms());
        }
    }

    /// Whether the group has a leader that has joined. A leader that has not makes way for a member that has.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |member_id: &MemberId| {
            self.members
                .get(member_id)
                .is_some_and(|m| m.awaiting_join.is_some())
        };
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let candidate = self
            .members
            .iter()
            .find(|(_, member)| member.awaiting_join.is_some());
        let Some((member_id, _)) = candidate else {
            return false;
        };
        self.leader = Some(member_id.clone());
        true
    }

    /// Answers all parked joins. Static members that have not joined belong to the generation, too, and must sync.
    fn release_joins(&mut self, cx: &mut Context<'_>) {
        let member_ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for member_id in member_ids {
            let reply = self.join_reply(&member_id);
            if let Some(member) = self.members.get_mut(&member_id) {
                member.is_new = false;
                if let Some(token) = member.awaiting_join.take() {
                    cx.effects.reply(token, GroupReply::Join(reply));
                }
                let session_timeout_ms = member.session_timeout_ms;
                cx.schedule(self.session_key(&member_id), session_timeout_ms);
            }
            self.pending_sync.insert(member_id);
        }
        self.awaiting_join_count = 0;
    }

    /// Removes members that have joined and not asked for their assignment.
    pub(crate) fn on_sync_deadline(&mut self, cx: &mut Context<'_>) {
        if !matches!(self.state, State::CompletingRebalance | State::Stable)
            || self.pending_sync.is_empty()
        {
            return;
        }
        let absent = std::mem::take(&mut self.pending_sync);
        let reason = format!("{} members did not sync in time", absent.len());
        for member_id in absent {
            self.remove(cx, &member_id);
            self.note(
                cx,
                NoteKind::MemberRemoved {
                    member_id,
                    reason: "did not sync in time".into(),
                },
            );
        }
        self.prepare_rebalance(cx, reason);
    }
}
