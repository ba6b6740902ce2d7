//! What every log promises about transactions: which batches and markers it lets in, and what of that a restart keeps.

#![allow(clippy::unwrap_used)]

mod common;
#[macro_use]
#[path = "common/fixture.rs"]
mod fixture;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use fixture::Fixture;
use storage::local::{self, LocalConfig};
use storage::log::{
    AbortedTransaction, AppendError, AppendOrigin, Appended, IfRefused, Isolation, JointPart,
    LiveConfig, LogConfig, LogStore, PartitionLog, ReadError, ReadRequest, VerificationGuard,
};
use storage::record::{BatchBuilder, EndTxnMarker, TransactionResult, ValidatedBatch};
use tempfile::TempDir;

contract! {
    a_transaction_begins_only_with_a_guard
    a_late_batch_does_not_begin_a_transaction_behind_its_marker
    a_marker_without_data_takes_the_guard_away
    the_marker_of_the_transaction_before_leaves_the_guard_where_epochs_grow
    the_first_batch_of_a_new_epoch_has_sequence_zero
    a_batch_does_not_overtake_one_that_waits_for_the_coordinator
    an_old_epoch_is_fenced_before_its_guard_is_looked_at
    a_marker_with_an_old_epoch_is_refused
    a_marker_of_an_old_coordinator_is_refused
    where_epochs_grow_a_marker_needs_a_newer_one
    the_last_epoch_is_its_own_successor
    a_marker_without_data_fences
    a_duplicate_in_a_transaction_is_answered_with_the_original
    a_producer_writes_nothing_else_while_its_transaction_is_open
    a_coordinators_batch_is_checked_for_epoch_and_guard_and_not_for_its_sequence
    checking_a_transaction_says_what_an_append_would
    without_verification_a_transaction_begins_without_a_guard
    a_transaction_may_be_late_while_it_is_open
    a_log_that_is_gone_begins_no_verification
    markers_that_logs_refuse_are_left_out_of_a_joint_append
}

/// A transactional producer, as a client is one.
#[derive(Clone, Copy)]
struct Producer {
    id: i64,
    epoch: i16,
    sequence: i32,
    /// It gets a new epoch with each transaction.
    bumps: bool,
}

impl Producer {
    fn new(id: i64, epoch: i16) -> Self {
        Self {
            id,
            epoch,
            sequence: 0,
            bumps: false,
        }
    }

    fn bumping(id: i64, epoch: i16) -> Self {
        Self {
            bumps: true,
            ..Self::new(id, epoch)
        }
    }

    fn verify(
        &self,
        log: &Arc<dyn PartitionLog>,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        log.begin_verification(self.id, self.epoch, self.sequence, self.bumps)
    }

    fn guard(&self, log: &Arc<dyn PartitionLog>) -> VerificationGuard {
        let guard = self.verify(log).unwrap();
        guard.expect("no transaction is open")
    }

    fn batch(&self, values: &[&[u8]]) -> ValidatedBatch {
        let builder = BatchBuilder::new()
            .producer(self.id, self.epoch, self.sequence)
            .transactional();
        trusted(build(builder, 1_000, values))
    }

    /// Sends one record.
    async fn send(
        &mut self,
        log: &Arc<dyn PartitionLog>,
        guard: Option<VerificationGuard>,
    ) -> Result<Appended, AppendError> {
        let appended = append_as(log, self.batch(&[b"value"]), AppendOrigin::Client(guard)).await?;
        self.sequence += 1;
        Ok(appended)
    }

    /// Sends one record, and whatever that takes.
    async fn write(&mut self, log: &Arc<dyn PartitionLog>) -> Appended {
        let guard = self.verify(log).unwrap();
        self.send(log, guard).await.unwrap()
    }
}

#[derive(Clone, Copy)]
struct Ending {
    id: i64,
    epoch: i16,
    coordinator_epoch: i32,
    transaction_version: i16,
    result: TransactionResult,
}

impl Ending {
    fn abort(id: i64, epoch: i16) -> Self {
        Self {
            id,
            epoch,
            coordinator_epoch: 0,
            transaction_version: 0,
            result: TransactionResult::Abort,
        }
    }

    fn version_2(self) -> Self {
        Self {
            transaction_version: 2,
            ..self
        }
    }

    fn of_coordinator(self, coordinator_epoch: i32) -> Self {
        Self {
            coordinator_epoch,
            ..self
        }
    }

