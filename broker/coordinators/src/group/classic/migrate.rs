//! Members that leave the classic protocol, or come back to it, all at once.

use bytes::Bytes;

use crate::group::classic::member::Member;
use crate::group::classic::{ClassicGroup, State};
use crate::group::context::Context;
use crate::group::embedded;
use crate::group::id::{GroupId, InstanceId, MemberId, Name};
use crate::group::record::GroupRecord;
use crate::group::request::Protocol;

/// What a classic and a consumer group have to know of a member on its way between them.
#[derive(Debug, Clone)]
pub(crate) struct Migrant {
    pub(crate) member_id: MemberId,
    pub(crate) group_instance_id: Option<InstanceId>,
    pub(crate) client_id: Name,
    pub(crate) client_host: Name,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    pub(crate) protocols: Vec<Protocol>,
}

/// A member that leaves, with its subscription and with what its leader last gave it.
pub(crate) struct Emigrant {
    pub(crate) member: Migrant,
    pub(crate) subscription: Bytes,
    pub(crate) assignment: Bytes,
}

impl ClassicGroup {
    pub(crate) fn generation_id(&self) -> i32 {
        self.generation_id
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// The members, for a consumer group that takes them over.
    pub(crate) fn emigrants(&self) -> Vec<Emigrant> {
        // Before its first generation a group has chosen nothing yet.
        let chosen = self
            .protocol_name
            .clone()
            .or_else(|| self.select_protocol());
        let members = self.members.iter().map(|(member_id, member)| {
            let subscription = chosen.as_deref().and_then(|name| member.metadata_for(name));
            let preferred = || member.protocols.first().map(|first| first.metadata.clone());
            Emigrant {
                subscription: subscription.or_else(preferred).unwrap_or_default(),
                assignment: member.assignment.clone(),
                member: Migrant {
                    member_id: member_id.clone(),
                    group_instance_id: member.group_instance_id.clone(),
                    client_id: member.client_id.clone(),
                    client_host: member.client_host.clone(),
                    rebalance_timeout_ms: member.rebalance_timeout_ms,
                    session_timeout_ms: member.session_timeout_ms,
                    protocols: member.protocols.clone(),
                },
            }
        });
        members.collect()
    }

    /// Makes a stable group of members from a consumer group. `assignment` gives each its assignment from its id and
    /// subscription. Writes the group's record. If the group is about to rebalance, the record has no leader.
    pub(crate) fn of_immigrants(
        cx: &mut Context<'_>,
        id: GroupId,
        generation_id: i32,
        rebalances: bool,
        members: Vec<Migrant>,
        assignment: impl Fn(&MemberId, &[u8]) -> Bytes,
    ) -> Self {
        let mut group = Self::new(id, Some(cx.wall_ms));
        group.generation_id = generation_id;
        group.protocol_type = Some(embedded::PROTOCOL_TYPE.into());
        for member in members {
            group.insert(member.member_id.clone(), Member::settled(member));
        }
        group.protocol_name = group.select_protocol();
        let chosen = group.protocol_name.clone().unwrap_or_default();
        for (member_id, member) in &mut group.members {
            let subscription = member.metadata_for(&chosen).unwrap_or_default();
            member.assignment = assignment(member_id, &subscription);
        }
        group.state = State::Stable;
        group.subscribed_topics = group.compute_subscribed_topics();
        let mut metadata = group.metadata();
        if rebalances {
            // Members that have left are not in the record. After a crash no session's end would remind anybody of what they
            // had. So the missing leader tells `loaded` to rebalance.
            metadata.leader = None;
        }
        cx.effects.write(GroupRecord::Group {
            group_id: group.id.clone(),
            value: Some(metadata),
        });
        group
    }
}

impl Member {
    /// Makes a member that takes part in the current generation.
    fn settled(member: Migrant) -> Self {
        Self {
            group_instance_id: member.group_instance_id,
            client_id: member.client_id,
            client_host: member.client_host,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            protocols: member.protocols,
            assignment: Bytes::new(),
            is_new: false,
            awaiting_join: None,
            awaiting_sync: None,
        }
    }
}
