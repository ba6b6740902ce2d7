//! Wakes a thread that waits for work or for a deadline.

use std::time::Duration;

use crate::env::sync::{Condvar, Mutex};

/// Rung by anyone, any number of times; heard once.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub fn ring(&self) {
        let mut rung = self.rung.lock();
        if !*rung {
            *rung = true;
            self.changed.notify_one();
        }
    }

    /// Waits until the bell is rung, or for `patience`.
    pub fn wait(&self, patience: Duration) {
        let mut rung = self.rung.lock();
        if !*rung {
            self.changed.wait_for(&mut rung, patience);
        }
        *rung = false;
    }
}