    fn batch(self) -> ValidatedBatch {
        let marker = EndTxnMarker {
            result: self.result,
            coordinator_epoch: self.coordinator_epoch,
        };
        trusted(marker.to_batch(self.id, self.epoch, 2_000).unwrap())
    }

    fn origin(self) -> AppendOrigin {
        AppendOrigin::Marker {
            transaction_version: self.transaction_version,
        }
    }

    async fn write(self, log: &Arc<dyn PartitionLog>) -> Result<Appended, AppendError> {
        append_as(log, self.batch(), self.origin()).await
    }
}

/// Kafka's name of an error.
fn code<T: std::fmt::Debug>(result: Result<T, AppendError>) -> &'static str {
    match result {
        Ok(_) => "NONE",
        Err(AppendError::InvalidProducerEpoch { .. }) => "INVALID_PRODUCER_EPOCH",
        Err(AppendError::InvalidTxnState { .. }) => "INVALID_TXN_STATE",
        Err(AppendError::OutOfOrderSequence { .. }) => "OUT_OF_ORDER_SEQUENCE_NUMBER",
        Err(AppendError::TransactionCoordinatorFenced { .. }) => "TRANSACTION_COORDINATOR_FENCED",
        Err(AppendError::Deleted) => "UNKNOWN_TOPIC_OR_PARTITION",
        Err(error) => panic!("{error:?}"),
    }
}

fn open_at(log: &Arc<dyn PartitionLog>, producer_id: i64) -> Option<i64> {
    let producers = log.producers();
    let mut producers = producers.iter();
    producers
        .find(|producer| producer.producer_id == producer_id)
        .and_then(|producer| producer.current_txn_start_offset)
}

async fn a_transaction_begins_only_with_a_guard(fixture: Fixture) {
    let log = fixture.log();
    let mut producer = Producer::new(9, 0);
    let refused = producer.send(&log, None).await;
    assert_eq!(code(refused), "INVALID_TXN_STATE");
    assert_eq!(log.offsets().log_end_offset, 0);
    let guard = producer.guard(&log);
    assert_eq!(producer.guard(&log), guard, "the same until it is used");
    producer.send(&log, Some(guard)).await.unwrap();
    assert_eq!(producer.verify(&log).unwrap(), None, "nothing to ask");
    producer.send(&log, None).await.unwrap();
    assert_eq!(open_at(&log, 9), Some(0));
    let another = Producer::new(10, 0).send(&log, Some(guard)).await;
    assert_eq!(code(another), "INVALID_TXN_STATE", "another's guard");
}

async fn a_late_batch_does_not_begin_a_transaction_behind_its_marker(fixture: Fixture) {
    let log = fixture.log();
    let mut producer = Producer::new(9, 0);
    let guard = producer.guard(&log);
    producer.send(&log, Some(guard)).await.unwrap();
    Ending::abort(9, 0).write(&log).await.unwrap();
    for guard in [None, Some(guard)] {
        let late = producer.send(&log, guard).await;
        assert_eq!(code(late), "INVALID_TXN_STATE");
    }
    assert_eq!(open_at(&log, 9), None);
    assert_eq!(log.offsets().last_stable_offset, 2);
}

async fn a_marker_without_data_takes_the_guard_away(fixture: Fixture) {
    let log = fixture.log();
    let mut producer = Producer::new(9, 0);
    let guard = producer.guard(&log);
    Ending::abort(9, 0).write(&log).await.unwrap();
    let late = producer.send(&log, Some(guard)).await;
    assert_eq!(code(late), "INVALID_TXN_STATE");
    let again = producer.guard(&log);
    assert_ne!(again, guard);
    producer.send(&log, Some(again)).await.unwrap();
}

/// The marker of the first transaction carries the epoch of the second, and may come after that has begun.
async fn the_marker_of_the_transaction_before_leaves_the_guard_where_epochs_grow(fixture: Fixture) {
    let log = fixture.log();
    Producer::bumping(9, 0).write(&log).await;
    let mut next = Producer::bumping(9, 1);
    let guard = next.guard(&log);
    Ending::abort(9, 1).version_2().write(&log).await.unwrap();
    next.send(&log, Some(guard)).await.unwrap();
    assert_eq!(open_at(&log, 9), Some(2));

    let mut after = Producer::bumping(9, 2);
    let guard = after.guard(&log);
    Ending::abort(9, 3).version_2().write(&log).await.unwrap();
    let fenced = after.send(&log, Some(guard)).await;
    assert_eq!(code(fenced), "INVALID_PRODUCER_EPOCH");

    let mut old_protocol = Producer::new(9, 3);
    let guard = old_protocol.guard(&log);
    Ending::abort(9, 3).write(&log).await.unwrap();
    let late = old_protocol.send(&log, Some(guard)).await;
    assert_eq!(code(late), "INVALID_TXN_STATE");
}

