use bytes::Bytes;
use proptest::prelude::*;

use super::snapshot::{from_sidecar, from_snapshot, to_sidecar, to_snapshot};
use super::*;
use crate::record::{BatchBuilder, BatchHeader};

const NOW_MS: i64 = 1_700_000_000_000;
const PRODUCER: i64 = 42;

fn config() -> ProducerStateConfig {
    ProducerStateConfig {
        transaction_verification_enabled: false,
        ..Default::default()
    }
}

fn state() -> ProducerState {
    ProducerState::new(config(), 0)
}

/// Header of a batch of `count` records with sequences from `sequence`, at the log's end.
fn batch(state: &ProducerState, epoch: i16, sequence: i32, count: i32) -> BatchHeader {
    let mut builder = BatchBuilder::new()
        .base_offset(state.end_offset())
        .producer(PRODUCER, epoch, sequence)
        .last_offset_delta(count - 1);
    builder.append(NOW_MS, None, None, &[]);
    BatchHeader::parse(&builder.build().unwrap()).unwrap()
}

fn transactional(mut header: BatchHeader) -> BatchHeader {
    header.attributes |= 0x10;
    header
}

fn of_producer(mut header: BatchHeader, producer_id: i64) -> BatchHeader {
    header.producer_id = producer_id;
    header
}

fn marker(result: TransactionResult) -> EndTxnMarker {
    EndTxnMarker {
        result,
        coordinator_epoch: 1,
    }
}

fn end_txn(
    state: &mut ProducerState,
    producer_id: i64,
    epoch: i16,
    result: TransactionResult,
) -> Option<CompletedTxn> {
    let batch = marker(result).to_batch(producer_id, epoch, NOW_MS).unwrap();
    let mut header = BatchHeader::parse(&batch).unwrap();
    header.base_offset = state.end_offset();
    state.apply(&header, Some(marker(result)), NOW_MS)
}

fn append(state: &mut ProducerState, header: BatchHeader) -> Result<Verdict, ProducerError> {
    let verdict = state.check(&header, None)?;
    if verdict == Verdict::Append {
        state.apply(&header, None, NOW_MS);
    }
    Ok(verdict)
}

fn name(verdict: Result<Verdict, ProducerError>) -> &'static str {
    match verdict {
        Ok(Verdict::Append) => "append",
        Ok(Verdict::Duplicate(_)) => "duplicate",
        Err(ProducerError::OutOfOrderSequence { .. }) => "OUT_OF_ORDER_SEQUENCE_NUMBER",
        Err(ProducerError::InvalidProducerEpoch { .. }) => "INVALID_PRODUCER_EPOCH",
        Err(ProducerError::InvalidTxnState { .. }) => "INVALID_TXN_STATE",
        Err(ProducerError::TransactionCoordinatorFenced { .. }) => "TRANSACTION_COORDINATOR_FENCED",
    }
}

