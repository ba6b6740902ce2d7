//! What several brokers make of one log in object storage, and what becomes of it when stores and brokers fail.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::cluster::{Broker, Cluster};
use common::*;
use storage::log::{
    AppendError, AppendOrigin, Appended, FetchWait, Health, IfRefused, Isolation, JointPart,
    LogStore, PartitionLog, Read, ReadError, ReadRequest,
};
use storage::object::database::{Fate, LogGroup, OrderedLog as _, log_group_of};
use storage::object::in_flight::InFlight;
use storage::record::{BatchBuilder, EndTxnMarker, TransactionResult, ValidatedBatch};
use storage::testing::faulty_objects::ObjectFaults;
use tokio::runtime::Handle;

/// A broker that learns of others only when it has to.
fn shortsighted(cluster: &Cluster, id: i32) -> Broker {
    cluster.broker_with(id, |config| config.poll = Duration::from_secs(3600))
}

fn log(broker: &Broker) -> Arc<dyn PartitionLog> {
    open(&broker.store, "topic", 0)
}

fn produced(sequence: i32, values: &[&[u8]]) -> ValidatedBatch {
    trusted(build(
        BatchBuilder::new().producer(9, 0, sequence),
        1_000,
        values,
    ))
}

fn transactional(sequence: i32) -> ValidatedBatch {
    let builder = BatchBuilder::new().producer(9, 0, sequence).transactional();
    trusted(build(builder, 1_000, &[b"value"]))
}

async fn end_transaction(log: &Arc<dyn PartitionLog>) -> Result<Appended, AppendError> {
    let marker = EndTxnMarker {
        result: TransactionResult::Abort,
        coordinator_epoch: 0,
    };
    let batch = trusted(marker.to_batch(9, 0, 2_000).unwrap());
    let transaction_version = 0;
    append_as(
        log,
        batch,
        AppendOrigin::Marker {
            transaction_version,
        },
    )
    .await
}

/// Appends a record, in the name of a coordinator.
async fn coordinate(log: &Arc<dyn PartitionLog>) -> Result<Appended, AppendError> {
    append_as(log, batch(&[b"state"]), AppendOrigin::COORDINATOR).await
}

async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, future).await.ok()
}

const SOON: Duration = Duration::from_secs(30);
const A_WHILE: Duration = Duration::from_millis(300);

#[tokio::test]
async fn two_brokers_append_to_one_partition_and_see_one_order() {
    const BATCHES: usize = 100;
    let cluster = Cluster::new(1);
    let brokers = [1, 2, 3].map(|id| cluster.broker(id));
    let appending = brokers.iter().map(|broker| {
        let (log, id) = (log(broker), broker.id);
        tokio::spawn(async move {
            let mut offsets = Vec::new();
            for at in 0..BATCHES {
                // Some go inline and some into objects.
                let large = vec![b'x'; if at % 10 == 0 { 3000 } else { 10 }];
                let value = format!("{id}:{at}");
                let values: [&[u8]; 2] = [value.as_bytes(), &large];
                let appended = append(&log, batch(&values)).await.unwrap();
                offsets.push((appended.base_offset, value.into_bytes()));
            }
            offsets
        })
    });
    let mut acknowledged = Vec::new();
    for done in appending.collect::<Vec<_>>() {
        acknowledged.extend(done.await.unwrap());
    }
    acknowledged.sort();
    for broker in &brokers {
        let log = log(broker);
        let offsets = log.current_offsets().await.unwrap();
        assert_eq!(offsets.high_watermark, 3 * 2 * BATCHES as i64);
        let all = read_all(&log, 0).await;
        let offsets: Vec<_> = all.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, (0..6 * BATCHES as i64).collect::<Vec<_>>());
        let found: Vec<_> = all
            .into_iter()
            .filter(|(offset, _)| offset % 2 == 0)
            .collect();
        assert_eq!(found, acknowledged, "at broker {}", broker.id);
    }
    let conflicts = brokers
        .iter()
        .map(|broker| broker.store.object_stats().unwrap().conflicts);
    assert!(conflicts.sum::<u64>() > 0, "they were in each other's way");
}

#[tokio::test]
async fn a_poll_at_one_broker_wakes_for_what_another_appends() {
    let cluster = Cluster::new(1);
    let (one, other) = (cluster.broker(1), cluster.broker(2));
    let polled = log(&other);
    assert_eq!(polled.current_offsets().await.unwrap().high_watermark, 0);
    let wait = FetchWait::new(1);
    let _registered = polled.watch(0, Isolation::ReadUncommitted, &wait);
    append(&log(&one), batch(&[b"value"])).await.unwrap();
    within(SOON, wait.wait()).await.expect("it wakes");
    assert_eq!(read_all(&polled, 0).await, [(0, b"value".to_vec())]);
}