async fn the_first_batch_of_a_new_epoch_has_sequence_zero(fixture: Fixture) {
    let log = fixture.log();
    let mut producer = Producer::bumping(9, 0);
    producer.sequence = 3;
    let guard = producer.guard(&log);
    let refused = producer.send(&log, Some(guard)).await;
    assert_eq!(code(refused), "OUT_OF_ORDER_SEQUENCE_NUMBER");
    // Of a producer of the old protocol the beginning may have been deleted.
    let mut producer = Producer::new(10, 0);
    producer.sequence = 3;
    producer.write(&log).await;
}

async fn a_batch_does_not_overtake_one_that_waits_for_the_coordinator(fixture: Fixture) {
    let log = fixture.log();
    let mut first = Producer::new(9, 0);
    let mut second = Producer {
        sequence: 1,
        ..first
    };
    let guard = first.guard(&log);
    assert_eq!(second.guard(&log), guard);
    let overtaking = second.send(&log, Some(guard)).await;
    assert_eq!(code(overtaking), "OUT_OF_ORDER_SEQUENCE_NUMBER");
    first.send(&log, Some(guard)).await.unwrap();
    second.send(&log, Some(guard)).await.unwrap();
}

async fn an_old_epoch_is_fenced_before_its_guard_is_looked_at(fixture: Fixture) {
    let log = fixture.log();
    let mut old = Producer::new(9, 4);
    let guard = old.guard(&log);
    Producer::new(9, 5).write(&log).await;
    for guard in [None, Some(guard)] {
        let fenced = old.send(&log, guard).await;
        assert_eq!(code(fenced), "INVALID_PRODUCER_EPOCH");
    }
    assert_eq!(code(old.verify(&log)), "INVALID_PRODUCER_EPOCH");
    assert_eq!(open_at(&log, 9), Some(0));
}

async fn a_marker_with_an_old_epoch_is_refused(fixture: Fixture) {
    let log = fixture.log();
    Producer::new(9, 5).write(&log).await;
    let refused = Ending::abort(9, 4).write(&log).await;
    assert_eq!(code(refused), "INVALID_PRODUCER_EPOCH");
    assert_eq!(open_at(&log, 9), Some(0));
    Ending::abort(9, 5).write(&log).await.unwrap();
    assert_eq!(open_at(&log, 9), None);
    Ending::abort(9, 5).write(&log).await.expect("again");
}

async fn a_marker_of_an_old_coordinator_is_refused(fixture: Fixture) {
    let log = fixture.log();
    let ending = Ending::abort(9, 0);
    let mut producer = Producer::new(9, 0);
    producer.write(&log).await;
    ending.of_coordinator(7).write(&log).await.unwrap();
    producer.write(&log).await;
    let refused = ending.of_coordinator(6).write(&log).await;
    assert_eq!(code(refused), "TRANSACTION_COORDINATOR_FENCED");
    assert_eq!(open_at(&log, 9), Some(2));
    ending.of_coordinator(8).write(&log).await.unwrap();
    let nobodys = Ending::abort(10, 0).of_coordinator(-2).write(&log).await;
    assert_eq!(
        code(nobodys),
        "TRANSACTION_COORDINATOR_FENCED",
        "-1 is none"
    );
}

async fn where_epochs_grow_a_marker_needs_a_newer_one(fixture: Fixture) {
    let log = fixture.log();
    Producer::bumping(9, 5).write(&log).await;
    for epoch in [4, 5] {
        let refused = Ending::abort(9, epoch).version_2().write(&log).await;
        assert_eq!(code(refused), "INVALID_PRODUCER_EPOCH", "{epoch}");
    }
    assert_eq!(open_at(&log, 9), Some(0));
    let ending = Ending::abort(9, 6).version_2();
    ending.write(&log).await.unwrap();
    ending.write(&log).await.expect("nothing is open: again");
    assert_eq!(open_at(&log, 9), None);
}

