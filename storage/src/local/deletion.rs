//! How logs leave: durably in the write-ahead log first, then their directories.
//!
//! The logs of one deletion are entered together: they wait for a few writes, however many they are. A hundred thousand
//! renames take seconds, so many directories follow in the background ([`Departures`]). Until then a deleted log's
//! directory is in the way: a new log of the name moves it before it looks at its files, and no checkpoint passes a
//! deletion whose directory has its name still.
//!
//! What a crash has kept from being renamed is found at the next start ([`Sweep`]).

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::env::fs::{if_found, is_passing};
use crate::env::random::new_uuid;
use crate::env::sync::Mutex;
use crate::local::file_log::FileLog;
use crate::local::log_dir::{Doomed, LogDir};
use crate::local::owner::owner_of;
use crate::local::text_files::Offsets;
use crate::log::{DeletedTopics, Durability, TopicPartition};

/// Of the name of a directory that is going to be removed.
pub(crate) const DELETED_SUFFIX: &str = "-delete";
/// Of the name of a directory that may be somebody's.
const STRAY_SUFFIX: &str = "-stray";
const FILE_NAME_LIMIT: usize = 255;
/// Directories that are renamed before anybody else has a turn.
const MOVED_TOGETHER: usize = 256;

type Key = (String, i32);
pub(crate) type Logs = Mutex<BTreeMap<TopicPartition, Arc<FileLog>>>;

/// A deleted log whose directory has its name still.
pub(crate) struct Departure {
    pub id: TopicPartition,
    /// None: it was deleted before the start.
    pub log: Option<Arc<FileLog>>,
    pub delay_ms: u64,
}

/// The deleted logs whose directories are to be renamed.
#[derive(Default)]
pub(crate) struct Departures {
    waiting: Mutex<BTreeMap<Key, Vec<Departure>>>,
    /// Held while directories get other names, by whoever does it.
    moving: Mutex<()>,
    /// Topics whose directories are looked for.
    deleted: Mutex<Option<Arc<Sweep>>>,
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

    fn take(&self, some: impl Iterator<Item = Key>) -> Vec<Departure> {
        let mut waiting = self.waiting.lock();
        some.filter_map(|key| waiting.remove(&key))
            .flatten()
            .collect()
    }

    fn take_first(&self) -> Vec<Departure> {
        let first: Vec<Key> = {
            let waiting = self.waiting.lock();
            waiting.keys().take(MOVED_TOGETHER).cloned().collect()
        };
        self.take(first.into_iter())
    }
}

fn key(id: &TopicPartition) -> Key {
    (id.topic.to_string(), id.partition)
}

impl LogDir {
    /// Renames the directories of all deleted logs.
    ///
    /// # Errors
    /// There was no descriptor or no memory for some, which wait to be tried again.
    pub fn finish_departures(&self) -> io::Result<()> {
        loop {
            let _moving = self.departures.moving.lock();
            let departures = self.departures.take_first();
            if departures.is_empty() {
                return Ok(());
            }
            self.move_away(departures)?;
        }
    }

    /// The same, now or as soon as it is possible.
    pub fn finish_departures_in_time(self: &Arc<Self>) {
        if let Err(error) = self.finish_departures() {
            tracing::warn!(%error, "deleted logs cannot be renamed now; it is tried again");
            self.again(Self::finish_departures_in_time);
        }
    }

    /// Renames the directories of these deleted logs, or leaves that to the next checkpoint.
    pub fn depart(&self, ids: &[TopicPartition]) {
        for some in ids.chunks(MOVED_TOGETHER) {
            let _moving = self.departures.moving.lock();
            let departures = self.departures.take(some.iter().map(key));
            if let Err(error) = self.move_away(departures) {
                tracing::warn!(%error, "deleted logs cannot be renamed now; it is tried again");
            }
        }
    }

    /// Has no earlier log's directory in the way of a new one, as far as the earlier one is known to be deleted.
    ///
    /// # Errors
    /// It is in the way, for want of a descriptor or memory.
    pub fn make_way(&self, id: &TopicPartition, dir: &Path) -> io::Result<()> {
        let sweep = self.departures.deleted.lock().clone();
        let _moving = self.departures.moving.lock();
        self.move_away(self.departures.take([key(id)].into_iter()))?;
        if let Some(sweep) = sweep.filter(|sweep| sweep.names.contains(&id.topic))
            && sweep.owner_was_deleted(self, dir)?
        {
            self.doom(dir, id, sweep.delay_ms)?;
            self.sync_names()?;
        }
        Ok(())
    }

