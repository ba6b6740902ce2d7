use bytes::Buf;
use kafka_protocol::messages::HeartbeatResponse;
use kafka_protocol::protocol::Decodable;

use super::*;
use crate::newer::ApiVersionsResponse;

#[test]
fn a_response_is_length_then_header_then_body() {
    let response = HeartbeatResponse::default().with_error_code(27);
    for (version, header_and_body) in [
        (0, &[0, 0, 0, 9, 0, 27][..]),
        (3, &[0, 0, 0, 9, 0, 0, 0, 0, 0, 27][..]),
        (4, &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 27, 0][..]),
    ] {
        let frame = encode_response(12, version, 9, &response).unwrap().to_vec();
        assert_eq!(
            frame[..4],
            (header_and_body.len() as u32).to_be_bytes(),
            "version {version}"
        );
        assert_eq!(&frame[4..], header_and_body, "version {version}");
    }
}

#[test]
fn api_versions_has_header_0_in_every_version() {
    for version in 0..=5 {
        let frame = encode_response(18, version, 1, &ApiVersionsResponse::default()).unwrap();
        let mut body = Bytes::from(frame.to_vec());
        body.advance(8);
        let decoded = ApiVersionsResponse::decode(&mut body, version).unwrap();
        assert_eq!(decoded, ApiVersionsResponse::default());
        assert!(body.is_empty());
    }
}

#[test]
fn a_version_that_the_message_does_not_have_is_an_error() {
    let error = encode_response(12, 99, 1, &HeartbeatResponse::default()).unwrap_err();
    assert!(
        matches!(
            error,
            EncodeError::Unencodable {
                api: "Heartbeat",
                version: 99,
                ..
            }
        ),
        "{error}"
    );
    let error = encode_response(4, 0, 1, &HeartbeatResponse::default()).unwrap_err();
    assert_eq!(error, EncodeError::UnknownApi(4));
}

#[test]
fn shared_bytes_are_parts_of_their_own_and_never_copied() {
    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
    let mut frame = FrameBuilder::new(12, 0, 1, USUAL_BYTES).unwrap();
    frame.inline.push(b'<');
    frame.share(first.clone());
    frame.share(Bytes::new());
    frame.share(second.clone());
    frame.inline.push(b'>');
    let frame = frame.finish().unwrap();

    assert_eq!(frame.to_vec(), b"\0\0\0\x11\0\0\0\x01<firstsecond>");
    assert_eq!(frame.len(), 21);
    let parts: Vec<Bytes> = frame.into_parts().collect();
    assert_eq!(parts.len(), 4, "none of them empty");
    assert_eq!(parts[1].as_ptr(), first.as_ptr());
    assert_eq!(parts[2].as_ptr(), second.as_ptr());
}
