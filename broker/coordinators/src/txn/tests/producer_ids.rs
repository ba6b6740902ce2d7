//! Fresh producer ids: the owner hands them in, and they may be late or not to be had.

use super::context::*;
use crate::txn::*;

#[test]
fn requests_without_an_id_wait_for_it_and_others_do_not() {
    let mut cx = TestContext::new();
    let known = cx.init("known").expect("new");
    cx.hold_ids = true;
    // Whatever was at hand is taken.
    while cx.asked.is_empty() || cx.shard.next_deadline().is_none() {
        let number = cx.next_id;
        cx.next_id += 1;
        cx.send(init_request(&format!("filler{number}"), None, TIMEOUT_MS));
    }
    let mut waiting = Vec::new();
    for number in 0..20 {
        waiting.push(cx.send(init_request(&format!("new{number}"), None, TIMEOUT_MS)));
    }
    assert_eq!(cx.asked.len(), 1, "asked once");
    assert!(waiting.iter().any(|token| !cx.replies.contains_key(token)));
    assert_eq!(cx.init("known"), Ok(producer(known.id, 1)));
    cx.hold_ids = false;
    cx.answer();
    let mut ids: Vec<_> = waiting
        .into_iter()
        .map(|token| match cx.reply(token) {
            TransactionReply::InitProducer(Ok(producer)) => producer.id,
            other => panic!("{other:?}"),
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20, "each its own");
}

#[test]
fn more_ids_are_asked_for_before_the_last_one_is_gone() {
    let mut cx = TestContext::new();
    cx.init("first").expect("new");
    cx.hold_ids = true;
    let mut number = 0;
    while cx.asked.is_empty() {
        number += 1;
        assert!(cx.init(&format!("tx{number}")).is_ok());
    }
    assert!(cx.init("last").is_ok());
}

#[test]
fn without_ids_to_be_had_requests_are_refused_and_nothing_is_kept() {
    let mut cx = TestContext::new();
    cx.hold_ids = true;
    let token = cx.send(init_request("tx", None, TIMEOUT_MS));
    assert_eq!(cx.asked.len(), 1);
    cx.asked.clear();
    cx.answer_with(Vec::new());
    let refused = TransactionReply::Refused(ErrorCode::CoordinatorNotAvailable);
    assert_eq!(cx.reply(token), refused);
    assert!(
        cx.asked.is_empty(),
        "asked again by the next request, not at once"
    );
    cx.hold_ids = false;
    assert!(cx.init("tx").is_ok());
}

#[test]
fn a_shard_that_is_given_up_refuses_what_waits() {
    let mut cx = TestContext::new();
    cx.hold_ids = true;
    let token = cx.send(init_request("tx", None, TIMEOUT_MS));
    let refused = cx.shard.unload(crate::machine::Refused::NotCoordinator);
    let reply = TransactionReply::Refused(ErrorCode::NotCoordinator);
    assert_eq!(refused, [(token, reply)]);
}

#[test]
fn a_transaction_whose_time_is_up_waits_for_an_id_if_it_needs_one() {
    for client_ends_it in [false, true] {
        let mut cx = TestContext::new();
        let current = producer(7, 32_766);
        cx.adopt_at("tx", current);
        cx.begin("tx", current, Adding::AddAhead);
        cx.hold_ids = true;
        cx.advance(i64::from(TIMEOUT_MS));
        assert_eq!(cx.asked.len(), 1);
        assert_eq!(cx.state("tx"), TransactionState::Ongoing);
        if client_ends_it {
            cx.end("tx", current, true, 0).expect("ends");
            cx.begin("tx", current, Adding::AddAhead);
            cx.answer();
            assert_eq!(cx.state("tx"), TransactionState::Ongoing, "the next one");
            continue;
        }
        cx.asked.clear();
        cx.answer_with(Vec::new());
        assert_eq!(cx.state("tx"), TransactionState::Ongoing);
        cx.hold_ids = false;
        cx.advance(10_000);
        assert_eq!(cx.state("tx"), TransactionState::CompleteAbort);
        assert_eq!(cx.last("tx").producer.epoch, 0);
        assert_eq!(cx.last_ending().producer, producer(7, i16::MAX));
    }
}
