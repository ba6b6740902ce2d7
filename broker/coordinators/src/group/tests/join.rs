use protocol_shim::ErrorCode;

use super::{
    super::*,
    context::{Joined, TestContext, protocol},
};

fn delayed(initial_rebalance_delay_ms: i32) -> TestContext {
    TestContext::with_config(GroupConfig {
        initial_rebalance_delay_ms,
        ..GroupConfig::default()
    })
}

fn sized(max_size: usize) -> TestContext {
    TestContext::with_config(GroupConfig {
        max_size,
        ..GroupConfig::default()
    })
}

#[test]
fn a_join_without_a_group_id_is_invalid_group_id() {
    let mut cx = TestContext::new();
    let token = cx.join("", "");
    assert_eq!(cx.join_error(token), ErrorCode::InvalidGroupId);
}

#[test]
fn a_session_timeout_outside_the_allowed_range_is_invalid() {
    let mut cx = TestContext::new();
    for (timeout_ms, accepted) in [
        (5_999, false),
        (6_000, true),
        (1_800_000, true),
        (1_800_001, false),
    ] {
        let token = cx.join_with("g", "", |request| request.session_timeout_ms = timeout_ms);
        let expected = if accepted {
            ErrorCode::MemberIdRequired
        } else {
            ErrorCode::InvalidSessionTimeout
        };
        assert_eq!(cx.join_error(token), expected, "{timeout_ms}");
    }
}

#[test]
fn a_member_id_in_an_unknown_group_is_unknown_and_creates_nothing() {
    let mut cx = TestContext::new();
    let token = cx.join("g", "m");
    let reply = cx.join_reply(token);
    assert_eq!(
        (reply.error, &*reply.member_id),
        (Some(ErrorCode::UnknownMemberId), "m")
    );
    assert!(cx.list(&[], &[]).is_empty());
    assert!(cx.log.is_empty());
}

#[test]
fn a_new_group_is_in_the_log_before_its_first_generation() {
    let mut cx = TestContext::new();
    cx.new_member_id("g");
    assert_eq!(cx.log.len(), 1);
    cx.crash();
    assert_eq!(cx.state("g"), "Empty");
}

#[test]
fn a_dynamic_member_needs_an_id_from_version_4_on_and_gets_one_made_of_client_id_and_uuid() {
    let mut cx = TestContext::new();
    let token = cx.join_with("g", "", |request| {
        request.member_uuid = uuid::Uuid::from_u128(0xabc)
    });
    let reply = cx.join_reply(token);
    assert_eq!(reply.error, Some(ErrorCode::MemberIdRequired));
    assert_eq!(
        &*reply.member_id,
        "client-00000000-0000-0000-0000-000000000abc"
    );
    assert_eq!(
        (
            reply.generation_id,
            reply.protocol_name.as_deref(),
            &*reply.leader
        ),
        (-1, Some(""), "")
    );
    assert_eq!(cx.state("g"), "Empty");

    let token = cx.join_with("old", "", |request| request.api_version = 3);
    let reply = cx.join_reply(token);
    assert_eq!((reply.error, reply.generation_id), (None, 1));
}

#[test]
fn a_pending_member_that_does_not_come_back_within_its_session_timeout_is_forgotten() {
    let mut cx = TestContext::new();
    let id = cx.new_member_id("g");
    cx.advance(9_999);
    let in_time = cx.new_member_id("g");
    cx.advance(1);
    let late = cx.join("g", &id);
    assert_eq!(cx.join_error(late), ErrorCode::UnknownMemberId);
    let token = cx.join("g", &in_time);
    assert_eq!(cx.join_reply(token).generation_id, 1);
}

#[test]
fn a_pending_member_id_with_an_instance_id_is_refused() {
    let mut cx = TestContext::new();
    let id = cx.new_member_id("g");
    let token = cx.join_static("g", &id, "i");
    assert_eq!(cx.join_error(token), ErrorCode::UnknownServerError);
}

