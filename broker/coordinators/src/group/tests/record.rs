//! The bytes in these tests were written by Kafka 4.3.1.

use uuid::Uuid;

use super::super::*;
use crate::codec::RecordError;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex
        .chars()
        .map(|digit| digit.to_digit(16).expect("hex"))
        .collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

fn decode(key: &str, value: &str) -> Result<Option<GroupRecord>, RecordError> {
    GroupRecord::decode(&bytes(key), Some(&bytes(value)), None)
}

fn encode(record: &GroupRecord) -> (Vec<u8>, Option<Vec<u8>>) {
    record.encode().expect("fits").expect("has bytes")
}

const OFFSET_KEY: &str = "00010003677270000474c3b87000000007";
const LEGACY_OFFSET_KEY: &str = "00000003677270000474c3b87000000007";
const GROUP_KEY: &str = "00020003677270";

fn offset_key() -> OffsetKey {
    OffsetKey {
        group_id: "grp".into(),
        topic: "tøp".into(),
        partition_index: 7,
    }
}

fn offset(leader_epoch: i32, expire_timestamp_ms: Option<i64>) -> CommittedOffset {
    CommittedOffset {
        offset: 42,
        leader_epoch,
        metadata: "méta".into(),
        commit_timestamp_ms: 1000,
        expire_timestamp_ms,
        topic_id: Uuid::nil(),
    }
}

