//! What every partition log promises, held against the log in memory and the log on files.

#![allow(clippy::unwrap_used)]

mod common;
#[macro_use]
#[path = "common/fixture.rs"]
mod fixture;

use std::sync::{Arc, Mutex};
use std::task::Context;
use std::time::Duration;

use common::*;
use fixture::Fixture;
use storage::log::{
    AbortedTransaction, AppendError, AppendOrigin, Appended, FetchWait, Health, IfRefused,
    Isolation, JointError, JointPart, Next, PartitionLog, ReadError, ReadRequest,
};
use storage::record::{BatchBuilder, BatchHeader, EndTxnMarker, TransactionResult, ValidatedBatch};

contract! {
    offsets_are_given_in_the_order_of_submission_without_a_gap
    bytes_are_stored_as_they_came_but_for_offset_and_leader_epoch
    a_broker_timestamp_is_written_into_the_stored_batch
    an_acknowledged_batch_is_visible
    a_read_starts_with_the_whole_batch_that_holds_the_offset
    a_read_stops_at_max_bytes_but_gives_one_batch_if_asked
    a_read_outside_of_the_log_says_where_the_log_is
    a_retry_is_answered_with_the_offset_of_the_original
    a_retry_of_a_batch_on_its_way_waits_for_it
    a_gap_in_the_sequence_is_refused_and_stores_nothing
    an_old_producer_epoch_is_refused
    an_open_transaction_is_hidden_from_read_committed
    an_aborted_transaction_is_named_to_read_committed
    a_poll_wakes_when_enough_bytes_are_visible
    a_poll_wakes_at_once_if_it_has_not_seen_the_end
    a_poll_for_what_is_committed_wakes_with_the_marker
    a_poll_that_went_away_is_forgotten
    a_timestamp_finds_the_first_record_that_is_not_older
    the_largest_timestamp_finds_its_first_record
    an_empty_log_has_no_timestamps
    a_batch_is_as_old_as_its_newest_record
    a_glance_tells_the_offsets_and_the_size
    records_are_deleted_up_to_an_offset_but_not_beyond_the_high_watermark
    the_current_epoch_ends_at_the_high_watermark
    a_deleted_log_wakes_its_polls_and_refuses_everything
    a_deletion_that_nobody_waits_for_goes_on
    a_topic_created_again_under_the_same_name_is_empty
    two_handles_are_one_log
    partitions_are_independent
    concurrent_appends_keep_the_order_of_each_producer
    current_offsets_have_what_was_appended_before
    whoever_has_claimed_a_log_goes_on_appending_to_it
    a_store_that_nothing_has_befallen_is_in_good_health
    a_joint_append_reaches_every_log
    whoever_waits_for_the_last_part_finds_the_others_in_their_logs
    a_joint_append_that_one_log_refuses_reaches_none
    a_part_that_may_be_skipped_does_not_hold_up_the_others
    a_joint_append_to_a_log_that_is_gone_reaches_none
    a_part_of_a_joint_append_may_be_a_duplicate
    two_parts_of_a_joint_append_for_one_log_are_refused
    a_joint_append_of_nothing_is_nothing
    joint_appends_give_their_room_back
    concurrent_joint_appends_in_any_order_reach_all_or_none
}

async fn offsets_are_given_in_the_order_of_submission_without_a_gap(fixture: Fixture) {
    let log = fixture.log();
    let mut pending = Vec::new();
    for count in 1..=20 {
        let values = vec![&b"value"[..]; count];
        let permit = log.reserve(1000, AppendOrigin::CLIENT).await.unwrap();
        pending.push(
            log.submit(permit, batch(&values), AppendOrigin::CLIENT, Next::Append)
                .unwrap(),
        );
    }
    let mut expected = 0;
    for (count, pending) in (1..=20).zip(pending) {
        let appended = pending.await.unwrap();
        assert_eq!(
            (appended.base_offset, appended.last_offset),
            (expected, expected + count - 1)
        );
        assert!(!appended.duplicate);
        expected += count;
    }
    let all = read_all(&log, 0).await;
    let offsets: Vec<i64> = all.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (0..expected).collect::<Vec<_>>());
}

async fn bytes_are_stored_as_they_came_but_for_offset_and_leader_epoch(fixture: Fixture) {
    let log = fixture.log();
    append(&log, batch(&[b"first"])).await.unwrap();
    let sent = batch(&[b"second", b"third"]);
    append(&log, sent.clone()).await.unwrap();
    let fetched = read(&log, request(1)).await.unwrap();
    let stored = fetched.records.concat();
    assert_eq!(stored.len(), sent.bytes.len());
    let header = BatchHeader::parse(&stored).unwrap();
    assert_eq!((header.base_offset, header.partition_leader_epoch), (1, 0));
    assert_eq!(stored[8..12], sent.bytes[8..12]);
    assert_eq!(stored[16..], sent.bytes[16..]);
    assert_eq!(
        log.size_bytes() as usize,
        batch(&[b"first"]).bytes.len() + stored.len()
    );
}

