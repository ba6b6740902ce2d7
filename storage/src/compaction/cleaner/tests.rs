use super::super::tests::{RETENTION_MS, Segment, TestLog, header, pass};
use super::super::{Compacted, CompactionError, CompactionSettings, LogToClean, compact};
use super::*;
use crate::log::LogConfig;
use crate::record::{TransactionResult, batch};
use std::ops::ControlFlow;

const MAP_BYTES: usize = 1 << 16;

fn records(builder: BatchBuilder, records: &[(&str, Option<&str>)]) -> Bytes {
    let mut builder = builder;
    for (key, value) in records {
        builder.append(500, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
    }
    builder.build().unwrap()
}

fn transactional(producer_id: i64, sequence: i32, key: &str) -> Bytes {
    let builder = BatchBuilder::new()
        .producer(producer_id, 0, sequence)
        .transactional();
    records(builder, &[(key, Some("in a transaction"))])
}

fn marker(producer_id: i64, result: TransactionResult) -> Bytes {
    let marker = EndTxnMarker {
        result,
        coordinator_epoch: 0,
    };
    marker.to_batch(producer_id, 0, 500).unwrap()
}

/// Appends what is needed so that everything before is cleanable, and its last batch nothing special.
fn close(log: &mut TestLog) {
    log.append(&records(BatchBuilder::new(), &[("last", Some(""))]));
    log.roll();
}

fn clean(log: &TestLog, now_ms: i64) -> Compacted {
    log.clean(0, log.active_base_offset(), MAP_BYTES, now_ms)
}

fn aborted_index(log: &TestLog) -> Vec<AbortedTxn> {
    let segments = log.segments.borrow();
    segments.values().flat_map(|s| s.aborted.clone()).collect()
}

#[test]
fn a_marker_goes_after_its_data_and_then_only_when_its_delete_horizon_is_past() {
    for result in [TransactionResult::Commit, TransactionResult::Abort] {
        let mut log = TestLog::new();
        log.append(&transactional(7, 0, "a"));
        log.append(&marker(7, result));
        if result == TransactionResult::Abort {
            log.append_aborted(AbortedTxn {
                producer_id: 7,
                first_offset: 0,
                last_offset: 1,
                last_stable_offset: 2,
            });
        }
        log.append(&records(BatchBuilder::new(), &[("a", Some("newer"))]));
        close(&mut log);
        let marker = log.batches()[1].clone();
        let index = aborted_index(&log);

        // The data goes; whoever looks for the marker of the data that it has read finds it as it was.
        clean(&log, 1_000);
        assert_eq!(header(&log.batches()[0]).base_offset, 1);
        assert_eq!(log.batches()[0], marker);
        assert_eq!(aborted_index(&log), index);

        // Without data its time begins to run.
        clean(&log, 2_000);
        let horizon_ms = 2_000 + RETENTION_MS;
        let expiring = log.batches()[0].clone();
        assert_eq!(header(&expiring).delete_horizon_ms(), Some(horizon_ms));
        assert_eq!(header(&expiring).max_timestamp, 500);
        assert_eq!(
            EndTxnMarker::of_batch(&expiring).unwrap(),
            EndTxnMarker::of_batch(&marker).unwrap()
        );
        assert_eq!(aborted_index(&log), []);

        clean(&log, horizon_ms - 1);
        assert_eq!(log.batches()[0], expiring);
        clean(&log, horizon_ms);
        assert_eq!(header(&log.batches()[0]).base_offset, 2, "{result:?}");
    }
}

#[test]
fn a_producers_last_batch_is_emptied_but_kept_and_then_keeps_its_marker() {
    let mut log = TestLog::new();
    let data = log.append(&transactional(7, 41, "a"));
    log.append(&marker(7, TransactionResult::Commit));
    log.append(&records(BatchBuilder::new(), &[("a", Some("newer"))]));
    close(&mut log);
    log.last_records.insert(
        7,
        LastRecord {
            last_data_offset: Some(0),
            producer_epoch: 0,
        },
    );
    let marker = log.batches()[1].clone();
    for now_ms in [1_000, 100_000, 200_000] {
        clean(&log, now_ms);
        let empty = &log.batches()[0];
        assert_eq!(empty.len(), batch::BATCH_HEADER_BYTES);
        let expected = BatchHeader {
            batch_length: 49,
            base_timestamp: NO_TIMESTAMP,
            records_count: 0,
            crc: header(empty).crc,
            ..data
        };
        assert_eq!(header(empty), expected);
        assert_eq!(log.batches()[1], marker);
    }
    // Once the producer is forgotten both go.
    log.last_records.clear();
    for now_ms in [300_000, 400_000, 500_000] {
        clean(&log, now_ms);
    }
    assert_eq!(header(&log.batches()[0]).base_offset, 2);
}

#[test]
fn an_emptied_batch_is_neither_compressed_nor_has_it_a_delete_horizon() {
    let mut log = TestLog::new();
    log.append(&records(
        BatchBuilder::new().compression(CompressionType::Zstd),
        &[("a", None)],
    ));
    log.roll();
    clean(&log, 1_000);
    let horizon_ms = 1_000 + RETENTION_MS;
    assert_eq!(
        header(&log.batches()[0]).delete_horizon_ms(),
        Some(horizon_ms)
    );
    clean(&log, horizon_ms);
    let empty = header(&log.batches()[0]);
    assert_eq!((empty.attributes, empty.records_count), (0, 0));
    assert_eq!(
        (empty.base_timestamp, empty.max_timestamp),
        (NO_TIMESTAMP, 500)
    );
}

#[test]
fn a_batch_that_loses_nothing_passes_byte_for_byte_whatever_wrote_it() {
    for codec in CompressionType::ALL {
        let mut log = TestLog::new();
        log.append(&records(
            BatchBuilder::new().compression(codec),
            &[("a", Some("1")), ("b", Some("2"))],
        ));
        log.append(&records(
            BatchBuilder::new().compression(codec).log_append_time(77),
            &[("c", Some("3"))],
        ));
        log.roll();
        let before = log.segments.borrow().clone();
        let compacted = clean(&log, 1_000);
        assert_eq!(before, *log.segments.borrow());
        let stats = compacted.stats;
        assert_eq!((stats.read_records, stats.retained_records), (3, 3));
        assert_eq!(stats.read_bytes, stats.written_bytes);
        assert_eq!(stats.map_bytes, stats.read_bytes);
    }
}

#[test]
fn what_remains_of_a_batch_keeps_its_codec_offsets_producer_and_record_timestamps() {
    for codec in CompressionType::ALL {
        let mut builder = BatchBuilder::new().compression(codec).producer(9, 2, 100);
        for (timestamp, key) in [(900, "a"), (300, "b"), (400, "c"), (200, "d")] {
            builder.append(timestamp, Some(key.as_bytes()), Some(b"value"), &[]);
        }
        let mut log = TestLog::new();
        let old = log.append(&builder.build().unwrap());
        log.append(&records(
            BatchBuilder::new(),
            &[("a", None), ("d", Some("new"))],
        ));
        log.roll();
        clean(&log, 1_000);
        let new = header(&log.batches()[0]);
        let expected = BatchHeader {
            batch_length: new.batch_length,
            crc: new.crc,
            base_timestamp: 300,
            max_timestamp: 400,
            records_count: 2,
            ..old
        };
        assert_eq!(new, expected);
        let set = RecordSet::open(&log.batches()[0], 1_000).unwrap();
        let found: Vec<_> = set
            .iter()
            .map(|record| record.map(|r| (r.offset, r.timestamp, r.key)).unwrap())
            .collect();
        assert_eq!(found, [(1, 300, Some(&b"b"[..])), (2, 400, Some(b"c"))]);
    }
}

#[test]
fn records_without_a_key_are_dropped_and_counted() {
    let mut builder = BatchBuilder::new();
    builder.append(1, None, Some(b"no place for it"), &[]);
    let mut log = TestLog::new();
    log.append(&builder.build().unwrap());
    close(&mut log);
    let compacted = clean(&log, 1_000);
    assert_eq!(compacted.stats.keyless_records, 1);
    assert_eq!(header(&log.batches()[0]).base_offset, 1);
}

#[test]
fn an_index_entry_left_over_does_not_take_later_transactions_of_the_producer_with_it() {
    let mut log = TestLog::new();
    close(&mut log);
    log.append_aborted(AbortedTxn {
        producer_id: 7,
        first_offset: 0,
        last_offset: 0,
        last_stable_offset: 1,
    });
    log.append(&transactional(7, 0, "a"));
    log.append(&marker(7, TransactionResult::Commit));
    close(&mut log);
    let transaction = log.batches()[1..3].to_vec();
    clean(&log, 1_000);
    assert_eq!(log.batches()[..2], transaction);
}

/// Cleans and expects an error; nothing may have changed then.
fn fails(log: &TestLog) -> CompactionError {
    let before = log.segments.borrow().clone();
    let error = try_clean(log, pass).unwrap_err();
    assert_eq!(before, *log.segments.borrow());
    error
}

fn try_clean(
    log: &TestLog,
    pace: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Compacted, CompactionError> {
    let range = LogToClean {
        first_dirty_offset: 0,
        first_uncleanable_offset: log.active_base_offset(),
        clean_bytes: 0,
        cleanable_bytes: 0,
        overdue_ms: 0,
        reset_checkpoint: false,
    };
    let settings = CompactionSettings {
        offset_map_bytes: MAP_BYTES,
        decompressed_limit_bytes: 10_000,
    };
    compact(
        log,
        &range,
        log.last_records.clone(),
        &LogConfig::default(),
        settings,
        1_000,
        pace,
    )
}

#[test]
fn a_batch_with_any_bit_flipped_stops_the_cleaning_before_anything_is_replaced() {
    let mut log = TestLog::new();
    log.append(&records(
        BatchBuilder::new().compression(CompressionType::Lz4),
        &[("a", Some("1")), ("b", None)],
    ));
    log.roll();
    let intact = log.batches()[0].clone();
    for bit in 0..intact.len() * 8 {
        let mut damaged = intact.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        log.segments.borrow_mut().insert(
            0,
            Segment {
                batches: vec![damaged.into()],
                aborted: Vec::new(),
            },
        );
        // The leader epoch is the only field that neither a checksum nor its neighbours vouch for.
        if !(12..16).contains(&(bit / 8)) {
            let error = fails(&log);
            let uncleanable = matches!(error, CompactionError::Uncleanable { .. });
            assert!(uncleanable, "bit {bit}: {error}");
        }
    }
}

#[test]
fn batches_out_of_order_or_with_records_out_of_order_are_not_cleaned() {
    let mut log = TestLog::new();
    log.append(&records(BatchBuilder::new(), &[("a", None), ("b", None)]));
    close(&mut log);
    log.segments
        .borrow_mut()
        .get_mut(&0)
        .unwrap()
        .batches
        .reverse();
    assert!(matches!(
        fails(&log),
        CompactionError::Uncleanable {
            error: CleanError {
                cause: Cause::Offset { .. },
                ..
            },
            ..
        }
    ));
}

/// The batch with `bytes` written at `at`, and a CRC that agrees.
fn changed(batch: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let mut changed = batch.to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = batch::compute_crc(&changed);
    changed[17..21].copy_from_slice(&crc.to_be_bytes());
    changed.into()
}

/// Batches with a right checksum, of records `key` and `last`, that cannot be read, or not to their end.
fn unreadable() -> Vec<(String, Bytes)> {
    let mut all = Vec::new();
    for codec in CompressionType::ALL {
        let mut builder = BatchBuilder::new().compression(codec).producer(5, 0, 0);
        builder.append(500, Some(b"key"), Some(&[b'v'; 300]), &[]);
        builder.append(500, Some(b"last"), None, &[]);
        let whole = builder.build().unwrap();
        let mut add = |what: &str, batch| all.push((format!("{codec}, {what}"), batch));
        add(
            "another codec",
            changed(&whole, 22, &[(codec as u8 + 1) % 5]),
        );
        add("no codec", changed(&whole, 22, &[7]));
        add("cut off", {
            let cut = whole.slice(..whole.len() - 12);
            let length = i32::try_from(cut.len() - 12).unwrap();
            changed(&cut, 8, &length.to_be_bytes())
        });
        add(
            "no stream",
            changed(&whole, 61, &vec![0x7f; whole.len() - 61]),
        );
        let three = changed(&whole, 23, &2_i32.to_be_bytes());
        add("more announced", changed(&three, 57, &3_i32.to_be_bytes()));
        add("fewer announced", changed(&whole, 57, &1_i32.to_be_bytes()));
        add(
            "negative count",
            changed(&whole, 57, &(-1_i32).to_be_bytes()),
        );
        add("no marker", changed(&whole, 22, &[codec as u8 | 0x30]));
        if codec != CompressionType::None {
            let mut builder = BatchBuilder::new().compression(codec);
            builder.append(0, Some(b"key"), Some(&[0; 10_000]), &[]);
            add("too large", builder.build().unwrap());
        }
        for deltas in [[1, 0], [1, 1], [-1, 0], [0, 3]] {
            let mut builder = BatchBuilder::new().compression(codec).last_offset_delta(2);
            for (delta, key) in deltas.into_iter().zip([b"key", b"end"]) {
                builder.append_at(delta, 0, Some(key), None, [].into_iter());
            }
            add(&format!("offsets {deltas:?}"), builder.build().unwrap());
        }
    }
    all
}

#[test]
fn records_that_cannot_be_read_stay_as_they_are_and_the_rest_of_the_log_is_cleaned() {
    for (what, unreadable) in unreadable() {
        let mut log = TestLog::new();
        log.append(&records(BatchBuilder::new(), &[("key", Some("1"))]));
        log.append(&records(BatchBuilder::new(), &[("a", Some("1"))]));
        let kept = log.append(&unreadable);
        let kept = log
            .batches()
            .pop()
            .filter(|_| kept.base_offset == 2)
            .unwrap();
        log.append(&records(BatchBuilder::new(), &[("a", Some("2"))]));
        close(&mut log);
        let cleaned = try_clean(&log, pass).unwrap();
        let after = log.batches();
        // A tombstone that can be read, but is in there, takes no record with it.
        assert_eq!(header(&after[0]).base_offset, 0, "{what}");
        assert_eq!(after[1], kept, "{what}");
        assert_eq!(after.len(), 4, "{what}: the first value of a is gone");
        assert_eq!(cleaned.stats.unreadable_batches, 1, "{what}");
        let error = cleaned.unreadable.unwrap();
        assert_eq!(error.base_offset, 2, "{what}: {error}");

        // The next cleaning finds it again.
        let again = try_clean(&log, pass).unwrap();
        assert_eq!(log.batches(), after, "{what}");
        assert_eq!(again.stats.unreadable_batches, 1, "{what}");
    }
}

#[test]
fn an_aborted_batch_goes_whether_it_can_be_read_or_not() {
    let mut log = TestLog::new();
    log.append(&changed(
        &transactional(7, 0, "a"),
        57,
        &9_i32.to_be_bytes(),
    ));
    log.append(&marker(7, TransactionResult::Abort));
    log.append_aborted(AbortedTxn {
        producer_id: 7,
        first_offset: 0,
        last_offset: 1,
        last_stable_offset: 2,
    });
    close(&mut log);
    assert_eq!(clean(&log, 1_000).stats.unreadable_batches, 0);
    assert_eq!(header(&log.batches()[0]).base_offset, 1);
}

#[test]
fn a_segment_that_cannot_be_read_to_its_end_is_not_replaced_by_its_beginning() {
    let mut log = TestLog::new();
    log.append(&records(BatchBuilder::new(), &[("a", Some("1"))]));
    close(&mut log);
    log.missing_bytes = 1;
    assert!(matches!(fails(&log), CompactionError::Incomplete { .. }));
}

#[test]
fn a_cleaning_can_be_broken_off_at_any_batch_and_leaves_whole_segments() {
    for allowed in 0.. {
        let mut log = TestLog::new();
        for _ in 0..3 {
            log.append(&records(BatchBuilder::new(), &[("a", Some("1"))]));
            close(&mut log);
        }
        let before = log.segments.borrow().clone();
        let mut calls = 0;
        let result = try_clean(&log, |_| {
            calls += 1;
            if calls > allowed {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        if result.is_ok() {
            // 6 batches for the map, 6 to filter, of which 2 remain.
            assert_eq!(allowed, 14);
            return;
        }
        assert!(matches!(result, Err(CompactionError::Cancelled)));
        assert_eq!(before, *log.segments.borrow());
    }
}
