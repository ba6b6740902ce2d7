//! Finds, after a start, the directories whose removal a crash has cut short.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::deletion::{DELETED_SUFFIX, FILE_NAME_LIMIT};
use super::departures::{Key, Remains};
use super::log_dir::{Doomed, LogDir};
use super::logs::Logs;
use super::owner::owner_of;
use crate::env::fs::is_passing;
use crate::env::random::new_uuid;
use crate::log::{DeletedTopics, TopicPartition};

/// How the name of a directory ends that was set aside: it may be somebody's.
const STRAY_SUFFIX: &str = "-stray";

/// A look at all directories for those that belong to no log.
///
/// | directory | what becomes of it |
/// |---|---|
/// | of an open log | nothing; no file of it is read |
/// | with the id of a topic whose deletion a crash has cut short | removed |
/// | with another topic id | set aside: it may be somebody's |
/// | without a topic id | nothing: a topic of that name will adopt it |
pub(crate) struct Sweep {
    remains: Arc<Remains>,
    /// The last stop was in order, so no deletion was cut short. A directory with a deleted topic's id was put here since.
    spares_all: bool,
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
    ) -> Self {
        let sweep = Self {
            remains: Arc::new(Remains::new(topics, delay_ms)),
            spares_all,
            open: logs.names().into_iter().collect(),
        };
        let is_gone = |(topic, partition): &Key| {
            let topic = Arc::from(topic.as_str());
            sweep.remains.names.contains(&topic) && !sweep.open.contains(&(topic, *partition))
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
            shared.log_starts_changed.store(true, Ordering::Release);
        }
        if !sweep.spares_all {
            *shared.departures.remains.lock() = Some(Arc::clone(&sweep.remains));
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
        if self.open.contains(&(Arc::clone(&topic), partition))
            && !self.remains.names.contains(&topic)
        {
            return Ok(());
        }
        // Whoever deletes or opens a log meanwhile waits for this one directory.
        let _moving = shared.departures.moving.lock();
        if shared
            .departures
            .is_leaving(&(topic.to_string(), partition))
        {
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
        if logs.contains(&id) {
            return Ok(());
        }
        if !self.spares_all && self.remains.topics.contains_key(&owner) {
            self.doom(shared, &dir, name, found)?;
        } else if !self.open.contains(&(id.topic, partition)) {
            // If it is open, the log of that name sets the directory aside at its first use.
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
        shared.remove_after(self.remains.delay_ms, Doomed::Directory(doomed));
        found.doomed.push(name.to_owned());
        Ok(())
    }

    fn owner_was_deleted(&self, shared: &LogDir, dir: &Path) -> io::Result<bool> {
        Ok(!self.spares_all && self.remains.owned(&*shared.fs, dir)?)
    }
}

/// A sweep under way.
pub(crate) struct Sweeping {
    sweep: Sweep,
    logs: Arc<Logs>,
    /// The directories to look at; not listed yet if there are none.
    names: Option<Vec<String>>,
    found: Found,
    done: Box<dyn FnOnce() + Send>,
}

impl Sweeping {
    pub fn new(sweep: Sweep, logs: Arc<Logs>, done: Box<dyn FnOnce() + Send>) -> Self {
        Self {
            sweep,
            logs,
            names: None,
            found: Found::default(),
            done,
        }
    }

    /// Looks at all directories, beside everything else. Comes back for those that no descriptor or no memory was left for:
    /// whatever is not found now would stay for ever.
    pub fn run(mut self, shared: &Arc<LogDir>) {
        if let Err(error) = self.look(shared) {
            tracing::warn!(
                directory = %shared.path.display(), %error,
                "cannot look for directories that belong to no topic now; it is tried again"
            );
            shared.again(move |shared| self.run(shared));
            return;
        }
        *shared.departures.remains.lock() = None;
        self.found.tell(shared, self.sweep.remains.delay_ms);
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
