//! What no client sends, and what the broker makes of it: Kafka's error where one exists, else a closed
//! connection; and it serves everybody else as before.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::{Buf as _, Bytes};
use compat_tests::records::{
    self, batch, create_topic, end_offset, fetch, position, produce, seal,
};
use compat_tests::toolchain::skip;
use compat_tests::{BrokerKind, BrokerProcess, RawClient, available};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::Decodable as _;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_RECORD: i16 = 87;

struct Fixture {
    broker: BrokerProcess,
}

impl Fixture {
    fn new() -> Result<Option<Self>> {
        Self::with_config(&[])
    }

    fn with_config(config: &[(&str, &str)]) -> Result<Option<Self>> {
        Ok(available(BrokerProcess::start_with(config))?.map(|broker| Self { broker }))
    }

    fn client(&self) -> Result<RawClient> {
        RawClient::connect(self.broker.address())
    }

    /// A client that has a topic `t` of one partition.
    fn client_with_topic(&self) -> Result<RawClient> {
        let mut client = self.client()?;
        create_topic(&mut client, "t", 1)?;
        Ok(client)
    }

    /// Sends bytes on a connection of their own, which must be closed without an answer.
    fn assert_closes(&self, what: &str, bytes: &[u8]) -> Result<()> {
        let mut client = self.client()?;
        client.send(bytes)?;
        self.assert_closed(what, &mut client)
    }

    fn assert_closed(&self, what: &str, client: &mut RawClient) -> Result<()> {
        let answer = client
            .receive()
            .with_context(|| format!("{what}\n{}", self.broker.log_tail()))?;
        assert_eq!(answer, None, "{what}: answered instead of closed");
        Ok(())
    }

    /// The broker still runs, and takes and gives records.
    fn assert_serves(mut self) -> Result<()> {
        self.broker.ensure_running()?;
        let mut client = self.client()?;
        create_topic(&mut client, "afterwards", 1)?;
        let sent = batch(&[b"still", b"here"])?.freeze();
        settle(&mut client, "afterwards")?;
        let produced = produce(&mut client, "afterwards", 0, sent.clone())?;
        assert_eq!(produced, (0, 0), "{}", self.broker.log_tail());
        let (error, records) = fetch(&mut client, "afterwards", 0, 0)?;
        assert_eq!(error, 0);
        assert_eq!(
            records[position::ATTRIBUTES..],
            sent[position::ATTRIBUTES..]
        );
        Ok(())
    }
}

#[test]
fn a_frame_longer_than_the_limit_or_of_negative_length_closes_the_connection() -> Result<()> {
    let Some(fixture) = Fixture::new()? else {
        return Ok(());
    };
    fixture.assert_closes("100 MiB and one byte", &(104_857_601_i32).to_be_bytes())?;
    fixture.assert_closes("the longest", &i32::MAX.to_be_bytes())?;
    fixture.assert_closes("minus one", &(-1_i32).to_be_bytes())?;
    fixture.assert_closes("the most negative", &i32::MIN.to_be_bytes())?;
    fixture.assert_serves()
}

#[test]
fn a_frame_too_short_for_its_header_closes_the_connection() -> Result<()> {
    let Some(fixture) = Fixture::new()? else {
        return Ok(());
    };
    fixture.assert_closes("one byte", &[0, 0, 0, 1, 0])?;
    fixture.assert_closes("a key and half a version", &[0, 0, 0, 3, 0, 3, 0])?;
    fixture.assert_closes("no correlation id", &[0, 0, 0, 4, 0, 3, 0, 1])?;
    // A client id that claims 32,767 bytes of none.
    let mut client_id = vec![0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 1];
    client_id.extend(i16::MAX.to_be_bytes());
    fixture.assert_closes("a client id that is not there", &client_id)?;
    fixture.assert_serves()
}

#[test]
fn a_frame_that_ends_in_the_middle_is_forgotten() -> Result<()> {
    let Some(fixture) = Fixture::new()? else {
        return Ok(());
    };
    for sent in [&[0, 0][..], &[0, 0, 0, 100], &[0, 0, 0, 100, 0, 3, 0, 1]] {
        let mut client = fixture.client()?;
        client.send(sent)?;
        client.finish_sending()?;
        fixture.assert_closed("a truncated frame", &mut client)?;
    }
    fixture.assert_serves()
}

#[test]
fn an_unknown_api_key_closes_the_connection() -> Result<()> {
    let Some(fixture) = Fixture::new()? else {
        return Ok(());
    };
    for key in [9_999, 4, -1, i16::MAX] {
        let mut client = fixture.client()?;
        let frame = client.frame(key, 0, 1, &[])?;
        client.send(&frame)?;
        fixture.assert_closed(&format!("API key {key}"), &mut client)?;
    }
    fixture.assert_serves()
}

