//! A frame as it comes from the network: length, header, guard, decoder of every API.

#![no_main]

use bytes::Bytes;
use protocol_shim::frame::{LENGTH_BYTES, frame_length};
use protocol_shim::header::parse_request_header;
use protocol_shim::{any_message, api_spec, guard};

const MAX_FRAME_BYTES: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&prefix, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return;
    };
    let length = frame_length(prefix, MAX_FRAME_BYTES).unwrap_or(rest.len());
    let mut frame = Bytes::copy_from_slice(&rest[..length.min(rest.len())]);
    let Ok(header) = parse_request_header(&mut frame) else {
        return;
    };
    let _ = api_spec::served(header.api_key, header.api_version);
    let Some(spec) = api_spec::spec(header.api_key).filter(|spec| spec.has(header.api_version)) else {
        return;
    };
    let Ok(mut body) = guard::check(spec, header.api_version, &frame) else {
        return;
    };
    // As `decode_request` does for the type that belongs to the key.
    let Ok(request) = any_message::decode_request(header.api_key, header.api_version, &mut body) else {
        return;
    };
    assert!(body.is_empty(), "the guard has walked over all of it, the decoder has not");
    // Unknown tagged fields and non-canonical varints are not written as they came: only the size is bounded.
    if let Ok(again) = request.encode(header.api_version) {
        assert!(again.len() <= 4 * frame.len() + 64);
    }
});
