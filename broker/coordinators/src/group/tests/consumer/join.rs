//! Joining and staying in a consumer group.

use super::*;

#[test]
fn the_first_member_gets_everything_at_once() {
    let mut cx = context();
    let mut consumer = Consumer::new("g", "a", &["t"]);
    cx.beat(&mut consumer);
    assert_eq!((consumer.epoch, consumer.size()), (2, 6));
    assert_eq!(cx.describe_consumer("g").state, "Stable");
}

#[test]
fn members_share_partitions_evenly_and_nothing_has_two_owners() {
    let mut cx = context();
    let consumers = cx.settled("g", 4);
    let mut sizes = sizes(&consumers);
    sizes.sort();
    assert_eq!(sizes, [1, 1, 2, 2]);
    assert_eq!(cx.describe_consumer("g").state, "Stable");
}

#[test]
fn a_member_of_version_0_may_be_given_its_id() {
    let mut cx = context();
    let join = ConsumerHeartbeat {
        api_version: 0,
        ..Consumer::new("g", "", &["t"]).full()
    };
    let reply = cx.consumer_heartbeat(join);
    assert_eq!(
        reply.member_id.as_deref(),
        Some("00000000-0000-0000-0000-000000000007")
    );
}

#[test]
fn a_request_that_contradicts_its_epoch_is_invalid_and_leaves_no_group_behind() {
    let mut cx = context();
    let full = || Consumer::new("g", "a", &["t"]).full();
    let named = || Consumer::new("g", "a", &["t"]).named("i").full();
    let invalid = [
        ConsumerHeartbeat {
            group_id: "".into(),
            ..full()
        },
        ConsumerHeartbeat {
            member_id: "".into(),
            ..full()
        },
        ConsumerHeartbeat {
            member_id: "".into(),
            api_version: 0,
            member_epoch: 1,
            ..full()
        },
        ConsumerHeartbeat {
            instance_id: Some("".into()),
            ..full()
        },
        ConsumerHeartbeat {
            rack_id: Some("".into()),
            ..full()
        },
        ConsumerHeartbeat {
            rebalance_timeout_ms: -1,
            ..full()
        },
        ConsumerHeartbeat {
            owned: None,
            ..full()
        },
        ConsumerHeartbeat {
            owned: Some(vec![(topic_id("t"), vec![0])]),
            ..full()
        },
        ConsumerHeartbeat {
            subscribed_topic_names: None,
            ..full()
        },
        ConsumerHeartbeat {
            member_epoch: -2,
            ..full()
        },
        ConsumerHeartbeat {
            member_epoch: -3,
            ..named()
        },
    ];
    for request in invalid {
        assert_eq!(
            cx.refused(request.clone()),
            ErrorCode::InvalidRequest,
            "{request:?}"
        );
    }
    let unsupported = ConsumerHeartbeat {
        server_assignor: Some("best".into()),
        ..full()
    };
    assert_eq!(cx.refused(unsupported), ErrorCode::UnsupportedAssignor);
    let regex = ConsumerHeartbeat {
        subscribed_topic_regex: Some("(".into()),
        ..full()
    };
    assert_eq!(cx.refused(regex), ErrorCode::InvalidRegularExpression);
    assert_eq!(cx.list(&[], &[]), []);
    assert_eq!(cx.log, []);
}

#[test]
fn a_heartbeat_to_a_group_that_is_not_there_is_group_id_not_found() {
    let mut cx = context();
    let stranger = Consumer {
        epoch: 3,
        ..Consumer::new("g", "a", &["t"])
    };
    assert_eq!(cx.refused(stranger.quiet()), ErrorCode::GroupIdNotFound);
}

#[test]
fn a_stranger_is_unknown() {
    let mut cx = context();
    cx.settled("g", 1);
    let stranger = Consumer {
        epoch: 1,
        ..Consumer::new("g", "x", &["t"])
    };
    assert_eq!(cx.refused(stranger.quiet()), ErrorCode::UnknownMemberId);
    assert_eq!(
        cx.refused(ConsumerHeartbeat {
            member_epoch: -1,
            ..stranger.quiet()
        }),
        ErrorCode::UnknownMemberId
    );
}

#[test]
fn any_epoch_but_the_members_own_is_fenced() {
    let mut cx = context();
    let members = cx.settled("g", 2);
    let epoch = members[0].epoch;
    for wrong in [epoch + 1, 1] {
        let request = ConsumerHeartbeat {
            member_epoch: wrong,
            owned: Some(Vec::new()),
            ..members[0].full()
        };
        assert_eq!(
            cx.refused(request),
            ErrorCode::FencedMemberEpoch,
            "{wrong} for {epoch}"
        );
    }
}

#[test]
fn a_member_that_starts_over_under_its_id_gets_its_partitions_back() {
    let mut cx = context();
    let mut members = cx.settled("g", 2);
    let before = members.clone();
    members[0].epoch = 0;
    members[0].owned.clear();
    cx.beat(&mut members[0]);
    assert_eq!(
        (members[0].epoch, &members[0].owned),
        (before[0].epoch, &before[0].owned)
    );
}

