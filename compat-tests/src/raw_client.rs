//! One connection that speaks the protocol without a client library: for what no client would send.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, RequestHeader,
    ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use protocol_shim::ErrorCode;

/// Nothing in these tests waits longer than this for an answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A new broker coordinates groups well within this time.
const COORDINATOR_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// A blocking connection; one request at a time.
pub struct RawClient {
    stream: TcpStream,
    next_correlation_id: i32,
    client_id: StrBytes,
}

impl RawClient {
    /// Connects.
    ///
    /// # Errors
    /// Nothing listens there.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self {
            stream,
            next_correlation_id: 1,
            client_id: StrBytes::from_static_str("raw"),
        })
    }

    /// Connects to the coordinator that was found.
    ///
    /// # Errors
    /// None was found, or nothing listens there.
    pub fn connect_to(found: &FindCoordinatorResponse) -> Result<Self> {
        Self::connect(format!("{}:{}", &*found.host, found.port).parse()?)
    }

    /// Names the client in what it sends from now on.
    pub fn set_client_id(&mut self, client_id: &StrBytes) {
        self.client_id = client_id.clone();
    }

    /// Sends `request` at `version` and waits for its response.
    ///
    /// # Errors
    /// The connection closes, the response is not one, or something is left over behind it.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        let mut body = BytesMut::new();
        request.encode(&mut body, version)?;
        let frame = self.frame(R::KEY, version, R::header_version(version), &body)?;
        self.send(&frame)?;
        let mut response = self
            .receive()?
            .context("the connection was closed instead of answered")?;
        let header_version = R::Response::header_version(version);
        let header = ResponseHeader::decode(&mut response, header_version)?;
        ensure!(
            header.correlation_id == self.next_correlation_id - 1,
            "the answer to another request: {}",
            header.correlation_id
        );
        let decoded = R::Response::decode(&mut response, version)?;
        ensure!(
            !response.has_remaining(),
            "{} bytes behind the response",
            response.remaining()
        );
        Ok(decoded)
    }

    /// A connection to the broker that coordinates `group`, as soon as it does; the group must not exist yet.
    ///
    /// A new broker makes its offsets topic when it is first asked for a coordinator. While it loads the group's
    /// partition of that topic, Kafka answers a heartbeat without an error; after that it does not know the member.
    ///
    /// # Errors
    /// It takes too long, or a request fails.
    pub fn to_coordinator(&mut self, group: &str) -> Result<Self> {
        let group = StrBytes::from_string(group.to_owned());
        let find = FindCoordinatorRequest::default().with_key(group.clone());
        let heartbeat = HeartbeatRequest::default()
            .with_group_id(group.clone().into())
            .with_member_id(StrBytes::from_static_str("nobody"));
        let deadline = Instant::now() + COORDINATOR_TIMEOUT;
        loop {
            let found = self.call(3, &find)?;
            if found.error_code == 0 {
                let mut coordinator = Self::connect_to(&found)?;
                let told = coordinator.call(4, &heartbeat)?.error_code;
                if told == ErrorCode::UnknownMemberId as i16 {
                    return Ok(coordinator);
                }
            }
            ensure!(Instant::now() < deadline, "{group} has no coordinator");
            sleep(POLL_INTERVAL);
        }
    }

    /// A whole frame with a correct header, around any body.
    ///
    /// # Errors
    /// `header_version` does not exist.
    pub fn frame(
        &mut self,
        api_key: i16,
        api_version: i16,
        header_version: i16,
        body: &[u8],
    ) -> Result<Bytes> {
        let header = RequestHeader::default()
            .with_request_api_key(api_key)
            .with_request_api_version(api_version)
            .with_correlation_id(self.next_correlation_id)
            .with_client_id(Some(self.client_id.clone()));
        self.next_correlation_id += 1;
        let mut content = BytesMut::new();
        header.encode(&mut content, header_version)?;
        content.put_slice(body);
        let mut frame = BytesMut::new();
        frame.put_i32(i32::try_from(content.len())?);
        frame.put_slice(&content);
        Ok(frame.freeze())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Waits for one response frame; `None` when the broker closes the connection.
    ///
    /// # Errors
    /// Neither happens in time, or the frame's length is absurd.
    pub fn receive(&mut self) -> Result<Option<Bytes>> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if is_close(error.kind()) => return Ok(None),
            Err(error) => return Err(error).context("neither an answer nor a close"),
        }
        let length = usize::try_from(i32::from_be_bytes(length))?;
        ensure!(length <= MAX_RESPONSE_BYTES, "a response of {length} bytes");
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame)?;
        Ok(Some(frame.into()))
    }

    /// Ends the sending half, as a client does that dies in the middle of a frame.
    ///
    /// # Errors
    /// The connection is closed already.
    pub fn finish_sending(&mut self) -> Result<()> {
        Ok(self.stream.shutdown(std::net::Shutdown::Write)?)
    }
}

fn is_close(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}
