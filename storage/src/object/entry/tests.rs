use proptest::prelude::*;

use super::*;
use crate::record::{BatchBuilder, TransactionResult};

fn natural() -> impl Strategy<Value = i64> {
    prop_oneof![0..1_000_i64, Just(i64::MAX), 0..=i64::MAX]
}

fn partition() -> impl Strategy<Value = PartitionId> {
    (0..3_u128, prop_oneof![0..3_i32, 0..=i32::MAX]).prop_map(|(topic, partition)| PartitionId {
        topic_id: Uuid::from_u128(topic),
        partition,
    })
}

fn end_txn() -> impl Strategy<Value = EndTxnMarker> {
    (any::<bool>(), any::<i32>()).prop_map(|(commits, coordinator_epoch)| EndTxnMarker {
        result: match commits {
            true => TransactionResult::Commit,
            false => TransactionResult::Abort,
        },
        coordinator_epoch,
    })
}

fn marker() -> impl Strategy<Value = Marker> {
    (natural(), any::<i16>(), end_txn()).prop_map(|(producer_id, producer_epoch, marker)| Marker {
        producer_id,
        producer_epoch,
        marker,
    })
}

fn stored() -> impl Strategy<Value = Place> {
    let object = (any::<i64>(), 0..3_u128, any::<u32>());
    prop_oneof![
        object.prop_map(|(broker_epoch, id, position)| Place::Object {
            object: ObjectId {
                broker_epoch,
                id: Uuid::from_u128(id)
            },
            position,
        }),
        (natural(), any::<u32>()).prop_map(|(seq, position)| Place::Inline { seq, position }),
    ]
}

fn batch() -> impl Strategy<Value = BatchEffect> {
    let producer = (
        natural(),
        any::<i16>(),
        any::<i32>(),
        any::<bool>(),
        prop::option::of(end_txn()),
    );
    let producer =
        producer.prop_map(
            |(producer_id, producer_epoch, sequence, txn, marker)| BatchProducer {
                producer_id,
                producer_epoch,
                base_sequence: sequence,
                is_transactional: txn,
                marker,
            },
        );
    let batch = (
        any::<u32>(),
        0..=i32::MAX,
        any::<i64>(),
        prop::option::of(producer),
    );
    batch.prop_map(
        |(size_bytes, last_offset_delta, max_timestamp, producer)| BatchEffect {
            size_bytes,
            last_offset_delta,
            max_timestamp,
            producer,
        },
    )
}

fn run() -> impl Strategy<Value = Run> {
    let place = prop_oneof![3 => stored(), 1 => marker().prop_map(Place::Made)];
    let run = (
        natural(),
        any::<u32>(),
        any::<u32>(),
        any::<i64>(),
        place,
        any::<bool>(),
    );
    run.prop_map(
        |(base_offset, offsets, size_bytes, max_timestamp, place, is_compacted)| Run {
            base_offset,
            next_offset: base_offset.saturating_add(i64::from(offsets)),
            size_bytes,
            max_timestamp,
            place,
            is_compacted,
        },
    )
}

fn aborted() -> impl Strategy<Value = Vec<AbortedTxn>> {
    let steps = prop::collection::vec((natural(), 1..100_i64, 1..100_i64), 0..4);
    steps.prop_map(|steps| {
        let mut last_offset = 100;
        let txns = steps.into_iter().map(|(producer_id, step, length)| {
            last_offset += step;
            AbortedTxn {
                producer_id,
                first_offset: last_offset - length,
                last_offset,
                last_stable_offset: last_offset + 1,
            }
        });
        txns.collect()
    })
}

