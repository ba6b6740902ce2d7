//! The same requests to two brokers, and what they answer, side by side.
//!
//! A scenario is a function that talks to a broker through a [`Talk`], which writes down every answer. Run
//! against two brokers it gives two transcripts; [`comparison`] holds them against each other.

pub mod comparison;
pub mod names;
mod several;
pub mod tree;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, ListOffsetsRequest, MetadataRequest, ResponseHeader,
    TopicName,
};
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request, StrBytes};
use protocol_shim::ErrorCode;
use protocol_shim::api_spec;
use uuid::Uuid;

use crate::{BrokerKind, BrokerProcess, RawClient};
use names::Names;
use several::{Coordinates, as_by_one};
use tree::{Tree, values};

/// A broker that has been asked to create something has it well within this time.
const SETTLING_TIME: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// What the answer to a request is that the broker does not answer.
const CLOSED: &str = "the connection is closed";

/// One request and what was answered to it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// API, version and what is asked: `Metadata v4 unknown topic`.
    pub label: String,
    /// Every value of the response with its place.
    pub values: Vec<(String, String)>,
}

/// A conversation with one broker, written down.
pub struct Talk<'b> {
    broker: &'b BrokerProcess,
    connections: BTreeMap<Connection, RawClient>,
    /// Which of several brokers they are.
    coordinators: BTreeMap<Coordinates, SocketAddr>,
    names: Names,
    transcript: Vec<Exchange>,
}

