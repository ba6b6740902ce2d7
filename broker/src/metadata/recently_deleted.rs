//! Remembers which topics were deleted a moment ago.
//!
//! A client that deletes a topic and looks whether it is gone would see it come back: the look itself creates the topic. Kafka
//! answers the first request for a missing topic with UNKNOWN_TOPIC_OR_PARTITION and creates it meanwhile; here it exists when
//! the answer leaves. So the first request for a name that was just deleted is told that there is no such topic, and creates
//! nothing. The next one does.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a deletion is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many deletions are remembered; the oldest are forgotten first.
const MAX_NAMES: usize = 10_000;

#[derive(Default)]
pub(super) struct RecentlyDeleted(Mutex<Names>);

#[derive(Default)]
struct Names {
    deleted_at: HashMap<Arc<str>, Instant>,
    /// In the order of deletion. A name stays here when it was told, or was deleted again.
    order: VecDeque<(Arc<str>, Instant)>,
}

impl RecentlyDeleted {
    pub(crate) fn note<'a>(&self, deleted: impl Iterator<Item = &'a Arc<str>>) {
        let now = Instant::now();
        let mut names = self.0.lock();
        for name in deleted {
            names.deleted_at.insert(Arc::clone(name), now);
            names.order.push_back((Arc::clone(name), now));
            if names.order.len() > MAX_NAMES {
                names.forget_oldest();
            }
        }
    }

    /// Whether a topic of this name was deleted a moment ago and nobody has been told yet.
    pub(crate) fn tell(&self, name: &str) -> bool {
        let mut names = self.0.lock();
        while let Some((_, deleted_at)) = names.order.front()
            && deleted_at.elapsed() > REMEMBERED
        {
            names.forget_oldest();
        }
        names.deleted_at.remove(name).is_some()
    }
}

impl Names {
    fn forget_oldest(&mut self) {
        if let Some((name, at)) = self.order.pop_front()
            && self.deleted_at.get(&name) == Some(&at)
        {
            self.deleted_at.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(deleted: &RecentlyDeleted, names: impl Iterator<Item = String>) {
        let names: Vec<Arc<str>> = names.map(Arc::from).collect();
        deleted.note(names.iter());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deletion_is_told_once_and_only_for_a_while() {
        let deleted = RecentlyDeleted::default();
        noted(&deleted, ["a", "b"].map(str::to_owned).into_iter());
        assert!(deleted.tell("a"));
        assert!(!deleted.tell("a"));
        assert!(!deleted.tell("never was"));
        noted(&deleted, ["a"].map(str::to_owned).into_iter());
        tokio::time::advance(REMEMBERED + Duration::from_millis(1)).await;
        noted(&deleted, ["c"].map(str::to_owned).into_iter());
        assert!(!deleted.tell("b"));
        assert!(!deleted.tell("a"));
        assert!(deleted.tell("c"));
    }

    #[tokio::test]
    async fn however_many_are_deleted_few_are_remembered() {
        let deleted = RecentlyDeleted::default();
        noted(&deleted, (0..3 * MAX_NAMES).map(|name| name.to_string()));
        let names = deleted.0.lock();
        assert_eq!(names.order.len(), MAX_NAMES);
        assert_eq!(names.deleted_at.len(), MAX_NAMES);
    }
}
