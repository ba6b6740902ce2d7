//! Which quotas may be set: rules and messages are Kafka's (`ClientQuotaControlManager`).

use std::net::IpAddr;

use super::{EntityType, Part, QuotaEntity, QuotaKey, QuotasImage, quota_record};
use crate::metadata::error::MetadataError;
use crate::metadata::record::MetadataRecord;

/// Most entities that have quotas: whoever may set them may not fill the memory with them.
pub(crate) const MAX_ENTITIES: usize = 100_000;
/// Longest name of a user or a client: a client id on the wire is no longer.
const MAX_NAME_BYTES: usize = 32_767;

/// A change of one entity's quotas.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterQuotas {
    /// Types and names as somebody asks for them; a name of `None` is the default. Each type once.
    pub entity: Vec<(String, Option<String>)>,
    /// `None` takes a key back.
    pub changes: Vec<(String, Option<f64>)>,
}

impl AlterQuotas {
    /// As Kafka's `ClientQuotaEntity` prints itself.
    pub(crate) fn entity_text(&self) -> String {
        match checked_entity(&self.entity) {
            Ok(entity) => entity.to_string(),
            Err(_) => format!("{:?}", self.entity),
        }
    }
}

/// The records that make an entity's quotas what is asked for; none if they are that already.
pub(crate) fn plan_quotas(
    image: &QuotasImage,
    alter: &AlterQuotas,
) -> Result<Vec<MetadataRecord>, MetadataError> {
    let entity = checked_entity(&alter.entity)?;
    let is_ip = entity.ip != Part::Any;
    let old = image.values(&entity);
    let mut records = Vec::with_capacity(alter.changes.len());
    for (name, value) in &alter.changes {
        let key = QuotaKey::from_name(name);
        let old = key.and_then(|key| old?.get(key));
        if let Some(value) = value {
            check_value(is_ip, name, *value)?;
        }
        if let Some(key) = key.filter(|_| old != *value) {
            records.push(quota_record(&entity, key, *value));
        }
    }
    if old.is_none() && !records.is_empty() && image.len() >= MAX_ENTITIES {
        return Err(MetadataError::PolicyViolation(format!(
            "{MAX_ENTITIES} entities have quotas, more there cannot be: remove some, or set one for the default entity"
        )));
    }
    Ok(records)
}

fn invalid<T>(what: String) -> Result<T, MetadataError> {
    Err(MetadataError::InvalidRequest(what))
}

fn checked_entity(entity: &[(String, Option<String>)]) -> Result<QuotaEntity, MetadataError> {
    let mut checked = QuotaEntity::default();
    for (kind, name) in entity {
        let Some(known) = EntityType::from_name(kind) else {
            return invalid(format!("Unhandled client quota entity type: {kind}"));
        };
        match name.as_deref() {
            Some("") => return invalid(format!("Empty {kind} not supported")),
            Some(name) if name.len() > MAX_NAME_BYTES => {
                return invalid(format!("The {kind} is longer than {MAX_NAME_BYTES} bytes"));
            }
            name => *checked.part_mut(known) = Part::from(name),
        }
    }
    let has_client = checked.user != Part::Any || checked.client_id != Part::Any;
    match &checked.ip {
        Part::Any if !has_client => invalid("Invalid empty client quota entity".to_owned()),
        Part::Any => Ok(checked),
        _ if has_client => invalid(
            "Invalid quota entity combination, IP entity should not be combined with User or ClientId"
                .to_owned(),
        ),
        Part::Named(ip) if ip.parse::<IpAddr>().is_err() => {
            invalid(format!("{ip} is not a valid IP or resolvable host."))
        }
        Part::Named(_) | Part::Default => Ok(checked),
    }
}

fn check_value(is_ip: bool, name: &str, value: f64) -> Result<(), MetadataError> {
    let key = QuotaKey::from_name(name);
    let key = key.filter(|key| is_ip == (*key == QuotaKey::ConnectionCreationRate));
    let Some(key) = key else {
        return invalid(format!("Invalid configuration key {name}"));
    };
    // Kafka takes what is no number.
    if value.is_nan() || value <= 0.0 {
        return invalid(format!("Quota {name} must be greater than 0"));
    }
    let (largest, kind) = match key {
        QuotaKey::ProducerByteRate | QuotaKey::ConsumerByteRate => (i64::MAX as f64, "a LONG"),
        QuotaKey::ConnectionCreationRate => (f64::from(i32::MAX), "an INT"),
        QuotaKey::RequestPercentage | QuotaKey::ControllerMutationRate => return Ok(()),
    };
    if value > largest {
        return invalid(format!(
            "Proposed value for {name} is too large for {kind}."
        ));
    }
    if value.fract() > 1e-6 {
        return invalid(format!("{name} cannot be a fractional value."));
    }
    Ok(())
}
