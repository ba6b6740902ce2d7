//! What no client sends, and what the broker makes of it: Kafka's error where one exists, else a closed
//! connection; and it serves everybody else as before.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::{Buf as _, Bytes};
use compat_tests::records::{
    self, batch, create_topic, end_offset, fetch, position, produce, seal,
};
use compat_tests::toolchain::{seed, skip};
use compat_tests::{BrokerKind, BrokerProcess, RawClient, available};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, MetadataRequest, OffsetCommitRequest, SyncGroupRequest,
    TopicName,
};
use kafka_protocol::protocol::{Decodable as _, StrBytes};

const OFFSET_OUT_OF_RANGE: i16 = 1;
const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const ILLEGAL_GENERATION: i16 = 22;
const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
const INVALID_GROUP_ID: i16 = 24;
const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_SESSION_TIMEOUT: i16 = 26;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_RECORD: i16 = 87;

/// Of several brokers one coordinates every group, whatever it is called.
const ONE_COORDINATOR: (&str, &str) = ("offsets.topic.num.partitions", "1");

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
    let mut random = Xorshift(seed() | 1);
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

fn group(name: &'static str) -> GroupId {
    GroupId(StrBytes::from_static_str(name))
}

/// Joins with one protocol, waiting while real Kafka makes its offsets topic.
fn join(
    client: &mut RawClient,
    group_name: &'static str,
    protocol: &'static str,
    session_timeout_ms: i32,
) -> Result<JoinGroupResponse> {
    let protocol =
        JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str(protocol));
    let request = JoinGroupRequest::default()
        .with_group_id(group(group_name))
        .with_session_timeout_ms(session_timeout_ms)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        // Version 3: a member id is given at once, without a second request.
        let response = client.call(3, &request)?;
        let not_yet = [
            COORDINATOR_LOAD_IN_PROGRESS,
            COORDINATOR_NOT_AVAILABLE,
            NOT_COORDINATOR,
        ];
        if !not_yet.contains(&response.error_code) || Instant::now() > deadline {
            return Ok(response);
        }
        // Asking for the coordinator is what makes real Kafka create the topic.
        let find = kafka_protocol::messages::FindCoordinatorRequest::default()
            .with_key(StrBytes::from_static_str(group_name));
        client.call(2, &find)?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn heartbeat(client: &mut RawClient, generation_id: i32, member_id: &StrBytes) -> Result<i16> {
    let request = HeartbeatRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(generation_id)
        .with_member_id(member_id.clone());
    Ok(client.call(3, &request)?.error_code)
}

fn commit(client: &mut RawClient, generation_id: i32, member_id: &StrBytes) -> Result<i16> {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(1);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("t")))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group("g"))
        .with_generation_id_or_member_epoch(generation_id)
        .with_member_id(member_id.clone())
        .with_topics(vec![topic]);
    Ok(client.call(7, &request)?.topics[0].partitions[0].error_code)
}