#[test]
fn every_batch_of_a_producer_is_appended_once_and_in_order() {
    const MAX: i32 = i32::MAX;
    const GAP: &str = "OUT_OF_ORDER_SEQUENCE_NUMBER";
    const FENCED: &str = "INVALID_PRODUCER_EPOCH";
    /// Epoch, sequence, count, outcome.
    type Step = (i16, i32, i32, &'static str);
    let cases: &[(&str, &[Step])] = &[
        (
            "an unknown producer may start anywhere",
            &[(0, 17, 1, "append"), (0, 18, 1, "append")],
        ),
        (
            "a gap",
            &[(0, 0, 3, "append"), (0, 4, 1, GAP), (0, 3, 1, "append")],
        ),
        (
            "a retry of the last batch",
            &[(0, 0, 3, "append"), (0, 0, 3, "duplicate")],
        ),
        (
            "the same start with another end is no retry",
            &[(0, 0, 3, "append"), (0, 0, 2, GAP)],
        ),
        (
            "a part of a batch is no retry",
            &[(0, 0, 3, "append"), (0, 1, 2, GAP)],
        ),
        (
            "a retry of any of the last five batches, and of no earlier one",
            &[
                (0, 0, 1, "append"),
                (0, 1, 1, "append"),
                (0, 2, 1, "append"),
                (0, 3, 1, "append"),
                (0, 4, 1, "append"),
                (0, 5, 1, "append"),
                (0, 0, 1, GAP),
                (0, 1, 1, "duplicate"),
                (0, 5, 1, "duplicate"),
                (0, 6, 1, "append"),
            ],
        ),
        (
            "a new epoch starts at 0 and fences the old one",
            &[
                (0, 0, 1, "append"),
                (1, 1, 1, GAP),
                (1, 0, 1, "append"),
                (0, 1, 1, FENCED),
                (0, 0, 1, FENCED),
                (1, 0, 1, "duplicate"),
                (1, 1, 1, "append"),
            ],
        ),
        (
            "0 follows the largest sequence",
            &[
                (0, MAX, 1, "append"),
                (0, 0, 1, "append"),
                (0, 1, 1, "append"),
            ],
        ),
        (
            "a batch across the wrap",
            &[
                (0, MAX - 1, 4, "append"),
                (0, MAX - 1, 4, "duplicate"),
                (0, 0, 2, GAP),
                (0, 3, 1, GAP),
                (0, 2, 1, "append"),
            ],
        ),
        (
            "1 does not follow the largest sequence",
            &[(0, MAX, 1, "append"), (0, 1, 1, GAP)],
        ),
    ];
    for (what, steps) in cases {
        let mut state = state();
        for (index, &(epoch, sequence, count, expected)) in steps.iter().enumerate() {
            let header = batch(&state, epoch, sequence, count);
            assert_eq!(
                name(append(&mut state, header)),
                expected,
                "{what}, step {index}"
            );
        }
    }
}

#[test]
fn a_duplicate_is_answered_with_the_offsets_of_the_original() {
    let mut state = state();
    let first = batch(&state, 0, 0, 3);
    append(&mut state, first).unwrap();
    let second = batch(&state, 0, 3, 2);
    append(&mut state, second).unwrap();
    let Ok(Verdict::Duplicate(original)) = state.check(&batch(&state, 0, 0, 3), None) else {
        panic!("not found");
    };
    assert_eq!(
        (
            original.base_offset(),
            original.last_offset,
            original.timestamp
        ),
        (0, 2, NOW_MS)
    );
    assert_eq!(state.end_offset(), 5);
}

#[test]
fn batches_without_a_producer_id_leave_no_trace_but_the_offset() {
    let mut state = state();
    let header = of_producer(batch(&state, -1, -1, 4), -1);
    assert_eq!(append(&mut state, header), Ok(Verdict::Append));
    assert_eq!((state.producers().len(), state.end_offset()), (0, 4));
}

#[test]
fn the_first_unstable_offset_follows_open_transactions_and_then_the_high_watermark() {
    let mut state = state();
    assert_eq!(state.first_unstable_offset(), None);
    let header = transactional(batch(&state, 0, 0, 2));
    append(&mut state, header).unwrap();
    let header = transactional(of_producer(batch(&state, 0, 0, 3), 43));
    append(&mut state, header).unwrap();
    assert!(
        state.has_ongoing_transaction(PRODUCER, 0) && !state.has_ongoing_transaction(PRODUCER, 1)
    );
    assert_eq!(state.first_unstable_offset(), Some(0));

    // The first transaction ends at offset 5, but the second one is still open from 2.
    let completed = end_txn(&mut state, PRODUCER, 0, TransactionResult::Abort).unwrap();
    let expected = CompletedTxn {
        producer_id: PRODUCER,
        first_offset: 0,
        last_offset: 5,
        result: TransactionResult::Abort,
        last_stable_offset: 2,
    };
    assert_eq!(completed, expected);
    assert_eq!(state.first_undecided_offset(), Some(2));
    assert_eq!(
        state.first_unstable_offset(),
        Some(0),
        "the marker is not durable yet"
    );
    state.on_high_watermark(5);
    assert_eq!(
        state.first_unstable_offset(),
        Some(0),
        "offset 5 is not below it"
    );
    state.on_high_watermark(6);
    assert_eq!(state.first_unstable_offset(), Some(2));

    let completed = end_txn(&mut state, 43, 0, TransactionResult::Commit).unwrap();
    assert_eq!(
        (completed.last_offset, completed.last_stable_offset),
        (6, 7)
    );
    state.on_high_watermark(7);
    assert_eq!(state.first_unstable_offset(), None);
}

#[test]
fn a_marker_without_records_completes_nothing_but_fences() {
    let mut state = state();
    assert_eq!(
        end_txn(&mut state, PRODUCER, 3, TransactionResult::Abort),
        None
    );
    assert_eq!(state.first_unstable_offset(), None);
    assert_eq!(
        name(state.check(&batch(&state, 2, 0, 1), None)),
        "INVALID_PRODUCER_EPOCH"
    );
    assert_eq!(
        name(state.check(&batch(&state, 3, 1, 1), None)),
        "OUT_OF_ORDER_SEQUENCE_NUMBER"
    );
    assert_eq!(name(state.check(&batch(&state, 3, 0, 1), None)), "append");
}

#[test]
fn sequences_go_on_after_a_marker_of_the_same_epoch() {
    let mut state = state();
    let header = transactional(batch(&state, 0, 0, 2));
    append(&mut state, header).unwrap();
    end_txn(&mut state, PRODUCER, 0, TransactionResult::Commit);
    assert_eq!(
        name(state.check(&transactional(batch(&state, 0, 0, 2)), None)),
        "duplicate"
    );
    assert_eq!(
        name(state.check(&transactional(batch(&state, 0, 2, 1)), None)),
        "append"
    );
}

#[test]
fn a_plain_batch_inside_a_transaction_is_refused() {
    let mut state = state();
    let header = transactional(batch(&state, 0, 0, 1));
    append(&mut state, header).unwrap();
    assert_eq!(
        name(state.check(&batch(&state, 0, 1, 1), None)),
        "INVALID_TXN_STATE"
    );
}

#[test]
fn markers_of_old_producers_and_old_coordinators_are_refused() {
    let mut state = state();
    let commit = marker(TransactionResult::Commit);
    let check = |state: &ProducerState, epoch, coordinator_epoch, version| {
        let marker = EndTxnMarker {
            coordinator_epoch,
            ..commit
        };
        name(
            state
                .check_marker(PRODUCER, epoch, marker, version)
                .map(|()| Verdict::Append),
        )
    };
    assert_eq!(check(&state, 0, 0, 1), "append", "unknown producer");
    let header = transactional(batch(&state, 5, 0, 1));
    append(&mut state, header).unwrap();
    assert_eq!(check(&state, 4, 0, 1), "INVALID_PRODUCER_EPOCH");
    assert_eq!(check(&state, 5, 0, 1), "append");
    assert_eq!(
        check(&state, 5, 0, 2),
        "INVALID_PRODUCER_EPOCH",
        "version 2 bumps the epoch"
    );
    assert_eq!(check(&state, 6, 0, 2), "append");

    end_txn(&mut state, PRODUCER, 6, TransactionResult::Commit);
    assert_eq!(check(&state, 6, 1, 2), "append", "a repeated marker");
    assert_eq!(check(&state, 6, 0, 2), "TRANSACTION_COORDINATOR_FENCED");
    assert_eq!(check(&state, 6, 0, 1), "TRANSACTION_COORDINATOR_FENCED");
}

#[test]
fn a_transaction_starts_only_with_the_guard_of_its_own_verification() {
    let mut state = ProducerState::new(ProducerStateConfig::default(), 0);
    let first = transactional(batch(&state, 0, 0, 1));
    assert_eq!(name(state.check(&first, None)), "INVALID_TXN_STATE");

    let stale = state
        .begin_verification(PRODUCER, 0, 0, false, NOW_MS)
        .unwrap()
        .unwrap();
    assert_eq!(
        state.begin_verification(PRODUCER, 0, 1, false, NOW_MS),
        Ok(Some(stale))
    );
    assert_eq!(name(state.check(&first, Some(stale))), "append");
    let overtaking = transactional(batch(&state, 0, 1, 1));
    assert_eq!(
        name(state.check(&overtaking, Some(stale))),
        "OUT_OF_ORDER_SEQUENCE_NUMBER"
    );

    // An abort comes first: what was verified is over.
    end_txn(&mut state, PRODUCER, 0, TransactionResult::Abort);
    assert_eq!(name(state.check(&first, Some(stale))), "INVALID_TXN_STATE");
    let guard = state
        .begin_verification(PRODUCER, 0, 0, false, NOW_MS)
        .unwrap();
    assert!(guard.is_some() && guard != Some(stale));
    assert_eq!(name(state.check(&first, Some(stale))), "INVALID_TXN_STATE");
    assert_eq!(name(state.check(&first, guard)), "append");
    state.apply(&first, None, NOW_MS);

    assert_eq!(
        state.begin_verification(PRODUCER, 0, 1, false, NOW_MS),
        Ok(None),
        "already open"
    );
    assert_eq!(
        name(state.check(&transactional(batch(&state, 0, 1, 1)), None)),
        "append"
    );
    assert!(
        state
            .begin_verification(PRODUCER, -1, 1, false, NOW_MS)
            .is_err()
    );
}

#[test]
fn with_epoch_bumps_the_first_batch_has_sequence_0_and_late_markers_keep_the_guard() {
    let mut state = ProducerState::new(ProducerStateConfig::default(), 0);
    let guard = state
        .begin_verification(PRODUCER, 4, 2, true, NOW_MS)
        .unwrap();
    let late = transactional(batch(&state, 4, 2, 1));
    assert_eq!(
        name(state.check(&late, guard)),
        "OUT_OF_ORDER_SEQUENCE_NUMBER"
    );
    // The marker of the transaction before carries this one's epoch.
    end_txn(&mut state, PRODUCER, 4, TransactionResult::Commit);
    assert_eq!(
        state.begin_verification(PRODUCER, 4, 0, true, NOW_MS),
        Ok(guard)
    );
    assert_eq!(
        name(state.check(&transactional(batch(&state, 4, 0, 1)), guard)),
        "append"
    );
}

#[test]
fn silent_producers_expire_unless_they_are_in_a_transaction() {
    let mut state = state();
    let header = transactional(batch(&state, 0, 0, 1));
    append(&mut state, header).unwrap();
    let header = of_producer(batch(&state, 0, 0, 1), 43);
    append(&mut state, header).unwrap();
    let expiry_ms = NOW_MS + config().producer_id_expiration_ms;
    state.remove_expired(expiry_ms - 1);
    assert_eq!(state.producers().len(), 2);
    state.remove_expired(expiry_ms);
    assert!(state.producer(43).is_none() && state.producer(PRODUCER).is_some());
}

#[test]
fn a_transaction_is_late_when_its_producer_has_been_silent_for_longer_than_any_timeout() {
    let mut state = state();
    let header = transactional(batch(&state, 0, 0, 1));
    append(&mut state, header).unwrap();
    let header = of_producer(batch(&state, 0, 0, 1), 43);
    append(&mut state, header).unwrap();
    assert_eq!(state.late_transactions(100, NOW_MS + 100), 0);
    assert_eq!(state.late_transactions(100, NOW_MS + 101), 1);
    let again = transactional(batch(&state, 0, 1, 1));
    state.apply(&again, None, NOW_MS + 50);
    assert_eq!(state.late_transactions(100, NOW_MS + 150), 0);
    assert_eq!(state.late_transactions(100, NOW_MS + 151), 1);
}

#[test]
fn a_producer_of_old_records_is_not_forgotten_while_it_writes() {
    let mut state = state();
    let mut header = batch(&state, 0, 0, 1);
    header.max_timestamp = 1_000;
    append(&mut state, header).unwrap();
    state.remove_expired(NOW_MS + 1);
    assert_eq!(state.producer(PRODUCER).unwrap().last_timestamp, 1_000);
}

#[test]
fn producers_are_bounded_and_the_longest_silent_leave_first() {
    let mut state = ProducerState::new(
        ProducerStateConfig {
            max_producers: 16,
            ..config()
        },
        0,
    );
    let header = transactional(of_producer(batch(&state, 0, 0, 1), 1_000));
    state.apply(&header, None, 0);
    for producer_id in 0..100 {
        let header = of_producer(batch(&state, 0, 0, 1), producer_id);
        state.apply(&header, None, NOW_MS + producer_id);
        assert!(state.producers().len() <= 16);
        assert!(state.producer(producer_id).is_some());
    }
    assert!(state.producer(1_000).is_some(), "in a transaction");
    assert!(state.producer(90).is_some() && state.producer(80).is_none());
}

#[test]
fn verifications_are_bounded() {
    let mut state = ProducerState::new(
        ProducerStateConfig {
            max_producers: 8,
            ..config()
        },
        0,
    );
    for producer_id in 0..100 {
        let begun = state.begin_verification(producer_id, 0, 0, true, NOW_MS);
        assert!(begun.unwrap().is_some());
        assert!(state.verifications.len() <= 8);
    }
}

/// A minute of them is nearly as many as may be: not every new one makes room for itself alone.
#[test]
fn verifications_make_room_for_many_at_a_time() {
    let mut state = ProducerState::new(
        ProducerStateConfig {
            max_producers: 80,
            ..config()
        },
        0,
    );
    let mut clearances = 0;
    for producer_id in 0..800 {
        let before = state.verifications.len();
        let now_ms = NOW_MS + producer_id * 60_000 / 79;
        let begun = state.begin_verification(producer_id, 0, 0, true, now_ms);
        assert!(begun.unwrap().is_some());
        clearances += usize::from(state.verifications.len() <= before);
    }
    assert!(clearances <= 800 / 10, "{clearances}");
}

fn some_state() -> ProducerState {
    let mut state = state();
    for sequence in 0..7 {
        let header = batch(&state, 2, sequence * 3, 3);
        append(&mut state, header).unwrap();
    }
    let header = transactional(of_producer(batch(&state, 9, i32::MAX, 2), 7));
    append(&mut state, header).unwrap();
    end_txn(&mut state, 8, 1, TransactionResult::Commit);
    state
}

fn same(left: &ProducerState, right: &ProducerState) -> bool {
    left.producers == right.producers
        && left.ongoing == right.ongoing
        && left.end_offset == right.end_offset
}

#[test]
fn the_sidecar_keeps_everything_and_kafkas_snapshot_the_last_batch() {
    let state = some_state();
    assert!(same(
        &from_sidecar(&to_sidecar(&state), config(), NOW_MS).unwrap(),
        &state
    ));

    let bytes = to_snapshot(&state);
    assert_eq!(bytes.len(), 10 + 3 * 46);
    let read = from_snapshot(&bytes, state.end_offset(), config(), NOW_MS).unwrap();
    assert_eq!(to_snapshot(&read), bytes);
    assert_eq!(
        read.first_undecided_offset(),
        state.first_undecided_offset()
    );
    let batches = state.producer(PRODUCER).unwrap().batches();
    assert_eq!(read.producer(PRODUCER).unwrap().batches(), &batches[4..]);
}

/// Written by ProducerStateManager.writeSnapshot of Kafka 4.3.1.
const KAFKA_SNAPSHOT: &str = "\
    000119f3621c000000020000000000000007000200000013000000000000002c000000040000018bcfe5\
    680000000009000000000000002800000000000000080001ffffffffffffffffffffffff000000000000\
    018bcfe5680100000003ffffffffffffffff";

#[test]
fn kafkas_own_snapshot_is_read_and_written_byte_for_byte() {
    let digits = KAFKA_SNAPSHOT
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    let bytes: Vec<u8> = digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect();
    let state = from_snapshot(&bytes, 50, config(), NOW_MS + 2).unwrap();
    let entry = state.producer(7).unwrap();
    assert_eq!((entry.producer_epoch, entry.coordinator_epoch), (2, 9));
    assert_eq!(entry.current_txn_first_offset, Some(40));
    let batch = BatchMetadata {
        last_sequence: 19,
        last_offset: 44,
        offset_delta: 4,
        timestamp: NOW_MS,
    };
    assert_eq!(entry.batches(), [batch]);
    assert_eq!(state.producer(8).unwrap().batches(), []);
    assert_eq!(state.first_undecided_offset(), Some(40));
    assert_eq!(to_snapshot(&state), bytes);
}

#[test]
fn producers_that_expired_while_the_broker_was_down_are_not_loaded() {
    let state = some_state();
    let later = NOW_MS + config().producer_id_expiration_ms;
    let read = from_sidecar(&to_sidecar(&state), config(), later).unwrap();
    assert_eq!(
        read.producers()
            .map(|entry| entry.producer_id)
            .collect::<Vec<_>>(),
        [7]
    );
    let read = from_snapshot(&to_snapshot(&state), 0, config(), later).unwrap();
    assert_eq!(
        read.producers()
            .map(|entry| entry.producer_id)
            .collect::<Vec<_>>(),
        [7]
    );
}

#[test]
fn a_snapshot_that_is_cut_or_has_any_bit_flipped_is_refused() {
    let state = some_state();
    let (snapshot, sidecar) = (to_snapshot(&state), to_sidecar(&state));
    for length in 0..snapshot.len() {
        assert!(from_snapshot(&snapshot[..length], 0, config(), NOW_MS).is_err());
    }
    for length in 0..sidecar.len() {
        assert!(from_sidecar(&sidecar[..length], config(), NOW_MS).is_err());
    }
    let flipped = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    for bit in 0..snapshot.len() * 8 {
        assert!(
            from_snapshot(&flipped(&snapshot, bit), 0, config(), NOW_MS).is_err(),
            "{bit}"
        );
    }
    for bit in 0..sidecar.len() * 8 {
        assert!(
            from_sidecar(&flipped(&sidecar, bit), config(), NOW_MS).is_err(),
            "{bit}"
        );
    }
}

proptest! {
    /// Also with a right checksum, so that the parser behind it is reached.
    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..300), sequence in any::<i32>()) {
        let crc = |bytes: &[u8]| {
            (crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32).to_be_bytes()
        };
        let snapshot = [&[0, 1], &crc(&body)[..], &body].concat();
        let sidecar = [&b"OPST\0\x01"[..], &crc(&body), &body].concat();
        let read = [
            from_snapshot(&snapshot, 0, config(), 0), from_sidecar(&sidecar, config(), 0),
            from_snapshot(&body, 0, config(), 0), from_sidecar(&body, config(), 0),
        ];
        for mut state in read.into_iter().flatten() {
            let ids: Vec<_> = state.producers().map(|entry| entry.producer_id).collect();
            for id in ids {
                let header = of_producer(batch(&state, 0, sequence, 1), id);
                let _ = append(&mut state, header);
            }
        }
    }

    /// Replaying the log gives the state that the appends left, with or without a snapshot on the way.
    #[test]
    fn replay_gives_the_live_state(
        steps in prop::collection::vec((0..3_i64, 0..3_i16, 0..4_i32, any::<bool>(), any::<bool>()), 1..80),
        snapshot_at in 0..80_usize,
    ) {
        let mut live = state();
        let mut log: Vec<(BatchHeader, Option<EndTxnMarker>)> = Vec::new();
        let mut sidecar = None;
        for (index, (producer_id, epoch, sequence, in_txn, end)) in steps.into_iter().enumerate() {
            if index == snapshot_at {
                sidecar = Some((to_sidecar(&live), log.len()));
            }
            let mut header = of_producer(batch(&live, epoch, sequence, 1), producer_id);
            if in_txn {
                header = transactional(header);
            }
            let marker = end.then_some(marker(TransactionResult::Abort));
            if let Some(marker) = marker {
                if live.check_marker(producer_id, epoch, marker, 1).is_err() {
                    continue;
                }
                header.attributes |= 0x30;
                header.base_sequence = -1;
            } else if live.check(&header, None) != Ok(Verdict::Append) {
                continue;
            }
            live.apply(&header, marker, NOW_MS);
            log.push((header, marker));
        }
        let (mut replayed, from) = match sidecar {
            Some((bytes, from)) => (from_sidecar(&bytes, config(), NOW_MS).unwrap(), from),
            None => (state(), 0),
        };
        for (header, marker) in &log[from..] {
            replayed.apply(header, *marker, NOW_MS);
        }
        prop_assert!(same(&replayed, &live));
        let open = live.producers().filter_map(|entry| entry.current_txn_first_offset).min();
        prop_assert_eq!(live.first_undecided_offset(), open);
    }
}

#[test]
fn bytes_of_a_marker_batch_drive_the_state_in_recovery() {
    let mut state = state();
    let header = transactional(batch(&state, 0, 0, 1));
    append(&mut state, header).unwrap();
    let bytes: Bytes = marker(TransactionResult::Abort)
        .to_batch(PRODUCER, 0, NOW_MS)
        .unwrap();
    let header = BatchHeader {
        base_offset: 1,
        ..BatchHeader::parse(&bytes).unwrap()
    };
    let marker = EndTxnMarker::of_batch(&bytes).unwrap();
    let completed = state.apply(&header, marker, NOW_MS).unwrap();
    assert_eq!((completed.first_offset, completed.last_offset), (0, 1));
}
