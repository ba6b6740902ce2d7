//! The long polls registered with one log.

use std::sync::{Arc, Weak};

use super::{FetchWait, Isolation, WaitRegistration};
use crate::env::sync::Mutex;

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
    pub fn register(
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
    pub fn advanced(&self, all_bytes: i64, committed_bytes: i64) {
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
    pub fn wake_all(&self) {
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