#[test]
fn strangers_and_old_generations_of_a_group_are_refused() -> Result<()> {
    let Some(fixture) = Fixture::with_config(&[ONE_COORDINATOR])? else {
        return Ok(());
    };
    let mut client = fixture.client_with_topic()?;
    settle(&mut client, "t")?;
    let mut client = client.to_coordinator("g")?;
    let joined = join(&mut client, "g", "range", 10_000)?;
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    assert_eq!(joined.leader, joined.member_id);
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from_static(b"all"));
    let sync = SyncGroupRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(1)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![assignment]);
    let synced = client.call(3, &sync)?;
    assert_eq!(
        (synced.error_code, synced.assignment),
        (0, Bytes::from_static(b"all"))
    );

    let member = &joined.member_id;
    let stranger = StrBytes::from_static_str("stranger");
    assert_eq!(heartbeat(&mut client, 1, member)?, 0);
    assert_eq!(heartbeat(&mut client, 1, &stranger)?, UNKNOWN_MEMBER_ID);
    assert_eq!(heartbeat(&mut client, 0, member)?, ILLEGAL_GENERATION);
    assert_eq!(heartbeat(&mut client, 2, member)?, ILLEGAL_GENERATION);
    assert_eq!(commit(&mut client, 1, member)?, 0);
    assert_eq!(commit(&mut client, 1, &stranger)?, UNKNOWN_MEMBER_ID);
    assert_eq!(commit(&mut client, 0, member)?, ILLEGAL_GENERATION);
    // A simple consumer may not commit behind the back of a group with members.
    assert_eq!(
        commit(&mut client, -1, &StrBytes::default())?,
        UNKNOWN_MEMBER_ID
    );
    assert_eq!(
        client
            .call(3, &sync.clone().with_generation_id(9))?
            .error_code,
        ILLEGAL_GENERATION
    );
    assert_eq!(
        client
            .call(3, &sync.with_member_id(stranger.clone()))?
            .error_code,
        UNKNOWN_MEMBER_ID
    );
    let leave = LeaveGroupRequest::default()
        .with_group_id(group("g"))
        .with_member_id(stranger);
    assert_eq!(client.call(2, &leave)?.error_code, UNKNOWN_MEMBER_ID);

    assert_eq!(
        join(&mut client, "g", "roundrobin", 10_000)?.error_code,
        INCONSISTENT_GROUP_PROTOCOL
    );
    assert_eq!(
        join(&mut client, "g", "range", 100)?.error_code,
        INVALID_SESSION_TIMEOUT
    );
    assert_eq!(
        join(&mut client, "g", "range", i32::MAX)?.error_code,
        INVALID_SESSION_TIMEOUT
    );
    assert_eq!(
        join(&mut client, "", "range", 10_000)?.error_code,
        INVALID_GROUP_ID
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

/// Text that would end its line and begin another, turn colours on, and fill the disk.
fn forged(door: &str) -> StrBytes {
    let start = format!("{door}\n2026-01-01T00:00:00.000000Z ERROR forged: {door}\r\u{1b}[31m");
    StrBytes::from_string(start + &"x".repeat(30_000))
}

#[test]
fn no_text_of_a_client_forges_a_line_of_the_log_or_fills_it() -> Result<()> {
    if BrokerKind::from_env()? == BrokerKind::Kafka {
        skip("what is in Kafka's log is its own affair");
        return Ok(());
    }
    let debug = ["--log-level", "debug"];
    let broker = BrokerProcess::start_as(BrokerKind::Ottla, &[ONE_COORDINATOR], &debug);
    let Some(broker) = available(broker)? else {
        return Ok(());
    };
    let fixture = Fixture { broker };
    let mut client = fixture.client_with_topic()?;
    client.set_client_id(&forged("client id"));
    let group = GroupId(forged("group"));
    settle(&mut client, "t")?;
    let mut client = client.to_coordinator(&group)?;
    client.set_client_id(&forged("client id"));
    let protocol = JoinGroupRequestProtocol::default().with_name(forged("protocol"));
    let join = JoinGroupRequest::default()
        .with_group_id(group.clone())
        .with_protocol_type(forged("protocol type"))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocols(vec![protocol])
        .with_reason(Some(forged("join reason")));
    let member = client.call(9, &join)?.member_id;
    let joined = client.call(9, &join.clone().with_member_id(member.clone()))?;
    assert_eq!(joined.error_code, 0);
    let instance = join
        .with_group_id(GroupId(forged("another group")))
        .with_group_instance_id(Some(forged("instance")));
    assert_eq!(client.call(9, &instance)?.error_code, 0);
    let leaving = MemberIdentity::default()
        .with_member_id(member)
        .with_group_instance_id(Some(forged("leaving instance")))
        .with_reason(Some(forged("leave reason")));
    let leave = LeaveGroupRequest::default()
        .with_group_id(group.clone())
        .with_members(vec![leaving]);
    client.call(5, &leave)?;
    let heartbeat = HeartbeatRequest::default()
        .with_group_id(group)
        .with_member_id(forged("member"));
    client.call(3, &heartbeat)?;
    let topic = MetadataRequestTopic::default().with_name(Some(TopicName(forged("topic"))));
    let metadata = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(true);
    client.call(9, &metadata)?;
    let versions = ApiVersionsRequest::default()
        .with_client_software_name(forged("software"))
        .with_client_software_version(forged("version"));
    client.call(3, &versions)?;
    // What is no request at all, and what is one of another protocol.
    for bytes in [
        &b"GET /\nERROR forged: path HTTP/1.1\r\n\r\n"[..],
        &[0x16, 3, 1, 2, 0, 1],
    ] {
        fixture.assert_closes("another protocol", bytes)?;
    }

    let log = fixture.broker.log();
    for line in log.lines() {
        assert!(
            !line.starts_with("2026-01-01") && !line.trim_start().starts_with("ERROR forged"),
            "forged: {line}"
        );
        assert!(line.len() < 9000, "{} bytes: {}", line.len(), &line[..200]);
        assert!(!line.contains("\u{1b}[31m"), "colours: {line}");
    }
    for told in [
        "client id\\n",
        "group\\n",
        "looks like HTTP",
        "looks like TLS",
    ] {
        assert!(
            log.contains(told),
            "{told} is not in\n{}",
            fixture.broker.log_tail()
        );
    }
    // The last one: with the others it was found out who coordinates.
    let request = log.lines().rfind(|line| line.contains("api=\"Heartbeat\""));
    let request = request.context("a line for each request")?;
    for told in [
        "version=3",
        "UNKNOWN_MEMBER_ID",
        "peer=127.0.0.1:",
        "ms=",
        "response_bytes=",
    ] {
        assert!(request.contains(told), "{told} is not in {request}");
    }
    fixture.assert_serves()
}

#[test]
fn lines_that_a_stranger_can_cause_are_few_and_those_left_out_are_counted() -> Result<()> {
    let Some(fixture) = Fixture::new()? else {
        return Ok(());
    };
    if BrokerKind::from_env()? == BrokerKind::Kafka {
        skip("what is in Kafka's log is its own affair");
        return Ok(());
    }
    let started = Instant::now();
    for _ in 0..500 {
        fixture.assert_closes("minus one", &(-1_i32).to_be_bytes())?;
    }
    // The count is told when the second is over.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !fixture.broker.log().contains("left_out=") {
        assert!(Instant::now() < deadline, "{}", fixture.broker.log_tail());
        std::thread::sleep(Duration::from_millis(50));
    }
    let seconds = started.elapsed().as_secs() as usize + 2;
    let lines = fixture.broker.log().lines().count();
    assert!(lines < 50 + 12 * seconds, "{lines} lines in {seconds} s");
    fixture.assert_serves()
}
