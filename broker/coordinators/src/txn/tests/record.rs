//! Records, against the bytes that Kafka 4.4's own classes give for the same states.

use super::context::*;
use crate::txn::partitions::Partitions;
use crate::txn::*;
use std::sync::Arc;
use uuid::Uuid;

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16);
    digits.map(|pair| byte(pair).expect("hex")).collect()
}

fn state(state: TransactionState, producer: Producer, version: i16) -> Transaction {
    Transaction {
        producer,
        previous_producer_id: 4000,
        timeout_ms: 60_000,
        state,
        start_ms: 1_700_000_000_001,
        last_update_ms: 1_700_000_000_004,
        version,
        ..Transaction::unused(4000, 0)
    }
}

fn two_partitions() -> Arc<Partitions> {
    let named = |index| Partition {
        topic: "a".into(),
        topic_id: Uuid::nil(),
        index,
    };
    Arc::new([named(0), named(7)].into_iter().collect())
}

#[test]
fn records_are_byte_for_byte_those_of_kafka() {
    let states = [
        (
            Transaction {
                start_ms: -1,
                last_update_ms: 1_700_000_000_000,
                ..state(TransactionState::Empty, producer(4000, 0), 0)
            },
            "00010000000000000fa000000000ea6000000000018bcfe56800ffffffffffffffff0100080000000000000fa0",
        ),
        (
            Transaction {
                partitions: two_partitions(),
                last_update_ms: 1_700_000_000_002,
                ..state(TransactionState::Ongoing, producer(4000, 3), 2)
            },
            "00010000000000000fa000030000ea6001020261030000000000000007000000018bcfe568020000018bcfe568010200080000000000000fa002020002",
        ),
        (
            Transaction {
                partitions: two_partitions(),
                next_producer_id: 4001,
                last_update_ms: 1_700_000_000_003,
                ..state(TransactionState::PrepareCommit, producer(4000, i16::MAX), 2)
            },
            "00010000000000000fa07fff0000ea6002020261030000000000000007000000018bcfe568030000018bcfe568010300080000000000000fa001080000000000000fa102020002",
        ),
        (
            state(TransactionState::CompleteCommit, producer(4001, 0), 2),
            "00010000000000000fa100000000ea6004010000018bcfe568040000018bcfe568010200080000000000000fa002020002",
        ),
        (
            state(TransactionState::CompleteAbort, producer(4000, 4), 0),
            "00010000000000000fa000040000ea6005010000018bcfe568040000018bcfe568010100080000000000000fa0",
        ),
    ];
    for (state, bytes) in states {
        let record = TransactionRecord {
            transactional_id: "tx-1".into(),
            value: Some(state.clone()),
        };
        let (key, value) = record.encode().expect("has bytes");
        assert_eq!(key, hex("0000000474782d31"));
        assert_eq!(value, Some(hex(bytes)), "{state:?}");
        let decoded = TransactionRecord::decode(&key, value.as_deref());
        assert_eq!(decoded, Ok(Some(record)));
    }
}

#[test]
fn the_last_epoch_comes_after_the_fields_that_kafka_knows() {
    let known = state(TransactionState::CompleteAbort, producer(4000, 4), 0);
    let encode = |last_epoch| {
        let record = TransactionRecord {
            transactional_id: "tx-1".into(),
            value: Some(Transaction {
                last_epoch,
                ..known.clone()
            }),
        };
        record.encode().expect("has bytes").1.expect("a value")
    };
    let without = encode(-1);
    let with = encode(3);
    let tags = without.len() - 11;
    assert_eq!(with[..tags], without[..tags]);
    assert_eq!((without[tags], with[tags]), (1, 2), "tags");
    assert_eq!(with[tags + 1..without.len()], without[tags + 1..]);
    // The number 10001, two bytes, 3.
    assert_eq!(with[without.len()..], [0x91, 0x4e, 2, 0, 3]);
}

#[test]
fn version_0_is_read() {
    let empty = "00000000000000000fa000000000ea6000ffffffff0000018bcfe56800ffffffffffffffff";
    let key = hex("0000000474782d31");
    let decoded = TransactionRecord::decode(&key, Some(&hex(empty)));
    let value = decoded.expect("is one").expect("of a known kind").value;
    let expected = Transaction {
        previous_producer_id: -1,
        start_ms: -1,
        last_update_ms: 1_700_000_000_000,
        ..state(TransactionState::Empty, producer(4000, 0), 0)
    };
    assert_eq!(value, Some(expected));
    // The same with a partition 7 of "ab".
    let ongoing = "00000000000000000fa000010000ea6001000000010002616200000001000000070000018bcfe568000000018bcfe56800";
    let decoded = TransactionRecord::decode(&key, Some(&hex(ongoing)));
    let value = decoded.expect("is one").expect("of a known kind").value;
    let partitions = value.expect("a value").partitions.to_vec();
    assert_eq!(partitions.len(), 1);
    assert_eq!((&*partitions[0].topic, partitions[0].index), ("ab", 7));
}

#[test]
fn bytes_that_are_no_record_are_told_and_never_panic() {
    let record = TransactionRecord {
        transactional_id: "tx-1".into(),
        value: Some(Transaction {
            partitions: two_partitions(),
            last_epoch: 2,
            ..state(TransactionState::Ongoing, producer(4000, 3), 2)
        }),
    };
    let (key, value) = record.encode().expect("has bytes");
    let value = value.expect("a value");
    for length in 0..value.len() {
        assert!(TransactionRecord::decode(&key, Some(&value[..length])).is_err());
    }
    for length in 0..key.len() {
        assert!(TransactionRecord::decode(&key[..length], Some(&value)).is_err());
    }
    let mut unknown = value.clone();
    unknown[16] = 6;
    assert!(TransactionRecord::decode(&key, Some(&unknown)).is_err());
    let mut unknown = value;
    unknown[1] = 2;
    assert!(TransactionRecord::decode(&key, Some(&unknown)).is_err());
    assert_eq!(TransactionRecord::decode(&[0, 1, 0, 0], None), Ok(None));
}

#[test]
fn a_record_is_no_larger_than_it_is_said_to_be() {
    let names = ["a", &"x".repeat(249)];
    let both = names.map(|name| (0..300).map(|index| partition(name, index)));
    let record = TransactionRecord {
        transactional_id: "id".repeat(1000).into(),
        value: Some(Transaction {
            partitions: Arc::new(both.into_iter().flatten().collect()),
            next_producer_id: 7,
            last_epoch: 3,
            ..state(TransactionState::PrepareCommit, producer(4000, 4), 2)
        }),
    };
    let (key, value) = record.encode().expect("has bytes");
    let real = crate::batch_size::record_bytes(key.len(), value.as_ref().map(Vec::len));
    let said = record.size_bytes();
    assert!((real..real + 64).contains(&said), "{real} {said}");
}
