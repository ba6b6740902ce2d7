use protocol_shim::ErrorCode;

use super::{
    super::*,
    context::{TestContext, commit_topic, nobody, protocol},
};

const CHECK_MS: i64 = 600_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const RETENTION_MS: i64 = 7 * DAY_MS;

/// Lets time pass while the members of `group` stay alive; their subscription is to `topic`.
fn keep_alive(cx: &mut TestContext, group: &str, members: &[super::context::Joined], for_ms: i64) {
    let until_ms = cx.now_ms + for_ms;
    while cx.now_ms < until_ms {
        cx.advance(1_000_000.min(until_ms - cx.now_ms));
        for member in members {
            assert_eq!(cx.heartbeat(group, member), None);
        }
    }
}

fn patient_group(cx: &mut TestContext) -> Vec<super::context::Joined> {
    let token = cx.join_with("g", "", |request| {
        (request.api_version, request.session_timeout_ms) = (3, 1_800_000);
    });
    let reply = cx.join_reply(token);
    let members = vec![super::context::Joined {
        member_id: reply.member_id,
        generation_id: reply.generation_id,
    }];
    cx.sync_all("g", &members);
    members
}

#[test]
fn offsets_of_a_simple_group_expire_each_after_its_own_commit_and_then_the_group() {
    let mut cx = TestContext::new();
    cx.commit("g", &nobody(), 1);
    cx.advance(DAY_MS);
    cx.commit_with("g", &nobody(), 1, |request| {
        request.topics = vec![commit_topic("later", 1)]
    });
    cx.advance(RETENTION_MS - DAY_MS - CHECK_MS);
    assert_eq!(cx.fetch("g", "topic", false), Ok(Some(1)));
    cx.advance(2 * CHECK_MS);
    assert_eq!(cx.fetch("g", "topic", false), Ok(None));
    assert_eq!(cx.fetch("g", "later", false), Ok(Some(1)));
    cx.advance(DAY_MS);
    assert!(cx.list(&[], &[]).is_empty());
    assert!(matches!(
        cx.log.last(),
        Some(GroupRecord::Group { value: None, .. })
    ));
}

#[test]
fn offsets_of_a_group_expire_only_after_it_has_been_empty_for_the_retention_time() {
    let mut cx = TestContext::new();
    let members = patient_group(&mut cx);
    cx.commit("g", &members[0], 1);
    keep_alive(&mut cx, "g", &members, 2 * RETENTION_MS);
    assert_eq!(
        cx.fetch("g", "topic", false),
        Ok(Some(1)),
        "a topic that is subscribed to never expires"
    );
    cx.leave("g", &[(&members[0].member_id, None)]);
    cx.advance(RETENTION_MS - CHECK_MS);
    assert_eq!(cx.fetch("g", "topic", false), Ok(Some(1)));
    cx.crash();
    cx.advance(2 * CHECK_MS);
    assert_eq!(
        cx.fetch("g", "topic", false),
        Ok(None),
        "the time the group became empty is in its record"
    );
    assert_eq!(cx.state("g"), "Dead");
}

#[test]
fn a_stable_consumer_group_loses_the_offsets_of_topics_it_no_longer_reads() {
    let mut cx = TestContext::new();
    let members = patient_group(&mut cx);
    cx.commit_with("g", &members[0], 1, |request| {
        request.topics.push(commit_topic("given-up", 1))
    });
    keep_alive(&mut cx, "g", &members, RETENTION_MS + CHECK_MS);
    assert_eq!(cx.fetch("g", "topic", false), Ok(Some(1)));
    assert_eq!(cx.fetch("g", "given-up", false), Ok(None));
    assert_eq!(cx.state("g"), "Stable");
}

