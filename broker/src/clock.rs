//! The broker's time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Wall-clock milliseconds that never go backwards: read once, then counted by the monotonic clock.
///
/// Follows tokio's clock, so that tests can pause and advance it.
#[derive(Clone, Debug)]
pub struct Clock {
    started_at_ms: i64,
    started: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    pub fn new() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started_at_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX),
            started: Instant::now(),
        }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.started_at_ms.saturating_add(elapsed)
    }

    /// How long until `at_ms`; zero if it is over.
    pub fn until(&self, at_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(at_ms.saturating_sub(self.now_ms())).unwrap_or(0))
    }
}
