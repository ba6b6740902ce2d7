//! What is found in a log: our own after a crash, or Kafka's.

use super::context::*;
use crate::txn::*;
use std::sync::Arc;

/// A state as Kafka leaves it, without our own field.
fn left_by_kafka(state: TransactionState, version: i16) -> Transaction {
    Transaction {
        producer: producer(7, 6),
        previous_producer_id: 7,
        timeout_ms: TIMEOUT_MS,
        state,
        start_ms: 1_700_000_000_000,
        last_update_ms: 1_700_000_000_001,
        version,
        partitions: Arc::new([partition("a", 0), partition("b", 3)].into_iter().collect()),
        ..Transaction::unused(7, 0)
    }
}

#[test]
fn an_end_that_was_under_way_is_finished_as_its_record_says() {
    for version in [0, 2] {
        for (prepared, completed) in [
            (
                TransactionState::PrepareCommit,
                TransactionState::CompleteCommit,
            ),
            (
                TransactionState::PrepareAbort,
                TransactionState::CompleteAbort,
            ),
        ] {
            let mut cx = TestContext::new();
            cx.adopt("tx", left_by_kafka(prepared, version));
            assert_eq!(cx.state("tx"), completed);
            let ending = cx.last_ending();
            assert_eq!(ending.producer, producer(7, 6));
            assert_eq!(ending.commit, prepared == TransactionState::PrepareCommit);
            assert_eq!(ending.transaction_version, version);
            assert_eq!(ending.partitions.len(), 2);
            let length = cx.log.len();
            cx.restart();
            assert_eq!(cx.log.len(), length, "once");
        }
    }
}

#[test]
fn the_next_producer_id_comes_with_the_end_that_was_under_way() {
    let mut cx = TestContext::new();
    let prepared = Transaction {
        producer: producer(7, i16::MAX),
        next_producer_id: 8,
        ..left_by_kafka(TransactionState::PrepareCommit, 2)
    };
    cx.adopt("tx", prepared);
    assert_eq!(cx.last("tx").producer, producer(8, 0));
    assert_eq!(cx.last_ending().producer, producer(7, i16::MAX));
    // The client that has not heard of it asks again.
    let again = cx.end("tx", producer(7, 32_766), true, 2);
    assert_eq!(again, Ok(producer(8, 0)));
}

#[test]
fn an_open_transaction_of_kafka_goes_on_or_times_out() {
    for goes_on in [true, false] {
        let mut cx = TestContext::new();
        let open = Transaction {
            start_ms: cx.wall_ms(),
            ..left_by_kafka(TransactionState::Ongoing, 0)
        };
        cx.adopt("tx", open);
        if goes_on {
            cx.end("tx", producer(7, 6), true, 0).expect("ends");
            assert_eq!(cx.state("tx"), TransactionState::CompleteCommit);
        } else {
            cx.advance(i64::from(TIMEOUT_MS));
            assert_eq!(cx.state("tx"), TransactionState::CompleteAbort);
        }
        assert_eq!(cx.last_ending().partitions.len(), 2);
    }
}

#[test]
fn a_record_that_is_none_is_told_and_changes_nothing() {
    let mut cx = TestContext::new();
    let current = cx.init("tx").expect("new");
    assert!(
        cx.shard
            .replay(None, &[0, 0, 0, 2, b't', b'x'], Some(&[0]))
            .is_err()
    );
    assert!(cx.shard.replay(None, &[], None).is_err());
    assert_eq!(cx.init("tx"), Ok(producer(current.id, 1)));
}
