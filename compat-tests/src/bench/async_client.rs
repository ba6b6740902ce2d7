//! A connection for one of many tasks: for members of groups, who mostly wait.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf as _, BytesMut};
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::request::frame;

/// Longer than any join may wait for the others.
const TIMEOUT: Duration = Duration::from_secs(120);
const MAX_RESPONSE_BYTES: usize = 16 << 20;

/// One request at a time.
pub struct AsyncClient(TcpStream);

impl AsyncClient {
    /// Connects.
    ///
    /// # Errors
    /// Nothing listens there.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Sends `request` at `version` and waits for its response.
    ///
    /// # Errors
    /// The connection closes, nothing comes for two minutes, or what comes is not the response.
    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        self.0.write_all(&frame(version, request)?).await?;
        let mut response = timeout(TIMEOUT, self.receive())
            .await
            .context("no response")??;
        ResponseHeader::decode(&mut response, R::Response::header_version(version))?;
        let decoded = R::Response::decode(&mut response, version)?;
        ensure!(
            !response.has_remaining(),
            "{} bytes behind the response",
            response.remaining()
        );
        Ok(decoded)
    }

    async fn receive(&mut self) -> Result<BytesMut> {
        let length = usize::try_from(self.0.read_i32().await?)?;
        ensure!(length <= MAX_RESPONSE_BYTES, "a response of {length} bytes");
        let mut response = BytesMut::zeroed(length);
        self.0.read_exact(&mut response).await?;
        Ok(response)
    }
}