async fn a_broker_timestamp_is_written_into_the_stored_batch(fixture: Fixture) {
    use storage::record::{TimestampType, ValidateConfig, batch::verify_crc, validate};
    let log = fixture.log();
    let config = ValidateConfig {
        timestamp_type: TimestampType::LogAppendTime,
        ..ValidateConfig::default()
    };
    let sent = build(BatchBuilder::new(), 5, &[b"value"]);
    let batch = validate(&sent, &config, true, 77_000).unwrap();
    append(&log, batch).await.unwrap();
    let stored = read(&log, request(0)).await.unwrap().records.concat();
    let header = BatchHeader::parse(&stored).unwrap();
    assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(header.max_timestamp, 77_000);
    verify_crc(&stored).unwrap();
}

async fn an_acknowledged_batch_is_visible(fixture: Fixture) {
    let log = fixture.log();
    for count in 1..=50 {
        let appended = append(&log, batch(&[b"value"])).await.unwrap();
        assert_eq!(appended.last_offset, count - 1);
        let offsets = log.offsets();
        assert_eq!(offsets.high_watermark, count);
        assert_eq!(offsets.last_stable_offset, count);
        let fetched = read(&log, request(appended.base_offset)).await.unwrap();
        assert_eq!(values(&fetched), [(count - 1, b"value".to_vec())]);
    }
}

async fn a_read_starts_with_the_whole_batch_that_holds_the_offset(fixture: Fixture) {
    let log = fixture.log();
    append(&log, batch(&[b"a", b"b", b"c"])).await.unwrap();
    append(&log, batch(&[b"d", b"e"])).await.unwrap();
    for (offset, first) in [(0, 0), (1, 0), (2, 0), (3, 3), (4, 3)] {
        let fetched = read(&log, request(offset)).await.unwrap();
        assert_eq!(headers(&fetched)[0].base_offset, first, "offset {offset}");
        assert_eq!(values(&fetched).last().unwrap().0, 4);
    }
}

async fn a_read_stops_at_max_bytes_but_gives_one_batch_if_asked(fixture: Fixture) {
    let log = fixture.log();
    let one = batch(&[&[7; 500]]);
    for _ in 0..5 {
        append(&log, one.clone()).await.unwrap();
    }
    let bytes = one.bytes.len();
    let read = async |max_bytes, at_least_one_batch| {
        let request = ReadRequest {
            max_bytes,
            at_least_one_batch,
            ..request(1)
        };
        let fetched = read(&log, request).await.unwrap();
        assert_eq!(
            fetched.size_bytes,
            fetched
                .records
                .iter()
                .map(|records| records.len())
                .sum::<usize>()
        );
        headers(&fetched).len()
    };
    assert_eq!(read(bytes * 2, true).await, 2);
    assert_eq!(read(bytes * 3 - 1, true).await, 2);
    assert_eq!(read(bytes - 1, true).await, 1);
    assert_eq!(read(0, true).await, 1);
    assert_eq!(read(bytes - 1, false).await, 0);
    assert_eq!(read(bytes * 100, false).await, 4);
}

async fn a_read_outside_of_the_log_says_where_the_log_is(fixture: Fixture) {
    let log = fixture.log();
    append(&log, batch(&[b"a", b"b", b"c"])).await.unwrap();
    assert!(read(&log, request(3)).await.unwrap().records.is_empty());
    for offset in [-1, 4, i64::MAX, i64::MIN] {
        match read(&log, request(offset)).await {
            Err(ReadError::OffsetOutOfRange {
                fetch_offset,
                log_start_offset,
                high_watermark,
            }) => assert_eq!(
                (fetch_offset, log_start_offset, high_watermark),
                (offset, 0, 3)
            ),
            other => panic!("{offset}: {other:?}"),
        }
    }
}

fn produced(producer_id: i64, epoch: i16, sequence: i32, values: &[&[u8]]) -> ValidatedBatch {
    let builder = BatchBuilder::new().producer(producer_id, epoch, sequence);
    trusted(build(builder, 1_000, values))
}

async fn a_retry_is_answered_with_the_offset_of_the_original(fixture: Fixture) {
    let log = fixture.log();
    append(&log, batch(&[b"other"])).await.unwrap();
    for sequence in 0..5 {
        let appended = append(&log, produced(9, 0, sequence * 2, &[b"a", b"b"])).await;
        assert_eq!(appended.unwrap().base_offset, 1 + i64::from(sequence) * 2);
    }
    // Kafka remembers the last five batches of a producer.
    for sequence in 0..5 {
        let again = append(&log, produced(9, 0, sequence * 2, &[b"a", b"b"]))
            .await
            .unwrap();
        assert!(again.duplicate);
        let base_offset = 1 + i64::from(sequence) * 2;
        assert_eq!(
            (again.base_offset, again.last_offset),
            (base_offset, base_offset + 1)
        );
    }
    assert_eq!(log.offsets().log_end_offset, 11);
}