#[test]
fn the_first_member_leads_and_only_the_leader_sees_the_members() {
    let mut cx = TestContext::new();
    cx.serve_deadlines = false;
    let ids = [cx.new_member_id("g"), cx.new_member_id("g")];
    let tokens = [cx.join("g", &ids[1]), cx.join("g", &ids[0])];
    assert_eq!(
        cx.parked(),
        tokens,
        "the join phase of an empty group ends by its timer"
    );
    cx.serve();
    let [leader, follower] = tokens.map(|token| cx.join_reply(token));
    for reply in [&leader, &follower] {
        assert_eq!(
            (reply.error, reply.generation_id, &reply.leader),
            (None, 1, &ids[1])
        );
        assert_eq!(reply.protocol_name.as_deref(), Some("range"));
        assert_eq!(reply.protocol_type.as_deref(), Some("consumer"));
        assert!(!reply.skip_assignment);
    }
    assert_eq!(leader.members.len(), 2);
    assert_eq!(
        leader.members[0].metadata,
        protocol("range", &["topic"]).metadata
    );
    assert!(follower.members.is_empty());
    assert_eq!(cx.state("g"), "CompletingRebalance");
}

#[test]
fn an_empty_group_takes_any_protocol_but_not_none() {
    let mut cx = TestContext::new();
    let no_type = cx.join_with("g", "", |request| request.protocol_type = "".into());
    let no_protocol = cx.join_with("g", "", |request| request.protocols.clear());
    for token in [no_type, no_protocol] {
        assert_eq!(cx.join_error(token), ErrorCode::InconsistentGroupProtocol);
    }
    assert!(
        cx.list(&[], &[]).is_empty(),
        "a refused join leaves no group behind"
    );
    let token = cx.join_with("g", "", |request| {
        request.protocol_type = "connect".into();
        request.protocols = vec![protocol("sessioned", &[])];
    });
    assert_eq!(cx.join_error(token), ErrorCode::MemberIdRequired);
}

#[test]
fn a_member_must_share_protocol_type_and_a_protocol_with_all_others() {
    let mut cx = TestContext::new();
    cx.stable_group("g", 2);
    let other_type = cx.join_with("g", "", |request| request.protocol_type = "connect".into());
    let other_protocol = cx.join_with("g", "", |request| {
        request.protocols = vec![protocol("sticky", &[])]
    });
    for token in [other_type, other_protocol] {
        assert_eq!(cx.join_error(token), ErrorCode::InconsistentGroupProtocol);
    }
    assert_eq!(cx.state("g"), "Stable");
    let token = cx.join_with("g", "", |request| {
        request.protocols = vec![protocol("sticky", &[]), protocol("range", &[])];
    });
    assert_eq!(cx.join_error(token), ErrorCode::MemberIdRequired);
}

#[test]
fn the_protocol_is_the_one_most_members_prefer_among_those_all_support() {
    let mut cx = TestContext::new();
    cx.serve_deadlines = false;
    let preferences = [
        ["a", "b", "only-1"],
        ["b", "a", "only-2"],
        ["b", "a", "only-3"],
    ];
    let tokens = preferences.map(|names| {
        cx.join_with("g", "", |request| {
            request.api_version = 3;
            request.protocols = names.map(|name| protocol(name, &[])).into();
        })
    });
    cx.serve();
    for token in tokens {
        assert_eq!(cx.join_reply(token).protocol_name.as_deref(), Some("b"));
    }
}

#[test]
fn a_protocol_named_twice_counts_once() {
    let mut cx = TestContext::new();
    let id = cx.new_member_id("g");
    let twice = vec![protocol("range", &[]), protocol("range", &["other"])];
    let token = cx.join_with("g", &id, |request| request.protocols = twice);
    assert_eq!(cx.join_reply(token).protocol_name.as_deref(), Some("range"));
}

