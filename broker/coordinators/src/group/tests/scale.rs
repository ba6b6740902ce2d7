//! What a step costs must not depend on how much else there is. Counted are steps in time that only a quadratic
//! algorithm could miss by far: the limits are some hundred times what is needed.

#![expect(clippy::disallowed_methods, reason = "a stopwatch")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::machine::{Machine, Token};

use super::{
    super::*,
    context::{TestCatalog, at, commit_topic, protocol},
};

fn join_request(group: &str, instance: usize) -> GroupRequest {
    GroupRequest::Join(JoinGroup {
        group_id: group.into(),
        member_id: "".into(),
        group_instance_id: Some(format!("i{instance}").into()),
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range", &["topic"])],
        reason: None,
        api_version: 9,
        member_uuid: uuid::Uuid::from_u128(instance as u128),
    })
}

fn report(what: &str, count: usize, since: Instant) -> Duration {
    let each = since.elapsed() / count as u32;
    println!("{what}: {each:?}");
    each
}

#[test]
fn a_thousand_members_join_sync_and_beat_in_one_group() {
    const COUNT: usize = 1000;
    let mut shard = GroupShard::new(GroupConfig::default());
    let topics: Arc<dyn Catalog> = Arc::new(TestCatalog::default());
    let now = at(0, &topics);
    let group: GroupId = "g".into();
    let started = Instant::now();
    for instance in 0..COUNT {
        assert!(
            shard
                .handle(&now, Token(instance as u64), join_request("g", instance))
                .replies
                .is_empty()
        );
    }
    let joined = shard.on_deadline(&now).replies;
    assert_eq!(joined.len(), COUNT);
    let mut syncs = 0;
    let mut members = Vec::new();
    for (token, reply) in joined.into_iter().rev() {
        let GroupReply::Join(reply) = reply else {
            panic!("{reply:?}");
        };
        let assignments = reply
            .members
            .iter()
            .map(|member| (member.member_id.clone(), "x".into()))
            .collect();
        members.push(reply.member_id.clone());
        let effects = shard.handle(
            &now,
            token,
            GroupRequest::Sync(SyncGroup {
                group_id: group.clone(),
                generation_id: 1,
                member_id: reply.member_id,
                group_instance_id: None,
                protocol_type: None,
                protocol_name: None,
                assignments,
            }),
        );
        syncs += effects.replies.len();
    }
    assert_eq!(syncs, COUNT);
    assert!(
        report("join and sync of one of 1000 members", COUNT, started) < Duration::from_millis(5)
    );

    let started = Instant::now();
    for (round, member_id) in (0..20).flat_map(|round| members.iter().map(move |id| (round, id))) {
        let request = Heartbeat {
            group_id: group.clone(),
            generation_id: 1,
            member_id: member_id.clone(),
            group_instance_id: None,
        };
        let replies = shard
            .handle(
                &at(round, &topics),
                Token(0),
                GroupRequest::Heartbeat(request),
            )
            .replies;
        assert_eq!(replies[0].1, GroupReply::Heartbeat(None));
    }
    assert!(
        report("heartbeat in a group of 1000", 20 * COUNT, started) < Duration::from_micros(500)
    );
}

#[test]
fn ten_thousand_groups_do_not_slow_each_other_down() {
    const COUNT: usize = 10_000;
    let mut shard = GroupShard::new(GroupConfig::default());
    let topics: Arc<dyn Catalog> = Arc::new(TestCatalog::default());
    let now = at(0, &topics);
    let groups: Vec<GroupId> = (0..COUNT)
        .map(|index| format!("group-{index}").into())
        .collect();
    let started = Instant::now();
    for group in &groups {
        shard.handle(&now, Token(0), join_request(group, 0));
    }
    assert_eq!(shard.on_deadline(&now).replies.len(), COUNT);
    assert!(report("first join, one of 10000 groups", COUNT, started) < Duration::from_millis(5));

    let started = Instant::now();
    for (offset, group) in groups.iter().enumerate() {
        let commit = CommitOffsets {
            group_id: format!("{group}-offsets").into(),
            generation_id_or_member_epoch: -1,
            member_id: "".into(),
            group_instance_id: None,
            retention_time_ms: None,
            topics: vec![commit_topic("topic", offset as i64)],
            api_version: 9,
        };
        assert_eq!(
            shard
                .handle(&now, Token(0), GroupRequest::CommitOffsets(commit))
                .record_count(),
            1
        );
    }
    assert!(report("commit, one of 20000 groups", COUNT, started) < Duration::from_millis(5));
}
