//! A group of either protocol, for whoever need not know which one it is.

use protocol_shim::ErrorCode;

use crate::group::assignor::Assignor;
use crate::group::catalog::Catalog;
use crate::group::classic::{ClassicGroup, RetentionBase};
use crate::group::consumer::{ConsumerGroup, DescribeContext};
use crate::group::context::{Context, TimerKey};
use crate::group::id::{GroupId, MemberId, Name};
use crate::group::migration;
use crate::group::reply::{AssignedTopics, DescribedConsumerGroup, GroupReply};
use crate::machine::Token;
use crate::timer::Timers;

/// One group of a shard.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) enum Group {
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
}

impl Group {
    #[cfg(test)]
    pub(super) fn as_classic(&self) -> Option<&ClassicGroup> {
        match self {
            Self::Classic(group) => Some(group),
            Self::Consumer(_) => None,
        }
    }

    pub(super) fn as_classic_mut(&mut self) -> Option<&mut ClassicGroup> {
        match self {
            Self::Classic(group) => Some(group),
            Self::Consumer(_) => None,
        }
    }

    pub(super) fn as_consumer_mut(&mut self) -> Option<&mut ConsumerGroup> {
        match self {
            Self::Consumer(group) => Some(group),
            Self::Classic(_) => None,
        }
    }

    pub(super) fn loaded(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Classic(group) => group.loaded(cx),
            Self::Consumer(group) => group.loaded(cx),
        }
    }

    pub(super) fn on_session_deadline(&mut self, cx: &mut Context<'_>, member_id: &MemberId) {
        match self {
            Self::Classic(group) => group.on_session_deadline(cx, member_id),
            Self::Consumer(group) => group.on_session_deadline(cx, member_id),
        }
    }

    /// Turns a consumer group into a classic one if the step has decided so.
    pub(super) fn change_protocol(&mut self, group_id: &GroupId, cx: &mut Context<'_>) {
        if let (Self::Consumer(group), Some(turns)) = (&*self, cx.turns_classic.take()) {
            *self = Self::Classic(migration::downgrade(group, group_id, cx, turns));
        }
    }

    pub(super) fn cancel_timers(&self, timers: &mut Timers<TimerKey>) {
        match self {
            Self::Classic(group) => group.cancel_timers(timers),
            Self::Consumer(group) => group.cancel_timers(timers),
        }
    }

    /// Every parked request, answered with `error`. Requests to a consumer group are never parked.
    pub(super) fn unload(self, error: ErrorCode) -> Vec<(Token, GroupReply)> {
        match self {
            Self::Classic(group) => group.unload(error),
            Self::Consumer(_) => Vec::new(),
        }
    }

    /// What the group's type is called in lists.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Classic(_) => "classic",
            Self::Consumer(_) => "consumer",
        }
    }

    pub(super) fn state_name(&self) -> &'static str {
        match self {
            Self::Classic(group) => group.state().name(),
            Self::Consumer(group) => group.state_name(),
        }
    }

    pub(super) fn protocol_type(&self) -> Name {
        match self {
            Self::Classic(group) => group.protocol_type(),
            Self::Consumer(group) => group.protocol_type(),
        }
    }

    /// The protocol of a classic group that is stable.
    pub(super) fn stable_protocol(&self) -> Name {
        match self {
            Self::Classic(group) => group.stable_protocol(),
            Self::Consumer(_) => Name::default(),
        }
    }

    pub(super) fn member_count(&self) -> usize {
        match self {
            Self::Classic(group) => group.member_count(),
            Self::Consumer(group) => group.member_count(),
        }
    }

    /// What members are assigned of each topic. Of a classic group that is known if its members are plain consumers.
    pub(super) fn assigned(&self, catalog: &dyn Catalog) -> AssignedTopics {
        match self {
            Self::Classic(group) => group.assigned(),
            Self::Consumer(group) => group.assigned(catalog),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_empty(),
            Self::Consumer(group) => group.is_empty(),
        }
    }

    /// Whether nobody is in the group or about to be.
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_empty() && !group.has_pending_members(),
            Self::Consumer(group) => group.is_empty(),
        }
    }

    pub(super) fn uses_consumer_protocol(&self) -> bool {
        match self {
            Self::Classic(group) => group.uses_consumer_protocol(),
            Self::Consumer(_) => true,
        }
    }

    /// Whether a member may be reading `topic`.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Self::Classic(group) => group.is_subscribed_to(topic),
            Self::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    /// From when on offsets expire. `None` while nothing of the group may.
    pub(super) fn retention_base(&self) -> Option<RetentionBase> {
        match self {
            Self::Classic(group) => group.retention_base(),
            Self::Consumer(_) => Some(RetentionBase::SinceCommit),
        }
    }

    /// ConsumerGroupDescribe, which knows consumer groups only.
    pub(super) fn describe_consumer(
        &self,
        catalog: &dyn Catalog,
        default_assignor: Assignor,
    ) -> Option<DescribedConsumerGroup> {
        match self {
            Self::Classic(_) => None,
            Self::Consumer(group) => Some(group.describe(&DescribeContext {
                catalog,
                default_assignor,
            })),
        }
    }
}