/// There is no epoch above 32767, so a marker repeats it.
async fn the_last_epoch_is_its_own_successor(fixture: Fixture) {
    let log = fixture.log();
    Producer::bumping(9, i16::MAX).write(&log).await;
    let ending = Ending::abort(9, i16::MAX).version_2();
    ending.write(&log).await.unwrap();
    assert_eq!(open_at(&log, 9), None);
}

async fn a_marker_without_data_fences(fixture: Fixture) {
    let log = fixture.log();
    Ending::abort(9, 3).write(&log).await.unwrap();
    let old = Producer::new(9, 2).verify(&log);
    assert_eq!(code(old), "INVALID_PRODUCER_EPOCH");
    let offsets = log.offsets();
    assert_eq!((offsets.last_stable_offset, offsets.high_watermark), (1, 1));
}

async fn a_duplicate_in_a_transaction_is_answered_with_the_original(fixture: Fixture) {
    let log = fixture.log();
    let mut producer = Producer::new(9, 0);
    let before = producer;
    producer.write(&log).await;
    producer.write(&log).await;
    for is_ended in [false, true] {
        let duplicate = before.batch(&[b"value"]);
        let answer = append_as(&log, duplicate, AppendOrigin::CLIENT).await;
        let answer = answer.unwrap();
        let offsets = (answer.base_offset, answer.last_offset);
        assert!(answer.duplicate && offsets == (0, 0), "ended: {is_ended}");
        if !is_ended {
            Ending::abort(9, 0).write(&log).await.unwrap();
        }
    }
    assert_eq!(open_at(&log, 9), None);
    assert_eq!(log.offsets().log_end_offset, 3);
}

async fn a_producer_writes_nothing_else_while_its_transaction_is_open(fixture: Fixture) {
    let log = fixture.log();
    let mut producer = Producer::new(9, 0);
    producer.write(&log).await;
    let plain = BatchBuilder::new().producer(9, 0, producer.sequence);
    let plain = trusted(build(plain, 1_000, &[b"plain"]));
    let refused = append(&log, plain.clone()).await;
    assert_eq!(code(refused), "INVALID_TXN_STATE");
    Ending::abort(9, 0).write(&log).await.unwrap();
    append(&log, plain).await.unwrap();
}

/// Offsets that a transaction commits.
async fn a_coordinators_batch_is_checked_for_epoch_and_guard_and_not_for_its_sequence(
    fixture: Fixture,
) {
    let log = fixture.log();
    let mut producer = Producer::new(9, 5);
    producer.sequence = -1;
    let append = async |producer: Producer, guard| {
        let origin = AppendOrigin::Coordinator(guard);
        append_as(&log, producer.batch(&[b"an offset"]), origin).await
    };
    assert_eq!(code(append(producer, None).await), "INVALID_TXN_STATE");
    let guard = producer.guard(&log);
    for (base_offset, guard) in [(0, Some(guard)), (1, None), (2, None)] {
        let appended = append(producer, guard).await.unwrap();
        let found = (appended.base_offset, appended.duplicate);
        assert_eq!(found, (base_offset, false));
    }
    assert_eq!(open_at(&log, 9), Some(0));
    producer.epoch = 4;
    for guard in [None, Some(guard)] {
        let refused = append(producer, guard).await;
        assert_eq!(code(refused), "INVALID_PRODUCER_EPOCH");
    }
    producer.epoch = 6;
    assert_eq!(code(append(producer, None).await), "INVALID_TXN_STATE");
    append_as(&log, batch(&[b"plain"]), AppendOrigin::COORDINATOR)
        .await
        .expect("no producer, nothing to check");
}

async fn checking_a_transaction_says_what_an_append_would(fixture: Fixture) {
    let log = fixture.log();
    let mut producer = Producer::new(9, 5);
    let check = |epoch, guard| code(log.check_transaction(9, epoch, guard));
    assert_eq!(check(5, None), "INVALID_TXN_STATE");
    let guard = producer.guard(&log);
    assert_eq!(check(5, None), "INVALID_TXN_STATE");
    assert_eq!(check(5, Some(guard)), "NONE");
    assert_eq!(log.offsets().log_end_offset, 0);
    producer.send(&log, Some(guard)).await.unwrap();
    assert_eq!(check(5, None), "NONE");
    assert_eq!(check(4, Some(guard)), "INVALID_PRODUCER_EPOCH");
    assert_eq!(check(6, Some(guard)), "INVALID_TXN_STATE");
    Ending::abort(9, 5).write(&log).await.unwrap();
    assert_eq!(check(5, Some(guard)), "INVALID_TXN_STATE");
}

