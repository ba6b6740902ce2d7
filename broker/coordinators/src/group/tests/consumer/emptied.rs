//! When the last member has gone, the group is at rest at once, however that came about. As in Kafka 4.4.

use super::{mixed::*, *};

/// A context in which a second target has to wait, with a group of one member.
fn group_of_one(instance_id: Option<&str>) -> (TestContext, Consumer) {
    let mut cx = TestContext::new();
    cx.set_catalog(|catalog| catalog.put("t", 6));
    let mut consumer = Consumer::new("g", "a", &["t"]);
    consumer.instance_id = instance_id.map(InstanceId::from);
    cx.beat(&mut consumer);
    (cx, consumer)
}

fn assert_at_rest(cx: &mut TestContext) {
    let described = cx.describe_consumer("g");
    assert_eq!(described.state, "Empty");
    assert_eq!(described.assignment_epoch, described.group_epoch);
    let epoch = described.group_epoch;
    let last = GroupRecord::Consumer {
        group_id: "g".into(),
        record: ConsumerRecord::Target(Some(TargetEpoch {
            epoch,
            timestamp_ms: 0,
        })),
    };
    assert_eq!(cx.log.last(), Some(&last));
    let mut next = Consumer::new("g", "next", &["t"]);
    cx.beat(&mut next);
    assert_eq!(
        (next.epoch, next.size()),
        (epoch + 1, 6),
        "its target need not wait"
    );
}

#[test]
fn the_last_member_leaves() {
    let (mut cx, consumer) = group_of_one(None);
    cx.leave_consumer(&consumer, -1);
    assert_at_rest(&mut cx);
}

#[test]
fn the_last_member_is_silent_for_too_long() {
    let (mut cx, _) = group_of_one(None);
    cx.advance(45_000);
    assert_at_rest(&mut cx);
}

#[test]
fn the_last_static_member_leaves_for_good() {
    let (mut cx, consumer) = group_of_one(Some("i"));
    cx.leave_consumer(&consumer, -1);
    assert_at_rest(&mut cx);
}

#[test]
fn the_last_static_member_leaves_for_a_while_and_does_not_come_back() {
    let (mut cx, consumer) = group_of_one(Some("i"));
    cx.leave_consumer(&consumer, -2);
    let described = cx.describe_consumer("g");
    assert_eq!(
        (described.state, described.members.len()),
        ("Reconciling", 1)
    );
    cx.advance(45_000);
    assert_at_rest(&mut cx);
}

#[test]
fn an_administrator_removes_the_last_members_all_at_once() {
    let (mut cx, _) = group_of_one(Some("i"));
    cx.beat(&mut Consumer::new("g", "b", &["t"]).named("j"));
    cx.beat(&mut Consumer::new("g", "c", &["t"]));
    let epoch = cx.describe_consumer("g").group_epoch;
    let left = cx.leave("g", &[("", Some("i")), ("", Some("j")), ("c", None)]);
    assert_eq!(left, [None; 3]);
    assert_eq!(cx.describe_consumer("g").group_epoch, epoch + 1);
    assert_at_rest(&mut cx);
}

#[test]
fn the_last_member_does_not_give_up_its_partitions_in_time() {
    let (mut cx, first) = group_of_one(None);
    let mut second = Consumer::new("g", "b", &["t"]);
    cx.advance(1_000);
    cx.beat(&mut second);
    // It is told to give something up, does not say that it has, and the other one leaves.
    cx.consumer_heartbeat(first.quiet());
    cx.leave_consumer(&second, -1);
    cx.advance(40_000);
    cx.consumer_heartbeat(first.quiet());
    cx.advance(20_000);
    assert_at_rest(&mut cx);
}

/// A consumer group in which only classic members are left, since it may not turn classic.
fn classic_members_only() -> (TestContext, Vec<Classic>) {
    let mut cx = TestContext::with_config(GroupConfig {
        migration_policy: MigrationPolicy::Upgrade,
        ..GroupConfig::default()
    });
    cx.set_catalog(|catalog| catalog.put("t", 6));
    let classic = cx.classic_group("g", 2);
    let mut consumer = Consumer::new("g", "new", &["t"]);
    cx.beat(&mut consumer);
    cx.leave_consumer(&consumer, -1);
    assert_eq!(cx.type_of("g"), "consumer");
    (cx, classic)
}

#[test]
fn the_last_classic_members_leave() {
    let (mut cx, classic) = classic_members_only();
    for member in &classic {
        assert_eq!(cx.leave("g", &[(&member.member_id, None)]), [None]);
    }
    assert_at_rest(&mut cx);
}

#[test]
fn the_last_classic_members_are_silent_for_too_long() {
    let (mut cx, _) = classic_members_only();
    cx.advance(60_000);
    assert_at_rest(&mut cx);
}

#[test]
fn a_group_that_turns_classic_leaves_nothing_of_the_consumer_group() {
    let mut cx = context();
    let classic = cx.classic_group("g", 1);
    let mut consumer = Consumer::new("g", "new", &["t"]);
    cx.beat(&mut consumer);
    cx.leave_consumer(&consumer, -1);
    assert_eq!(cx.type_of("g"), "classic");
    cx.leave("g", &[(&classic[0].member_id, None)]);
    assert_eq!(cx.state("g"), "Empty");
    let mut next = Consumer::new("g", "next", &["t"]);
    cx.beat(&mut next);
    assert_eq!(next.size(), 6);
}

#[test]
fn it_stays_at_rest_after_a_crash_and_the_wait_for_a_target_has_ended_with_its_last_member() {
    let (mut cx, first) = group_of_one(None);
    // The second member's target has to wait for the interval.
    let mut second = Consumer::new("g", "b", &["t"]);
    cx.beat(&mut second);
    assert_eq!(cx.describe_consumer("g").state, "Assigning");
    cx.leave_consumer(&first, -1);
    assert_eq!(cx.describe_consumer("g").state, "Assigning");
    cx.leave_consumer(&second, -1);
    cx.crash();
    assert_at_rest(&mut cx);
}
