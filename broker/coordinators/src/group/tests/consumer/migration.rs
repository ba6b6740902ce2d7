//! A group that has members changes its protocol, and serves those of both.

use super::{mixed::*, *};

/// Two classic members and one of the consumer protocol, not yet settled.
fn upgraded(cx: &mut TestContext) -> (Vec<Classic>, Consumer) {
    let classic = cx.classic_group("g", 2);
    let mut consumer = Consumer::new("g", "new", &["t"]);
    cx.beat(&mut consumer);
    (classic, consumer)
}

/// The same, settled.
fn mixed(cx: &mut TestContext) -> (Vec<Classic>, Vec<Consumer>) {
    let (mut classic, consumer) = upgraded(cx);
    let mut consumers = vec![consumer];
    cx.settle_both(&mut classic, &mut consumers);
    (classic, consumers)
}

#[test]
fn a_consumer_that_joins_a_classic_group_turns_it_into_a_consumer_group() {
    let mut cx = context();
    let (classic, consumer) = upgraded(&mut cx);
    assert_eq!(cx.type_of("g"), "consumer");
    assert_eq!(consumer.epoch, classic[0].generation_id + 1);
    assert_eq!(consumer.size(), 0, "what others have is not given away");
    let described = cx.describe_consumer("g");
    for member in &classic {
        let of_group = described.members.iter();
        let found = of_group
            .clone()
            .find(|one| one.member_id == member.member_id);
        let found = found.expect("classic members come along");
        assert!(found.is_classic);
        assert_eq!(found.member_epoch, member.generation_id);
        let partitions: Vec<i32> = member.owned[&topic_id("t")].iter().copied().collect();
        assert_eq!(found.assignment[0].partitions, partitions);
    }
    assert_eq!(cx.describe("g").error, Some(ErrorCode::GroupIdNotFound));
}