async fn without_verification_a_transaction_begins_without_a_guard(fixture: Fixture) {
    let log = fixture.log();
    let with = |transaction_verification_enabled| LiveConfig {
        transaction_verification_enabled,
        ..LiveConfig::default()
    };
    fixture.manager.change(&with(false));
    let mut producer = Producer::new(9, 0);
    assert!(producer.verify(&log).unwrap().is_none(), "nobody is asked");
    let bumping = Producer::bumping(8, 0).verify(&log).unwrap();
    assert!(bumping.is_some(), "partitions are added all the same");
    producer.send(&log, None).await.unwrap();
    Ending::abort(9, 0).write(&log).await.unwrap();
    log.check_transaction(9, 0, None).unwrap();
    let fenced = Producer::new(9, -1).send(&log, None).await;
    assert_eq!(code(fenced), "INVALID_PRODUCER_EPOCH", "epochs are checked");
    let opened_later = open(&fixture.manager, "later", 0);
    Producer::new(9, 0).send(&opened_later, None).await.unwrap();
    fixture.manager.change(&with(true));
    for log in [&log, &open(&fixture.manager, "last", 0)] {
        let refused = Producer::new(9, 1).send(log, None).await;
        assert_eq!(code(refused), "INVALID_TXN_STATE");
    }
}

async fn a_transaction_may_be_late_while_it_is_open(fixture: Fixture) {
    let log = fixture.log();
    append(&log, batch(&[b"plain"])).await.unwrap();
    assert_eq!(log.late_transactions(-1), 0);
    Producer::new(9, 0).write(&log).await;
    Producer::new(10, 0).write(&log).await;
    assert_eq!(log.late_transactions(-1), 2);
    assert_eq!(log.late_transactions(900_000), 0);
    Ending::abort(9, 0).write(&log).await.unwrap();
    assert_eq!(log.late_transactions(-1), 1);
}

async fn a_log_that_is_gone_begins_no_verification(fixture: Fixture) {
    let log = fixture.log();
    let id = log.id().clone();
    fixture.manager.delete_logs(vec![id]).await.unwrap();
    let producer = Producer::new(9, 0);
    assert_eq!(code(producer.verify(&log)), "UNKNOWN_TOPIC_OR_PARTITION");
    let check = log.check_transaction(9, 0, None);
    assert_eq!(code(check), "UNKNOWN_TOPIC_OR_PARTITION");
}

async fn markers_that_logs_refuse_are_left_out_of_a_joint_append(fixture: Fixture) {
    let logs = [0, 1, 2].map(|number| open(&fixture.manager, "topic", number));
    Producer::bumping(9, 5).write(&logs[0]).await;
    // A newer transaction than the one that ends.
    Producer::bumping(9, 6).write(&logs[1]).await;
    let ending = Ending::abort(9, 6).version_2();
    let mut parts = logs[..2].iter().map(|log| JointPart {
        log: log.id().clone(),
        batch: ending.batch(),
        origin: ending.origin(),
        if_refused: IfRefused::Skip,
    });
    let mut parts: Vec<_> = parts.by_ref().collect();
    let mut offsets = Producer::new(9, 6);
    offsets.sequence = -1;
    let guard = offsets.guard(&logs[2]);
    parts.push(JointPart {
        log: logs[2].id().clone(),
        batch: offsets.batch(&[b"an offset"]),
        origin: AppendOrigin::Coordinator(Some(guard)),
        if_refused: IfRefused::FailAll,
    });
    let permit = fixture.manager.reserve(1_000, AppendOrigin::COORDINATOR);
    let permit = permit.await.unwrap();
    let mut codes = Vec::new();
    for answer in fixture.manager.submit_all(permit, parts).unwrap() {
        codes.push(match answer {
            Ok(pending) => code(pending.await),
            Err(error) => code(Err::<(), _>(error)),
        });
    }
    assert_eq!(codes, ["NONE", "INVALID_PRODUCER_EPOCH", "NONE"]);
    let open = logs.each_ref().map(|log| open_at(log, 9));
    assert_eq!(open, [None, Some(0), Some(0)]);
}

