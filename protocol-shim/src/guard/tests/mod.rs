mod allocations;
mod generate;
mod responses;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{FetchRequest, ResponseKind};
use kafka_protocol::protocol::Decodable;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::field::{Kind, Shape};
use super::*;
use crate::any_message::{self, AnyMessage};
use crate::api_spec::{all, spec};

/// Every API with every version of it.
fn every_version() -> impl Iterator<Item = (&'static ApiSpec, i16)> {
    all().flat_map(|spec| (spec.min_version..=spec.max_version).map(move |version| (spec, version)))
}

/// A number from the environment, for longer runs.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// A generator and the seed to print when the test fails; `OTTLA_TEST_SEED` repeats a run.
fn seeded() -> (StdRng, u64) {
    let seed = setting("OTTLA_TEST_SEED", rand::random());
    (StdRng::seed_from_u64(seed), seed)
}

fn decode(spec: &ApiSpec, version: i16, body: &mut Bytes) -> Result<Box<dyn AnyMessage>, String> {
    let request = any_message::decode_request(spec.api_key, version, body);
    request.map_err(|error| error.to_string())
}

fn decodable(spec: &ApiSpec, version: i16, body: &[u8]) -> Result<Bytes, GuardError> {
    super::check(spec, version, &Bytes::copy_from_slice(body))
}

fn check(spec: &ApiSpec, version: i16, body: &[u8]) -> Result<(), GuardError> {
    decodable(spec, version, body).map(|_| ())
}

fn violation(api_key: i16, version: i16, body: &[u8]) -> Violation {
    check(spec(api_key).unwrap(), version, body)
        .unwrap_err()
        .violation
}

#[test]
fn guard_decoder_and_encoder_agree_on_random_valid_requests_of_every_version() {
    let (mut rng, seed) = seeded();
    for (spec, version) in every_version() {
        for _ in 0..setting("OTTLA_VALID_REQUESTS", 60) {
            let body = generate::body(&mut rng, spec, version);
            let place = || format!("seed {seed}, {} v{version}, body {body:02x?}", spec.name);
            let received = Bytes::from(body.clone());
            // Memory becomes shared with the first clone, which allocates; that of a frame is already.
            let _shared = received.clone();
            let (checked, usage) = allocations::during(|| super::check(spec, version, &received));
            let mut input = checked.unwrap_or_else(|error| panic!("{error}; {}", place()));
            assert_eq!(usage.total, 0, "the guard allocates; {}", place());
            assert_eq!(input.as_ptr(), received.as_ptr(), "a copy; {}", place());
            let request = decode(spec, version, &mut input)
                .unwrap_or_else(|error| panic!("{error}; {}", place()));
            assert!(input.is_empty(), "the decoder stops early; {}", place());
            let output = request
                .encode(version)
                .unwrap_or_else(|error| panic!("{error}; {}", place()));
            assert_eq!(
                output,
                body,
                "the encoder writes something else; {}",
                place()
            );
        }
    }
}

#[test]
fn the_guard_allows_null_in_the_fields_that_the_decoder_does() {
    fn can_be_null(field: &Field) -> bool {
        match field.kind {
            Kind::Fixed(_) => false,
            // Without a presence marker there is no way to write null.
            Kind::Struct(_) => field.nullable_since < i16::MAX,
            _ => true,
        }
    }
    fn collect(shape: Shape, version: i16, found: &mut Vec<&'static Field>) {
        for field in shape.iter().filter(|field| field.is_in(version)) {
            if can_be_null(field) {
                found.push(field);
            }
            if let Kind::Struct(members) | Kind::StructArray(members) = field.kind {
                collect(members, version, found);
            }
        }
    }
    let (mut rng, seed) = seeded();
    for (spec, version) in every_version() {
        let mut fields = Vec::new();
        collect(spec.shape, version, &mut fields);
        for field in fields {
            let body = generate::body_with_null(&mut rng, spec, version, field);
            let place = format!("seed {seed}, {} v{version} {}", spec.name, field.name);
            let nullable = version >= field.nullable_since;
            match check(spec, version, &body) {
                Ok(()) => assert!(nullable, "{place}"),
                Err(error) => assert_eq!(
                    (error.violation, nullable),
                    (Violation::Null, false),
                    "{place}"
                ),
            }
            let decoded = decode(spec, version, &mut Bytes::from(body));
            // The decoder takes null in all versions of a field that may be null in any; Kafka and the guard do not.
            let ever_nullable = field.nullable_since < i16::MAX;
            assert_eq!(decoded.is_ok(), ever_nullable, "{place}: {decoded:?}");
        }
    }
}

