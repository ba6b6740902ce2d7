//! A shard as its owner drives it: requests, answers and time go to the groups.

use crate::codec::RecordError;
use crate::group::catalog::Catalog;
use crate::group::context::TimerKey;
use crate::group::effects::{Effects, Note, Outcome, Question};
use crate::group::record::GroupRecord;
use crate::group::reply::{ConsumerHeartbeatReply, GroupReply};
use crate::group::request::GroupRequest;
use crate::group::shard::GroupShard;
use crate::machine::{EndTxn, KeyValue, Machine, Moment, Producer, Refused, Token};

impl Machine for GroupShard {
    type Catalog = dyn Catalog;
    type Request = GroupRequest;
    type Reply = GroupReply;
    type Record = GroupRecord;
    type RecordError = RecordError;
    type Question = Question;
    type Outcome = Outcome;
    type Note = Note;

    fn replay(
        &mut self,
        producer: Option<Producer>,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), RecordError> {
        let producer = producer.map(|producer| (producer.id, producer.epoch));
        // A record of an unknown kind changes nothing.
        if let Some(record) = GroupRecord::decode(key, value, producer)? {
            self.apply(&record);
        }
        Ok(())
    }

    fn replay_marker(&mut self, end: EndTxn) {
        self.apply(&end.into());
    }

    fn settled(&mut self, producer: Producer, is_appended: bool) {
        for group_id in self.offsets.settle(producer.id, is_appended) {
            self.ensure_group(&group_id);
        }
    }

    fn depends_on_markers(&self, request: &GroupRequest) -> bool {
        match request {
            GroupRequest::FetchOffsets(request) => self.fetches_pending(request),
            _ => false,
        }
    }

    /// Gives every member a full session timeout from now to show up.
    fn loaded(&mut self, now: &Moment<dyn Catalog>) -> Effects {
        let now_ms = self.enter(now);
        self.step(now_ms, |groups, cx| {
            cx.timers.schedule(
                TimerKey::Expiry,
                now_ms.saturating_add(cx.config.offsets_retention_check_interval_ms),
            );
            groups.values_mut().for_each(|group| group.loaded(cx));
        })
    }

    fn handle(
        &mut self,
        now: &Moment<dyn Catalog>,
        token: Token,
        request: GroupRequest,
    ) -> Effects {
        let now_ms = self.enter(now);
        let mut effects = Effects::default();
        if let Some(refused) = request.refused(&self.config) {
            effects.reply(token, refused);
            return effects;
        }
        match request {
            GroupRequest::Join(request) => return self.join(now_ms, token, request),
            GroupRequest::Sync(request) => return self.sync(now_ms, token, request),
            GroupRequest::Heartbeat(request) => return self.heartbeat(now_ms, token, request),
            GroupRequest::Leave(request) => return self.leave(now_ms, token, request),
            GroupRequest::ConsumerHeartbeat(request) => {
                let reply = self
                    .consumer_heartbeat(now_ms, request, &mut effects)
                    .unwrap_or_else(ConsumerHeartbeatReply::refused);
                effects.reply(token, GroupReply::ConsumerHeartbeat(reply));
            }
            GroupRequest::CommitOffsets(request) => {
                let reply = self.commit_offsets(now_ms, request, &mut effects);
                effects.reply(token, GroupReply::CommitOffsets(reply));
            }
            GroupRequest::CommitTxnOffsets(request) => {
                let reply = self.commit_txn_offsets(now_ms, request, &mut effects);
                effects.reply(token, GroupReply::CommitTxnOffsets(reply));
            }
            GroupRequest::FetchOffsets(request) => {
                effects.reply(token, GroupReply::FetchOffsets(self.fetch_offsets(request)));
            }
            GroupRequest::DeleteOffsets(request) => {
                let reply = self.delete_offsets(request, &mut effects);
                effects.reply(token, GroupReply::DeleteOffsets(reply));
            }
            GroupRequest::DescribeGroups(request) => {
                effects.reply(
                    token,
                    GroupReply::DescribeGroups(self.describe_groups(&request)),
                );
            }
            GroupRequest::DescribeConsumerGroups(request) => {
                effects.reply(
                    token,
                    GroupReply::DescribeConsumerGroups(self.describe_consumer_groups(&request)),
                );
            }
            GroupRequest::ListGroups(request) => {
                effects.reply(token, GroupReply::ListGroups(self.list_groups(&request)));
            }
            GroupRequest::Survey(request) => {
                effects.reply(token, GroupReply::Survey(self.survey(&request)));
            }
            GroupRequest::DeleteGroups(request) => {
                let reply = self.delete_groups(request, &mut effects);
                effects.reply(token, GroupReply::DeleteGroups(reply));
            }
            GroupRequest::TopicsDeleted(topics) => {
                self.forget_topics(&topics, &mut effects);
                effects.reply(token, GroupReply::TopicsDeleted(None));
            }
        }
        effects
    }

    fn outcome(&mut self, now: &Moment<dyn Catalog>, outcome: Outcome) -> Effects {
        let now_ms = self.enter(now);
        match outcome {
            Outcome::Patterns(resolved) => self.patterns_resolved(now_ms, resolved),
            Outcome::Target(computed) => self.target_computed(now_ms, computed),
        }
    }

    fn next_deadline(&self) -> Option<i64> {
        self.timers.next_deadline()
    }

    fn on_deadline(&mut self, now: &Moment<dyn Catalog>) -> Effects {
        let now_ms = self.enter(now);
        let mut effects = Effects::default();
        while let Some(key) = self.timers.pop_due(now_ms) {
            match key {
                TimerKey::Expiry => self.expire(now_ms, &mut effects),
                TimerKey::Join(group_id) => {
                    self.with_group(now_ms, &group_id, &mut effects, |group, cx| {
                        if let Some(group) = group.as_classic_mut() {
                            group.on_join_deadline(cx);
                        }
                    });
                }
                TimerKey::Sync(group_id) => {
                    self.with_group(now_ms, &group_id, &mut effects, |group, cx| {
                        if let Some(group) = group.as_classic_mut() {
                            group.on_sync_deadline(cx);
                        }
                    });
                }
                TimerKey::Rebalance(group_id, member_id) => {
                    self.with_group(now_ms, &group_id, &mut effects, |group, cx| {
                        if let Some(group) = group.as_consumer_mut() {
                            group.on_rebalance_deadline(cx, &member_id);
                        }
                    });
                }
                TimerKey::Session(group_id, member_id) => {
                    self.with_group(now_ms, &group_id, &mut effects, |group, cx| {
                        group.on_session_deadline(cx, &member_id);
                    });
                }
            }
        }
        effects
    }

    fn unload(self, refused: Refused) -> Vec<(Token, GroupReply)> {
        self.groups
            .into_values()
            .flat_map(|group| group.unload(refused.into()))
            .collect()
    }

    fn encode(record: &GroupRecord) -> Result<KeyValue, RecordError> {
        record.encode()?.ok_or(RecordError::IsMarker)
    }
}