async fn a_retry_of_a_batch_on_its_way_waits_for_it(fixture: Fixture) {
    let log = fixture.log();
    for sequence in 0..100 {
        let original = submit(&log, produced(9, 0, sequence, &[b"a"])).await;
        let retry = submit(&log, produced(9, 0, sequence, &[b"a"])).await;
        let retry = retry.await.unwrap();
        // I4: by the time the retry is answered, the original is durable.
        assert!(log.offsets().high_watermark > retry.last_offset);
        assert!(retry.duplicate);
        assert_eq!(original.await.unwrap().base_offset, retry.base_offset);
    }
    assert_eq!(log.offsets().log_end_offset, 100);
}

async fn a_gap_in_the_sequence_is_refused_and_stores_nothing(fixture: Fixture) {
    let log = fixture.log();
    append(&log, produced(9, 0, 0, &[b"a"])).await.unwrap();
    match append(&log, produced(9, 0, 2, &[b"c"])).await {
        Err(AppendError::OutOfOrderSequence {
            producer_id,
            expected,
            got,
            ..
        }) => assert_eq!((producer_id, expected, got), (9, 1, 2)),
        other => panic!("{other:?}"),
    }
    assert_eq!(log.offsets().log_end_offset, 1);
    append(&log, produced(9, 0, 1, &[b"b"])).await.unwrap();
}

async fn an_old_producer_epoch_is_refused(fixture: Fixture) {
    let log = fixture.log();
    append(&log, produced(9, 5, 0, &[b"a"])).await.unwrap();
    match append(&log, produced(9, 4, 0, &[b"b"])).await {
        Err(AppendError::InvalidProducerEpoch {
            producer_id,
            current,
            got,
        }) => assert_eq!((producer_id, current, got), (9, 5, 4)),
        other => panic!("{other:?}"),
    }
    append(&log, produced(9, 6, 0, &[b"c"])).await.unwrap();
    assert_eq!(log.offsets().log_end_offset, 2);
}

fn transactional(producer_id: i64, sequence: i32, values: &[&[u8]]) -> ValidatedBatch {
    let builder = BatchBuilder::new()
        .producer(producer_id, 0, sequence)
        .transactional();
    trusted(build(builder, 1_000, values))
}

async fn end_transaction(log: &Arc<dyn PartitionLog>, producer_id: i64, result: TransactionResult) {
    let marker = EndTxnMarker {
        result,
        coordinator_epoch: 0,
    };
    let batch = marker.to_batch(producer_id, 0, 2_000).unwrap();
    append_as(log, trusted(batch), AppendOrigin::COORDINATOR)
        .await
        .unwrap();
}

async fn an_open_transaction_is_hidden_from_read_committed(fixture: Fixture) {
    let log = fixture.log();
    append(&log, batch(&[b"plain"])).await.unwrap();
    append(&log, transactional(9, 0, &[b"a"])).await.unwrap();
    append(&log, batch(&[b"behind"])).await.unwrap();
    let offsets = log.offsets();
    assert_eq!((offsets.last_stable_offset, offsets.high_watermark), (1, 3));
    let committed = ReadRequest {
        isolation: Isolation::ReadCommitted,
        ..request(0)
    };
    let fetched = read(&log, committed).await.unwrap();
    assert_eq!(values(&fetched), [(0, b"plain".to_vec())]);
    assert_eq!(read_all(&log, 0).await.len(), 3);
    end_transaction(&log, 9, TransactionResult::Commit).await;
    assert_eq!(log.offsets().last_stable_offset, 4);
    let fetched = read(&log, committed).await.unwrap();
    assert_eq!(headers(&fetched).len(), 4);
    assert!(fetched.aborted_transactions.is_empty());
}

async fn an_aborted_transaction_is_named_to_read_committed(fixture: Fixture) {
    let log = fixture.log();
    append(&log, transactional(8, 0, &[b"kept"])).await.unwrap();
    append(&log, transactional(9, 0, &[b"dropped"]))
        .await
        .unwrap();
    end_transaction(&log, 9, TransactionResult::Abort).await;
    end_transaction(&log, 8, TransactionResult::Commit).await;
    append(&log, batch(&[b"plain"])).await.unwrap();
    let aborted = async |isolation, from| {
        let request = ReadRequest {
            isolation,
            ..request(from)
        };
        read(&log, request).await.unwrap().aborted_transactions
    };
    let named = [AbortedTransaction {
        producer_id: 9,
        first_offset: 1,
    }];
    assert_eq!(aborted(Isolation::ReadCommitted, 0).await, named);
    assert_eq!(aborted(Isolation::ReadCommitted, 2).await, named);
    assert_eq!(aborted(Isolation::ReadCommitted, 3).await, []);
    assert_eq!(aborted(Isolation::ReadUncommitted, 0).await, []);
}

async fn woken(wait: &Arc<FetchWait>) -> bool {
    tokio::time::timeout(Duration::from_secs(10), wait.wait())
        .await
        .is_ok()
}