#[test]
fn a_new_member_in_a_stable_group_makes_the_others_rejoin() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    let id = cx.new_member_id("g");
    assert_eq!(
        cx.heartbeat("g", &members[0]),
        None,
        "a pending member alone disturbs nobody"
    );
    let newcomer = cx.join("g", &id);
    assert!(cx.is_parked(newcomer));
    assert_eq!(
        cx.heartbeat("g", &members[0]),
        Some(ErrorCode::RebalanceInProgress)
    );
    let first = cx.join("g", &members[0].member_id);
    assert!(cx.is_parked(first));
    let second = cx.join("g", &members[1].member_id);
    for token in [newcomer, first, second] {
        assert_eq!(cx.join_reply(token).generation_id, 2);
    }
    assert_eq!(cx.join_reply(first).members.len(), 3);
}

#[test]
fn a_pending_member_is_waited_for_in_a_rebalance() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    let id = cx.new_member_id("g");
    let first = cx.join("g", &members[0].member_id);
    assert!(cx.is_parked(first));
    let second = cx.join("g", &id);
    assert_eq!(cx.join_reply(first).members.len(), 2);
    assert_eq!(cx.join_reply(second).generation_id, 2);
}

#[test]
fn a_rebalance_goes_on_when_the_pending_member_it_waits_for_gives_up() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    cx.new_member_id("g");
    let first = cx.join("g", &members[0].member_id);
    cx.advance(9_999);
    assert!(cx.is_parked(first));
    cx.advance(1);
    assert_eq!(cx.join_reply(first).generation_id, 2);
}

#[test]
fn members_that_miss_the_rebalance_timeout_are_removed() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    // Longer than the rebalance timeout, so that it is this one that counts.
    let id = cx.new_member_id("g");
    let newcomer = cx.join_with("g", &id, |request| request.session_timeout_ms = 100_000);
    for _ in 0..6 {
        cx.advance(9_000);
        assert_eq!(
            cx.heartbeat("g", &members[0]),
            Some(ErrorCode::RebalanceInProgress)
        );
        assert_eq!(
            cx.heartbeat("g", &members[1]),
            Some(ErrorCode::RebalanceInProgress)
        );
    }
    let first = cx.join("g", &members[0].member_id);
    cx.advance(5_999);
    assert!(cx.is_parked(first));
    cx.advance(1);
    assert_eq!(cx.join_reply(first).members.len(), 2);
    assert_eq!(cx.join_reply(newcomer).error, None);
    assert_eq!(
        cx.heartbeat("g", &members[1]),
        Some(ErrorCode::UnknownMemberId)
    );
}

#[test]
fn a_leader_that_does_not_rejoin_in_time_gives_way_to_a_member_that_has() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 3);
    let tokens = [
        cx.join_with("g", &members[1].member_id, |request| {
            request.protocols = vec![protocol("range", &["t2"])]
        }),
        cx.join("g", &members[2].member_id),
    ];
    cx.advance(60_000);
    for token in tokens {
        assert_eq!(cx.join_reply(token).leader, members[1].member_id);
    }
    assert_eq!(cx.join_reply(tokens[0]).members.len(), 2);
}

#[test]
fn a_follower_that_rejoins_unchanged_gets_its_generation_again_without_a_rebalance() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    let token = cx.join("g", &members[1].member_id);
    let reply = cx.join_reply(token);
    assert_eq!(
        (reply.error, reply.generation_id, &reply.leader),
        (None, 1, &members[0].member_id)
    );
    assert!(reply.members.is_empty());
    assert_eq!(cx.state("g"), "Stable");
}

#[test]
fn a_leader_that_rejoins_a_stable_group_forces_a_rebalance() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    let token = cx.join("g", &members[0].member_id);
    assert!(cx.is_parked(token));
    assert_eq!(cx.state("g"), "PreparingRebalance");
}

