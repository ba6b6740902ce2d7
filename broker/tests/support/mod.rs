//! A whole broker in process, and a client that speaks bytes to it over a pipe.

// Each test crate uses its own part of this.
#![allow(dead_code)]
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::broker::Broker;
use broker::config::BrokerConfig;
use broker::config::{HostPort, SecurityProtocol};
use broker::metadata::MetaProperties;
use broker::net::session::{ClientListener, Principal, Session};
use broker::net::{connection, login};
use broker::server::{self, Server, StartError};
use broker::testing;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateTopicsRequest, GroupId, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use storage::memory;
use storage::record::builder::BatchBuilder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Bytes that a pipe holds: more than one response, so that a slow reader is possible, not the rule.
const PIPE_BYTES: usize = 8 << 20;
/// CreateTopics in this version tells the topic id.
const CREATE_TOPICS_WITH_ID: i16 = 7;

/// A broker over logs in memory, with few partitions for groups.
pub async fn start_broker() -> Arc<Broker> {
    start_broker_with(&[]).await
}

/// The same, with further server properties.
pub async fn start_broker_with(properties: &[(&str, &str)]) -> Arc<Broker> {
    let defaults = [
        ("offsets.topic.num.partitions", "3"),
        ("ottla.client.metrics", "true"),
    ];
    let properties = defaults.iter().chain(properties);
    let properties = properties.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let (config, remarks) = BrokerConfig::from_properties(properties.collect()).unwrap();
    assert_eq!(remarks, []);
    server::assemble(config, &the_cluster(), memory::open())
        .await
        .unwrap()
}

/// The identity of every broker in these tests.
pub fn the_cluster() -> MetaProperties {
    MetaProperties {
        cluster_id: "the-cluster".to_owned(),
        ..MetaProperties::random(1)
    }
}

/// A connection to `broker`; closed when dropped.
pub fn connect(broker: &Arc<Broker>) -> Client {
    connect_watched(broker).0
}

/// A connection of a user, whose requests say that the client is `client_id`.
pub fn connect_as(broker: &Arc<Broker>, user: &str, client_id: &'static str) -> Client {
    let (stream, served) = tokio::io::duplex(PIPE_BYTES);
    let principal = Principal {
        kind: "User".into(),
        name: user.into(),
    };
    serve_as(broker, principal, served);
    Client {
        client_id,
        ..Client::new(stream)
    }
}

/// The same, with the task that serves the connection.
pub fn connect_watched(broker: &Arc<Broker>) -> (Client, JoinHandle<()>) {
    let (stream, served) = tokio::io::duplex(PIPE_BYTES);
    (Client::new(stream), connect_stream(broker, served))
}

/// A broker with a port and a data directory.
pub async fn start_on(data: &Path) -> Server {
    try_start_on(data).await.unwrap()
}

/// The same, where it may be refused.
pub async fn try_start_on(data: &Path) -> Result<Server, StartError> {
    let config = testing::config(data, [("ottla.durability", "strict")]).unwrap();
    Server::start(config).await
}

/// Serves whatever is at the other end of `served`.
pub fn connect_stream(
    broker: &Arc<Broker>,
    served: impl AsyncRead + AsyncWrite + Send + 'static,
) -> JoinHandle<()> {
    serve_as(broker, Principal::anonymous(), served)
}

fn serve_as(
    broker: &Arc<Broker>,
    principal: Principal,
    served: impl AsyncRead + AsyncWrite + Send + 'static,
) -> JoinHandle<()> {
    let advertised = HostPort {
        host: "broker.example".to_owned(),
        port: 9192,
    };
    let peer_addr = ([192, 0, 2, 7], 40_000).into();
    let listener = Arc::new(ClientListener::plaintext(advertised));
    let session = Session::new(peer_addr, principal, listener);
    tokio::spawn(connection::serve(
        Arc::clone(broker),
        Arc::new(session),
        served,
    ))
}

/// What the task of a connection takes while it waits.
pub fn connection_bytes(broker: &Arc<Broker>) -> usize {
    let (_stream, served) = tokio::io::duplex(PIPE_BYTES);
    let listener = ClientListener::plaintext(HostPort {
        host: "broker.example".to_owned(),
        port: 9192,
    });
    let peer_addr = ([192, 0, 2, 7], 40_000).into();
    let served = login::serve(Arc::clone(broker), Arc::new(listener), served, peer_addr);
    size_of_val(&served)
}

