use protocol_shim::ErrorCode;
use uuid::Uuid;

use crate::batch_size::BATCH_OVERHEAD_BYTES;

use super::{
    super::*,
    context::{Joined, TestContext, commit_topic, nobody},
};

#[test]
fn a_committed_offset_is_fetched_with_its_epoch_and_metadata_and_survives_a_crash() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    assert_eq!(cx.commit("g", &members[0], 7), None);
    for _ in 0..2 {
        let topic = FetchTopic {
            name: "topic".into(),
            topic_id: Uuid::nil(),
            partition_indexes: vec![0, 1],
        };
        let fetched = cx.fetch_group("g", Some(vec![topic]), false);
        let partitions = &fetched.topics[0].partitions;
        let there = FetchedPartition {
            partition_index: 0,
            committed_offset: 7,
            committed_leader_epoch: 5,
            metadata: "note".into(),
            error: None,
        };
        let absent = FetchedPartition {
            partition_index: 1,
            committed_offset: -1,
            committed_leader_epoch: -1,
            metadata: "".into(),
            error: None,
        };
        assert_eq!((fetched.error, partitions), (None, &vec![there, absent]));
        cx.crash();
    }
}

#[test]
fn a_fetch_without_topics_gives_all_offsets_of_the_group_and_of_no_other() {
    let mut cx = TestContext::new();
    for (group, topic) in [("g", "b"), ("g", "a"), ("h", "c")] {
        cx.commit_with(group, &nobody(), 1, |request| {
            request.topics = vec![commit_topic(topic, 1)]
        });
    }
    let fetched = cx.fetch_group("g", None, false);
    let names: Vec<&str> = fetched.topics.iter().map(|topic| &*topic.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(cx.fetch_group("unknown", None, false).topics.is_empty());
    assert_eq!(cx.fetch("unknown", "a", false), Ok(None));
}

#[test]
fn a_commit_without_a_group_makes_a_simple_group() {
    let mut cx = TestContext::new();
    assert_eq!(cx.commit("g", &nobody(), 1), None);
    let listed = cx.list(&[], &[]);
    assert_eq!((listed[0].state, &*listed[0].protocol_type), ("Empty", ""));
    cx.crash();
    assert_eq!(cx.list(&[], &[]), listed);
    assert_eq!(cx.commit("g", &nobody(), 2), None);
    assert_eq!(cx.fetch("g", "topic", false), Ok(Some(2)));
}

#[test]
fn a_commit_with_a_generation_into_an_unknown_group_is_refused_in_words_the_client_knows() {
    let mut cx = TestContext::new();
    let member = Joined {
        member_id: "m".into(),
        generation_id: 1,
    };
    assert_eq!(cx.commit("g", &member, 1), Some(ErrorCode::GroupIdNotFound));
    let error = cx.commit_with("g", &member, 1, |request| request.api_version = 8);
    assert_eq!(error, Some(ErrorCode::IllegalGeneration));
    assert!(cx.log.is_empty());
}

#[test]
fn a_commit_into_a_living_group_needs_a_member_of_this_generation() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    let stranger = Joined {
        member_id: "stranger".into(),
        generation_id: 1,
    };
    assert_eq!(
        cx.commit("g", &nobody(), 1),
        Some(ErrorCode::UnknownMemberId)
    );
    assert_eq!(
        cx.commit("g", &stranger, 1),
        Some(ErrorCode::UnknownMemberId)
    );
    for generation_id in [-1, 0, 2] {
        let other = Joined {
            generation_id,
            ..members[0].clone()
        };
        assert_eq!(
            cx.commit("g", &other, 1),
            Some(ErrorCode::IllegalGeneration),
            "{generation_id}"
        );
    }
    assert_eq!(cx.fetch("g", "topic", false), Ok(None));
}

#[test]
fn a_commit_into_an_empty_group_needs_no_generation_but_accepts_no_old_one() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    cx.leave("g", &[(&members[0].member_id, None)]);
    assert_eq!(
        cx.commit("g", &members[0], 1),
        Some(ErrorCode::UnknownMemberId)
    );
    assert_eq!(cx.commit("g", &nobody(), 2), None);
    assert_eq!(cx.fetch("g", "topic", false), Ok(Some(2)));
}

#[test]
fn a_member_commits_while_a_rebalance_is_prepared_but_not_before_it_has_its_new_assignment() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 2);
    cx.join("g", &members[0].member_id);
    assert_eq!(cx.commit("g", &members[1], 1), None);
    cx.join("g", &members[1].member_id);
    let next = Joined {
        generation_id: 2,
        ..members[1].clone()
    };
    assert_eq!(
        cx.commit("g", &members[1], 2),
        Some(ErrorCode::IllegalGeneration)
    );
    assert_eq!(
        cx.commit("g", &next, 2),
        Some(ErrorCode::RebalanceInProgress)
    );
    assert_eq!(
        cx.commit("g", &nobody(), 2),
        Some(ErrorCode::UnknownMemberId)
    );
    assert_eq!(cx.fetch("g", "topic", false), Ok(Some(1)));
}

