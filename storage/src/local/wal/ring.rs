//! The files of the write-ahead log: regions that are filled one after the other and reused.
//!
//! A region is written ahead of its use, so that a commit neither allocates blocks nor grows a
//! file. The first is small and there at once; more are added in the background with use. A
//! region that has been filled is free again when a checkpoint lies behind its last group. Where
//! there is no free region, commits wait: nothing is overwritten.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::chunk::ChunkPool;
use crate::env::fs::{self, Access, BLOCK_BYTES, File, Fs, if_found, is_unsupported};
use crate::env::sync::{Condvar, Mutex};

/// A commit that has waited for room for this long is worth a warning.
const WARN_INTERVAL: Duration = Duration::from_secs(2);

/// How large the ring is and how it is written.
#[derive(Clone, Debug)]
pub struct RingConfig {
    pub dir: PathBuf,
    /// The size of all regions together. At least the first two always fit.
    pub max_bytes: u64,
    pub first_region_bytes: u64,
    pub region_bytes: u64,
    /// A write returns when its data is on stable media; else when it is in the page cache.
    pub synced: bool,
}

/// Where a group lies or may follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingPosition {
    pub region: u32,
    pub position: u64,
}

/// One file of the ring.
#[derive(Debug)]
struct Region {
    index: u32,
    file: Arc<dyn File>,
    bytes: u64,
    /// The last group in it, once the ring has gone on to another region.
    last_sequence: u64,
}

/// What to do for a commit that finds no free region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    Grow,
    Checkpoint,
}

#[derive(Debug)]
pub struct Ring {
    /// The most that the largest region can take while the ring cannot grow; 0 if it can.
    stunted_bytes: AtomicU64,
    fs: Arc<dyn Fs>,
    config: RingConfig,
    pool: Arc<ChunkPool>,
    /// Whether writes pass the page cache.
    direct: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    current: Region,
    position: u64,
    free: Vec<Region>,
    full: Vec<Region>,
    total_bytes: u64,
    next_index: u32,
    /// A durable checkpoint lies behind everything before this group.
    released: u64,
    /// The last group in the current region.
    last_sequence: u64,
    /// The bytes of the commit that waits for room; 0 if none does.
    waiting_bytes: u64,
    /// The last attempt to grow has failed.
    stunted: bool,
    closed: bool,
}

impl State {
    fn has_room(&self, bytes: u64) -> bool {
        self.position + bytes <= self.current.bytes
            || self.free.iter().any(|region| region.bytes >= bytes)
    }

    fn largest_region_bytes(&self) -> u64 {
        let others = self
            .free
            .iter()
            .chain(&self.full)
            .map(|region| region.bytes);
        others.fold(self.current.bytes, u64::max)
    }
}

/// The file name of a region.
pub fn region_path(dir: &Path, index: u32) -> PathBuf {
    dir.join(format!("ring-{index}.wal"))
}

/// The regions that are there, by index.
pub fn list_regions(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<u32>> {
    let mut regions: Vec<u32> = if_found(fs.list(dir))?
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| {
            let index = entry.name.strip_prefix("ring-")?.strip_suffix(".wal")?;
            index.parse().ok()
        })
        .collect();
    regions.sort_unstable();
    Ok(regions)
}

impl Ring {
    /// Opens the regions that are there, or makes the first. Whatever they hold may be overwritten from now on.
    pub fn open(fs: Arc<dyn Fs>, config: RingConfig, pool: Arc<ChunkPool>) -> io::Result<Self> {
        let mut direct = config.synced;
        let mut regions = Vec::new();
        for index in list_regions(&*fs, &config.dir)? {
            let path = region_path(&config.dir, index);
            let file = open_file(&*fs, &path, &mut direct)?;
            let bytes = file.size_bytes()? / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
            if bytes < config.first_region_bytes.min(config.region_bytes) {
                // A crash has come while it was written ahead: nothing was ever in it.
                fs.remove_file(&path)?;
                continue;
            }
            // A process that was killed may have made it, and not come to sync it. A power cut could cut it short, and with it what
            // checkpoints point to.
            file.sync_data()?;
            regions.push(Region {
                index,
                file,
                bytes,
                last_sequence: 0,
            });
        }
        if !regions.is_empty() {
            fs.sync_dir(&config.dir)?;
        }
        let next_index = regions.last().map_or(0, |region| region.index + 1);
        if regions.is_empty() {
            regions.push(create_region(
                &*fs,
                &config,
                &pool,
                &mut direct,
                0,
                config.first_region_bytes,
            )?);
        }
        let total_bytes = regions.iter().map(|region| region.bytes).sum();
        regions.reverse();
        let Some(current) = regions.pop() else {
            return Err(io::Error::other("the ring has no region"));
        };
        Ok(Self {
            stunted_bytes: AtomicU64::new(0),
            fs,
            config,
            pool,
            direct,
            state: Mutex::new(State {
                next_index: next_index.max(current.index + 1),
                current,
                position: 0,
                free: regions,
                full: Vec::new(),
                total_bytes,
                released: 0,
                last_sequence: 0,
                waiting_bytes: 0,
                stunted: false,
                closed: false,
            }),
            changed: Condvar::new(),
        })
    }