/// What a walk accepts, the decoder must survive: an abort would end this test, so its end is the assertion.
#[test]
fn mutated_requests_neither_abort_nor_panic_nor_allocate_much_more_than_they_hold() {
    let (mut rng, seed) = seeded();
    let every_version: Vec<_> = every_version().collect();
    let mut worst = (0, String::new());
    for _ in 0..setting("OTTLA_MUTATED_REQUESTS", 2_000_000) / MUTATIONS_PER_BODY {
        let (spec, version) = every_version[rng.random_range(0..every_version.len())];
        let valid = generate::body(&mut rng, spec, version);
        for _ in 0..MUTATIONS_PER_BODY {
            let body = mutate(&mut rng, &valid);
            let length = body.len();
            let received = Bytes::from(body);
            let ((), allocations::Usage { largest, .. }) = allocations::during(|| {
                if let Ok(mut input) = super::check(spec, version, &received) {
                    let decoded = decode(spec, version, &mut input);
                    let whole = decoded.is_err() || input.is_empty();
                    assert!(whole, "seed {seed}: the decoder stops early");
                }
            });
            if largest > worst.0 {
                worst = (largest, format!("{} v{version}, {length} bytes", spec.name));
            }
            assert!(
                largest <= SPARE_BYTES + length * MEMORY_PER_WIRE_BYTE,
                "seed {seed}: {largest} bytes at once for {length} of {} v{version}",
                spec.name
            );
        }
    }
    println!("largest allocation: {} bytes, by {}", worst.0, worst.1);
}

/// The densest bodies there are: one level of arrays full of the smallest elements, with or without tagged fields.
#[test]
fn a_decoded_request_takes_a_bounded_multiple_of_its_body() {
    let mut worst = (0, String::new());
    for (spec, version) in every_version() {
        for (depth, tagged) in [
            (0, false),
            (1, false),
            (2, false),
            (0, true),
            (1, true),
            (2, true),
        ] {
            let body = generate::dense_body(spec, version, depth, 500, tagged);
            check(spec, version, &body).unwrap();
            let length = body.len();
            let mut input = Bytes::from(body);
            let (request, usage) = allocations::during(|| decode(spec, version, &mut input));
            request.unwrap();
            let per_byte = usage.total.saturating_sub(SPARE_BYTES) / length.max(1);
            let place = format!(
                "{} v{version}, depth {depth}, tagged {tagged}, {length} bytes",
                spec.name
            );
            assert!(
                usage.largest <= SPARE_BYTES + length * MEMORY_PER_WIRE_BYTE,
                "{place}: {usage:?}"
            );
            if per_byte > worst.0 {
                worst = (per_byte, format!("{place}: {usage:?}"));
            }
        }
    }
    println!("{} bytes of memory per byte of body: {}", worst.0, worst.1);
}

const MUTATIONS_PER_BODY: u64 = 20;
/// What errors and the like need, whatever the body.
const SPARE_BYTES: usize = 4 * 1024;
/// The largest struct of the crate that an array holds, per byte that it takes on the wire.
const MEMORY_PER_WIRE_BYTE: usize = 40;

