use protocol_shim::ErrorCode;

use crate::machine::Token;

use super::{
    super::*,
    context::{Joined, TestContext, commit_topic, protocol},
};

/// A stable group of static members with these instance ids; the first is its leader.
fn static_group(cx: &mut TestContext, instance_ids: &[&str]) -> Vec<Joined> {
    cx.serve_deadlines = false;
    let tokens: Vec<Token> = instance_ids
        .iter()
        .map(|id| cx.join_static("g", "", id))
        .collect();
    cx.serve_deadlines = true;
    cx.serve();
    let joined = tokens.into_iter().map(|token| {
        let JoinReply {
            member_id,
            generation_id,
            ..
        } = cx.join_reply(token);
        Joined {
            member_id,
            generation_id,
        }
    });
    let members: Vec<Joined> = joined.collect();
    cx.sync_all("g", &members);
    members
}

#[test]
fn a_static_member_joins_at_once_under_an_id_made_of_its_instance_id() {
    let mut cx = TestContext::new();
    let members = static_group(&mut cx, &["i"]);
    assert!(members[0].member_id.starts_with("i-"), "{:?}", members[0]);
    assert_eq!(members[0].generation_id, 1);
}

#[test]
fn a_restarted_static_member_takes_its_place_again_without_a_rebalance() {
    let mut cx = TestContext::new();
    let members = static_group(&mut cx, &["i", "j"]);
    let token = cx.join_static("g", "", "j");
    let reply = cx.join_reply(token);
    assert_eq!(
        (reply.error, reply.generation_id, &reply.leader),
        (None, 1, &members[0].member_id)
    );
    assert_ne!(reply.member_id, members[1].member_id);
    assert!(!reply.skip_assignment);
    let again = Joined {
        member_id: reply.member_id,
        generation_id: 1,
    };
    let token = cx.sync("g", &again, &[]);
    let reply = cx.sync_reply(token);
    assert_eq!(
        (reply.error, &*reply.assignment),
        (None, members[1].member_id.as_bytes())
    );
    assert_eq!(cx.heartbeat("g", &members[0]), None);
    assert_eq!(cx.state("g"), "Stable");
}

#[test]
fn the_new_id_of_a_restarted_static_member_survives_a_crash() {
    let mut cx = TestContext::new();
    static_group(&mut cx, &["i", "j"]);
    let token = cx.join_static("g", "", "j");
    let again = Joined {
        member_id: cx.join_reply(token).member_id,
        generation_id: 1,
    };
    cx.crash();
    assert_eq!(cx.heartbeat_as("g", &again, Some("j")), None);
}

#[test]
fn a_restarted_static_leader_skips_the_assignment_from_version_9_on() {
    let mut cx = TestContext::new();
    static_group(&mut cx, &["i", "j"]);
    let token = cx.join_static("g", "", "i");
    let reply = cx.join_reply(token);
    assert_eq!(
        (
            reply.leader == reply.member_id,
            reply.skip_assignment,
            reply.members.len()
        ),
        (true, true, 2)
    );
}

#[test]
fn a_restarted_static_leader_of_an_older_version_is_told_that_its_old_self_leads() {
    let mut cx = TestContext::new();
    let members = static_group(&mut cx, &["i", "j"]);
    let token = cx.join_with("g", "", |request| {
        (request.group_instance_id, request.api_version) = (Some("i".into()), 8);
    });
    let reply = cx.join_reply(token);
    assert_eq!(
        (&reply.leader, reply.skip_assignment),
        (&members[0].member_id, false)
    );
    assert!(reply.members.is_empty());
}

#[test]
fn the_old_id_of_a_replaced_static_member_is_fenced_everywhere() {
    let mut cx = TestContext::new();
    let members = static_group(&mut cx, &["i", "j"]);
    cx.join_static("g", "", "j");
    let old = &members[1];
    let fenced = ErrorCode::FencedInstanceId;
    assert_eq!(cx.heartbeat_as("g", old, Some("j")), Some(fenced));
    let token = cx.join_static("g", &old.member_id, "j");
    assert_eq!(cx.join_error(token), fenced);
    let token = cx.sync_with("g", old, &[], |request| {
        request.group_instance_id = Some("j".into())
    });
    assert_eq!(cx.sync_reply(token).error, Some(fenced));
    assert_eq!(
        cx.commit_with("g", old, 1, |request| request.group_instance_id =
            Some("j".into())),
        Some(fenced)
    );
    assert_eq!(
        cx.leave("g", &[(&old.member_id, Some("j"))]),
        [Some(fenced)]
    );
    assert_eq!(cx.heartbeat("g", old), Some(ErrorCode::UnknownMemberId));
}

