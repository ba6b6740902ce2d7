//! AlterClientQuotas (key 49), versions 0-1 (KIP-546).
//!
//! Sets quotas of users, client ids, both together, or addresses, and of the defaults of each; or takes them back. Each
//! entity succeeds or fails by itself, and is answered once. Of one that is named again the first mention counts, and the
//! answer is INVALID_REQUEST, as by Kafka; one that names a key twice is not changed.
//!
//! Deviations: an address is a literal one, where Kafka also looks names up; NaN is no quota; 100,000 entities may have
//! quotas (POLICY_VIOLATION).

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use kafka_protocol::messages::alter_client_quotas_request::{
    AlterClientQuotasRequest, EntryData as Asked,
};
use kafka_protocol::messages::alter_client_quotas_response::{
    AlterClientQuotasResponse, EntityData, EntryData,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use super::{PART_BYTES, wire};
use crate::authorizer::denial;
use crate::context::RequestContext;
use crate::metadata::{AlterQuotas, MetadataError};
use crate::net::account::Unaffordable;

/// Types and names.
type Entity = BTreeMap<String, Option<String>>;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: AlterClientQuotasRequest,
) -> Result<AlterClientQuotasResponse, Unaffordable> {
    // Names are in the answer, and again in what is said of them.
    ctx.pay(PART_BYTES * request.entries.len() + 3 * ctx.request_bytes)
        .await?;
    let mut outcomes: IndexMap<Entity, Option<MetadataError>> = IndexMap::new();
    let mut wanted = Vec::new();
    for asked in &request.entries {
        let entity = entity(asked);
        let mut keys = BTreeSet::new();
        let keys_differ = asked.ops.iter().all(|op| keys.insert(&op.key));
        let alter = AlterQuotas {
            entity: entity.clone(),
            changes: asked
                .ops
                .iter()
                .map(|op| (op.key.to_string(), (!op.remove).then_some(op.value)))
                .collect(),
        };
        if outcomes.contains_key(&entity) || !keys_differ {
            let text = alter.entity_text();
            let ignored = format!("Ignoring duplicate entity {text}");
            outcomes.insert(entity, Some(MetadataError::InvalidRequest(ignored)));
        } else {
            outcomes.insert(entity, None);
            wanted.push(alter);
        }
    }
    let entities: Vec<Entity> = wanted.iter().map(|alter| alter.entity.clone()).collect();
    let view = ctx.view();
    let altered = view.metadata().alter_quotas(wanted, request.validate_only);
    for (entity, outcome) in entities.into_iter().zip(altered.await) {
        if let (Err(error), Some(told @ None)) = (outcome, outcomes.get_mut(&entity)) {
            *told = Some(error);
        }
    }
    let entries = outcomes.into_iter().map(|(entity, error)| {
        let parts = entity.into_iter().map(|(kind, name)| {
            EntityData::default()
                .with_entity_type(StrBytes::from_string(kind))
                .with_entity_name(name.map(StrBytes::from_string))
        });
        let entry = EntryData::default().with_entity(parts.collect());
        match error {
            None => entry.with_error_message(None),
            Some(error) => entry
                .with_error_code(error.code() as i16)
                .with_error_message(Some(StrBytes::from_string(error.to_string()))),
        }
    });
    Ok(AlterClientQuotasResponse::default().with_entries(entries.collect()))
}

/// A type that is named again has the last name.
fn entity(asked: &Asked) -> Entity {
    let parts = asked.entity.iter().map(|part| {
        let name = part.entity_name.as_ref().map(|name| name.to_string());
        (part.entity_type.to_string(), name)
    });
    parts.collect()
}

/// For a client that may not change the cluster's configuration.
pub(crate) fn refused(
    _ctx: &RequestContext,
    request: &AlterClientQuotasRequest,
    error: ErrorCode,
) -> AlterClientQuotasResponse {
    let entries = request.entries.iter().map(|asked| {
        let parts = asked.entity.iter().map(|part| {
            EntityData::default()
                .with_entity_type(wire(&part.entity_type))
                .with_entity_name(part.entity_name.as_ref().map(|name| wire(name)))
        });
        EntryData::default()
            .with_error_code(error.into())
            .with_error_message(Some(StrBytes::from_static_str(denial(error))))
            .with_entity(parts.collect())
    });
    AlterClientQuotasResponse::default().with_entries(entries.collect())
}