fn group(version: i16) -> GroupMetadata {
    GroupMetadata {
        protocol_type: "consumer".into(),
        generation_id: 3,
        protocol_name: Some("range".into()),
        leader: Some("m1".into()),
        state_timestamp_ms: if version >= 2 { 1234 } else { -1 },
        members: vec![MemberMetadata {
            member_id: "m1".into(),
            group_instance_id: (version >= 3).then(|| "i1".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout_ms: if version >= 1 { 20 } else { -1 },
            session_timeout_ms: 10,
            subscription: vec![1, 2].into(),
            assignment: vec![3].into(),
        }],
    }
}

const OFFSET_VALUES: [&str; 5] = [
    "0000000000000000002a00056dc3a9746100000000000003e8",
    "0001000000000000002a00056dc3a9746100000000000003e800000000000007d0",
    "0002000000000000002a00056dc3a9746100000000000003e8",
    "0003000000000000002a0000000500056dc3a9746100000000000003e8",
    "0004000000000000002a00000005066dc3a9746100000000000003e800",
];

const OFFSET_VALUE_WITH_TOPIC_ID: &str = "0004000000000000002a00000005066dc3a9746100000000000003e80100100102030405060708090a0b0c0d0e0f10";

const GROUP_VALUES: [&str; 5] = [
    "00000008636f6e73756d657200000003000572616e676500026d310000000100026d3100016300022f680000000a0000000201020000000103",
    "00010008636f6e73756d657200000003000572616e676500026d310000000100026d3100016300022f68000000140000000a0000000201020000000103",
    "00020008636f6e73756d657200000003000572616e676500026d3100000000000004d20000000100026d3100016300022f68000000140000000a0000000201020000000103",
    "00030008636f6e73756d657200000003000572616e676500026d3100000000000004d20000000100026d310002693100016300022f68000000140000000a0000000201020000000103",
    "000409636f6e73756d6572000000030672616e6765036d3100000000000004d202036d310369310263032f68000000140000000a03010202030000",
];

#[test]
fn offsets_of_every_version_are_read() {
    for (version, value) in OFFSET_VALUES.iter().enumerate() {
        let expected = offset(
            if version >= 3 { 5 } else { -1 },
            if version == 1 { Some(2000) } else { None },
        );
        let expected = GroupRecord::Offset {
            key: offset_key(),
            value: Some(expected),
        };
        assert_eq!(
            decode(OFFSET_KEY, value),
            Ok(Some(expected.clone())),
            "{version}"
        );
        assert_eq!(
            decode(LEGACY_OFFSET_KEY, value),
            Ok(Some(expected)),
            "{version}"
        );
    }
}

#[test]
fn offsets_are_written_as_version_4_with_the_topic_id_if_known_and_as_version_1_with_an_expiry() {
    let with_id = CommittedOffset {
        topic_id: Uuid::from_u128(0x0102030405060708090a0b0c0d0e0f10),
        ..offset(5, None)
    };
    let cases = [
        (offset(5, None), OFFSET_VALUES[4]),
        (offset(-1, Some(2000)), OFFSET_VALUES[1]),
        (with_id, OFFSET_VALUE_WITH_TOPIC_ID),
    ];
    for (value, expected) in cases {
        let record = GroupRecord::Offset {
            key: offset_key(),
            value: Some(value),
        };
        assert_eq!(encode(&record), (bytes(OFFSET_KEY), Some(bytes(expected))));
        assert_eq!(decode(OFFSET_KEY, expected), Ok(Some(record)));
    }
}

#[test]
fn groups_of_every_version_are_read_and_version_3_is_written() {
    for (version, value) in (0..).zip(GROUP_VALUES) {
        let expected = GroupRecord::Group {
            group_id: "grp".into(),
            value: Some(group(version)),
        };
        assert_eq!(
            decode(GROUP_KEY, value),
            Ok(Some(expected.clone())),
            "{version}"
        );
        if version == 3 {
            assert_eq!(encode(&expected), (bytes(GROUP_KEY), Some(bytes(value))));
        }
    }
}

#[test]
fn an_empty_group_is_read_and_written() {
    let empty = GroupMetadata {
        protocol_type: "".into(),
        generation_id: 0,
        protocol_name: None,
        leader: None,
        state_timestamp_ms: 99,
        members: Vec::new(),
    };
    let record = GroupRecord::Group {
        group_id: "grp".into(),
        value: Some(empty),
    };
    let version_3 = "0003000000000000ffffffff000000000000006300000000";
    assert_eq!(encode(&record), (bytes(GROUP_KEY), Some(bytes(version_3))));
    for value in [version_3, "00040100000000000000000000000000630100"] {
        assert_eq!(decode(GROUP_KEY, value), Ok(Some(record.clone())));
    }
}

#[test]
fn a_missing_value_is_a_tombstone() {
    let offset = GroupRecord::Offset {
        key: offset_key(),
        value: None,
    };
    let group = GroupRecord::Group {
        group_id: "grp".into(),
        value: None,
    };
    for (key, record) in [(OFFSET_KEY, offset), (GROUP_KEY, group)] {
        assert_eq!(
            GroupRecord::decode(&bytes(key), None, Some((9, 1))),
            Ok(Some(record.clone()))
        );
        assert_eq!(encode(&record), (bytes(key), None));
    }
}

#[test]
fn an_offset_in_a_transactional_batch_belongs_to_its_producer() {
    let value = bytes(OFFSET_VALUES[4]);
    let record = GroupRecord::decode(&bytes(OFFSET_KEY), Some(&value), Some((9, 1)));
    let expected = GroupRecord::TxnOffset {
        producer_id: 9,
        producer_epoch: 1,
        key: offset_key(),
        value: offset(5, None),
    };
    assert_eq!(record, Ok(Some(expected.clone())));
    assert_eq!(encode(&expected), (bytes(OFFSET_KEY), Some(value)));
}

#[test]
fn a_transaction_marker_has_no_record() {
    let marker = GroupRecord::EndTxn {
        producer_id: 1,
        producer_epoch: 0,
        coordinator_epoch: 0,
        commit: true,
    };
    assert_eq!(marker.encode(), Ok(None));
}

#[test]
fn keys_of_other_kinds_of_groups_are_skipped_and_unknown_value_versions_are_errors() {
    assert_eq!(decode("00040003677270", "0000"), Ok(None));
    assert_eq!(decode("7fff", ""), Ok(None));
    assert_eq!(
        decode(OFFSET_KEY, "0005"),
        Err(RecordError::UnknownVersion(5))
    );
    assert_eq!(
        decode(GROUP_KEY, "ffff"),
        Err(RecordError::UnknownVersion(-1))
    );
}

#[test]
fn a_string_that_does_not_fit_is_an_error() {
    let record = GroupRecord::Group {
        group_id: "x".repeat(32_768).into(),
        value: None,
    };
    assert_eq!(record.encode(), Err(RecordError::StringTooLong(32_768)));
}

#[test]
fn bad_bytes_are_errors_and_cost_no_more_than_they_are_long() {
    let huge_member_count = "00030000000000000000000000000000000000007fffffff";
    assert_eq!(
        decode(GROUP_KEY, huge_member_count),
        Err(RecordError::Truncated)
    );
    let huge_tag_count = "0004000000000000002a00000005010000000000000000ffffffff0f";
    assert_eq!(
        decode(OFFSET_KEY, huge_tag_count),
        Err(RecordError::Truncated)
    );
    let not_utf_8 = "00010001ff0001740000000000";
    assert_eq!(
        decode(not_utf_8, OFFSET_VALUES[0]),
        Err(RecordError::BadString)
    );
    // Every prefix of everything, and every byte of everything replaced by some others.
    for (key, values) in [(OFFSET_KEY, &OFFSET_VALUES), (GROUP_KEY, &GROUP_VALUES)] {
        for value in values.iter().map(|value| bytes(value)) {
            for length in 0..value.len() {
                assert!(GroupRecord::decode(&bytes(key), Some(&value[..length]), None).is_err());
                for byte in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                    let mut damaged = value.clone();
                    damaged[length] = byte;
                    let _ = GroupRecord::decode(&bytes(key), Some(&damaged), None);
                }
            }
        }
        for length in 0..bytes(key).len() {
            assert!(GroupRecord::decode(&bytes(key)[..length], None, None).is_err());
        }
    }
}