#[test]
fn a_follower_whose_subscription_changed_forces_a_rebalance() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    let token = cx.join_with("g", &members[1].member_id, |request| {
        request.protocols = vec![protocol("range", &["other"])]
    });
    assert!(cx.is_parked(token));
    assert_eq!(
        cx.heartbeat("g", &members[0]),
        Some(ErrorCode::RebalanceInProgress)
    );
}

#[test]
fn a_member_that_lost_its_join_reply_gets_it_again_while_the_assignment_is_awaited() {
    let mut cx = TestContext::new();
    let id = cx.new_member_id("g");
    let first = cx.join("g", &id);
    let again = cx.join("g", &id);
    assert_eq!(cx.join_reply(first), cx.join_reply(again));
    assert_eq!(cx.join_reply(again).members.len(), 1);
    let changed = cx.join_with("g", &id, |request| {
        request.protocols = vec![protocol("range", &["other"])]
    });
    assert_eq!(
        cx.join_reply(changed).generation_id,
        2,
        "a changed subscription is a new generation"
    );
}

#[test]
fn a_join_repeated_while_parked_takes_the_place_of_the_first() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    let first = cx.join("g", &members[0].member_id);
    let again = cx.join("g", &members[0].member_id);
    assert_eq!(cx.join_error(first), ErrorCode::RebalanceInProgress);
    assert_eq!(cx.join_reply(first).member_id, members[0].member_id);
    let other = cx.join("g", &members[1].member_id);
    assert_eq!(cx.join_reply(again).generation_id, 2);
    assert_eq!(cx.join_reply(other).generation_id, 2);
}

#[test]
fn a_member_of_an_unknown_id_is_unknown() {
    let mut cx = TestContext::new();
    cx.stable_group("g", 1);
    let token = cx.join("g", "stranger");
    let reply = cx.join_reply(token);
    assert_eq!(
        (reply.error, &*reply.member_id, reply.protocol_name),
        (Some(ErrorCode::UnknownMemberId), "stranger", None)
    );
}

#[test]
fn the_first_rebalance_waits_its_delay_and_longer_while_members_come() {
    let mut cx = delayed(3_000);
    let id = cx.new_member_id("g");
    let first = cx.join("g", &id);
    cx.advance(2_000);
    let id = cx.new_member_id("g");
    let second = cx.join("g", &id);
    cx.advance(1_000);
    assert!(cx.is_parked(first), "a member came: three more seconds");
    cx.advance(2_999);
    assert!(cx.is_parked(first));
    cx.advance(1);
    assert_eq!(cx.join_reply(first).members.len(), 2);
    assert_eq!(cx.join_reply(second).generation_id, 1);
}

#[test]
fn the_first_rebalance_never_waits_longer_than_the_rebalance_timeout() {
    let mut cx = delayed(3_000);
    let id = cx.new_member_id("g");
    let first = cx.join_with("g", &id, |request| request.rebalance_timeout_ms = 8_000);
    for _ in 0..3 {
        cx.advance(2_500);
        assert!(cx.is_parked(first));
        let id = cx.new_member_id("g");
        cx.join_with("g", &id, |request| request.rebalance_timeout_ms = 8_000);
    }
    cx.advance(500);
    assert_eq!(
        cx.join_reply(first).members.len(),
        4,
        "3 s, 3 s, and the 2 s that were left"
    );
}

#[test]
fn without_a_delay_all_joins_that_are_queued_take_part_in_the_first_generation() {
    let mut cx = TestContext::new();
    assert_eq!(cx.stable_group("g", 5)[4].generation_id, 1);
}

#[test]
fn new_members_are_turned_away_when_the_group_is_full() {
    let mut cx = sized(2);
    let members = cx.stable_group("g", 2);
    let token = cx.join("g", "");
    let reply = cx.join_reply(token);
    assert_eq!(
        (reply.error, &*reply.member_id),
        (Some(ErrorCode::GroupMaxSizeReached), "")
    );
    assert_eq!(cx.heartbeat("g", &members[0]), None);
    let token = cx.join("g", &members[1].member_id);
    assert_eq!(cx.join_reply(token).error, None, "members have their place");
}