    /// Gives directories the names of such as are to be removed. What does not work for any other reason than that there
    /// was no descriptor or no memory is left for the next start to find.
    fn move_away(&self, departures: Vec<Departure>) -> io::Result<()> {
        if departures.is_empty() {
            return Ok(());
        }
        self.forget_offsets(departures.iter().map(|departure| key(&departure.id)));
        let moved = departures.iter().try_for_each(|departure| {
            let id = &departure.id;
            let dir = self.path.join(id.to_string());
            let rename = || match owner_of(&*self.fs, &dir)? {
                Some(owner) if owner != id.topic_id => Ok(()),
                _ => self.doom(&dir, id, departure.delay_ms),
            };
            let moved = match &departure.log {
                Some(log) => log.while_not_writing(rename),
                None => rename(),
            };
            moved.or_else(|error: io::Error| match is_passing(&error) {
                true => Err(error),
                false => {
                    tracing::warn!(directory = %dir.display(), %error, "a deleted log could not be renamed");
                    Ok(())
                }
            })
        });
        let moved = moved.and_then(|()| {
            self.sync_names().or_else(|error| match is_passing(&error) {
                true => Err(error),
                false => {
                    tracing::warn!(directory = %self.path.display(), %error, "the new names of deleted logs may not last");
                    Ok(())
                }
            })
        });
        if moved.is_err() {
            // Those that have their new names are passed over the next time.
            for departure in departures {
                self.departures.add(departure);
            }
        }
        moved
    }

    /// Gives a directory the name of one that is to be removed, and has that done later.
    fn doom(&self, dir: &Path, id: &TopicPartition, delay_ms: u64) -> io::Result<()> {
        let doomed = dir.with_file_name(new_name(&id.topic, id.partition, DELETED_SUFFIX));
        if if_found(self.fs.rename(dir, &doomed))?.is_some() {
            self.remove_after(delay_ms, Doomed::Directory(doomed));
        }
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        self.fs.sync_dir(&self.path)
    }

    /// Removes what earlier deletions have not got round to.
    pub fn remove_left_over(self: &Arc<Self>) {
        match self.fs.list(&self.path) {
            Ok(entries) => {
                for entry in entries {
                    if entry.is_dir && entry.name.ends_with(DELETED_SUFFIX) {
                        self.remove_after(0, Doomed::Directory(self.path.join(entry.name)));
                    }
                }
            }
            Err(error) if is_passing(&error) => self.again(Self::remove_left_over),
            Err(error) => {
                tracing::warn!(directory = %self.path.display(), %error, "cannot look for what is left of deleted logs");
            }
        }
    }

    /// Forgets what checkpoints say of these logs: another log of the name would be trusted, or taken for clean, up to there.
    fn forget_offsets(&self, keys: impl Iterator<Item = Key> + Clone) {
        let forget = |offsets: &mut Offsets| {
            let before = offsets.len();
            for key in keys.clone() {
                offsets.remove(&key);
            }
            offsets.len() != before
        };
        forget(&mut self.closed_at.lock());
        // Durably, before another log gets the name.
        let is_strict = self.durability == Durability::Strict;
        let forgotten = self.change_recovery_points(|points| forget(points) && !is_strict);
        if let Err(error) = forgotten {
            tracing::warn!(%error, "the recovery points of deleted logs could not be removed");
        }
        if let Err(error) = self.change_cleaner_offsets(forget) {
            tracing::warn!(%error, "up to where deleted logs are clean could not be removed");
        }
    }
}

/// A look at all directories for those that belong to no log.
///
/// | directory | what becomes of it |
/// |---|---|
/// | of an open log | nothing; no file of it is read |
/// | with the id of a topic whose deletion a crash has cut short | removed |
/// | with another topic id | set aside: it may be somebody's |
/// | without a topic id | nothing: a topic of that name will adopt it |
pub(crate) struct Sweep {
    topics: DeletedTopics,
    names: HashSet<Arc<str>>,
    /// The last stop was in order, so that no deletion was cut short: who has a deleted topic's id was put here since.
    spares_all: bool,
    delay_ms: u64,
    open: HashSet<(Arc<str>, i32)>,
}

/// What a sweep has found.
#[derive(Default)]
struct Found {
    doomed: Vec<String>,
    set_aside: Vec<String>,
    unowned: Vec<String>,
    set_aside_before: usize,
}

