//! The bytes of metadata records.

use proptest::prelude::*;
use uuid::Uuid;

use super::super::record::*;

const TOPIC_ID: Uuid = Uuid::from_u128(0x0102030405060708090a0b0c0d0e0f10);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The expected bytes were written by Kafka's `MetadataRecordSerde`.
#[test]
fn records_are_kafkas_to_the_byte() {
    let config = |resource_type, resource_name: &str, name: &str, value: Option<&str>| {
        MetadataRecord::Config {
            resource_type,
            resource_name: resource_name.to_owned(),
            name: name.to_owned(),
            value: value.map(str::to_owned),
        }
    };
    for (record, expected) in [
        (
            MetadataRecord::Topic {
                name: "events".to_owned(),
                topic_id: TOPIC_ID,
            },
            "010200076576656e74730102030405060708090a0b0c0d0e0f1000",
        ),
        (
            MetadataRecord::Partition {
                topic_id: TOPIC_ID,
                partition: 2,
                replicas: vec![1],
                leader: 1,
                leader_epoch: 0,
            },
            "010300000000020102030405060708090a0b0c0d0e0f1002000000010200000001010100000001000000000000000000",
        ),
        (
            MetadataRecord::RemoveTopic { topic_id: TOPIC_ID },
            "0109000102030405060708090a0b0c0d0e0f1000",
        ),
        (
            config(2, "events", "retention.ms", Some("1000")),
            "01040002076576656e74730d726574656e74696f6e2e6d73053130303000",
        ),
        (config(4, "", "x", None), "010400040102780000"),
        (
            MetadataRecord::ClientQuota {
                entity: vec![
                    QuotaName {
                        kind: "client-id".to_owned(),
                        name: None,
                    },
                    QuotaName {
                        kind: "user".to_owned(),
                        name: Some("ann".to_owned()),
                    },
                ],
                key: "producer_byte_rate".to_owned(),
                value: 1024.0,
                remove: false,
            },
            "010e00030a636c69656e742d69640000057573657204616e6e001370726f64756365725f627974655f7261746540900000000000000000",
        ),
        (
            MetadataRecord::ProducerIds {
                broker_id: 1,
                next_producer_id: 1000,
            },
            "010f0000000001ffffffffffffffff00000000000003e800",
        ),
        (
            MetadataRecord::FeatureLevel {
                name: METADATA_VERSION_FEATURE.to_owned(),
                level: 1,
            },
            "010c00176f74746c612e6d657461646174612e76657273696f6e000100",
        ),
        (
            MetadataRecord::AccessControlEntry {
                id: TOPIC_ID,
                resource_type: 2,
                resource_name: "events".to_owned(),
                pattern_type: 4,
                principal: "User:ann".to_owned(),
                host: "*".to_owned(),
                operation: 3,
                permission_type: 3,
            },
            "0112000102030405060708090a0b0c0d0e0f1002076576656e74730409557365723a616e6e022a030300",
        ),
        (
            MetadataRecord::RemoveAccessControlEntry { id: TOPIC_ID },
            "0113000102030405060708090a0b0c0d0e0f1000",
        ),
        (
            MetadataRecord::UserScramCredential {
                name: "ann".to_owned(),
                mechanism: 2,
                salt: b"salt".to_vec(),
                stored_key: vec![1, 2],
                server_key: vec![3],
                iterations: 4096,
            },
            "010b0004616e6e020573616c7403010202030000100000",
        ),
        (
            MetadataRecord::RemoveUserScramCredential {
                name: "ann".to_owned(),
                mechanism: 1,
            },
            "01160004616e6e0100",
        ),
        (
            MetadataRecord::DelegationToken {
                owner: "User:ann".to_owned(),
                requester: "User:cho".to_owned(),
                renewers: vec!["User:b".to_owned(), "User:c".to_owned()],
                issued_at_ms: 1,
                max_at_ms: 3,
                expires_at_ms: 2,
                token_id: "id".to_owned(),
            },
            "010a0009557365723a616e6e09557365723a63686f0307557365723a6207557365723a63\
             00000000000000010000000000000003000000000000000203696400",
        ),
        (
            MetadataRecord::RemoveDelegationToken {
                token_id: "id".to_owned(),
            },
            "011a0003696400",
        ),
    ] {
        let bytes = record.encode();
        assert_eq!(hex(&bytes), expected, "{record:?}");
        assert_eq!(MetadataRecord::decode(&bytes), Ok(record));
    }
}

