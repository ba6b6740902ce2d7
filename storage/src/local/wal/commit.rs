//! Collects entries into groups and writes the groups: the one place where appends become durable.
//!
//! Entries are copied, in the order in which [`Wal::append`] is called, into an open group. The
//! commit thread takes whatever has been collected, writes it in one go, and tells each entry's
//! owner, in the same order. While it writes, the next group fills: the write in flight is the
//! batching window, and there is no timer.
//!
//! Two hand-overs between threads take longer than a small write into the page cache. Where appends
//! come one by one and wait for no device, each appender writes its own: [`Wal::commit_here`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::chunk::{ChunkPool, ChunkSlice};
use super::entry::{JointEntry, NewEntry, OnDurable, WalError};
use super::filling::{CHUNK_MIN_BYTES, Filling, Group, padded_bytes};
use super::format::Seal;
use super::ring::{Ring, RingPosition};
use crate::env::sync::{Condvar, Mutex, MutexGuard};
use crate::env::wakeup::Wakeup;
use crate::local::counters::CommitStats;

/// A write that has taken this long is worth a warning.
const SLOW_WRITE: Duration = Duration::from_secs(2);
/// How much is written in one call, unless a single group is larger: some 2 ms of a fast disk.
const WRITE_LIMIT_BYTES: usize = 4 << 20;
/// The write-ahead log of one directory.
pub struct Wal {
    ring: Ring,
    pool: Arc<ChunkPool>,
    generation: u64,
    /// Whether each write reaches stable media before it returns.
    synced: bool,
    /// Groups were written that no sync has followed. Only the thread that commits looks at it.
    unsynced: AtomicBool,
    filling: Mutex<Filling>,
    arrived: Condvar,
    committed: Mutex<Committed>,
    /// Held while the owners of what one write has made durable are told: between two writes, all logs are of one moment.
    telling: Mutex<()>,
    /// Woken when the ring needs to grow or a checkpoint.
    maintenance: Arc<Wakeup>,
    stats: CommitStats,
}

/// How far the log is durable and the owners of its entries were told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub next_sequence: u64,
    pub end: RingPosition,
}

impl Wal {
    /// A log whose first group will be `next_sequence`.
    pub(crate) fn new(
        ring: Ring,
        pool: Arc<ChunkPool>,
        generation: u64,
        next_sequence: u64,
        synced: bool,
        maintenance: Arc<Wakeup>,
    ) -> Self {
        let end = ring.position();
        let smallest = usize::try_from(ring.smallest_region_bytes()).unwrap_or(usize::MAX);
        let write_limit_bytes = WRITE_LIMIT_BYTES.min(smallest);
        Self {
            ring,
            pool,
            generation,
            synced,
            unsynced: AtomicBool::new(false),
            filling: Mutex::new(Filling {
                open: None,
                sealed: VecDeque::new(),
                next_sequence,
                declared: Vec::new(),
                chunk_bytes: CHUNK_MIN_BYTES,
                write_limit_bytes,
                thread_waits: false,
                caller_commits: false,
                calm_writes: 0,
                refused: None,
            }),
            arrived: Condvar::new(),
            committed: Mutex::new(Committed { next_sequence, end }),
            telling: Mutex::default(),
            maintenance,
            stats: CommitStats::default(),
        }
    }

    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// What past commits took, and how long the one under way has been.
    pub(crate) fn stats(&self) -> &CommitStats {
        &self.stats
    }

    /// Appends an entry. `on_durable` is called when its fate is known, unless this returns an error.
    ///
    /// The caller keeps `declared` for each log, false at first. While it is false, `declaration` is asked for the name of
    /// the log.
    pub fn append(
        &self,
        entry: &NewEntry<'_>,
        declared: &mut bool,
        declaration: impl FnOnce() -> Vec<u8>,
        patch: impl FnOnce(&mut [u8]),
        on_durable: OnDurable,
    ) -> Result<(), WalError> {
        let mut filling = self.filling.lock();
        if let Some(error) = &filling.refused {
            return Err(error.clone());
        }
        let declaration = (!*declared).then(declaration);
        let declaration_bytes = declaration.as_ref().map_or(0, Vec::len);
        let payload_bytes = entry.payload.len() + declaration_bytes;
        self.check_size(payload_bytes, 2)?;
        let group = filling.group_with_room(&self.pool, payload_bytes, 2)?;
        group.enter(entry, declaration.as_deref(), patch, on_durable);
        if let Some(payload) = declaration {
            filling.declared.push((entry.log_id, payload));
            *declared = true;
        }
        if !entry.commits_here {
            self.wake_thread(filling);
        }
        Ok(())
    }

