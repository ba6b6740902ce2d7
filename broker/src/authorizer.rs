//! Who may do what.
//!
//! A name in a request says nothing of whether its client may use it, so what a name stands for is handed out as
//! [`Authorized`] only, and whatever acts on it takes nothing else.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;
use tracing::{Level, enabled};

use crate::acl::{AclIndex, AclOperation, CLUSTER_NAME, Decision, Question, ResourceKind};
use crate::client_text::client_text;
use crate::config::AuthorizationConfig;
use crate::log_limited;
use crate::net::session::Principal;

/// What something is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    TransactionalId(&'a str),
    Cluster,
    /// A delegation token, by its id.
    DelegationToken(&'a str),
    /// A principal, `Type:name`.
    User(&'a str),
}

impl<'a> Resource<'a> {
    /// As entries have it.
    pub(crate) fn kind_and_name(self) -> (ResourceKind, &'a str) {
        match self {
            Self::Topic(name) => (ResourceKind::Topic, name),
            Self::Group(name) => (ResourceKind::Group, name),
            Self::TransactionalId(name) => (ResourceKind::TransactionalId, name),
            Self::Cluster => (ResourceKind::Cluster, CLUSTER_NAME),
            Self::DelegationToken(id) => (ResourceKind::DelegationToken, id),
            Self::User(principal) => (ResourceKind::User, principal),
        }
    }

    /// What a client is told that may not do what it asked for.
    pub const fn denied(self) -> ErrorCode {
        match self {
            Self::Topic(_) => ErrorCode::TopicAuthorizationFailed,
            Self::Group(_) => ErrorCode::GroupAuthorizationFailed,
            Self::TransactionalId(_) => ErrorCode::TransactionalIdAuthorizationFailed,
            Self::Cluster => ErrorCode::ClusterAuthorizationFailed,
            Self::DelegationToken(_) | Self::User(_) => {
                ErrorCode::DelegationTokenAuthorizationFailed
            }
        }
    }
}

/// What a client is told besides the code, in Kafka's words.
pub const fn denial(error: ErrorCode) -> &'static str {
    match error {
        ErrorCode::TopicAuthorizationFailed => "Topic authorization failed.",
        ErrorCode::GroupAuthorizationFailed => "Group authorization failed.",
        ErrorCode::TransactionalIdAuthorizationFailed => "Transactional Id authorization failed.",
        ErrorCode::ClusterAuthorizationFailed => "Cluster authorization failed.",
        ErrorCode::DelegationTokenAuthorizationFailed => "Delegation Token authorization failed.",
        _ => error.name(),
    }
}

/// Who asks, from where and with what; and what the entries say at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    pub principal: &'a Principal,
    pub host: IpAddr,
    pub acls: &'a AclIndex,
    /// The name of the API.
    pub api: &'static str,
    pub audit: Audit,
}

impl Asker<'_> {
    /// The same, for what is only looked at to find out what may be shown.
    pub(crate) fn filtering(self) -> Self {
        Self {
            audit: Audit::Filtering,
            ..self
        }
    }

    fn question(&self, operation: Operation) -> Question<'_> {
        Question {
            kind: &self.principal.kind,
            name: &self.principal.name,
            host: self.host,
            operation: operation.into(),
        }
    }
}

/// How loudly the log tells of an answer, as by Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audit {
    /// A client has asked for it: a denial is told.
    Asked,
    /// It is one of many that are looked at, or one of several rights that would do.
    Filtering,
}

/// Decides.
#[derive(Debug, Default)]
pub enum Authorizer {
    #[default]
    AllowAll,
    Standard(StandardAuthorizer),
    #[cfg(test)]
    Only(rights::Rights),
}

/// Kafka's `StandardAuthorizer`: who may do what is what the entries say.
#[derive(Debug)]
pub struct StandardAuthorizer {
    /// `Type:name` of those who may do everything.
    super_users: HashSet<(String, String)>,
    allows_everyone_without_acls: bool,
    denied: Denied,
}

/// How often something was denied that a client had asked for, by operation.
#[derive(Debug, Default)]
struct Denied([AtomicU64; 16]);

impl Denied {
    fn of(&self, operation: Operation) -> Option<&AtomicU64> {
        self.0.get(operation as usize)
    }
}

impl StandardAuthorizer {
    fn is_super_user(&self, principal: &Principal) -> bool {
        let is_own = |(kind, name): &(String, String)| {
            **kind == *principal.kind && **name == *principal.name
        };
        self.super_users.iter().any(is_own)
    }

