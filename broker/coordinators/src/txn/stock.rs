//! Producer ids that nobody has had, and who waits for one.

use std::collections::VecDeque;

use crate::machine::Token;
use crate::txn::effects::Question;
use crate::txn::request::{TransactionRequest, TransactionalId};

/// Ids that are asked for besides those that somebody waits for.
const AT_HAND: usize = 16;
/// When no more than this are left, more are asked for. So hardly anybody waits.
const LOW: usize = 4;

/// There is no id at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoProducerId;

/// What waits for an id.
#[derive(Debug, Clone)]
pub(super) enum Waiting {
    Request(Token, TransactionRequest),
    /// A transaction whose time is up.
    Timeout(TransactionalId),
}

/// The ids at hand. A restart loses them, which does not matter: there are 2^63.
#[derive(Debug, Clone, Default)]
pub(super) struct Stock {
    ids: VecDeque<i64>,
    waiting: Vec<Waiting>,
    /// Whether somebody has taken an id and few are left, or none. A shard without clients asks for none.
    is_low: bool,
    is_asked: bool,
}

impl Stock {
    pub(super) fn take(&mut self) -> Result<i64, NoProducerId> {
        let id = self.ids.pop_front();
        self.is_low |= self.ids.len() <= LOW;
        id.ok_or(NoProducerId)
    }

    pub(super) fn wait(&mut self, waiting: Waiting) {
        self.waiting.push(waiting);
    }

    /// What to ask for, if that is not under way.
    pub(super) fn question(&mut self) -> Option<Question> {
        if !self.is_low || self.is_asked {
            return None;
        }
        self.is_asked = true;
        let count = AT_HAND + self.waiting.len();
        Some(Question::ProducerIds { count })
    }

    /// Takes in the answer. Gives what has waited for it.
    pub(super) fn restock(&mut self, ids: impl IntoIterator<Item = i64>) -> Vec<Waiting> {
        self.ids.extend(ids);
        self.is_asked = false;
        self.is_low = self.ids.len() <= LOW;
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn into_waiting(self) -> Vec<Waiting> {
        self.waiting
    }
}
