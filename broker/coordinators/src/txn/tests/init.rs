//! InitProducerId (KIP-98, KIP-360, KIP-890).

use super::context::*;
use crate::txn::*;

#[test]
fn a_new_id_begins_at_epoch_0_and_each_producer_after_it_has_the_next() {
    let mut cx = TestContext::new();
    let first = cx.init("tx").expect("new");
    assert_eq!(first.epoch, 0);
    assert_eq!(cx.init("tx"), Ok(producer(first.id, 1)));
    let other = cx.init("other").expect("new");
    assert_ne!(first.id, other.id);
    assert_eq!(cx.state("tx"), TransactionState::Empty);
}

#[test]
fn a_timeout_must_be_positive_and_no_more_than_the_maximum() {
    let mut cx = TestContext::new();
    for timeout_ms in [i32::MIN, 0, 900_001, i32::MAX] {
        let refused = cx.init_with("tx", None, timeout_ms);
        assert_eq!(refused, Err(ErrorCode::InvalidTransactionTimeout));
    }
    assert!(cx.log.is_empty());
    assert!(cx.init_with("tx", None, 900_000).is_ok());
}

#[test]
fn whoever_says_who_it_is_gets_the_next_epoch_and_hears_it_again() {
    for restart in [false, true] {
        let mut cx = TestContext::new();
        let first = cx.init("tx").expect("new");
        let next = producer(first.id, 1);
        assert_eq!(cx.init_as("tx", Some(first)), Ok(next));
        if restart {
            cx.restart();
        }
        for _ in 0..3 {
            assert_eq!(cx.init_as("tx", Some(first)), Ok(next));
        }
        assert_eq!(cx.init_as("tx", Some(next)), Ok(producer(first.id, 2)));
        // Now it is too late for the first one.
        assert_eq!(
            cx.init_as("tx", Some(first)),
            Err(ErrorCode::ProducerFenced)
        );
    }
}

#[test]
fn somebody_new_takes_the_last_epoch_away() {
    let mut cx = TestContext::new();
    let first = cx.init("tx").expect("new");
    let second = cx.init("tx").expect("next");
    assert_eq!(
        cx.init_as("tx", Some(first)),
        Err(ErrorCode::ProducerFenced)
    );
    assert!(cx.init_as("tx", Some(second)).is_ok());
}

#[test]
fn an_unknown_id_is_made_for_a_producer_that_was_forgotten() {
    let mut cx = TestContext::new();
    let answered = cx.init_as("tx", Some(producer(17, 9))).expect("made");
    assert_eq!(answered.epoch, 0);
    assert_ne!(answered.id, 17);
}

/// Every (id, epoch) that somebody may expect, where nothing is open.
#[test]
fn an_expected_id_and_epoch_are_those_of_the_table() {
    let fenced = Err(ErrorCode::ProducerFenced);
    let fresh = |cx: &TestContext| Ok(producer(cx.next_id, 0));
    for (at, last, expected, answer) in [
        (5, 4, producer(1, 5), Ok(producer(1, 6))),
        (5, 4, producer(1, 4), Ok(producer(1, 5))),
        (5, 4, producer(1, 3), fenced),
        (5, 4, producer(1, 6), fenced),
        (5, -1, producer(1, 4), fenced),
        (5, 4, producer(2, 5), fenced),
        (32_765, 4, producer(1, 32_765), Ok(producer(1, 32_766))),
        (32_766, 32_765, producer(1, 32_765), Ok(producer(1, 32_766))),
        (32_766, 4, producer(1, 3), fenced),
    ] {
        let mut cx = TestContext::new();
        cx.adopt_at("tx", producer(1, at));
        let mut known = cx.last("tx").clone();
        known.last_epoch = last;
        cx.adopt("tx", known);
        assert_eq!(
            cx.init_as("tx", Some(expected)),
            answer,
            "{at} {expected:?}"
        );
    }
    let mut cx = TestContext::new();
    cx.adopt_at("tx", producer(1, 32_766));
    let answer = fresh(&cx);
    assert_eq!(cx.init_as("tx", Some(producer(1, 32_766))), answer);
}

