//! Static members (KIP-345) in consumer groups.

use super::*;

fn pair(cx: &mut TestContext) -> Vec<Consumer> {
    let mut members = vec![
        Consumer::new("g", "a", &["t"]).named("i1"),
        Consumer::new("g", "b", &["t"]).named("i2"),
    ];
    cx.settle(&mut members);
    members
}

#[test]
fn a_static_member_that_comes_back_in_time_has_what_it_had_and_nobody_notices() {
    let mut cx = context();
    let mut members = pair(&mut cx);
    let before = members.clone();
    let reply = cx.leave_consumer(&members[0], -2);
    assert_eq!((reply.refusal, reply.member_epoch), (None, -2));
    cx.beat(&mut members[1]);
    assert_eq!(members[1].owned, before[1].owned);

    members[0] = Consumer::new("g", "a2", &["t"]).named("i1");
    cx.settle(&mut members);
    assert_eq!(members[0].owned, before[0].owned);
    assert_eq!(
        cx.describe_consumer("g").group_epoch,
        before[0].epoch,
        "no rebalance"
    );
}

#[test]
fn a_static_member_that_does_not_come_back_is_removed() {
    let mut cx = context();
    let mut members = pair(&mut cx);
    cx.leave_consumer(&members[0], -2);
    cx.advance(44_000);
    cx.beat(&mut members[1]);
    cx.advance(1_000);
    cx.settle(&mut members[1..]);
    assert_eq!(members[1].size(), 6);
}

#[test]
fn an_instance_id_in_use_is_not_given_away() {
    let mut cx = context();
    pair(&mut cx);
    let thief = Consumer::new("g", "x", &["t"]).named("i1");
    assert_eq!(cx.refused(thief.full()), ErrorCode::UnreleasedInstanceId);
}

#[test]
fn the_previous_holder_of_an_instance_id_is_fenced() {
    let mut cx = context();
    let members = pair(&mut cx);
    cx.leave_consumer(&members[0], -2);
    let mut next = Consumer::new("g", "a2", &["t"]).named("i1");
    cx.beat(&mut next);
    assert_eq!(cx.refused(members[0].quiet()), ErrorCode::FencedInstanceId);
    assert_eq!(cx.leave_error(&members[0], -1), ErrorCode::FencedInstanceId);
    let unknown = Consumer {
        epoch: 1,
        ..Consumer::new("g", "y", &["t"]).named("i9")
    };
    assert_eq!(cx.refused(unknown.quiet()), ErrorCode::UnknownMemberId);
}

#[test]
fn a_static_member_may_leave_for_good() {
    let mut cx = context();
    let mut members = pair(&mut cx);
    cx.leave_consumer(&members[0], -1);
    cx.settle(&mut members[1..]);
    assert_eq!(members[1].size(), 6);
}

impl TestContext {
    fn leave_error(&mut self, consumer: &Consumer, epoch: i32) -> ErrorCode {
        self.refused(ConsumerHeartbeat {
            member_epoch: epoch,
            ..consumer.quiet()
        })
    }
}