fn manager(dir: &Path) -> Arc<dyn LogStore> {
    local::open(LocalConfig {
        // Retention goes by bytes here, and looks all the time.
        retention_check_interval_ms: 1,
        initial_task_delay_ms: 0,
        ..small(dir)
    })
    .unwrap()
}

fn kept() -> LogConfig {
    LogConfig {
        retention_ms: -1,
        ..LogConfig::default()
    }
}

/// Ends a manager in order, or like a process that is killed; the directory that it leaves.
fn restart(manager: Arc<dyn LogStore>, dir: TempDir, is_orderly: bool) -> TempDir {
    if !is_orderly {
        return crash(manager, dir.path());
    }
    manager.shutdown().unwrap();
    dir
}

/// Epochs, open transactions and the epoch of the coordinator outlive the process; guards do not, nor do their holders.
#[tokio::test]
async fn a_restart_keeps_what_is_open_and_forgets_what_was_being_verified() {
    for is_orderly in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let manager_before = manager(dir.path());
        let log = open_with(&manager_before, "topic", 0, kept());
        let mut open_one = Producer::bumping(1, 3);
        open_one.write(&log).await;
        Producer::new(2, 7).write(&log).await;
        let ending = Ending::abort(2, 7);
        ending.of_coordinator(5).write(&log).await.unwrap();
        Ending::abort(3, 4).write(&log).await.unwrap();
        let mut verified = Producer::new(4, 0);
        let guard = verified.guard(&log);
        let producers = log.producers();
        drop(log);
        let dir = restart(manager_before, dir, is_orderly);
        let manager = manager(dir.path());
        let log = open_with(&manager, "topic", 0, kept());
        assert_eq!(log.producers(), producers, "orderly: {is_orderly}");
        assert_eq!(log.offsets().last_stable_offset, 0);
        let late = verified.send(&log, Some(guard)).await;
        assert_eq!(code(late), "INVALID_TXN_STATE");
        assert_eq!(open_one.verify(&log).unwrap(), None);
        open_one.send(&log, None).await.unwrap();
        let same_epoch = Ending::abort(1, 3).version_2().write(&log).await;
        assert_eq!(code(same_epoch), "INVALID_PRODUCER_EPOCH");
        let fenced = ending.of_coordinator(4).write(&log).await;
        assert_eq!(code(fenced), "TRANSACTION_COORDINATOR_FENCED");
        let fenced = Producer::new(3, 3).verify(&log);
        assert_eq!(code(fenced), "INVALID_PRODUCER_EPOCH");
        Ending::abort(1, 4).version_2().write(&log).await.unwrap();
        let offsets = log.offsets();
        assert_eq!(offsets.last_stable_offset, offsets.high_watermark);
    }
}

/// Retention takes the beginning of a transaction, and its end is written after a restart.
#[tokio::test]
async fn a_transaction_survives_the_loss_of_its_beginning() {
    for is_orderly in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig {
            segment_bytes: 300,
            retention_bytes: 600,
            file_delete_delay_ms: 0,
            ..kept()
        };
        let manager_before = manager(dir.path());
        let log = open_with(&manager_before, "topic", 0, config.clone());
        let mut producer = Producer::bumping(9, 0);
        producer.write(&log).await;
        while log.offsets().log_start_offset == 0 {
            append(&log, batch(&[&[b'x'; 100]])).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(log);
        let dir = restart(manager_before, dir, is_orderly);
        let manager = manager(dir.path());
        let log = open_with(&manager, "topic", 0, config.clone());
        let start = log.offsets().log_start_offset;
        assert!(start > 0);
        assert_eq!(log.offsets().last_stable_offset, start);
        assert_eq!(open_at(&log, 9), Some(0));
        producer.send(&log, None).await.expect("it goes on");
        Ending::abort(9, 1).version_2().write(&log).await.unwrap();
        let offsets = log.offsets();
        assert_eq!(offsets.last_stable_offset, offsets.high_watermark);
        // Retention goes on: the start may have moved again before the read.
        let found = loop {
            let committed = ReadRequest {
                isolation: Isolation::ReadCommitted,
                ..request(log.offsets().log_start_offset)
            };
            match read(&log, committed).await {
                Err(ReadError::OffsetOutOfRange { .. }) => {}
                found => break found.unwrap(),
            }
        };
        let aborted = found.aborted_transactions;
        let listed = AbortedTransaction {
            producer_id: 9,
            first_offset: 0,
        };
        assert_eq!(aborted, [listed]);
    }
}
