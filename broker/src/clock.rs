//! The broker's time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Two clocks. What is compared with what clients and other brokers say, or is kept for later, goes by the wall clock, which
/// may be put forward and back. Deadlines go by one that nobody can put anywhere, and that stands still in no suspend.
///
/// The second follows tokio's clock, so that tests can pause and advance it.
#[derive(Clone, Debug)]
pub struct Clock {
    started_at_ms: i64,
    started: Instant,
    /// How far a test has put the wall clock forward.
    step_ms: Arc<AtomicI64>,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    pub fn new() -> Self {
        Self {
            started_at_ms: system_ms(),
            started: Instant::now(),
            step_ms: Arc::default(),
        }
    }

    /// Milliseconds since 1970, by the wall clock: for timestamps.
    pub fn wall_ms(&self) -> i64 {
        system_ms().saturating_add(self.step_ms.load(Ordering::Relaxed))
    }

    /// Milliseconds that never go back, counted on from what the wall clock said at the start: for deadlines.
    pub fn steady_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.started_at_ms.saturating_add(elapsed)
    }

    /// How far the wall clock is ahead of the steady one.
    pub fn wall_ahead_ms(&self) -> i64 {
        self.wall_ms().saturating_sub(self.steady_ms())
    }

    /// How long until the steady clock says `at_ms`; zero if it is over.
    pub fn until(&self, at_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(at_ms.saturating_sub(self.steady_ms())).unwrap_or(0))
    }

    /// Puts the wall clock forward, or back. For tests.
    pub fn step_wall(&self, by_ms: i64) {
        self.step_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

/// What the system's wall clock says, for what has no [`Clock`] at hand: no test puts it forward.
#[expect(clippy::disallowed_methods, reason = "the door")]
pub fn system_time() -> SystemTime {
    SystemTime::now()
}

/// The same in milliseconds since 1970.
pub fn system_ms() -> i64 {
    match system_time().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_moves_timestamps_and_no_deadline() {
        const TWO_HOURS_MS: i64 = 7_200_000;
        let clock = Clock::new();
        for step_ms in [TWO_HOURS_MS, -2 * TWO_HOURS_MS] {
            let (wall_ms, steady_ms) = (clock.wall_ms(), clock.steady_ms());
            clock.step_wall(step_ms);
            assert!(clock.wall_ms() - wall_ms >= step_ms);
            assert!(clock.wall_ms() - wall_ms < step_ms + TWO_HOURS_MS / 2);
            let passed_ms = clock.steady_ms() - steady_ms;
            assert!((0..TWO_HOURS_MS / 2).contains(&passed_ms));
        }
    }
}
