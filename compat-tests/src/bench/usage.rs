//! What a window of time cost: CPU of the broker and of the generator, memory, latency.

use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::served::Served;
use crate::proc_stats;

/// The time that counts.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub from: Instant,
    pub until: Instant,
}

impl Window {
    /// The window of `length` that opens `warmup` after `start`.
    pub fn after(start: Instant, warmup: Duration, length: Duration) -> Self {
        let from = start + warmup;
        Self {
            from,
            until: from + length,
        }
    }

    /// Whether `instant` counts.
    pub fn contains(&self, instant: Instant) -> bool {
        self.from <= instant && instant < self.until
    }
}

/// What was used during a window.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub wall: Duration,
    /// User and system time of the broker's process, or of all of a cluster. What the kernel writes back for it is not in it.
    pub broker_cpu: Duration,
    /// The same for what the brokers stand on; zero for one that stands on a disk.
    pub stores_cpu: Duration,
    /// The same for this process.
    pub generator_cpu: Duration,
    /// Memory of the broker, or of all of a cluster, at the window's end.
    pub resident_bytes: u64,
}

impl Usage {
    /// Of all that the generator does not do itself.
    pub fn served_cpu(&self) -> Duration {
        self.broker_cpu + self.stores_cpu
    }

    /// Waits for the window and measures it.
    ///
    /// # Errors
    /// The broker is gone.
    pub fn during(broker: &dyn Served, window: Window) -> Result<Self> {
        sleep_until(window.from);
        let start = Instant::now();
        let (broker_before, stores_before) = (broker.cpu_time()?, broker.stores_cpu_time()?);
        let generator_before = proc_stats::cpu_time(std::process::id())?;
        sleep_until(window.until);
        Ok(Self {
            wall: start.elapsed(),
            broker_cpu: broker.cpu_time()?.saturating_sub(broker_before),
            stores_cpu: broker.stores_cpu_time()?.saturating_sub(stores_before),
            generator_cpu: proc_stats::cpu_time(std::process::id())?
                .saturating_sub(generator_before),
            resident_bytes: broker.resident_bytes()?,
        })
    }
}

/// Has this thread woken when it wants to be: by default the kernel may be 50 us late. Threads and processes that it starts
/// inherit it, so a thread that starts a broker must not ask for it.
///
/// # Errors
/// The system refuses.
pub fn wake_on_time() -> io::Result<()> {
    Ok(rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?)
}

/// Sleeps until `instant`; not at all when it has passed.
pub fn sleep_until(instant: Instant) {
    std::thread::sleep(instant.saturating_duration_since(Instant::now()));
}

/// Latencies from a microsecond to ten minutes, to three digits.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Latency {
    /// Nothing recorded yet.
    ///
    /// # Errors
    /// None: the bounds are ones that the histogram can have.
    pub fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1_000, 600_000_000_000, 3)?))
    }

    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        self.0
            .saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds all of another.
    ///
    /// # Errors
    /// None: both have the same bounds.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// In milliseconds, the latency that a part of all (0.99, say) does not exceed.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e6
    }
}
