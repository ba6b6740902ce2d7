//! Keeps compaction from taking the disk away from producers.

/// `log.cleaner.io.max.bytes.per.second` as a token bucket. Time is the caller's: ms of a clock that never goes back.
#[derive(Debug, Clone)]
pub struct RateLimiter {
    bytes_per_second: u64,
    /// Bytes times 1000, so that ms at any rate are whole numbers. Negative: taken ahead of time.
    available: i128,
    last_ms: u64,
}

impl RateLimiter {
    /// `bytes_per_second` on average, and not more than one second's worth at once; 0 is no limit.
    pub fn new(bytes_per_second: u64, now_ms: u64) -> Self {
        Self {
            bytes_per_second,
            available: i128::from(bytes_per_second) * 1000,
            last_ms: now_ms,
        }
    }

    /// Sets another rate. Bytes that were taken ahead of time are still owed.
    pub fn set_rate(&mut self, bytes_per_second: u64, now_ms: u64) {
        self.refill(now_ms);
        if self.bytes_per_second == 0 {
            // Without a limit nothing was counted.
            self.available = i128::from(bytes_per_second) * 1000;
        }
        self.bytes_per_second = bytes_per_second;
        self.available = self.available.min(i128::from(bytes_per_second) * 1000);
    }

    /// Takes `bytes`, and says for how many ms to pause before going on.
    pub fn take(&mut self, bytes: u64, now_ms: u64) -> u64 {
        if self.bytes_per_second == 0 {
            return 0;
        }
        self.refill(now_ms);
        self.available -= i128::from(bytes) * 1000;
        let owed = self.available.min(0).unsigned_abs();
        u64::try_from(owed.div_ceil(u128::from(self.bytes_per_second))).unwrap_or(u64::MAX)
    }

    fn refill(&mut self, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.last_ms);
        self.last_ms = self.last_ms.max(now_ms);
        let rate = i128::from(self.bytes_per_second);
        self.available = (self.available + i128::from(elapsed_ms) * rate).min(rate * 1000);
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn whoever_pauses_as_told_never_exceeds_the_rate_by_more_than_a_seconds_worth() {
        let seed: u64 = rand::rng().random();
        println!("seed {seed}");
        let mut random: rand::rngs::StdRng = rand::SeedableRng::seed_from_u64(seed);
        for rate in [1, 999, 1 << 20, 1 << 40] {
            let mut limiter = RateLimiter::new(rate, 5);
            let (mut now_ms, mut total) = (5, 0);
            for _ in 0..1_000 {
                let bytes = random.random_range(0..=rate * 2);
                total += bytes;
                now_ms += limiter.take(bytes, now_ms) + random.random_range(0..3);
                let allowed = u128::from(rate) * u128::from(now_ms - 5 + 1_000) / 1_000;
                assert!(u128::from(total) <= allowed, "{total} bytes by {now_ms} ms");
            }
        }
    }

    #[test]
    fn idle_time_is_not_saved_up_and_a_clock_that_stands_still_is_no_credit() {
        let mut limiter = RateLimiter::new(1_000, 0);
        assert_eq!(limiter.take(1_000, 1_000_000), 0);
        assert_eq!(limiter.take(1_000, 1_000_000), 1_000);
        assert_eq!(limiter.take(0, 999_000), 1_000);
        assert_eq!(limiter.take(0, 1_000_400), 600);
    }

    #[test]
    fn another_rate_counts_at_once_and_lets_off_nothing() {
        let mut limiter = RateLimiter::new(1_000, 0);
        assert_eq!(limiter.take(3_000, 0), 2_000);
        limiter.set_rate(4_000, 1_000);
        assert_eq!(limiter.take(0, 1_000), 250);
        assert_eq!(limiter.take(4_000, 1_250), 1_000);
        limiter.set_rate(0, 1_250);
        assert_eq!(limiter.take(u64::MAX, 1_250), 0);
        limiter.set_rate(1_000, 5_000);
        assert_eq!(limiter.take(2_000, 5_000), 1_000);
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let mut limiter = RateLimiter::new(0, 0);
        assert_eq!(limiter.take(u64::MAX, 0), 0);
    }
}