#[test]
fn a_group_nobody_subscribes_in_begins_with_epoch_1_and_any_other_with_2() {
    let mut cx = context();
    let mut idle = Consumer::new("idle", "a", &[]);
    cx.beat(&mut idle);
    let mut busy = Consumer::new("busy", "a", &["t"]);
    cx.beat(&mut busy);
    assert_eq!((idle.epoch, busy.epoch), (1, 2));
}

#[test]
fn the_previous_epoch_is_good_while_the_member_has_nothing_it_should_not_have() {
    let mut cx = context();
    let mut consumer = Consumer::new("g", "a", &["t"]);
    cx.beat(&mut consumer);
    // The answer was lost; the client asks again.
    let again = ConsumerHeartbeat {
        member_epoch: 0,
        owned: Some(Vec::new()),
        ..consumer.full()
    };
    let reply = cx.consumer_heartbeat(again);
    assert_eq!((reply.refusal, reply.member_epoch), (None, 2));
    assert_eq!(reply.assignment, Some(consumer.owned));
}

#[test]
fn a_quiet_heartbeat_of_a_settled_member_writes_nothing_and_repeats_nothing() {
    let mut cx = context();
    let members = cx.settled("g", 2);
    let length = cx.log.len();
    let reply = cx.consumer_heartbeat(members[1].quiet());
    assert_eq!(reply.assignment, None);
    assert_eq!(cx.log.len(), length);
    let reply = cx.consumer_heartbeat(members[1].full());
    assert_eq!(
        reply.assignment.as_ref(),
        Some(&members[1].owned),
        "a full request gets a full answer"
    );
    assert_eq!(cx.log.len(), length);
}

#[test]
fn a_full_group_takes_nobody_else() {
    let config = GroupConfig {
        consumer_max_size: 2,
        ..GroupConfig::default()
    };
    let mut cx = TestContext::with_config(config);
    cx.settled("g", 2);
    let third = Consumer::new("g", "x", &["t"]).full();
    assert_eq!(cx.refused(third), ErrorCode::GroupMaxSizeReached);
}

#[test]
fn a_member_that_leaves_is_gone_and_the_others_get_its_partitions() {
    let mut cx = context();
    let mut members = cx.settled("g", 2);
    let gone = members.remove(0);
    let reply = cx.leave_consumer(&gone, -1);
    assert_eq!((reply.refusal, reply.member_epoch), (None, -1));
    cx.settle(&mut members);
    assert_eq!(sizes(&members), [6]);
}

#[test]
fn a_silent_member_is_removed_after_the_session_timeout_and_not_before() {
    let mut cx = context();
    let mut members = cx.settled("g", 2);
    cx.advance(44_999);
    assert_eq!(cx.describe_consumer("g").members.len(), 2);
    cx.beat(&mut members[0]);
    cx.advance(1);
    assert_eq!(cx.describe_consumer("g").members.len(), 1);
    assert_eq!(cx.refused(members[1].quiet()), ErrorCode::UnknownMemberId);
    cx.settle(&mut members[..1]);
    assert_eq!(members[0].size(), 6);
}

#[test]
fn a_group_has_its_own_timeouts_if_it_sets_them() {
    let mut cx = context();
    cx.set_catalog(|catalog| {
        catalog
            .settings
            .insert(("g".into(), "consumer.session.timeout.ms".into()), 50_000);
        catalog
            .settings
            .insert(("g".into(), "consumer.heartbeat.interval.ms".into()), 7_000);
    });
    let reply = cx.consumer_heartbeat(Consumer::new("g", "a", &["t"]).full());
    assert_eq!(reply.heartbeat_interval_ms, 7_000);
    cx.advance(49_999);
    assert_eq!(cx.describe_consumer("g").members.len(), 1);
    cx.advance(1);
    assert_eq!(cx.describe_consumer("g").state, "Empty");
}

#[test]
fn after_a_restart_members_go_on_where_they_were() {
    let mut cx = context();
    let mut members = cx.settled("g", 3);
    let before = members.clone();
    cx.crash();
    cx.settle(&mut members);
    assert_eq!(sizes(&members), sizes(&before));
    assert_eq!(members[0].epoch, before[0].epoch);
    cx.crash();
    cx.advance(45_000);
    assert_eq!(
        cx.describe_consumer("g").state,
        "Empty",
        "who does not come back is removed"
    );
}

#[test]
fn classic_requests_do_not_reach_members_of_the_consumer_protocol() {
    let mut cx = context();
    let members = cx.settled("g", 1);
    let joined = Joined {
        member_id: members[0].member_id.clone(),
        generation_id: members[0].epoch,
    };
    let unknown = ErrorCode::UnknownMemberId;
    assert_eq!(cx.heartbeat("g", &joined), Some(unknown));
    let sync = cx.sync("g", &joined, &[]);
    assert_eq!(cx.sync_reply(sync).error, Some(unknown));
}

#[test]
fn an_empty_group_changes_its_protocol_with_the_next_member() {
    let mut cx = context();
    let members = cx.settled("g", 1);
    cx.leave_consumer(&members[0], -1);
    let classic = cx.stable_group("g", 1);
    assert_eq!(cx.list(&[], &["classic"]).len(), 1);
    cx.leave("g", &[(&classic[0].member_id, None)]);
    let mut consumer = Consumer::new("g", "b", &["t"]);
    cx.beat(&mut consumer);
    assert_eq!(cx.list(&[], &["consumer"]).len(), 1);
    assert_eq!(consumer.size(), 6);
}
