//! Long polls: reads that wait until a log has more to show.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use super::Isolation;
use crate::env::sync::Mutex;

/// One long poll, registered with every partition it waits for.
///
/// Each advance of a visible end costs one subtraction per waiter; the poll wakes when
/// enough bytes have become visible, or at once when [`FetchWait::wake`] is called.
#[derive(Debug)]
pub struct FetchWait {
    needed_bytes: AtomicI64,
    woken: AtomicBool,
    notify: Notify,
}

impl FetchWait {
    pub fn new(needed_bytes: i64) -> Arc<Self> {
        Arc::new(Self {
            needed_bytes: AtomicI64::new(needed_bytes),
            woken: AtomicBool::new(false),
            notify: Notify::new(),
        })
    }

    /// `bytes` more have become visible.
    pub fn add(&self, bytes: i64) {
        if self.needed_bytes.fetch_sub(bytes, Ordering::AcqRel) <= bytes {
            self.wake();
        }
    }

    /// Ends the wait: an error, a deletion, or enough bytes.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Waits until woken; returns at once if that has happened already.
    pub async fn wait(&self) {
        while !self.woken.load(Ordering::Acquire) {
            self.notify.notified().await;
        }
    }
}

/// Keeps a [`FetchWait`] registered; dropping it takes the registration back.
pub struct WaitRegistration(Option<Box<dyn FnOnce() + Send>>);

impl WaitRegistration {
    pub fn new(deregister: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(deregister)))
    }
}

impl Drop for WaitRegistration {
    fn drop(&mut self) {
        if let Some(deregister) = self.0.take() {
            deregister();
        }
    }
}

/// Registered long polls; each advance of a visible end costs one subtraction per poll.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<List>);

#[derive(Default)]
struct List {
    next_key: u64,
    entries: Vec<Waiter>,
}

struct Waiter {
    key: u64,
    isolation: Isolation,
    wait: Arc<FetchWait>,
}

impl Waiters {
    /// Adds a poll; it is taken out when the registration is dropped.
    pub(crate) fn register(
        self: &Arc<Self>,
        isolation: Isolation,
        wait: &Arc<FetchWait>,
    ) -> WaitRegistration {
        let key = {
            let mut list = self.0.lock();
            let key = list.next_key;
            list.next_key += 1;
            list.entries.push(Waiter {
                key,
                isolation,
                wait: Arc::clone(wait),
            });
            key
        };
        let waiters: Weak<Self> = Arc::downgrade(self);
        WaitRegistration::new(move || {
            if let Some(waiters) = waiters.upgrade() {
                waiters.remove(key);
            }
        })
    }

    /// `committed_bytes` more are visible to read-committed polls, `all_bytes` to the others.
    pub(crate) fn advanced(&self, all_bytes: i64, committed_bytes: i64) {
        let list = self.0.lock();
        for waiter in &list.entries {
            let bytes = match waiter.isolation {
                Isolation::ReadUncommitted => all_bytes,
                Isolation::ReadCommitted => committed_bytes,
            };
            if bytes > 0 {
                waiter.wait.add(bytes);
            }
        }
    }

    /// Ends every poll: the log was deleted or failed.
    pub(crate) fn wake_all(&self) {
        for waiter in &self.0.lock().entries {
            waiter.wait.wake();
        }
    }

    fn remove(&self, key: u64) {
        let mut list = self.0.lock();
        if let Some(at) = list.entries.iter().position(|waiter| waiter.key == key) {
            list.entries.swap_remove(at);
        }
    }
}
