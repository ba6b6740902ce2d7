use std::sync::Arc;

use protocol_shim::ErrorCode;

use crate::machine::{EndTxn, Machine, Producer, Token};

use super::{
    super::*,
    context::{Joined, TestCatalog, TestContext, at, nobody},
};

#[test]
fn a_transactional_offset_counts_when_its_transaction_commits() {
    for crash in [false, true] {
        let mut cx = TestContext::new();
        assert_eq!(cx.commit_txn("g", &nobody(), 1, 5), None);
        if crash {
            cx.crash();
        }
        assert_eq!(cx.fetch("g", "topic", false), Ok(None));
        assert_eq!(
            cx.fetch("g", "topic", true),
            Err(ErrorCode::UnstableOffsetCommit)
        );
        cx.end_txn(1, true);
        assert_eq!(cx.fetch("g", "topic", true), Ok(Some(5)));
    }
}

#[test]
fn a_transactional_offset_is_dropped_when_its_transaction_aborts() {
    let mut cx = TestContext::new();
    cx.commit("g", &nobody(), 3);
    cx.commit_txn("g", &nobody(), 1, 5);
    assert_eq!(cx.fetch("g", "topic", false), Ok(Some(3)));
    let all = cx.fetch_group("g", None, true);
    assert_eq!(
        all.topics[0].partitions[0].error,
        Some(ErrorCode::UnstableOffsetCommit)
    );
    cx.end_txn(1, false);
    assert_eq!(cx.fetch("g", "topic", true), Ok(Some(3)));
}

#[test]
fn of_two_commits_the_one_that_was_made_later_wins_whenever_the_transaction_ends() {
    let mut cx = TestContext::new();
    cx.commit_txn("g", &nobody(), 1, 5);
    cx.commit("g", &nobody(), 8);
    cx.end_txn(1, true);
    assert_eq!(cx.fetch("g", "topic", true), Ok(Some(8)));

    cx.commit_txn("g", &nobody(), 1, 10);
    cx.commit_txn("g", &nobody(), 2, 11);
    cx.end_txn(2, true);
    assert_eq!(
        cx.fetch("g", "topic", true),
        Err(ErrorCode::UnstableOffsetCommit)
    );
    cx.end_txn(1, true);
    assert_eq!(cx.fetch("g", "topic", true), Ok(Some(11)));
}

#[test]
fn the_end_of_a_transaction_without_offsets_changes_nothing() {
    let mut cx = TestContext::new();
    cx.commit("g", &nobody(), 3);
    cx.end_txn(1, true);
    assert_eq!(cx.fetch("g", "topic", true), Ok(Some(3)));
}

#[test]
fn a_transactional_commit_is_fenced_by_generation_but_may_come_from_nobody() {
    let mut cx = TestContext::new();
    let members = cx.stable_group("g", 1);
    let stranger = Joined {
        member_id: "stranger".into(),
        generation_id: 1,
    };
    let older = Joined {
        generation_id: 0,
        ..members[0].clone()
    };
    assert_eq!(
        cx.commit_txn("", &nobody(), 1, 1),
        Some(ErrorCode::InvalidGroupId)
    );
    assert_eq!(
        cx.commit_txn("unknown", &members[0], 1, 1),
        Some(ErrorCode::GroupIdNotFound)
    );
    assert_eq!(
        cx.commit_txn("g", &stranger, 1, 1),
        Some(ErrorCode::UnknownMemberId)
    );
    assert_eq!(
        cx.commit_txn("g", &older, 1, 1),
        Some(ErrorCode::IllegalGeneration)
    );
    assert_eq!(cx.commit_txn("g", &members[0], 1, 1), None);
    assert_eq!(
        cx.commit_txn("g", &nobody(), 1, 2),
        None,
        "old producers do not say who they are"
    );
    let token = cx.join("g", &members[0].member_id);
    assert_eq!(cx.join_reply(token).generation_id, 2);
    let member = Joined {
        generation_id: 2,
        ..members[0].clone()
    };
    assert_eq!(
        cx.commit_txn("g", &member, 1, 3),
        None,
        "not even while an assignment is awaited"
    );
}

#[test]
fn deleting_an_offset_drops_what_is_pending_for_it() {
    let mut cx = TestContext::new();
    cx.commit_txn("g", &nobody(), 1, 5);
    assert_eq!(cx.delete_offset("g", "topic"), None);
    cx.end_txn(1, true);
    assert_eq!(cx.fetch("g", "topic", true), Ok(None));
}

