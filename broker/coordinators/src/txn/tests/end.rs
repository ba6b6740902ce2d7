//! EndTxn, before KIP-890 and with it: every state, every producer.

use super::context::*;
use crate::txn::TransactionState::*;
use crate::txn::*;

const FENCED: Result<Producer, ErrorCode> = Err(ErrorCode::ProducerFenced);
const UNKNOWN: Result<Producer, ErrorCode> = Err(ErrorCode::InvalidProducerIdMapping);
const WRONG_STATE: Result<Producer, ErrorCode> = Err(ErrorCode::InvalidTxnState);
const CONCURRENT: Result<Producer, ErrorCode> = Err(ErrorCode::ConcurrentTransactions);
const UNCHANGED: Result<Producer, ErrorCode> = Ok(Producer { id: -1, epoch: -1 });

/// A shard where "tx" is in this state, its producer 7 at epoch 5.
fn at(state: TransactionState, version: i16) -> TestContext {
    let mut cx = TestContext::new();
    cx.adopt_at("tx", producer(7, 5));
    let mut known = cx.last("tx").clone();
    if state == Ongoing {
        cx.begin("tx", producer(7, 5), Adding::Add);
        return cx;
    }
    (known.state, known.version) = (state, version);
    match state.is_prepare() {
        // A load would go on with it.
        true => {
            cx.shard.transactions.insert("tx".into(), known);
        }
        false => cx.adopt("tx", known),
    }
    cx
}

fn answer(
    state: TransactionState,
    asking: Producer,
    commit: bool,
    version: i16,
) -> (Result<Producer, ErrorCode>, bool) {
    let cx = at(state, version);
    let request = EndTransaction {
        transactional_id: "tx".into(),
        producer: asking,
        commit,
        version,
    };
    let mut shard = cx.shard;
    let effects = shard.handle(
        &moment(cx.now_ms),
        Token(0),
        TransactionRequest::End(request),
    );
    let [(_, TransactionReply::End(answer))] = &effects.replies[..] else {
        panic!("{:?}", effects.replies);
    };
    (*answer, !effects.writes.is_empty())
}

#[test]
fn before_version_5_only_the_current_epoch_ends_and_the_state_tells_a_retry() {
    for (state, commit, expected) in [
        (Empty, true, (WRONG_STATE, false)),
        (Empty, false, (WRONG_STATE, false)),
        (Ongoing, true, (UNCHANGED, true)),
        (Ongoing, false, (UNCHANGED, true)),
        (PrepareCommit, true, (CONCURRENT, false)),
        (PrepareCommit, false, (WRONG_STATE, false)),
        (PrepareAbort, true, (WRONG_STATE, false)),
        (PrepareAbort, false, (CONCURRENT, false)),
        (CompleteCommit, true, (UNCHANGED, false)),
        (CompleteCommit, false, (WRONG_STATE, false)),
        (CompleteAbort, true, (WRONG_STATE, false)),
        (CompleteAbort, false, (UNCHANGED, false)),
    ] {
        let answered = answer(state, producer(7, 5), commit, 0);
        assert_eq!(answered, expected, "{state:?} {commit}");
        for (asking, refused) in [
            (producer(7, 4), FENCED),
            (producer(7, 6), FENCED),
            (producer(8, 5), UNKNOWN),
        ] {
            let answered = answer(state, asking, commit, 0);
            assert_eq!(answered, (refused, false), "{state:?} {asking:?}");
        }
    }
}

#[test]
fn from_version_5_on_the_epoch_tells_a_retry() {
    let current = Ok(producer(7, 5));
    let next = Ok(producer(7, 6));
    for (state, commit, now, retry) in [
        (Empty, true, (WRONG_STATE, false), FENCED),
        (Empty, false, (next, true), FENCED),
        (Ongoing, true, (next, true), FENCED),
        (Ongoing, false, (next, true), FENCED),
        (PrepareCommit, true, (FENCED, false), CONCURRENT),
        (PrepareCommit, false, (FENCED, false), WRONG_STATE),
        (PrepareAbort, true, (FENCED, false), WRONG_STATE),
        (PrepareAbort, false, (FENCED, false), CONCURRENT),
        (CompleteCommit, true, (WRONG_STATE, false), current),
        (CompleteCommit, false, (next, true), WRONG_STATE),
        (CompleteAbort, true, (WRONG_STATE, false), WRONG_STATE),
        (CompleteAbort, false, (next, true), current),
    ] {
        let answered = answer(state, producer(7, 5), commit, 2);
        assert_eq!(answered, now, "{state:?} {commit}");
        let answered = answer(state, producer(7, 4), commit, 2);
        assert_eq!(answered, (retry, false), "retry: {state:?} {commit}");
        for (asking, refused) in [
            (producer(7, 3), FENCED),
            (producer(7, 6), FENCED),
            (producer(8, 5), UNKNOWN),
            (producer(8, 4), UNKNOWN),
        ] {
            let answered = answer(state, asking, commit, 2);
            assert_eq!(answered, (refused, false), "{state:?} {asking:?}");
        }
    }
}

