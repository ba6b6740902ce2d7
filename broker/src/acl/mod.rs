//! Access control entries: what they say, which of them a filter means, and what follows from all of them.
//!
//! Nothing here knows of requests, records or sessions.

mod filter;
mod index;

use std::fmt;
use std::sync::Arc;

use protocol_shim::access::Operation;

pub(crate) use filter::{AclFilter, Matches, PatternFilter};
pub use index::AclIndex;
pub(crate) use index::check_host;
pub(crate) use index::{Decision, Question};

/// The one name that a resource of type [`ResourceKind::Cluster`] has.
pub(crate) const CLUSTER_NAME: &str = "kafka-cluster";
/// Every resource of a type, as the name of an entry; every host; every user.
pub(crate) const EVERY: &str = "*";

/// Makes an enum of Kafka's codes, as requests and records have them, and of Kafka's names.
macro_rules! codes {
    ($(#[$about:meta])* $name:ident { $( $variant:ident = $code:literal, $text:literal; )* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i8)]
        pub enum $name { $( $variant = $code, )* }

        impl $name {
            pub const ALL: &'static [Self] = &[$( Self::$variant, )*];

            pub fn from_code(code: i8) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.code() == code)
            }

            pub const fn code(self) -> i8 {
                self as i8
            }
        }

        /// Kafka's name of it.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $( Self::$variant => $text, )* })
            }
        }
    };
}

codes! {
    /// What an entry is about (Kafka's `ResourceType`).
    ResourceKind {
        Topic = 2, "TOPIC";
        Group = 3, "GROUP";
        Cluster = 4, "CLUSTER";
        TransactionalId = 5, "TRANSACTIONAL_ID";
        DelegationToken = 6, "DELEGATION_TOKEN";
        User = 7, "USER";
    }
}

codes! {
    /// How the name in an entry is meant (Kafka's `PatternType`).
    PatternKind {
        Literal = 3, "LITERAL";
        Prefixed = 4, "PREFIXED";
    }
}

codes! {
    /// What may or may not be done (Kafka's `AclOperation`).
    AclOperation {
        All = 2, "ALL";
        Read = 3, "READ";
        Write = 4, "WRITE";
        Create = 5, "CREATE";
        Delete = 6, "DELETE";
        Alter = 7, "ALTER";
        Describe = 8, "DESCRIBE";
        ClusterAction = 9, "CLUSTER_ACTION";
        DescribeConfigs = 10, "DESCRIBE_CONFIGS";
        AlterConfigs = 11, "ALTER_CONFIGS";
        IdempotentWrite = 12, "IDEMPOTENT_WRITE";
        CreateTokens = 13, "CREATE_TOKENS";
        DescribeTokens = 14, "DESCRIBE_TOKENS";
        TwoPhaseCommit = 15, "TWO_PHASE_COMMIT";
    }
}

codes! {
    /// Kafka's `AclPermissionType`.
    Permission {
        Deny = 2, "DENY";
        Allow = 3, "ALLOW";
    }
}

impl From<Operation> for AclOperation {
    fn from(operation: Operation) -> Self {
        Self::from_code(operation as i8).unwrap_or(Self::All)
    }
}

/// One entry. Two that say the same are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acl {
    pub resource: ResourceKind,
    pub pattern: PatternKind,
    pub name: Arc<str>,
    /// `Type:name`; `User:*` is everybody.
    pub principal: Arc<str>,
    /// An address, a range of them such as `10.0.0.0/8`, or `*`.
    pub host: Arc<str>,
    pub operation: AclOperation,
    pub permission: Permission,
}

impl Acl {
    /// How much of it is text.
    pub(crate) fn text_bytes(&self) -> usize {
        self.name.len() + self.principal.len() + self.host.len()
    }

    /// Type and name of whom it is about.
    fn who(&self) -> (&str, &str) {
        // None is made without a colon, and a record without one is refused.
        self.principal
            .split_once(':')
            .unwrap_or((&self.principal, ""))
    }
}
