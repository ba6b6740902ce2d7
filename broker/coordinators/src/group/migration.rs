//! A group that has members changes its protocol while they go on (KIP-848).
//!
//! *Upgrade*: a member of the consumer protocol joins a classic group of plain consumers. The classic members come along.
//! They keep what they have and the generation they are in, and are served as before (`consumer::classic`).
//!
//! *Downgrade*: the last member of the consumer protocol leaves, or comes back as a classic one. The others take the target
//! of the consumer group with them as their assignment. They rebalance if the target is out of date.
//!
//! Kafka's `GroupMetadataManager.convertToConsumerGroup` and `convertToClassicGroup` are the model.

use std::collections::BTreeSet;

use protocol_shim::ErrorCode;
use uuid::Uuid;

use crate::codec::RecordError;
use crate::group::assignor::spec::Partitions;
use crate::group::catalog::Catalog;
use crate::group::classic::ClassicGroup;
use crate::group::consumer::ConsumerGroup;
use crate::group::consumer::migrate::Immigrant;
use crate::group::context::{Context, TurnsClassic};
use crate::group::embedded::{Assignment, Subscription, write_assignment};
use crate::group::id::GroupId;
use crate::group::record::GroupRecord;
use crate::group::reply::Refusal;

/// Makes the consumer group that a classic group becomes. Its records are among the effects.
///
/// # Errors
/// GROUP_ID_NOT_FOUND if the group may not change, or if its members cannot be understood.
pub(super) fn upgrade(
    classic: &ClassicGroup,
    id: &GroupId,
    cx: &mut Context<'_>,
) -> Result<ConsumerGroup, Refusal> {
    let because = |why: &str| {
        let message = format!("Cannot upgrade classic group {id} to consumer group because {why}.");
        Refusal::new(ErrorCode::GroupIdNotFound, message)
    };
    if !cx.config.migration_policy.may_upgrade() {
        return Err(because("online upgrade is disabled"));
    }
    if !classic.uses_consumer_protocol() {
        let why = "the group does not use the consumer embedded protocol";
        return Err(because(why));
    }
    if classic.member_count() > cx.config.consumer_max_size {
        let why = "the group size exceeds the consumer group maximum size";
        return Err(because(why));
    }
    let malformed = |_: RecordError| because("the embedded consumer protocol is malformed");
    let mut taken = BTreeSet::new();
    let mut members = Vec::new();
    for emigrant in classic.emigrants() {
        let assignment = Assignment::read(&emigrant.assignment).map_err(malformed)?;
        if assignment.has_user_data {
            let why = "an unsupported custom assignor is in use. Please refer to the documentation or switch to a \
                       default assignor before re-attempting the upgrade";
            return Err(because(why));
        }
        members.push(Immigrant {
            member: emigrant.member,
            subscription: Subscription::read(&emigrant.subscription).map_err(malformed)?,
            partitions: not_taken(&assignment, &**cx.catalog, &mut taken),
        });
    }
    // A group before its first generation has 0, which is no epoch for members of the consumer protocol.
    let generation_id = classic.generation_id().max(1);
    Ok(ConsumerGroup::of_immigrants(
        cx,
        id.clone(),
        generation_id,
        members,
    ))
}

/// The partitions of an assignment that nobody has been given before. Assignors of clients may give a partition to several
/// members, which a consumer group cannot do: the first member keeps it.
fn not_taken(
    assignment: &Assignment,
    catalog: &dyn Catalog,
    taken: &mut BTreeSet<(Uuid, i32)>,
) -> Partitions {
    let mut partitions = Partitions::new();
    for (name, indexes) in &assignment.partitions {
        let Some((topic_id, _)) = catalog.topic(name) else {
            continue;
        };
        for &index in indexes {
            if taken.insert((topic_id, index)) {
                partitions.entry(topic_id).or_default().insert(index);
            }
        }
    }
    partitions
}

/// Makes the classic group that a consumer group becomes. Its classic members stay.
pub(super) fn downgrade(
    consumer: &ConsumerGroup,
    id: &GroupId,
    cx: &mut Context<'_>,
    turns: TurnsClassic,
) -> ClassicGroup {
    consumer.cancel_timers(cx.timers);
    for record in consumer.tombstones() {
        let group_id = id.clone();
        cx.effects.write(GroupRecord::Consumer { group_id, record });
    }
    let catalog = cx.catalog;
    let mut group = ClassicGroup::of_immigrants(
        cx,
        id.clone(),
        consumer.generation_id(),
        turns.rebalance.is_some(),
        consumer.emigrants(&turns.leaving),
        |member_id, subscription| {
            let target = consumer.target_of(member_id);
            // Topics that exist have names and numbers of partitions that fit.
            write_assignment(&target, subscription, &**catalog).unwrap_or_default()
        },
    );
    group.loaded(cx);
    if let Some(reason) = turns.rebalance {
        group.prepare_rebalance(cx, reason);
    }
    group
}