fn effect() -> impl Strategy<Value = Effect> {
    let runs = prop::collection::vec(run(), 0..4);
    let id = partition;
    prop_oneof![
        (
            id(),
            natural(),
            stored(),
            prop::collection::vec(batch(), 0..4)
        )
            .prop_map(|(partition, base_offset, place, batches)| Effect::Append {
                partition,
                base_offset,
                place,
                batches,
            }),
        (id(), natural(), any::<i64>(), marker()).prop_map(
            |(partition, offset, timestamp, marker)| Effect::Marker {
                partition,
                offset,
                timestamp,
                marker,
            }
        ),
        (id(), natural()).prop_map(|(partition, offset)| Effect::LogStart { partition, offset }),
        (id(), 0..=i32::MAX).prop_map(|(partition, leader_epoch)| Effect::Claim {
            partition,
            leader_epoch
        }),
        id().prop_map(|partition| Effect::Deleted { partition }),
        id().prop_map(|partition| Effect::Forgotten { partition }),
        (
            id(),
            natural(),
            natural(),
            runs,
            prop::option::of(aborted())
        )
            .prop_map(|(partition, from, to, runs, aborted)| Effect::Replaced {
                partition,
                from,
                to,
                runs,
                aborted,
            }),
        (id(), prop::collection::vec(natural(), 0..4)).prop_map(|(partition, producer_ids)| {
            Effect::Expired {
                partition,
                producer_ids,
            }
        }),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let parts = (any::<i64>(), prop::collection::vec(effect(), 0..8));
    parts.prop_map(|(at_ms, effects)| Entry { at_ms, effects })
}

proptest! {
    #[test]
    fn an_entry_is_read_as_it_was_written(entry in entry()) {
        prop_assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }

    #[test]
    fn an_entry_that_was_cut_off_or_changed_is_refused(
        entry in entry(),
        at in any::<prop::sample::Index>(),
        flip in 1..=u8::MAX,
    ) {
        let bytes = entry.encode();
        let at = at.index(bytes.len());
        prop_assert!(Entry::decode(&bytes[..at]).is_err());
        let mut changed = bytes.clone();
        changed[at] ^= flip;
        prop_assert!(Entry::decode(&changed).is_err());
        let longer = [&bytes[..], &[0]].concat();
        prop_assert!(Entry::decode(&longer).is_err());
    }
}

#[test]
fn an_entry_of_another_version_is_refused_for_its_version() {
    let mut bytes = Entry::default().encode();
    bytes[0] = 2;
    let expected = DecodeError::UnknownVersion {
        found: 2,
        expected: 1,
    };
    assert_eq!(Entry::decode(&bytes), Err(expected));
}

#[test]
fn a_marker_that_is_made_is_the_one_that_was_sent() {
    let end = EndTxnMarker {
        result: TransactionResult::Commit,
        coordinator_epoch: 7,
    };
    let bytes = end.to_batch(5, 3, 1_000).unwrap();
    let batch = ValidatedBatch::trusted(bytes.clone()).unwrap();
    let marker = Marker::of(&batch).unwrap();
    assert_eq!(
        (marker.producer_id, marker.producer_epoch, marker.marker),
        (5, 3, end)
    );
    assert_eq!(marker.to_batch(1_000).unwrap(), bytes);
    assert_eq!(bytes.len(), Marker::SIZE_BYTES as usize);
    assert_eq!(
        BatchEffect::of(&batch.header, Some(end)),
        marker.effect(1_000)
    );
}

#[test]
fn a_control_batch_that_would_be_made_otherwise_keeps_its_bytes() {
    let end = EndTxnMarker {
        result: TransactionResult::Abort,
        coordinator_epoch: 7,
    };
    let mut builder = BatchBuilder::new()
        .producer(5, 3, NO_SEQUENCE)
        .transactional()
        .control();
    builder.append(1_000, Some(&end.key()), Some(&[0, 1, 0, 0, 0, 7, 9]), &[]);
    let batch = ValidatedBatch::trusted(builder.build().unwrap()).unwrap();
    assert_eq!(EndTxnMarker::of_batch(&batch.bytes), Ok(Some(end)));
    assert_eq!(Marker::of(&batch), None);
    let mut plain = BatchBuilder::new();
    plain.append(1_000, None, Some(b"value"), &[]);
    let plain = ValidatedBatch::trusted(plain.build().unwrap()).unwrap();
    assert_eq!(Marker::of(&plain), None);
}

#[test]
fn the_key_of_an_object_tells_which_it_is() {
    let object = ObjectId {
        broker_epoch: 17,
        id: Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001),
    };
    let key = object.key();
    assert_eq!(key.matches('/').count(), 3, "{key}");
    assert_eq!(ObjectId::from_key(&key), Some(object));
    for other in [
        "",
        "data/",
        "data/00/17",
        "data/00/x/y",
        &format!("{key}0"),
        &key[1..],
    ] {
        assert_eq!(ObjectId::from_key(other), None, "{other}");
    }
}

/// The figures that the table in `super` gives.
#[test]
fn an_entry_is_small() {
    let batch = |producer| BatchEffect {
        size_bytes: 20_000,
        last_offset_delta: 99,
        max_timestamp: 1_700_000_000_000,
        producer,
    };
    let producer = BatchProducer {
        producer_id: 1_000_000,
        producer_epoch: 3,
        base_sequence: 1_000_000,
        is_transactional: false,
        marker: None,
    };
    let object = ObjectId {
        broker_epoch: 17,
        id: Uuid::from_u128(1),
    };
    let size = |partitions: i32, batches: &[BatchEffect]| {
        let effects = (0..partitions).map(|partition| Effect::Append {
            partition: PartitionId {
                topic_id: Uuid::from_u128(1),
                partition,
            },
            base_offset: 1_000_000_000,
            place: Place::Object {
                object,
                position: 1_000_000,
            },
            batches: batches.to_vec(),
        });
        let entry = Entry {
            at_ms: 1_700_000_000_250,
            effects: effects.collect(),
        };
        entry.encode().len()
    };
    let of_effect = |batches: &[BatchEffect]| (size(100, batches) - size(50, batches)) / 50;
    assert_eq!(of_effect(&[]), 13);
    assert_eq!(of_effect(&[batch(None)]), 13 + 7);
    assert_eq!(of_effect(&[batch(Some(producer))]), 13 + 14);
}
