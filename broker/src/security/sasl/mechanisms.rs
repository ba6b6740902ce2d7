//! Which mechanisms a listener offers, and how each checks what it is told.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "gssapi")]
use super::gssapi::{self, Gssapi, KerberosService};
use super::oauthbearer::{self, OAuthBearer};
use super::plain::{self, PlainUsers};
use super::scram::Scram;
use super::{Known, Step};
use crate::security::tokens::{SignedTokens, TokenCheck};
use credentials::scram::ScramMechanism;

/// What a listener lets its clients log in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mechanisms {
    /// `sasl.enabled.mechanisms`, in its order.
    pub offered: Vec<Offered>,
    /// `sasl.server.max.receive.size`
    pub max_receive_bytes: usize,
}

/// One mechanism of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    pub mechanism: Mechanism,
    /// `connections.max.reauth.ms` (KIP-368): how long a log-in holds.
    pub max_reauth: Option<Duration>,
}

/// A mechanism and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Plain(PlainUsers),
    Scram(ScramMechanism),
    OAuthBearer(Arc<TokenCheck>),
    #[cfg(feature = "gssapi")]
    Gssapi(Arc<KerberosService>),
}

impl Mechanism {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Plain(_) => plain::NAME,
            Self::Scram(scram) => scram.name(),
            Self::OAuthBearer(_) => oauthbearer::NAME,
            #[cfg(feature = "gssapi")]
            Self::Gssapi(_) => gssapi::NAME,
        }
    }

    /// A log-in of which nothing has been said.
    pub(super) fn begin(&self) -> Exchange {
        match self {
            Self::Plain(users) => Exchange::Plain(users.clone()),
            Self::Scram(mechanism) => Exchange::Scram(Scram::new(*mechanism)),
            Self::OAuthBearer(check) => Exchange::OAuthBearer(OAuthBearer::new(Arc::clone(check))),
            #[cfg(feature = "gssapi")]
            Self::Gssapi(service) => Exchange::Gssapi(Gssapi::new(Arc::clone(service))),
        }
    }
}

impl Mechanisms {
    pub(super) fn find(&self, name: &str) -> Option<&Offered> {
        let mut offered = self.offered.iter();
        offered.find(|offered| offered.mechanism.name() == name)
    }

    /// How signed tokens are checked, if clients may bring any.
    pub(crate) fn signed_tokens(&self) -> Option<&SignedTokens> {
        let mut offered = self.offered.iter();
        offered.find_map(|offered| match &offered.mechanism {
            Mechanism::OAuthBearer(check) => match &**check {
                TokenCheck::Signed(signed) => Some(signed),
                TokenCheck::Unsecured(_) => None,
            },
            _ => None,
        })
    }

    /// Whether what clients show can be looked at.
    ///
    /// # Errors
    /// There is no key to read tickets with; one line for the operator.
    #[cfg(feature = "gssapi")]
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut offered = self.offered.iter();
        offered.try_for_each(|offered| match &offered.mechanism {
            Mechanism::Gssapi(service) => service.check(),
            _ => Ok(()),
        })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.offered.iter().map(|offered| offered.mechanism.name())
    }
}

/// One log-in under way.
pub(super) enum Exchange {
    Plain(PlainUsers),
    Scram(Scram),
    OAuthBearer(OAuthBearer),
    #[cfg(feature = "gssapi")]
    Gssapi(Gssapi),
}

impl Exchange {
    /// What comes of the client's next token, at `now_ms` since 1970.
    pub(super) fn step(&mut self, token: &[u8], known: &Known, now_ms: i64) -> Step {
        match self {
            Self::Plain(users) => plain::step(token, users, known),
            Self::Scram(exchange) => exchange.step(token, known, now_ms),
            Self::OAuthBearer(exchange) => exchange.step(token, known, now_ms),
            #[cfg(feature = "gssapi")]
            Self::Gssapi(exchange) => exchange.step(token),
        }
    }

    /// What comes of it when the keys of tokens have been read again.
    pub(super) fn retry(&mut self, known: &Known, now_ms: i64) -> Option<Step> {
        match self {
            Self::OAuthBearer(exchange) => Some(exchange.retry(known, now_ms)),
            _ => None,
        }
    }
}