fn is_woken(wait: &Arc<FetchWait>) -> bool {
    use std::future::Future;
    let mut waiting = std::pin::pin!(wait.wait());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    waiting.as_mut().poll(&mut context).is_ready()
}

async fn a_poll_wakes_when_enough_bytes_are_visible(fixture: Fixture) {
    let log = fixture.log();
    let one = batch(&[b"value"]);
    let wait = FetchWait::new(2 * one.bytes.len() as i64);
    let _registered = log.watch(0, Isolation::ReadUncommitted, &wait);
    append(&log, one.clone()).await.unwrap();
    assert!(!is_woken(&wait), "one of two batches is not enough");
    append(&log, one).await.unwrap();
    assert!(woken(&wait).await);
}

async fn a_poll_wakes_at_once_if_it_has_not_seen_the_end(fixture: Fixture) {
    let log = fixture.log();
    append(&log, batch(&[b"value"])).await.unwrap();
    let behind = FetchWait::new(1 << 20);
    let _behind = log.watch(0, Isolation::ReadUncommitted, &behind);
    assert!(is_woken(&behind));
    let up_to_date = FetchWait::new(1);
    let _up_to_date = log.watch(1, Isolation::ReadUncommitted, &up_to_date);
    assert!(!is_woken(&up_to_date));
}

async fn a_poll_for_what_is_committed_wakes_with_the_marker(fixture: Fixture) {
    let log = fixture.log();
    append(&log, transactional(9, 0, &[b"a"])).await.unwrap();
    let wait = FetchWait::new(1);
    let _registered = log.watch(0, Isolation::ReadCommitted, &wait);
    append(&log, batch(&[b"behind"])).await.unwrap();
    append(&log, transactional(9, 1, &[b"b"])).await.unwrap();
    assert!(!is_woken(&wait), "nothing is decided");
    end_transaction(&log, 9, TransactionResult::Abort).await;
    assert!(woken(&wait).await);
}

async fn a_poll_that_went_away_is_forgotten(fixture: Fixture) {
    let log = fixture.log();
    let wait = FetchWait::new(1);
    drop(log.watch(0, Isolation::ReadUncommitted, &wait));
    append(&log, batch(&[b"value"])).await.unwrap();
    assert!(!is_woken(&wait));
}

async fn a_timestamp_finds_the_first_record_that_is_not_older(fixture: Fixture) {
    let log = fixture.log();
    // Records at 100, 101, 102 | 300 | 200, 201: time need not rise with offsets.
    append(&log, batch_at(100, &[b"a", b"b", b"c"]))
        .await
        .unwrap();
    append(&log, batch_at(300, &[b"d"])).await.unwrap();
    append(&log, batch_at(200, &[b"e", b"f"])).await.unwrap();
    let find = async |timestamp| {
        log.offset_for_timestamp(timestamp, Isolation::ReadUncommitted)
            .await
            .unwrap()
            .map(|found| (found.timestamp, found.offset, found.leader_epoch))
    };
    assert_eq!(find(0).await, Some((100, 0, 0)));
    assert_eq!(find(101).await, Some((101, 1, 0)));
    assert_eq!(find(103).await, Some((300, 3, 0)));
    assert_eq!(find(300).await, Some((300, 3, 0)));
    assert_eq!(find(301).await, None);
}

async fn the_largest_timestamp_finds_its_first_record(fixture: Fixture) {
    let log = fixture.log();
    append(&log, batch_at(100, &[b"a", b"b", b"c"]))
        .await
        .unwrap();
    append(&log, batch_at(300, &[b"d"])).await.unwrap();
    append(&log, batch_at(299, &[b"e", b"f"])).await.unwrap();
    let found = log.offset_of_max_timestamp().await.unwrap().unwrap();
    assert_eq!((found.timestamp, found.offset), (300, 3));
}

async fn an_empty_log_has_no_timestamps(fixture: Fixture) {
    let log = fixture.log();
    let found = log
        .offset_for_timestamp(0, Isolation::ReadUncommitted)
        .await
        .unwrap();
    assert_eq!(found, None);
    assert_eq!(log.offset_of_max_timestamp().await.unwrap(), None);
    assert!(read(&log, request(0)).await.unwrap().records.is_empty());
    assert_eq!(log.size_bytes(), 0);
}

async fn a_batch_is_as_old_as_its_newest_record(fixture: Fixture) {
    let log = fixture.log();
    append(&log, batch_at(100, &[b"a", b"b", b"c"]))
        .await
        .unwrap();
    append(&log, batch_at(300, &[b"d"])).await.unwrap();
    append(&log, batch_at(200, &[b"e", b"f"])).await.unwrap();
    let mut told = Vec::new();
    for offset in 0..=6 {
        told.push(log.timestamp_at(offset).await.unwrap());
    }
    let [first, second, third] = [Some(102), Some(300), Some(201)];
    assert_eq!(told, [first, first, first, second, third, third, None]);
    log.delete_records_before(4).await.unwrap();
    assert_eq!(log.timestamp_at(5).await.unwrap(), third);
}