    /// Appends entries of several logs: all of them are in the log after a crash, or none. They are one group.
    ///
    /// Each `on_durable` is called when the fate of all is known, unless this returns an error.
    pub fn append_all(&self, entries: Vec<JointEntry<'_>>) -> Result<(), WalError> {
        let mut filling = self.filling.lock();
        if let Some(error) = &filling.refused {
            return Err(error.clone());
        }
        let (mut payload_bytes, mut rows) = (0, 0);
        for JointEntry {
            entry, declaration, ..
        } in &entries
        {
            payload_bytes += entry.payload.len() + declaration.as_ref().map_or(0, Vec::len);
            rows += 1 + usize::from(declaration.is_some());
        }
        self.check_size(payload_bytes, rows)?;
        let group = filling.group_with_room(&self.pool, payload_bytes, rows)?;
        let mut declared = Vec::new();
        for joint in entries {
            let (entry, declaration) = (&joint.entry, joint.declaration);
            group.enter(entry, declaration.as_deref(), joint.patch, joint.on_durable);
            declared.extend(declaration.map(|payload| (entry.log_id, payload)));
        }
        filling.declared.append(&mut declared);
        self.wake_thread(filling);
        Ok(())
    }

    /// Whether entries of this size can be in one group.
    fn check_size(&self, payload_bytes: usize, entries: usize) -> Result<(), WalError> {
        let needed_bytes = padded_bytes(payload_bytes, entries);
        let limit_bytes = self.ring.group_limit_bytes();
        if needed_bytes as u64 > limit_bytes {
            return Err(WalError::TooLarge {
                bytes: needed_bytes,
                limit_bytes: usize::try_from(limit_bytes).unwrap_or(usize::MAX),
            });
        }
        match self.ring.is_too_small_for(needed_bytes as u64) {
            true => Err(WalError::NoRoom(needed_bytes)),
            false => Ok(()),
        }
    }

    /// Commits what was appended, on the caller's thread, if that is quicker than to wake the commit thread.
    ///
    /// The caller must hold no lock that an owner of an entry takes. It may wait for the page cache, but for no device.
    pub fn commit_here(&self) {
        let mut filling = self.filling.lock();
        if filling.is_empty() || !filling.thread_waits || filling.caller_commits {
            // Done already, or the thread that commits at this moment will look again.
            return;
        }
        let has_room = |bytes| self.ring.shortage(bytes as u64).is_none();
        if self.synced || !filling.quick_bytes().is_some_and(has_room) {
            return self.wake_thread(filling);
        }
        filling.caller_commits = true;
        let groups = filling.take();
        drop(filling);
        self.commit(groups);
        let mut filling = self.filling.lock();
        filling.caller_commits = false;
        let is_more = !filling.is_empty();
        if is_more {
            filling.calm_writes = 0;
        }
        if is_more || filling.refused.is_some() {
            self.wake_thread(filling);
        }
    }

    fn wake_thread(&self, mut filling: MutexGuard<'_, Filling>) {
        if !filling.caller_commits && std::mem::take(&mut filling.thread_waits) {
            drop(filling);
            self.arrived.notify_one();
        }
    }

    /// The commit thread: returns after [`Wal::close`], when everything appended before has been written.
    pub fn run(&self) {
        while let Some(groups) = self.next_groups() {
            self.commit(groups);
        }
    }

    /// Waits for something to write; `None` if nothing will come any more.
    fn next_groups(&self) -> Option<Vec<Group>> {
        let mut filling = self.filling.lock();
        loop {
            if !filling.caller_commits {
                let groups = filling.take();
                if !groups.is_empty() {
                    return Some(groups);
                }
                if filling.refused.is_some() {
                    return None;
                }
            }
            filling.thread_waits = true;
            self.arrived.wait(&mut filling);
            filling.thread_waits = false;
        }
    }