/// Version 0 does not bump the epoch, so the one before belongs to a producer that another has fenced.
#[test]
fn after_an_end_of_version_0_the_epoch_before_is_no_retry() {
    for (state, commit) in [(CompleteCommit, true), (CompleteAbort, false)] {
        let mut cx = at(state, 0);
        let request = EndTransaction {
            transactional_id: "tx".into(),
            producer: producer(7, 4),
            commit,
            version: 2,
        };
        let moment = moment(cx.now_ms);
        let request = TransactionRequest::End(request);
        let effects = cx.shard.handle(&moment, Token(0), request);
        let answer = TransactionReply::End(FENCED);
        assert_eq!(effects.replies, [(Token(0), answer)], "{state:?}");
        assert!(effects.writes.is_empty());
    }
}

#[test]
fn an_unknown_id_has_nothing_to_end() {
    let mut cx = TestContext::new();
    for version in [0, 2] {
        assert_eq!(cx.end("tx", producer(1, 0), true, version), UNKNOWN);
    }
}

#[test]
fn before_version_5_markers_carry_the_epoch_that_stays() {
    let mut cx = at(Ongoing, 0);
    assert_eq!(cx.end("tx", producer(7, 5), true, 0), UNCHANGED);
    let ending = cx.last_ending();
    assert_eq!(ending.producer, producer(7, 5));
    assert_eq!((ending.commit, ending.transaction_version), (true, 0));
    assert_eq!(cx.state("tx"), CompleteCommit);
    cx.begin("tx", producer(7, 5), Adding::AddAhead);
}

#[test]
fn from_version_5_on_markers_carry_the_next_epoch_which_the_producer_has_afterwards() {
    let mut cx = at(Ongoing, 2);
    assert_eq!(cx.end("tx", producer(7, 5), false, 2), Ok(producer(7, 6)));
    let ending = cx.last_ending();
    assert_eq!(ending.producer, producer(7, 6));
    assert_eq!((ending.commit, ending.transaction_version), (false, 2));
    assert_eq!(cx.state("tx"), CompleteAbort);
    let late = cx.add("tx", producer(7, 5), &[partition("topic", 0)], Adding::Add);
    assert_eq!(late, [Err(ErrorCode::ProducerFenced)]);
}

#[test]
fn an_end_that_was_answered_is_answered_the_same_again() {
    for restart in [false, true] {
        for (epoch, commit) in [(5, true), (5, false), (32_766, true), (32_766, false)] {
            let mut cx = TestContext::new();
            let current = producer(7, epoch);
            cx.adopt_at("tx", current);
            cx.begin("tx", current, Adding::Add);
            let next = cx.end("tx", current, commit, 2);
            let is_new_id = epoch == 32_766;
            assert_eq!(next.map(|next| next.id != 7), Ok(is_new_id));
            let markers = cx.last_ending().producer;
            assert_eq!(markers, producer(7, epoch + 1), "never above 32767");
            if restart {
                cx.restart();
            }
            let length = cx.log.len();
            for _ in 0..3 {
                assert_eq!(cx.end("tx", current, commit, 2), next);
                assert_eq!(cx.end("tx", current, !commit, 2), WRONG_STATE);
            }
            assert_eq!(cx.log.len(), length);
            // InitProducerId of the same producer answers the same, too.
            assert_eq!(cx.init_as("tx", Some(current)), next);
        }
    }
}

#[test]
fn what_was_not_begun_can_be_aborted_and_counts_its_time_from_then() {
    let mut cx = TestContext::new();
    let current = cx.init("tx").expect("new");
    cx.advance(10);
    assert_eq!(cx.end("tx", current, false, 2), Ok(producer(current.id, 1)));
    assert_eq!(cx.describe("tx").expect("known").start_ms, cx.wall_ms());
    let last = cx.log.last().expect("not empty");
    assert!(last.ending.is_none(), "no partition, no marker");
    assert_eq!(cx.state("tx"), CompleteAbort);
}

#[test]
fn with_very_many_partitions_the_end_is_written_down_first() {
    let mut cx = TestContext::new();
    let current = cx.init("tx").expect("new");
    let many: Vec<_> = (0..25_000).map(|index| partition("a", index)).collect();
    cx.add("tx", current, &many, Adding::Add);
    let before = cx.log.len();
    let next = cx.end("tx", current, true, 2).expect("ends");
    let units = &cx.log[before..];
    let state = |unit: &Unit| {
        let record = unit.record.as_ref()?;
        Some(record.value.as_ref().expect("no tombstone").state)
    };
    let states: Vec<_> = units.iter().map(state).collect();
    // Each write has a record of the coordinator's, so that the log takes none of a coordinator that has been replaced.
    let prepared = Some(PrepareCommit);
    assert_eq!(states, [prepared, prepared, Some(CompleteCommit)]);
    let markers = units.iter().filter_map(|unit| unit.ending.as_ref());
    let markers: Vec<_> = markers
        .flat_map(|ending| ending.partitions.clone())
        .collect();
    assert_eq!(markers, many);
    // A crash in between is no end. The load goes on with all of them.
    for left in 1..3 {
        let mut cx = TestContext {
            log: cx.log.clone(),
            ..TestContext::new()
        };
        cx.crash(before + left);
        assert_eq!(cx.state("tx"), CompleteCommit);
        let written = cx.log[before + left..].iter();
        let written = written.filter_map(|unit| unit.ending.as_ref());
        let written: Vec<_> = written
            .flat_map(|ending| ending.partitions.clone())
            .collect();
        assert_eq!(written.len(), many.len());
        assert_eq!(cx.end("tx", current, true, 2), Ok(next));
    }
}