async fn a_glance_tells_the_offsets_and_the_size(fixture: Fixture) {
    let log = fixture.log();
    for _ in 0..3 {
        append(&log, batch(&[b"a", b"b"])).await.unwrap();
    }
    log.delete_records_before(3).await.unwrap();
    let glance = log.glance().unwrap();
    let more = glance.more.unwrap();
    assert_eq!((more.log_start_offset, glance.high_watermark), (3, 6));
    assert_eq!(more.size_bytes, log.size_bytes());
    assert!(more.size_bytes > 0);
}

async fn records_are_deleted_up_to_an_offset_but_not_beyond_the_high_watermark(fixture: Fixture) {
    let log = fixture.log();
    for _ in 0..5 {
        append(&log, batch(&[b"a", b"b"])).await.unwrap();
    }
    assert_eq!(log.delete_records_before(3).await.unwrap(), 3);
    assert_eq!(log.offsets().log_start_offset, 3);
    assert!(matches!(
        read(&log, request(2)).await,
        Err(ReadError::OffsetOutOfRange {
            log_start_offset: 3,
            ..
        })
    ));
    let rest = read_all(&log, 3).await;
    assert_eq!(rest.first().map(|(offset, _)| *offset), Some(3));
    assert_eq!(rest.len(), 7);
    assert_eq!(
        log.delete_records_before(1).await.unwrap(),
        3,
        "it never goes back"
    );
    assert_eq!(log.delete_records_before(1_000).await.unwrap(), 10);
    assert_eq!(append(&log, batch(&[b"c"])).await.unwrap().base_offset, 10);
    let found = log
        .offset_for_timestamp(0, Isolation::ReadUncommitted)
        .await;
    assert_eq!(found.unwrap().unwrap().offset, 10);
}

async fn the_current_epoch_ends_at_the_high_watermark(fixture: Fixture) {
    let log = fixture.log();
    append(&log, batch(&[b"a", b"b"])).await.unwrap();
    assert_eq!(log.leader_epoch(), 0);
    assert_eq!(log.end_offset_for_epoch(0), Some((0, 2)));
    assert_eq!(log.end_offset_for_epoch(1), None);
    assert_eq!(log.end_offset_for_epoch(-1), None);
}

async fn a_deleted_log_wakes_its_polls_and_refuses_everything(fixture: Fixture) {
    let log = fixture.log();
    append(&log, batch(&[b"value"])).await.unwrap();
    let wait = FetchWait::new(1 << 20);
    let _registered = log.watch(1, Isolation::ReadUncommitted, &wait);
    fixture
        .manager
        .delete_logs(vec![log.id().clone()])
        .await
        .unwrap();
    assert!(is_woken(&wait));
    assert!(matches!(
        read(&log, request(0)).await,
        Err(ReadError::Deleted)
    ));
    assert!(matches!(
        append(&log, batch(&[b"value"])).await,
        Err(AppendError::Deleted)
    ));
    assert!(matches!(
        log.delete_records_before(1).await,
        Err(AppendError::Deleted)
    ));
    assert!(matches!(
        log.current_offsets().await,
        Err(ReadError::Deleted)
    ));
    let late = FetchWait::new(1);
    let _late = log.watch(1, Isolation::ReadUncommitted, &late);
    assert!(is_woken(&late), "nothing will ever come");
}

async fn a_deletion_that_nobody_waits_for_goes_on(fixture: Fixture) {
    let log = fixture.log();
    append(&log, batch(&[b"value"])).await.unwrap();
    drop(fixture.manager.delete_logs(vec![log.id().clone()]));
    let is_deleted = async {
        while !matches!(log.current_offsets().await, Err(ReadError::Deleted)) {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), is_deleted);
    in_time.await.expect("the deletion goes on");
}

async fn a_topic_created_again_under_the_same_name_is_empty(fixture: Fixture) {
    let log = fixture.log();
    append(&log, batch(&[b"old"])).await.unwrap();
    fixture
        .manager
        .delete_logs(vec![log.id().clone()])
        .await
        .unwrap();
    let mut id = log.id().clone();
    id.topic_id = uuid::Uuid::from_u128(99);
    let again = fixture.manager.open_log(id, Arc::default()).unwrap();
    assert_eq!(again.offsets().log_end_offset, 0);
    assert_eq!(
        append(&again, batch(&[b"new"])).await.unwrap().base_offset,
        0
    );
    assert_eq!(read_all(&again, 0).await, [(0, b"new".to_vec())]);
}

async fn two_handles_are_one_log(fixture: Fixture) {
    let (one, other) = (fixture.log(), fixture.log());
    append(&one, batch(&[b"a"])).await.unwrap();
    append(&other, batch(&[b"b"])).await.unwrap();
    assert_eq!(one.offsets(), other.offsets());
    assert_eq!(read_all(&one, 0).await.len(), 2);
}

