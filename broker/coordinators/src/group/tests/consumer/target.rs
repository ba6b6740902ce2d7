//! Targets that are computed elsewhere, and groups that go on meanwhile.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use uuid::Uuid;

use super::*;

/// A context in which no target is small enough to be computed at once, nor handed in before the test does so.
fn held() -> TestContext {
    let mut cx = TestContext::with_config(GroupConfig {
        consumer_assignment_interval_ms: 0,
        consumer_assignment_step_work: 0,
        consumer_regex_refresh_min_interval_ms: 0,
        ..GroupConfig::default()
    });
    cx.set_catalog(|catalog| catalog.put("t", 6));
    cx.hold_targets = true;
    cx
}

/// Two members that have settled, and a third one that has just joined: its target is held.
fn three(cx: &mut TestContext) -> Vec<Consumer> {
    cx.hold_targets = false;
    let mut members = cx.settled("g", 2);
    cx.hold_targets = true;
    let mut third = Consumer::new("g", "m2", &["t"]);
    cx.beat(&mut third);
    assert_eq!(cx.computing.len(), 1);
    members.push(third);
    members
}

fn target_sizes(cx: &mut TestContext) -> BTreeMap<MemberId, usize> {
    let members = cx.describe_consumer("g").members.into_iter();
    let sizes = members.map(|member| {
        let topics = member.target_assignment.iter();
        let size = topics.map(|topic| topic.partitions.len()).sum();
        (member.member_id, size)
    });
    sizes.collect()
}

#[test]
fn a_first_heartbeat_is_answered_with_the_first_epoch_and_nothing_until_the_target_is_there() {
    let mut cx = held();
    let mut consumer = Consumer::new("g", "a", &["t"]);
    cx.beat(&mut consumer);
    assert_eq!((consumer.epoch, consumer.size()), (1, 0));
    cx.beat(&mut consumer);
    assert_eq!((consumer.epoch, consumer.size()), (1, 0));
    let described = cx.describe_consumer("g");
    assert_eq!(
        (
            described.state,
            described.group_epoch,
            described.assignment_epoch
        ),
        ("Assigning", 2, 1)
    );
    cx.hand_in_target(0);
    cx.beat(&mut consumer);
    assert_eq!((consumer.epoch, consumer.size()), (2, 6));
    assert_eq!(cx.describe_consumer("g").state, "Stable");
}

#[test]
fn members_are_served_from_the_target_that_there_is_and_one_question_is_asked_at_a_time() {
    let mut cx = held();
    let mut members = three(&mut cx);
    assert_eq!((members[2].epoch, members[2].size()), (members[0].epoch, 0));
    cx.settle(&mut members);
    assert_eq!(sizes(&members), [3, 3, 0]);
    // A change while it is being computed waits for it, and then asks again.
    let mut fourth = Consumer::new("g", "m3", &["t"]);
    cx.beat(&mut fourth);
    members.push(fourth);
    assert_eq!(cx.computing.len(), 1);
    cx.hand_in_target(0);
    let described = cx.describe_consumer("g");
    assert_eq!(described.assignment_epoch + 1, described.group_epoch);
    cx.settle(&mut members);
    assert_eq!(sizes(&members), [2, 2, 2, 0]);
    assert_eq!(cx.computing.len(), 1);
    cx.hand_in_target(0);
    cx.settle(&mut members);
    let mut shares = sizes(&members);
    shares.sort_unstable();
    assert_eq!(shares, [1, 1, 2, 2]);
}

#[test]
fn the_interval_between_two_targets_begins_when_one_is_handed_in() {
    let mut cx = held();
    cx.config.consumer_assignment_interval_ms = 1_000;
    cx.crash();
    let mut first = Consumer::new("g", "a", &["t"]);
    cx.beat(&mut first);
    cx.advance(10_000);
    cx.beat(&mut Consumer::new("g", "b", &["t"]));
    cx.hand_in_target(0);
    cx.advance(999);
    cx.beat(&mut first);
    assert_eq!(cx.computing.len(), 0);
    cx.advance(1);
    cx.beat(&mut first);
    assert_eq!(cx.computing.len(), 1);
}