    /// Where the next group goes if the current region has room for it.
    pub fn position(&self) -> RingPosition {
        let state = self.state.lock();
        RingPosition {
            region: state.current.index,
            position: state.position,
        }
    }

    /// The largest group that the ring will ever take.
    pub fn group_limit_bytes(&self) -> u64 {
        self.config.region_bytes
    }

    /// Whether a group of this size has to wait until the ring can grow again.
    pub fn is_too_small_for(&self, bytes: u64) -> bool {
        match self.stunted_bytes.load(Ordering::Relaxed) {
            0 => false,
            largest => bytes > largest,
        }
    }

    /// No region is smaller.
    pub fn smallest_region_bytes(&self) -> u64 {
        self.config.first_region_bytes.min(self.config.region_bytes)
    }

    /// Whether a commit of `bytes` would have to wait, and for what.
    pub fn shortage(&self, bytes: u64) -> Option<Shortage> {
        self.remedy(&self.state.lock(), bytes)
    }

    /// What is to be done for the commit that waits, or so that the next ones need not wait.
    ///
    /// Both the commit that waits and the thread that makes room go by this.
    pub fn need(&self) -> Option<Shortage> {
        let state = self.state.lock();
        if state.waiting_bytes > 0 {
            return self.remedy(&state, state.waiting_bytes);
        }
        let is_last = state.free.is_empty() && state.position > 0;
        (is_last && self.may_grow(&state)).then_some(Shortage::Grow)
    }

    /// Whether a commit waits for room.
    pub fn is_waited_for(&self) -> bool {
        self.state.lock().waiting_bytes > 0
    }

    fn remedy(&self, state: &State, bytes: u64) -> Option<Shortage> {
        if state.has_room(bytes) {
            return None;
        }
        // No checkpoint makes a region larger.
        let wants_larger = state.largest_region_bytes() < bytes;
        Some(match wants_larger || self.may_grow(state) {
            true => Shortage::Grow,
            false => Shortage::Checkpoint,
        })
    }

    fn may_grow(&self, state: &State) -> bool {
        let full_size = state.next_index > 1
            && state.total_bytes + self.config.region_bytes > self.config.max_bytes;
        !full_size && !state.stunted
    }

    /// What the ring grows by.
    pub fn growth_bytes(&self) -> u64 {
        self.config.region_bytes
    }

    /// Notes that the ring cannot grow for now: commits wait for checkpoints instead.
    pub fn cannot_grow(&self) {
        let mut state = self.state.lock();
        state.stunted = true;
        // What is appended from here on has to make do with what there is.
        self.stunted_bytes
            .store(state.largest_region_bytes(), Ordering::Relaxed);
    }

    /// Whether the last attempt to grow has failed.
    pub fn is_stunted(&self) -> bool {
        self.stunted_bytes.load(Ordering::Relaxed) > 0
    }

    /// Bytes in regions that only a checkpoint can free, of all that there may be.
    pub fn fill(&self) -> (u64, u64) {
        let state = self.state.lock();
        let full: u64 = state.full.iter().map(|region| region.bytes).sum();
        (full + state.position, self.config.max_bytes)
    }

