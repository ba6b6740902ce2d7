//! Ids and names, as the coordinator keeps them.

use std::sync::Arc;

use crate::codec::MAX_STRING_BYTES;

/// An id or name as the coordinator keeps it: shared, never changed.
pub type Id = Arc<str>;

/// The requests of the group protocol need an id; commits and descriptions accept the empty one, for old clients.
pub(super) fn is_group_id(group_id: &str) -> bool {
    !group_id.is_empty() && group_id.len() <= MAX_STRING_BYTES
}