#[test]
fn requests_parked_by_a_replaced_static_member_are_fenced() {
    let mut cx = TestContext::new();
    let members = static_group(&mut cx, &["i", "j", "k"]);
    let changed = vec![protocol("range", &["other"])];
    let parked = cx.join_with("g", &members[1].member_id, |request| {
        (request.group_instance_id, request.protocols) = (Some("j".into()), changed);
    });
    assert!(cx.is_parked(parked));
    let replacement = cx.join_static("g", "", "j");
    let reply = cx.join_reply(parked);
    assert_eq!(
        (reply.error, reply.member_id),
        (
            Some(ErrorCode::FencedInstanceId),
            members[1].member_id.clone()
        )
    );
    assert!(cx.is_parked(replacement));

    let tokens =
        [(0, "i"), (2, "k")].map(|(index, id)| cx.join_static("g", &members[index].member_id, id));
    let follower = Joined {
        member_id: cx.join_reply(tokens[1]).member_id,
        generation_id: 2,
    };
    let parked = cx.sync("g", &follower, &[]);
    assert!(cx.is_parked(parked));
    let replacement = cx.join_static("g", "", "k");
    assert_eq!(
        cx.sync_reply(parked).error,
        Some(ErrorCode::FencedInstanceId)
    );
    assert!(
        cx.is_parked(replacement),
        "the leader may be assigning to the old id, so everybody joins again"
    );
    assert_eq!(cx.state("g"), "PreparingRebalance");
}

#[test]
fn a_static_member_that_comes_back_with_another_protocol_rebalances_the_group() {
    let mut cx = TestContext::new();
    let both = || vec![protocol("range", &[]), protocol("sticky", &[])];
    let token = cx.join_with("g", "", |request| {
        (request.group_instance_id, request.protocols) = (Some("i".into()), both());
    });
    let member = Joined {
        member_id: cx.join_reply(token).member_id,
        generation_id: 1,
    };
    cx.sync_all("g", &[member]);
    let token = cx.join_with("g", "", |request| {
        let mut protocols = both();
        protocols.reverse();
        (request.group_instance_id, request.protocols) = (Some("i".into()), protocols);
    });
    let reply = cx.join_reply(token);
    assert_eq!(
        (reply.generation_id, reply.protocol_name.as_deref()),
        (2, Some("sticky"))
    );
}

#[test]
fn a_static_member_stays_through_a_rebalance_it_misses_until_its_session_ends() {
    let mut cx = TestContext::new();
    let members = static_group(&mut cx, &["i", "j"]);
    let first = cx.join_static("g", &members[0].member_id, "i");
    cx.advance(9_000);
    assert_eq!(
        cx.heartbeat_as("g", &members[1], Some("j")),
        Some(ErrorCode::RebalanceInProgress)
    );
    cx.advance(9_999);
    assert!(cx.is_parked(first));
    cx.advance(1);
    assert_eq!(cx.join_reply(first).members.len(), 1);
}

#[test]
fn a_static_member_that_outlives_the_rebalance_timeout_is_in_the_next_generation_and_has_to_sync() {
    let mut cx = TestContext::new();
    let members = static_group(&mut cx, &["i", "j"]);
    let first = cx.join_static("g", &members[0].member_id, "i");
    for _ in 0..7 {
        cx.heartbeat_as("g", &members[1], Some("j"));
        cx.advance(9_000);
    }
    let reply = cx.join_reply(first);
    assert_eq!((reply.generation_id, reply.members.len()), (2, 2));
    assert_eq!(
        cx.heartbeat_as("g", &members[1], Some("j")),
        Some(ErrorCode::IllegalGeneration)
    );
    let leader = Joined {
        member_id: reply.member_id,
        generation_id: 2,
    };
    cx.sync("g", &leader, &[]);
    for _ in 0..7 {
        assert_eq!(cx.state("g"), "Stable");
        assert_eq!(cx.heartbeat_as("g", &leader, Some("i")), None);
        let absent = Joined {
            generation_id: 2,
            ..members[1].clone()
        };
        assert_eq!(cx.heartbeat_as("g", &absent, Some("j")), None);
        cx.advance(9_000);
    }
    assert_eq!(
        cx.state("g"),
        "PreparingRebalance",
        "the absent one did not sync in time"
    );
}

