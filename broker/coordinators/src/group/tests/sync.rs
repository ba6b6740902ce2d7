use protocol_shim::ErrorCode;

use super::{
    super::*,
    context::{Joined, TestContext, protocol},
};

/// A group whose members have joined generation 1 and not synced; the first leads.
fn joined_group(cx: &mut TestContext, count: usize) -> Vec<Joined> {
    let ids: Vec<MemberId> = (0..count).map(|_| cx.new_member_id("g")).collect();
    cx.serve_deadlines = false;
    ids.iter().for_each(|id| {
        cx.join("g", id);
    });
    cx.serve_deadlines = true;
    cx.serve();
    ids.into_iter()
        .map(|member_id| Joined {
            member_id,
            generation_id: 1,
        })
        .collect()
}

#[test]
fn followers_wait_for_the_leader_and_each_gets_its_part() {
    let mut cx = TestContext::new();
    let members = joined_group(&mut cx, 3);
    let waiting = [
        cx.sync("g", &members[1], &[]),
        cx.sync("g", &members[2], &[]),
    ];
    assert_eq!(cx.parked(), waiting);
    let assignments = [
        (&*members[0].member_id, "a"),
        (&*members[1].member_id, "b"),
        ("stranger", "x"),
    ];
    let leader = cx.sync("g", &members[0], &assignments);
    for (token, assignment) in [(leader, "a"), (waiting[0], "b"), (waiting[1], "")] {
        let reply = cx.sync_reply(token);
        assert_eq!(
            (reply.error, &*reply.assignment),
            (None, assignment.as_bytes())
        );
        assert_eq!(reply.protocol_name.as_deref(), Some("range"));
        assert_eq!(reply.protocol_type.as_deref(), Some("consumer"));
    }
    assert_eq!(cx.state("g"), "Stable");
}

#[test]
fn a_generation_is_in_the_log_when_its_assignment_goes_out() {
    let mut cx = TestContext::new();
    let members = joined_group(&mut cx, 2);
    assert_eq!(
        cx.log.len(),
        1,
        "nothing of a generation is durable before it has its assignment"
    );
    cx.sync_all("g", &members);
    let Some(GroupRecord::Group {
        value: Some(metadata),
        ..
    }) = cx.log.last()
    else {
        panic!("{:?}", cx.log);
    };
    assert_eq!((metadata.generation_id, metadata.members.len()), (1, 2));
    assert_eq!(metadata.leader.as_ref(), Some(&members[0].member_id));
    cx.crash();
    for member in &members {
        assert_eq!(cx.heartbeat("g", member), None);
        let token = cx.sync("g", member, &[]);
        assert_eq!(
            &*cx.sync_reply(token).assignment,
            member.member_id.as_bytes()
        );
    }
}

#[test]
fn a_crash_between_join_and_assignment_takes_the_group_back_to_its_last_generation() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    let token = cx.join("g", &members[0].member_id);
    assert_eq!(cx.join_reply(token).generation_id, 2);
    let waiting = cx.new_member_id("g");
    let waiting = cx.join("g", &waiting);
    assert!(cx.is_parked(waiting));
    cx.crash();
    assert_eq!(cx.join_error(waiting), ErrorCode::NotCoordinator);
    assert_eq!(cx.heartbeat("g", &members[0]), None);
    assert_eq!(
        cx.heartbeat(
            "g",
            &Joined {
                generation_id: 2,
                ..members[0].clone()
            }
        ),
        Some(ErrorCode::IllegalGeneration)
    );
}

#[test]
fn a_sync_is_checked_for_group_member_generation_and_protocol() {
    let mut cx = TestContext::new();
    let members = joined_group(&mut cx, 1);
    let member = &members[0];
    let stranger = Joined {
        member_id: "stranger".into(),
        generation_id: 1,
    };
    let older = Joined {
        generation_id: 0,
        ..member.clone()
    };
    type Case<'a> = (&'a str, &'a Joined, fn(&mut SyncGroup), ErrorCode);
    let cases: [Case<'_>; 6] = [
        ("", member, |_| {}, ErrorCode::InvalidGroupId),
        ("unknown", member, |_| {}, ErrorCode::UnknownMemberId),
        ("g", &stranger, |_| {}, ErrorCode::UnknownMemberId),
        ("g", &older, |_| {}, ErrorCode::IllegalGeneration),
        (
            "g",
            member,
            |request| request.protocol_type = Some("connect".into()),
            ErrorCode::InconsistentGroupProtocol,
        ),
        (
            "g",
            member,
            |request| request.protocol_name = Some("sticky".into()),
            ErrorCode::InconsistentGroupProtocol,
        ),
    ];
    for (group, member, edit, error) in cases {
        let token = cx.sync_with(group, member, &[], edit);
        assert_eq!(
            cx.sync_reply(token).error,
            Some(error),
            "{group} {member:?}"
        );
    }
    let token = cx.sync_with("g", member, &[], |request| {
        (request.protocol_type, request.protocol_name) = (None, None)
    });
    assert_eq!(
        cx.sync_reply(token).error,
        None,
        "before version 5 there is no protocol to check"
    );
}

