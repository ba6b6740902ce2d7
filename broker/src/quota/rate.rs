//! How much there was in a second, over the last seconds: Kafka's `Rate` over a `WindowedSum`.

use super::Sampling;

/// A rate, and the time that it was measured over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    pub per_second: f64,
    pub window_ms: i64,
}

impl Measured {
    /// For how long nothing may come, so that the rate is back at `bound`: 0 if it is within it (Kafka's `QuotaUtils`).
    pub fn delay_ms(self, bound: f64) -> i64 {
        if self.per_second <= bound {
            return 0;
        }
        round((self.per_second - bound) / bound * self.window_ms as f64)
    }
}

/// Java's `Math.round`.
pub(super) fn round(number: f64) -> i64 {
    (number + 0.5).floor() as i64
}

/// What came in each of the last spans of time. There is one more of them than are counted: the oldest may lie half within
/// the time that is looked at.
#[derive(Debug, Default)]
pub struct Rate {
    samples: Vec<Sample>,
    current: usize,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    since_ms: i64,
    last_ms: i64,
    sum: f64,
}

impl Sample {
    fn new(now_ms: i64) -> Self {
        Self {
            since_ms: now_ms,
            last_ms: now_ms,
            sum: 0.0,
        }
    }
}

impl Rate {
    /// Counts `amount`; a negative one takes back what was counted at the same time.
    pub fn record(&mut self, sampling: Sampling, amount: f64, now_ms: i64) {
        if self.samples.is_empty() {
            self.samples.push(Sample::new(now_ms));
        }
        if now_ms - self.samples[self.current].since_ms >= sampling.span_ms {
            self.current = (self.current + 1) % (sampling.count + 1);
            match self.samples.get_mut(self.current) {
                Some(oldest) => *oldest = Sample::new(now_ms),
                None => self.samples.push(Sample::new(now_ms)),
            }
        }
        let sample = &mut self.samples[self.current];
        sample.sum += amount;
        sample.last_ms = now_ms;
    }

    /// The rate over the time since the oldest sample, which counts as all spans but one at least: a short burst is no high
    /// rate.
    pub fn measure(&mut self, sampling: Sampling, now_ms: i64) -> Measured {
        let expires_ms = sampling.count as i64 * sampling.span_ms;
        for sample in &mut self.samples {
            if now_ms - sample.last_ms >= expires_ms {
                *sample = Sample::new(now_ms);
            }
        }
        let sum: f64 = self.samples.iter().map(|sample| sample.sum).sum();
        let oldest = self.samples.iter().map(|sample| sample.since_ms).min();
        let mut window_ms = now_ms - oldest.unwrap_or(now_ms);
        let missing = sampling.count as i64 - 1 - window_ms / sampling.span_ms;
        window_ms += missing.max(0) * sampling.span_ms;
        let window_ms = window_ms.max(1);
        Measured {
            per_second: sum / (window_ms as f64 / 1e3),
            window_ms,
        }
    }
}