    fn allows(&self, asker: Asker<'_>, operation: Operation, resource: Resource<'_>) -> bool {
        let (kind, name) = resource.kind_and_name();
        let (is_allowed, rule) = match self.is_super_user(asker.principal) {
            true => (true, "a super user"),
            false => match asker.acls.decide(asker.question(operation), kind, name) {
                Decision::Allowed => (true, "an ACL allows it"),
                Decision::Denied => (false, "an ACL denies it"),
                Decision::NotAllowed => (false, "no ACL allows it"),
                Decision::NoEntries => (self.allows_everyone_without_acls, "there is no ACL"),
            },
        };
        self.tell(asker, operation, (kind, name), is_allowed, rule);
        is_allowed
    }

    fn allows_on_any_topic(&self, asker: Asker<'_>, operation: Operation) -> bool {
        let question = asker.question(operation);
        let if_no_entries = self.allows_everyone_without_acls;
        let is_super_user = self.is_super_user(asker.principal);
        let is_allowed = is_super_user
            || asker
                .acls
                .allows_on_any(question, ResourceKind::Topic, if_no_entries);
        let resource = (ResourceKind::Topic, "any");
        self.tell(asker, operation, resource, is_allowed, "of all ACLs");
        is_allowed
    }

    /// Counts a denial, and writes down what was asked and answered.
    fn tell(
        &self,
        asker: Asker<'_>,
        operation: Operation,
        resource: (ResourceKind, &str),
        is_allowed: bool,
        rule: &str,
    ) {
        if !is_allowed
            && asker.audit == Audit::Asked
            && let Some(counter) = self.denied.of(operation)
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        tell(asker, operation, resource, is_allowed, rule);
    }
}

/// Writes down what was asked and answered. Whoever may do nothing can ask as often as it likes.
fn tell(
    asker: Asker<'_>,
    operation: Operation,
    (kind, name): (ResourceKind, &str),
    is_allowed: bool,
    rule: &str,
) {
    macro_rules! line {
        ($write:ident($($level:ident)?), $what:literal) => {
            $write!(
                $($level,)?
                target: "ottla::authorizer",
                principal = %client_text(&format!("{}:{}", asker.principal.kind, asker.principal.name)),
                operation = ?operation,
                host = %asker.host,
                resource = %kind,
                name = %client_text(name),
                api = asker.api,
                rule,
                $what
            )
        };
    }
    use tracing::trace;
    const TARGET: &str = "ottla::authorizer";
    match (asker.audit, is_allowed) {
        (Audit::Asked, false) => {
            if enabled!(target: TARGET, Level::INFO) {
                line!(log_limited(info), "denied");
            }
        }
        (Audit::Asked, true) => {
            if enabled!(target: TARGET, Level::DEBUG) {
                line!(log_limited(debug), "allowed");
            }
        }
        (Audit::Filtering, false) => line!(trace(), "left out"),
        (Audit::Filtering, true) => line!(trace(), "let through"),
    }
}

impl Authorizer {
    /// What the settings ask for.
    pub(crate) fn new(config: AuthorizationConfig) -> Self {
        match config.is_on {
            true => Self::standard(
                config.super_users.iter().map(String::as_str),
                config.allows_everyone_without_acls,
            ),
            false => Self::AllowAll,
        }
    }