impl Sweep {
    /// Prepares the look, and forgets what checkpoints say of deleted logs.
    pub fn new(
        shared: &LogDir,
        logs: &Logs,
        topics: DeletedTopics,
        spares_all: bool,
        delay_ms: u64,
    ) -> Arc<Self> {
        let open: HashSet<_> = {
            let logs = logs.lock();
            logs.keys()
                .map(|id| (Arc::clone(&id.topic), id.partition))
                .collect()
        };
        let sweep = Arc::new(Self {
            names: topics.values().cloned().collect(),
            topics,
            spares_all,
            delay_ms,
            open,
        });
        let is_gone = |(topic, partition): &Key| {
            let topic = Arc::from(topic.as_str());
            sweep.names.contains(&topic) && !sweep.open.contains(&(topic, *partition))
        };
        let gone: Vec<Key> = {
            let starts = shared.log_starts.lock();
            let points = shared.recovery_points.lock();
            let cleaned = shared.cleaner_offsets.lock();
            let known = starts.keys().chain(points.keys()).chain(cleaned.keys());
            known.filter(|key| is_gone(key)).cloned().collect()
        };
        if !gone.is_empty() {
            shared.forget_offsets(gone.iter().cloned());
            let mut starts = shared.log_starts.lock();
            gone.iter().for_each(|key| {
                starts.remove(key);
            });
            let changed = &shared.log_starts_changed;
            changed.store(true, std::sync::atomic::Ordering::Release);
        }
        if !sweep.spares_all {
            *shared.departures.deleted.lock() = Some(Arc::clone(&sweep));
        }
        sweep
    }

    fn look_at(
        &self,
        shared: &LogDir,
        logs: &Logs,
        name: &str,
        found: &mut Found,
    ) -> io::Result<()> {
        let dir = shared.path.join(name);
        if name.ends_with(STRAY_SUFFIX) {
            match self.owner_was_deleted(shared, &dir)? {
                true => self.doom(shared, &dir, name, found)?,
                false => found.set_aside_before += 1,
            }
            return Ok(());
        }
        let Some((topic, partition)) = parse(name) else {
            return Ok(());
        };
        if self.open.contains(&(Arc::clone(&topic), partition)) && !self.names.contains(&topic) {
            return Ok(());
        }
        // Who deletes or opens a log meanwhile waits for this one directory.
        let _moving = shared.departures.moving.lock();
        let is_leaving = {
            let waiting = shared.departures.waiting.lock();
            waiting.contains_key(&(topic.to_string(), partition))
        };
        if is_leaving {
            return Ok(());
        }
        let Some(owner) = owner_of(&*shared.fs, &dir)? else {
            if !self.open.contains(&(topic, partition)) {
                found.unowned.push(name.to_owned());
            }
            return Ok(());
        };
        let id = TopicPartition {
            topic,
            topic_id: owner,
            partition,
        };
        if logs.lock().contains_key(&id) {
            return Ok(());
        }
        if !self.spares_all && self.topics.contains_key(&owner) {
            self.doom(shared, &dir, name, found)?;
        } else if !self.open.contains(&(id.topic, partition)) {
            // Otherwise the log of that name sets it aside at its first use.
            let aside = dir.with_file_name(format!("{name}.{}{STRAY_SUFFIX}", new_uuid().simple()));
            shared.fs.rename(&dir, &aside)?;
            found.set_aside.push(name.to_owned());
        }
        Ok(())
    }

    fn doom(&self, shared: &LogDir, dir: &Path, name: &str, found: &mut Found) -> io::Result<()> {
        let mut length = name.len().min(FILE_NAME_LIMIT - 64);
        while !name.is_char_boundary(length) {
            length -= 1;
        }
        let doomed = format!(
            "{}.{}{DELETED_SUFFIX}",
            &name[..length],
            new_uuid().simple()
        );
        let doomed = dir.with_file_name(doomed);
        shared.fs.rename(dir, &doomed)?;
        shared.remove_after(self.delay_ms, Doomed::Directory(doomed));
        found.doomed.push(name.to_owned());
        Ok(())
    }

    fn owner_was_deleted(&self, shared: &LogDir, dir: &Path) -> io::Result<bool> {
        if self.spares_all {
            return Ok(false);
        }
        let owner = owner_of(&*shared.fs, dir)?;
        Ok(owner.is_some_and(|owner| self.topics.contains_key(&owner)))
    }
}

/// A sweep under way.
pub(crate) struct Sweeping {
    sweep: Arc<Sweep>,
    logs: Arc<Logs>,
    /// The directories to look at; not listed yet if there are none.
    names: Option<Vec<String>>,
    found: Found,
    done: Box<dyn FnOnce() + Send>,
}

impl Sweeping {
    pub fn new(sweep: Arc<Sweep>, logs: Arc<Logs>, done: impl FnOnce() + Send + 'static) -> Self {
        Self {
            sweep,
            logs,
            names: None,
            found: Found::default(),
            done: Box::new(done),
        }
    }

    /// Looks at all directories. Takes as long as it takes, beside everything else, and comes back for those that there
    /// was no descriptor or no memory to look at: what is not found now would stay for ever.
    pub fn run(mut self, shared: &Arc<LogDir>) {
        if let Err(error) = self.look(shared) {
            tracing::warn!(
                directory = %shared.path.display(), %error,
                "cannot look for directories that belong to no topic now; it is tried again"
            );
            shared.again(move |shared| self.run(shared));
            return;
        }
        *shared.departures.deleted.lock() = None;
        self.found.tell(shared, self.sweep.delay_ms);
        (self.done)();
    }