#[test]
fn who_has_left_meanwhile_gets_nothing_and_the_next_target_divides_its_share() {
    let mut cx = held();
    let mut members = three(&mut cx);
    let gone = members.remove(0);
    cx.leave_consumer(&gone, -1);
    cx.hand_in_target(0);
    let targets = target_sizes(&mut cx);
    assert_eq!(targets, [("m1".into(), 2), ("m2".into(), 2)].into());
    cx.hold_targets = false;
    cx.settle(&mut members);
    assert_eq!(sizes(&members), [3, 3]);
}

#[test]
fn who_comes_back_in_place_of_a_static_member_gets_what_was_computed_for_it() {
    let mut cx = held();
    cx.hold_targets = false;
    let mut members = vec![
        Consumer::new("g", "a", &["t"]).named("i"),
        Consumer::new("g", "b", &["t"]),
    ];
    cx.settle(&mut members);
    cx.hold_targets = true;
    cx.set_catalog(|catalog| catalog.put("t", 10));
    cx.beat(&mut members[1]);
    assert_eq!(cx.computing.len(), 1);
    cx.leave_consumer(&members[0], -2);
    members[0] = Consumer::new("g", "c", &["t"]).named("i");
    cx.beat(&mut members[0]);
    assert_eq!(members[0].size(), 3, "what the one before it had");
    cx.hand_in_target(0);
    let targets = target_sizes(&mut cx);
    assert_eq!(targets, [("b".into(), 5), ("c".into(), 5)].into());
    cx.settle(&mut members);
    assert_eq!(sizes(&members), [5, 5]);
}

#[test]
fn nobody_computes_or_takes_over_what_an_emptied_group_has_asked_for() {
    let mut cx = held();
    let consumer = Consumer::new("g", "a", &["t"]);
    let request = GroupRequest::ConsumerHeartbeat(consumer.full());
    let effects = cx.shard.handle(&cx.now(), Token(7), request);
    let asked = &targets_asked(effects)[0];
    let begun = asked.upgrade().expect("the group waits for it");
    let leave = GroupRequest::ConsumerHeartbeat(ConsumerHeartbeat {
        member_epoch: -1,
        ..consumer.quiet()
    });
    cx.shard.handle(&cx.now(), Token(8), leave);
    let late = cx
        .shard
        .outcome(&cx.now(), Outcome::Target(begun.compute()));
    assert_eq!(late.writes, []);
    assert!(asked.upgrade().is_none(), "nobody waits for it");
}

#[test]
fn an_answer_to_a_group_of_the_same_name_that_was_there_before_is_nobodys() {
    let mut cx = held();
    let first = Consumer::new("g", "a", &["t"]);
    cx.beat(&mut first.clone());
    cx.leave_consumer(&first, -1);
    assert_eq!(cx.delete_groups(&["g"]), [None]);
    // The same epochs, the same member id, and other topics.
    cx.set_catalog(|catalog| catalog.put("u", 4));
    let mut second = Consumer::new("g", "a", &["u"]);
    cx.beat(&mut second);
    assert_eq!(cx.computing.len(), 2);
    let length = cx.log.len();
    cx.hand_in_target(0);
    assert_eq!(cx.log.len(), length);
    cx.hand_in_target(0);
    cx.beat(&mut second);
    assert_eq!((second.epoch, second.size()), (2, 4));
}

#[test]
fn after_a_crash_the_group_asks_again_and_what_was_asked_before_is_nobodys() {
    let mut cx = held();
    let mut members = three(&mut cx);
    cx.crash();
    let length = cx.log.len();
    cx.hand_in_target(0);
    assert_eq!(cx.log.len(), length);
    cx.beat(&mut members[2]);
    assert_eq!(cx.computing.len(), 1);
    cx.hold_targets = false;
    cx.hand_in_target(0);
    cx.settle(&mut members);
    assert_eq!(sizes(&members), [2, 2, 2]);
}

#[test]
fn a_group_that_has_turned_classic_meanwhile_takes_nothing_over() {
    let mut cx = held();
    let mut classic = cx.classic_group("g", 2);
    let mut consumer = Consumer::new("g", "new", &["t"]);
    cx.beat(&mut consumer);
    assert_eq!(cx.computing.len(), 1);
    let generation_id = classic[0].generation_id;
    assert_eq!(consumer.epoch, generation_id, "what the group had");
    cx.leave_consumer(&consumer, -1);
    assert_eq!(cx.type_of("g"), "classic");
    cx.hand_in_target(0);
    assert_eq!(cx.type_of("g"), "classic");
    assert_eq!(
        cx.beat_as(&classic[0]),
        Some(ErrorCode::RebalanceInProgress)
    );
    // Back again, with a target of the same epoch that is not this one.
    let mut again = Consumer::new("g", "again", &["t"]);
    cx.hold_targets = false;
    cx.beat(&mut again);
    let mut consumers = [again];
    cx.settle_both(&mut classic, &mut consumers);
    assert_eq!(consumers[0].size(), 2);
}

