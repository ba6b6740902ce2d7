//! Which mechanisms a listener offers, and how each checks what it is told.

use std::time::Duration;

use super::plain::{self, PlainUsers};
use super::scram::Scram;
use super::{ScramUsers, Step};
use crate::security::scram::ScramMechanism;

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
}

impl Mechanism {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Plain(_) => plain::NAME,
            Self::Scram(scram) => scram.name(),
        }
    }

    /// A log-in of which nothing has been said.
    pub(super) fn begin(&self) -> Exchange {
        match self {
            Self::Plain(users) => Exchange::Plain(users.clone()),
            Self::Scram(mechanism) => Exchange::Scram(Scram::new(*mechanism)),
        }
    }
}

impl Mechanisms {
    pub(super) fn find(&self, name: &str) -> Option<&Offered> {
        let mut offered = self.offered.iter();
        offered.find(|offered| offered.mechanism.name() == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.offered.iter().map(|offered| offered.mechanism.name())
    }
}

/// One log-in under way.
pub(super) enum Exchange {
    Plain(PlainUsers),
    Scram(Scram),
}

impl Exchange {
    pub(super) fn step(&mut self, token: &[u8], scram: &ScramUsers) -> Step {
        match self {
            Self::Plain(users) => plain::step(token, users, scram),
            Self::Scram(exchange) => exchange.step(token, scram),
        }
    }
}
