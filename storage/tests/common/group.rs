//! A log group that many things have happened to.

use std::sync::Arc;

use storage::log::{AppendOrigin, TopicPartition};
use storage::object::entry::{Entry, Marker, ObjectId, PartitionId, Place, Run};
use storage::object::group_state::GroupState;
use storage::object::plan::{Candidate, Want, Wanted, plan};
use storage::record::{BatchBuilder, EndTxnMarker, TransactionResult, ValidatedBatch};
use uuid::Uuid;

pub fn partition_of(number: i32) -> TopicPartition {
    TopicPartition {
        topic: Arc::from("topic"),
        topic_id: Uuid::from_u128(u128::from(number.unsigned_abs() / 4)),
        partition: number,
    }
}

pub fn object(id: u128) -> ObjectId {
    ObjectId {
        broker_epoch: 1,
        id: Uuid::from_u128(id),
    }
}

fn wanted(number: i32, what: Want) -> Wanted {
    Wanted {
        partition: partition_of(number),
        what,
    }
}

fn append(number: i32, batch: &ValidatedBatch, origin: AppendOrigin, place: Place) -> Wanted {
    let what = Want::Append {
        batch: Candidate::of(batch).unwrap(),
        origin,
        claim: None,
        place: Marker::of(batch).map_or(place, Place::Made),
    };
    wanted(number, what)
}

fn batch(mut builder: BatchBuilder) -> ValidatedBatch {
    builder.append(1_000, None, Some(b"value"), &[]);
    ValidatedBatch::trusted(builder.build().unwrap()).unwrap()
}

/// A group with partitions of all kinds: its entries as they are in the database, and its snapshot.
pub fn eventful() -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut state = GroupState::new();
    let mut entries = Vec::new();
    let mut commit = |state: &mut GroupState, what: &[Wanted]| {
        let planned = plan(state, what, 2_000);
        assert!(planned.answers.iter().all(Result::is_ok), "{planned:?}");
        let bytes = planned.entry.encode();
        let entry = Entry::decode(&bytes).unwrap();
        state.apply(state.seq() + 1, &entry).unwrap();
        entries.push(bytes);
    };
    state.verify_transactions(false);
    let inline = |position| Place::Inline { seq: 0, position };
    let plain = batch(BatchBuilder::new());
    let client = AppendOrigin::CLIENT;
    for round in 0..3 {
        let place = Place::Object {
            object: object(1 + round),
            position: 100,
        };
        let mut all: Vec<_> = (0..8)
            .map(|number| append(number, &plain, client, place))
            .collect();
        let of_producer = BatchBuilder::new().producer(7, 0, round as i32);
        all.push(append(0, &batch(of_producer), client, inline(0)));
        let txn = BatchBuilder::new()
            .producer(8, 0, round as i32)
            .transactional();
        all.push(append(1, &batch(txn), client, inline(500)));
        commit(&mut state, &all);
        let end = EndTxnMarker {
            result: TransactionResult::Abort,
            coordinator_epoch: 3,
        };
        let end = ValidatedBatch::trusted(end.to_batch(8, 0, 1_500).unwrap()).unwrap();
        let origin = AppendOrigin::Marker {
            transaction_version: 0,
        };
        if round < 2 {
            commit(&mut state, &[append(1, &end, origin, inline(0))]);
        }
    }
    let view = state
        .partition(PartitionId::from(&partition_of(2)))
        .unwrap();
    let old: Vec<Run> = view.runs(0).take(2).collect();
    let merged = Run {
        next_offset: 2,
        size_bytes: old[0].size_bytes * 2,
        place: Place::Object {
            object: object(9),
            position: 0,
        },
        is_compacted: true,
        ..old[0]
    };
    let replace = Want::Replace {
        old,
        new: vec![merged],
        aborted: Some(Vec::new()),
    };
    let changes = [
        wanted(2, replace),
        wanted(3, Want::Claim),
        wanted(4, Want::LogStart { offset: 2 }),
        wanted(5, Want::Delete),
        wanted(6, Want::Delete),
        wanted(0, Want::Expire { active_ms: 3_000 }),
    ];
    commit(&mut state, &changes);
    commit(&mut state, &[wanted(5, Want::Forget)]);
    (entries, state.to_snapshot())
}