#[test]
fn a_sync_into_an_empty_group_is_unknown_member_id() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    cx.leave("g", &[(&members[0].member_id, None)]);
    assert_eq!(cx.state("g"), "Empty");
    let token = cx.sync("g", &members[0], &[]);
    assert_eq!(cx.sync_reply(token).error, Some(ErrorCode::UnknownMemberId));
}

#[test]
fn a_sync_during_a_rebalance_is_rebalance_in_progress() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    cx.join("g", &members[0].member_id);
    let token = cx.sync("g", &members[1], &[]);
    assert_eq!(
        cx.sync_reply(token).error,
        Some(ErrorCode::RebalanceInProgress)
    );
}

#[test]
fn a_sync_that_waits_when_a_rebalance_begins_is_rebalance_in_progress() {
    let mut cx = TestContext::new();
    let members = joined_group(&mut cx, 2);
    let waiting = cx.sync("g", &members[1], &[]);
    let id = cx.new_member_id("g");
    cx.join("g", &id);
    assert_eq!(
        cx.sync_reply(waiting).error,
        Some(ErrorCode::RebalanceInProgress)
    );
    assert_eq!(
        cx.heartbeat("g", &members[1]),
        Some(ErrorCode::RebalanceInProgress)
    );
}

#[test]
fn a_rebalance_that_overtakes_an_assignment_leaves_nobody_with_an_old_one() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    cx.join("g", &members[0].member_id);
    assert_eq!(
        &*cx.describe("g").members[0].assignment,
        members[0].member_id.as_bytes()
    );
    let id = cx.new_member_id("g");
    cx.join("g", &id);
    assert!(cx.describe("g").members[0].assignment.is_empty());
}

#[test]
fn a_sync_in_a_stable_group_gets_the_assignment_again() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    let token = cx.sync("g", &members[1], &[]);
    assert_eq!(
        &*cx.sync_reply(token).assignment,
        members[1].member_id.as_bytes()
    );
}

#[test]
fn a_sync_repeated_while_parked_takes_the_place_of_the_first() {
    let mut cx = TestContext::new();
    let members = joined_group(&mut cx, 2);
    let first = cx.sync("g", &members[1], &[]);
    let again = cx.sync("g", &members[1], &[]);
    assert_eq!(
        cx.sync_reply(first).error,
        Some(ErrorCode::RebalanceInProgress)
    );
    cx.sync("g", &members[0], &[(&*members[1].member_id, "b")]);
    assert_eq!(&*cx.sync_reply(again).assignment, b"b");
}

#[test]
fn a_member_that_leaves_while_its_sync_waits_gets_an_answer() {
    let mut cx = TestContext::new();
    let members = joined_group(&mut cx, 2);
    let waiting = cx.sync("g", &members[1], &[]);
    assert_eq!(cx.leave("g", &[(&members[1].member_id, None)]), [None]);
    assert_eq!(
        cx.sync_reply(waiting).error,
        Some(ErrorCode::UnknownMemberId)
    );
}

#[test]
fn members_that_do_not_sync_within_the_rebalance_timeout_are_removed() {
    let mut cx = TestContext::new();
    let members = joined_group(&mut cx, 3);
    cx.sync("g", &members[0], &[]);
    cx.sync("g", &members[1], &[]);
    for _ in 0..6 {
        cx.advance(9_999);
        for member in &members {
            assert_eq!(cx.heartbeat("g", member), None);
        }
    }
    cx.advance(6);
    assert_eq!(
        cx.heartbeat("g", &members[2]),
        Some(ErrorCode::UnknownMemberId)
    );
    assert_eq!(
        cx.heartbeat("g", &members[1]),
        Some(ErrorCode::RebalanceInProgress)
    );
}

