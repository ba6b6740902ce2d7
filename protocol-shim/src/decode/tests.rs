use bytes::BytesMut;
use kafka_protocol::messages::{
    FetchRequest, MetadataRequest, ProduceRequest, TopicName, produce_request,
};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::*;
use crate::guard::Violation;
use crate::newer::ApiVersionsRequest;

fn produce() -> ProduceRequest {
    let partition = produce_request::PartitionProduceData::default()
        .with_index(3)
        .with_records(Some(Bytes::from_static(b"a record batch")));
    let topic = produce_request::TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str("events")))
        .with_partition_data(vec![partition]);
    ProduceRequest::default()
        .with_acks(-1)
        .with_topic_data(vec![topic])
}

fn encoded(request: &impl Encodable, version: i16) -> Bytes {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).unwrap();
    body.freeze()
}

#[test]
fn records_of_a_produce_request_share_the_memory_of_its_body() {
    for version in 3..=12 {
        let body = encoded(&produce(), version);
        let request: ProduceRequest = decode_request(0, version, body.clone()).unwrap();
        assert_eq!(request, produce());
        let records = request.topic_data[0].partition_data[0]
            .records
            .as_ref()
            .unwrap();
        assert!(
            body.as_ptr_range().contains(&records.as_ptr()),
            "version {version} copies"
        );
    }
}

#[test]
fn produce_below_version_3_is_announced_but_refused() {
    for version in 0..3 {
        let error = decode_request::<ProduceRequest>(0, version, Bytes::new()).unwrap_err();
        let DecodeError::Guard(error) = error else {
            panic!("{error}")
        };
        assert_eq!(error.violation, Violation::Version { min: 3, max: 13 });
    }
}

#[test]
fn the_guard_stands_before_the_decoder() {
    let hostile = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    let error = decode_request::<MetadataRequest>(3, 1, hostile).unwrap_err();
    assert!(matches!(error, DecodeError::Guard(_)), "{error}");
}

#[test]
fn bytes_behind_a_request_are_ignored() {
    // What librdkafka 2.3 to 2.16 sends for all topics: three bytes more than the version has.
    let body = Bytes::from_static(&[0, 0, 0, 0, 1, 0, 0]);
    let request: MetadataRequest = decode_request(3, 12, body).unwrap();
    assert_eq!(request.topics, None);
    // librdkafka before 1.4 sends an array of no elements behind ApiVersions v0, which has no fields.
    let body = Bytes::from_static(&[0; 4]);
    assert!(decode_request::<ApiVersionsRequest>(18, 0, body).is_ok());
}

#[test]
fn text_that_is_not_utf8_is_replaced_as_java_does() {
    let body = Bytes::from_static(b"\0\0\0\x01\0\x05a\xed\xa0\x80\xff");
    let request: MetadataRequest = decode_request(3, 1, body).unwrap();
    let names = request.topics.unwrap();
    assert_eq!(names[0].name.as_deref().unwrap(), "a\u{fffd}\u{fffd}");
}

#[test]
fn a_tagged_field_of_a_later_version_is_the_decoders_error() {
    // Fetch v12 with the replica state (tag 1) of v15.
    let fixed = [&[0xff; 4][..], &[0; 13], &[0; 8], &[1], &[1], &[1]].concat();
    let body = [&fixed[..], &[1, 1, 1, 0]].concat();
    let error = decode_request::<FetchRequest>(1, 12, body.into()).unwrap_err();
    assert!(
        matches!(
            error,
            DecodeError::Malformed {
                api: "Fetch",
                version: 12,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_with_the_known_ones() {
    let response = api_versions_fallback();
    assert_eq!(response.error_code, 35);
    let [range] = &response.api_keys[..] else {
        panic!("one range")
    };
    assert_eq!(
        (range.api_key, range.min_version, range.max_version),
        (18, 0, 5)
    );
    assert!(!encoded(&response, 0).is_empty());
}