#[tokio::test]
async fn a_claim_fences_whoever_had_claimed_before() {
    let cluster = Cluster::new(1);
    let (one, other) = (shortsighted(&cluster, 1), shortsighted(&cluster, 2));
    let [old, new] = [&one, &other].map(log);
    let first = old.claim().await.unwrap();
    coordinate(&old).await.unwrap();
    let second = new.claim().await.unwrap();
    assert!(second > first);
    assert_eq!(new.current_offsets().await.unwrap().high_watermark, 1);
    // The old one has not heard of it, and finds out at the commit.
    for _ in 0..2 {
        match coordinate(&old).await {
            Err(AppendError::Fenced { current, got, .. }) => {
                assert_eq!((current, got), (second, first));
            }
            other => panic!("{other:?}"),
        }
    }
    coordinate(&new).await.unwrap();
    // Clients are nobody's claim.
    append(&old, batch(&[b"of a client"])).await.unwrap();
    let again = old.claim().await.unwrap();
    assert!(again > second);
    coordinate(&old).await.unwrap();
    assert!(matches!(
        coordinate(&new).await,
        Err(AppendError::Fenced { .. })
    ));
    let ends = [second, again].map(|epoch| old.end_offset_for_epoch(epoch));
    assert_eq!(ends, [Some((second, 3)), Some((again, 4))]);
}

#[tokio::test]
async fn a_marker_of_one_broker_is_seen_by_the_other() {
    let cluster = Cluster::new(1);
    let (one, other) = (shortsighted(&cluster, 1), shortsighted(&cluster, 2));
    let [here, there] = [&one, &other].map(log);
    append(&here, transactional(0)).await.unwrap();
    assert_eq!(here.offsets().last_stable_offset, 0);
    end_transaction(&there).await.unwrap();
    let offsets = here.current_offsets().await.unwrap();
    assert_eq!((offsets.last_stable_offset, offsets.high_watermark), (2, 2));
    let committed = ReadRequest {
        isolation: Isolation::ReadCommitted,
        ..request(0)
    };
    let aborted = read(&here, committed).await.unwrap().aborted_transactions;
    assert_eq!((aborted[0].producer_id, aborted[0].first_offset), (9, 0));
    // The marker takes up its offset at every broker, though its bytes are nowhere.
    let of = async |log| headers(&read(log, request(0)).await.unwrap());
    assert_eq!(of(&here).await, of(&there).await);
    assert!(of(&here).await[1].is_control());
}

/// The next transaction has begun, and this broker still takes the one before for open.
#[tokio::test]
async fn a_batch_that_came_before_the_marker_of_another_broker_was_known_is_refused_and_let_in_again()
 {
    let cluster = Cluster::new(1);
    let (one, other) = (shortsighted(&cluster, 1), shortsighted(&cluster, 2));
    let [here, there] = [&one, &other].map(log);
    append(&here, transactional(0)).await.unwrap();
    end_transaction(&there).await.unwrap();
    let guard = here.begin_verification(9, 0, 1, false).unwrap();
    assert_eq!(guard, None, "nothing to ask");
    let next = append_as(&here, transactional(1), AppendOrigin::Client(guard)).await;
    assert!(
        matches!(next, Err(AppendError::InvalidTxnState { .. })),
        "{next:?}"
    );
    append(&here, transactional(1))
        .await
        .expect("asked for now");
    let late = append_as(&there, transactional(2), AppendOrigin::CLIENT).await;
    late.expect("the transaction is open there, too");
}

#[tokio::test]
async fn a_retry_at_another_broker_is_answered_with_the_offset_of_the_original() {
    let cluster = Cluster::new(1);
    let (one, other) = (shortsighted(&cluster, 1), shortsighted(&cluster, 2));
    let [here, there] = [&one, &other].map(log);
    append(&there, batch(&[b"first"])).await.unwrap();
    append(&here, produced(0, &[b"a", b"b"])).await.unwrap();
    let again = append(&there, produced(0, &[b"a", b"b"])).await.unwrap();
    assert!(again.duplicate);
    assert_eq!((again.base_offset, again.last_offset), (1, 2));
    assert_eq!(here.current_offsets().await.unwrap().high_watermark, 3);
}

#[tokio::test]
async fn a_retry_of_each_of_many_batches_on_their_way_is_answered_as_its_original() {
    const PRODUCERS: i64 = 5_000;
    let cluster = Cluster::new(1);
    let broker = cluster.broker_with(1, |config| config.buffer_bytes = 16 << 20);
    let log = log(&broker);
    log.current_offsets().await.unwrap();
    let fence = broker.fence.send_replace(None);
    let sent = |producer| {
        let builder = BatchBuilder::new().producer(producer, 0, 0);
        submit(&log, trusted(build(builder, 1_000, &[b"value"])))
    };
    let mut answers = Vec::new();
    for producer in (0..PRODUCERS).chain((0..PRODUCERS).rev()) {
        answers.push(sent(producer).await);
    }
    let pending = broker.store.object_stats().unwrap().pending;
    assert_eq!(pending, PRODUCERS as u64, "retries are not on their way");
    broker.fence.send_replace(fence);
    let mut offsets = Vec::new();
    for answer in answers {
        let answer = within(SOON, answer).await.expect("it goes on").unwrap();
        offsets.push((answer.base_offset, answer.duplicate));
    }
    let originals = (0..PRODUCERS).map(|offset| (offset, false));
    let retries = (0..PRODUCERS).rev().map(|offset| (offset, true));
    assert_eq!(offsets, originals.chain(retries).collect::<Vec<_>>());
}