#[test]
fn classic_members_join_and_sync_while_a_target_is_computed() {
    let mut cx = held();
    let mut classic = cx.classic_group("g", 1);
    cx.beat(&mut Consumer::new("g", "new", &["t"]));
    assert_eq!(cx.beat_as(&classic[0]), None, "there is nothing to do yet");
    let before = classic[0].owned.clone();
    let joined = cx.join_as(&mut classic[0]);
    assert_eq!(joined.error, None);
    assert_eq!(cx.sync_as(&mut classic[0]), None);
    assert_eq!(classic[0].owned, before);
    cx.hand_in_target(0);
    assert_eq!(
        cx.beat_as(&classic[0]),
        Some(ErrorCode::RebalanceInProgress)
    );
}

/// Counts how often it is asked about a topic.
#[derive(Debug, Default)]
struct CountingCatalog {
    topics: TestCatalog,
    questions: AtomicUsize,
}

impl CountingCatalog {
    fn asked<T>(&self, answer: T) -> T {
        self.questions.fetch_add(1, Ordering::Relaxed);
        answer
    }
}

impl Catalog for CountingCatalog {
    fn topic(&self, name: &str) -> Option<(Uuid, i32)> {
        self.asked(self.topics.topic(name))
    }

    fn topic_name(&self, topic_id: Uuid) -> Option<Name> {
        self.asked(self.topics.topic_name(topic_id))
    }

    fn visit_topic_names(&self, visit: &mut dyn FnMut(&Name)) {
        self.topics.visit_topic_names(visit);
    }

    fn group_setting(&self, _: &str, _: &str) -> Option<i32> {
        None
    }
}

#[test]
fn what_a_step_looks_at_does_not_grow_with_members_times_topics() {
    const TOPICS: usize = 300;
    const MEMBERS: usize = 100;
    let mut catalog = CountingCatalog::default();
    let names: Vec<String> = (0..TOPICS).map(|number| format!("t{number}")).collect();
    names.iter().for_each(|name| catalog.topics.put(name, 3));
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let catalog = Arc::new(catalog);
    let mut shard = GroupShard::new(GroupConfig {
        consumer_assignment_interval_ms: 0,
        ..GroupConfig::default()
    });
    let handed_in: Arc<dyn Catalog> = catalog.clone();
    let now = at(0, &handed_in);
    let mut asked: Vec<std::sync::Weak<TargetQuestion>> = Vec::new();
    for number in 0..2 * MEMBERS {
        let by_regex = number % 2 == 0;
        let topics = if by_regex { &[][..] } else { &names[..] };
        let mut consumer = Consumer::new("g", &format!("m{number}"), topics);
        let mut request = consumer.full();
        if by_regex {
            consumer.regex = Some("t.*".into());
            request = ConsumerHeartbeat {
                resolved: Some(ResolvedPattern {
                    topics: matching("t.*", &catalog.topics),
                    catalog: catalog.clone(),
                }),
                ..consumer.full()
            };
        }
        let before = catalog.questions.load(Ordering::Relaxed);
        let request = GroupRequest::ConsumerHeartbeat(request);
        let effects = shard.handle(&now, Token(0), request);
        let questions = catalog.questions.load(Ordering::Relaxed) - before;
        assert!(questions <= 8 * TOPICS, "member {number}: {questions}");
        asked.extend(targets_asked(effects));
    }
    let question = asked[0].upgrade().expect("the group waits for it");
    let before = catalog.questions.load(Ordering::Relaxed);
    let computed = question.compute();
    let questions = catalog.questions.load(Ordering::Relaxed) - before;
    assert!(questions <= 2 * TOPICS, "{questions}");
    let effects = shard.outcome(&now, Outcome::Target(computed));
    assert!(effects.record_count() > 0);
}