#[test]
fn an_unknown_version_of_an_api_closes_the_connection() -> Result<()> {
    let Some(fixture) = Fixture::new()? else {
        return Ok(());
    };
    for version in [99, -1, i16::MAX] {
        let mut client = fixture.client()?;
        let frame = client.frame(ApiKey::Metadata as i16, version, 1, &[0; 16])?;
        client.send(&frame)?;
        fixture.assert_closed(&format!("Metadata version {version}"), &mut client)?;
    }
    fixture.assert_serves()
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0_with_what_is_supported() -> Result<()>
{
    let Some(fixture) = Fixture::new()? else {
        return Ok(());
    };
    let mut client = fixture.client()?;
    let frame = client.frame(ApiKey::ApiVersions as i16, 99, 2, &[1, 1, 0])?;
    client.send(&frame)?;
    let mut answer = client.receive()?.context("closed instead of answered")?;
    assert_eq!(
        answer.get_i32(),
        1,
        "the correlation id, in a header without tagged fields"
    );
    let response = ApiVersionsResponse::decode(&mut answer, 0)?;
    assert_eq!(response.error_code, UNSUPPORTED_VERSION);
    let listed = response
        .api_keys
        .iter()
        .find(|api| api.api_key == ApiKey::ApiVersions as i16);
    let listed = listed.context("ApiVersions itself is listed")?;
    assert!(
        listed.min_version == 0 && listed.max_version >= 3,
        "{listed:?}"
    );

    // The same connection goes on with a version from that range.
    let response = client.call(3, &ApiVersionsRequest::default())?;
    assert!(
        response.error_code == 0 || response.error_code == 42,
        "{}",
        response.error_code
    );
    fixture.assert_serves()
}

#[test]
fn counts_that_a_body_cannot_hold_close_the_connection() -> Result<()> {
    let Some(fixture) = Fixture::new()? else {
        return Ok(());
    };
    let metadata = ApiKey::Metadata as i16;
    let produce = ApiKey::Produce as i16;
    let bodies: [(i16, i16, i16, &[u8]); 4] = [
        (metadata, 1, 1, &[0x7f, 0xff, 0xff, 0xff]),
        (metadata, 12, 2, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        (
            produce,
            9,
            2,
            &[0, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f],
        ),
        // A topic name longer than the frame.
        (metadata, 1, 1, &[0, 0, 0, 1, 0x7f, 0xff]),
    ];
    for (key, version, header_version, body) in bodies {
        let mut client = fixture.client()?;
        let frame = client.frame(key, version, header_version, body)?;
        client.send(&frame)?;
        fixture.assert_closed(
            &format!("key {key} version {version} body {body:02x?}"),
            &mut client,
        )?;
    }
    fixture.assert_serves()
}

#[test]
fn sixty_connections_that_announce_100_mb_and_send_nothing_cost_next_to_no_memory() -> Result<()> {
    if BrokerKind::from_env()? == BrokerKind::Kafka {
        skip("real Kafka allocates what is announced, and dies of it");
        return Ok(());
    }
    let Some(fixture) = Fixture::new()? else {
        return Ok(());
    };
    let before = fixture.broker.resident_bytes()?;
    let mut idle = Vec::new();
    for _ in 0..60 {
        let mut client = fixture.client()?;
        client.send(&100_000_000_i32.to_be_bytes())?;
        idle.push(client);
    }
    // An answer on a later connection shows that the broker has had its turn with the sixty.
    let mut late = fixture.client()?;
    late.call(3, &ApiVersionsRequest::default())?;
    let grown = fixture.broker.resident_bytes()?.saturating_sub(before);
    assert!(grown < 16 << 20, "grew by {} KiB", grown >> 10);
    fixture.assert_serves()
}

#[test]
fn mutated_requests_never_end_the_broker() -> Result<()> {
    let Some(fixture) = Fixture::new()? else {
        return Ok(());
    };
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("SEED={seed}");
    let mut random = Xorshift(seed | 1);
    // Each known API at each of its versions, with a body of noise.
    for key in (0..93).filter(|key| ApiKey::try_from(*key).is_ok()) {
        for version in 0..14 {
            let body: Vec<u8> = (0..random.below(48)).map(|_| random.noise()).collect();
            let mut client = fixture.client()?;
            let frame = client.frame(key, version, 1 + i16::from(random.below(2) == 1), &body)?;
            client.send(&frame)?;
            // Whatever it answers: nothing is waited for, the broker reads it all the same.
        }
    }
    fixture.assert_serves()
}

#[test]
fn a_batch_with_a_wrong_checksum_is_corrupt_and_not_stored() -> Result<()> {
    let Some(fixture) = Fixture::new()? else {
        return Ok(());
    };
    let mut client = fixture.client_with_topic()?;
    let mut damaged = batch(&[b"one", b"two"])?;
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert_refused(&mut client, "damaged", damaged.freeze(), CORRUPT_MESSAGE)?;
    fixture.assert_serves()
}

#[test]
fn malformed_batches_are_refused_and_not_stored() -> Result<()> {
    let Some(fixture) = Fixture::new()? else {
        return Ok(());
    };
    let mut client = fixture.client_with_topic()?;

    let whole = batch(&[b"one", b"two"])?;
    assert_refused(
        &mut client,
        "cut off",
        whole.clone().freeze().slice(..40),
        INVALID_RECORD,
    )?;

    let mut unknown_format = whole.clone();
    unknown_format[position::MAGIC] = 9;
    assert_refused(
        &mut client,
        "format 9",
        unknown_format.freeze(),
        CORRUPT_MESSAGE,
    )?;

    let mut too_many_records = whole.clone();
    too_many_records[position::RECORD_COUNT..][..4].copy_from_slice(&1_000_i32.to_be_bytes());
    seal(&mut too_many_records);
    assert_refused(
        &mut client,
        "too many records",
        too_many_records.freeze(),
        INVALID_RECORD,
    )?;

    // Only the broker writes control batches.
    let mut control = whole;
    control[position::ATTRIBUTES + 1] |= 1 << 5;
    seal(&mut control);
    assert_refused(&mut client, "control", control.freeze(), INVALID_RECORD)?;
    fixture.assert_serves()
}

#[test]
fn a_batch_larger_than_message_max_bytes_is_too_large() -> Result<()> {
    let Some(fixture) = Fixture::new()? else {
        return Ok(());
    };
    let mut client = fixture.client_with_topic()?;
    assert_refused(
        &mut client,
        "large",
        batch(&[&vec![b'x'; 1_048_588]])?.freeze(),
        MESSAGE_TOO_LARGE,
    )?;
    fixture.assert_serves()
}

#[test]
fn topics_and_partitions_that_do_not_exist_are_unknown() -> Result<()> {
    let Some(fixture) = Fixture::new()? else {
        return Ok(());
    };
    let mut client = fixture.client_with_topic()?;
    settle(&mut client, "t")?;
    let records = batch(&[b"lost"])?.freeze();
    for (topic, partition) in [("nowhere", 0), ("t", 1), ("t", -1), ("t", i32::MAX)] {
        let what = format!("{topic}-{partition}");
        let (error, _) = produce(&mut client, topic, partition, records.clone())?;
        assert_eq!(error, UNKNOWN_TOPIC_OR_PARTITION, "Produce {what}");
        let (error, _) = fetch(&mut client, topic, partition, 0)?;
        assert_eq!(error, UNKNOWN_TOPIC_OR_PARTITION, "Fetch {what}");
        let (error, _) = end_offset(&mut client, topic, partition)?;
        assert_eq!(error, UNKNOWN_TOPIC_OR_PARTITION, "ListOffsets {what}");
    }
    fixture.assert_serves()
}

#[test]
fn a_fetch_outside_the_log_is_out_of_range() -> Result<()> {
    let Some(fixture) = Fixture::new()? else {
        return Ok(());
    };
    let mut client = fixture.client_with_topic()?;
    settle(&mut client, "t")?;
    assert_eq!(
        produce(&mut client, "t", 0, batch(&[b"a", b"b", b"c"])?.freeze())?,
        (0, 0)
    );
    for offset in [-1, 4, i64::MAX] {
        assert_eq!(
            fetch(&mut client, "t", 0, offset)?.0,
            OFFSET_OUT_OF_RANGE,
            "offset {offset}"
        );
    }
    let (error, records) = fetch(&mut client, "t", 0, 3)?;
    assert_eq!(
        (error, records.len()),
        (0, 0),
        "the end is not out of range"
    );
    let (error, records) = fetch(&mut client, "t", 0, 2)?;
    assert_eq!(error, 0);
    assert_eq!(
        records[..8],
        0_i64.to_be_bytes(),
        "the whole batch that holds offset 2"
    );
    fixture.assert_serves()
}

/// Waits until a topic just created has a leader, which on real Kafka takes a moment.
fn settle(client: &mut RawClient, topic: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while end_offset(client, topic, 0)?.0 != 0 {
        assert!(Instant::now() < deadline, "{topic} has no leader");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn assert_refused(client: &mut RawClient, what: &str, records: Bytes, error: i16) -> Result<()> {
    settle(client, "t")?;
    let (answered, base_offset) = produce(client, "t", 0, records)?;
    assert_eq!((answered, base_offset), (error, -1), "{what}");
    assert_eq!(
        records::end_offset(client, "t", 0)?,
        (0, 0),
        "something was stored"
    );
    Ok(())
}

/// Small, seeded and good enough for noise.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Bytes that are often the hostile ones.
    fn noise(&mut self) -> u8 {
        match self.below(4) {
            0 => 0xff,
            1 => 0,
            2 => 0x7f,
            _ => self.below(256) as u8,
        }
    }
}
