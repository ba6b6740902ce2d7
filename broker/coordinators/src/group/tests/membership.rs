use protocol_shim::ErrorCode;

use super::{
    super::*,
    context::{Joined, TestContext},
};

#[test]
fn a_heartbeat_is_checked_for_group_member_and_generation() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    let stranger = Joined {
        member_id: "stranger".into(),
        generation_id: 1,
    };
    let older = Joined {
        generation_id: 0,
        ..members[0].clone()
    };
    assert_eq!(
        cx.heartbeat("", &members[0]),
        Some(ErrorCode::InvalidGroupId)
    );
    assert_eq!(
        cx.heartbeat("unknown", &members[0]),
        Some(ErrorCode::UnknownMemberId)
    );
    assert_eq!(
        cx.heartbeat("g", &stranger),
        Some(ErrorCode::UnknownMemberId)
    );
    assert_eq!(
        cx.heartbeat("g", &older),
        Some(ErrorCode::IllegalGeneration)
    );
    assert_eq!(cx.heartbeat("g", &members[0]), None);
    let pending = Joined {
        member_id: cx.new_member_id("g"),
        generation_id: 1,
    };
    assert_eq!(
        cx.heartbeat("g", &pending),
        Some(ErrorCode::UnknownMemberId)
    );
}

#[test]
fn heartbeats_keep_a_member_alive_and_the_others_rebalance_when_they_stop() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    for _ in 0..5 {
        cx.advance(9_999);
        assert_eq!(cx.heartbeat("g", &members[0]), None);
        assert_eq!(cx.heartbeat("g", &members[1]), None);
    }
    cx.advance(5_000);
    assert_eq!(cx.heartbeat("g", &members[0]), None);
    cx.advance(4_999);
    assert_eq!(cx.heartbeat("g", &members[0]), None);
    cx.advance(1);
    assert_eq!(
        cx.heartbeat("g", &members[0]),
        Some(ErrorCode::RebalanceInProgress)
    );
    assert_eq!(
        cx.heartbeat("g", &members[1]),
        Some(ErrorCode::UnknownMemberId)
    );
}

#[test]
fn every_member_has_its_own_session_timeout() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    let id = cx.new_member_id("g");
    cx.join_with("g", &id, |request| request.session_timeout_ms = 30_000);
    let token = cx.join("g", &members[0].member_id);
    assert_eq!(cx.join_reply(token).generation_id, 2);
    let members = [&members[0].member_id, &id].map(|id| Joined {
        member_id: id.clone(),
        generation_id: 2,
    });
    cx.sync_all("g", &members);
    cx.advance(10_000);
    assert_eq!(
        cx.heartbeat("g", &members[0]),
        Some(ErrorCode::UnknownMemberId)
    );
    assert_eq!(
        cx.heartbeat("g", &members[1]),
        Some(ErrorCode::RebalanceInProgress)
    );
}

#[test]
fn a_member_that_waits_for_the_others_needs_no_heartbeats() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    let waiting = cx.join("g", &members[0].member_id);
    for _ in 0..5 {
        cx.advance(9_000);
        assert_eq!(
            cx.heartbeat("g", &members[1]),
            Some(ErrorCode::RebalanceInProgress)
        );
    }
    assert!(cx.is_parked(waiting));
    cx.join("g", &members[1].member_id);
    assert_eq!(cx.join_reply(waiting).members.len(), 2);
}

#[test]
fn after_a_load_members_have_a_full_session_to_show_up() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    cx.advance(9_000);
    cx.crash();
    cx.advance(9_999);
    assert_eq!(cx.heartbeat("g", &members[0]), None);
    cx.advance(1);
    assert_eq!(
        cx.heartbeat("g", &members[0]),
        Some(ErrorCode::RebalanceInProgress)
    );
}

#[test]
fn a_group_whose_last_member_goes_is_empty_with_a_new_generation_in_the_log() {
    for leave in [true, false] {
        let mut cx = TestContext::new();
        let members = cx.stable_group("g", 1);
        if leave {
            assert_eq!(cx.leave("g", &[(&members[0].member_id, None)]), [None]);
        } else {
            cx.advance(10_000);
        }
        assert_eq!(cx.state("g"), "Empty");
        let Some(GroupRecord::Group {
            value: Some(metadata),
            ..
        }) = cx.log.last()
        else {
            panic!("{:?}", cx.log);
        };
        assert_eq!(
            (
                metadata.generation_id,
                metadata.members.len(),
                &*metadata.protocol_type
            ),
            (2, 0, "consumer")
        );
        assert_eq!((&metadata.leader, &metadata.protocol_name), (&None, &None));
        cx.crash();
        assert_eq!(cx.state("g"), "Empty");
        let id = cx.new_member_id("g");
        let token = cx.join("g", &id);
        assert_eq!(
            cx.join_reply(token).generation_id,
            3,
            "generations go on counting"
        );
    }
}