/// While a store does not answer, clients send on.
#[tokio::test]
async fn what_is_on_its_way_has_its_room_and_who_has_more_waits() {
    let cluster = Cluster::new(1);
    let broker = cluster.broker_with(1, |config| config.buffer_bytes = 1 << 20);
    let log = log(&broker);
    log.current_offsets().await.unwrap();
    let fence = broker.fence.send_replace(None);
    let value = vec![b'x'; 300 << 10];
    let batch = || common::batch(&[&value]);
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(submit(&log, batch()).await);
    }
    let mut fourth = Box::pin(submit(&log, batch()));
    let waits = within(Duration::from_millis(100), &mut fourth).await;
    assert!(waits.is_none(), "there is room for three");
    // Who waits has what is left.
    let buffered = broker.store.object_stats().unwrap().buffered_bytes;
    assert_eq!(buffered, 1 << 20);
    broker.fence.send_replace(fence);
    let fourth = within(SOON, fourth).await.expect("answers make room");
    answers.push(fourth);
    for (offset, answer) in (0..).zip(answers) {
        let answer = within(SOON, answer).await.expect("it goes on").unwrap();
        assert_eq!(answer.base_offset, offset);
    }
    // Who is answered gives up its room a moment later.
    let has_room = async {
        while broker.store.object_stats().unwrap().buffered_bytes > 0 {
            tokio::task::yield_now().await;
        }
    };
    within(SOON, has_room).await.expect("nothing is on its way");
}

/// It has not read what the producer has written elsewhere, so it would take it for a gap.
#[tokio::test]
async fn a_producer_goes_on_at_a_broker_that_knows_less() {
    let cluster = Cluster::new(1);
    let (one, other) = (shortsighted(&cluster, 1), shortsighted(&cluster, 2));
    let [here, there] = [&one, &other].map(log);
    append(&there, produced(0, &[b"a"])).await.unwrap();
    append(&here, produced(1, &[b"b"])).await.unwrap();
    let mut pending = Vec::new();
    for sequence in 2..5 {
        pending.push(submit(&there, produced(sequence, &[b"c"])).await);
    }
    let mut offsets = Vec::new();
    for pending in pending {
        offsets.push(pending.await.unwrap().base_offset);
    }
    assert_eq!(offsets, [2, 3, 4]);
    match append(&here, produced(9, &[b"gap"])).await {
        Err(AppendError::OutOfOrderSequence { expected, got, .. }) => {
            assert_eq!((expected, got), (5, 9));
        }
        other => panic!("{other:?}"),
    }
}