#[test]
fn a_producer_without_epochs_left_gets_another_id_and_hears_of_it_again() {
    let mut cx = TestContext::new();
    cx.adopt_at("tx", producer(7, 32_766));
    let next = cx.init_as("tx", Some(producer(7, 32_766))).expect("next");
    assert_eq!(next.epoch, 0);
    assert_ne!(next.id, 7);
    for _ in 0..3 {
        assert_eq!(cx.init_as("tx", Some(producer(7, 32_766))), Ok(next));
    }
    let stranger = cx.init_as("tx", Some(producer(7, 32_765)));
    assert_eq!(stranger, Err(ErrorCode::ProducerFenced));
    cx.restart();
    assert_eq!(cx.init_as("tx", Some(producer(7, 32_766))), Ok(next));
}

#[test]
fn an_open_transaction_is_aborted_and_the_answer_comes_at_once() {
    let mut cx = TestContext::new();
    let first = cx.init("tx").expect("new");
    cx.begin("tx", first, Adding::AddAhead);
    let second = cx.init("tx");
    // One epoch is for the markers.
    assert_eq!(second, Ok(producer(first.id, 2)));
    let ending = cx.last_ending();
    assert_eq!(ending.producer, producer(first.id, 1));
    assert!(!ending.commit);
    assert_eq!(ending.transaction_version, 2);
    assert_eq!(ending.partitions, [partition("topic", 0)]);
    assert_eq!(cx.state("tx"), TransactionState::Empty);
    assert_eq!(cx.end("tx", first, true, 0), Err(ErrorCode::ProducerFenced));
    assert_eq!(cx.measures().aborted[Cause::Fence as usize].count, 1);
}

#[test]
fn a_producer_may_abort_its_own_transaction_so_and_keeps_going() {
    let mut cx = TestContext::new();
    let first = cx.init("tx").expect("new");
    cx.begin("tx", first, Adding::Add);
    let next = producer(first.id, 1);
    assert_eq!(cx.init_as("tx", Some(first)), Ok(next));
    assert_eq!(cx.init_as("tx", Some(first)), Ok(next), "again");
    cx.begin("tx", next, Adding::Add);
}

#[test]
fn a_zombie_does_not_abort_the_transaction_of_whoever_came_after_it() {
    let mut cx = TestContext::new();
    let zombie = cx.init("tx").expect("new");
    let current = cx.init_as("tx", Some(zombie)).expect("next");
    cx.begin("tx", current, Adding::Add);
    let length = cx.log.len();
    for expected in [zombie, producer(99, 0), producer(current.id, 2)] {
        let refused = cx.init_as("tx", Some(expected));
        assert_eq!(refused, Err(ErrorCode::ProducerFenced));
    }
    assert_eq!(cx.log.len(), length);
    assert_eq!(cx.state("tx"), TransactionState::Ongoing);
}

#[test]
fn an_open_transaction_without_epochs_left_is_aborted_under_the_last_one() {
    for (at, expected, answer) in [
        (32_766, Some(32_766), 0),
        (32_766, None, 1),
        (32_765, Some(32_765), 32_766),
        (32_765, None, 0),
    ] {
        let mut cx = TestContext::new();
        let current = producer(7, at);
        cx.adopt_at("tx", current);
        cx.begin("tx", current, Adding::Add);
        let next = cx.init_as("tx", expected.map(|epoch| producer(7, epoch)));
        let next = next.expect("next");
        assert_eq!(next.epoch, answer, "{at} {expected:?}");
        assert_eq!(next.id == 7, answer == 32_766);
        assert_eq!(cx.last_ending().producer, producer(7, at + 1));
        if let Some(epoch) = expected {
            let again = cx.init_as("tx", Some(producer(7, epoch)));
            assert_eq!(again, Ok(next));
        }
    }
}
