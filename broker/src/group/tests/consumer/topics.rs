//! Topics that come, grow and go, and subscriptions by regular expression.

use super::*;

#[test]
fn new_partitions_are_assigned_with_the_next_heartbeats() {
    let mut cx = context();
    let mut members = cx.settled("g", 2);
    cx.set_catalog(|catalog| catalog.put("t", 10));
    cx.settle(&mut members);
    assert_eq!(sizes(&members), [5, 5]);
}

#[test]
fn a_topic_that_appears_later_is_assigned() {
    let mut cx = context();
    let mut members = vec![Consumer::new("g", "a", &["later"])];
    cx.settle(&mut members);
    assert_eq!((members[0].size(), members[0].epoch), (0, 2));
    cx.set_catalog(|catalog| catalog.put("later", 3));
    cx.settle(&mut members);
    assert_eq!((members[0].size(), members[0].epoch), (3, 3));
}

#[test]
fn a_deleted_topic_is_taken_away() {
    let mut cx = context();
    let mut members = cx.settled("g", 2);
    cx.set_catalog(|catalog| catalog.remove("t"));
    cx.settle(&mut members);
    assert_eq!(sizes(&members), [0, 0]);
}

#[test]
fn a_topic_nobody_reads_and_settings_do_not_disturb_a_group() {
    let mut cx = context();
    let mut members = cx.settled("g", 2);
    let length = cx.log.len();
    cx.set_catalog(|catalog| catalog.put("other", 3));
    cx.settle(&mut members);
    assert_eq!(cx.log.len(), length);
}

#[test]
fn a_regular_expression_subscribes_to_whole_names_that_match_now_and_later() {
    let mut cx = context();
    cx.set_catalog(|catalog| {
        catalog.put("log-a", 1);
        catalog.put("log-b", 2);
        catalog.put("my-log-c", 4);
    });
    let mut members = vec![Consumer {
        regex: Some("log-[a-z]".into()),
        ..Consumer::new("g", "a", &[])
    }];
    cx.settle(&mut members);
    assert_eq!(members[0].size(), 3);
    cx.set_catalog(|catalog| catalog.put("log-z", 8));
    cx.settle(&mut members);
    assert_eq!(members[0].size(), 11);
    cx.crash();
    cx.settle(&mut members);
    assert_eq!(members[0].size(), 11);
}

#[test]
fn names_and_a_regular_expression_add_up_and_an_expression_can_be_taken_back() {
    let mut cx = context();
    cx.set_catalog(|catalog| catalog.put("u", 2));
    let mut members = vec![Consumer {
        regex: Some("u+".into()),
        ..Consumer::new("g", "a", &["t"])
    }];
    cx.settle(&mut members);
    assert_eq!(members[0].size(), 8);
    members[0].regex = Some("".into());
    cx.settle(&mut members);
    assert_eq!(members[0].size(), 6);
    let forgotten = GroupRecord::Consumer {
        group_id: "g".into(),
        record: ConsumerRecord::Regex("u+".into(), None),
    };
    assert!(cx.log.contains(&forgotten));
}

#[test]
fn expressions_that_are_wrong_or_too_large_are_refused() {
    let mut cx = context();
    let long = "a".repeat(40_000);
    for pattern in [
        "(",
        "a)|(b",
        "[",
        "(a{1000}){1000}",
        "*",
        &long,
        &"(".repeat(200),
    ] {
        let request = ConsumerHeartbeat {
            subscribed_topic_regex: Some(pattern.into()),
            ..Consumer::new("g", "a", &[]).full()
        };
        assert_eq!(
            cx.refused(request),
            GroupError::InvalidRegularExpression,
            "{}",
            &pattern[..pattern.len().min(20)]
        );
    }
    assert_eq!(cx.log, []);
}