#[test]
fn nothing_expires_in_a_living_group_of_another_protocol_type() {
    let mut cx = TestContext::new();
    let token = cx.join_with("g", "", |request| {
        (request.api_version, request.session_timeout_ms) = (3, 1_800_000);
        request.protocol_type = "connect".into();
        request.protocols = vec![protocol("range", &[])];
    });
    let reply = cx.join_reply(token);
    let member = super::context::Joined {
        member_id: reply.member_id,
        generation_id: 1,
    };
    cx.sync_with("g", &member, &[], |request| request.protocol_type = None);
    cx.commit("g", &member, 1);
    keep_alive(&mut cx, "g", &[member], RETENTION_MS + CHECK_MS);
    assert_eq!(cx.fetch("g", "topic", false), Ok(Some(1)));
}

#[test]
fn an_offset_with_a_retention_time_of_its_own_expires_by_that() {
    let mut cx = TestContext::new();
    cx.commit_with("g", &nobody(), 1, |request| {
        request.retention_time_ms = Some(10 * CHECK_MS)
    });
    cx.commit_with("h", &nobody(), 1, |request| {
        request.retention_time_ms = Some(2 * RETENTION_MS)
    });
    cx.crash();
    cx.advance(9 * CHECK_MS);
    assert_eq!(cx.fetch("g", "topic", false), Ok(Some(1)));
    cx.advance(2 * CHECK_MS);
    assert_eq!(cx.fetch("g", "topic", false), Ok(None));
    cx.advance(RETENTION_MS);
    assert_eq!(cx.fetch("h", "topic", false), Ok(Some(1)));
}

#[test]
fn an_empty_group_without_offsets_goes_at_the_next_check_unless_somebody_is_about_to_join() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    cx.leave("g", &[(&members[0].member_id, None)]);
    cx.stable_group("busy", 1);
    cx.leave("busy", &[]);
    let token = cx.join_with("joining", "", |request| {
        request.session_timeout_ms = 1_800_000
    });
    assert_eq!(cx.join_error(token), ErrorCode::MemberIdRequired);
    cx.advance(CHECK_MS);
    assert_eq!(cx.state("g"), "Dead");
    assert_eq!(cx.state("joining"), "Empty");
    let id = cx.join_reply(token).member_id;
    let token = cx.join("joining", &id);
    assert_eq!(cx.join_reply(token).error, None);
}

#[test]
fn an_offset_with_a_pending_transaction_does_not_expire_and_keeps_its_group() {
    let mut cx = TestContext::new();
    cx.commit("g", &nobody(), 1);
    cx.commit_txn("g", &nobody(), 1, 2);
    cx.commit_txn("only-pending", &nobody(), 1, 2);
    cx.advance(2 * RETENTION_MS);
    assert_eq!(cx.fetch("g", "topic", false), Ok(Some(1)));
    cx.end_txn(1, true);
    assert_eq!(cx.fetch("only-pending", "topic", true), Ok(Some(2)));
    cx.advance(CHECK_MS);
    assert!(cx.list(&[], &[]).is_empty());
}

#[test]
fn a_step_of_the_wall_clock_expires_no_member_and_offsets_grow_old_by_it() {
    for step_ms in [2 * 3_600_000, -2 * 3_600_000] {
        let mut cx = TestContext::new();
        let members = patient_group(&mut cx);
        cx.commit("before", &nobody(), 1);
        cx.wall_ahead_ms = step_ms;
        cx.advance(1_000);
        assert_eq!(cx.heartbeat("g", &members[0]), None);
        cx.commit("after", &nobody(), 1);
        // As long after the step as the older of the two has left.
        keep_alive(
            &mut cx,
            "g",
            &members,
            RETENTION_MS - step_ms.max(0) - 2 * CHECK_MS,
        );
        assert_eq!(cx.fetch("after", "topic", false), Ok(Some(1)));
        assert_eq!(cx.fetch("before", "topic", false), Ok(Some(1)));
        keep_alive(&mut cx, "g", &members, 4 * CHECK_MS);
        let (older, newer) = match step_ms > 0 {
            true => ("before", "after"),
            false => ("after", "before"),
        };
        assert_eq!(cx.fetch(older, "topic", false), Ok(None));
        assert_eq!(cx.fetch(newer, "topic", false), Ok(Some(1)));
    }
}