#[test]
fn when_all_have_synced_nobody_is_removed_later() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    for _ in 0..20 {
        cx.advance(9_000);
        for member in &members {
            assert_eq!(cx.heartbeat("g", member), None);
        }
    }
}

#[test]
fn a_leader_that_dies_before_it_has_assigned_is_replaced_in_the_next_generation() {
    let mut cx = TestContext::new();
    let members = joined_group(&mut cx, 2);
    let waiting = cx.sync("g", &members[1], &[]);
    cx.advance(9_999);
    assert!(cx.is_parked(waiting));
    cx.advance(1);
    assert_eq!(
        cx.sync_reply(waiting).error,
        Some(ErrorCode::RebalanceInProgress)
    );
    let token = cx.join("g", &members[1].member_id);
    let reply = cx.join_reply(token);
    assert_eq!(
        (reply.generation_id, &reply.leader),
        (2, &members[1].member_id)
    );
}

#[test]
fn a_session_that_runs_out_while_the_sync_waits_starts_anew_with_the_assignment() {
    let mut cx = TestContext::new();
    let members = joined_group(&mut cx, 2);
    let waiting = cx.sync("g", &members[1], &[]);
    for _ in 0..3 {
        cx.advance(9_000);
        assert_eq!(cx.heartbeat("g", &members[0]), None);
    }
    assert!(cx.is_parked(waiting));
    cx.sync("g", &members[0], &[]);
    cx.advance(9_999);
    assert_eq!(cx.state("g"), "Stable");
    cx.advance(1);
    assert_eq!(
        cx.heartbeat("g", &members[1]),
        Some(ErrorCode::UnknownMemberId)
    );
}

#[test]
fn groups_of_any_protocol_type_work() {
    let mut cx = TestContext::new();
    let edit = |request: &mut JoinGroup| {
        request.protocol_type = "connect".into();
        request.protocols = vec![protocol("sessioned", &[])];
    };
    let token = cx.join_with("g", "", edit);
    let member_id = cx.join_reply(token).member_id;
    let token = cx.join_with("g", &member_id, edit);
    assert_eq!(
        cx.join_reply(token).protocol_type.as_deref(),
        Some("connect")
    );
    let member = Joined {
        member_id,
        generation_id: 1,
    };
    let token = cx.sync_with("g", &member, &[(&member.member_id, "work")], |request| {
        (request.protocol_type, request.protocol_name) =
            (Some("connect".into()), Some("sessioned".into()));
    });
    assert_eq!(&*cx.sync_reply(token).assignment, b"work");
    assert_eq!(cx.describe("g").protocol_type, "connect".into());
}

#[test]
fn an_assignment_that_the_log_does_not_take_is_nobodys_and_the_group_rebalances() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    let limit = cx
        .log
        .iter()
        .map(GroupRecord::size_bytes)
        .max()
        .unwrap_or(0)
        + 1000;
    cx.set_catalog(|catalog| catalog.max_batch_bytes = Some(limit));
    let log_length = cx.log.len();
    let tokens: Vec<_> = members
        .iter()
        .map(|member| cx.join("g", &member.member_id))
        .collect();
    let joined: Vec<_> = tokens.iter().map(|token| cx.join_reply(*token)).collect();
    let sync = |cx: &mut TestContext, member: &JoinReply, assignment_bytes: usize| {
        let assignments = members.iter();
        let assignments =
            assignments.map(|member| (member.member_id.clone(), vec![0; assignment_bytes].into()));
        cx.send(GroupRequest::Sync(SyncGroup {
            group_id: "g".into(),
            generation_id: member.generation_id,
            member_id: member.member_id.clone(),
            group_instance_id: None,
            protocol_type: None,
            protocol_name: None,
            assignments: match member.leader == member.member_id {
                true => assignments.collect(),
                false => Vec::new(),
            },
        }))
    };
    let leads = |member: &&JoinReply| member.leader == member.member_id;
    let follower = joined.iter().find(|member| !leads(member)).expect("two");
    let leader = joined.iter().find(leads).expect("one leads");
    let tokens = [sync(&mut cx, follower, 1000), sync(&mut cx, leader, 1000)];
    for token in tokens {
        let reply = cx.sync_reply(token);
        assert_eq!(reply.error, Some(ErrorCode::UnknownServerError));
    }
    assert_eq!(cx.state("g"), "PreparingRebalance");
    assert_eq!(cx.log.len(), log_length);
}
