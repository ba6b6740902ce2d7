//! Ids and names as a shard keeps them: shared, never changed.

use crate::codec::MAX_STRING_BYTES;
pub use crate::id::Name;
use crate::id::ids;

ids! {
    /// `group.id`.
    GroupId;
    /// The id of one member of a group, made by the group or by the member itself.
    MemberId;
    /// `group.instance.id` of a static member (KIP-345).
    InstanceId;
}

impl GroupId {
    /// Whether requests of members may name this group. Commits and descriptions of classic groups accept the empty id, too, for old
    /// clients.
    pub fn is_valid(&self) -> bool {
        !self.is_empty() && self.len() <= MAX_STRING_BYTES
    }
}
