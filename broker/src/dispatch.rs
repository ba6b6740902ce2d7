//! From a frame to the API that answers it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use protocol_shim::access::Access;
use protocol_shim::api_spec::{self, ApiSpec, Unsupported};
use protocol_shim::decode::{self, CheckedBody};
use protocol_shim::encode::{Response, ResponseFrame};
use protocol_shim::error_code::ErrorCode;
use protocol_shim::header::{self, RequestHeader};

use crate::api;
use crate::authorizer::Resource;
use crate::broker::Broker;
use crate::context::RequestContext;
use crate::net::budget::Share;
use crate::net::session::Session;
use crate::quota::toll::Toll;
use crate::response::{self, Pending, RequestError};

/// What an element of a request takes, decoded and in the response: topics, partitions, names.
const ELEMENT_BYTES: usize = 512;
/// A request of so few is not counted.
const FEW_ELEMENTS: usize = 256;

/// Stage 1 of a request: decodes it and starts it. Called in the order of a connection's requests.
///
/// Only Produce does more than decode here; everything else runs when its turn to be answered
/// comes, one after the other, as on a Kafka connection.
///
/// # Errors
/// When nothing sensible can be answered; the connection must be closed.
pub async fn dispatch(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    mut frame: Bytes,
    asked_at: Instant,
) -> Result<Pending, RequestError> {
    let request_bytes = frame.len();
    let header = header::parse_request_header(&mut frame)?;
    let body = frame;
    let ctx = RequestContext::new(broker, session, &header, request_bytes, asked_at);
    let spec = match api::served(header.api_key, header.api_version) {
        Ok(spec) if api::is_switched_on(spec, &broker.config) => spec,
        Ok(spec) => {
            let api_key = spec.api_key;
            return Err(Unsupported::Api { api_key }.into());
        }
        Err(Unsupported::Version { .. }) if header.api_key == api_spec::API_VERSIONS => {
            let response = decode::api_versions_fallback();
            return Ok(Pending::Ready(response::encode_in(
                0, &ctx, &header, &response,
            )?));
        }
        Err(unsupported) => return Err(unsupported.into()),
    };

    let check = || decode::check_request(header.api_key, header.api_version, &body);
    let body = Toll::time(ctx.toll(), check)?;
    let elements = hold_elements(broker, session, body.element_count()).await;

    let pending = start(ctx, spec, header, body).await;
    Ok(match (pending?, elements) {
        (Pending::Later(response), Some(elements)) => Pending::later(async move {
            let response = response.await;
            drop(elements);
            response
        }),
        (pending, _) => pending,
    })
}

/// Finds the API of a request: a match that is made from the rows in `api/mod.rs`.
async fn start(
    ctx: RequestContext,
    spec: &'static ApiSpec,
    header: RequestHeader,
    body: CheckedBody,
) -> Result<Pending, RequestError> {
    macro_rules! answer {
        ($module:ident early) => {{
            let request = Toll::time(ctx.toll(), || body.decode())?;
            let started = timed!(api::$module::start(&ctx, &header, request))?;
            let throttle_time_ms = ctx.throttle_time_ms();
            match started {
                None => Ok(Pending::NoResponse),
                Some(started) => Ok(Pending::later(async move {
                    let mut response = started.answer().await;
                    response.throttle_time_ms = throttle_time_ms;
                    encode(&ctx, &header, &response)
                })),
            }
        }};
        ($module:ident on_cluster $($how:tt)*) => {{
            let element_count = body.element_count();
            let request = Toll::time(ctx.toll(), || body.decode())?;
            answer_first(&ctx);
            Ok(Pending::later(async move {
                let response = match denied_on_cluster(&ctx, spec.access) {
                    Some(error) => {
                        ctx.pay(element_count * ELEMENT_BYTES + ctx.request_bytes).await?;
                        api::$module::refused(&ctx, &request, error)
                    }
                    None => {
                        let handled = timed!(api::$module::handle(&ctx, request));
                        outcome!(handled $($how)*)
                    }
                };
                let response = sent!(response $($how)*);
                encode(&ctx, &header, &response)
            }))
        }};
        ($module:ident $($how:tt)*) => {{
            let request = Toll::time(ctx.toll(), || body.decode())?;
            answer_first(&ctx);
            Ok(Pending::later(async move {
                let handled = timed!(api::$module::handle(&ctx, request));
                let response = outcome!(handled $($how)*);
                let response = sent!(response $($how)*);
                encode(&ctx, &header, &response)
            }))
        }};
    }
    // Pinned where it is made: a function would have it twice.
    macro_rules! timed {
        ($work:expr) => {{
            let mut work = std::pin::pin!($work);
            std::future::poll_fn(|cx| Toll::time(ctx.toll(), || work.as_mut().poll(cx))).await
        }};
    }
    macro_rules! outcome {
        ($handled:ident ? $($how:tt)*) => {
            $handled?
        };
        ($handled:ident $($how:tt)*) => {
            $handled
        };
    }
    macro_rules! sent {
        ($response:ident $(?)? no_throttle_time) => {{
            ctx.throttle_time_ms();
            $response
        }};
        // Versions that do not have the field leave it out.
        ($response:ident $(?)?) => {{
            let mut response = $response;
            response.throttle_time_ms = ctx.throttle_time_ms();
            response
        }};
    }
    macro_rules! by_key {
        ($($api:ident => $module:ident [$($how:tt)*];)*) => {
            match ApiKey::try_from(spec.api_key) {
                $(Ok(ApiKey::$api) => answer!($module $($how)*),)*
                _ => Err(RequestError::from(Unsupported::Api { api_key: header.api_key })),
            }
        };
    }

    api::served_apis!(by_key)
}

/// A client that may have to wait after its request asks nothing more before.
fn answer_first(ctx: &RequestContext) {
    if ctx.toll().is_some() {
        ctx.session.answer_first();
    }
}

/// Encodes a response. That takes time, too, and nobody is throttled for it any more.
fn encode(
    ctx: &RequestContext,
    header: &RequestHeader,
    response: &impl Response,
) -> Result<ResponseFrame, RequestError> {
    let frame = Toll::time(ctx.toll(), || response::encode(ctx, header, response));
    ctx.throttle_time_ms();
    frame
}

/// What to tell a client that may not do to the cluster what the API is for.
fn denied_on_cluster(ctx: &RequestContext, access: Access) -> Option<ErrorCode> {
    match access {
        Access::OnCluster(operation) => ctx.view().check(operation, Resource::Cluster).err(),
        Access::Open | Access::Named => None,
    }
}

/// Waits for the memory of a request that names many things, before it is decoded.
async fn hold_elements(broker: &Broker, session: &Session, element_count: usize) -> Option<Share> {
    if element_count <= FEW_ELEMENTS {
        return None;
    }
    let mut share = broker.element_budget.share(session.peer_addr.ip());
    share.grow(element_count * ELEMENT_BYTES).await;
    Some(share)
}
