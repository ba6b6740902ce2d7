//! One connection to a broker: frames, versions, deadlines.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use protocol_shim::{api_spec, guard};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client_config::Security;
use crate::failure::{Failure, Result, check, failed};
use crate::login;

/// No answer is longer: 50 MiB of records and a batch of the largest size would fit.
const MAX_FRAME_BYTES: u64 = 128 << 20;
/// Every broker since Kafka 2.4 knows it.
const API_VERSIONS_VERSION: i16 = 3;

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that has been told who we are, where that is asked.
pub struct Connection {
    address: String,
    stream: Box<dyn Stream>,
    timeout: Duration,
    next_correlation_id: i32,
    versions: ApiVersionsResponse,
}

impl Connection {
    /// Connects, encrypts and logs in; each step within `timeout`.
    ///
    /// # Errors
    /// Nobody is there, or it is not a broker that takes us.
    pub async fn open(address: &str, security: &Security, timeout: Duration) -> Result<Self> {
        let opened = within(timeout, address, TcpStream::connect(address)).await?;
        let stream = opened.map_err(|error| failed(format!("{address}: {error}")))?;
        // Otherwise it is only slower.
        let _ = stream.set_nodelay(true);
        let stream: Box<dyn Stream> = match &security.tls {
            None => Box::new(stream),
            Some(config) => {
                let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|error| failed(format!("{address}: {error}")))?;
                let connector = tokio_rustls::TlsConnector::from(config.clone());
                let encrypted = within(timeout, address, connector.connect(name, stream)).await?;
                Box::new(encrypted.map_err(|error| not_encrypted(address, &error))?)
            }
        };
        let mut connection = Self {
            address: address.to_owned(),
            stream,
            timeout,
            next_correlation_id: 0,
            versions: ApiVersionsResponse::default(),
        };
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("ottla"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let asked = connection.exchange(API_VERSIONS_VERSION, request);
        let versions = within(timeout, address, asked).await?.map_err(|error| {
            let advice = match security.tls {
                None => "if it encrypts, say so with security.protocol=SSL or SASL_SSL in --client-config",
                Some(_) => "is it a Kafka broker?",
            };
            failed(format!("{}; {advice}", error.text()))
        })?;
        check(address, versions.error_code, None)?;
        connection.versions = versions;
        if let Some(login) = &security.login {
            login::log_in(&mut connection, login).await?;
        }
        Ok(connection)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What the broker says that it serves.
    pub(crate) fn versions(&self) -> &ApiVersionsResponse {
        &self.versions
    }

    /// Sends a request in the newest version that both know, and waits for its answer.
    ///
    /// # Errors
    /// It is not answered in time, or not at all.
    pub async fn call<R: Request>(&mut self, request: R) -> Result<R::Response> {
        self.call_within(self.timeout, request).await
    }

    /// The same with a deadline of its own.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub(crate) async fn call_within<R: Request>(
        &mut self,
        timeout: Duration,
        request: R,
    ) -> Result<R::Response> {
        let version = self.version::<R>()?;
        let address = self.address.clone();
        within(timeout, &address, self.exchange(version, request)).await?
    }

    fn version<R: Request>(&self) -> Result<i16> {
        let name = ApiKey::try_from(R::KEY).map_or_else(
            |()| format!("API {}", R::KEY),
            |key| format!("{key:?} (API {})", R::KEY),
        );
        let mut served = self.versions.api_keys.iter();
        let served = served
            .find(|api| api.api_key == R::KEY)
            .ok_or_else(|| failed(format!("{}: the broker has no {name}", self.address)))?;
        let ours = R::VERSIONS;
        let newest = newest(R::KEY).unwrap_or(ours.max).min(served.max_version);
        match newest >= ours.min.max(served.min_version) {
            true => Ok(newest),
            false => Err(failed(format!(
                "{}: the broker has {name} in versions {} to {}, known here are {} to {}",
                self.address, served.min_version, served.max_version, ours.min, ours.max
            ))),
        }
    }

    async fn exchange<R: Request>(&mut self, version: i16, request: R) -> Result<R::Response> {
        self.next_correlation_id += 1;
        let frame = frame(self.next_correlation_id, version, &request)
            .map_err(|error| failed(format!("this cannot be asked: {error}")))?;
        let mut answer = match self.transfer(&frame).await {
            Ok(answer) => answer,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                let text = "the broker closed the connection instead of answering";
                return Err(failed(format!("{}: {text}", self.address)));
            }
            Err(error) => return Err(failed(format!("{}: {error}", self.address))),
        };
        let unreadable = |error: &dyn Display| {
            let what = format!("{}: an answer that is none: {error}", self.address);
            failed(what)
        };
        let header_version = R::Response::header_version(version);
        let header = ResponseHeader::decode(&mut answer, header_version);
        let header = header.map_err(|error| unreadable(&error))?;
        if header.correlation_id != self.next_correlation_id {
            return Err(failed(format!("{}: answers out of order", self.address)));
        }
        // The decoder believes what is counted, and would abort.
        let spec = api_spec::spec(R::KEY).ok_or_else(|| failed(format!("no API {}", R::KEY)))?;
        let checked = guard::check_response(spec, version, &answer);
        let mut answer = checked.map_err(|error| unreadable(&error))?;
        R::Response::decode(&mut answer, version).map_err(|error| unreadable(&error))
    }

    async fn transfer(&mut self, frame: &[u8]) -> std::io::Result<Bytes> {
        self.stream.write_all(frame).await?;
        self.stream.flush().await?;
        let length = self.stream.read_i32().await?;
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        if length > MAX_FRAME_BYTES {
            return Err(std::io::Error::other("not a Kafka broker's answer"));
        }
        // Grows as bytes arrive, not by what was announced.
        let mut bytes = Vec::new();
        (&mut self.stream)
            .take(length)
            .read_to_end(&mut bytes)
            .await?;
        match bytes.len() as u64 == length {
            true => Ok(bytes.into()),
            false => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The newest version that is spoken here, where that is not the newest known: from the next one on topics have ids in
/// place of names.
fn newest(key: i16) -> Option<i16> {
    let newest = HashMap::from([
        (ApiKey::Produce as i16, 12),
        (ApiKey::Fetch as i16, 12),
        (ApiKey::OffsetCommit as i16, 9),
        (ApiKey::OffsetFetch as i16, 9),
    ]);
    newest.get(&key).copied()
}

fn frame<R: Request>(correlation_id: i32, version: i16, request: &R) -> Result<Bytes, String> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("ottla")));
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    header
        .encode(&mut frame, R::header_version(version))
        .and_then(|()| request.encode(&mut frame, version))
        .map_err(|error| error.to_string())?;
    let length = i32::try_from(frame.len() - 4).map_err(|_| "it is too long".to_owned())?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

async fn within<T>(timeout: Duration, address: &str, what: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(timeout, what).await.map_err(|_| {
        failed(format!(
            "{address}: no answer within {} s; --timeout SECONDS waits longer",
            timeout.as_secs()
        ))
    })
}

fn not_encrypted(address: &str, error: &std::io::Error) -> Failure {
    let text = error.to_string();
    let advice = match text.contains("UnknownIssuer") {
        true => {
            "its certificate is from somebody who is not in ssl.truststore.location or ssl.ca.location"
        }
        false => "does this port encrypt at all, and is its certificate for this host?",
    };
    failed(format!("{address}: {text}; {advice}"))
}

#[cfg(test)]
mod lying_broker;
