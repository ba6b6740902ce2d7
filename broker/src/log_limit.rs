//! Lines that a stranger can cause are few: so many of a kind in a second, and then one that counts the rest.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lines of one kind in one second.
pub const LINES_PER_SECOND: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// How many lines of one kind there were in the second, or what else its window is, that runs.
pub struct LogLimit {
    lines: u32,
    length: Duration,
    window: Mutex<Option<Window>>,
}

struct Window {
    since: Instant,
    lines: u32,
    left_out: u64,
}

/// What is to be done with a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write it, after saying how many were left out before it.
    Write { left_out_before: u64 },
    /// Leave it out. The first one of its second has to see to it that the count is told.
    LeaveOut { is_first: bool },
}

impl LogLimit {
    #[allow(clippy::new_without_default, reason = "for statics")]
    pub const fn new() -> Self {
        Self::of(LINES_PER_SECOND, WINDOW)
    }

    /// So many lines in each window of so long.
    pub const fn of(lines: u32, length: Duration) -> Self {
        Self {
            lines,
            length,
            window: Mutex::new(None),
        }
    }

    /// Counts a line at `now`.
    pub fn admit(&self, now: Instant) -> Verdict {
        let mut last = self.window.lock();
        let window = last.get_or_insert(Window {
            since: now,
            lines: 0,
            left_out: 0,
        });
        let mut left_out_before = 0;
        if now.duration_since(window.since) >= self.length {
            left_out_before = std::mem::take(&mut window.left_out);
            (window.since, window.lines) = (now, 0);
        }
        if window.lines >= self.lines {
            window.left_out += 1;
            let is_first = window.left_out == 1;
            return Verdict::LeaveOut { is_first };
        }
        window.lines += 1;
        Verdict::Write { left_out_before }
    }

    /// Takes the count of lines that were left out and not told yet.
    pub fn take_left_out(&self) -> u64 {
        let mut window = self.window.lock();
        window
            .as_mut()
            .map_or(0, |window| std::mem::take(&mut window.left_out))
    }

    /// Has the count told when the second is over, where there is a runtime to wait in; else the next line tells it.
    pub fn tell_later(&'static self, tell: fn(u64)) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(self.length).await;
                let left_out = self.take_left_out();
                if left_out > 0 {
                    tell(left_out);
                }
            });
        }
    }
}

/// `tracing`'s macro of the level that comes first, for lines that a client can cause: at most
/// [`LINES_PER_SECOND`] from one place in the code, and the number of those that were left out.
#[macro_export]
macro_rules! log_limited {
    ($level:ident, $($line:tt)+) => {{
        static LIMIT: $crate::log_limit::LogLimit = $crate::log_limit::LogLimit::new();
        fn tell(left_out: u64) {
            tracing::$level!(left_out, "more lines like the ones before were left out");
        }
        match LIMIT.admit(::std::time::Instant::now()) {
            $crate::log_limit::Verdict::Write { left_out_before } => {
                if left_out_before > 0 {
                    tell(left_out_before);
                }
                tracing::$level!($($line)+);
            }
            $crate::log_limit::Verdict::LeaveOut { is_first: true } => LIMIT.tell_later(tell),
            $crate::log_limit::Verdict::LeaveOut { is_first: false } => {}
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_pass_in_a_second_and_the_rest_is_counted() {
        let limit = LogLimit::new();
        let start = Instant::now();
        let passes = Verdict::Write { left_out_before: 0 };
        for _ in 0..LINES_PER_SECOND {
            assert_eq!(limit.admit(start), passes);
        }
        for left_out in 0..5 {
            let is_first = left_out == 0;
            assert_eq!(limit.admit(start), Verdict::LeaveOut { is_first });
        }
        let later = start + WINDOW;
        assert_eq!(
            limit.admit(later),
            Verdict::Write { left_out_before: 5 },
            "the next line tells the count, if nothing has told it"
        );
        assert_eq!(limit.admit(later), passes);
    }

    #[test]
    fn a_count_that_was_told_is_not_told_again() {
        let limit = LogLimit::new();
        let start = Instant::now();
        for _ in 0..LINES_PER_SECOND + 3 {
            limit.admit(start);
        }
        assert_eq!(limit.take_left_out(), 3);
        assert_eq!(limit.take_left_out(), 0);
        let next = limit.admit(start + WINDOW);
        assert_eq!(next, Verdict::Write { left_out_before: 0 });
    }
}