fn mutate(rng: &mut StdRng, valid: &[u8]) -> Vec<u8> {
    const HOSTILE: &[&[u8]] = &[
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x80, 0x80, 0x80, 0x80, 0x08],
        &[0x00, 0x00, 0xff, 0xff],
        &[0xff, 0x01],
        &[0x80],
        &[0x7f],
        &[0x00],
    ];
    let mut body = valid.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..=body.len());
        match rng.random_range(0..6) {
            0 => body.truncate(at),
            1 if at < body.len() => body[at] ^= 1 << rng.random_range(0..8),
            2 if at < body.len() => body[at] = rng.random(),
            3 => {
                let hostile = HOSTILE[rng.random_range(0..HOSTILE.len())];
                let end = body.len().min(at + hostile.len());
                body.splice(at..end, hostile.iter().copied());
            }
            4 => {
                let hostile = HOSTILE[rng.random_range(0..HOSTILE.len())];
                body.splice(at..at, hostile.iter().copied());
            }
            _ => {
                let copied = body[at..body.len().min(at + 16)].to_vec();
                body.extend(copied);
            }
        }
    }
    body
}

#[test]
fn the_bodies_known_to_abort_the_decoder_are_refused() {
    let two_billion = i32::MAX as usize;
    assert_eq!(
        violation(3, 1, &[0x7f, 0xff, 0xff, 0xff]),
        Violation::Count {
            count: two_billion,
            remaining: 0
        }
    );
    assert_eq!(
        violation(3, 12, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        Violation::Count {
            count: u32::MAX as usize - 1,
            remaining: 0
        }
    );
    let produce = [
        0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x0f,
    ];
    let error = check(spec(0).unwrap(), 9, &produce).unwrap_err();
    assert_eq!((error.field, error.position), ("topic_data", produce.len()));
    assert!(matches!(error.violation, Violation::Count { .. }));
}

#[test]
fn an_error_names_api_version_field_and_position() {
    let error = check(spec(3).unwrap(), 1, &[0, 0, 0, 1, 0, 9]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Metadata v1: body ends early in name at byte 6"
    );
}

#[test]
fn an_array_may_count_up_to_what_is_left_and_no_further() {
    // DeleteTopics v1: names, timeout. Five names of no bytes need ten bytes.
    let body = |count: i32| [&count.to_be_bytes()[..], &[0; 14]].concat();
    assert_eq!(check(spec(20).unwrap(), 1, &body(5)), Ok(()));
    assert_eq!(violation(20, 1, &body(6)), Violation::TooShort);
    assert_eq!(
        violation(20, 1, &body(15)),
        Violation::Count {
            count: 15,
            remaining: 14
        }
    );
    // Fixed widths are counted at once: Fetch v7 forgets partitions, four bytes each.
    let fetch = |count: i32| {
        let head = [&[0; 25][..], &[0, 0, 0, 0], &[0, 0, 0, 1], &[0, 0]].concat();
        [&head[..], &count.to_be_bytes(), &[0; 8]].concat()
    };
    assert_eq!(check(spec(1).unwrap(), 7, &fetch(2)), Ok(()));
    assert_eq!(
        violation(1, 7, &fetch(3)),
        Violation::Count {
            count: 3,
            remaining: 8
        }
    );
}

/// As in Kafka; the decoder takes -1 alone.
#[test]
fn every_negative_length_is_null() {
    let null = Bytes::from_static(&[0xff; 4]);
    for length in [-1, -2, i32::MIN] {
        let body = length.to_be_bytes();
        assert_eq!(decodable(spec(3).unwrap(), 1, &body), Ok(null.clone()));
        assert_eq!(violation(3, 0, &body), Violation::Null);
    }
    // Produce v3 with a transactional id of length -2.
    let rest = [0; 10];
    let produce = decodable(spec(0).unwrap(), 3, &[&[0xff, 0xfe][..], &rest].concat());
    assert_eq!(produce.unwrap(), [&[0xff; 2][..], &rest].concat());
    assert_eq!(violation(3, 1, &[0, 0, 0, 1, 0x80, 0]), Violation::Null);
    assert_eq!(violation(3, 9, &[0x02, 0x00, 0x00]), Violation::Null);
}

#[test]
fn bytes_after_the_last_field_are_ignored_in_every_version_of_every_api() {
    let (mut rng, seed) = seeded();
    for (spec, version) in every_version() {
        let body = generate::body(&mut rng, spec, version);
        for tail_bytes in [1, 2, 3, 4, 16, 300] {
            let tail: Vec<u8> = (0..tail_bytes).map(|_| rng.random()).collect();
            let checked = decodable(spec, version, &[&body[..], &tail].concat());
            let place = format!("seed {seed}, {} v{version}, tail {tail:02x?}", spec.name);
            assert_eq!(checked.as_deref(), Ok(&body[..]), "{place}");
        }
    }
}

/// Each string of each version, one after the other, is made of bytes that are not UTF-8.
#[test]
fn text_that_is_not_utf8_is_replaced_in_every_string_of_every_api() {
    let (mut rng, seed) = seeded();
    let mut replaced = 0;
    for (spec, version) in every_version() {
        for bad in [&b"\xff"[..], b"a\xed\xa0\x80b\xc3", &[0x80; 60]] {
            let good = text::decode(bad).into_owned();
            let strings = generate::count_strings(&mut rng, spec, version);
            for nth in 0..strings {
                let rng_before = rng.clone();
                let wrong = generate::body_with_text(&mut rng, spec, version, nth, bad);
                rng = rng_before;
                let right = generate::body_with_text(&mut rng, spec, version, nth, good.as_bytes());
                let place = format!("seed {seed}, {} v{version}, string {nth}", spec.name);
                let mut checked = decodable(spec, version, &wrong).expect(&place);
                // The sizes of tagged fields are those of the text that was replaced: only the decoder can tell.
                let request = decode(spec, version, &mut checked).expect(&place);
                let expected = decode(spec, version, &mut Bytes::from(right)).expect(&place);
                assert_eq!(format!("{request:?}"), format!("{expected:?}"), "{place}");
                assert!(checked.is_empty(), "{place}");
                replaced += 1;
            }
        }
    }
    assert!(replaced > 500, "only {replaced} strings");
}

#[test]
fn all_text_of_a_request_may_be_replaced_and_what_lies_between_is_kept() {
    // Metadata v4 of three topics, then a boolean and a tail.
    let wrong = b"\0\0\0\x03\0\x01\xff\0\x02ok\0\x03\xed\xa0\x80\x01tail";
    let right = "\0\0\0\x03\0\x03\u{fffd}\0\x02ok\0\x03\u{fffd}\x01";
    assert_eq!(decodable(spec(3).unwrap(), 4, wrong).unwrap(), right);
    // A compact length of one byte becomes one of two.
    let wrong = [&[1, 61][..], &[0x80; 60], &[0, 0]].concat();
    let head = [181, 1];
    let right = [&head[..], "\u{fffd}".repeat(60).as_bytes(), &[0, 0]].concat();
    let find_coordinator = decodable(spec(10).unwrap(), 3, &wrong[1..]).unwrap();
    assert_eq!(find_coordinator, right);
}

#[test]
fn replaced_text_is_bounded_as_a_string_and_in_the_whole_request() {
    // FindCoordinator v0 is one string.
    let key = |length: usize| [&(length as i16).to_be_bytes()[..], &vec![0xff; length]].concat();
    let longest = MAX_STRING_BYTES / 3;
    assert!(check(spec(10).unwrap(), 0, &key(longest)).is_ok());
    let too_long = Violation::TextTooLong(3 * (longest + 1));
    assert_eq!(violation(10, 0, &key(longest + 1)), too_long);
    // DeleteGroups v0 is an array of strings.
    let groups = |count: usize| {
        [
            &(count as i32).to_be_bytes()[..],
            &key(10_000).repeat(count),
        ]
        .concat()
    };
    let most = MAX_GROWTH_BYTES / 20_000;
    assert!(check(spec(42).unwrap(), 0, &groups(most)).is_ok());
    assert_eq!(violation(42, 0, &groups(most + 1)), Violation::Growth);
}

#[test]
fn a_string_is_as_long_as_kafka_allows_and_no_longer() {
    // FindCoordinator v3: a compact string, the type, tags.
    let key = |length: usize| {
        let mut prefix = Vec::new();
        put_uvarint(&mut prefix, length as u32 + 1);
        [&prefix[..], &vec![b'k'; length], &[0, 0]].concat()
    };
    assert_eq!(check(spec(10).unwrap(), 3, &key(MAX_STRING_BYTES)), Ok(()));
    assert_eq!(
        violation(10, 3, &key(MAX_STRING_BYTES + 1)),
        Violation::TextTooLong(MAX_STRING_BYTES + 1)
    );
}

#[test]
fn a_struct_has_at_most_10_000_tagged_fields() {
    // ListGroups v3 is nothing but tagged fields.
    let body = |count: u32| {
        let mut prefix = Vec::new();
        put_uvarint(&mut prefix, count);
        let fields = (0..count).flat_map(|_| [9, 0]);
        prefix.into_iter().chain(fields).collect::<Vec<u8>>()
    };
    assert_eq!(check(spec(16).unwrap(), 3, &body(10_000)), Ok(()));
    assert_eq!(
        violation(16, 3, &body(10_001)),
        Violation::TooManyTaggedFields(10_001)
    );
}

/// As in Kafka, which reads it by its type; so does the decoder.
#[test]
fn the_size_of_a_known_tagged_field_is_ignored() {
    // Fetch v12 with a cluster id of one letter as tagged field 0; then the tags of the request.
    let fetch = |tagged: &[u8]| {
        let fixed = [&[0xff; 4][..], &[0; 13], &[0; 8], &[1], &[1], &[1]].concat();
        [&fixed[..], tagged].concat()
    };
    let cluster_id = |tagged: &[u8]| {
        let mut input = decodable(spec(1).unwrap(), 12, &fetch(tagged)).unwrap();
        let request = FetchRequest::decode(&mut input, 12).unwrap();
        assert!(input.is_empty());
        request.cluster_id.unwrap().to_string()
    };
    for size in [0, 1, 2] {
        assert_eq!(cluster_id(&[1, 0, size, 2, b'c']), "c");
    }
    // Twice: the last one counts.
    assert_eq!(cluster_id(&[2, 0, 2, 2, b'c', 0, 2, 2, b'd']), "d");
    assert_eq!(
        violation(1, 12, &fetch(&[1, 0, 9, 2, b'c'])),
        Violation::Length(9)
    );
}

#[test]
fn a_struct_inside_of_a_tagged_field_is_walked_too() {
    // Fetch v15 from a follower: replica state (id, epoch, tags) as tagged field 1.
    let fetch = |replica_state_tags: &[u8]| {
        let state = [&[0; 12][..], replica_state_tags].concat();
        let fixed = [&[0; 13][..], &[0; 8], &[1], &[1], &[1]].concat();
        [&fixed[..], &[1, 1, state.len() as u8], &state].concat()
    };
    assert_eq!(check(spec(1).unwrap(), 15, &fetch(&[0])), Ok(()));
    assert_eq!(
        check(spec(1).unwrap(), 15, &fetch(&[1, 9, 2, 0, 0])),
        Ok(())
    );
    assert_eq!(
        violation(1, 15, &fetch(&[0x91, 0x4e])),
        Violation::TooManyTaggedFields(10_001)
    );
    assert_eq!(
        violation(1, 15, &fetch(&[1, 9, 3, 0, 0])),
        Violation::Length(3)
    );
    // In version 14 the tag is one that the broker does not know.
    let stranger = [&[0; 17][..], &[0; 8], &[1], &[1], &[1], &[1, 1, 1, 65]].concat();
    assert_eq!(check(spec(1).unwrap(), 14, &stranger), Ok(()));
}

#[test]
fn a_varint_of_more_than_32_bits_or_five_bytes_is_refused() {
    assert_eq!(
        violation(16, 3, &[0xff, 0xff, 0xff, 0xff, 0x1f]),
        Violation::Varint
    );
    assert_eq!(
        violation(16, 3, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]),
        Violation::Varint
    );
    assert_eq!(violation(16, 3, &[0x80, 0x80]), Violation::TooShort);
}

