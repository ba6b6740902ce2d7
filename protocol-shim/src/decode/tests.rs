use bytes::BytesMut;
use kafka_protocol::messages::{MetadataRequest, ProduceRequest, TopicName, produce_request};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::*;
use crate::guard::Violation;

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
fn nothing_may_follow_a_request() {
    let body = [&encoded(&MetadataRequest::default(), 9)[..], &[0]].concat();
    let error = decode_request::<MetadataRequest>(3, 9, body.into()).unwrap_err();
    let DecodeError::Guard(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.violation, Violation::TrailingBytes(1));
}

#[test]
fn text_that_is_not_utf8_is_the_decoders_error() {
    let body = Bytes::from_static(&[0, 0, 0, 1, 0, 1, 0xff]);
    let error = decode_request::<MetadataRequest>(3, 1, body).unwrap_err();
    assert!(
        matches!(
            error,
            DecodeError::Malformed {
                api: "Metadata",
                version: 1,
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
        (18, 0, 4)
    );
    assert!(!encoded(&response, 0).is_empty());
}