#[test]
fn a_rebalance_without_any_static_member_back_waits_for_one() {
    let mut cx = TestContext::new();
    let long = |request: &mut JoinGroup, id: &str| {
        (request.group_instance_id, request.session_timeout_ms) = (Some(id.into()), 600_000);
    };
    let token = cx.join_with("g", "", |request| long(request, "i"));
    let member = Joined {
        member_id: cx.join_reply(token).member_id,
        generation_id: 1,
    };
    cx.sync_all("g", std::slice::from_ref(&member));
    let id = cx.new_member_id("g");
    let newcomer = cx.join("g", &id);
    assert_eq!(cx.leave("g", &[(&id, None)]), [None]);
    assert_eq!(cx.join_error(newcomer), ErrorCode::UnknownMemberId);
    cx.advance(200_000);
    assert_eq!(cx.state("g"), "PreparingRebalance");
    let token = cx.join_with("g", &member.member_id, |request| long(request, "i"));
    assert_eq!(cx.join_reply(token).generation_id, 2);
}

#[test]
fn an_instance_id_without_a_member_is_unknown() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    assert_eq!(
        cx.heartbeat_as("g", &members[0], Some("i")),
        Some(ErrorCode::UnknownMemberId)
    );
}

#[test]
fn a_static_member_that_does_not_sync_after_its_restart_still_counts_as_missing() {
    let mut cx = TestContext::new();
    cx.serve_deadlines = false;
    let tokens = ["i", "j"].map(|id| cx.join_static("g", "", id));
    cx.serve_deadlines = true;
    cx.serve();
    let leader = Joined {
        member_id: cx.join_reply(tokens[0]).member_id,
        generation_id: 1,
    };
    cx.sync("g", &leader, &[]);
    let token = cx.join_static("g", "", "j");
    let restarted = Joined {
        member_id: cx.join_reply(token).member_id,
        generation_id: 1,
    };
    for _ in 0..7 {
        cx.heartbeat_as("g", &leader, Some("i"));
        assert_eq!(cx.heartbeat_as("g", &restarted, Some("j")), None);
        cx.advance(9_000);
    }
    assert_eq!(
        cx.heartbeat_as("g", &restarted, Some("j")),
        Some(ErrorCode::UnknownMemberId)
    );
    assert_eq!(
        cx.heartbeat_as("g", &leader, Some("i")),
        Some(ErrorCode::RebalanceInProgress)
    );
}

#[test]
fn a_static_member_that_comes_back_with_another_subscription_keeps_its_new_topics_from_being_forgotten()
 {
    let mut cx = TestContext::new();
    let members = static_group(&mut cx, &["i"]);
    cx.commit_with("g", &members[0], 1, |request| {
        request.topics = vec![commit_topic("other", 1)]
    });
    let token = cx.join_with("g", "", |request| {
        (request.group_instance_id, request.protocols) =
            (Some("i".into()), vec![protocol("range", &["other"])]);
    });
    assert_eq!(cx.join_reply(token).generation_id, 1);
    assert_eq!(
        cx.delete_offset("g", "other"),
        Some(ErrorCode::GroupSubscribedToTopic)
    );
}

#[test]
fn a_static_member_that_comes_back_with_more_than_the_log_takes_is_refused_and_nobody_is_fenced() {
    let mut cx = TestContext::new();
    let joined = cx.join_static("g", "", "instance");
    let member = cx.join_reply(joined);
    let assignments = vec![(member.member_id.clone(), vec![1].into())];
    let token = cx.send(GroupRequest::Sync(SyncGroup {
        group_id: "g".into(),
        generation_id: member.generation_id,
        member_id: member.member_id.clone(),
        group_instance_id: Some("instance".into()),
        protocol_type: None,
        protocol_name: None,
        assignments,
    }));
    assert_eq!(cx.sync_reply(token).error, None);
    cx.set_catalog(|catalog| catalog.max_batch_bytes = Some(1000));
    let returning = cx.join_with("g", "", |request| {
        request.group_instance_id = Some("instance".into());
        request.protocols[0].metadata = vec![0; 990].into();
    });
    assert_eq!(cx.join_error(returning), ErrorCode::UnknownServerError);
    let described = cx.describe("g");
    assert_eq!(described.state, "Stable");
    assert_eq!(described.members[0].member_id, member.member_id);
}