/// As in Kafka; the decoder takes -1 and 1 alone.
#[test]
fn a_nullable_struct_is_null_when_its_marker_is_negative_and_present_otherwise() {
    // DescribeTopicPartitions v0: topics, limit, cursor, tags.
    let null = |marker: u8| [1, 0, 0, 0, 0, marker, 0];
    let present = |marker: u8| [1, 0, 0, 0, 0, marker, 2, b't', 0, 0, 0, 3, 0, 0];
    let checked = |body: &[u8]| decodable(spec(75).unwrap(), 0, body).unwrap();
    for marker in [0xff, 0xfe, 0x80] {
        assert_eq!(checked(&null(marker)), &null(0xff)[..]);
    }
    for marker in [0, 1, 2, 0x7f] {
        assert_eq!(checked(&present(marker)), &present(1)[..]);
    }
    assert_eq!(violation(75, 0, &null(1)), Violation::Null);
}

#[test]
fn elements_of_all_arrays_together_are_limited() {
    // DeleteGroups v0 is an array of strings: two bytes each on the wire, 32 in memory.
    let body = |count: usize| [&(count as i32).to_be_bytes()[..], &vec![0; 2 * count]].concat();
    assert_eq!(check(spec(42).unwrap(), 0, &body(MAX_ELEMENTS)), Ok(()));
    assert_eq!(
        violation(42, 0, &body(MAX_ELEMENTS + 1)),
        Violation::TooManyElements { max: MAX_ELEMENTS }
    );
    // DescribeLogDirs v1 of one topic: numbers count, too.
    let partitions = |count: usize| {
        let head = [&[0, 0, 0, 1, 0, 1, b't'][..], &(count as i32).to_be_bytes()].concat();
        [head, vec![0; 4 * count]].concat()
    };
    let most = MAX_ELEMENTS - 1;
    assert_eq!(check(spec(35).unwrap(), 1, &partitions(most)), Ok(()));
    assert_eq!(
        violation(35, 1, &partitions(most + 1)),
        Violation::TooManyElements { max: MAX_ELEMENTS }
    );
}

