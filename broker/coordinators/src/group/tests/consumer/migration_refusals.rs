//! Who may not come over, and that nothing changes then.

use super::{mixed::*, *};

fn context_with(edit: impl FnOnce(&mut GroupConfig)) -> TestContext {
    let mut config = GroupConfig {
        consumer_assignment_interval_ms: 0,
        ..GroupConfig::default()
    };
    edit(&mut config);
    let mut cx = TestContext::with_config(config);
    cx.set_catalog(|catalog| catalog.put("t", 6));
    cx
}

/// A consumer tries to join; the group stays what it is.
fn refused_upgrade(cx: &mut TestContext) -> String {
    let length = cx.log.len();
    let reply = cx.consumer_heartbeat(Consumer::new("g", "new", &["t"]).full());
    let refusal = reply.refusal.expect("a refusal");
    assert_eq!(refusal.error, ErrorCode::GroupIdNotFound);
    assert_eq!((cx.type_of("g"), cx.log.len()), ("classic", length));
    refusal.message
}

#[test]
fn a_policy_is_known_by_its_name_in_any_case() {
    assert_eq!(
        MigrationPolicy::from_name("Upgrade"),
        Some(MigrationPolicy::Upgrade)
    );
    assert_eq!(MigrationPolicy::from_name("sideways"), None);
    for (name, up, down) in [
        ("disabled", false, false),
        ("downgrade", false, true),
        ("upgrade", true, false),
        ("bidirectional", true, true),
    ] {
        let policy = MigrationPolicy::from_name(name).expect("it is one");
        assert_eq!((policy.may_upgrade(), policy.may_downgrade()), (up, down));
    }
}

#[test]
fn without_upgrades_a_classic_group_takes_no_consumer() {
    for policy in [MigrationPolicy::Disabled, MigrationPolicy::Downgrade] {
        let mut cx = context_with(|config| config.migration_policy = policy);
        let classic = cx.classic_group("g", 2);
        let message = refused_upgrade(&mut cx);
        assert!(message.contains("upgrade is disabled"), "{message}");
        assert_eq!(cx.beat_as(&classic[0]), None);
    }
}

#[test]
fn only_groups_of_plain_consumers_can_be_upgraded() {
    let mut cx = context();
    let token = cx.join_with("g", "", |request| {
        request.api_version = 3;
        request.protocol_type = "connect".into();
    });
    assert_eq!(cx.join_reply(token).error, None);
    let message = refused_upgrade(&mut cx);
    assert!(message.contains("does not use the consumer embedded protocol"));
}

#[test]
fn members_that_cannot_be_understood_are_not_taken_over() {
    let mut cx = context();
    let token = cx.join_with("g", "", |request| {
        request.api_version = 3;
        request.protocols[0].metadata = vec![0, 1, 0, 0].into();
    });
    assert_eq!(cx.join_reply(token).error, None);
    let message = refused_upgrade(&mut cx);
    assert!(message.contains("malformed"), "{message}");
}

#[test]
fn an_assignor_with_data_of_its_own_cannot_be_replaced() {
    let mut cx = context();
    let mut members = [Classic::new("g", &["t"])];
    cx.divide(&mut members, b"mine");
    let message = refused_upgrade(&mut cx);
    assert_eq!(
        message,
        "Cannot upgrade classic group g to consumer group because an unsupported custom assignor is in use. Please refer to the \
         documentation or switch to a default assignor before re-attempting the upgrade."
    );
}

#[test]
fn a_classic_group_too_large_for_a_consumer_group_stays() {
    let mut cx = context_with(|config| config.consumer_max_size = 1);
    cx.classic_group("g", 2);
    let message = refused_upgrade(&mut cx);
    assert!(message.contains("exceeds"), "{message}");
    let mut cx = context_with(|config| config.consumer_max_size = 2);
    cx.classic_group("g", 2);
    let new = Consumer::new("g", "new", &["t"]).full();
    assert_eq!(cx.refused(new), ErrorCode::GroupMaxSizeReached);
    assert_eq!(cx.type_of("g"), "classic");
}

#[test]
fn a_refused_consumer_leaves_waiting_members_waiting() {
    let mut cx = context_with(|config| config.consumer_max_size = 2);
    let classic = cx.classic_group("g", 2);
    let join = cx.send_join(&classic[0]);
    let new = Consumer::new("g", "new", &["t"]).full();
    assert_eq!(cx.refused(new), ErrorCode::GroupMaxSizeReached);
    assert!(cx.is_parked(join));
}

#[test]
fn a_heartbeat_that_does_not_join_finds_no_consumer_group() {
    let mut cx = context();
    cx.classic_group("g", 1);
    let stranger = Consumer {
        epoch: 1,
        ..Consumer::new("g", "new", &["t"])
    };
    assert_eq!(cx.refused(stranger.quiet()), ErrorCode::GroupIdNotFound);
}