/// What it needs is in a snapshot that it cannot read now.
#[tokio::test]
async fn a_broker_that_cannot_find_out_what_is_new_refuses_nothing_for_good() {
    let cluster = Cluster::new(1);
    let (one, other) = (shortsighted(&cluster, 1), shortsighted(&cluster, 2));
    let [here, there] = [&one, &other].map(log);
    append(&here, produced(0, &[b"a"])).await.unwrap();
    append(&there, produced(1, &[b"b"])).await.unwrap();
    let id = here.id();
    let group = log_group_of(id.topic_id, id.partition, 8);
    let fence = other.fence.borrow().unwrap();
    cluster.snapshot(fence, group).await;
    cluster.objects.change(|faults| faults.down = true);
    match append(&here, produced(2, &[b"c"])).await {
        Err(AppendError::Storage(what)) => assert!(what.contains("503 Slow Down"), "{what}"),
        other => panic!("{other:?}"),
    }
    cluster.objects.change(|faults| faults.down = false);
    let again = async {
        loop {
            match append(&here, produced(2, &[b"c"])).await {
                Ok(appended) => return appended.base_offset,
                Err(AppendError::Storage(_)) => tokio::time::sleep(A_WHILE / 10).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    assert_eq!(within(SOON, again).await, Some(2));
}

/// The consumer was told of more by another broker.
#[tokio::test]
async fn an_offset_above_the_known_end_is_looked_for_before_it_is_refused() {
    let cluster = Cluster::new(1);
    let (one, other) = (shortsighted(&cluster, 1), shortsighted(&cluster, 2));
    let [here, there] = [&one, &other].map(log);
    assert_eq!(there.current_offsets().await.unwrap().high_watermark, 0);
    for value in [b"a", b"b", b"c"] {
        append(&here, batch(&[value])).await.unwrap();
    }
    let fetched = read(&there, request(2)).await.unwrap();
    assert_eq!(values(&fetched), [(2, b"c".to_vec())]);
    let beyond = read(&there, request(4)).await;
    assert!(matches!(
        beyond,
        Err(ReadError::OffsetOutOfRange {
            high_watermark: 3,
            ..
        })
    ));
}

#[tokio::test]
async fn deletions_of_one_broker_hold_at_the_other() {
    let cluster = Cluster::new(1);
    let (one, other) = (shortsighted(&cluster, 1), shortsighted(&cluster, 2));
    let [here, there] = [&one, &other].map(log);
    for value in [b"a", b"b", b"c"] {
        append(&here, batch(&[value])).await.unwrap();
    }
    assert_eq!(there.delete_records_before(2).await.unwrap(), 2);
    assert_eq!(here.current_offsets().await.unwrap().log_start_offset, 2);
    one.store
        .delete_logs(vec![here.id().clone()])
        .await
        .unwrap();
    let late = append(&there, batch(&[b"late"])).await;
    assert!(matches!(late, Err(AppendError::Deleted)), "{late:?}");
    assert!(matches!(
        there.current_offsets().await,
        Err(ReadError::Deleted)
    ));
    other
        .store
        .delete_logs(vec![there.id().clone()])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_new_broker_knows_what_was_there() {
    let cluster = Cluster::new(1);
    let before = cluster.broker(1);
    let large = vec![b'x'; 5000];
    for sequence in 0..5 {
        append(&log(&before), produced(sequence, &[&large]))
            .await
            .unwrap();
    }
    before.store.shutdown().unwrap();
    let after = cluster.broker(2);
    let log = log(&after);
    log.ready().expect("it is not read yet").await;
    assert_eq!(log.offsets().high_watermark, 5);
    assert_eq!(log.producers()[0].last_sequence, 4);
    let all = read_all(&log, 0).await;
    assert!(all.iter().all(|(_, value)| *value == large) && all.len() == 5);
    assert!(
        append(&log, produced(4, &[&large]))
            .await
            .unwrap()
            .duplicate
    );
}

/// Consumers of all partitions come at once to a broker that has none of their bytes.
#[tokio::test]
async fn one_object_is_read_with_few_requests() {
    const PARTITIONS: i32 = 50;
    let cluster = Cluster::new(1);
    let writer = cluster.broker_with(1, |config| config.flush = Duration::from_millis(200));
    let logs = |broker: &Broker| -> Vec<_> {
        (0..PARTITIONS)
            .map(|number| open(&broker.store, "many", number))
            .collect()
    };
    let large = vec![b'x'; 1000];
    let mut pending = Vec::new();
    for log in logs(&writer) {
        pending.push(submit(&log, batch(&[&large])).await);
    }
    for pending in pending {
        pending.await.unwrap();
    }
    assert!(cluster.objects.puts() <= 2, "{}", cluster.objects.puts());
    cluster
        .objects
        .change(|faults| faults.latency = Duration::from_millis(30)..Duration::from_millis(40));
    let reader = cluster.broker(2);
    let mut reading = tokio::task::JoinSet::new();
    let logs = logs(&reader);
    for log in &logs {
        log.current_offsets().await.unwrap();
        let log = Arc::clone(log);
        reading.spawn(async move { headers(&read(&log, request(0)).await.unwrap()).len() });
    }
    let found = reading.join_all().await;
    assert_eq!(found, vec![1; PARTITIONS as usize]);
    let gets = cluster.objects.gets();
    assert!((1..10).contains(&gets), "{gets}");
    for log in &logs {
        let again = log.read(request(0)).unwrap();
        assert!(matches!(again, Read::Ready(_)), "it is in memory now");
    }
    assert_eq!(cluster.objects.gets(), gets);
}

#[tokio::test]
async fn while_the_object_store_is_down_producers_wait_and_cached_reads_go_on() {
    let cluster = Cluster::new(1);
    let broker = cluster.broker_with(1, |config| config.inline_bytes = 0);
    let log = log(&broker);
    append(&log, batch(&[b"before"])).await.unwrap();
    cluster.objects.change(|faults| faults.down = true);
    let large = vec![b'x'; 300 << 10];
    let mut waiting = Vec::new();
    for sequence in 0..3 {
        waiting.push(submit(&log, produced(sequence, &[&large])).await);
    }
    // There is room for 1 MiB.
    let room = within(A_WHILE, log.reserve(300 << 10, AppendOrigin::CLIENT)).await;
    assert!(room.is_none(), "more would not be bounded");
    assert!(within(A_WHILE, &mut waiting[0]).await.is_none());
    assert_eq!(log.offsets().log_end_offset, 1);
    assert!(matches!(log.read(request(0)).unwrap(), Read::Ready(_)));
    let stats = broker.store.object_stats().unwrap();
    assert_eq!(stats.pending, 3);
    assert!(stats.buffered_bytes > 900 << 10);
    let stalled = within(SOON, async {
        loop {
            match broker.store.health() {
                Health::Stalled(what) => return what,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    let what = stalled.await.expect("it is told after some seconds");
    assert!(what.contains("503 Slow Down"), "{what}");
    cluster.objects.change(|faults| faults.down = false);
    for (at, pending) in waiting.into_iter().enumerate() {
        let appended = within(SOON, pending).await.expect("it goes on");
        assert_eq!(appended.unwrap().base_offset, at as i64 + 1);
    }
    within(SOON, log.reserve(1 << 20, AppendOrigin::CLIENT))
        .await
        .expect("room is given back")
        .unwrap();
    assert_eq!(broker.store.health(), Health::Good);
}

#[tokio::test]
async fn a_broker_that_nobody_writes_to_tells_whether_the_object_store_is_there() {
    let cluster = Cluster::new(1);
    let broker = cluster.broker_with(1, |config| config.look = Some(Duration::from_millis(5)));
    let until = async |is_good: bool| {
        let looking = async {
            loop {
                match broker.store.health() {
                    Health::Good if is_good => return String::new(),
                    Health::Stalled(what) if !is_good => return what,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        within(SOON, looking).await.expect("it is told")
    };
    until(true).await;
    cluster.objects.change(|faults| faults.down = true);
    let what = until(false).await;
    assert!(what.contains("503 Slow Down"), "{what}");
    cluster.objects.change(|faults| faults.down = false);
    until(true).await;
    let gets = cluster.objects.gets();
    while cluster.objects.gets() < gets + 3 {
        assert_eq!(
            broker.store.health(),
            Health::Good,
            "what is missing was found out"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_upload_that_hangs_is_made_again_under_another_key() {
    let cluster = Cluster::new(1);
    let broker = cluster.broker_with(1, |config| config.inline_bytes = 0);
    cluster.objects.change(|faults| faults.frozen = true);
    let log = log(&broker);
    let pending = submit(&log, batch(&[b"value"])).await;
    while cluster.objects.puts() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    cluster.objects.change(|faults| faults.frozen = false);
    let appended = within(SOON, pending).await.expect("it goes on").unwrap();
    assert_eq!(appended.base_offset, 0);
    assert_eq!(cluster.objects.puts(), 2);
    assert_eq!(read_all(&log, 0).await.len(), 1);
}

/// Until then nobody may remove it.
#[tokio::test]
async fn an_object_is_settled_when_its_batches_are_answered() {
    let cluster = Cluster::new(1);
    let in_flight = Arc::new(InFlight::default());
    let broker = cluster.broker_with(1, |config| {
        config.inline_bytes = 0;
        config.in_flight = Arc::clone(&in_flight);
    });
    let log = log(&broker);
    log.current_offsets().await.unwrap();
    broker.faults.refused.store(1000, Ordering::Relaxed);
    let mut pending = submit(&log, batch(&[b"value"])).await;
    assert!(within(A_WHILE, &mut pending).await.is_none());
    assert_eq!(cluster.objects.puts(), 1);
    let later = in_flight.begin(0);
    in_flight.settle(&later);
    assert!(in_flight.settled_below() < later.id, "it is not committed");
    broker.faults.refused.store(0, Ordering::Relaxed);
    within(SOON, pending).await.unwrap().unwrap();
    assert!(in_flight.settled_below() > later.id);
}

#[tokio::test]
async fn a_commit_in_doubt_is_neither_lost_nor_repeated() {
    let cluster = Cluster::new(1);
    let broker = shortsighted(&cluster, 1);
    let log = log(&broker);
    let fates = [
        vec![Fate::AnswerLost],
        vec![Fate::Late],
        vec![Fate::Refused, Fate::AnswerLost],
        vec![Fate::Late, Fate::Late, Fate::AnswerLost],
    ];
    for (expected, fates) in (0..).zip(fates) {
        *broker.faults.next_commits.lock().unwrap() = fates;
        let appended = append(&log, batch(&[b"value"])).await.unwrap();
        assert_eq!(appended.base_offset, expected);
    }
    // What is late finds its place taken.
    while cluster.database.late() > 0 {
        cluster.database.let_late_arrive(0);
    }
    append(&log, batch(&[b"last"])).await.unwrap();
    let other = cluster.broker(2);
    assert_eq!(
        read_all(&common::open(&other.store, "topic", 0), 0)
            .await
            .len(),
        5
    );
    assert_eq!(broker.store.object_stats().unwrap().in_doubt, 6);
}

#[tokio::test]
async fn a_broker_that_was_fenced_checks_everything_again_when_it_is_registered() {
    let cluster = Cluster::new(1);
    let one = cluster.broker_with(1, |config| config.inline_bytes = 0);
    let other = cluster.broker(2);
    let [here, there] = [&one, &other].map(log);
    here.claim().await.unwrap();
    append(&here, produced(0, &[b"a"])).await.unwrap();
    // Another process has its id now, and it does not know.
    let old = one.fence.borrow().unwrap();
    cluster.database_leave(old).await;
    let fence = cluster.register(1, 77);
    let mut state = Box::pin(coordinate(&here));
    let mut retried = Box::pin(append(&here, produced(1, &[b"b"])));
    let mut fresh = Box::pin(append(&here, batch(&[b"c"])));
    assert!(within(A_WHILE, &mut state).await.is_none());
    assert!(within(A_WHILE, &mut retried).await.is_none());
    assert!(within(A_WHILE, &mut fresh).await.is_none());
    // Meanwhile others go on.
    there.claim().await.unwrap();
    append(&there, produced(1, &[b"b"])).await.unwrap();
    let puts = cluster.objects.puts();
    one.fence.send_replace(Some(fence));
    let fenced = within(SOON, state).await.expect("it goes on");
    assert!(
        matches!(fenced, Err(AppendError::Fenced { .. })),
        "{fenced:?}"
    );
    let retried = within(SOON, retried).await.unwrap().unwrap();
    assert!(retried.duplicate && retried.base_offset == 1);
    assert_eq!(within(SOON, fresh).await.unwrap().unwrap().base_offset, 2);
    assert!(
        cluster.objects.puts() > puts,
        "objects of the old epoch are not used"
    );
    let all = read_all(&there, 0).await;
    assert_eq!(there.current_offsets().await.unwrap().high_watermark, 3);
    assert!(all.iter().all(|(_, value)| value != b"state"), "{all:?}");
}

#[tokio::test]
async fn without_a_fence_appends_wait_and_reads_go_on() {
    let cluster = Cluster::new(1);
    let broker = cluster.broker(1);
    let log = log(&broker);
    append(&log, batch(&[b"value"])).await.unwrap();
    let fence = broker.fence.send_replace(None);
    let mut waiting = submit(&log, batch(&[b"waits"])).await;
    assert!(within(A_WHILE, &mut waiting).await.is_none());
    assert_eq!(read_all(&log, 0).await.len(), 1);
    log.current_offsets().await.unwrap();
    broker.fence.send_replace(fence);
    assert_eq!(within(SOON, waiting).await.unwrap().unwrap().base_offset, 1);
}

#[tokio::test]
async fn a_shutdown_answers_what_is_on_its_way() {
    let cluster = Cluster::new(1);
    let broker = cluster.broker_with(1, |config| {
        config.flush = Duration::from_secs(3600);
        config.inline_bytes = 0;
    });
    let log = log(&broker);
    let mut pending = Vec::new();
    for sequence in 0..10 {
        pending.push(submit(&log, produced(sequence, &[b"value"])).await);
    }
    let store = Arc::clone(&broker.store);
    tokio::task::spawn_blocking(move || store.shutdown())
        .await
        .unwrap()
        .unwrap();
    for (at, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.await.unwrap().base_offset, at as i64);
    }
    let late = append(&log, batch(&[b"late"])).await;
    assert!(matches!(late, Err(AppendError::Storage(_))), "{late:?}");
    assert!(
        broker
            .store
            .open_log(partition("other", 0), Arc::default())
            .is_err()
    );
}

#[tokio::test]
async fn a_database_that_has_lost_commits_stops_the_store() {
    let cluster = Cluster::new(1);
    let broker = cluster.broker(1);
    let log = log(&broker);
    for _ in 0..3 {
        append(&log, batch(&[b"value"])).await.unwrap();
    }
    let id = log.id().clone();
    let group: LogGroup = log_group_of(id.topic_id, id.partition, 8);
    cluster.database.lose_commits(group, 1);
    let mut failed = broker.store.failed();
    let told = within(SOON, failed.wait_for(Option::is_some)).await;
    let what = told.expect("it is noticed").unwrap().clone().unwrap().0;
    assert!(what.contains("has lost commits"), "{what}");
    assert!(matches!(broker.store.health(), Health::Offline(_)));
    assert!(append(&log, batch(&[b"value"])).await.is_err());
    assert!(log.current_offsets().await.is_err());
}

const IDLE: Duration = Duration::from_secs(2);

/// A broker that lets go of groups, in simulated time.
fn forgetful(cluster: &Cluster, id: i32) -> Broker {
    cluster.broker_with(id, |config| {
        config.runtime = Some(Handle::current());
        config.idle = IDLE;
        config.inline_bytes = 0;
    })
}

async fn known(broker: &Broker) -> Arc<dyn PartitionLog> {
    let log = log(broker);
    if let Some(ready) = log.ready() {
        ready.await;
    }
    log
}

fn groups(broker: &Broker) -> u64 {
    broker.store.object_stats().unwrap().groups
}

#[tokio::test(start_paused = true)]
async fn a_group_that_nobody_uses_is_not_followed_until_somebody_does() {
    let cluster = Cluster::new(1);
    let (one, other) = (forgetful(&cluster, 1), forgetful(&cluster, 2));
    let here = known(&one).await;
    let first = append(&here, transactional(0)).await.unwrap();
    tokio::time::sleep(IDLE / 2).await;
    assert_eq!(groups(&one), 1);
    here.offsets();
    tokio::time::sleep(IDLE * 2 / 3).await;
    assert_eq!(groups(&one), 1, "it was used meanwhile");
    // Whoever counts does not use it.
    for _ in 0..30 {
        tokio::time::sleep(IDLE / 10).await;
        here.late_transactions(0);
        here.glance();
    }
    assert_eq!((groups(&one), here.glance()), (0, None));
    let followed = one.store.object_stats().unwrap().followed_rows;
    let there = known(&other).await;
    append(&there, batch(&[b"meanwhile"])).await.unwrap();
    tokio::time::sleep(IDLE / 2).await;
    assert_eq!(
        one.store.object_stats().unwrap().followed_rows,
        followed,
        "it follows nobody"
    );
    assert_eq!(groups(&other), 1);
    let here = known(&one).await;
    assert_eq!(here.offsets(), there.offsets());
    assert_eq!(here.offsets().last_stable_offset, first.base_offset);
    let again = append(&here, transactional(0)).await.unwrap();
    assert!(again.duplicate && again.base_offset == first.base_offset);
    append(&here, transactional(1)).await.unwrap();
    assert_eq!(read_all(&here, 0).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_group_stays_for_as_long_as_somebody_waits_for_something() {
    let cluster = Cluster::new(1);
    let (one, other) = (forgetful(&cluster, 1), forgetful(&cluster, 2));
    let (here, there) = (known(&one).await, known(&other).await);
    let wait = FetchWait::new(1);
    let parked = here.watch(0, Isolation::ReadUncommitted, &wait);
    tokio::time::sleep(10 * IDLE).await;
    assert_eq!((groups(&one), groups(&other)), (1, 0), "a poll is parked");
    there.ready().expect("it was let go").await;
    append(&there, batch(&[b"value"])).await.unwrap();
    within(SOON, wait.wait()).await.expect("it wakes");
    drop(parked);

    let first = transactional(0);
    let origin = verified(&here, &first).unwrap();
    tokio::time::sleep(10 * IDLE).await;
    assert_eq!(groups(&one), 1, "a producer may come back with a guard");
    append_as(&here, first, origin)
        .await
        .expect("it was verified");

    cluster.objects.change(|faults| faults.frozen = true);
    let pending = submit(&here, transactional(1)).await;
    tokio::time::sleep(10 * IDLE).await;
    assert_eq!(groups(&one), 1, "a batch is on its way");
    cluster.objects.change(|faults| faults.frozen = false);
    pending.await.unwrap();

    // What `one` has written is not in the memory of `other`.
    let there = known(&other).await;
    cluster
        .objects
        .change(|faults| faults.latency = 4 * IDLE..4 * IDLE);
    let meanwhile = async {
        tokio::time::sleep(3 * IDLE).await;
        groups(&other)
    };
    let (cold, meanwhile) = tokio::join!(read(&there, request(1)), meanwhile);
    assert_eq!((values(&cold.unwrap()).len(), meanwhile), (2, 1));
    tokio::time::sleep(3 * IDLE).await;
    assert_eq!((groups(&one), groups(&other)), (0, 0), "nobody waits");
}

#[tokio::test(start_paused = true)]
async fn lost_commits_are_noticed_by_a_broker_that_had_let_go_of_the_group() {
    let cluster = Cluster::new(1);
    let broker = forgetful(&cluster, 1);
    let log = known(&broker).await;
    for _ in 0..3 {
        append(&log, batch(&[b"value"])).await.unwrap();
    }
    tokio::time::sleep(2 * IDLE).await;
    assert_eq!(groups(&broker), 0);
    let id = log.id().clone();
    let group: LogGroup = log_group_of(id.topic_id, id.partition, 8);
    cluster.database.lose_commits(group, 1);
    let log = known(&broker).await;
    assert!(append(&log, batch(&[b"value"])).await.is_err());
    match broker.store.health() {
        Health::Offline(what) => assert!(what.contains("has lost commits"), "{what}"),
        other => panic!("{other:?}"),
    }
}

/// The end of a transaction: markers in the logs of others, and the coordinator's own record.
#[tokio::test]
async fn a_joint_append_of_a_coordinator_that_was_fenced_reaches_no_log() {
    let cluster = Cluster::new(1);
    let (one, other) = (shortsighted(&cluster, 1), shortsighted(&cluster, 2));
    let logs = |broker: &Broker| [0, 1, 2].map(|number| open(&broker.store, "joint", number));
    let (here, there) = (logs(&one), logs(&other));
    here[2].claim().await.unwrap();
    let joint = async |store: &Arc<dyn LogStore>, logs: &[Arc<dyn PartitionLog>; 3]| {
        let parts = logs.iter().map(|log| JointPart {
            log: log.id().clone(),
            batch: batch(&[b"part"]),
            origin: AppendOrigin::COORDINATOR,
            if_refused: IfRefused::FailAll,
        });
        let parts: Vec<_> = parts.collect();
        let permit = store
            .reserve(1000, AppendOrigin::COORDINATOR)
            .await
            .unwrap();
        let mut answers = Vec::new();
        for answer in store.submit_all(permit, parts).unwrap() {
            answers.push(answer.unwrap().await);
        }
        answers
    };
    let answers = joint(&one.store, &here).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    there[2].claim().await.unwrap();
    let answers = joint(&one.store, &here).await;
    let is_fenced = |answer: &Result<_, _>| matches!(answer, Err(AppendError::Fenced { .. }));
    assert!(answers.iter().all(is_fenced), "{answers:?}");
    for log in &there {
        assert_eq!(log.current_offsets().await.unwrap().high_watermark, 1);
    }
    let answers = joint(&other.store, &there).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

/// The answer to a commit is late, and meanwhile the row is in a snapshot, and gone.
#[tokio::test]
async fn a_row_that_is_in_a_snapshot_before_its_commit_is_answered_is_answered() {
    let cluster = Cluster::new(1);
    // It would find the row by itself.
    let (broker, other) = (shortsighted(&cluster, 1), shortsighted(&cluster, 2));
    let log = log(&broker);
    let id = log.id();
    let group = log_group_of(id.topic_id, id.partition, 8);
    log.current_offsets().await.unwrap();
    broker.faults.holds_answers.send_replace(true);
    let mut appended = submit(&log, produced(0, &[b"value"])).await;
    while cluster.database.heads(&[group]).await.unwrap()[0].seq == 0 {
        tokio::task::yield_now().await;
    }
    let fence = other.fence.borrow().unwrap();
    cluster.snapshot(fence, group).await;
    let known = within(SOON, log.current_offsets()).await;
    let known = known.expect("the snapshot is read").unwrap();
    assert_eq!(known.high_watermark, 1);
    assert!(within(A_WHILE, &mut appended).await.is_none());
    broker.faults.holds_answers.send_replace(false);
    assert_eq!(
        within(SOON, appended).await.unwrap().unwrap().base_offset,
        0
    );
    assert_eq!(broker.store.health(), Health::Good);
    let next = append(&log, produced(1, &[b"next"])).await.unwrap();
    assert_eq!(next.base_offset, 1);
    assert_eq!(read_all(&log, 0).await.len(), 2);
}

/// Of a joint append in doubt one row cannot be asked for any more, since a snapshot has what stands there; another can.
#[tokio::test]
async fn a_joint_append_in_doubt_is_known_by_any_of_its_rows() {
    for fate in [Fate::AnswerLost, Fate::Late] {
        let cluster = Cluster::new(1);
        let (broker, other) = (shortsighted(&cluster, 1), shortsighted(&cluster, 2));
        let group_of = |number| {
            let id = partition("joint", number);
            log_group_of(id.topic_id, id.partition, 8)
        };
        let first = (0..)
            .find(|number| group_of(*number) != group_of(0))
            .unwrap();
        let numbers = match group_of(first) < group_of(0) {
            true => [first, 0],
            false => [0, first],
        };
        let logs = numbers.map(|number| open(&broker.store, "joint", number));
        for log in &logs {
            log.current_offsets().await.unwrap();
        }
        *broker.faults.next_commits.lock().unwrap() = vec![fate];
        broker.faults.holds_answers.send_replace(true);
        let parts = logs.iter().map(|log| JointPart {
            log: log.id().clone(),
            batch: batch(&[b"part"]),
            origin: AppendOrigin::COORDINATOR,
            if_refused: IfRefused::FailAll,
        });
        let parts = parts.collect();
        let permit = broker.store.reserve(1000, AppendOrigin::COORDINATOR);
        let answers = broker.store.submit_all(permit.await.unwrap(), parts);
        let answers: Vec<_> = answers.unwrap().into_iter().map(Result::unwrap).collect();
        tokio::time::sleep(A_WHILE).await;
        // It is not applied: somebody else's rows are there. It is asked about behind them, in a moment.
        for number in numbers {
            append(&open(&other.store, "joint", number), batch(&[b"other"]))
                .await
                .unwrap();
        }
        let fence = other.fence.borrow().unwrap();
        cluster.snapshot(fence, group_of(numbers[0])).await;
        broker.faults.holds_answers.send_replace(false);
        for answer in answers {
            let answered = within(SOON, answer).await.expect("it is answered");
            let offset = answered.unwrap().base_offset;
            assert_eq!(offset, i64::from(fate == Fate::Late), "{fate:?}");
        }
        for log in &logs {
            let offsets = log.current_offsets().await.unwrap();
            assert_eq!(offsets.high_watermark, 2, "{fate:?}");
        }
        assert_eq!(broker.store.health(), Health::Good);
    }
}

/// Every second batch comes twice, at both brokers, while both stores refuse, stall and lose answers.
#[tokio::test]
async fn with_faults_everywhere_nothing_is_lost_doubled_or_out_of_order() {
    const PRODUCERS: i64 = 4;
    const BATCHES: i32 = 40;
    let seed = seeds(1).start;
    let cluster = Cluster::new(seed);
    cluster.objects.change(|faults| {
        faults.latency = Duration::ZERO..Duration::from_millis(5);
        faults.refused = 100;
        faults.answer_lost = 100;
    });
    let brokers = [1, 2].map(|id| cluster.broker(id));
    for broker in &brokers {
        broker.faults.refused.store(50, Ordering::Relaxed);
        broker.faults.answer_lost.store(150, Ordering::Relaxed);
    }
    let appending = (0..PRODUCERS).map(|producer| {
        let logs = brokers.each_ref().map(log);
        tokio::spawn(async move {
            let mut offsets = Vec::new();
            for sequence in 0..BATCHES {
                let large = vec![b'x'; if sequence % 3 == 0 { 3000 } else { 10 }];
                let value = format!("{producer}:{sequence}");
                let made = || {
                    let values: [&[u8]; 2] = [value.as_bytes(), &large];
                    let builder = BatchBuilder::new().producer(producer, 0, 2 * sequence);
                    trusted(build(builder, 1_000, &values))
                };
                let [here, there] = [0, 1].map(|at| &logs[(producer as usize + at) % 2]);
                let appended = match sequence % 2 {
                    0 => append(here, made()).await.unwrap(),
                    _ => {
                        let (one, other) =
                            tokio::join!(append(here, made()), append(there, made()));
                        let (one, other) = (one.unwrap(), other.unwrap());
                        assert_eq!(one.base_offset, other.base_offset);
                        assert!(one.duplicate != other.duplicate);
                        one
                    }
                };
                offsets.push((appended.base_offset, value.into_bytes()));
            }
            offsets
        })
    });
    let mut acknowledged = Vec::new();
    for done in appending.collect::<Vec<_>>() {
        acknowledged.extend(done.await.unwrap());
    }
    acknowledged.sort();
    // What was written is looked at in peace: a GET that fails often enough is an error.
    cluster
        .objects
        .change(|faults| *faults = ObjectFaults::default());
    for broker in &brokers {
        let log = log(broker);
        let offsets = log.current_offsets().await.unwrap();
        assert_eq!(offsets.high_watermark, PRODUCERS * i64::from(BATCHES) * 2);
        let all = read_all(&log, 0).await;
        let found: Vec<_> = all
            .into_iter()
            .filter(|(offset, _)| offset % 2 == 0)
            .collect();
        assert_eq!(found, acknowledged, "at broker {}", broker.id);
    }
}
