//! ListTransactions and DescribeTransactions.

use super::context::*;
use crate::allowance::{Allowance, Priced};
use crate::txn::*;

fn listed(cx: &mut TestContext, request: ListTransactions) -> Vec<String> {
    match cx.call(TransactionRequest::List(request)) {
        TransactionReply::List(listed) => {
            let ids = listed
                .iter()
                .map(|listed| listed.transactional_id.to_string());
            ids.collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_list_has_what_passes_every_filter() {
    let mut cx = TestContext::new();
    let a = cx.init("a").expect("new");
    let b = cx.init("b").expect("new");
    cx.begin("a", a, Adding::Add);
    cx.advance(1_000);
    cx.begin("b", b, Adding::Add);
    cx.end("b", b, true, 2).expect("ends");
    cx.init("c").expect("new");
    assert_eq!(
        listed(&mut cx, ListTransactions::default()),
        ["a", "b", "c"]
    );
    let states = [TransactionState::Ongoing, TransactionState::Empty];
    let of_states = ListTransactions {
        states: Some(states.into_iter().collect()),
        ..ListTransactions::default()
    };
    assert_eq!(listed(&mut cx, of_states.clone()), ["a", "c"]);
    let of_both = ListTransactions {
        producer_ids: Some([a.id, b.id, 99].into_iter().collect()),
        ..of_states
    };
    assert_eq!(listed(&mut cx, of_both), ["a"]);
    let longer_than = |bound_ms| ListTransactions {
        longer_than_ms: Some(bound_ms),
        ..ListTransactions::default()
    };
    // Nothing has begun under "c", which Kafka takes for the longest time of all.
    assert_eq!(listed(&mut cx, longer_than(1_000)), ["c"]);
    assert_eq!(listed(&mut cx, longer_than(999)), ["a", "c"]);
    cx.advance(1);
    assert_eq!(listed(&mut cx, longer_than(0)), ["a", "b", "c"]);
}

#[test]
fn an_id_is_described_as_it_is() {
    let mut cx = TestContext::new();
    assert_eq!(cx.describe("tx"), Err(ErrorCode::TransactionalIdNotFound));
    let current = cx.init("tx").expect("new");
    assert_eq!(cx.describe("tx").expect("known").start_ms, -1);
    cx.begin("tx", current, Adding::AddAhead);
    let start_ms = cx.wall_ms();
    cx.advance(5);
    let description = Description {
        state: TransactionState::Ongoing,
        timeout_ms: TIMEOUT_MS,
        start_ms,
        producer: current,
        topics: vec![("topic".into(), vec![0])],
    };
    assert_eq!(cx.describe("tx"), Ok(description.clone()));
    cx.end("tx", current, true, 0).expect("ends");
    let ended = Description {
        state: TransactionState::CompleteCommit,
        topics: Vec::new(),
        ..description
    };
    assert_eq!(cx.describe("tx"), Ok(ended));
}

#[test]
fn descriptions_of_one_id_again_and_again_end_where_their_allowance_does() {
    let mut cx = TestContext::new();
    let current = cx.init("tx").expect("new");
    let many: Vec<_> = (0..1_000).map(|index| partition("a", index)).collect();
    cx.add("tx", current, &many, Adding::Add);
    let mut describe = |count: usize, allowance| {
        let request = DescribeTransactions {
            transactional_ids: vec!["tx".into(); count],
            allowance,
        };
        match cx.call(TransactionRequest::Describe(request)) {
            TransactionReply::Describe(described) => described,
            other => panic!("{other:?}"),
        }
    };
    let price = describe(1, Allowance::unlimited())[0].price_bytes();
    let described = describe(4, Allowance::new(2 * price));
    let outcomes = described.iter().map(|described| described.outcome.as_ref());
    let errors: Vec<_> = outcomes.map(|outcome| outcome.err().copied()).collect();
    let refused = Some(ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(errors, [None, None, refused, refused]);
    let too_large = &describe(1, Allowance::new(price - 1))[0].outcome;
    assert_eq!(*too_large, Err(ErrorCode::UnknownServerError));
}