    fn commit(&self, groups: Vec<Group>) {
        let strict = groups.iter().any(|group| group.strict);
        // A write proves nothing about those before it until a sync has followed.
        let synced = self.synced || !self.unsynced.load(Ordering::Relaxed);
        let first_sequence = groups.first().map_or(0, |group| group.sequence);
        let next_sequence = groups.last().map_or(0, |group| group.sequence + 1);
        let groups: Vec<_> = groups
            .into_iter()
            .map(|group| {
                let seal = Seal {
                    generation: self.generation,
                    sequence: group.sequence,
                    write_sequence: first_sequence,
                    synced,
                };
                group.seal(seal)
            })
            .collect();
        let bytes = groups.iter().map(|(bytes, _)| bytes.len() as u64).sum();
        self.stats.begin();
        self.ring.ask_for_room(bytes);
        if self.ring.need().is_some() {
            self.maintenance.wake();
        }
        let written = if self.ring.wait_for_room(bytes) {
            self.stats.begin_write();
            let began = Instant::now();
            let slices: Vec<&[u8]> = groups.iter().map(|(bytes, _)| &bytes[..]).collect();
            self.ring
                .write(&slices, first_sequence)
                .and_then(|end| {
                    if strict && !self.synced {
                        self.ring.sync()?;
                    }
                    self.unsynced
                        .store(!strict && !self.synced, Ordering::Relaxed);
                    Ok(end)
                })
                .inspect(|_| {
                    let took = began.elapsed();
                    self.stats.writes.observe(took);
                    if took >= SLOW_WRITE {
                        let seconds = took.as_secs();
                        tracing::warn!(bytes, seconds, "a write of the write-ahead log took long");
                    }
                })
                .map_err(|error| WalError::WriteFailed(error.to_string()))
        } else {
            Err(WalError::Offline(
                "closed while waiting for room".to_owned(),
            ))
        };
        self.stats.end();
        match &written {
            Ok(_) => {
                let entries: usize = groups.iter().map(|(_, owners)| owners.len()).sum();
                let stats = &self.stats;
                stats.entries.fetch_add(entries as u64, Ordering::Relaxed);
                stats.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Err(error) => self.fail(&error.to_string()),
        }
        let _telling = self.telling.lock();
        for (bytes, owners) in groups {
            for (range, on_durable) in owners {
                on_durable(match &written {
                    Ok(_) => Ok(ChunkSlice::new(&bytes, range)),
                    Err(error) => Err(error.clone()),
                });
            }
        }
        if let Ok(end) = written {
            *self.committed.lock() = Committed { next_sequence, end };
        }
    }

    /// Syncs everything that was committed, where writes do not do it themselves.
    pub fn flush(&self) {
        if let Err(error) = self.ring.sync() {
            self.fail(&format!("syncing the write-ahead log failed: {error}"));
        }
    }

    /// Refuses appends from now on and fails what is waiting. A failed write is never tried again:
    /// after a failed sync nobody knows what is on the disk.
    pub fn fail(&self, why: &str) {
        let error = WalError::Offline(why.to_owned());
        let waiting = {
            let mut filling = self.filling.lock();
            filling.refused = Some(error.clone());
            let mut waiting: Vec<_> = filling.sealed.drain(..).collect();
            waiting.extend(filling.open.take());
            waiting
        };
        self.arrived.notify_all();
        self.ring.close();
        for (_, on_durable) in waiting.into_iter().flat_map(|group| group.owners) {
            on_durable(Err(error.clone()));
        }
        self.maintenance.wake();
    }

    /// Why the log takes no more appends, if it does not.
    pub fn refused(&self) -> Option<WalError> {
        self.filling.lock().refused.clone()
    }

    /// Takes no more appends; what was appended is still written.
    pub fn close(&self) {
        let mut filling = self.filling.lock();
        if filling.refused.is_none() {
            filling.refused = Some(WalError::Closed);
        }
        drop(filling);
        self.arrived.notify_all();
    }

    /// Looks at logs as they are between two writes: what was appended together has arrived in all of them, or in none, and
    /// whatever has arrived somewhere was preceded by all that was durable before. Commits wait meanwhile.
    pub fn between_commits<T>(&self, look: impl FnOnce() -> T) -> T {
        let _telling = self.telling.lock();
        look()
    }

    /// How far the log is durable. A checkpoint may let replay begin there once the segments have what lies before.
    pub fn committed(&self) -> Committed {
        *self.committed.lock()
    }

    /// The declarations since the last call; a checkpoint saves them before replay begins behind them.
    pub fn take_declared(&self) -> Vec<(u32, Vec<u8>)> {
        std::mem::take(&mut self.filling.lock().declared)
    }

    /// Brings back declarations that could not be saved.
    pub fn put_back_declared(&self, declared: Vec<(u32, Vec<u8>)>) {
        self.filling.lock().declared.extend(declared);
    }
}

#[cfg(test)]
impl Wal {
    /// Whether the commit thread sleeps.
    pub fn thread_waits(&self) -> bool {
        self.filling.lock().thread_waits
    }

    /// Entries that wait to be written.
    pub fn appended_count(&self) -> usize {
        let filling = self.filling.lock();
        let groups = filling.sealed.iter().chain(&filling.open);
        groups.map(|group| group.owners.len()).sum()
    }
}
