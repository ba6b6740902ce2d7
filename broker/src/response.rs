//! What becomes of a request: a response in its turn, none, or the end of the connection.

use std::fmt::{self, Write as _};
use std::future::Future;
use std::pin::Pin;

use kafka_protocol::protocol::Encodable;
use protocol_shim::api_spec::{self, Unsupported};
use protocol_shim::decode::DecodeError;
use protocol_shim::encode::{self, EncodeError, ResponseFrame};
use protocol_shim::error_code::ErrorCode;
use protocol_shim::header::{HeaderError, RequestHeader};
use tracing::{Level, debug};

use crate::client_text::client_text;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

/// A response in its place in the connection's order.
pub enum Pending {
    Ready(ResponseFrame),
    /// Stage 2: waits for the outcome, then encodes it. An error closes the connection.
    Later(Pin<Box<dyn Future<Output = Result<ResponseFrame, RequestError>> + Send>>),
    /// Produce with acks=0.
    NoResponse,
}

impl Pending {
    pub fn later(
        response: impl Future<Output = Result<ResponseFrame, RequestError>> + Send + 'static,
    ) -> Self {
        Self::Later(Box::pin(response))
    }
}

/// A request that gets no response: the connection is closed, as Kafka does.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// How Kafka tells a producer that waits for no answer.
    #[error("produce with acks=0 failed: {0}")]
    UnacknowledgedProduce(String),
    #[error(transparent)]
    Unaffordable(#[from] Unaffordable),
    /// The broker's own mistake.
    #[error("cannot encode a response: {0}")]
    Encode(#[from] EncodeError),
}

/// Encodes the response to a request.
///
/// # Errors
/// The broker's own mistake; the connection must be closed.
pub fn encode(
    ctx: &RequestContext,
    header: &RequestHeader,
    response: &(impl Encodable + fmt::Debug),
) -> Result<ResponseFrame, RequestError> {
    encode_in(header.api_version, ctx, header, response)
}

pub(crate) fn encode_in(
    version: i16,
    ctx: &RequestContext,
    header: &RequestHeader,
    response: &(impl Encodable + fmt::Debug),
) -> Result<ResponseFrame, RequestError> {
    let (key, correlation_id) = (header.api_key, header.correlation_id);
    let frame = encode::encode_response(key, version, correlation_id, response)?;
    if tracing::enabled!(Level::DEBUG) {
        tell(ctx, header, FirstError::of(response), frame.len());
    }
    Ok(frame)
}

/// One line about a request that has been worked on, at level debug: what somebody's client asks, and what it is told.
pub fn tell(ctx: &RequestContext, header: &RequestHeader, error: ErrorCode, response_bytes: usize) {
    let software = ctx.session.software.get();
    debug!(
        api = api_spec::spec(header.api_key).map_or("unknown", |spec| spec.name),
        version = header.api_version,
        client_id = %client_text(&ctx.client_id),
        peer = %ctx.session.peer_addr,
        software = software.map(|software| format!("{} {}", software.name, software.version)),
        %error,
        ms = ctx.asked_at.elapsed().as_millis() as u64,
        request_bytes = ctx.request_bytes,
        response_bytes,
        "request"
    );
}

/// Finds the first error in the text of a response: they have it at different depths. Only for the log.
#[derive(Default)]
struct FirstError {
    /// What may be the beginning of a field with an error.
    text: String,
    seen_bytes: usize,
    found: i16,
}

/// How much of a response is looked through.
const LOOKED_THROUGH_BYTES: usize = 64 << 10;

impl FirstError {
    fn of(response: &impl fmt::Debug) -> ErrorCode {
        let mut search = Self::default();
        // It is broken off when something is found.
        let _ = write!(search, "{response:?}");
        ErrorCode::from_code(search.found).unwrap_or(ErrorCode::UnknownServerError)
    }
}

impl fmt::Write for FirstError {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        const FIELD: &str = "error_code: ";
        self.seen_bytes += piece.len();
        self.text.push_str(piece);
        while let Some(at) = self.text.find(FIELD) {
            let value = &self.text[at + FIELD.len()..];
            // Its value comes in a piece of its own, and then what ends it.
            let Some(end) = value.find([',', ' ']) else {
                break;
            };
            self.found = value[..end].parse().unwrap_or(0);
            if self.found != 0 {
                return Err(fmt::Error);
            }
            self.text.drain(..at + FIELD.len());
        }
        if !self.text.contains(FIELD) {
            let mut keep_from = self.text.len().saturating_sub(FIELD.len());
            while !self.text.is_char_boundary(keep_from) {
                keep_from += 1;
            }
            self.text.drain(..keep_from);
        }
        match self.seen_bytes < LOOKED_THROUGH_BYTES {
            true => Ok(()),
            false => Err(fmt::Error),
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_response::{
        MetadataResponsePartition, MetadataResponseTopic,
    };
    use kafka_protocol::messages::{FindCoordinatorResponse, MetadataResponse};

    use super::*;

    #[test]
    fn the_first_error_of_a_response_is_found_at_any_depth() {
        let fine = FindCoordinatorResponse::default();
        assert_eq!(FirstError::of(&fine), ErrorCode::None);
        let refused = fine.with_error_code(15);
        assert_eq!(FirstError::of(&refused), ErrorCode::CoordinatorNotAvailable);
        let partition = |error| MetadataResponsePartition::default().with_error_code(error);
        let topic = |errors: &[i16]| {
            MetadataResponseTopic::default()
                .with_partitions(errors.iter().map(|error| partition(*error)).collect())
        };
        let deep = MetadataResponse::default().with_topics(vec![topic(&[0, 0]), topic(&[0, 5, 3])]);
        assert_eq!(FirstError::of(&deep), ErrorCode::LeaderNotAvailable);
        let long = MetadataResponse::default().with_topics(vec![topic(&[0; 100_000])]);
        assert_eq!(FirstError::of(&long), ErrorCode::None);
    }
}