#[test]
fn deleting_a_group_drops_what_is_pending_for_it() {
    let mut cx = TestContext::new();
    cx.commit_txn("g", &nobody(), 1, 5);
    cx.commit_txn("h", &nobody(), 1, 6);
    assert_eq!(cx.delete_groups(&["g"]), [None]);
    cx.end_txn(1, true);
    assert_eq!(cx.fetch("g", "topic", true), Ok(None));
    assert_eq!(cx.fetch("h", "topic", true), Ok(Some(6)));
    let groups: Vec<GroupId> = cx
        .list(&[], &[])
        .into_iter()
        .map(|group| group.group_id)
        .collect();
    assert_eq!(groups, ["h".into()]);
}

/// What a shard gives out for partition 0 of `topic` in `g` that has taken over `offsets` of producers, and then `ends`.
fn fetched_after(
    offsets: &[(Option<i64>, Option<i64>)],
    ends: &[(i64, bool)],
) -> Result<i64, ErrorCode> {
    let mut shard = GroupShard::new(GroupConfig::default());
    for (producer_id, offset) in offsets {
        let record = GroupRecord::Offset {
            key: OffsetKey {
                group_id: "g".into(),
                topic: "topic".into(),
                partition_index: 0,
            },
            value: offset.map(|offset| CommittedOffset {
                offset,
                leader_epoch: -1,
                metadata: "".into(),
                commit_timestamp_ms: 0,
                expire_timestamp_ms: None,
                topic_id: uuid::Uuid::nil(),
            }),
        };
        let (key, value) = GroupShard::encode(&record).expect("it has bytes");
        let producer = producer_id.map(|id| Producer { id, epoch: 4 });
        let replayed = shard.replay(producer, &key, value.as_deref());
        replayed.expect("a record of a group");
    }
    for &(producer_id, commit) in ends {
        shard.replay_marker(EndTxn {
            producer_id,
            producer_epoch: 4,
            coordinator_epoch: 0,
            commit,
        });
    }
    let topics: Arc<dyn Catalog> = Arc::new(TestCatalog::default());
    let now = at(0, &topics);
    shard.loaded(&now);
    let fetch = FetchOffsets {
        groups: vec![FetchGroup {
            group_id: "g".into(),
            member_id: None,
            member_epoch: -1,
            topics: Some(vec![FetchTopic {
                name: "topic".into(),
                topic_id: uuid::Uuid::nil(),
                partition_indexes: vec![0],
            }]),
        }],
        require_stable: true,
        allowance: Allowance::unlimited(),
    };
    let mut replies = shard
        .handle(&now, Token(0), GroupRequest::FetchOffsets(fetch))
        .replies;
    let Some((_, GroupReply::FetchOffsets(groups))) = replies.pop() else {
        panic!("{replies:?}");
    };
    let partition = &groups[0].topics[0].partitions[0];
    partition.error.map_or(Ok(partition.committed_offset), Err)
}

/// As Kafka's `OffsetMetadataManager.replay` and `replayEndTransactionMarker` do with the same log.
#[test]
fn a_log_with_transactions_loads_as_kafka_loads_it() {
    let plain = |offset| (None, Some(offset));
    let of = |producer_id, offset| (Some(producer_id), Some(offset));
    let unstable = Err(ErrorCode::UnstableOffsetCommit);
    assert_eq!(fetched_after(&[of(1, 5)], &[]), unstable);
    assert_eq!(fetched_after(&[of(1, 5)], &[(1, true)]), Ok(5));
    assert_eq!(fetched_after(&[plain(3), of(1, 5)], &[(1, false)]), Ok(3));
    assert_eq!(fetched_after(&[of(1, 5)], &[(1, false)]), Ok(-1));
    // The end of another producer's transaction, or of one that wrote nothing here.
    assert_eq!(fetched_after(&[of(1, 5)], &[(2, true)]), unstable);
    assert_eq!(fetched_after(&[plain(3)], &[(2, true)]), Ok(3));
    // A marker may come twice.
    assert_eq!(fetched_after(&[of(1, 5)], &[(1, true), (1, false)]), Ok(5));
    // What was written last counts, whichever ended first.
    let both = [of(1, 5), of(2, 6)];
    assert_eq!(fetched_after(&both, &[(2, true), (1, true)]), Ok(6));
    assert_eq!(fetched_after(&both, &[(2, true)]), unstable);
    assert_eq!(fetched_after(&[of(1, 5), plain(8)], &[(1, true)]), Ok(8));
    // A removal takes what is pending along, in a transaction's batch or not.
    assert_eq!(
        fetched_after(&[of(1, 5), (None, None)], &[(1, true)]),
        Ok(-1)
    );
    let removed = [of(1, 5), (Some(1), None)];
    assert_eq!(fetched_after(&removed, &[(1, true)]), Ok(-1));
}
