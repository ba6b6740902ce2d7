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

/// Types, each once, and names.
type Entity = Vec<(String, Option<String>)>;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: AlterClientQuotasRequest,
) -> Result<AlterClientQuotasResponse, Unaffordable> {
    // Names are in the answer, and again in what is said of them.
    ctx.pay(PART_BYTES * request.entries.len() + 3 * ctx.request_bytes)
        .await?;
    let mut outcomes: IndexMap<Entity, Option<MetadataError>> = IndexMap::new();
    // What may be tried, and where its outcome belongs.
    let (mut wanted, mut places) = (Vec::new(), Vec::new());
    for asked in request.entries {
        let entity = entity(&asked);
        let mut keys = BTreeSet::new();
        let keys_differ = asked.ops.iter().all(|op| keys.insert(&op.key));
        let is_first = !outcomes.contains_key(&entity);
        let changes = asked.ops.iter().map(|op| {
            let value = (!op.remove).then_some(op.value);
            (op.key.to_string(), value)
        });
        let alter = AlterQuotas {
            changes: changes.collect(),
            entity: entity.clone(),
        };
        let refused = (!is_first || !keys_differ).then(|| {
            let text = alter.entity_text();
            MetadataError::InvalidRequest(format!("Ignoring duplicate entity {text}"))
        });
        if refused.is_none() {
            places.push(outcomes.len());
            wanted.push(alter);
        }
        outcomes.insert(entity, refused);
    }
    let view = ctx.view();
    let altered = view.metadata().alter_quotas(wanted, request.validate_only);
    for (place, outcome) in places.into_iter().zip(altered.await) {
        if let (Err(error), Some((_, told @ None))) = (outcome, outcomes.get_index_mut(place)) {
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
        let name = part.entity_name.as_ref().map(|name| name.as_str());
        (part.entity_type.as_str(), name)
    });
    let parts: BTreeMap<&str, Option<&str>> = parts.collect();
    let owned = parts.into_iter();
    owned
        .map(|(kind, name)| (kind.to_owned(), name.map(str::to_owned)))
        .collect()
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
