//! How members get to their target.

use super::*;

#[test]
fn a_member_keeps_its_epoch_until_it_has_given_up_what_others_get() {
    let mut cx = context();
    let mut old = Consumer::new("g", "a", &["t"]);
    cx.beat(&mut old);
    let mut new = Consumer::new("g", "b", &["t"]);
    cx.beat(&mut new);
    assert_eq!(
        (new.epoch, new.size()),
        (3, 0),
        "everything is still at the other"
    );

    let reply = cx.consumer_heartbeat(old.quiet());
    assert_eq!(reply.member_epoch, 2);
    let told: usize = reply
        .assignment
        .iter()
        .flat_map(|partitions| partitions.values())
        .map(|set| set.len())
        .sum();
    assert_eq!(told, 3, "it is told what it may keep");
    let reply = cx.consumer_heartbeat(old.full());
    assert_eq!(
        reply.member_epoch, 2,
        "it still says that it has everything"
    );

    cx.beat(&mut new);
    assert_eq!(new.size(), 0);
    old.owned = reply.assignment.expect("a full request");
    cx.beat(&mut old);
    assert_eq!((old.epoch, old.size()), (3, 3));
    cx.beat(&mut new);
    assert_eq!((new.epoch, new.size()), (3, 3));
    assert_eq!(cx.describe_consumer("g").state, "Stable");
}

#[test]
fn a_member_that_does_not_give_up_its_partitions_in_time_is_removed() {
    let mut cx = context();
    let mut old = Consumer::new("g", "a", &["t"]);
    cx.beat(&mut old);
    let mut new = Consumer::new("g", "b", &["t"]);
    cx.beat(&mut new);
    // It is alive, but it does not say what it has.
    cx.consumer_heartbeat(old.quiet());
    for _ in 0..2 {
        cx.advance(29_999);
        cx.consumer_heartbeat(old.quiet());
        cx.beat(&mut new);
    }
    assert_eq!(cx.describe_consumer("g").members.len(), 2);
    cx.advance(2);
    assert_eq!(cx.refused(old.quiet()), ErrorCode::UnknownMemberId);
    cx.beat(&mut new);
    assert_eq!(new.size(), 6);
}

#[test]
fn a_crash_in_the_middle_of_a_move_gives_nothing_to_two() {
    let mut cx = context();
    let mut old = Consumer::new("g", "a", &["t"]);
    cx.beat(&mut old);
    let mut members = vec![old, Consumer::new("g", "b", &["t"])];
    cx.beat(&mut members[1]);
    cx.consumer_heartbeat(members[0].quiet());
    cx.crash();
    cx.beat(&mut members[1]);
    assert_eq!(
        members[1].size(),
        0,
        "the first has not given anything up yet"
    );
    cx.settle(&mut members);
    assert_eq!(sizes(&members), [3, 3]);
}

#[test]
fn a_member_that_unsubscribes_loses_the_topic_although_the_target_is_old() {
    let mut cx = context();
    cx.config.consumer_assignment_interval_ms = 1_000;
    cx.crash();
    cx.set_catalog(|catalog| catalog.put("u", 2));
    let mut consumer = Consumer::new("g", "a", &["t", "u"]);
    cx.beat(&mut consumer);
    assert_eq!(consumer.size(), 8);
    consumer.topics = vec!["u".into()];
    let reply = cx.consumer_heartbeat(consumer.full());
    let assignment = reply.assignment.expect("a change");
    assert_eq!(assignment.keys().collect::<Vec<_>>(), [&topic_id("u")]);
    assert_eq!(cx.describe_consumer("g").state, "Assigning");
}

#[test]
fn targets_are_computed_no_more_often_than_the_interval_says() {
    let mut cx = TestContext::new();
    cx.set_catalog(|catalog| catalog.put("t", 6));
    let mut first = Consumer::new("g", "a", &["t"]);
    cx.beat(&mut first);
    let mut second = Consumer::new("g", "b", &["t"]);
    cx.beat(&mut second);
    let described = cx.describe_consumer("g");
    assert_eq!(
        (
            described.group_epoch,
            described.assignment_epoch,
            described.state
        ),
        (3, 2, "Assigning")
    );
    assert_eq!(second.epoch, 2, "the epoch of the target there is");
    cx.advance(1_000);
    cx.beat(&mut second);
    assert_eq!(cx.describe_consumer("g").assignment_epoch, 3);
}

#[test]
fn another_assignor_asks_for_a_new_target() {
    let mut cx = context();
    let mut members = cx.settled("g", 2);
    let epoch = cx.describe_consumer("g").group_epoch;
    let vote = |consumer: &Consumer, assignor: &str| ConsumerHeartbeat {
        server_assignor: Some(assignor.into()),
        ..consumer.quiet()
    };
    // The default is what they have anyway.
    cx.consumer_heartbeat(vote(&members[0], "uniform"));
    assert_eq!(cx.describe_consumer("g").group_epoch, epoch);
    cx.consumer_heartbeat(vote(&members[0], "range"));
    assert_eq!(cx.describe_consumer("g").group_epoch, epoch + 1);
    cx.consumer_heartbeat(vote(&members[1], "range"));
    assert_eq!(cx.describe_consumer("g").group_epoch, epoch + 1);
    cx.settle(&mut members);
    let first: Vec<i32> = members[0].owned[&topic_id("t")].iter().copied().collect();
    assert_eq!(first, [0, 1, 2]);
}

#[test]
fn most_members_decide_on_the_assignor() {
    let mut cx = context();
    let mut members = cx.settled("g", 3);
    assert_eq!(cx.describe_consumer("g").assignor, "uniform");
    for member in &members[..2] {
        let request = ConsumerHeartbeat {
            server_assignor: Some("range".into()),
            ..member.quiet()
        };
        cx.consumer_heartbeat(request);
    }
    assert_eq!(cx.describe_consumer("g").assignor, "range");
    let gone = members.remove(2);
    cx.leave_consumer(&gone, -1);
    cx.settle(&mut members);
    let first: Vec<i32> = members[0].owned[&topic_id("t")].iter().copied().collect();
    assert_eq!(first, [0, 1, 2]);
}
