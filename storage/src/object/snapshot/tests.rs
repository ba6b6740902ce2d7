use super::*;
use crate::object::entry::{BatchEffect, Effect, Entry, ObjectId};
use uuid::Uuid;

#[test]
fn a_group_without_entries_has_a_snapshot() {
    let bytes = GroupState::new().to_snapshot();
    let state = GroupState::from_snapshot(&bytes).unwrap();
    assert_eq!((state.seq(), state.partitions().count()), (0, 0));
}

#[test]
fn a_snapshot_that_was_cut_off_or_changed_is_refused() {
    let mut state = GroupState::new();
    state.apply(1, &Entry::default()).unwrap();
    let bytes = state.to_snapshot();
    for at in 0..bytes.len() {
        assert!(GroupState::from_snapshot(&bytes[..at]).is_err());
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(GroupState::from_snapshot(&changed).is_err());
    }
}

/// A partition with two runs in an object, of which the first is gone.
fn half_dead() -> (GroupState, PartitionId, ObjectId) {
    let mut state = GroupState::new();
    let partition = PartitionId {
        topic_id: Uuid::from_u128(7),
        partition: 0,
    };
    let object = ObjectId {
        broker_epoch: 1,
        id: Uuid::from_u128(1),
    };
    let run = |base_offset: i64| Effect::Append {
        partition,
        base_offset,
        place: Place::Object {
            object,
            position: base_offset as u32 * 100,
        },
        batches: vec![BatchEffect {
            size_bytes: 100,
            last_offset_delta: 0,
            max_timestamp: 1_000,
            producer: None,
        }],
    };
    let effects = vec![
        run(0),
        run(1),
        Effect::LogStart {
            partition,
            offset: 1,
        },
    ];
    state.apply(1, &Entry { at_ms: 0, effects }).unwrap();
    (state, partition, object)
}

#[test]
fn a_snapshot_tells_how_much_of_an_object_is_dead_and_one_of_before_takes_all_for_needed() {
    let (state, partition, object) = half_dead();
    assert_eq!(state.uses_of(&object).unwrap().dead_bytes(), 100);
    let bytes = state.to_snapshot();
    let read = GroupState::from_snapshot(&bytes).unwrap();
    assert_eq!(read.uses_of(&object), state.uses_of(&object));
    assert_eq!(read.to_snapshot(), bytes);

    let mut old = Writer::new(1);
    old.natural(1);
    old.count(1);
    Source::Object(object).write(&mut old);
    old.count(0);
    old.count(1);
    old.uuid(partition.topic_id);
    old.count(1);
    // The partition, where it begins, and how far it goes from there.
    for number in [0, 1, 1] {
        old.natural(number);
    }
    old.count(1);
    old.byte(0);
    old.natural(1);
    old.natural(1);
    old.signed(1_000);
    old.unsigned(100);
    old.count(0);
    old.unsigned(100);
    old.byte(0);
    let read = GroupState::from_snapshot(&old.finish()).unwrap();
    assert_eq!(read.uses_of(&object).unwrap().dead_bytes(), 0);
    assert!(
        read.partition(partition)
            .unwrap()
            .runs(0)
            .eq(state.partition(partition).unwrap().runs(0))
    );
}
