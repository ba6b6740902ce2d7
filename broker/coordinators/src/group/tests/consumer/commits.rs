//! Who may commit and fetch offsets in a consumer group.

use super::*;

impl TestContext {
    fn commit_as(
        &mut self,
        member_id: &str,
        epoch: i32,
        partition: i32,
        api_version: i16,
    ) -> Option<ErrorCode> {
        let mut topic = commit_topic("t", 5);
        topic.topic_id = topic_id("t");
        topic.partitions[0].partition_index = partition;
        let request = CommitOffsets {
            group_id: "g".into(),
            generation_id_or_member_epoch: epoch,
            member_id: member_id.into(),
            group_instance_id: None,
            retention_time_ms: None,
            topics: vec![topic],
            api_version,
        };
        let token = self.send(GroupRequest::CommitOffsets(request));
        match self.reply(token) {
            GroupReply::CommitOffsets(topics) => topics[0].partitions[0].error,
            other => panic!("{other:?}"),
        }
    }

    fn fetch_as(&mut self, member_id: Option<&str>, member_epoch: i32) -> Option<ErrorCode> {
        let group = FetchGroup {
            group_id: "g".into(),
            member_id: member_id.map(MemberId::from),
            member_epoch,
            topics: None,
        };
        let request = FetchOffsets {
            groups: vec![group],
            require_stable: false,
            allowance: Allowance::unlimited(),
        };
        let token = self.send(GroupRequest::FetchOffsets(request));
        match self.reply(token) {
            GroupReply::FetchOffsets(groups) => groups[0].error,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_member_commits_with_its_epoch_and_nobody_else_does() {
    let mut cx = context();
    let members = cx.settled("g", 1);
    let epoch = members[0].epoch;
    assert_eq!(cx.commit_as("m0", epoch, 0, 9), None);
    assert_eq!(
        cx.commit_as("m0", epoch + 1, 0, 9),
        Some(ErrorCode::StaleMemberEpoch)
    );
    assert_eq!(
        cx.commit_as("m0", epoch - 1, 0, 9),
        Some(ErrorCode::StaleMemberEpoch)
    );
    assert_eq!(
        cx.commit_as("x", epoch, 0, 9),
        Some(ErrorCode::UnknownMemberId)
    );
    assert_eq!(cx.commit_as("", -1, 0, 9), Some(ErrorCode::UnknownMemberId));
    assert_eq!(
        cx.commit_as("m0", epoch, 0, 8),
        Some(ErrorCode::UnsupportedVersion)
    );
}

#[test]
fn an_old_epoch_is_good_for_what_the_member_had_then_and_still_has() {
    let mut cx = context();
    let mut old = Consumer::new("g", "a", &["t"]);
    cx.beat(&mut old);
    let mut members = vec![old, Consumer::new("g", "b", &["t"])];
    cx.settle(&mut members);
    assert_eq!(members[0].epoch, 3);
    for partition in 0..6 {
        let kept = members[0].owned[&topic_id("t")].contains(&partition);
        let expected = (!kept).then_some(ErrorCode::StaleMemberEpoch);
        assert_eq!(
            cx.commit_as("a", 2, partition, 9),
            expected,
            "partition {partition}"
        );
        assert_eq!(
            cx.commit_as("b", 2, partition, 9),
            Some(ErrorCode::StaleMemberEpoch)
        );
    }
}

/// A Java client takes an error that it does not know there for a fatal one, instead of aborting the transaction.
#[test]
fn in_a_transaction_clients_are_told_errors_that_they_know() {
    let mut cx = context();
    let members = cx.settled("g", 1);
    let late = Joined {
        member_id: "m0".into(),
        generation_id: members[0].epoch - 1,
    };
    for version in 3..=5 {
        let old = Some(ErrorCode::IllegalGeneration);
        assert_eq!(cx.commit_txn_in("g", &late, 1, 5, version), old);
        assert_eq!(cx.commit_txn_in("unknown", &late, 1, 5, version), old);
    }
    assert_eq!(
        cx.commit_txn_in("g", &late, 1, 5, 6),
        Some(ErrorCode::StaleMemberEpoch)
    );
    assert_eq!(
        cx.commit_txn_in("unknown", &late, 1, 5, 6),
        Some(ErrorCode::GroupIdNotFound)
    );
}

#[test]
fn tools_may_commit_while_the_group_is_empty() {
    let mut cx = context();
    let members = cx.settled("g", 1);
    cx.leave_consumer(&members[0], -1);
    assert_eq!(cx.commit_as("", -1, 0, 2), None);
}

#[test]
fn a_member_fetches_with_its_epoch_and_tools_fetch_always() {
    let mut cx = context();
    let members = cx.settled("g", 1);
    let epoch = members[0].epoch;
    assert_eq!(cx.fetch_as(Some("m0"), epoch), None);
    assert_eq!(
        cx.fetch_as(Some("m0"), epoch + 1),
        Some(ErrorCode::StaleMemberEpoch)
    );
    assert_eq!(
        cx.fetch_as(Some("x"), epoch),
        Some(ErrorCode::UnknownMemberId)
    );
    assert_eq!(cx.fetch_as(None, -1), None);
    assert_eq!(cx.fetch_as(Some(""), -1), Some(ErrorCode::UnknownMemberId));
}

#[test]
fn offsets_of_subscribed_topics_neither_expire_nor_are_deleted() {
    let mut cx = context();
    let members = cx.settled("g", 1);
    assert_eq!(cx.commit_as("m0", members[0].epoch, 0, 9), None);
    assert_eq!(
        cx.delete_offset("g", "t"),
        Some(ErrorCode::GroupSubscribedToTopic)
    );
    assert_eq!(cx.delete_offset("g", "other"), None);
}

#[test]
fn an_empty_group_without_offsets_expires() {
    let mut cx = context();
    let members = cx.settled("g", 1);
    assert_eq!(cx.commit_as("m0", members[0].epoch, 0, 9), None);
    cx.leave_consumer(&members[0], -1);
    cx.advance(cx.config.offsets_retention_ms - 1_000_000);
    assert_eq!(cx.list(&[], &["consumer"]).len(), 1);
    cx.advance(2_000_000);
    assert_eq!(cx.list(&[], &[]), []);
    cx.crash();
    assert_eq!(cx.list(&[], &[]), []);
}