#[test]
fn commits_keep_a_member_alive() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    for offset in 0..5 {
        cx.advance(9_999);
        assert_eq!(cx.commit("g", &members[0], offset), None);
    }
    assert_eq!(cx.heartbeat("g", &members[0]), None);
}

#[test]
fn metadata_is_limited_in_utf_16_units_and_the_other_partitions_are_committed() {
    let config = GroupConfig {
        offset_metadata_max_bytes: 4,
        ..GroupConfig::default()
    };
    let mut cx = TestContext::with_config(config);
    let metadata = ["four", "fives", "ϕϕϕϕ", "ϕϕϕϕϕ", "😀😀", "😀😀x"];
    let partitions = metadata
        .iter()
        .zip(0..)
        .map(|(metadata, partition_index)| CommitPartition {
            partition_index,
            committed_offset: 1,
            committed_leader_epoch: -1,
            metadata: (*metadata).into(),
        });
    let topic = CommitTopic {
        name: "topic".into(),
        topic_id: Uuid::nil(),
        partitions: partitions.collect(),
    };
    let token = cx.send(GroupRequest::CommitOffsets(CommitOffsets {
        group_id: "g".into(),
        generation_id_or_member_epoch: -1,
        member_id: "".into(),
        group_instance_id: None,
        retention_time_ms: None,
        topics: vec![topic],
        api_version: 9,
    }));
    let GroupReply::CommitOffsets(results) = cx.reply(token) else {
        panic!();
    };
    let refused: Vec<bool> = results[0]
        .partitions
        .iter()
        .map(|partition| partition.error.is_some())
        .collect();
    assert_eq!(refused, [false, true, false, true, false, true]);
    assert_eq!(
        results[0].partitions[1].error,
        Some(ErrorCode::OffsetMetadataTooLarge)
    );
    assert_eq!(
        cx.fetch_group("g", None, false).topics[0].partitions.len(),
        3
    );
}

#[test]
fn an_offset_of_a_deleted_topic_is_not_the_offset_of_a_new_one_of_the_same_name() {
    let mut cx = TestContext::new();
    let [old, new] = [1, 2].map(Uuid::from_u128);
    cx.commit_with("g", &nobody(), 1, |request| {
        request.topics[0].topic_id = old
    });
    let mut fetch = |topic_id| {
        let topic = FetchTopic {
            name: "topic".into(),
            topic_id,
            partition_indexes: vec![0],
        };
        cx.fetch_group("g", Some(vec![topic]), false).topics[0].partitions[0].committed_offset
    };
    assert_eq!([old, new, Uuid::nil()].map(&mut fetch), [1, -1, 1]);
}

#[test]
fn the_offsets_of_a_deleted_topic_go_but_not_those_of_a_new_one_of_the_same_name() {
    let mut cx = TestContext::new();
    let [old, new] = [1, 2].map(Uuid::from_u128);
    for (group, topic_id) in [("old", old), ("new", new), ("unknown", Uuid::nil())] {
        cx.commit_with(group, &nobody(), 1, |request| {
            request.topics[0].topic_id = topic_id
        });
    }
    cx.commit_txn("pending", &nobody(), 9, 1);
    let deleted = vec![DeletedTopic {
        name: "topic".into(),
        topic_id: old,
    }];
    let token = cx.send(GroupRequest::TopicsDeleted(deleted));
    assert_eq!(cx.reply(token), GroupReply::TopicsDeleted(None));
    let left = ["old", "new", "unknown"].map(|group| cx.fetch(group, "topic", false));
    assert_eq!(left, [Ok(None), Ok(Some(1)), Ok(None)]);
    assert_eq!(cx.fetch("pending", "topic", true), Ok(None));
}

#[test]
fn offsets_of_topics_nobody_reads_can_be_deleted() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    cx.commit("g", &members[0], 1);
    cx.commit_with("g", &members[0], 1, |request| {
        request.topics = vec![commit_topic("other", 1)]
    });
    assert_eq!(
        cx.delete_offset("g", "topic"),
        Some(ErrorCode::GroupSubscribedToTopic)
    );
    assert_eq!(cx.delete_offset("g", "other"), None);
    assert_eq!(cx.delete_offset("g", "never-committed"), None);
    assert_eq!(cx.fetch("g", "topic", false), Ok(Some(1)));
    assert_eq!(cx.fetch("g", "other", false), Ok(None));
    cx.leave("g", &[(&members[0].member_id, None)]);
    assert_eq!(cx.delete_offset("g", "topic"), None);
    assert_eq!(cx.fetch("g", "topic", false), Ok(None));
}

