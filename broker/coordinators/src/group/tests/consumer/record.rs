//! The bytes of a consumer group's records, against the schemas of Kafka 4.3.

use super::*;

fn encoded(record: ConsumerRecord) -> (Vec<u8>, Vec<u8>) {
    let record = GroupRecord::Consumer {
        group_id: "g".into(),
        record,
    };
    let (key, value) = record.encode().unwrap().unwrap();
    let value = value.unwrap();
    assert_eq!(
        GroupRecord::decode(&key, Some(&value), None),
        Ok(Some(record))
    );
    for cut in 0..value.len() {
        assert!(
            GroupRecord::decode(&key, Some(&value[..cut]), None).is_err(),
            "cut at {cut}"
        );
    }
    (key, value)
}

#[test]
fn a_group_epoch_is_key_3_with_the_hash_as_a_tagged_field() {
    let (key, value) = encoded(ConsumerRecord::Group(Some(GroupEpoch {
        epoch: 2,
        metadata_hash: 3,
    })));
    assert_eq!(key, [0, 3, 0, 1, b'g']);
    assert_eq!(value, [0, 0, 0, 0, 0, 2, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 3]);
    let (_, value) = encoded(ConsumerRecord::Group(Some(GroupEpoch {
        epoch: 2,
        metadata_hash: 0,
    })));
    assert_eq!(value, [0, 0, 0, 0, 0, 2, 0]);
}

#[test]
fn a_current_assignment_is_key_8_with_the_epochs_of_its_partitions() {
    let current = CurrentAssignment {
        member_epoch: 5,
        previous_member_epoch: 4,
        state: MemberState::UnreleasedPartitions,
        assigned: Assigned::from([(uuid::Uuid::from_u128(1), [(7, 5)].into())]),
        pending_revocation: Assigned::new(),
    };
    let (key, value) = encoded(ConsumerRecord::Current("m".into(), Some(current)));
    assert_eq!(key, [0, 8, 0, 1, b'g', 0, 1, b'm']);
    let mut expected = vec![0, 0, 0, 0, 0, 5, 0, 0, 0, 4, 2, 2];
    expected.extend(uuid::Uuid::from_u128(1).as_bytes());
    expected.extend([2, 0, 0, 0, 7, 1, 0, 5, 2, 0, 0, 0, 5, 1, 0]);
    assert_eq!(value, expected);
}

#[test]
fn partitions_without_epochs_count_as_assigned_at_the_members_epoch() {
    let mut value = vec![0, 0, 0, 0, 0, 5, 0, 0, 0, 4, 0, 2];
    value.extend(uuid::Uuid::from_u128(1).as_bytes());
    value.extend([2, 0, 0, 0, 7, 0, 1, 0]);
    let record = GroupRecord::decode(&[0, 8, 0, 1, b'g', 0, 1, b'm'], Some(&value), None);
    let Ok(Some(GroupRecord::Consumer {
        record: ConsumerRecord::Current(_, Some(current)),
        ..
    })) = record
    else {
        panic!("{record:?}");
    };
    assert_eq!(
        current.assigned,
        Assigned::from([(uuid::Uuid::from_u128(1), [(7, 5)].into())])
    );
}

/// The bytes are those that Kafka 4.3 makes of the same fields.
#[test]
fn what_a_classic_member_said_is_a_tagged_field_of_key_5() {
    let subscription = MemberSubscription {
        client_id: "c".into(),
        client_host: "/h".into(),
        topic_names: ["t".into()].into(),
        topic_regex: Some("".into()),
        rebalance_timeout_ms: 7,
        server_assignor: Some("".into()),
        classic: Some(ClassicMember {
            session_timeout_ms: 9,
            protocols: vec![Protocol {
                name: "range".into(),
                metadata: vec![1, 2].into(),
            }],
        }),
        ..MemberSubscription::default()
    };
    let (_, value) = encoded(ConsumerRecord::Member("m".into(), Some(subscription)));
    let mut expected = vec![0, 0, 0, 0, 2, b'c', 3, b'/', b'h', 2, 2, b't', 1];
    expected.extend([0, 0, 0, 7, 1, 1, 0, 17, 1, 0, 0, 0, 9]);
    expected.extend([2, 6, b'r', b'a', b'n', b'g', b'e', 3, 1, 2, 0, 0]);
    assert_eq!(value, expected);
}

/// Kafka 4.4 writes the tagged field of a member without one, with a null in it.
#[test]
fn a_member_that_never_was_a_classic_one_may_say_so_in_a_byte() {
    let key = b"\x00\x05\x00\x01g\x00\x01m";
    let start = b"\x00\x00\x00\x00\x03id\x06/host\x02\x06plain\x01\x00\x04\x93\xe0\x00";
    for tagged in [&b"\x01\x00\x01\x00"[..], b"\x01\x00\x01\xff", b"\x00"] {
        let value = [&start[..], tagged].concat();
        let decoded = GroupRecord::decode(key, Some(&value), None);
        let Ok(Some(GroupRecord::Consumer {
            record: ConsumerRecord::Member(_, Some(member)),
            ..
        })) = decoded
        else {
            panic!("{decoded:?}");
        };
        assert_eq!(
            (member.rebalance_timeout_ms, member.classic),
            (300_000, None)
        );
    }
}

#[test]
fn every_kind_of_record_survives_its_bytes() {
    let subscription = MemberSubscription {
        instance_id: Some("i".into()),
        rack_id: None,
        client_id: "c".into(),
        client_host: "/h".into(),
        topic_names: ["a".into(), "b".into()].into(),
        topic_regex: Some("x.*".into()),
        rebalance_timeout_ms: 60_000,
        server_assignor: Some("range".into()),
        classic: None,
    };
    let (key, _) = encoded(ConsumerRecord::Member("m".into(), Some(subscription)));
    assert_eq!(key[..2], [0, 5]);
    let (key, value) = encoded(ConsumerRecord::Target(Some(TargetEpoch {
        epoch: 9,
        timestamp_ms: 1,
    })));
    assert_eq!((&key[..2], value[7]), (&[0, 6][..], 0));
    let target = Partitions::from([(uuid::Uuid::from_u128(2), [0, 3].into())]);
    let (key, _) = encoded(ConsumerRecord::TargetMember("m".into(), Some(target)));
    assert_eq!(key[..2], [0, 7]);
    let resolved = ResolvedRegex {
        topics: ["a".into()].into(),
        version: 1,
        timestamp_ms: 2,
    };
    let (key, _) = encoded(ConsumerRecord::Regex("a+".into(), Some(resolved)));
    assert_eq!(key[..2], [0, 16]);
}