    fn look(&mut self, shared: &LogDir) -> io::Result<()> {
        let directory = shared.path.display();
        let names = match self.names.take() {
            Some(names) => names,
            None => match shared.fs.list(&shared.path) {
                Ok(entries) => {
                    let dirs = entries.into_iter().filter(|entry| entry.is_dir);
                    dirs.map(|entry| entry.name).collect()
                }
                Err(error) if is_passing(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(%directory, %error, "cannot look for directories that belong to no topic");
                    Vec::new()
                }
            },
        };
        let mut left = Vec::new();
        let mut passing = None;
        for name in names {
            let looked = self
                .sweep
                .look_at(shared, &self.logs, &name, &mut self.found);
            match looked {
                Ok(()) => {}
                Err(error) if is_passing(&error) => {
                    passing = Some(error);
                    left.push(name);
                }
                Err(error) => tracing::warn!(%directory, name, %error, "cannot be looked at"),
            }
        }
        self.names = Some(left);
        if let Some(error) = passing {
            return Err(error);
        }
        if !self.found.doomed.is_empty() || !self.found.set_aside.is_empty() {
            match shared.sync_names() {
                Err(error) if is_passing(&error) => return Err(error),
                Err(error) => tracing::warn!(%directory, %error, "new names may not last"),
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

impl Found {
    fn tell(&self, shared: &LogDir, delay_ms: u64) {
        let directory = shared.path.display();
        let first = |names: &[String]| names.first().cloned().unwrap_or_default();
        if !self.doomed.is_empty() {
            tracing::info!(
                %directory, count = self.doomed.len(), first = first(&self.doomed), delay_ms,
                "directories of deleted topics are left over from a crash and will be removed"
            );
        }
        if !self.set_aside.is_empty() {
            tracing::warn!(
                %directory, count = self.set_aside.len(), first = first(&self.set_aside),
                "directories belong to topics that are not known here and are set aside as *-stray; to serve one, create \
                 its topic, stop the broker, remove partition.metadata from it, and give it its name back"
            );
        }
        if !self.unowned.is_empty() {
            tracing::info!(
                %directory, count = self.unowned.len(), first = first(&self.unowned),
                "directories without partition.metadata belong to no topic; one that is created with such a name adopts \
                 what is in it"
            );
        }
        if self.set_aside_before > 0 {
            tracing::info!(
                %directory, count = self.set_aside_before,
                "directories that were set aside earlier (*-stray) take room; nothing uses them"
            );
        }
    }
}

/// Topic and partition in the name of a log's directory.
fn parse(name: &str) -> Option<(Arc<str>, i32)> {
    let (topic, partition) = name.rsplit_once('-')?;
    let is_number = !partition.is_empty() && partition.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !topic.is_empty()).then_some((Arc::from(topic), partition.parse().ok()?))
}

/// The name of a deleted log's directory, as Kafka makes it: no longer than a file name may be.
fn new_name(topic: &str, partition: i32, suffix: &str) -> String {
    let suffix = format!("-{partition}.{}{suffix}", new_uuid().simple());
    let mut length = topic.len().min(FILE_NAME_LIMIT - suffix.len());
    while !topic.is_char_boundary(length) {
        length -= 1;
    }
    format!("{}{suffix}", &topic[..length])
}

/// Deletes logs: one entry for each in the write-ahead log, and a wait for all of them. Gives those that are deleted, and
/// why others are not.
pub(crate) fn delete(logs: &[Arc<FileLog>]) -> (Vec<TopicPartition>, Vec<String>) {
    let (sender, outcomes) = crate::env::sync::mpsc::channel();
    let (mut deleted, mut failed) = (Vec::with_capacity(logs.len()), Vec::new());
    let why = |log: &FileLog, error: &dyn std::fmt::Display| {
        format!("{} could not be deleted: {error}", log.topic_partition())
    };
    for (place, log) in logs.iter().enumerate() {
        let sender = sender.clone();
        let begun = log.begin_delete(move |outcome| {
            // The receiver is there until all outcomes have arrived.
            let _ = sender.send((place, outcome));
        });
        if let Err(error) = begun {
            failed.push(why(log, &error));
        }
    }
    drop(sender);
    for (place, outcome) in outcomes.iter() {
        match outcome {
            Ok(()) => deleted.push(logs[place].topic_partition().clone()),
            Err(error) => failed.push(why(&logs[place], &error)),
        }
    }
    (deleted, failed)
}
