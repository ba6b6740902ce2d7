//! AddPartitionsToTxn, AddOffsetsToTxn, and what Produce needs of them.

use super::context::*;
use crate::txn::*;
use uuid::Uuid;

#[test]
fn partitions_are_written_down_when_they_are_new() {
    let mut cx = TestContext::new();
    let current = cx.init("tx").expect("new");
    let both = [partition("a", 0), partition("a", 1)];
    assert_eq!(cx.add("tx", current, &both, Adding::AddAhead), [Ok(()); 2]);
    let length = cx.log.len();
    assert_eq!(cx.add("tx", current, &both, Adding::AddAhead), [Ok(()); 2]);
    assert_eq!(cx.add("tx", current, &both[..1], Adding::Add), [Ok(())]);
    assert_eq!(cx.log.len(), length, "nothing was new");
    let third = [both[0].clone(), partition("b", 0)];
    assert_eq!(cx.add("tx", current, &third, Adding::AddAhead), [Ok(()); 2]);
    assert_eq!(cx.log.len(), length + 1);
    let topics = cx.describe("tx").expect("known").topics;
    assert_eq!(topics, [("a".into(), vec![0, 1]), ("b".into(), vec![0])]);
}

#[test]
fn only_the_current_producer_adds_and_verifies() {
    for adding in [Adding::Verify, Adding::Add, Adding::AddAhead] {
        let mut cx = TestContext::new();
        let new = [partition("a", 0)];
        let unknown = cx.add("tx", producer(1, 0), &new, adding);
        assert_eq!(unknown, [Err(ErrorCode::InvalidProducerIdMapping)]);
        cx.adopt_at("tx", producer(1, 5));
        for (asking, error) in [
            (producer(2, 5), ErrorCode::InvalidProducerIdMapping),
            (producer(1, 4), ErrorCode::ProducerFenced),
            (producer(1, 6), ErrorCode::ProducerFenced),
        ] {
            let length = cx.log.len();
            assert_eq!(cx.add("tx", asking, &new, adding), [Err(error)]);
            assert_eq!(cx.log.len(), length);
        }
    }
}

#[test]
fn verifying_adds_nothing() {
    let mut cx = TestContext::new();
    let current = cx.init("tx").expect("new");
    let asked = [partition("a", 0), partition("a", 1)];
    let not_in_it = Err(ErrorCode::TransactionAbortable);
    let verify = |cx: &mut TestContext| cx.add("tx", current, &asked, Adding::Verify);
    assert_eq!(verify(&mut cx), [not_in_it; 2]);
    assert_eq!(
        cx.add("tx", current, &asked[..1], Adding::AddAhead),
        [Ok(())]
    );
    assert_eq!(verify(&mut cx), [Ok(()), not_in_it]);
    cx.restart();
    assert_eq!(verify(&mut cx), [Ok(()), not_in_it]);
    assert_eq!(cx.end("tx", current, true, 0).map(|_| ()), Ok(()));
    assert_eq!(verify(&mut cx), [not_in_it; 2]);
}

#[test]
fn the_version_of_whoever_adds_is_noted() {
    let mut cx = TestContext::new();
    let current = cx.init("tx").expect("new");
    cx.begin("tx", current, Adding::AddAhead);
    assert_eq!(cx.last("tx").version, 0);
    cx.add("tx", current, &[partition("b", 0)], Adding::Add);
    assert_eq!(cx.last("tx").version, 2);
}

#[test]
fn a_topic_that_is_made_anew_is_another_topic() {
    let mut cx = TestContext::new();
    let current = cx.init("tx").expect("new");
    let old = partition("a", 0);
    let new = Partition {
        topic_id: Uuid::from_u128(99),
        ..old.clone()
    };
    cx.add("tx", current, std::slice::from_ref(&old), Adding::Add);
    let verified = cx.add("tx", current, std::slice::from_ref(&new), Adding::Verify);
    assert_eq!(verified, [Err(ErrorCode::TransactionAbortable)]);
    cx.add("tx", current, std::slice::from_ref(&new), Adding::Add);
    let topics = cx.describe("tx").expect("known").topics;
    assert_eq!(topics, [("a".into(), vec![0])], "one name");
    cx.end("tx", current, true, 2).expect("ends");
    assert_eq!(cx.last_ending().partitions, [new, old]);
}

#[test]
fn after_a_restart_a_partition_is_known_by_its_name() {
    let mut cx = TestContext::new();
    let current = cx.init("tx").expect("new");
    cx.begin("tx", current, Adding::Add);
    cx.restart();
    let length = cx.log.len();
    cx.begin("tx", current, Adding::Add);
    assert_eq!(cx.log.len(), length, "it is in it already");
    cx.end("tx", current, true, 2).expect("ends");
    let ended = &cx.last_ending().partitions;
    assert_eq!((ended.len(), ended[0].topic_id), (1, Uuid::nil()));
}

#[test]
fn what_does_not_fit_into_a_record_is_refused_before_anything_changes() {
    let mut cx = TestContext::new();
    cx.max_batch_bytes = 2_000;
    let current = cx.init("tx").expect("new");
    let many: Vec<_> = (0..1_000).map(|index| partition("a", index)).collect();
    let length = cx.log.len();
    let refused = cx.add("tx", current, &many, Adding::Add);
    assert_eq!(refused.len(), many.len());
    let too_large = Err(ErrorCode::UnknownServerError);
    assert!(refused.iter().all(|outcome| *outcome == too_large));
    assert_eq!(
        (cx.log.len(), cx.state("tx")),
        (length, TransactionState::Empty)
    );
    assert_eq!(
        cx.add("tx", current, &many[..100], Adding::Add),
        vec![Ok(()); 100]
    );
    // However it ends, it fits.
    cx.end("tx", current, true, 2).expect("ends");
    assert_eq!(
        cx.init(&"x".repeat(3_000)),
        Err(ErrorCode::UnknownServerError)
    );
}
