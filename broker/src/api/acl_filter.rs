//! Filters of access control entries, as DescribeAcls and DeleteAcls have them.

use kafka_protocol::protocol::StrBytes;

use crate::acl::{AclFilter, AclOperation, PatternFilter, PatternKind, Permission, ResourceKind};

/// Kafka's `ANY` of every kind of code, and the pattern type `MATCH`.
const ANY: i8 = 1;
const MATCH: i8 = 2;

/// A filter has a code that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnknownCode {
    OfPattern,
    OfEntry,
}

/// The fields of a filter, in the order of the wire.
pub(super) type Fields<'a> = (
    i8,
    &'a Option<StrBytes>,
    i8,
    &'a Option<StrBytes>,
    &'a Option<StrBytes>,
    i8,
    i8,
);

/// What a filter means.
///
/// # Errors
/// It has a code that nobody knows.
pub(super) fn filter(fields: Fields<'_>) -> Result<AclFilter<'_>, UnknownCode> {
    let (resource, name, pattern, principal, host, operation, permission) = fields;
    let pattern = match pattern {
        ANY => PatternFilter::Any,
        MATCH => PatternFilter::Match,
        code => PatternFilter::Only(PatternKind::from_code(code).ok_or(UnknownCode::OfPattern)?),
    };
    Ok(AclFilter {
        pattern,
        resource: known(resource, ResourceKind::from_code).ok_or(UnknownCode::OfPattern)?,
        principal: principal.as_deref(),
        host: host.as_deref(),
        operation: known(operation, AclOperation::from_code).ok_or(UnknownCode::OfEntry)?,
        permission: known(permission, Permission::from_code).ok_or(UnknownCode::OfEntry)?,
        name: name.as_deref(),
    })
}

/// What a code stands for; the inner `None` is anything.
fn known<T>(code: i8, from_code: impl Fn(i8) -> Option<T>) -> Option<Option<T>> {
    match code {
        ANY => Some(None),
        code => from_code(code).map(Some),
    }
}
