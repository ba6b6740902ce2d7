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
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::chunk::{Chunk, ChunkPool, ChunkSlice};
use super::format::{self, EntryKind, GROUP_HEADER_BYTES, Place, Row, Seal};
use super::ring::{Ring, RingPosition};
use crate::env::fs::BLOCK_BYTES;
use crate::env::sync::{Condvar, Mutex, MutexGuard};
use crate::env::wakeup::Wakeup;
use crate::local::counters::CommitStats;

/// A write that has taken this long is worth a warning.
const SLOW_WRITE: Duration = Duration::from_secs(2);
/// What is written in one call, unless a single group is larger: some 2 ms of a fast disk.
const WRITE_LIMIT_BYTES: usize = 4 << 20;
/// What an appender writes for itself.
const QUICK_BYTES: usize = 64 << 10;
/// Appenders write for themselves after this many writes of one entry each. Before that, writing together is less work.
const CALM_WRITES: u32 = if cfg!(feature = "simulation") { 1 } else { 8 };
const CHUNK_MIN_BYTES: usize = 16 << 10;
const CHUNK_MAX_BYTES: usize = 1 << 20;

/// Why an entry is not in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// Not written, and nothing will be until a restart.
    #[error("the log directory is offline: {0}")]
    Offline(String),
    /// The write failed while this entry was in it: it may or may not be found after a restart.
    #[error("writing the write-ahead log failed: {0}")]
    WriteFailed(String),
    #[error("the log directory is shut down")]
    Closed,
    #[error("no memory for the write-ahead log: {0}")]
    NoMemory(String),
    #[error("{bytes} bytes do not fit into the write-ahead log, which takes {limit_bytes} at once")]
    TooLarge { bytes: usize, limit_bytes: usize },
    #[error("no space left for {0} bytes in the write-ahead log")]
    NoRoom(usize),
}

/// Called once, by the thread that commits, which holds no lock. It is given the entry's payload as it was written, or why
/// it was not.
pub type OnDurable = Box<dyn FnOnce(Result<ChunkSlice, WalError>) + Send>;

/// An entry to be appended.
pub struct NewEntry<'a> {
    pub log_id: u32,
    pub kind: EntryKind,
    pub offset: i64,
    pub place: Place,
    /// Copied into the log; the copy is what `patch` changes.
    pub payload: &'a [u8],
    /// Must not return before the entry is on stable media, even where others may.
    pub strict: bool,
    /// The caller goes on with [`Wal::commit_here`]: the commit thread need not be woken.
    pub commits_here: bool,
}

/// One of the entries that are appended together.
pub struct JointEntry<'a> {
    pub entry: NewEntry<'a>,
    /// The name of the log, if the write-ahead log does not have it yet.
    pub declaration: Option<Vec<u8>>,
    pub patch: Box<dyn FnOnce(&mut [u8]) + 'a>,
    pub on_durable: OnDurable,
}

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
    /// Rung when the ring needs to grow or wants a checkpoint.
    maintenance: Arc<Wakeup>,
    stats: CommitStats,
}

struct Filling {
    open: Option<Group>,
    sealed: VecDeque<Group>,
    next_sequence: u64,
    /// Declarations that the table of logs does not have yet.
    declared: Vec<(u32, Vec<u8>)>,
    chunk_bytes: usize,
    write_limit_bytes: usize,
    /// The commit thread sleeps, and nobody has woken it.
    thread_waits: bool,
    /// Somebody else commits, and wakes the commit thread if there is more to do after that.
    caller_commits: bool,
    /// How many writes in a row have held one entry, with none coming while an appender wrote.
    calm_writes: u32,
    refused: Option<WalError>,
}

/// Up to where the log is durable, and its entries' owners have been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub next_sequence: u64,
    pub end: RingPosition,
}

