//! Wakes a thread that waits for work or for a deadline.

use std::time::Duration;

use crate::env::sync::{Condvar, Mutex};

/// Anyone wakes the thread, any number of times. It wakes once.
#[derive(Debug, Default)]
pub(crate) struct Wakeup {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wakeup {
    pub fn wake(&self) {
        let mut woken = self.woken.lock();
        if !*woken {
            *woken = true;
            self.changed.notify_one();
        }
    }

    /// Waits until somebody wakes the thread, or for `patience`.
    pub fn wait(&self, patience: Duration) {
        let mut woken = self.woken.lock();
        if !*woken {
            self.changed.wait_for(&mut woken, patience);
        }
        *woken = false;
    }
}
