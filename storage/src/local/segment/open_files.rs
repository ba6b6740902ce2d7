//! How many files of segments are open at one time, over all logs of a directory.
//!
//! A segment keeps its files open after their first use. Beyond the limit, segments that were not used for a while give
//! theirs up. A reader that has a file in hand goes on with it, and the next use opens the file again.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Bound, Deref};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use crate::env::sync::Mutex;
use crate::env::wakeup::Wakeup;

/// How many segments are looked at, when a file is opened, to find some to close.
const LOOKS: usize = 32;

/// What keeps files open and can close them: a segment.
pub(crate) trait KeepsOpen: Debug + Send + Sync {
    /// Closes the files, unless they were used since the last call. Without `may_sync`, what waits for a sync is left open.
    fn give_way(&self, may_sync: bool);
}

/// Where a log's files are, and the limit that they share with those of all other logs.
#[derive(Debug)]
pub(crate) struct LogPath {
    path: PathBuf,
    pub open_files: Arc<OpenFiles>,
}

impl LogPath {
    pub fn new(path: PathBuf, open_files: &Arc<OpenFiles>) -> Arc<Self> {
        let open_files = Arc::clone(open_files);
        Arc::new(Self { path, open_files })
    }
}

impl Deref for LogPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

/// The segments that have files open.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    limit: usize,
    count: AtomicUsize,
    listed: Mutex<Listed>,
    /// Woken by the first file: the maintenance closes it one day.
    maintenance: Arc<Wakeup>,
    whole_syncs: AtomicBool,
    closed_unsynced: AtomicBool,
}

#[derive(Debug, Default)]
struct Listed {
    next_place: u64,
    segments: BTreeMap<u64, Weak<dyn KeepsOpen>>,
    /// The place that was looked at last. The next look is behind it, as the hand of a clock goes round.
    hand: u64,
}

impl OpenFiles {
    pub fn new(limit: usize, maintenance: Arc<Wakeup>) -> Arc<Self> {
        Arc::new(Self {
            limit,
            count: AtomicUsize::new(0),
            listed: Mutex::default(),
            maintenance,
            whole_syncs: AtomicBool::new(false),
            closed_unsynced: AtomicBool::new(false),
        })
    }

    /// From now on checkpoints can sync the whole file system, and do if [`OpenFiles::take_closed_unsynced`] says so.
    pub fn allow_closing_unsynced(&self) {
        self.whole_syncs.store(true, Ordering::Release);
    }

    /// Whether a file may be closed that was written to and not synced. If so, the caller does that.
    pub fn may_close_unsynced(&self) -> bool {
        let may = self.whole_syncs.load(Ordering::Acquire);
        if may {
            self.closed_unsynced.store(true, Ordering::Release);
        }
        may
    }

    /// Whether files were closed without a sync since the last call.
    pub fn take_closed_unsynced(&self) -> bool {
        self.closed_unsynced.swap(false, Ordering::AcqRel)
    }

    /// Open files of all segments.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// A segment has opened its first file; the answer is its place in the list.
    pub fn enter(&self, segment: Weak<dyn KeepsOpen>) -> u64 {
        let mut listed = self.listed.lock();
        if listed.segments.is_empty() {
            self.maintenance.wake();
        }
        listed.next_place += 1;
        let place = listed.next_place;
        listed.segments.insert(place, segment);
        place
    }

    /// A listed segment has opened a file.
    pub fn opened(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// The segment at `place` has closed all its files; there were `count`.
    pub fn leave(&self, place: u64, count: usize) {
        self.count.fetch_sub(count, Ordering::Relaxed);
        self.listed.lock().segments.remove(&place);
    }

    /// Closes files until the limit holds or all files are in use. In that case the next call goes on.
    ///
    /// Files that need no sync go first. A segment that waits for a sync cannot be spared for good: readers open more of
    /// its files.
    pub fn close_surplus(&self) {
        self.close_while_surplus(LOOKS, false);
        if self.count() > self.limit {
            // The first time round finds out what was used since the last call. The second closes what was not.
            let looks = 2 * self.listed.lock().segments.len();
            self.close_while_surplus(looks, true);
        }
    }

    fn close_while_surplus(&self, looks: usize, may_sync: bool) {
        for _ in 0..looks {
            if self.count() <= self.limit {
                return;
            }
            if let Some(segment) = self.next() {
                segment.give_way(may_sync);
            }
        }
    }

    /// Closes the files that nobody has used since the last call, except those that a checkpoint will sync.
    pub fn close_unused(&self) {
        let looks = self.listed.lock().segments.len();
        for _ in 0..looks {
            if let Some(segment) = self.next() {
                segment.give_way(false);
            }
        }
    }

    fn next(&self) -> Option<Arc<dyn KeepsOpen>> {
        let mut listed = self.listed.lock();
        let behind = (Bound::Excluded(listed.hand), Bound::Unbounded);
        let next = listed.segments.range(behind).next();
        let (&place, segment) = next.or_else(|| listed.segments.first_key_value())?;
        let segment = Weak::clone(segment);
        listed.hand = place;
        drop(listed);
        segment.upgrade()
    }
}
