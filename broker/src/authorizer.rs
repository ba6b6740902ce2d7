//! Who may do what.
//!
//! A name in a request says nothing of whether its client may use it, so what a name stands for is handed out as
//! [`Authorized`] only, and whatever acts on it takes nothing else.

use std::net::IpAddr;
use std::ops::Deref;

use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;

use crate::net::session::{Principal, Session};

/// What something is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    TransactionalId(&'a str),
    Cluster,
}

impl Resource<'_> {
    /// What a client is told that may not do what it asked for.
    pub const fn denied(self) -> ErrorCode {
        match self {
            Self::Topic(_) => ErrorCode::TopicAuthorizationFailed,
            Self::Group(_) => ErrorCode::GroupAuthorizationFailed,
            Self::TransactionalId(_) => ErrorCode::TransactionalIdAuthorizationFailed,
            Self::Cluster => ErrorCode::ClusterAuthorizationFailed,
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
        _ => error.name(),
    }
}

/// Who asks, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    pub principal: &'a Principal,
    pub host: IpAddr,
}

impl<'a> From<&'a Session> for Asker<'a> {
    fn from(session: &'a Session) -> Self {
        Self {
            principal: &session.principal,
            host: session.peer_addr.ip(),
        }
    }
}

/// Decides. There is no authorizer that denies anything yet.
#[derive(Debug, Default)]
pub enum Authorizer {
    #[default]
    AllowAll,
    #[cfg(test)]
    Only(rights::Rights),
}

impl Authorizer {
    /// Whether somebody may do something.
    #[inline]
    pub fn allows(&self, asker: Asker<'_>, operation: Operation, resource: Resource<'_>) -> bool {
        match self {
            Self::AllowAll => {
                let _ = (asker, operation, resource);
                true
            }
            #[cfg(test)]
            Self::Only(rights) => rights.allow(asker, operation, resource),
        }
    }

    /// Whether somebody may do something to a topic, whichever it is (Kafka's `authorizeByResourceType`).
    pub fn allows_on_any_topic(&self, asker: Asker<'_>, operation: Operation) -> bool {
        match self {
            Self::AllowAll => {
                let _ = (asker, operation);
                true
            }
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
        match self.allows(asker, operation, Resource::Cluster) {
            true => Ok(Authorized(change)),
            false => self.authorize_change(asker, operation, change),
        }
    }

    /// Which of these operations somebody may do, as the bits of a response (KIP-430).
    pub fn allowed_of(&self, asker: Asker<'_>, operations: i32, resource: Resource<'_>) -> i32 {
        if matches!(self, Self::AllowAll) {
            return operations;
        }
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
            self.any(asker, |right| right.0 == operation && right.1 == resource)
        }

        pub(super) fn allow_on_any_topic(&self, asker: Asker<'_>, operation: Operation) -> bool {
            self.any(asker, |right| {
                right.0 == operation && matches!(right.1, Resource::Topic(_))
            })
        }
    }
}
