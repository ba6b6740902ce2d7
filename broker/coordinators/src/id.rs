//! Ids and names as machines keep them: shared, never changed.

use std::sync::Arc;

/// Any text that is no id: the name of a topic or a protocol, an expression, what a client says of itself.
pub type Name = Arc<str>;

/// Each kind of id that could be taken for another one has a type of its own. It costs nothing: inside is a [`Name`].
macro_rules! ids {
    ($($(#[$doc:meta])* $id:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $id($crate::id::Name);

            impl std::ops::Deref for $id {
                type Target = str;

                fn deref(&self) -> &str {
                    &self.0
                }
            }

            impl std::borrow::Borrow<str> for $id {
                fn borrow(&self) -> &str {
                    &self.0
                }
            }

            impl<T: Into<$crate::id::Name>> From<T> for $id {
                fn from(text: T) -> Self {
                    Self(text.into())
                }
            }

            impl std::fmt::Display for $id {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    std::fmt::Display::fmt(&self.0, f)
                }
            }

            impl std::fmt::Debug for $id {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    std::fmt::Debug::fmt(&self.0, f)
                }
            }
        )*
    };
}
pub(crate) use ids;
