//! Ids and names as a shard keeps them: shared, never changed.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::codec::MAX_STRING_BYTES;

/// Any text that is no id: the name of a topic or a protocol, an expression, what a client says of itself.
pub type Name = Arc<str>;

/// Each kind of id that could be taken for another one has a type of its own. It costs nothing: inside is a [`Name`].
macro_rules! ids {
    ($($(#[$doc:meta])* $id:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $id(Name);

            impl Deref for $id {
                type Target = str;

                fn deref(&self) -> &str {
                    &self.0
                }
            }

            impl Borrow<str> for $id {
                fn borrow(&self) -> &str {
                    &self.0
                }
            }

            impl<T: Into<Name>> From<T> for $id {
                fn from(text: T) -> Self {
                    Self(text.into())
                }
            }

            impl fmt::Display for $id {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Display::fmt(&self.0, f)
                }
            }

            impl fmt::Debug for $id {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Debug::fmt(&self.0, f)
                }
            }
        )*
    };
}

ids! {
    /// `group.id`.
    GroupId;
    /// The id of one member of a group, made by the group or by the member itself.
    MemberId;
    /// `group.instance.id` of a static member (KIP-345).
    InstanceId;
}

impl GroupId {
    /// Whether requests of members may name this group. Commits and descriptions accept the empty id, too, for old clients.
    pub(crate) fn is_valid(&self) -> bool {
        !self.is_empty() && self.len() <= MAX_STRING_BYTES
    }
}
