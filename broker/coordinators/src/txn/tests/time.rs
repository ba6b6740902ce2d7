//! Timeouts of transactions and the expiry of ids.

use super::context::*;
use crate::txn::*;

const TIMEOUT: i64 = TIMEOUT_MS as i64;

#[test]
fn a_transaction_is_aborted_when_its_time_is_up_counted_from_its_beginning() {
    for version in [Adding::AddAhead, Adding::Add] {
        let mut cx = TestContext::new();
        let current = cx.init("tx").expect("new");
        cx.advance(10 * TIMEOUT);
        cx.begin("tx", current, version);
        cx.advance(TIMEOUT - 1);
        cx.add("tx", current, &[partition("late", 0)], version);
        assert_eq!(cx.state("tx"), TransactionState::Ongoing);
        cx.advance(1);
        assert_eq!(cx.state("tx"), TransactionState::CompleteAbort);
        let ending = cx.last_ending();
        assert_eq!(ending.producer, producer(current.id, 1));
        assert_eq!(ending.partitions.len(), 2);
        assert_eq!(
            cx.end("tx", current, true, 0),
            Err(ErrorCode::ProducerFenced)
        );
        let ended = cx.measures().aborted[Cause::Timeout as usize];
        assert_eq!(ended.count, 1);
        assert_eq!(ended.open_ms, TIMEOUT as u64);
        // Its producer gets out of it with its own epoch.
        assert_eq!(cx.init_as("tx", Some(current)), Ok(producer(current.id, 1)));
    }
}

#[test]
fn the_timeout_is_that_of_the_last_producer() {
    let mut cx = TestContext::new();
    cx.init_with("tx", None, 1_000).expect("new");
    let current = cx.init_with("tx", None, 5_000).expect("next");
    cx.begin("tx", current, Adding::Add);
    cx.advance(4_999);
    assert_eq!(cx.state("tx"), TransactionState::Ongoing);
    cx.advance(1);
    assert_eq!(cx.state("tx"), TransactionState::CompleteAbort);
}

#[test]
fn a_restart_neither_gives_nor_takes_time() {
    let mut cx = TestContext::new();
    let current = cx.init("tx").expect("new");
    cx.begin("tx", current, Adding::Add);
    cx.advance(TIMEOUT / 2);
    cx.restart();
    cx.advance(TIMEOUT / 2 - 1);
    assert_eq!(cx.state("tx"), TransactionState::Ongoing);
    cx.advance(1);
    assert_eq!(cx.state("tx"), TransactionState::CompleteAbort);
}

#[test]
fn a_wall_clock_that_was_put_back_during_a_restart_gives_one_timeout_and_no_more() {
    let mut cx = TestContext::new();
    let current = cx.init("tx").expect("new");
    cx.begin("tx", current, Adding::Add);
    cx.now_ms -= 900_000_000;
    cx.restart();
    cx.advance(TIMEOUT);
    assert_eq!(cx.state("tx"), TransactionState::CompleteAbort);
}

#[test]
fn an_id_that_is_silent_is_forgotten_and_its_producer_with_it() {
    let mut cx = TestContext::new();
    let expiration = i64::from(cx.config.id_expiration_ms);
    let current = cx.init("tx").expect("new");
    cx.advance(expiration - 1);
    cx.begin("tx", current, Adding::Add);
    cx.end("tx", current, true, 2).expect("ends");
    cx.advance(expiration - 1);
    assert_eq!(cx.state("tx"), TransactionState::CompleteCommit);
    cx.restart();
    cx.advance(1);
    assert_eq!(cx.describe("tx"), Err(ErrorCode::TransactionalIdNotFound));
    let tombstone = cx.log.last().and_then(|unit| unit.record.as_ref());
    assert!(tombstone.is_some_and(|record| record.value.is_none()));
    let current = producer(current.id, 1);
    let late = cx.end("tx", current, true, 2);
    assert_eq!(late, Err(ErrorCode::InvalidProducerIdMapping));
    cx.restart();
    assert_eq!(cx.describe("tx"), Err(ErrorCode::TransactionalIdNotFound));
}

#[test]
fn an_open_transaction_does_not_expire() {
    let mut cx = TestContext::new();
    cx.config.id_expiration_ms = 1_000;
    cx.restart();
    let current = cx.init("tx").expect("new");
    cx.begin("tx", current, Adding::Add);
    cx.advance(TIMEOUT - 1);
    assert_eq!(cx.state("tx"), TransactionState::Ongoing);
    cx.advance(1);
    assert_eq!(cx.state("tx"), TransactionState::CompleteAbort);
    cx.advance(1_000);
    assert_eq!(cx.describe("tx"), Err(ErrorCode::TransactionalIdNotFound));
}
