use super::{
    super::*,
    context::{Joined, TestContext, nobody},
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
            Err(GroupError::UnstableOffsetCommit)
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
        Some(GroupError::UnstableOffsetCommit)
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
        Err(GroupError::UnstableOffsetCommit)
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
        Some(GroupError::InvalidGroupId)
    );
    assert_eq!(
        cx.commit_txn("unknown", &members[0], 1, 1),
        Some(GroupError::IllegalGeneration)
    );
    assert_eq!(
        cx.commit_txn("g", &stranger, 1, 1),
        Some(GroupError::UnknownMemberId)
    );
    assert_eq!(
        cx.commit_txn("g", &older, 1, 1),
        Some(GroupError::IllegalGeneration)
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
    let groups: Vec<Id> = cx
        .list(&[], &[])
        .into_iter()
        .map(|group| group.group_id)
        .collect();
    assert_eq!(groups, ["h".into()]);
}