async fn partitions_are_independent(fixture: Fixture) {
    let logs: Vec<_> = (0..10)
        .map(|number| open(&fixture.manager, "many", number))
        .collect();
    for (number, log) in logs.iter().enumerate() {
        for _ in 0..number {
            append(log, batch(&[format!("of {number}").as_bytes()]))
                .await
                .unwrap();
        }
    }
    for (number, log) in logs.iter().enumerate() {
        let all = read_all(log, 0).await;
        assert_eq!(all.len(), number);
        let expected = format!("of {number}").into_bytes();
        assert!(all.iter().all(|(_, value)| *value == expected));
    }
}

async fn concurrent_appends_keep_the_order_of_each_producer(fixture: Fixture) {
    const PRODUCERS: i64 = 8;
    const BATCHES: i32 = 100;
    let log = fixture.log();
    let tasks: Vec<_> = (0..PRODUCERS)
        .map(|producer_id| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut pending = Vec::new();
                for sequence in 0..BATCHES {
                    let value = format!("{producer_id}:{sequence}");
                    let values: &[&[u8]] = &[value.as_bytes(), &[0; 500]];
                    let batch = produced(producer_id, 0, sequence * 2, values);
                    let permit = log
                        .reserve(batch.bytes.len(), AppendOrigin::CLIENT)
                        .await
                        .unwrap();
                    pending.push(
                        log.submit(permit, batch, AppendOrigin::CLIENT, Next::Append)
                            .unwrap(),
                    );
                    tokio::task::yield_now().await;
                }
                for pending in pending {
                    pending.await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let all = read_all(&log, 0).await;
    assert_eq!(all.len() as i64, PRODUCERS * i64::from(BATCHES) * 2);
    for producer_id in 0..PRODUCERS {
        let prefix = format!("{producer_id}:");
        let seen: Vec<i32> = all
            .iter()
            .filter_map(|(_, value)| {
                std::str::from_utf8(value)
                    .ok()?
                    .strip_prefix(&prefix)?
                    .parse()
                    .ok()
            })
            .collect();
        assert_eq!(seen, (0..BATCHES).collect::<Vec<_>>());
    }
}

async fn current_offsets_have_what_was_appended_before(fixture: Fixture) {
    let log = fixture.log();
    append(&log, batch(&[b"a", b"b"])).await.unwrap();
    let offsets = log.current_offsets().await.unwrap();
    assert_eq!(offsets.high_watermark, 2);
    assert_eq!(offsets, log.offsets());
}

async fn whoever_has_claimed_a_log_goes_on_appending_to_it(fixture: Fixture) {
    let log = fixture.log();
    append(&log, batch(&[b"of a client"])).await.unwrap();
    let mut ends = Vec::new();
    for _ in 0..2 {
        let epoch = log.claim().await.unwrap();
        assert_eq!(epoch, log.leader_epoch());
        let record = append_as(&log, batch(&[b"a record"]), AppendOrigin::COORDINATOR);
        record.await.unwrap();
        append(&log, batch(&[b"of a client"])).await.unwrap();
        let end = log.offsets().log_end_offset;
        assert_eq!(log.end_offset_for_epoch(epoch), Some((epoch, end)));
        ends.push(end);
    }
    assert_eq!(ends, [3, 5], "a claim takes no offset");
}

async fn a_store_that_nothing_has_befallen_is_in_good_health(fixture: Fixture) {
    let manager = &fixture.manager;
    append(&fixture.log(), batch(&[b"value"])).await.unwrap();
    assert_eq!(manager.health(), Health::Good);
    assert!(manager.failed().borrow().is_none());
    assert!(manager.recovery_report().clean);
    manager.shutdown().unwrap();
    manager.shutdown().unwrap();
}

fn logs(fixture: &Fixture, count: i32) -> Vec<Arc<dyn PartitionLog>> {
    (0..count)
        .map(|number| open(&fixture.manager, "joint", number))
        .collect()
}

fn part(log: &Arc<dyn PartitionLog>, batch: ValidatedBatch) -> JointPart {
    JointPart {
        log: log.id().clone(),
        batch,
        origin: AppendOrigin::CLIENT,
        if_refused: IfRefused::FailAll,
    }
}

fn skippable(log: &Arc<dyn PartitionLog>, batch: ValidatedBatch) -> JointPart {
    JointPart {
        if_refused: IfRefused::Skip,
        ..part(log, batch)
    }
}

async fn submit_all(
    fixture: &Fixture,
    parts: Vec<JointPart>,
) -> Result<Vec<Result<Appended, AppendError>>, JointError> {
    let bytes = parts.iter().map(|part| part.batch.bytes.len()).sum();
    let origin = AppendOrigin::COORDINATOR;
    let permit = fixture.manager.reserve(bytes, origin).await.unwrap();
    let mut appended = Vec::new();
    for answer in fixture.manager.submit_all(permit, parts)? {
        appended.push(match answer {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        });
    }
    Ok(appended)
}

/// A batch of an idempotent producer that leaves sequence numbers out.
fn out_of_order() -> ValidatedBatch {
    trusted(build(
        BatchBuilder::new().producer(1, 0, 7),
        1_000,
        &[b"out of order"],
    ))
}

fn ends(logs: &[Arc<dyn PartitionLog>]) -> Vec<i64> {
    logs.iter()
        .map(|log| log.offsets().log_end_offset)
        .collect()
}

async fn a_joint_append_reaches_every_log(fixture: Fixture) {
    let logs = logs(&fixture, 3);
    append(&logs[1], batch(&[b"before"])).await.unwrap();
    // Not in the order of the logs.
    let parts = vec![
        part(&logs[2], batch(&[b"c"])),
        part(&logs[0], batch(&[b"a", b"aa"])),
        part(&logs[1], batch(&[b"b"])),
    ];
    let appended = submit_all(&fixture, parts).await.unwrap();
    let bases = appended
        .iter()
        .map(|part| part.as_ref().unwrap().base_offset);
    assert_eq!(bases.collect::<Vec<_>>(), [0, 0, 1]);
    append(&logs[0], batch(&[b"after"])).await.unwrap();
    let found = |values: &[&[u8]]| -> Vec<(i64, Vec<u8>)> {
        (0..)
            .zip(values.iter().map(|value| value.to_vec()))
            .collect()
    };
    assert_eq!(read_all(&logs[0], 0).await, found(&[b"a", b"aa", b"after"]));
    assert_eq!(read_all(&logs[1], 0).await, found(&[b"before", b"b"]));
    assert_eq!(read_all(&logs[2], 0).await, found(&[b"c"]));
}

/// Looks at a log in the very moment in which it is woken.
struct Looker {
    log: Arc<dyn PartitionLog>,
    seen: Mutex<Option<i64>>,
}

impl std::task::Wake for Looker {
    fn wake(self: Arc<Self>) {
        let seen = self.log.offsets().high_watermark;
        self.seen.lock().unwrap().get_or_insert(seen);
    }
}

/// The end of a transaction is answered by its last part, and then its markers are to be seen.
async fn whoever_waits_for_the_last_part_finds_the_others_in_their_logs(fixture: Fixture) {
    let logs = logs(&fixture, 2);
    for order in [[0, 1], [1, 0]] {
        let [first, last] = order.map(|at| &logs[at]);
        let parts = vec![
            part(first, batch(&[b"marker"])),
            part(last, batch(&[b"record"])),
        ];
        let before = first.offsets().high_watermark;
        let looker = Arc::new(Looker {
            log: Arc::clone(first),
            seen: Mutex::new(None),
        });
        let origin = AppendOrigin::COORDINATOR;
        let permit = fixture.manager.reserve(1_000, origin).await.unwrap();
        let mut answers = fixture.manager.submit_all(permit, parts).unwrap();
        let mut record = answers.pop().unwrap().unwrap();
        let waker = looker.clone().into();
        let mut cx = Context::from_waker(&waker);
        if record.as_mut().poll(&mut cx).is_pending() {
            while looker.seen.lock().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let seen = looker.seen.lock().unwrap().take();
        let seen = seen.unwrap_or_else(|| first.offsets().high_watermark);
        assert_eq!(seen, before + 1);
    }
}

async fn a_joint_append_that_one_log_refuses_reaches_none(fixture: Fixture) {
    let logs = logs(&fixture, 3);
    let first = BatchBuilder::new().producer(1, 0, 0);
    append(&logs[1], trusted(build(first, 1_000, &[b"first"])))
        .await
        .unwrap();
    let before = ends(&logs);
    for refused in 0..3 {
        let mut parts: Vec<_> = [0, 2].map(|at| part(&logs[at], batch(&[b"value"]))).into();
        parts.insert(refused, part(&logs[1], out_of_order()));
        let error = submit_all(&fixture, parts).await.unwrap_err();
        assert_eq!(error.part, Some(refused));
        let is_right = matches!(error.error, AppendError::OutOfOrderSequence { .. });
        assert!(is_right, "{error:?}");
        assert_eq!(ends(&logs), before);
    }
    let parts = [0, 1, 2].map(|at| part(&logs[at], batch(&[b"value"])));
    submit_all(&fixture, parts.into()).await.unwrap();
    assert_eq!(ends(&logs), [1, 2, 1], "nobody is left locked");
}

async fn a_part_that_may_be_skipped_does_not_hold_up_the_others(fixture: Fixture) {
    let logs = logs(&fixture, 3);
    let first = BatchBuilder::new().producer(1, 0, 0);
    append(&logs[1], trusted(build(first, 1_000, &[b"first"])))
        .await
        .unwrap();
    fixture
        .manager
        .delete_logs(vec![logs[2].id().clone()])
        .await
        .unwrap();
    let parts = vec![
        skippable(&logs[2], batch(&[b"gone"])),
        part(&logs[0], batch(&[b"value"])),
        skippable(&logs[1], out_of_order()),
    ];
    let answers = submit_all(&fixture, parts).await.unwrap();
    assert!(matches!(answers[0], Err(AppendError::Deleted)));
    assert_eq!(answers[1].as_ref().unwrap().base_offset, 0);
    assert!(matches!(
        answers[2],
        Err(AppendError::OutOfOrderSequence { .. })
    ));
    assert_eq!(ends(&logs[..2]), [1, 1]);
}

async fn a_joint_append_to_a_log_that_is_gone_reaches_none(fixture: Fixture) {
    let logs = logs(&fixture, 2);
    fixture
        .manager
        .delete_logs(vec![logs[1].id().clone()])
        .await
        .unwrap();
    let parts = [0, 1].map(|at| part(&logs[at], batch(&[b"value"])));
    let error = submit_all(&fixture, parts.into()).await.unwrap_err();
    assert!(matches!(error.error, AppendError::Deleted));
    assert_eq!((error.part, ends(&logs[..1])), (Some(1), vec![0]));
}

async fn a_part_of_a_joint_append_may_be_a_duplicate(fixture: Fixture) {
    let logs = logs(&fixture, 2);
    let sent = || {
        let builder = BatchBuilder::new().producer(1, 0, 0);
        trusted(build(builder, 1_000, &[b"once"]))
    };
    append(&logs[0], sent()).await.unwrap();
    let parts = vec![part(&logs[0], sent()), part(&logs[1], batch(&[b"value"]))];
    let answers = submit_all(&fixture, parts).await.unwrap();
    let original = answers[0].as_ref().unwrap();
    assert!(original.duplicate && original.base_offset == 0);
    assert_eq!(ends(&logs), [1, 1]);
}

async fn two_parts_of_a_joint_append_for_one_log_are_refused(fixture: Fixture) {
    let logs = logs(&fixture, 1);
    let parts = vec![
        part(&logs[0], batch(&[b"a"])),
        part(&logs[0], batch(&[b"b"])),
    ];
    assert!(submit_all(&fixture, parts).await.is_err());
    assert_eq!(ends(&logs), [0]);
}

async fn a_joint_append_of_nothing_is_nothing(fixture: Fixture) {
    assert!(submit_all(&fixture, Vec::new()).await.unwrap().is_empty());
}

/// The room for appends is 1 MiB here: appends would wait for ever.
async fn joint_appends_give_their_room_back(fixture: Fixture) {
    let logs = logs(&fixture, 3);
    let first = BatchBuilder::new().producer(1, 0, 0);
    append(&logs[1], trusted(build(first, 1_000, &[b"first"])))
        .await
        .unwrap();
    let large = vec![b'x'; 60 << 10];
    let rounds = async {
        for _ in 0..20 {
            let parts = [0, 1, 2].map(|at| part(&logs[at], batch(&[&large])));
            submit_all(&fixture, parts.into()).await.unwrap();
            let parts = vec![
                part(&logs[0], batch(&[&large])),
                part(&logs[1], out_of_order()),
            ];
            assert!(submit_all(&fixture, parts).await.is_err());
            let parts = vec![
                part(&logs[0], batch(&[&large])),
                skippable(&logs[1], out_of_order()),
            ];
            submit_all(&fixture, parts).await.unwrap();
        }
        // Too much for the log: it is refused, and nothing of it is kept.
        let parts = [0, 1, 2].map(|at| part(&logs[at], batch(&[&vec![b'x'; 200 << 10]])));
        submit_all(&fixture, parts.into()).await.is_err()
    };
    let is_refused = tokio::time::timeout(Duration::from_secs(60), rounds).await;
    let in_memory = fixture._dir.is_none();
    assert_eq!(
        is_refused,
        Ok(!in_memory),
        "room runs out, or there is too much"
    );
    let end = if in_memory { 41 } else { 40 };
    assert_eq!(logs[0].offsets().log_end_offset, end);
}

async fn concurrent_joint_appends_in_any_order_reach_all_or_none(fixture: Fixture) {
    let fixture = Arc::new(fixture);
    let logs = logs(&fixture, 4);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8u8 {
        let (fixture, logs) = (Arc::clone(&fixture), logs.clone());
        tasks.spawn(async move {
            for round in 0..20u8 {
                let mut places = [0, 1, 2, 3];
                places.rotate_left(usize::from(task) % 4);
                if task % 2 == 0 {
                    places.reverse();
                }
                let value = [task, round];
                let parts = places.map(|at| part(&logs[at], batch(&[&value])));
                submit_all(&fixture, parts.into()).await.unwrap();
                // One log has more than the others, in between.
                append(&logs[0], batch(&[b"alone"])).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let mut together = Vec::new();
    for log in &logs {
        let values = read_all(log, 0).await.into_iter().map(|(_, value)| value);
        together.push(values.filter(|value| value != b"alone").collect::<Vec<_>>());
    }
    assert_eq!(together[0].len(), 8 * 20);
    let same = together.iter().all(|values| values == &together[0]);
    assert!(same, "joint appends are in the same order in every log");
}
