//! How the directories of deleted logs leave: each gets a name that nobody takes for a log's, and is removed later.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::departures::{Departure, Key, MOVED_TOGETHER, key};
use super::log_dir::{Doomed, LogDir};
use super::owner::owner_of;
use super::text_files::Offsets;
use crate::env::fs::{if_found, is_passing};
use crate::env::random::new_uuid;
use crate::log::{Durability, TopicPartition};

/// How the name of a directory ends that is going to be removed.
pub(crate) const DELETED_SUFFIX: &str = "-delete";
pub(super) const FILE_NAME_LIMIT: usize = 255;

impl LogDir {
    /// Renames the directories of all deleted logs.
    ///
    /// # Errors
    /// No descriptor or no memory was left for some. They wait for the next call.
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

    /// Like [`LogDir::finish_departures`], but tries again until all of them are renamed.
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

    /// Moves the directory of an earlier log out of the way of a new one, if the earlier one is known to be deleted.
    ///
    /// # Errors
    /// It stays in the way: no descriptor or no memory was left.
    pub fn make_way(&self, id: &TopicPartition, dir: &Path) -> io::Result<()> {
        let remains = self.departures.remains.lock().clone();
        let _moving = self.departures.moving.lock();
        self.move_away(self.departures.take([key(id)].into_iter()))?;
        if let Some(remains) = remains.filter(|remains| remains.names.contains(&id.topic))
            && remains.owned(&*self.fs, dir)?
        {
            self.doom(dir, id, remains.delay_ms)?;
            self.sync_names()?;
        }
        Ok(())
    }

    /// Gives the directories of deleted logs other names. One that cannot be renamed is tried again if no descriptor or no
    /// memory was left, and is otherwise left for the next start to find.
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
            let moved = match &departure.writer {
                Some(writer) => {
                    let mut writer = writer.lock();
                    writer.close_files();
                    for segment in &departure.segments {
                        segment.keep_closed().set_gone();
                    }
                    rename()
                }
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

    /// Renames a directory for its removal, which follows later.
    fn doom(&self, dir: &Path, id: &TopicPartition, delay_ms: u64) -> io::Result<()> {
        let doomed = dir.with_file_name(new_name(&id.topic, id.partition, DELETED_SUFFIX));
        if if_found(self.fs.rename(dir, &doomed))?.is_some() {
            self.remove_after(delay_ms, Doomed::Directory(doomed));
        }
        Ok(())
    }

    pub(super) fn sync_names(&self) -> io::Result<()> {
        self.fs.sync_dir(&self.path)
    }

    /// Removes the directories that earlier deletions have renamed and not removed.
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

    /// Forgets what checkpoints say of these logs. Otherwise another log of the name would be trusted, or taken for clean, up
    /// to the same offsets.
    pub(super) fn forget_offsets(&self, keys: impl Iterator<Item = Key> + Clone) {
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

/// The name of a deleted log's directory, as Kafka makes it. It is no longer than a file name may be.
fn new_name(topic: &str, partition: i32, suffix: &str) -> String {
    let suffix = format!("-{partition}.{}{suffix}", new_uuid().simple());
    let mut length = topic.len().min(FILE_NAME_LIMIT - suffix.len());
    while !topic.is_char_boundary(length) {
        length -= 1;
    }
    format!("{}{suffix}", &topic[..length])
}