#[test]
fn classic_members_are_asked_to_join_give_up_what_is_asked_and_everybody_gets_a_share() {
    let mut cx = context();
    let (mut classic, mut consumer) = upgraded(&mut cx);
    let old = classic[0].clone();
    assert_eq!(cx.beat_as(&old), Some(ErrorCode::RebalanceInProgress));
    let reply = cx.join_as(&mut classic[0]);
    assert_eq!((reply.error, &*reply.leader), (None, ""));
    assert_eq!(reply.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(reply.protocol_name.as_deref(), Some("range"));
    assert_eq!(
        reply.generation_id, old.generation_id,
        "it has to give up first"
    );
    assert_eq!(cx.sync_as(&mut classic[0]), None);
    assert_eq!(classic[0].size(), 2, "one less");
    cx.beat(&mut consumer);
    assert_eq!(consumer.size(), 0, "told to give up is not given up");
    assert_eq!(
        cx.beat_as(&classic[0]),
        Some(ErrorCode::RebalanceInProgress)
    );
    assert_eq!(cx.join_as(&mut classic[0]).generation_id, consumer.epoch);
    cx.beat(&mut consumer);
    assert_eq!(consumer.size(), 1);

    let mut consumers = [consumer];
    cx.settle_both(&mut classic, &mut consumers);
    assert_eq!((classic[0].size(), classic[1].size()), (2, 2));
    assert_eq!(consumers[0].size(), 2);
    assert_eq!(cx.describe_consumer("g").state, "Stable");
}

#[test]
fn an_upgrade_writes_the_old_groups_tombstone_and_then_the_new_group_whole() {
    let mut cx = context();
    cx.classic_group("g", 1);
    let length = cx.log.len();
    cx.beat(&mut Consumer::new("g", "new", &["t"]));
    let kinds = cx.log[length..].iter().map(|record| match record {
        GroupRecord::Group { value: None, .. } => "tombstone",
        GroupRecord::Consumer { record, .. } => match record {
            ConsumerRecord::Member(..) => "member",
            ConsumerRecord::Group(_) => "epoch",
            ConsumerRecord::TargetMember(..) => "target",
            ConsumerRecord::Target(_) => "target epoch",
            ConsumerRecord::Current(..) => "current",
            ConsumerRecord::Regex(..) => "regex",
        },
        other => panic!("{other:?}"),
    });
    let kinds: Vec<&str> = kinds.collect();
    let whole = ["member", "epoch", "target", "target epoch", "current"];
    assert_eq!((kinds[0], &kinds[1..6]), ("tombstone", &whole[..]));
    let joins = [
        "member",
        "epoch",
        "target",
        "target",
        "target epoch",
        "current",
    ];
    assert_eq!(kinds[6..], joins);
}

#[test]
fn requests_that_wait_for_a_classic_rebalance_are_told_to_join_again() {
    let mut cx = context();
    let classic = cx.classic_group("g", 2);
    let join = cx.send_join(&classic[0]);
    assert!(cx.is_parked(join));
    cx.beat(&mut Consumer::new("g", "new", &["t"]));
    let reply = cx.join_reply(join);
    assert_eq!(reply.error, Some(ErrorCode::RebalanceInProgress));
    assert_eq!(reply.member_id, classic[0].member_id);

    let ids: Vec<MemberId> = (0..2).map(|_| cx.new_member_id("h")).collect();
    cx.serve_deadlines = false;
    let joins: Vec<Token> = ids.iter().map(|id| cx.join("h", id)).collect();
    cx.serve_deadlines = true;
    cx.serve();
    let follower = joins.into_iter().map(|token| cx.join_reply(token));
    let follower = follower.into_iter().find(|one| one.members.is_empty());
    let follower = follower.expect("one of them follows");
    let follower = Joined {
        member_id: follower.member_id,
        generation_id: follower.generation_id,
    };
    let sync = cx.sync("h", &follower, &[]);
    assert!(cx.is_parked(sync));
    cx.beat(&mut Consumer::new("h", "new", &["t"]));
    let error = cx.sync_reply(sync).error;
    assert_eq!(error, Some(ErrorCode::RebalanceInProgress));
}

#[test]
fn when_the_last_consumer_leaves_the_group_turns_classic_and_rebalances() {
    let mut cx = context();
    let (mut classic, consumers) = mixed(&mut cx);
    let generation_id = classic[0].generation_id;
    cx.leave_consumer(&consumers[0], -1);
    assert_eq!(cx.type_of("g"), "classic");
    assert_eq!(cx.state("g"), "PreparingRebalance");
    let error = cx.beat_as(&classic[0]);
    assert_eq!(error, Some(ErrorCode::RebalanceInProgress));
    cx.divide(&mut classic, b"");
    assert_eq!(classic[0].generation_id, generation_id + 1);
    assert_eq!((cx.state("g"), classic[0].size()), ("Stable", 3));
}

#[test]
fn the_rebalance_that_a_downgrade_asks_for_survives_a_crash() {
    let mut cx = context();
    let (mut classic, consumers) = mixed(&mut cx);
    cx.leave_consumer(&consumers[0], -1);
    cx.crash();
    // What the consumer had must not be forgotten.
    for member in &classic {
        let error = cx.beat_as(member);
        assert_eq!(error, Some(ErrorCode::RebalanceInProgress));
    }
    cx.divide(&mut classic, b"");
    assert_eq!((cx.state("g"), classic[0].size()), ("Stable", 3));
    cx.crash();
    assert_eq!(cx.state("g"), "Stable");
}

#[test]
fn when_the_last_consumers_session_ends_the_group_turns_classic() {
    let mut cx = context();
    let (classic, _) = mixed(&mut cx);
    for _ in 0..9 {
        assert_eq!(cx.type_of("g"), "consumer");
        cx.advance(5_000);
        for member in &classic {
            cx.beat_as(member);
        }
    }
    assert_eq!(cx.type_of("g"), "classic");
}

#[test]
fn without_downgrades_classic_members_stay_and_get_what_consumers_leave_behind() {
    let mut cx = TestContext::with_config(GroupConfig {
        consumer_assignment_interval_ms: 1_000,
        migration_policy: MigrationPolicy::Upgrade,
        ..GroupConfig::default()
    });
    cx.set_catalog(|catalog| catalog.put("t", 6));
    let (mut classic, consumer) = upgraded(&mut cx);
    cx.advance(1_000);
    let mut consumers = vec![consumer];
    cx.settle_both(&mut classic, &mut consumers);
    cx.leave_consumer(&consumers[0], -1);
    assert_eq!(cx.type_of("g"), "consumer");
    cx.advance(1_000);
    cx.settle_both(&mut classic, &mut []);
    assert_eq!((classic[0].size(), classic[1].size()), (3, 3));
    cx.set_catalog(|catalog| catalog.put("t", 8));
    cx.advance(1_000);
    cx.settle_both(&mut classic, &mut []);
    assert_eq!((classic[0].size(), classic[1].size()), (4, 4));
}

#[test]
fn a_group_too_large_for_a_classic_one_stays() {
    let mut cx = TestContext::with_config(GroupConfig {
        consumer_assignment_interval_ms: 0,
        max_size: 2,
        ..GroupConfig::default()
    });
    cx.set_catalog(|catalog| catalog.put("t", 6));
    let (mut classic, consumers) = mixed(&mut cx);
    let mut third = Classic::new("g", &["t"]);
    assert_eq!(cx.join_as(&mut third).error, None);
    cx.leave_consumer(&consumers[0], -1);
    assert_eq!(cx.type_of("g"), "consumer");
    cx.leave("g", &[(&third.member_id, None)]);
    assert_eq!(cx.type_of("g"), "classic");
    cx.divide(&mut classic, b"");
}

#[test]
fn a_classic_member_joins_a_consumer_group_in_two_steps_and_older_ones_in_one() {
    let mut cx = context();
    let mut consumers = cx.settled("g", 1);
    let mut member = Classic::new("g", &["t"]);
    let token = cx.send_join(&member);
    let reply = cx.join_reply(token);
    assert_eq!(reply.error, Some(ErrorCode::MemberIdRequired));
    member.member_id = reply.member_id;
    let mut members = [member];
    cx.settle_both(&mut members, &mut consumers);
    assert_eq!((members[0].size(), consumers[0].size()), (3, 3));

    let token = cx.join_with("g", "", |request| {
        request.api_version = 3;
        request.protocols = vec![members[0].protocol()];
    });
    assert_eq!(cx.join_reply(token).error, None);
}

#[test]
fn a_member_may_change_its_protocol_under_its_id() {
    let mut cx = context();
    let (mut classic, mut consumers) = mixed(&mut cx);
    let mut moved = Consumer::new("g", &classic[0].member_id.clone(), &["t"]);
    cx.beat(&mut moved);
    assert_eq!(moved.owned, classic[0].owned);
    let error = cx.beat_as(&classic[0]);
    assert_eq!(error, Some(ErrorCode::UnknownMemberId));
    consumers.push(moved);
    cx.settle_both(&mut classic[1..], &mut consumers);
    // It has the other protocol's session now, and nothing left of the old one.
    cx.advance(44_999);
    let described = cx.describe_consumer("g");
    assert_eq!(described.members.len(), 2, "{described:?}");
}

#[test]
fn a_classic_member_has_the_session_timeout_it_asked_for() {
    let mut cx = context();
    let (mut classic, mut consumers) = mixed(&mut cx);
    cx.advance(9_999);
    assert_eq!(cx.describe_consumer("g").members.len(), 3);
    assert_eq!(cx.beat_as(&classic[0]), None);
    cx.advance(1);
    assert_eq!(cx.describe_consumer("g").members.len(), 2);
    let error = cx.beat_as(&classic[1]);
    assert_eq!(error, Some(ErrorCode::UnknownMemberId));
    cx.settle_both(&mut classic[..1], &mut consumers);
    assert_eq!((classic[0].size(), consumers[0].size()), (3, 3));
}

#[test]
fn a_classic_member_that_does_not_join_again_in_time_is_removed() {
    let mut cx = context();
    let (classic, _) = upgraded(&mut cx);
    let mut alive = Consumer::new("g", "alive", &["t"]);
    for waited_s in (0..60).step_by(5) {
        let error = cx.beat_as(&classic[0]);
        assert_eq!(error, Some(ErrorCode::RebalanceInProgress), "{waited_s} s");
        cx.beat(&mut alive);
        cx.advance(5_000);
    }
    let error = cx.beat_as(&classic[0]);
    assert_eq!(error, Some(ErrorCode::UnknownMemberId));
}

#[test]
fn a_classic_member_that_does_not_sync_in_time_is_removed_and_one_that_does_is_not() {
    let mut cx = context();
    let (mut classic, mut consumers) = mixed(&mut cx);
    let mut lazy = Classic::new("g", &["t"]);
    cx.join_as(&mut lazy);
    for _ in (0..60).step_by(5) {
        assert!(cx.describe_consumer("g").members.len() >= 2);
        cx.beat_as(&lazy);
        cx.beat(&mut consumers[0]);
        cx.go_on(&mut classic[0]);
        cx.advance(5_000);
    }
    let error = cx.beat_as(&lazy);
    assert_eq!(error, Some(ErrorCode::UnknownMemberId));
    assert_ne!(
        cx.beat_as(&classic[0]),
        Some(ErrorCode::UnknownMemberId),
        "it has synced"
    );
}

#[test]
fn after_a_restart_members_of_both_protocols_go_on_where_they_were() {
    let mut cx = context();
    let (mut classic, mut consumers) = mixed(&mut cx);
    cx.crash();
    let length = cx.log.len();
    cx.settle_both(&mut classic, &mut consumers);
    assert_eq!(cx.log.len(), length, "nothing has changed");
    cx.crash();
    cx.advance(10_000);
    assert_eq!(cx.describe_consumer("g").members.len(), 1, "sessions go on");
}

#[test]
fn members_of_either_protocol_can_be_removed_with_leave_group() {
    let mut cx = context();
    let (mut classic, mut consumers) = mixed(&mut cx);
    let named = Consumer::new("g", "named", &["t"]).named("i");
    consumers.push(named);
    cx.settle_both(&mut classic, &mut consumers);
    let gone = classic.remove(0);
    let length = cx.log.len();
    let left = cx.leave(
        "g",
        &[(&gone.member_id, None), ("", Some("i")), ("x", None)],
    );
    assert_eq!(left, [None, None, Some(ErrorCode::UnknownMemberId)]);
    let bumps = cx.log[length..].iter().filter(|record| {
        let GroupRecord::Consumer { record, .. } = record else {
            return false;
        };
        matches!(record, ConsumerRecord::Group(Some(_)))
    });
    assert_eq!(bumps.count(), 1, "one rebalance for both");
    cx.settle_both(&mut classic, &mut consumers[..1]);
    assert_eq!((classic[0].size(), consumers[0].size()), (3, 3));
    let left = cx.leave("g", &[(&consumers[0].member_id, None)]);
    assert_eq!((left, cx.type_of("g")), (vec![None], "classic"));
}

#[test]
fn a_static_classic_member_comes_back_as_a_consumer_and_keeps_what_it_had() {
    let mut cx = context();
    let mut classic = vec![
        Classic::new("g", &["t"]).named("i1"),
        Classic::new("g", &["t"]).named("i2"),
    ];
    cx.divide(&mut classic, b"");
    let mut consumer = Consumer::new("g", "new", &["t"]).named("i1");
    cx.beat(&mut consumer);
    assert_eq!(cx.type_of("g"), "consumer");
    assert_eq!(consumer.owned, classic[0].owned);
    assert_eq!(consumer.epoch, classic[0].generation_id, "no rebalance");
    assert_eq!(cx.beat_as(&classic[1]), None);
    let error = cx.beat_as(&classic[0]);
    assert_eq!(error, Some(ErrorCode::FencedInstanceId));
}

#[test]
fn the_last_static_consumer_that_comes_back_as_a_classic_member_ends_the_consumer_group() {
    let mut cx = context();
    let mut classic = vec![Classic::new("g", &["t"]).named("i1")];
    let mut consumers = vec![Consumer::new("g", "c", &["t"]).named("i2")];
    cx.settle_both(&mut classic, &mut consumers);
    let mut back = Classic::new("g", &["t"]).named("i2");
    let reply = cx.join_as(&mut back);
    assert_eq!(
        (reply.error, reply.generation_id),
        (None, consumers[0].epoch)
    );
    assert_eq!((cx.type_of("g"), cx.state("g")), ("classic", "Stable"));
    assert_eq!(cx.sync_as(&mut back), None);
    assert_eq!(back.owned, consumers[0].owned, "it has what it had");
    assert_eq!(cx.beat_as(&classic[0]), None, "nobody notices");
    cx.crash();
    assert_eq!((cx.state("g"), cx.beat_as(&back)), ("Stable", None));
    assert_eq!(cx.sync_as(&mut classic[0]), None);
    assert_eq!(classic[0].size(), 3);
    let error = cx.refused(consumers[0].quiet());
    assert_eq!(error, ErrorCode::GroupIdNotFound);
}

#[test]
fn the_last_static_consumer_that_comes_back_with_other_topics_causes_a_rebalance() {
    let mut cx = context();
    cx.set_catalog(|catalog| catalog.put("u", 2));
    let mut classic = vec![Classic::new("g", &["t"]).named("i1")];
    let mut consumers = vec![Consumer::new("g", "c", &["t"]).named("i2")];
    cx.settle_both(&mut classic, &mut consumers);
    let mut back = Classic::new("g", &["t", "u"]).named("i2");
    assert_eq!(cx.join_as(&mut back).error, None);
    let state = cx.state("g");
    assert_eq!((cx.type_of("g"), state), ("classic", "PreparingRebalance"));
    let error = cx.beat_as(&classic[0]);
    assert_eq!(error, Some(ErrorCode::RebalanceInProgress));
}

#[test]
fn a_member_that_waits_for_what_the_last_consumer_had_gets_it_after_the_downgrade() {
    let mut cx = context();
    let mut consumer = Consumer::new("g", "c", &["t"]).named("i");
    cx.beat(&mut consumer);
    let mut waiting = Classic::new("g", &["t"]);
    cx.go_on(&mut waiting);
    assert_eq!(
        (waiting.size(), cx.beat_as(&waiting)),
        (0, None),
        "it waits"
    );
    let mut back = Classic::new("g", &["t"]).named("i");
    assert_eq!(cx.join_as(&mut back).error, None);
    assert_eq!(cx.type_of("g"), "classic");
    let error = cx.beat_as(&waiting);
    assert_eq!(error, Some(ErrorCode::RebalanceInProgress));
    let mut members = [waiting, back];
    cx.divide(&mut members, b"");
    assert_eq!((members[0].size(), members[1].size()), (3, 3));
}

#[test]
fn generations_of_classic_members_are_checked_like_epochs() {
    let mut cx = context();
    let (classic, _) = mixed(&mut cx);
    let member = classic[0].joined();
    assert_eq!(cx.commit("g", &member, 1), None);
    let old = |request: &mut CommitOffsets| request.api_version = 8;
    assert_eq!(cx.commit_with("g", &member, 2, old), None, "no new version");
    for generation_id in [member.generation_id - 1, member.generation_id + 1] {
        let wrong = Joined {
            generation_id,
            ..member.clone()
        };
        let illegal = Some(ErrorCode::IllegalGeneration);
        assert_eq!(cx.commit("g", &wrong, 3), illegal);
        assert_eq!(cx.heartbeat("g", &wrong), illegal);
        let sync = cx.sync("g", &wrong, &[]);
        assert_eq!(cx.sync_reply(sync).error, illegal);
        let fetch = FetchGroup {
            group_id: "g".into(),
            member_id: Some(member.member_id.clone()),
            member_epoch: generation_id,
            topics: None,
        };
        let token = cx.send(GroupRequest::FetchOffsets(FetchOffsets {
            groups: vec![fetch],
            require_stable: false,
            allowance: Allowance::unlimited(),
        }));
        let GroupReply::FetchOffsets(groups) = cx.reply(token) else {
            panic!("a reply to something else");
        };
        assert_eq!(groups[0].error, illegal);
    }
    assert_eq!(cx.fetch("g", "topic", false), Ok(Some(2)));
}

#[test]
fn a_commit_of_the_generation_before_counts_for_what_the_member_had_then() {
    let mut cx = context();
    let (mut classic, mut consumers) = mixed(&mut cx);
    let before = classic[0].joined();
    let kept = *classic[0].owned[&topic_id("t")]
        .first()
        .expect("it has some");
    consumers.push(Consumer::new("g", "more", &["t"]));
    cx.settle_both(&mut classic, &mut consumers);
    assert!(classic[0].generation_id > before.generation_id);
    let mine = classic[0].owned[&topic_id("t")].contains(&kept);
    let expected = (!mine).then_some(ErrorCode::IllegalGeneration);
    let error = cx.commit_with("g", &before, 1, |request| {
        request.topics = vec![commit_topic("t", 1)];
        request.topics[0].topic_id = topic_id("t");
        request.topics[0].partitions[0].partition_index = kept;
    });
    assert_eq!(error, expected);
}