#[test]
fn a_classic_member_may_not_join_a_consumer_group_for_five_reasons() {
    let mut cx = context_with(|config| config.consumer_max_size = 2);
    cx.settled("g", 1);
    let mut first = Classic::new("g", &["t"]);
    let length = cx.log.len();
    let mut error_of = |edit: &dyn Fn(&mut JoinGroup)| {
        let protocol = first.protocol();
        let token = cx.join_with("g", "new", |request| {
            request.protocols = vec![protocol];
            edit(request);
        });
        let error = cx.join_error(token);
        assert_eq!(cx.log.len(), length);
        error
    };
    let inconsistent = ErrorCode::InconsistentGroupProtocol;
    let connect = |request: &mut JoinGroup| request.protocol_type = "connect".into();
    assert_eq!(error_of(&connect), inconsistent);
    assert_eq!(error_of(&|request| request.protocols.clear()), inconsistent);
    let cut = |request: &mut JoinGroup| request.protocols[0].metadata = vec![0].into();
    assert_eq!(error_of(&cut), ErrorCode::InconsistentGroupProtocol);
    let named = |request: &mut JoinGroup| request.group_instance_id = Some("i".into());
    assert_eq!(error_of(&named), ErrorCode::UnknownMemberId);
    let hasty = |request: &mut JoinGroup| request.session_timeout_ms = 1;
    assert_eq!(error_of(&hasty), ErrorCode::InvalidSessionTimeout);

    assert_eq!(cx.join_as(&mut first).error, None);
    let token = cx.send_join(&Classic::new("g", &["t"]));
    assert_eq!(cx.join_error(token), ErrorCode::GroupMaxSizeReached);
}

#[test]
fn classic_members_must_have_a_protocol_in_common() {
    let mut cx = context();
    cx.settled("g", 1);
    cx.join_as(&mut Classic::new("g", &["t"]));
    let token = cx.join_with("g", "other", |request| {
        request.protocols = vec![protocol("roundrobin", &["t"])];
    });
    let inconsistent = ErrorCode::InconsistentGroupProtocol;
    assert_eq!(cx.join_error(token), inconsistent);
    let token = cx.join_with("g", "other", |request| {
        request.protocols = vec![protocol("roundrobin", &["t"]), protocol("range", &["t"])];
    });
    let reply = cx.join_reply(token);
    // What it prefers is the name it knows its generation by: nobody has to agree on one.
    assert_eq!(reply.protocol_name.as_deref(), Some("roundrobin"));
    let joined = Joined {
        member_id: reply.member_id,
        generation_id: reply.generation_id,
    };
    let sync = cx.sync("g", &joined, &[]);
    assert_eq!(cx.sync_reply(sync).error, Some(inconsistent));
    let sync = cx.sync_with("g", &joined, &[], |request| {
        request.protocol_name = Some("roundrobin".into());
    });
    assert_eq!(cx.sync_reply(sync).error, None);
}

#[test]
fn without_migration_a_consumer_group_takes_no_classic_member() {
    let mut cx = context_with(|config| config.migration_policy = MigrationPolicy::Disabled);
    let members = cx.settled("g", 1);
    let token = cx.send_join(&Classic::new("g", &["t"]));
    assert_eq!(cx.join_error(token), ErrorCode::InconsistentGroupProtocol);
    cx.leave_consumer(&members[0], -1);
    cx.classic_group("g", 1);
    assert_eq!(
        cx.type_of("g"),
        "classic",
        "an empty group always may change"
    );
}

#[test]
fn instance_ids_are_checked_in_every_request_of_a_classic_member() {
    let mut cx = context();
    let mut classic = [Classic::new("g", &["t"]).named("i")];
    let mut consumers = [Consumer::new("g", "c", &["t"])];
    cx.settle_both(&mut classic, &mut consumers);
    let fenced = Some(ErrorCode::FencedInstanceId);
    let stranger = Classic {
        member_id: "x".into(),
        ..classic[0].clone()
    };
    assert_eq!(cx.beat_as(&stranger), fenced);
    assert_eq!(cx.sync_as(&mut stranger.clone()), fenced);
    assert_eq!(cx.join_as(&mut stranger.clone()).error, fenced);
    assert_eq!(cx.leave("g", &[("x", Some("i"))]), [fenced]);
    let unknown = Some(ErrorCode::UnknownMemberId);
    assert_eq!(cx.leave("g", &[("x", Some("j"))]), [unknown]);
    let other = classic[0].clone().named("j");
    assert_eq!(cx.beat_as(&other), unknown);
}

#[test]
fn a_partition_that_a_leader_gave_to_two_members_stays_with_one() {
    let mut cx = context();
    let ids: Vec<MemberId> = (0..2).map(|_| cx.new_member_id("g")).collect();
    cx.serve_deadlines = false;
    let joins: Vec<Token> = ids.iter().map(|id| cx.join("g", id)).collect();
    cx.serve_deadlines = true;
    cx.serve();
    let leader = cx.join_reply(joins[0]);
    let leader = Joined {
        member_id: leader.leader,
        generation_id: leader.generation_id,
    };
    let token = cx.sync_with("g", &leader, &[], |request| {
        let both = ids
            .iter()
            .map(|id| (id.clone(), assignment(&of_t(0..6), b"")));
        request.assignments = both.collect();
    });
    assert_eq!(cx.sync_reply(token).error, None);
    cx.beat(&mut Consumer::new("g", "new", &["t"]));
    let described = cx.describe_consumer("g").members;
    let assigned = described.iter().flat_map(|member| &member.assignment);
    let count: usize = assigned.map(|topic| topic.partitions.len()).sum();
    assert_eq!(count, 6);
}
