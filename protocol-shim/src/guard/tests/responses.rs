//! The answers that Ottla's own clients read.

use super::super::response_shapes::SHAPES;
use super::*;

/// Every API whose answers are read, with every version that the decoder has.
fn every_response() -> impl Iterator<Item = (&'static ApiSpec, i16, Shape)> {
    SHAPES.iter().flat_map(|&(key, shape)| {
        let versions = kafka_protocol::messages::ApiKey::try_from(key).unwrap();
        let versions = versions.valid_versions();
        let spec = spec(key).unwrap();
        (versions.min..=versions.max).map(move |version| (spec, version, shape))
    })
}

fn decode_response(spec: &ApiSpec, version: i16, body: &mut Bytes) -> Option<ResponseKind> {
    let key = kafka_protocol::messages::ApiKey::try_from(spec.api_key).unwrap();
    ResponseKind::decode(key, body, version).ok()
}

#[test]
fn guard_decoder_and_encoder_agree_on_random_valid_responses_of_every_version() {
    let (mut rng, seed) = seeded();
    for (spec, version, shape) in every_response() {
        for _ in 0..setting("OTTLA_VALID_RESPONSES", 60) {
            let body = generate::response_body(&mut rng, spec, version, shape);
            let place = format!("seed {seed}, {} v{version}, body {body:02x?}", spec.name);
            let received = Bytes::from(body.clone());
            let checked = check_response(spec, version, &received);
            let mut input = checked.unwrap_or_else(|error| panic!("{error}; {place}"));
            let response = decode_response(spec, version, &mut input);
            let response = response.unwrap_or_else(|| panic!("not decoded; {place}"));
            assert!(input.is_empty(), "the decoder stops early; {place}");
            let mut output = BytesMut::new();
            let encoded = response.encode(&mut output, version);
            encoded.unwrap_or_else(|error| panic!("{error}; {place}"));
            assert_eq!(output, body, "the encoder writes something else; {place}");
        }
    }
}

/// What a walk accepts, the decoder must survive: an abort would end this test, so its end is the assertion.
#[test]
fn mutated_responses_neither_abort_nor_panic_nor_allocate_much_more_than_they_hold() {
    let (mut rng, seed) = seeded();
    let every_response: Vec<_> = every_response().collect();
    for _ in 0..setting("OTTLA_MUTATED_RESPONSES", 200_000) / MUTATIONS_PER_BODY {
        let (spec, version, shape) = every_response[rng.random_range(0..every_response.len())];
        let valid = generate::response_body(&mut rng, spec, version, shape);
        for _ in 0..MUTATIONS_PER_BODY {
            let body = mutate(&mut rng, &valid);
            let length = body.len();
            let received = Bytes::from(body);
            let ((), usage) = allocations::during(|| {
                if let Ok(mut input) = check_response(spec, version, &received) {
                    decode_response(spec, version, &mut input);
                }
            });
            assert!(
                usage.largest <= SPARE_BYTES + length * MEMORY_PER_WIRE_BYTE,
                "seed {seed}: {} bytes at once for {length} of {} v{version}",
                usage.largest,
                spec.name
            );
        }
    }
}

#[test]
fn an_answer_that_nobody_reads_is_refused() {
    let unread = spec(57).unwrap();
    let refused = check_response(unread, 0, &Bytes::new()).unwrap_err();
    assert_eq!(refused.violation, Violation::Unread);
}
