//! What may be done at once after a pause, and how soon again: Kafka's `TokenBucket` (KIP-599).

use super::Sampling;
use super::rate::round;

/// Tokens that come at a steady rate, and are kept up to a burst. They may be overdrawn.
#[derive(Debug)]
pub struct TokenBucket {
    tokens: f64,
    refilled_ms: i64,
}

impl TokenBucket {
    /// A full bucket.
    pub fn full(now_ms: i64) -> Self {
        Self {
            tokens: f64::INFINITY,
            refilled_ms: now_ms,
        }
    }

    /// Takes tokens out, whether they are there or not. `bound` is how many come in a second.
    pub fn take(&mut self, sampling: Sampling, bound: f64, amount: f64, now_ms: i64) {
        let burst = self.refill(sampling, bound, now_ms);
        self.tokens = burst.min(self.tokens - amount);
    }

    /// How many there are; below zero if it is overdrawn.
    pub fn tokens(&mut self, sampling: Sampling, bound: f64, now_ms: i64) -> f64 {
        self.refill(sampling, bound, now_ms);
        self.tokens
    }

    /// How long until it is not overdrawn any more.
    pub fn delay_ms(&mut self, sampling: Sampling, bound: f64, now_ms: i64) -> i64 {
        let tokens = self.tokens(sampling, bound, now_ms);
        if tokens >= 0.0 {
            return 0;
        }
        round(-tokens / bound * 1e3)
    }

    fn refill(&mut self, sampling: Sampling, bound: f64, now_ms: i64) -> f64 {
        let burst = sampling.count as f64 * (sampling.span_ms as f64 / 1e3) * bound;
        let since_seconds = (now_ms - self.refilled_ms) as f64 / 1e3;
        self.tokens = burst.min(self.tokens + bound * since_seconds);
        self.refilled_ms = now_ms;
        burst
    }
}