#[test]
fn versions_outside_of_the_range_are_refused() {
    assert_eq!(violation(0, 2, &[]), Violation::Version { min: 3, max: 13 });
    assert_eq!(
        violation(0, 14, &[]),
        Violation::Version { min: 3, max: 13 }
    );
    assert_eq!(
        violation(18, -1, &[]),
        Violation::Version { min: 0, max: 5 }
    );
}

#[test]
fn every_array_element_takes_at_least_one_byte_in_every_version() {
    fn least(shape: Shape, version: i16, flexible: bool, place: &str) -> usize {
        let mut total = usize::from(flexible);
        for field in shape.iter().filter(|field| field.is_in(version)) {
            let width = match field.kind {
                Kind::Fixed(width) => width,
                Kind::Struct(members) => least(members, version, flexible, place),
                Kind::StructArray(members) => {
                    let element = least(members, version, flexible, place);
                    assert!(
                        element > 0,
                        "{place}: {} can repeat without end",
                        field.name
                    );
                    1
                }
                Kind::String | Kind::Bytes | Kind::FixedArray(_) | Kind::StringArray => 1,
            };
            total += if field.tag.is_some() { 0 } else { width };
        }
        total
    }
    for (spec, version) in every_version() {
        least(spec.shape, version, spec.is_flexible(version), spec.name);
    }
}
