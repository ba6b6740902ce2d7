//! FindCoordinator (key 10), versions 0-6.
//!
//! Tells who coordinates a group (key type 0) or a transactional id (key type 1). The first question for one creates
//! `__consumer_offsets` or `__transaction_state`, as in Kafka. Several keys at once from v4 (KIP-699).
//!
//! Deviation: share groups (key type 2) are not served; INVALID_REQUEST with a message ends such a client at once, where
//! COORDINATOR_NOT_AVAILABLE would let it retry for ever.

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;

use super::{PART_BYTES, wire};
use crate::authorizer::{Resource, denial};
use crate::cluster::view::CoordinatorKind;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;
use crate::view::View;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: FindCoordinatorRequest,
) -> Result<FindCoordinatorResponse, Unaffordable> {
    let view = ctx.view();
    if ctx.api_version < 4 {
        let may_ask = check(&view, request.key_type, &request.key).is_ok();
        let served = serve(&view, request.key_type, may_ask).await;
        // The topic may be there only now.
        let view = ctx.view();
        let found = find(ctx, &view, request.key_type, &request.key, served);
        return Ok(FindCoordinatorResponse::default()
            .with_error_code(found.error_code)
            .with_error_message(found.error_message.filter(|_| ctx.api_version >= 1))
            .with_node_id(found.node_id)
            .with_host(found.host)
            .with_port(found.port));
    }
    let keys = request.coordinator_keys;
    let key_bytes = PART_BYTES + 2 * ctx.session.listener.advertised.host.len();
    ctx.pay(key_bytes * keys.len()).await?;
    let may_ask = keys
        .iter()
        .any(|key| check(&view, request.key_type, key).is_ok());
    let served = serve(&view, request.key_type, may_ask).await;
    let view = ctx.view();
    let find = |key| find(ctx, &view, request.key_type, key, served);
    let coordinators = keys.iter().map(|key| find(key).with_key(key.clone()));
    Ok(FindCoordinatorResponse::default().with_coordinators(coordinators.collect()))
}

/// Whether the client may ask for this coordinator.
fn check(view: &View<'_>, key_type: i8, key: &str) -> Result<(), ErrorCode> {
    match key_type {
        GROUP => view.check(Operation::Describe, Resource::Group(key)),
        TRANSACTION => view.check(Operation::Describe, Resource::TransactionalId(key)),
        _ => view.check(Operation::ClusterAction, Resource::Cluster),
    }
}

/// Whether there is such a coordinator; begins to serve if somebody asks who may.
async fn serve(
    view: &View<'_>,
    key_type: i8,
    may_ask: bool,
) -> Result<CoordinatorKind, (ErrorCode, &'static str)> {
    let (kind, started, otherwise) = match key_type {
        GROUP => {
            let started = match may_ask {
                true => view.groups().ensure_started().await,
                false => Ok(()),
            };
            let otherwise = "the groups could not be loaded";
            (CoordinatorKind::Group, started, otherwise)
        }
        TRANSACTION => {
            let started = match may_ask {
                true => view.transactions().ensure_started().await,
                false => Ok(()),
            };
            let otherwise = "the transactions could not be loaded";
            (CoordinatorKind::Transaction, started, otherwise)
        }
        _ => {
            return Err((
                ErrorCode::InvalidRequest,
                "this kind of coordinator is not served",
            ));
        }
    };
    let unavailable = |_| (ErrorCode::CoordinatorNotAvailable, otherwise);
    started.map(|()| kind).map_err(unavailable)
}

fn find(
    ctx: &RequestContext,
    view: &View<'_>,
    key_type: i8,
    key: &StrBytes,
    served: Result<CoordinatorKind, (ErrorCode, &'static str)>,
) -> Coordinator {
    let allowed = check(view, key_type, key);
    let allowed = allowed.map_err(|error| (error, Some(denial(error))));
    let served = allowed.and_then(|()| served.map_err(|(error, why)| (error, Some(why))));
    let found = served.and_then(|kind| {
        let id = view.coordinator_for(kind, key);
        let mut brokers = view.cluster().brokers(&ctx.session.listener);
        let broker = brokers.find(|broker| Some(broker.id) == id);
        broker.ok_or((ErrorCode::CoordinatorNotAvailable, None))
    });
    match found {
        Ok(broker) => Coordinator::default()
            .with_error_message(None)
            .with_node_id(broker.id.into())
            .with_host(wire(broker.host))
            .with_port(i32::from(broker.port)),
        Err((error, why)) => Coordinator::default()
            .with_error_code(error.into())
            .with_error_message(why.map(StrBytes::from_static_str))
            .with_node_id((-1).into())
            .with_port(-1),
    }
}