/// A connection to a listener that asks its clients who they are.
pub fn connect_to_login(broker: &Arc<Broker>, listener: &str) -> (Client, JoinHandle<()>) {
    let (stream, served) = tokio::io::duplex(PIPE_BYTES);
    let listener = ClientListener {
        name: listener.to_owned(),
        security_protocol: SecurityProtocol::SaslPlaintext,
        advertised: HostPort {
            host: "broker.example".to_owned(),
            port: 9193,
        },
    };
    let peer_addr = ([192, 0, 2, 7], 40_001).into();
    let broker = Arc::clone(broker);
    let serving = login::serve(broker, Arc::new(listener), served, peer_addr);
    (Client::new(stream), tokio::spawn(serving))
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// One client connection.
pub struct Client {
    stream: Box<dyn Stream>,
    /// Frames that wait to be sent together.
    held: Option<Vec<u8>>,
    /// Follows the last field of every request.
    pub tail: &'static [u8],
    client_id: &'static str,
    next_correlation_id: i32,
    /// Reads so many bytes, then pauses.
    slowly: Option<(usize, Duration)>,
}

/// A request whose response has not been read yet.
pub struct Asked<R: Request> {
    correlation_id: i32,
    version: i16,
    response: std::marker::PhantomData<R::Response>,
}

impl Client {
    /// A client at one end of `stream`.
    pub fn new(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            held: None,
            tail: &[],
            client_id: "tester",
            next_correlation_id: 1,
            slowly: None,
        }
    }

    /// Sends a request and reads its response, of which nothing may be left over.
    pub async fn call<R: Request>(&mut self, version: i16, request: R) -> R::Response {
        let asked = self.send(version, request).await;
        self.answer(asked).await
    }

    /// Sends a request.
    pub async fn send<R: Request>(&mut self, version: i16, request: R) -> Asked<R> {
        let mut body = BytesMut::new();
        request
            .encode(&mut body, version)
            .unwrap_or_else(|error| panic!("wrong test: API {} v{version}: {error}", R::KEY));
        body.put_slice(self.tail);
        let correlation_id = self
            .send_body(R::KEY, version, R::header_version(version), &body)
            .await;
        Asked {
            correlation_id,
            version,
            response: std::marker::PhantomData,
        }
    }

    /// Sends any bytes as the body of a request.
    pub async fn send_body(
        &mut self,
        key: i16,
        version: i16,
        header_version: i16,
        body: &[u8],
    ) -> i32 {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id += 1;
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(StrBytes::from_static_str(self.client_id)))
            .encode(&mut frame, header_version)
            .unwrap();
        frame.put_slice(body);
        self.send_frame(&frame).await;
        correlation_id
    }

    /// Sends any bytes as a frame.
    pub async fn send_frame(&mut self, frame: &[u8]) {
        let length = (frame.len() as i32).to_be_bytes();
        let bytes = [&length, frame].concat();
        match &mut self.held {
            Some(held) => held.extend_from_slice(&bytes),
            None => self.send_bytes(&bytes).await,
        }
    }

    /// Holds back what is sent from now on.
    pub fn hold(&mut self) {
        self.held = Some(Vec::new());
    }

    /// Sends all that was held back in one write.
    pub async fn release(&mut self) {
        let held = self.take_held();
        self.send_bytes(&held).await;
    }

    /// What was held back, for the caller to send.
    pub fn take_held(&mut self) -> Vec<u8> {
        self.held.take().unwrap_or_default()
    }

    /// From now on reads so many bytes, then pauses, again and again.
    pub fn read_slowly(&mut self, bytes: usize, pause: Duration) {
        self.slowly = Some((bytes, pause));
    }

    /// Sends a request to a broker that may close the connection; whether it could be sent.
    pub async fn try_send<R: Request>(&mut self, version: i16, request: R) -> bool {
        self.hold();
        self.send(version, request).await;
        let bytes = self.take_held();
        self.stream.write_all(&bytes).await.is_ok()
    }

    /// Sends bytes as they are.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Reads the response to `asked`, which must be the next one.
    pub async fn answer<R: Request>(&mut self, asked: Asked<R>) -> R::Response {
        let what = format!("API {} v{}", R::KEY, asked.version);
        let mut frame = self
            .next_frame()
            .await
            .unwrap_or_else(|| panic!("{what} closed the connection"));
        let header =
            ResponseHeader::decode(&mut frame, R::Response::header_version(asked.version)).unwrap();
        assert_eq!(
            header.correlation_id, asked.correlation_id,
            "{what} is answered in its turn"
        );
        let response = R::Response::decode(&mut frame, asked.version)
            .unwrap_or_else(|error| panic!("{what} is answered with a response: {error}"));
        assert!(
            !frame.has_remaining(),
            "{what}: {} bytes behind the response",
            frame.remaining()
        );
        response
    }

    /// The next response without its length; `None` when the broker has closed the connection.
    pub async fn next_frame(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await.ok()?;
        let mut frame = vec![0; i32::from_be_bytes(length) as usize];
        let (at_once, pause) = self.slowly.unwrap_or((usize::MAX, Duration::ZERO));
        for piece in frame.chunks_mut(at_once) {
            self.stream.read_exact(piece).await.unwrap();
            if self.slowly.is_some() {
                tokio::time::sleep(pause).await;
            }
        }
        Some(frame.into())
    }

    /// Creates a topic and gives its id.
    pub async fn create_topic(&mut self, name: &'static str, partitions: i32) -> Uuid {
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(1000);
        let response = self.call(CREATE_TOPICS_WITH_ID, request).await;
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
        response.topics[0].topic_id
    }
}

/// A client's wish to write one batch to each of several partitions of a topic.
pub fn produce(topic: &'static str, batches: Vec<(i32, Bytes)>) -> ProduceRequest {
    let partitions = batches.into_iter().map(|(index, batch)| {
        PartitionProduceData::default()
            .with_index(index)
            .with_records(Some(batch))
    });
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(partitions.collect());
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(1000)
        .with_topic_data(vec![topic])
}

/// One batch that holds `values`.
pub fn batch(values: &[&str]) -> Bytes {
    batch_at(values, 1_700_000_000_000)
}

/// One batch whose records have timestamps from `timestamp` on, one millisecond apart.
pub fn batch_at(values: &[&str], timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (value, timestamp) in values.iter().zip(timestamp..) {
        builder.append(timestamp, None, Some(value.as_bytes()), &[]);
    }
    builder.build().unwrap()
}

pub fn string(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

pub fn topic_name(name: &'static str) -> TopicName {
    TopicName(string(name))
}

pub fn group_id(id: &'static str) -> GroupId {
    GroupId(string(id))
}
