//! DescribeClientQuotas (key 48), versions 0-1 (KIP-546).
//!
//! Tells the quotas of every entity that has all parts of the filter, and with `strict` no others. A part is asked for by its
//! name, as the default, or whatever it is. A filter that makes no sense is refused as Kafka's `ClientQuotasImage` does:
//! INVALID_REQUEST, or UNSUPPORTED_VERSION for a type of entity that there is not.

#![expect(
    clippy::disallowed_methods,
    reason = "quotas are the cluster's, which dispatch has asked for"
)]

use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use kafka_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use super::{PART_BYTES, wire};
use crate::authorizer::denial;
use crate::context::RequestContext;
use crate::metadata::{EntityType, Part, QuotaEntity};
use crate::net::account::Unaffordable;

const MATCH_EXACT: i8 = 0;
const MATCH_DEFAULT: i8 = 1;
const MATCH_SPECIFIED: i8 = 2;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DescribeClientQuotasRequest,
) -> Result<DescribeClientQuotasResponse, Unaffordable> {
    let filter = match Filter::new(&request.components, request.strict) {
        Ok(filter) => filter,
        Err((error, message)) => return Ok(failed(error, message)),
    };
    let view = ctx.view();
    let quotas = view.whole_metadata().image.quotas();
    let mut tab = ctx.tab();
    let mut entries = Vec::new();
    for (entity, values) in quotas.iter().filter(|(entity, _)| filter.matches(entity)) {
        let names = entity.parts().map(|(_, name)| name.map_or(0, str::len));
        tab.add_for_all(PART_BYTES * 4 + 2 * names.sum::<usize>())
            .await?;
        let parts = entity.parts().map(|(kind, name)| {
            EntityData::default()
                .with_entity_type(StrBytes::from_static_str(kind.name()))
                .with_entity_name(name.map(wire))
        });
        let values = values.iter().map(|(key, value)| {
            ValueData::default()
                .with_key(StrBytes::from_static_str(key.name()))
                .with_value(value)
        });
        entries.push(
            EntryData::default()
                .with_entity(parts.collect())
                .with_values(values.collect()),
        );
    }
    Ok(DescribeClientQuotasResponse::default().with_entries(Some(entries)))
}

/// For a client that may not describe the cluster's configuration.
pub(crate) fn refused(
    _ctx: &RequestContext,
    _request: &DescribeClientQuotasRequest,
    error: ErrorCode,
) -> DescribeClientQuotasResponse {
    failed(error, denial(error))
}

fn failed(error: ErrorCode, message: &'static str) -> DescribeClientQuotasResponse {
    DescribeClientQuotasResponse::default()
        .with_error_code(error.into())
        .with_error_message(Some(StrBytes::from_static_str(message)))
        .with_entries(None)
}

/// What is asked of each part of an entity.
#[derive(Default)]
struct Filter {
    wanted: [Option<Wanted>; EntityType::ALL.len()],
    strict: bool,
}

enum Wanted {
    This(Part),
    Specified,
}

impl Filter {
    /// Stops at the first component that is wrong: there is one type to each, so the fourth is wrong at the latest.
    fn new(components: &[ComponentData], strict: bool) -> Result<Self, (ErrorCode, &'static str)> {
        let invalid = |message| Err((ErrorCode::InvalidRequest, message));
        let mut filter = Self {
            strict,
            ..Self::default()
        };
        for component in components {
            if component.entity_type.is_empty() {
                return invalid("Invalid empty entity type.");
            }
            let Some(kind) = EntityType::from_name(&component.entity_type) else {
                return Err((ErrorCode::UnsupportedVersion, "Unsupported entity type"));
            };
            let wanted = &mut filter.wanted[kind as usize];
            if wanted.is_some() {
                return invalid("An entity type cannot appear more than once in the filter.");
            }
            *wanted = Some(match (component.match_type, &component._match) {
                (MATCH_EXACT, None) => {
                    return invalid(
                        "Request specified MATCH_TYPE_EXACT, but set match string to null.",
                    );
                }
                (MATCH_DEFAULT, Some(_)) => {
                    return invalid(
                        "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.",
                    );
                }
                (MATCH_SPECIFIED, Some(_)) => {
                    return invalid(
                        "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.",
                    );
                }
                (MATCH_EXACT, Some(name)) => Wanted::This(Part::from(Some(name.as_str()))),
                (MATCH_DEFAULT, None) => Wanted::This(Part::Default),
                (MATCH_SPECIFIED, None) => Wanted::Specified,
                _ => return invalid("Unknown match type"),
            });
        }
        let [user, client_id, ip] = &filter.wanted;
        if ip.is_some() && (user.is_some() || client_id.is_some()) {
            return invalid(
                "Invalid entity filter component combination. IP filter component should not be used with user or \
                 clientId filter component.",
            );
        }
        Ok(filter)
    }

    fn matches(&self, entity: &QuotaEntity) -> bool {
        let mut kinds = EntityType::ALL.into_iter();
        kinds.all(
            |kind| match (&self.wanted[kind as usize], entity.part(kind)) {
                (None, part) => !self.strict || *part == Part::Any,
                (Some(Wanted::This(wanted)), part) => wanted == part,
                (Some(Wanted::Specified), part) => *part != Part::Any,
            },
        )
    }
}
