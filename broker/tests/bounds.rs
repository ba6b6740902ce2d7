//! A request's processor time and memory are linear in its bytes, and its answer is paid for before it is made.
//!
//! Every API that is announced gets requests in which one array is long, whichever it has: with the same thing named
//! again and again, and with as many different ones. What there is to tell of that thing is large: a group with a
//! member that has much to say, offsets with long metadata, a topic of many partitions. An API that is added is
//! measured without a line here. `BOUNDS_API=Name` measures one alone.

#![allow(clippy::unwrap_used)]

extern crate ottla as broker;

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use broker::api;
use broker::broker::Broker;
use broker::config::{HostPort, SecurityProtocol};
use broker::dispatch;
use broker::net::session::{ClientListener, Session};
use broker::response::Pending;
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{JoinGroupRequest, SyncGroupRequest};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::api_spec::ApiSpec;
use protocol_shim::newer::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol_shim::sample::{self, Values};
use rustix::time::{ClockId, clock_gettime};
use support::{batch, connect, group_id, start_broker_with, string, topic_name};

/// Everybody may do everything, and is asked each time.
const AUTHORIZER: &[(&str, &str)] = &[
    ("delegation.token.secret.key", "key"),
    (
        "authorizer.class.name",
        "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    ),
    ("allow.everyone.if.no.acl.found", "true"),
];
use uuid::Uuid;

const PARTITIONS: i32 = 100;
const MEMBER_METADATA_BYTES: usize = 100_000;
const OFFSET_METADATA_BYTES: usize = 4000;

/// What a request may take at its peak, answer included, besides a multiple of its own bytes.
const PEAK_BYTES: usize = 64 << 20;
const PEAK_BYTES_PER_REQUEST_BYTE: usize = 8;

/// Elements of the long array: once, four times, sixteen times.
const LENGTHS: [usize; 3] = [4_000, 16_000, 64_000];
/// How much more four times the size may cost than four times as much. A square would cost four times that.
const COST_TOLERANCE: u32 = 2;
/// What is too little to be compared.
const COST_NOISE: Duration = Duration::from_millis(60);

/// One more is refused by the guard, whatever it is of.
const LONGEST: usize = protocol_shim::guard::MAX_ELEMENTS - 100;

/// The process's memory and processor time are measured: by one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Counts what is allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is passed on to the system's allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let allocated = ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(allocated, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// A broker that has much to tell of `topic` and `group`.
struct Fixture {
    broker: Arc<Broker>,
    session: Arc<Session>,
    topic_id: Uuid,
}

impl Fixture {
    async fn new() -> Self {
        let broker = start_broker_with(AUTHORIZER).await;
        let mut client = connect(&broker);
        let topic_id = client.create_topic("topic", PARTITIONS).await;
        client.create_topic("other", 1).await;
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(string("range"))
            .with_metadata(vec![7; MEMBER_METADATA_BYTES].into());
        let join = JoinGroupRequest::default()
            .with_group_id(group_id("group"))
            .with_session_timeout_ms(60_000)
            .with_rebalance_timeout_ms(60_000)
            .with_protocol_type(string("consumer"))
            .with_protocols(vec![protocol]);
        let joined = client.call(3, join).await;
        assert_eq!(joined.error_code, 0);
        let assignment = SyncGroupRequestAssignment::default()
            .with_member_id(joined.member_id.clone())
            .with_assignment(vec![7; MEMBER_METADATA_BYTES].into());
        let sync = SyncGroupRequest::default()
            .with_group_id(group_id("group"))
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_assignments(vec![assignment]);
        assert_eq!(client.call(1, sync).await.error_code, 0);
        let offsets = (0..PARTITIONS).map(|partition| {
            let metadata = StrBytes::from_string("m".repeat(OFFSET_METADATA_BYTES));
            OffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(1)
                .with_committed_metadata(Some(metadata))
        });
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name("topic"))
            .with_partitions(offsets.collect());
        let commit = OffsetCommitRequest::default()
            .with_group_id(group_id("group"))
            .with_generation_id_or_member_epoch(joined.generation_id)
            .with_member_id(joined.member_id)
            .with_topics(vec![topic]);
        let committed = client.call(5, commit).await;
        assert_eq!(committed.topics[0].partitions[99].error_code, 0);
        let advertised = HostPort {
            host: "broker.example".to_owned(),
            port: 9192,
        };
        let peer_addr = ([192, 0, 2, 8], 40_000).into();
        // Others have nothing to do with delegation tokens.
        let listener = ClientListener {
            security_protocol: SecurityProtocol::SaslPlaintext,
            ..ClientListener::plaintext(advertised)
        };
        let session = Session::anonymous(peer_addr, listener);
        Self {
            broker,
            session: Arc::new(session),
            topic_id,
        }
    }

    /// Sends a frame and takes the answer; an answer that is refused is none.
    async fn ask(&self, frame: Bytes) -> Measured {
        let request_bytes = frame.len();
        let before = ALLOCATED.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let began = processor_time();
        let answer =
            match dispatch::dispatch(&self.broker, &self.session, frame, Instant::now()).await {
                Ok(Pending::Ready(answer)) => Some(answer),
                Ok(Pending::Later(answer)) => answer.await.ok(),
                Ok(Pending::NoResponse) | Err(_) => None,
            };
        let cost = processor_time() - began;
        let measured = Measured {
            request_bytes,
            answer_bytes: answer.as_ref().map(|answer| answer.len()),
            peak_bytes: PEAK.load(Ordering::Relaxed) - before,
            cost,
        };
        drop(answer);
        measured
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[derive(Debug)]
struct Measured {
    request_bytes: usize,
    /// `None`: the request was refused as a whole.
    answer_bytes: Option<usize>,
    peak_bytes: usize,
    cost: Duration,
}

impl Measured {
    /// What is wrong, if it took more than it may.
    fn excess(&self, what: &str) -> Option<String> {
        let allowed = PEAK_BYTES + PEAK_BYTES_PER_REQUEST_BYTE * self.request_bytes;
        (self.peak_bytes > allowed)
            .then(|| format!("{what}: {allowed} bytes are allowed: {self:?}"))
    }
}

/// What the elements of the long array name.
struct Named {
    topic_id: Uuid,
    /// Each names something else; otherwise all the same.
    distinct: bool,
}

impl Values for Named {
    fn text(&self, field: &str, position: usize) -> String {
        let name = match field {
            "group_id" | "groups" | "groups_names" | "group_ids" | "coordinator_keys" | "key" => {
                "group"
            }
            "principal_type" => return "User".to_owned(),
            _ => "topic",
        };
        match position {
            0 => name.to_owned(),
            _ if !self.distinct => name.to_owned(),
            _ => format!("{name}-{position}"),
        }
    }

    fn number(&self, field: &str, position: usize) -> i64 {
        match field {
            "partition" | "partitions" | "partition_index" | "partition_indexes" | "index"
                if self.distinct =>
            {
                position as i64
            }
            "timestamp"
            | "replica_id"
            | "generation_id"
            | "producer_id"
            | "offset"
            | "acks"
            | "leader_epoch"
            | "current_leader_epoch"
            | "generation_id_or_member_epoch"
            | "member_epoch" => -1,
            "resource_type" => 2,
            "endpoint_type" | "replication_factor" | "num_partitions" => 1,
            "count" => i64::from(PARTITIONS) + 1,
            "max_bytes" | "partition_max_bytes" => 1 << 20,
            "session_timeout_ms" | "rebalance_timeout_ms" | "timeout_ms" => 10_000,
            "response_partition_limit" => 2_000,
            _ => 0,
        }
    }

    fn uuid(&self, _field: &str, position: usize) -> [u8; 16] {
        let other = if self.distinct { position as u128 } else { 0 };
        (self.topic_id.as_u128() ^ other).to_be_bytes()
    }

    fn bytes(&self, field: &str) -> Vec<u8> {
        match field {
            "records" => batch(&["value"]).to_vec(),
            _ => Vec::new(),
        }
    }
}

/// A request in which the array at `long_array` has `length` elements, on a broker of its own.
fn measure(
    spec: &'static ApiSpec,
    version: i16,
    long_array: usize,
    length: usize,
    distinct: bool,
) -> Measured {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let fixture = Fixture::new().await;
        let named = Named {
            topic_id: fixture.topic_id,
            distinct,
        };
        let mut frame = Vec::new();
        frame.extend(spec.api_key.to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(1_i32.to_be_bytes());
        frame.extend((-1_i16).to_be_bytes());
        if spec.is_flexible(version) {
            frame.push(0);
        }
        frame.extend(sample::body(spec, version, long_array, length, &named));
        fixture.ask(frame.into()).await
    })
}

/// Every long array of every announced API in its last version, with all that it names the same or different.
fn cases() -> impl Iterator<Item = (&'static ApiSpec, usize, bool)> {
    let only = std::env::var("BOUNDS_API").ok();
    api::advertised()
        .filter(move |spec| only.as_deref().is_none_or(|only| only == spec.name))
        .flat_map(|spec| {
            let arrays = 0..sample::array_count(spec, spec.max_version);
            arrays.flat_map(move |array| [(spec, array, false), (spec, array, true)])
        })
}

#[test]
fn what_a_request_takes_is_linear_in_its_bytes_and_bounded() {
    let _alone = ALONE.lock();
    let mut broken = Vec::new();
    for (spec, array, distinct) in cases() {
        let what = format!(
            "{} v{}, array {array}, {}",
            spec.name,
            spec.max_version,
            if distinct {
                "all different"
            } else {
                "all the same"
            }
        );
        let of = |length| measure(spec, spec.max_version, array, length, distinct);
        let [once, four, sixteen] = LENGTHS.map(of);
        println!("{what}: {once:?} {four:?} {sixteen:?}");
        for (less, more) in [(&once, &four), (&four, &sixteen)] {
            // What is refused costs less, which is no measure for what is not.
            let comparable = less.answer_bytes.is_some() == more.answer_bytes.is_some();
            if comparable && more.cost > 4 * COST_TOLERANCE * less.cost + COST_NOISE {
                broken.push(format!(
                    "{what}: {:?} for {} bytes, {:?} for {}",
                    less.cost, less.request_bytes, more.cost, more.request_bytes
                ));
            }
        }
        for measured in [once, four, sixteen] {
            broken.extend(measured.excess(&what));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn what_a_request_of_any_version_takes_is_bounded() {
    let _alone = ALONE.lock();
    let mut broken = Vec::new();
    for (spec, _, _) in cases().filter(|(_, array, distinct)| *array == 0 && !distinct) {
        for version in spec.min_version..spec.max_version {
            for array in 0..sample::array_count(spec, version) {
                let what = format!("{} v{version}, array {array}", spec.name);
                let measured = measure(spec, version, array, LENGTHS[0], false);
                broken.extend(measured.excess(&what));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// As many elements as the guard lets pass, in bytes that are as few as can be.
#[test]
#[ignore = "takes minutes without optimization"]
fn what_the_longest_request_takes_is_bounded() {
    let _alone = ALONE.lock();
    let mut broken = Vec::new();
    for (spec, array, distinct) in cases() {
        let what = format!("{} v{}, array {array}", spec.name, spec.max_version);
        let measured = measure(spec, spec.max_version, array, LONGEST, distinct);
        println!("{what}: {measured:?}");
        broken.extend(measured.excess(&what));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