#[test]
fn members_leave_together_with_one_rebalance_and_an_answer_each() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 3);
    let rebalances =
        |cx: &TestContext| cx.notes_of(|kind| matches!(kind, NoteKind::Rebalance { .. }));
    let before = rebalances(&cx);
    let errors = cx.leave(
        "g",
        &[
            (&members[1].member_id, None),
            ("stranger", None),
            (&members[2].member_id, None),
        ],
    );
    assert_eq!(errors, [None, Some(ErrorCode::UnknownMemberId), None]);
    assert_eq!(rebalances(&cx), before + 1);
    assert_eq!(
        cx.heartbeat("g", &members[0]),
        Some(ErrorCode::RebalanceInProgress)
    );
}

#[test]
fn leaving_a_group_that_does_not_exist_is_unknown_member_id_for_each() {
    let mut cx = TestContext::new();
    let errors = cx.leave("g", &[("a", None), ("b", Some("i"))]);
    assert_eq!(errors, [Some(ErrorCode::UnknownMemberId); 2]);
    let request = LeaveGroup {
        group_id: "".into(),
        members: Vec::new(),
    };
    let token = cx.send(GroupRequest::Leave(request));
    let expected = LeaveReply {
        error: Some(ErrorCode::InvalidGroupId),
        members: Vec::new(),
    };
    assert_eq!(cx.reply(token), GroupReply::Leave(expected));
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance_id() {
    let mut cx = TestContext::new();
    let token = cx.join_static("g", "", "i");
    let member = Joined {
        member_id: cx.join_reply(token).member_id,
        generation_id: 1,
    };
    cx.sync_all("g", std::slice::from_ref(&member));
    assert_eq!(
        cx.leave("g", &[("", Some("other")), ("", None)]),
        [Some(ErrorCode::UnknownMemberId); 2]
    );
    assert_eq!(cx.state("g"), "Stable");
    assert_eq!(cx.leave("g", &[("", Some("i"))]), [None]);
    assert_eq!(cx.state("g"), "Empty");
}

#[test]
fn a_pending_member_can_leave() {
    let mut cx = TestContext::new();
    let id = cx.new_member_id("g");
    assert_eq!(cx.leave("g", &[(&id, None)]), [None]);
    let token = cx.join("g", &id);
    assert_eq!(cx.join_error(token), ErrorCode::UnknownMemberId);
}

#[test]
fn a_rebalance_goes_on_when_the_member_it_waits_for_leaves() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    let waiting = cx.join("g", &members[0].member_id);
    assert!(cx.is_parked(waiting));
    assert_eq!(cx.leave("g", &[(&members[1].member_id, None)]), [None]);
    assert_eq!(cx.join_reply(waiting).members.len(), 1);
}

#[test]
fn a_member_that_leaves_while_its_join_waits_gets_an_answer() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    let waiting = cx.join("g", &members[0].member_id);
    cx.leave("g", &[(&members[0].member_id, None)]);
    let reply = cx.join_reply(waiting);
    assert_eq!(
        (reply.error, &*reply.member_id),
        (Some(ErrorCode::UnknownMemberId), "")
    );
}

#[test]
fn a_leader_that_leaves_is_replaced() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 3);
    cx.leave("g", &[(&members[0].member_id, None)]);
    let tokens = [1, 2].map(|index| cx.join("g", &members[index].member_id));
    for token in tokens {
        assert_eq!(cx.join_reply(token).leader, members[1].member_id);
    }
}

#[test]
fn what_is_parked_when_the_shard_is_given_up_gets_the_error() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    let joining = cx.join("g", &members[0].member_id);
    let token = cx.join_static("h", "", "i");
    assert_eq!(cx.join_reply(token).generation_id, 1);
    cx.crash();
    assert_eq!(cx.join_error(joining), ErrorCode::NotCoordinator);
}