#[test]
fn pending_members_beyond_the_limit_are_turned_away_when_they_join() {
    let mut cx = sized(1);
    cx.serve_deadlines = false;
    let ids = [cx.new_member_id("g"), cx.new_member_id("g")];
    let first = cx.join("g", &ids[0]);
    let second = cx.join("g", &ids[1]);
    assert_eq!(cx.join_error(second), ErrorCode::GroupMaxSizeReached);
    cx.serve();
    assert_eq!(cx.join_reply(first).members.len(), 1);
}

#[test]
fn a_group_loaded_above_the_limit_rebalances_and_the_last_to_come_are_turned_away() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 3);
    cx.config.max_size = 2;
    cx.crash();
    assert_eq!(cx.state("g"), "PreparingRebalance");
    let tokens = [0, 1, 2].map(|index| cx.join("g", &members[index].member_id));
    assert_eq!(cx.join_error(tokens[2]), ErrorCode::GroupMaxSizeReached);
    for token in &tokens[..2] {
        assert_eq!(cx.join_reply(*token).generation_id, 2);
    }
}

#[test]
fn a_new_member_parked_in_its_first_join_is_dropped_after_five_minutes() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    let id = cx.new_member_id("g");
    let token = cx.join_with("g", &id, |request| request.rebalance_timeout_ms = 1_000_000);
    for _ in 0..60 {
        assert!(cx.is_parked(token));
        cx.advance(5_000);
        cx.heartbeat("g", &members[0]);
    }
    assert_eq!(cx.join_error(token), ErrorCode::UnknownMemberId);
}

#[test]
fn the_longest_rebalance_timeout_of_the_members_counts_and_version_0_has_the_session_timeout() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    let id = cx.new_member_id("g");
    let token = cx.join_with("g", &id, |request| request.rebalance_timeout_ms = -1);
    for _ in 0..7 {
        assert!(cx.is_parked(token));
        cx.heartbeat("g", &members[0]);
        cx.advance(9_000);
    }
    assert_eq!(
        cx.join_reply(token).generation_id,
        2,
        "60 s, from the other member"
    );
    let alone = cx.join_with("h", "", |request| {
        (request.api_version, request.rebalance_timeout_ms) = (0, -1)
    });
    let reply = cx.join_reply(alone);
    let joined = Joined {
        member_id: reply.member_id,
        generation_id: 1,
    };
    cx.advance(9_999);
    assert_eq!(cx.heartbeat("h", &joined), None);
    cx.advance(1);
    assert_eq!(
        cx.heartbeat("h", &joined),
        Some(ErrorCode::UnknownMemberId),
        "it had 10 s to sync"
    );
}

#[test]
fn the_reason_of_a_client_is_in_the_notes() {
    let mut cx = TestContext::new();
    let id = cx.new_member_id("g");
    cx.join_with("g", &id, |request| request.reason = Some("because".into()));
    let said = |kind: &NoteKind| matches!(kind, NoteKind::Rebalance { reason, .. } if reason.contains("because"));
    assert_eq!(cx.notes_of(said), 1);
}

#[test]
fn ids_that_no_record_could_hold_are_refused_before_they_do_harm() {
    let mut cx = TestContext::new();
    let long: Name = "x".repeat(40_000).into();
    let token = cx.join(&long, "");
    assert_eq!(cx.join_error(token), ErrorCode::InvalidGroupId);
    let edits: [fn(&mut JoinGroup, Name); 4] = [
        |request, long| request.client_id = long,
        |request, long| request.group_instance_id = Some(long.into()),
        |request, long| request.protocol_type = long,
        |request, long| request.protocols = vec![protocol(&long, &[])],
    ];
    for edit in edits {
        let token = cx.join_with("g", "", |request| edit(request, long.clone()));
        assert_eq!(cx.join_error(token), ErrorCode::UnknownServerError);
    }
}
