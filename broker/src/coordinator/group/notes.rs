//! What happened to groups, in words for the log of the broker.

use std::fmt;

use coordinators::group::{Note, NoteKind};

use crate::client_text::client_text;

/// A note as one line. What a client chose is escaped and cut.
pub(super) struct Line(pub(super) Note);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group_id = client_text(&self.0.group_id);
        match &self.0.what {
            NoteKind::Rebalance {
                generation_id,
                reason,
            } => {
                let reason = client_text(reason);
                write!(
                    f,
                    "group {group_id} rebalances after generation {generation_id}: {reason}"
                )
            }
            NoteKind::Joined {
                generation_id,
                member_count,
            } => write!(
                f,
                "group {group_id} generation {generation_id} joined by {member_count} members"
            ),
            NoteKind::Settled {
                generation_id,
                member_count,
            } => write!(
                f,
                "group {group_id} generation {generation_id} settled with {member_count} members"
            ),
            NoteKind::MemberRemoved { member_id, reason } => {
                let (member_id, reason) = (client_text(member_id), client_text(reason));
                write!(f, "group {group_id} lost member {member_id}: {reason}")
            }
        }
    }
}