#[test]
fn offsets_are_not_deleted_while_nobody_knows_what_is_read() {
    let mut cx = TestContext::new();
    assert_eq!(
        cx.delete_offset("", "topic"),
        Some(ErrorCode::InvalidGroupId)
    );
    assert_eq!(
        cx.delete_offset("g", "topic"),
        Some(ErrorCode::GroupIdNotFound)
    );
    let token = cx.join_with("connect", "", |request| {
        (request.protocol_type, request.api_version) = ("connect".into(), 3)
    });
    assert_eq!(cx.join_reply(token).error, None);
    assert_eq!(
        cx.delete_offset("connect", "topic"),
        Some(ErrorCode::NonEmptyGroup)
    );
    let unreadable = vec![Protocol {
        name: "range".into(),
        metadata: vec![0].into(),
    }];
    let token = cx.join_with("odd", "", |request| {
        (request.protocols, request.api_version) = (unreadable, 3)
    });
    assert_eq!(cx.join_reply(token).error, None);
    assert_eq!(
        cx.delete_offset("odd", "topic"),
        Some(ErrorCode::GroupSubscribedToTopic)
    );
}

#[test]
fn the_empty_group_id_is_good_enough_for_offsets() {
    let mut cx = TestContext::new();
    assert_eq!(cx.commit("", &nobody(), 3), None);
    assert_eq!(cx.fetch("", "topic", false), Ok(Some(3)));
}

/// OffsetFetch that names groups with the offsets of all their topics, again and again.
fn fetch_all(cx: &mut TestContext, groups: &[&str], allowance: Allowance) -> Vec<FetchedGroup> {
    let all_of = |group: &&str| FetchGroup {
        group_id: (*group).into(),
        member_id: None,
        member_epoch: -1,
        topics: None,
    };
    let token = cx.send(GroupRequest::FetchOffsets(FetchOffsets {
        groups: groups.iter().map(all_of).collect(),
        require_stable: false,
        allowance,
    }));
    match cx.reply(token) {
        GroupReply::FetchOffsets(groups) => groups,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_that_becomes_too_large_ends_where_its_allowance_does() {
    let mut cx = TestContext::new();
    for (group, metadata_bytes) in [("small", 10), ("large", 4000)] {
        cx.commit_with(group, &nobody(), 1, |request| {
            request.topics[0].partitions[0].metadata = "m".repeat(metadata_bytes).into();
        });
    }
    let price = |cx: &mut TestContext, group: &str| {
        fetch_all(cx, &[group], Allowance::unlimited())[0].price_bytes()
    };
    let (small, large) = (price(&mut cx, "small"), price(&mut cx, "large"));
    let mut errors = |groups: &[&str], bytes| {
        let fetched = fetch_all(&mut cx, groups, Allowance::new(bytes));
        let ids: Vec<&str> = fetched.iter().map(|group| &*group.group_id).collect();
        assert_eq!(ids, groups, "each mention is answered");
        for group in &fetched {
            assert_eq!(group.error.is_some(), group.topics.is_empty(), "{group:?}");
        }
        let errors = fetched.iter().map(|group| group.error);
        errors.collect::<Vec<_>>()
    };
    let again = Some(ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(errors(&["large"; 3], 3 * large), [None; 3]);
    assert_eq!(errors(&["large"; 3], 3 * large - 1), [None, None, again]);
    // What comes after one that does not fit is not even looked at, or small ones would make it quadratic.
    assert_eq!(
        errors(&["large", "large", "small"], large + small),
        [None, again, again]
    );
    // Asking again would not help.
    let never = Some(ErrorCode::UnknownServerError);
    assert_eq!(
        errors(&["small", "large", "small"], large - 1),
        [None, never, again]
    );
}

#[test]
fn partitions_without_an_offset_are_paid_for_too() {
    let mut cx = TestContext::new();
    let topic = FetchTopic {
        name: "topic".into(),
        topic_id: Uuid::nil(),
        partition_indexes: vec![1; 1000],
    };
    let request = FetchOffsets {
        groups: vec![FetchGroup {
            group_id: "g".into(),
            member_id: None,
            member_epoch: -1,
            topics: Some(vec![topic]),
        }],
        require_stable: false,
        allowance: Allowance::new(1000 * 100),
    };
    let token = cx.send(GroupRequest::FetchOffsets(request));
    let GroupReply::FetchOffsets(groups) = cx.reply(token) else {
        panic!();
    };
    assert_eq!(groups[0].error, Some(ErrorCode::UnknownServerError));
}

#[test]
fn a_commit_is_one_batch_or_nothing() {
    let mut cx = TestContext::new();
    let commit = |cx: &mut TestContext, partition_count: i32| {
        cx.commit_with("g", &nobody(), 1, |request| {
            let partition = request.topics[0].partitions[0].clone();
            let partitions = (0..partition_count).map(|partition_index| CommitPartition {
                partition_index,
                ..partition.clone()
            });
            request.topics[0].partitions = partitions.collect();
        })
    };
    assert_eq!(commit(&mut cx, 100), None);
    let records = cx.log.iter().map(GroupRecord::size_bytes);
    let batch_bytes = BATCH_OVERHEAD_BYTES + records.sum::<usize>();
    cx.set_catalog(|catalog| catalog.max_batch_bytes = Some(batch_bytes));
    assert_eq!(commit(&mut cx, 100), None);
    let log_length = cx.log.len();
    assert_eq!(commit(&mut cx, 101), Some(ErrorCode::UnknownServerError));
    assert_eq!(cx.log.len(), log_length);
}