    /// Adds one region, written ahead. Takes as long as the disk needs; commits go on meanwhile.
    ///
    /// # Errors
    /// It could not be written, and is gone again.
    pub fn grow(&self) -> io::Result<()> {
        let index = {
            let state = self.state.lock();
            if state.closed {
                return Ok(());
            }
            state.next_index
        };
        let mut direct = self.direct;
        let region = create_region(
            &*self.fs,
            &self.config,
            &self.pool,
            &mut direct,
            index,
            self.config.region_bytes,
        )
        .inspect_err(|_| self.cannot_grow())?;
        let mut state = self.state.lock();
        state.next_index = index + 1;
        state.total_bytes += region.bytes;
        state.free.push(region);
        state.stunted = false;
        self.stunted_bytes.store(0, Ordering::Relaxed);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Lets a commit of `bytes` count as waiting, unless there is room. The caller then wakes the maintenance, and waits.
    pub fn ask_for_room(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.waiting_bytes = if state.has_room(bytes) { 0 } else { bytes };
    }

    /// Waits until there is room for `bytes`; false if the ring was closed first.
    pub fn wait_for_room(&self, bytes: u64) -> bool {
        let began = Instant::now();
        let mut warn_after = WARN_INTERVAL;
        let mut state = self.state.lock();
        let has_room = loop {
            if state.closed {
                break false;
            }
            if !state.has_room(bytes) && state.last_sequence < state.released {
                // Nothing in the current region is needed any more, and there may be no other that is large enough.
                state.position = 0;
            }
            if state.has_room(bytes) {
                break true;
            }
            let waited = began.elapsed();
            if waited >= warn_after {
                let remedy = self.remedy(&state, bytes);
                tracing::warn!(
                    ?remedy,
                    bytes,
                    waited_seconds = waited.as_secs(),
                    "appends wait for room in the write-ahead log"
                );
                warn_after = waited + 5 * WARN_INTERVAL;
            }
            self.changed.wait_for(&mut state, WARN_INTERVAL);
        };
        state.waiting_bytes = 0;
        has_room
    }

    /// Writes groups, numbered from `first_sequence` on, one after the other; returns where they end.
    ///
    /// There is room: [`Ring::wait_for_room`] said so, and there is one writer.
    pub fn write(&self, groups: &[&[u8]], first_sequence: u64) -> io::Result<RingPosition> {
        let bytes: u64 = groups.iter().map(|group| group.len() as u64).sum();
        let (file, position) = {
            let mut state = self.state.lock();
            if state.position + bytes > state.current.bytes {
                let Some(at) = state.free.iter().position(|region| region.bytes >= bytes) else {
                    return Err(io::Error::other("no free region in the write-ahead log"));
                };
                let next = state.free.remove(at);
                let mut left = std::mem::replace(&mut state.current, next);
                left.last_sequence = state.last_sequence;
                state.full.push(left);
                state.position = 0;
            }
            (Arc::clone(&state.current.file), state.position)
        };
        file.write_at(groups, position)?;
        if self.config.synced && !self.direct {
            file.sync_data()?;
        }
        let mut state = self.state.lock();
        state.position = position + bytes;
        state.last_sequence = first_sequence + groups.len() as u64 - 1;
        Ok(RingPosition {
            region: state.current.index,
            position: state.position,
        })
    }

    /// Makes everything written so far durable, where the writes themselves do not.
    pub fn sync(&self) -> io::Result<()> {
        let files: Vec<_> = {
            let state = self.state.lock();
            let full = state.full.iter().map(|region| &region.file);
            full.chain([&state.current.file]).map(Arc::clone).collect()
        };
        files.iter().try_for_each(|file| file.sync_data())
    }

    /// Frees the regions whose groups all lie before `start_sequence`: a durable checkpoint says that they are not needed.
    pub fn release(&self, start_sequence: u64) {
        let mut state = self.state.lock();
        let (free, full): (Vec<_>, Vec<_>) = std::mem::take(&mut state.full)
            .into_iter()
            .partition(|region| region.last_sequence < start_sequence);
        state.full = full;
        state.free.extend(free);
        state.released = start_sequence;
        drop(state);
        self.changed.notify_all();
    }

    /// Ends every wait for room.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }
}

fn open_file(fs: &dyn Fs, path: &Path, direct: &mut bool) -> io::Result<Arc<dyn File>> {
    if *direct {
        match fs.open(path, Access::DirectSync) {
            Err(error) if is_unsupported(&error) => *direct = false,
            other => return other,
        }
    }
    fs.open(path, Access::Write)
}

fn create_region(
    fs: &dyn Fs,
    config: &RingConfig,
    pool: &Arc<ChunkPool>,
    direct: &mut bool,
    index: u32,
    bytes: u64,
) -> io::Result<Region> {
    let path = region_path(&config.dir, index);
    let write = |access| {
        fs::fill(fs, &path, access, |file| {
            file.allocate(0, bytes)?;
            match config.synced {
                true => write_zeros(file, bytes, pool)?,
                false => file.set_len(bytes)?,
            }
            file.sync_data()
        })
    };
    let written = match *direct {
        true => write(Access::Direct),
        false => write(Access::Write),
    };
    match written {
        Err(error) if *direct && is_unsupported(&error) => {
            *direct = false;
            write(Access::Write)?;
        }
        other => other?,
    }
    let opened = fs
        .sync_dir(&config.dir)
        .and_then(|()| open_file(fs, &path, direct));
    let file = opened.inspect_err(|_| {
        // It is whole, and found at the next start; but the next attempt makes it anew.
        let _ = fs.remove_file(&path);
    })?;
    Ok(Region {
        index,
        file,
        bytes,
        last_sequence: 0,
    })
}

fn write_zeros(file: &dyn File, bytes: u64, pool: &Arc<ChunkPool>) -> io::Result<()> {
    let step_bytes = bytes.min(1 << 20);
    let mut zeros = pool.take(step_bytes as usize)?;
    zeros.grow(step_bytes as usize).fill(0);
    let mut position = 0;
    while position < bytes {
        let step = (bytes - position).min(step_bytes);
        file.write_at(&[&zeros.as_ref()[..step as usize]], position)?;
        position += step;
    }
    Ok(())
}
