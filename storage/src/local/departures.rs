//! Deleted logs whose directories still have their names.
//!
//! A hundred thousand renames take seconds, so many directories follow in the background. Until then a deleted log's
//! directory is in the way: a new log of the name moves it before it looks at its own files, and no checkpoint passes a
//! deletion whose directory still has its name.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::owner::owner_of;
use super::segment::Segment;
use super::segment::writer::SegmentWriter;
use crate::env::fs::Fs;
use crate::env::sync::Mutex;
use crate::log::{DeletedTopics, TopicPartition};

/// How many directories are renamed before anybody else has a turn.
pub(super) const MOVED_TOGETHER: usize = 256;

/// Topic and partition, as the name of a directory has them.
pub(super) type Key = (String, i32);

/// A deleted log whose directory still has its name.
pub(crate) struct Departure {
    pub id: TopicPartition,
    /// The log's writer, so that nothing is written while its directory is renamed. `None` if the log was deleted before the
    /// start.
    pub writer: Option<Arc<Mutex<SegmentWriter>>>,
    /// A read that was planned before the deletion would open them by their names, in the directory of the next log.
    pub segments: Vec<Arc<Segment>>,
    pub delay_ms: u64,
}

/// Deleted topics whose directories are looked for: a crash may have left them.
pub(crate) struct Remains {
    pub topics: DeletedTopics,
    pub names: HashSet<Arc<str>>,
    /// After this time their remains are removed.
    pub delay_ms: u64,
}

impl Remains {
    pub fn new(topics: DeletedTopics, delay_ms: u64) -> Self {
        Self {
            names: topics.values().cloned().collect(),
            topics,
            delay_ms,
        }
    }

    /// Whether a directory has the id of one of the topics.
    pub fn owned(&self, fs: &dyn Fs, dir: &Path) -> io::Result<bool> {
        let owner = owner_of(fs, dir)?;
        Ok(owner.is_some_and(|owner| self.topics.contains_key(&owner)))
    }
}

/// The deleted logs whose directories are to be renamed.
#[derive(Default)]
pub(crate) struct Departures {
    waiting: Mutex<BTreeMap<Key, Vec<Departure>>>,
    /// Held while directories get other names, by whoever does it.
    pub moving: Mutex<()>,
    /// What is looked for at this time, if anything is.
    pub remains: Mutex<Option<Arc<Remains>>>,
}

impl Departures {
    pub fn add(&self, departure: Departure) {
        let mut waiting = self.waiting.lock();
        waiting
            .entry(key(&departure.id))
            .or_default()
            .push(departure);
    }

    /// Leaves the directories as they are: the next start finds them.
    pub fn clear(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        drop(waiting);
    }

    /// Whether a directory of this name waits for another.
    pub fn is_leaving(&self, key: &Key) -> bool {
        self.waiting.lock().contains_key(key)
    }

    pub fn take(&self, some: impl Iterator<Item = Key>) -> Vec<Departure> {
        let mut waiting = self.waiting.lock();
        some.filter_map(|key| waiting.remove(&key))
            .flatten()
            .collect()
    }

    pub fn take_first(&self) -> Vec<Departure> {
        let first: Vec<Key> = {
            let waiting = self.waiting.lock();
            waiting.keys().take(MOVED_TOGETHER).cloned().collect()
        };
        self.take(first.into_iter())
    }
}

pub(super) fn key(id: &TopicPartition) -> Key {
    (id.topic.to_string(), id.partition)
}