    /// Kafka's `StandardAuthorizer`; a super user is `Type:name`.
    pub fn standard<'a>(
        super_users: impl IntoIterator<Item = &'a str>,
        allows_everyone_without_acls: bool,
    ) -> Self {
        let super_users = super_users.into_iter();
        let super_users = super_users.filter_map(|principal| principal.split_once(':'));
        Self::Standard(StandardAuthorizer {
            super_users: super_users
                .map(|(kind, name)| (kind.to_owned(), name.to_owned()))
                .collect(),
            allows_everyone_without_acls,
            denied: Denied::default(),
        })
    }

    /// Whether there are rules at all.
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self, Self::AllowAll)
    }

    /// How often each operation was denied to a client that had asked for it; nothing where there is no authorizer.
    pub(crate) fn denied_counts(&self) -> Vec<(AclOperation, u64)> {
        let Self::Standard(standard) = self else {
            return Vec::new();
        };
        let count = |operation: Operation| {
            let counter = standard.denied.of(operation)?;
            Some((operation.into(), counter.load(Ordering::Relaxed)))
        };
        Operation::ALL.into_iter().filter_map(count).collect()
    }

    /// Whether somebody may do something.
    #[inline]
    pub fn allows(&self, asker: Asker<'_>, operation: Operation, resource: Resource<'_>) -> bool {
        match self {
            Self::AllowAll => true,
            Self::Standard(standard) => standard.allows(asker, operation, resource),
            #[cfg(test)]
            Self::Only(rights) => rights.allow(asker, operation, resource),
        }
    }

    /// Whether somebody may do something to a topic, whichever it is (Kafka's `authorizeByResourceType`).
    pub fn allows_on_any_topic(&self, asker: Asker<'_>, operation: Operation) -> bool {
        match self {
            Self::AllowAll => true,
            Self::Standard(standard) => standard.allows_on_any_topic(asker, operation),
            #[cfg(test)]
            Self::Only(rights) => rights.allow_on_any_topic(asker, operation),
        }
    }

    /// Hands out `of`, which `resource` is the name of.
    ///
    /// # Errors
    /// What to tell somebody who may not have it.
    #[inline]
    pub fn authorize<T>(
        &self,
        asker: Asker<'_>,
        operation: Operation,
        resource: Resource<'_>,
        of: T,
    ) -> Result<Authorized<T>, ErrorCode> {
        match self.allows(asker, operation, resource) {
            true => Ok(Authorized(of)),
            false => Err(resource.denied()),
        }
    }

    /// Hands out what is made or changed by its name.
    ///
    /// # Errors
    /// What to tell somebody who may not.
    pub fn authorize_change<T: Named>(
        &self,
        asker: Asker<'_>,
        operation: Operation,
        change: T,
    ) -> Result<Authorized<T>, ErrorCode> {
        match self.allows(asker, operation, change.resource()) {
            true => Ok(Authorized(change)),
            false => Err(change.resource().denied()),
        }
    }

    /// Hands out what is made or changed by its name. The right on the whole cluster is enough, too.
    ///
    /// # Errors
    /// What to tell somebody who may not.
    pub fn authorize_change_or_on_cluster<T: Named>(
        &self,
        asker: Asker<'_>,
        operation: Operation,
        change: T,
    ) -> Result<Authorized<T>, ErrorCode> {
        match self.allows(asker.filtering(), operation, Resource::Cluster) {
            true => Ok(Authorized(change)),
            false => self.authorize_change(asker, operation, change),
        }
    }

    /// Which of these operations somebody may do, as the bits of a response (KIP-430).
    pub fn allowed_of(&self, asker: Asker<'_>, operations: i32, resource: Resource<'_>) -> i32 {
        if matches!(self, Self::AllowAll) {
            return operations;
        }
        let asker = asker.filtering();
        let asked_for = Operation::ALL.into_iter();
        let asked_for = asked_for.filter(|operation| operations & operation.bit() != 0);
        asked_for
            .filter(|operation| self.allows(asker, *operation, resource))
            .fold(0, |bits, operation| bits | operation.bit())
    }
}

/// Something that is made or changed by its name.
pub trait Named {
    fn resource(&self) -> Resource<'_>;
}

/// Something that a client has asked for, and with which it may do what it asked.
///
/// An [`Authorizer`] makes it, or the broker for its own work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorized<T>(T);

impl<T> Authorized<T> {
    /// For the broker's own work, which nobody has asked for. Clippy lets few files do this.
    pub fn internal(of: T, _why: &'static str) -> Self {
        Self(of)
    }

    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Authorized<Option<T>> {
    /// What was asked for, if there is such a thing.
    pub fn transpose(self) -> Option<Authorized<T>> {
        self.0.map(Authorized)
    }
}

impl<T> Deref for Authorized<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Tests may do everything without being asked who they are.
#[cfg(test)]
impl<T> From<T> for Authorized<T> {
    fn from(of: T) -> Self {
        Self(of)
    }
}

/// An authorizer for tests, which allows what it is told to.
#[cfg(test)]
pub mod rights {
    use std::collections::HashSet;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// One thing that may be done.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) struct Right(pub Operation, pub Resource<'static>);

    /// What the anonymous may do. Everybody else may do everything.
    #[derive(Clone, Debug, Default)]
    pub struct Rights(Arc<Mutex<HashSet<Right>>>);

    impl Rights {
        pub(crate) fn set(&self, rights: impl IntoIterator<Item = Right>) {
            *self.0.lock() = rights.into_iter().collect();
        }

        fn any(&self, asker: Asker<'_>, is_right: impl FnMut(&Right) -> bool) -> bool {
            *asker.principal != Principal::anonymous() || self.0.lock().iter().any(is_right)
        }

        pub(super) fn allow(
            &self,
            asker: Asker<'_>,
            operation: Operation,
            resource: Resource<'_>,
        ) -> bool {
            self.any(asker, |right| {
                // Who may delete a topic by its name may know of it.
                let is_implied = (right.0, operation) == (Operation::Delete, Operation::Describe);
                (right.0 == operation || is_implied) && right.1 == resource
            })
        }

        pub(super) fn allow_on_any_topic(&self, asker: Asker<'_>, operation: Operation) -> bool {
            self.any(asker, |right| {
                right.0 == operation && matches!(right.1, Resource::Topic(_))
            })
        }
    }
}