/// Entries that are written together.
struct Group {
    sequence: u64,
    chunk: Chunk,
    rows: Vec<Row>,
    owners: Vec<(Range<usize>, OnDurable)>,
    strict: bool,
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
            maintenance,
            stats: CommitStats::default(),
        }
    }

    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// What the commits have been, and the one under way.
    pub(crate) fn stats(&self) -> &CommitStats {
        &self.stats
    }

    /// Appends an entry; `on_durable` is called when its fate is known, unless this returns an error.
    ///
    /// `declared` is the caller's own and false at first: `declaration` is then asked for the name of the log.
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
        let group = self.group_with_room(&mut filling, payload_bytes, 2)?;
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
        let group = self.group_with_room(&mut filling, payload_bytes, rows)?;
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

    /// Commits what was appended, on the caller's thread, if that is quicker than to wake the commit thread.
    ///
    /// The caller holds no lock that an owner of an entry takes, and may wait for the page cache, but for no device.
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

    /// The open group, or a new one, with room for entries that take so much.
    fn group_with_room<'f>(
        &self,
        filling: &'f mut Filling,
        payload_bytes: usize,
        entries: usize,
    ) -> Result<&'f mut Group, WalError> {
        let needed_bytes = padded_bytes(payload_bytes, entries);
        let limit_bytes = self.ring.group_limit_bytes();
        if needed_bytes as u64 > limit_bytes {
            return Err(WalError::TooLarge {
                bytes: needed_bytes,
                limit_bytes: usize::try_from(limit_bytes).unwrap_or(usize::MAX),
            });
        }
        if self.ring.is_too_small_for(needed_bytes as u64) {
            return Err(WalError::NoRoom(needed_bytes));
        }
        let full = filling
            .open
            .take_if(|group| group.bytes_with(payload_bytes, entries) > group.chunk.room());
        if let Some(full) = full {
            filling.sealed.push_back(full);
            filling.chunk_bytes = (filling.chunk_bytes * 4)
                .min(CHUNK_MAX_BYTES)
                .min(filling.write_limit_bytes);
        }
        let group = match filling.open.take() {
            Some(group) => group,
            None => {
                let chunk = self.pool.take(filling.chunk_bytes.max(needed_bytes));
                let mut chunk = chunk.map_err(|error| WalError::NoMemory(error.to_string()))?;
                chunk.push(&[0; GROUP_HEADER_BYTES]);
                filling.next_sequence += 1;
                Group {
                    sequence: filling.next_sequence - 1,
                    chunk,
                    rows: Vec::new(),
                    owners: Vec::new(),
                    strict: false,
                }
            }
        };
        Ok(filling.open.insert(group))
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
        // Before the sync that follows it a write proves nothing about those before it.
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

    /// Has everything that was committed on stable media, where writes do not see to it.
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

    /// Up to where the log is durable: a checkpoint may let replay begin there once the segments have what lies before.
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

impl Filling {
    fn is_empty(&self) -> bool {
        self.open.is_none() && self.sealed.is_empty()
    }

    /// How much there is to write, if it is written in a moment, and more is unlikely to come meanwhile.
    fn quick_bytes(&self) -> Option<usize> {
        let is_calm = self.calm_writes >= CALM_WRITES && self.sealed.is_empty();
        let open = self.open.as_ref().filter(|open| is_calm && !open.strict)?;
        Some(open.bytes_with(0, 0)).filter(|&bytes| bytes <= QUICK_BYTES)
    }

    /// The groups for the next write.
    fn take(&mut self) -> Vec<Group> {
        if self.sealed.is_empty()
            && let Some(open) = &self.open
            && open.chunk.len() < self.chunk_bytes / 8
        {
            self.chunk_bytes = (self.chunk_bytes / 4).max(CHUNK_MIN_BYTES);
        }
        self.sealed.extend(self.open.take());
        let mut groups = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.sealed.front() {
            bytes += next.bytes_with(0, 0);
            if !groups.is_empty() && bytes > self.write_limit_bytes {
                break;
            }
            groups.extend(self.sealed.pop_front());
        }
        match groups.iter().map(|group| group.owners.len()).sum() {
            0 => {}
            1 => self.calm_writes = self.calm_writes.saturating_add(1),
            2.. => self.calm_writes = 0,
        }
        groups
    }
}

impl Group {
    /// Copies an entry in, behind the name of its log if that is given.
    fn enter(
        &mut self,
        entry: &NewEntry<'_>,
        declaration: Option<&[u8]>,
        patch: impl FnOnce(&mut [u8]),
        on_durable: OnDurable,
    ) {
        if let Some(payload) = declaration {
            let (id, kind) = (entry.log_id, EntryKind::Declare);
            let row = Row::new(id, kind, 0, Place::default(), payload);
            self.rows.push(row);
            self.chunk.push(payload);
        }
        let at = self.chunk.len();
        let copy = self.chunk.push(entry.payload);
        patch(copy);
        let row = Row::new(entry.log_id, entry.kind, entry.offset, entry.place, copy);
        self.rows.push(row);
        self.owners.push((at..at + entry.payload.len(), on_durable));
        self.strict |= entry.strict;
    }

    /// Bytes of the group if so much more were added.
    fn bytes_with(&self, payload_bytes: usize, entries: usize) -> usize {
        let payload_bytes = self.chunk.len() - GROUP_HEADER_BYTES + payload_bytes;
        padded_bytes(payload_bytes, self.rows.len() + entries)
    }

    /// Adds table and header; from here on the bytes do not change.
    fn seal(mut self, seal: Seal) -> (Bytes, Vec<(Range<usize>, OnDurable)>) {
        let payload_bytes = self.chunk.len() - GROUP_HEADER_BYTES;
        let group_bytes = padded_bytes(payload_bytes, self.rows.len());
        let (header, table) = seal.apply(group_bytes, payload_bytes, &self.rows);
        self.chunk.push(&table);
        self.chunk.pad_to_block();
        self.chunk.as_mut_slice()[..GROUP_HEADER_BYTES].copy_from_slice(&header);
        (self.chunk.freeze(), self.owners)
    }
}

fn padded_bytes(payload_bytes: usize, entries: usize) -> usize {
    format::unpadded_bytes(payload_bytes, entries).next_multiple_of(BLOCK_BYTES)
}
