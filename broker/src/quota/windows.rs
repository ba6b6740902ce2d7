//! What clients have used lately, shared by all connections of those that share a quota.
//!
//! A stranger can call itself by any number of names, and a quota of the default client counts for each of them. So windows are
//! bounded in number, and none keeps a name.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};

use super::Kind;
use super::limits::Found;

/// Most windows of those that share nothing. Whoever comes then shares one with the others of its kind.
pub(super) const MAX_WINDOWS: usize = 32_768;
/// A window that nobody has used for so long is let go of, as Kafka's sensors are.
pub(super) const IDLE_MS: i64 = 3_600_000;
/// How often windows are looked through.
const SWEEP_MS: i64 = 60_000;

/// What is used of one quota.
#[derive(Debug)]
pub struct Window<W> {
    used: Mutex<Used<W>>,
}

#[derive(Debug)]
struct Used<W> {
    last_ms: i64,
    window: W,
}

impl<W> Window<W> {
    fn new(window: W, now_ms: i64) -> Self {
        let used = Used {
            last_ms: now_ms,
            window,
        };
        Self {
            used: Mutex::new(used),
        }
    }

    /// What is used, for as long as it is looked at.
    pub(super) fn used(&self, now_ms: i64) -> MappedMutexGuard<'_, W> {
        let mut used = self.used.lock();
        used.last_ms = now_ms;
        MutexGuard::map(used, |used| &mut used.window)
    }
}

/// All windows of a form, by who shares them.
#[derive(Debug)]
pub struct Windows<W> {
    hashers: [RandomState; 2],
    kept: Mutex<Kept<W>>,
}

#[derive(Debug)]
struct Kept<W> {
    by_key: HashMap<Key, Arc<Window<W>>>,
    swept_ms: i64,
    /// Of those for whom there is no room.
    shared: [Option<Arc<Window<W>>>; Kind::ALL.len()],
}

/// Two hashes that no stranger can foresee stand for kind, user and client id.
type Key = [u64; 2];

impl<W> Default for Windows<W> {
    fn default() -> Self {
        Self {
            hashers: Default::default(),
            kept: Mutex::new(Kept {
                by_key: HashMap::new(),
                swept_ms: 0,
                shared: Default::default(),
            }),
        }
    }
}

impl<W> Windows<W> {
    /// The window of those that share a quota, `new` if nobody has used it lately.
    pub(super) fn get(&self, kind: Kind, of: &Found<'_>, new: W, now_ms: i64) -> Arc<Window<W>> {
        let named = (kind as usize, of.user, of.client_id);
        let [first, second] = &self.hashers;
        let key = [first.hash_one(named), second.hash_one(named)];
        let mut kept = self.kept.lock();
        if let Some(window) = kept.by_key.get(&key) {
            return Arc::clone(window);
        }
        if now_ms - kept.swept_ms >= SWEEP_MS {
            kept.sweep(now_ms);
        }
        let window = || Arc::new(Window::new(new, now_ms));
        Arc::clone(match kept.by_key.len() < MAX_WINDOWS {
            true => kept.by_key.entry(key).or_insert_with(window),
            false => kept.shared[kind as usize].get_or_insert_with(window),
        })
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.lock().by_key.len()
    }
}

impl<W> Kept<W> {
    /// Lets go of what no connection has and nobody has used for long.
    fn sweep(&mut self, now_ms: i64) {
        self.swept_ms = now_ms;
        self.by_key.retain(|_, window| {
            let is_idle = now_ms - window.used.lock().last_ms >= IDLE_MS;
            !is_idle || Arc::strong_count(window) > 1
        });
        self.by_key.shrink_to_fit();
    }
}