/// What a scenario calls it, and the broker that it leads to.
type Connection = (&'static str, SocketAddr);

/// A request whose answer has not been waited for.
#[must_use = "its answer stands before the next one on its connection"]
pub struct Asked<R> {
    connection: Connection,
    label: String,
    version: i16,
    response: PhantomData<R>,
}

impl<'b> Talk<'b> {
    /// Begins a conversation.
    pub fn new(broker: &'b BrokerProcess) -> Self {
        let mut names = Names::default();
        for dir in [broker.data_dir().display().to_string(), broker.log_dir()] {
            names.set(&dir, "data directory");
        }
        Self {
            broker,
            connections: BTreeMap::new(),
            coordinators: BTreeMap::new(),
            names,
            transcript: Vec::new(),
        }
    }

    /// Whether it is Kafka that answers, which may have to be waited for where Ottla is ready.
    pub fn is_kafka(&self) -> bool {
        self.broker.kind() == BrokerKind::Kafka
    }

    /// What was said.
    pub fn into_transcript(self) -> Vec<Exchange> {
        self.transcript
    }

    /// Asks and writes the answer down.
    ///
    /// # Errors
    /// There is no answer.
    pub fn ask<R: Request<Response: Debug>>(
        &mut self,
        what: &str,
        version: i16,
        request: &R,
    ) -> Result<R::Response> {
        self.ask_on("main", what, version, request)
    }

    /// The same, on a connection of its own name.
    ///
    /// # Errors
    /// There is no answer.
    pub fn ask_on<R: Request<Response: Debug>>(
        &mut self,
        connection: &'static str,
        what: &str,
        version: i16,
        request: &R,
    ) -> Result<R::Response> {
        let asked = self.start(connection, what, version, request)?;
        self.finish(asked)
    }

    /// Asks without waiting for the answer.
    ///
    /// # Errors
    /// The request cannot be encoded or sent.
    pub fn start<R: Request>(
        &mut self,
        connection: &'static str,
        what: &str,
        version: i16,
        request: &R,
    ) -> Result<Asked<R>> {
        let label = label::<R>(what, version);
        let mut body = BytesMut::new();
        request
            .encode(&mut body, version)
            .with_context(|| label.clone())?;
        let connection = self.send_body(
            connection,
            R::KEY,
            version,
            R::header_version(version),
            &body,
        )?;
        Ok(Asked {
            connection,
            label,
            version,
            response: PhantomData,
        })
    }

    /// Sends any bytes as the body of a request, and says where.
    fn send_body(
        &mut self,
        connection: &'static str,
        api_key: i16,
        version: i16,
        header_version: i16,
        body: &[u8],
    ) -> Result<Connection> {
        let connection = (connection, self.address_for(api_key)?);
        let client = self.connection(connection)?;
        let frame = client.frame(api_key, version, header_version, body)?;
        client.send(&frame)?;
        Ok(connection)
    }

    /// Waits for the answer and writes it down.
    ///
    /// # Errors
    /// There is none.
    pub fn finish<R: Request<Response: Debug>>(&mut self, asked: Asked<R>) -> Result<R::Response> {
        let Asked {
            connection,
            label,
            version,
            ..
        } = asked;
        let Some(mut frame) = self
            .connection(connection)?
            .receive()
            .context(label.clone())?
        else {
            self.connections.remove(&connection);
            self.note(label.clone(), Tree::Value(CLOSED.to_owned()));
            bail!("{label}: {CLOSED}");
        };
        let response = decode::<R>(&mut frame, version).context(label.clone())?;
        let tree = Tree::parse(&format!("{response:?}")).context(label.clone())?;
        self.note(label, tree);
        Ok(response)
    }

    /// Asks what may close the connection, and writes down whether it does.
    ///
    /// # Errors
    /// Neither happens.
    pub fn ask_or_close<R: Request<Response: Debug>>(
        &mut self,
        what: &str,
        version: i16,
        request: &R,
    ) -> Result<()> {
        let asked = self.start("doomed", what, version, request)?;
        match self.finish(asked) {
            Ok(_) => Ok(()),
            Err(error) if error.to_string().ends_with(CLOSED) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Asks with any bytes as the body of a request.
    ///
    /// # Errors
    /// There is no answer.
    pub fn ask_body<R: Request<Response: Debug>>(
        &mut self,
        what: &str,
        version: i16,
        body: &[u8],
    ) -> Result<R::Response> {
        let header_version = R::header_version(version);
        let connection = self.send_body("main", R::KEY, version, header_version, body)?;
        self.finish(Asked::<R> {
            connection,
            label: label::<R>(what, version),
            version,
            response: PhantomData,
        })
    }

    /// Asks for ApiVersions in a version that nobody knows; the answer is in version 0.
    ///
    /// # Errors
    /// There is no such answer.
    pub fn unsupported_api_versions(&mut self, version: i16) -> Result<()> {
        let key = ApiVersionsRequest::KEY;
        let connection = self.send_body("main", key, version, 2, b"whatever the future brings")?;
        let label = label::<ApiVersionsRequest>("unsupported", version);
        self.finish(Asked::<ApiVersionsRequest> {
            connection,
            label,
            version: 0,
            response: PhantomData,
        })?;
        Ok(())
    }

    /// Asks without writing down: what only prepares the scenario.
    ///
    /// # Errors
    /// There is no answer.
    pub fn quietly<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        let connection = ("main", self.address_for(R::KEY)?);
        self.connection(connection)?.call(version, request)
    }

    /// A connection of a client that calls itself `client_id`; what it asks is not written down.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn client(&self, client_id: &str) -> Result<RawClient> {
        let mut client = RawClient::connect(self.broker.address())?;
        client.set_client_id(&string(client_id));
        Ok(client)
    }

    /// Writes down what was found out otherwise than by an answer.
    pub fn fact(&mut self, what: &str, value: String) {
        self.note(what.to_owned(), Tree::Value(value));
    }

    /// Calls `value` by `name` in the transcript.
    pub fn name(&mut self, value: &str, name: &str) {
        self.names.set(value, name);
    }

    /// Creates a topic and waits until the broker knows it everywhere; gives its id.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create_topic(&mut self, name: &str, partitions: i32) -> Result<Uuid> {
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        self.create(topic)
    }

    /// The same for a topic with configs.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create(&mut self, topic: CreatableTopic) -> Result<Uuid> {
        let name = topic.name.to_string();
        let partitions = topic.num_partitions;
        let request = CreateTopicsRequest::default()
            .with_timeout_ms(10_000)
            .with_topics(vec![topic]);
        let response = self.quietly(7, &request)?;
        ensure!(
            response.topics[0].error_code == 0,
            "cannot create {name}: {response:?}"
        );
        self.wait_for_partitions(&name, partitions)?;
        let id = response.topics[0].topic_id;
        self.name(&id.to_string(), &format!("id of {name}"));
        Ok(id)
    }

    /// Waits until every partition has a leader that knows it.
    ///
    /// # Errors
    /// It takes too long.
    pub fn wait_for_partitions(&mut self, name: &str, partitions: i32) -> Result<()> {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let known = MetadataRequest::default().with_topics(Some(vec![topic]));
        let latest = (0..partitions).map(|index| {
            ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_timestamp(-1)
        });
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name(name))
            .with_partitions(latest.collect());
        let led = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(vec![topic]);
        self.settle(&format!("topic {name}"), |talk| {
            let response = talk.quietly(9, &known)?;
            let topic = &response.topics[0];
            if topic.error_code != 0 || topic.partitions.len() != usize::try_from(partitions)? {
                return Ok(false);
            }
            let response = talk.quietly(5, &led)?;
            Ok(response.topics[0]
                .partitions
                .iter()
                .all(|partition| partition.error_code == 0))
        })
    }

    /// Waits until `done`.
    ///
    /// # Errors
    /// Those of `done`; it takes too long.
    pub fn settle(
        &mut self,
        what: &str,
        mut done: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + SETTLING_TIME;
        while !done(self)? {
            ensure!(Instant::now() < deadline, "waited in vain for {what}");
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn connection(&mut self, connection: Connection) -> Result<&mut RawClient> {
        Ok(match self.connections.entry(connection) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => place.insert(RawClient::connect(connection.1)?),
        })
    }

    /// The broker to ask: what is asked of coordinators goes to them.
    fn address_for(&mut self, api_key: i16) -> Result<SocketAddr> {
        let address = self.broker.address();
        let kind = match self.broker.count() {
            1 => None,
            _ => Coordinates::of(api_key),
        };
        let Some(kind) = kind else {
            return Ok(address);
        };
        Ok(match self.coordinators.entry(kind) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => *place.insert(kind.coordinator(address)?),
        })
    }

    fn note(&mut self, label: String, tree: Tree) {
        let tree = match self.broker.count() {
            1 => tree,
            _ => as_by_one(tree, &self.broker.bootstrap()),
        };
        let mut values = values(&self.names.apply(tree));
        for (place, value) in &mut values {
            if place.ends_with("error_code") {
                *value = with_error_name(value);
            }
        }
        self.transcript.push(Exchange { label, values });
    }
}

fn label<R: Request>(what: &str, version: i16) -> String {
    let name = api_spec::spec(R::KEY).map_or("?", |spec| spec.name);
    format!("{name} v{version} {what}")
}

fn decode<R: Request>(frame: &mut Bytes, version: i16) -> Result<R::Response> {
    ResponseHeader::decode(frame, R::Response::header_version(version))?;
    let response = R::Response::decode(frame, version)?;
    ensure!(
        !frame.has_remaining(),
        "{} bytes behind the response",
        frame.remaining()
    );
    Ok(response)
}

/// `3` becomes `3 UNKNOWN_TOPIC_OR_PARTITION`.
fn with_error_name(code: &str) -> String {
    let number: Option<i16> = code.parse().ok();
    let known = ErrorCode::ALL
        .iter()
        .find(|known| Some(**known as i16) == number);
    known.map_or_else(
        || code.to_owned(),
        |known| format!("{code} {}", known.name()),
    )
}

/// A string of the protocol.
pub fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic's name.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(string(name))
}