#[test]
fn a_record_of_a_newer_version_is_not_read() {
    let newer = |bytes: &[u8]| {
        matches!(
            MetadataRecord::decode(bytes),
            Err(RecordError::Newer { .. })
        )
    };
    let record = MetadataRecord::RemoveTopic { topic_id: TOPIC_ID };
    for (place, what) in [(0, "frame"), (1, "type"), (2, "version")] {
        let mut bytes = record.encode();
        bytes[place] = 100;
        assert!(newer(&bytes), "{what}");
    }
    let mut tagged = record.encode();
    *tagged.last_mut().expect("tagged field count") = 1;
    tagged.extend([7, 1, 0]);
    assert!(newer(&tagged), "tagged field");
}

#[test]
fn a_record_with_bytes_after_its_end_is_damaged() {
    let mut bytes = MetadataRecord::RemoveTopic { topic_id: TOPIC_ID }.encode();
    bytes.push(0);
    assert_eq!(MetadataRecord::decode(&bytes), Err(RecordError::Damaged));
}

fn any_record() -> impl Strategy<Value = MetadataRecord> {
    let id = any::<u128>().prop_map(Uuid::from_u128);
    let text = ".{0,40}";
    prop_oneof![
        (text, id.clone()).prop_map(|(name, topic_id)| MetadataRecord::Topic { name, topic_id }),
        (
            id.clone(),
            any::<i32>(),
            proptest::collection::vec(any::<i32>(), 0..5),
            any::<i32>(),
            any::<i32>()
        )
            .prop_map(|(topic_id, partition, replicas, leader, leader_epoch)| {
                MetadataRecord::Partition {
                    topic_id,
                    partition,
                    replicas,
                    leader,
                    leader_epoch,
                }
            }),
        id.clone()
            .prop_map(|topic_id| MetadataRecord::RemoveTopic { topic_id }),
        (any::<i8>(), text, text, proptest::option::of(text)).prop_map(
            |(resource_type, resource_name, name, value)| MetadataRecord::Config {
                resource_type,
                resource_name,
                name,
                value,
            }
        ),
        (any::<i32>(), any::<i64>()).prop_map(|(broker_id, next_producer_id)| {
            MetadataRecord::ProducerIds {
                broker_id,
                next_producer_id,
            }
        }),
        (
            proptest::collection::vec((text, proptest::option::of(text)), 0..4),
            text,
            any::<i32>(),
            any::<bool>()
        )
            .prop_map(|(entity, key, value, remove)| {
                let names = entity.into_iter();
                let names = names.map(|(kind, name)| QuotaName { kind, name });
                MetadataRecord::ClientQuota {
                    entity: names.collect(),
                    key,
                    value: f64::from(value),
                    remove,
                }
            }),
        (
            (text, text, text),
            proptest::collection::vec(text, 0..4),
            any::<[i64; 3]>()
        )
            .prop_map(
                |(
                    (owner, requester, token_id),
                    renewers,
                    [issued_at_ms, max_at_ms, expires_at_ms],
                )| {
                    MetadataRecord::DelegationToken {
                        owner,
                        requester,
                        renewers,
                        issued_at_ms,
                        max_at_ms,
                        expires_at_ms,
                        token_id,
                    }
                }
            ),
        text.prop_map(|token_id| MetadataRecord::RemoveDelegationToken { token_id }),
        (text, any::<i16>()).prop_map(|(name, level)| MetadataRecord::FeatureLevel { name, level }),
        (id.clone(), text, text, text, any::<[i8; 4]>()).prop_map(
            |(
                id,
                resource_name,
                principal,
                host,
                [resource_type, pattern_type, operation, permission_type],
            )| {
                MetadataRecord::AccessControlEntry {
                    id,
                    resource_type,
                    resource_name,
                    pattern_type,
                    principal,
                    host,
                    operation,
                    permission_type,
                }
            }
        ),
        id.clone()
            .prop_map(|id| MetadataRecord::RemoveAccessControlEntry { id }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(record in any_record()) {
        prop_assert_eq!(MetadataRecord::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn no_prefix_of_a_record_is_a_record(record in any_record(), cut in any::<prop::sample::Index>()) {
        let bytes = record.encode();
        prop_assert!(MetadataRecord::decode(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = MetadataRecord::decode(&bytes);
    }

    #[test]
    fn any_change_of_a_byte_is_read_or_refused(
        record in any_record(), place in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = record.encode();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let _ = MetadataRecord::decode(&bytes);
    }
}
