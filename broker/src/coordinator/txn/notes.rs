//! What happened to transactional ids, in words for the log of the broker.

use std::fmt;

use coordinators::txn::{Note, NoteKind};

use crate::client_text::client_text;

/// A note as one line. What a client chose is escaped and cut.
pub(super) struct Line(pub(super) Note);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = client_text(&self.0.transactional_id);
        match self.0.what {
            NoteKind::Initialized(producer) => write!(
                f,
                "transactional id {id} has producer id {} and epoch {}",
                producer.id, producer.epoch
            ),
            NoteKind::Aborted {
                cause,
                producer,
                open_ms,
            } => write!(
                f,
                "transactional id {id}: the transaction of producer id {} and epoch {} was aborted after {open_ms} ms ({})",
                producer.id,
                producer.epoch,
                cause.name()
            ),
            NoteKind::Expired => write!(
                f,
                "transactional id {id} is forgotten: it was silent for too long"
            ),
        }
    }
}
