//! Topics that come, grow and go, and subscriptions by regular expression.

use super::*;
use crate::pattern::NamePattern;

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
        // What is costly for each name, in spite of harmless text beside it.
        "(?:[a-z]{1,30}[a-y]{1,30}){10}!",
        &format!(
            "{}|(?:[a-z]{{1,30}}[a-y]{{1,30}}){{30}}!",
            "name|".repeat(700)
        ),
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
            ErrorCode::InvalidRegularExpression,
            "{}",
            &pattern[..pattern.len().min(20)]
        );
    }
    assert_eq!(cx.log, []);
}

#[test]
fn expressions_are_matched_anew_ten_seconds_after_the_last_time_at_the_earliest() {
    let mut cx = context();
    cx.config.consumer_regex_refresh_min_interval_ms = 10_000;
    cx.crash();
    cx.hold_patterns = true;
    let mut members = vec![Consumer {
        regex: Some("u.*".into()),
        ..Consumer::new("g", "a", &["t"])
    }];
    cx.settle(&mut members);
    assert_eq!(cx.resolving, [], "who said it knew what it matches");
    let asked = ResolvePatterns {
        group_id: "g".into(),
        patterns: vec![("u.*".into(), Viewer::anonymous())],
    };
    cx.set_catalog(|catalog| catalog.put("u", 2));
    cx.settle(&mut members);
    assert_eq!(
        cx.resolving,
        std::slice::from_ref(&asked),
        "once, not for each heartbeat"
    );
    assert_eq!(members[0].size(), 6, "nobody waits for the answer");
    cx.resolve_patterns();
    cx.settle(&mut members);
    assert_eq!(members[0].size(), 8);

    cx.set_catalog(|catalog| catalog.put("u2", 2));
    cx.advance(9_999);
    cx.settle(&mut members);
    assert_eq!(cx.resolving, []);
    cx.advance(1);
    cx.settle(&mut members);
    assert_eq!(cx.resolving, [asked]);
    cx.resolve_patterns();
    cx.settle(&mut members);
    assert_eq!(members[0].size(), 10);
}

#[test]
fn expressions_are_matched_anew_after_the_refresh_interval_although_no_topic_has_changed() {
    let mut cx = context();
    cx.config.consumer_regex_refresh_min_interval_ms = 10_000;
    cx.config.consumer_regex_refresh_interval_ms = 20_000;
    cx.crash();
    cx.hold_patterns = true;
    let mut members = vec![Consumer {
        regex: Some("t+".into()),
        ..Consumer::new("g", "a", &[])
    }];
    cx.settle(&mut members);
    let (epoch, said_at_ms) = (cx.describe_consumer("g").group_epoch, cx.now_ms);
    cx.advance(20_000);
    cx.settle(&mut members);
    assert_eq!(cx.resolving, []);
    cx.advance(1);
    cx.settle(&mut members);
    let asked = ResolvePatterns {
        group_id: "g".into(),
        patterns: vec![("t+".into(), Viewer::anonymous())],
    };
    assert_eq!(cx.resolving, std::slice::from_ref(&asked), "once");
    cx.resolve_patterns();
    let resolved_at = |cx: &TestContext| match cx.log.last() {
        Some(GroupRecord::Consumer {
            record: ConsumerRecord::Regex(_, Some(resolved)),
            ..
        }) => resolved.timestamp_ms,
        other => panic!("{other:?}"),
    };
    // As Kafka does, so that a restart does not forget when it was.
    assert_eq!(resolved_at(&cx), said_at_ms + 20_001);
    cx.settle(&mut members);
    assert_eq!(cx.describe_consumer("g").group_epoch, epoch);

    cx.crash();
    cx.settle(&mut members);
    cx.resolve_patterns();
    let length = cx.log.len();
    cx.advance(20_000);
    cx.settle(&mut members);
    assert_eq!(cx.resolving, []);
    assert_eq!(
        cx.log.len(),
        length,
        "the same topics, and it is known since when"
    );
    cx.advance(1);
    cx.settle(&mut members);
    assert_eq!(cx.resolving, [asked]);
}

#[test]
fn when_an_expression_was_matched_is_told_by_the_wall_clock() {
    let mut cx = context();
    cx.wall_ahead_ms = 1_000_000;
    let mut members = vec![Consumer {
        regex: Some("t+".into()),
        ..Consumer::new("g", "a", &[])
    }];
    cx.settle(&mut members);
    let times = cx.log.iter().filter_map(|record| match record {
        GroupRecord::Consumer {
            record: ConsumerRecord::Regex(_, Some(resolved)),
            ..
        } => Some(resolved.timestamp_ms),
        _ => None,
    });
    assert_eq!(times.collect::<Vec<_>>(), [cx.now_ms + 1_000_000]);
}

#[test]
fn an_answer_about_topics_that_have_changed_meanwhile_is_asked_for_again() {
    let mut cx = context();
    cx.hold_patterns = true;
    let mut members = vec![Consumer {
        regex: Some("u.*".into()),
        ..Consumer::new("g", "a", &["t"])
    }];
    cx.settle(&mut members);
    cx.set_catalog(|catalog| catalog.put("u", 2));
    cx.settle(&mut members);
    let old = cx.handed_in.clone();
    cx.set_catalog(|catalog| catalog.put("u2", 2));
    let newest = std::mem::replace(&mut cx.handed_in, old);
    cx.resolve_patterns();
    cx.handed_in = newest;
    cx.settle(&mut members);
    assert_eq!(members[0].size(), 8);
    cx.resolve_patterns();
    cx.settle(&mut members);
    assert_eq!(members[0].size(), 10);
}

#[test]
fn an_answer_that_nobody_waits_for_any_more_changes_nothing() {
    let mut cx = context();
    cx.hold_patterns = true;
    let mut members = vec![Consumer {
        regex: Some("u.*".into()),
        ..Consumer::new("g", "a", &["t"])
    }];
    cx.settle(&mut members);
    cx.set_catalog(|catalog| catalog.put("u", 2));
    cx.settle(&mut members);
    members[0].regex = Some("".into());
    cx.settle(&mut members);
    let log_length = cx.log.len();
    cx.resolve_patterns();
    assert_eq!(cx.log.len(), log_length);
    cx.leave_consumer(&members[0], -1);
    cx.resolve_patterns();
}

#[test]
fn classes_are_those_of_re2_and_what_people_write_is_small_enough() {
    let names: Vec<String> = (100..200)
        .map(|number| format!("team-{number}.orders.by-customer.v1"))
        .collect();
    assert!(names.iter().all(|name| name.len() == 30));
    let alternatives = names.join("|");
    for pattern in [
        r"\w+",
        r"\w+\.\w+\.\w+",
        r"^\d{4}-\d{2}-\d{2}$",
        r"[a-zA-Z0-9._-]{1,200}",
        r"(?i)Orders-.*",
        r"[^_].*",
        &alternatives,
        &alternatives.replace('.', r"\."),
        &format!("(?i){alternatives}"),
    ] {
        assert_eq!(NamePattern::compile(pattern).map(drop), Ok(()), "{pattern}");
    }
    let any_of = NamePattern::compile(&alternatives).expect("valid");
    assert!(names.iter().all(|name| any_of.matches(name)));
    assert!(!any_of.matches(&names[0][1..]));
    let words = NamePattern::compile(r"\w+").expect("valid");
    assert!(words.matches("words") && !words.matches("two-words"));
}
