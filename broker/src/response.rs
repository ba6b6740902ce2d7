//! What becomes of a request: a response in its turn, none, or the end of the connection.

use std::future::Future;
use std::pin::Pin;

use protocol_shim::api_spec::{self, Unsupported};
use protocol_shim::decode::DecodeError;
use protocol_shim::encode::{EncodeError, Response, ResponseFrame};
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
pub(crate) fn encode(
    ctx: &RequestContext,
    header: &RequestHeader,
    response: &impl Response,
) -> Result<ResponseFrame, RequestError> {
    encode_in(header.api_version, ctx, header, response)
}

pub(crate) fn encode_in(
    version: i16,
    ctx: &RequestContext,
    header: &RequestHeader,
    response: &impl Response,
) -> Result<ResponseFrame, RequestError> {
    let frame = response.to_frame(header.api_key, version, header.correlation_id)?;
    if tracing::enabled!(Level::DEBUG) {
        tell(ctx, header, response.first_error(), frame.len());
    }
    Ok(frame)
}

/// One line about a request that has been worked on, at level debug: what somebody's client asks, and what it is told.
pub(crate) fn tell(
    ctx: &RequestContext,
    header: &RequestHeader,
    error: ErrorCode,
    response_bytes: usize,
) {
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
