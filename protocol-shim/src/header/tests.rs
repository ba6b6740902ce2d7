use bytes::BytesMut;
use kafka_protocol::messages::{self, ApiKey};
use kafka_protocol::protocol::{Decodable, StrBytes, encode_request_header_into_buffer};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::api_spec::all;

const METADATA_V9: &[u8] = &[0, 3, 0, 9, 0, 0, 0, 7, 0, 2, b'm', b'e', 0, 0xaa];

#[test]
fn a_header_written_by_the_crate_is_read_in_every_version_and_the_body_is_left() {
    for spec in all() {
        for version in spec.min_version..=spec.max_version {
            for client_id in [None, Some(""), Some("rdkafka")] {
                let header = messages::RequestHeader::default()
                    .with_request_api_key(spec.api_key)
                    .with_request_api_version(version)
                    .with_correlation_id(-5)
                    .with_client_id(client_id.map(StrBytes::from_static_str));
                let mut frame = BytesMut::new();
                encode_request_header_into_buffer(&mut frame, &header).unwrap();
                frame.extend_from_slice(b"body");
                let mut frame = frame.freeze();
                let expected = RequestHeader {
                    api_key: spec.api_key,
                    api_version: version,
                    correlation_id: -5,
                    client_id: client_id.map(Arc::from),
                };
                assert_eq!(
                    parse_request_header(&mut frame),
                    Ok(expected),
                    "{} v{version}",
                    spec.name
                );
                assert_eq!(frame, "body");
            }
        }
    }
}

#[test]
fn every_header_that_is_cut_short_is_refused_and_the_frame_kept() {
    for length in 0..METADATA_V9.len() - 1 {
        let mut frame = Bytes::copy_from_slice(&METADATA_V9[..length]);
        assert_eq!(
            parse_request_header(&mut frame),
            Err(HeaderError::TooShort),
            "{length} bytes"
        );
        assert_eq!(frame.len(), length);
    }
}

#[test]
fn no_bytes_make_the_parser_panic() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..200_000 {
        let mut bytes = if rng.random_bool(0.5) {
            METADATA_V9.to_vec()
        } else {
            (0..rng.random_range(0..40)).map(|_| rng.random()).collect()
        };
        for _ in 0..rng.random_range(0..4) {
            if !bytes.is_empty() {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
        }
        let length = bytes.len();
        let mut frame = Bytes::from(bytes);
        match parse_request_header(&mut frame) {
            Ok(_) => assert!(frame.len() + 10 <= length),
            Err(_) => assert_eq!(frame.len(), length),
        }
    }
}

#[test]
fn the_client_id_does_not_share_memory_with_the_frame() {
    let mut frame = Bytes::copy_from_slice(METADATA_V9);
    let header = parse_request_header(&mut frame).unwrap();
    assert_eq!(header.client_id.as_deref(), Some("me"));
    assert!(frame.is_unique(), "something still holds the frame");
}

#[test]
fn a_client_id_that_is_not_utf8_is_replaced_and_not_refused() {
    let mut frame = Bytes::from_static(b"\0\x03\0\x01\0\0\0\x07\0\x04\xff\xed\xa0\x80");
    let header = parse_request_header(&mut frame).unwrap();
    assert_eq!(header.client_id.as_deref(), Some("\u{fffd}\u{fffd}"));
}

#[test]
fn every_negative_length_of_the_client_id_is_null() {
    for length in [-1_i16, -2, i16::MIN] {
        let head = b"\0\x03\0\x01\0\0\0\x07";
        let mut frame = Bytes::from([&head[..], &length.to_be_bytes(), b"body"].concat());
        let header = parse_request_header(&mut frame).unwrap();
        assert_eq!(header.client_id, None);
        assert_eq!(frame, "body");
    }
}

#[test]
fn unknown_apis_are_named() {
    let parse =
        |bytes: &'static [u8]| parse_request_header(&mut Bytes::from_static(bytes)).unwrap_err();
    assert_eq!(
        parse(&[0, 4, 0, 0, 0, 0, 0, 0, 0, 0]),
        HeaderError::UnknownApi(4)
    );
    assert_eq!(
        parse(&[0xff, 0xff, 0, 0, 0, 0, 0, 0]),
        HeaderError::UnknownApi(-1)
    );
}

#[test]
fn tagged_fields_of_the_header_are_skipped_up_to_10_000() {
    let parse = |tagged: &[u8]| {
        let mut frame = Bytes::from([&METADATA_V9[..12], tagged].concat());
        parse_request_header(&mut frame).map(|_| frame.to_vec())
    };
    assert_eq!(parse(&[1, 5, 2, 0xaa, 0xbb, 0xcc]), Ok(vec![0xcc]));
    assert_eq!(parse(&[0x90, 0x4e]), Err(HeaderError::TooShort));
    assert_eq!(parse(&[0x91, 0x4e]), Err(HeaderError::TaggedFields));
    assert_eq!(
        parse(&[0x80, 0x80, 0x80, 0x80, 0x10]),
        Err(HeaderError::TaggedFields)
    );
    assert_eq!(
        parse(&[1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        Err(HeaderError::TooShort)
    );
}

/// A client may ask with a version that does not exist yet; the header must still be understood.
#[test]
fn a_version_of_the_future_has_a_flexible_header() {
    let mut frame = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 0, 1, 2]);
    let header = parse_request_header(&mut frame).unwrap();
    assert_eq!((header.api_version, header.correlation_id), (99, 7));
    assert_eq!(frame.as_ref(), [1, 2]);
}

#[test]
fn a_response_header_is_what_the_crate_reads() {
    for api_key in [ApiKey::ApiVersions, ApiKey::Metadata] {
        let spec = api_spec::spec(api_key as i16).unwrap();
        for version in spec.min_version..=spec.max_version {
            let mut out = Vec::new();
            put_response_header(&mut out, spec.response_header_version(version), 42);
            let mut input = Bytes::from(out);
            let header_version = api_key.response_header_version(version);
            let header = messages::ResponseHeader::decode(&mut input, header_version).unwrap();
            assert_eq!(header.correlation_id, 42);
            assert!(input.is_empty());
        }
    }
}
