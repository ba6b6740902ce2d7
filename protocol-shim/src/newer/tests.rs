use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{self as theirs, GroupId, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, Message, StrBytes};
use uuid::Uuid;

use super::*;

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn bytes(message: &impl Encodable, version: i16) -> Bytes {
    let mut body = BytesMut::new();
    message.encode(&mut body, version).unwrap();
    let width = message.compute_size(version).unwrap();
    assert_eq!(body.len(), width, "version {version}");
    body.freeze()
}

/// What we write is what the crate writes, in every version that it has; and what we write we read.
fn agree<O, T>(response: impl Fn(i16) -> O)
where
    O: Encodable + Decodable + Message + PartialEq + std::fmt::Debug,
    T: Encodable + Decodable + Message,
{
    assert_eq!(O::VERSIONS.max, T::VERSIONS.max + 1);
    for version in O::VERSIONS.min..=O::VERSIONS.max {
        let response = response(version);
        let ours = bytes(&response, version);
        assert_eq!(O::decode(&mut ours.clone(), version).unwrap(), response);
        if version <= T::VERSIONS.max {
            let decoded = T::decode(&mut ours.clone(), version).unwrap();
            assert_eq!(bytes(&decoded, version), ours, "version {version}");
        }
    }
    let unknown = O::VERSIONS.max + 1;
    let mut body = BytesMut::new();
    assert!(response(unknown).encode(&mut body, unknown).is_err());
    assert!(O::decode(&mut Bytes::from_static(&[0; 64]), unknown).is_err());
}

#[test]
fn responses_are_byte_for_byte_those_of_the_crate() {
    agree::<_, theirs::ListOffsetsResponse>(|version| {
        let mut found = list_offsets::ListOffsetsPartitionResponse::default()
            .with_partition_index(3)
            .with_offset(1 << 40)
            .with_timestamp(7);
        found.leader_epoch = if version >= 4 { 5 } else { -1 };
        let topic = list_offsets::ListOffsetsTopicResponse::default()
            .with_name(TopicName(text("topic")))
            .with_partitions(vec![found]);
        ListOffsetsResponse::default().with_topics(vec![topic])
    });
    agree::<_, theirs::ApiVersionsResponse>(|version| {
        let range = api_versions::ApiVersion::default()
            .with_api_key(1)
            .with_max_version(9);
        let response = ApiVersionsResponse::default().with_api_keys(vec![range; 200]);
        let supported = api_versions::SupportedFeatureKey::default().with_name(text("feature"));
        let finalized = api_versions::FinalizedFeatureKey::default().with_name(text("feature"));
        match version {
            ..3 => response,
            _ => response
                .with_throttle_time_ms(9)
                .with_supported_features(vec![supported])
                .with_finalized_features_epoch(300)
                .with_finalized_features(vec![finalized.with_max_version_level(2)])
                .with_zk_migration_ready(true),
        }
    });
    agree::<_, theirs::WriteTxnMarkersResponse>(|_| {
        let partition = write_txn_markers::WritableTxnMarkerPartitionResult::default();
        let topic = write_txn_markers::WritableTxnMarkerTopicResult::default()
            .with_name(TopicName(text("topic")))
            .with_partitions(vec![partition.with_error_code(47)]);
        let marker = write_txn_markers::WritableTxnMarkerResult::default()
            .with_producer_id(77.into())
            .with_topics(vec![topic]);
        WriteTxnMarkersResponse::default().with_markers(vec![marker])
    });
    agree::<_, theirs::TxnOffsetCommitResponse>(|version| {
        let partition = txn_offset_commit::TxnOffsetCommitResponsePartition::default();
        let topic = txn_offset_commit::TxnOffsetCommitResponseTopic::default()
            .with_partitions(vec![partition.with_error_code(3)]);
        let topic = match version {
            ..=5 => topic.with_name(TopicName(text("topic"))),
            _ => topic.with_topic_id(Uuid::from_u128(9)),
        };
        TxnOffsetCommitResponse::default().with_topics(vec![topic])
    });
    agree::<_, theirs::DescribeLogDirsResponse>(|version| {
        let partition = describe_log_dirs::DescribeLogDirsPartition::default();
        let topic = describe_log_dirs::DescribeLogDirsTopic::default()
            .with_name(TopicName(text("topic")))
            .with_partitions(vec![partition.with_partition_size(12)]);
        let mut dir = describe_log_dirs::DescribeLogDirsResult::default()
            .with_log_dir(text("/data"))
            .with_topics(vec![topic]);
        if version >= 4 {
            dir = dir.with_total_bytes(1).with_usable_bytes(2);
        }
        dir.is_cordoned = version >= 5;
        DescribeLogDirsResponse::default().with_results(vec![dir])
    });
    agree::<_, theirs::DeleteGroupsResponse>(|version| {
        let group = delete_groups::DeletableGroupResult::default()
            .with_group_id(GroupId(text("group")))
            .with_error_code(68)
            .with_error_message((version >= 3).then(|| text("has members")));
        DeleteGroupsResponse::default().with_results(vec![group])
    });
}

/// The bytes of Kafka's definitions.
#[test]
fn what_the_newest_version_adds_is_where_kafka_has_it() {
    let dir = describe_log_dirs::DescribeLogDirsResult::default().with_is_cordoned(true);
    let dirs = DescribeLogDirsResponse::default().with_results(vec![dir]);
    let unknown = [0xff; 16];
    let result = [&[0, 0, 1, 1][..], &unknown, &[1, 0]].concat();
    let expected = [&[0; 6][..], &[2], &result, &[0]].concat();
    assert_eq!(bytes(&dirs, 5), expected);

    let group = delete_groups::DeletableGroupResult::default()
        .with_group_id(GroupId(text("g")))
        .with_error_message(Some(text("no")));
    let deleted = DeleteGroupsResponse::default().with_results(vec![group]);
    assert_eq!(bytes(&deleted, 3), &b"\0\0\0\0\x02\x02g\0\0\x03no\0\0"[..]);

    let asked = ApiVersionsRequest::default()
        .with_cluster_id(Some(text("c")))
        .with_node_id(7);
    assert_eq!(bytes(&asked, 5), &b"\x01\x01\x02c\0\0\0\x07\0"[..]);
    assert_eq!(bytes(&asked, 4), &b"\x01\x01\0"[..], "ignorable");
}

#[test]
fn a_field_that_a_version_does_not_have_is_refused_unless_it_is_ignorable() {
    let partition = list_offsets::ListOffsetsPartitionResponse::default().with_leader_epoch(3);
    let topic = list_offsets::ListOffsetsTopicResponse::default().with_partitions(vec![partition]);
    let response = ListOffsetsResponse::default()
        .with_throttle_time_ms(5)
        .with_topics(vec![topic]);
    let error = response.encode(&mut BytesMut::new(), 3).unwrap_err();
    assert!(error.to_string().contains("leader_epoch"), "{error}");
    assert!(response.encode(&mut BytesMut::new(), 4).is_ok());
    let throttled = ListOffsetsResponse::default().with_throttle_time_ms(5);
    assert!(throttled.encode(&mut BytesMut::new(), 1).is_ok());
}
