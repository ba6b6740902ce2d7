//! Metrics and health for whoever runs the broker, over HTTP (`port.rs` says where).
//!
//! Most values are looked up when they are asked for (`snapshot.rs`); what has to be counted is counted here with
//! relaxed atomics, without a lock and without an allocation. Nothing runs between scrapes.

mod census;
mod exporters;
pub mod http;
mod label;
mod lag_times;
pub(crate) mod logins;
pub mod port;
mod process;
mod snapshot;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use protocol_shim::ApiSpec;
use storage::log::stats::{LatencyHistogram, LatencySnapshot};

/// What all connections count, by API key.
pub struct RequestMetrics {
    served: Vec<&'static ApiSpec>,
    /// By API key; the last one is of requests that name no API that is served.
    apis: Vec<ApiMetrics>,
}

#[derive(Default)]
struct ApiMetrics {
    latency: LatencyHistogram,
    errors: AtomicU64,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
}

/// A request that has been read and not yet been answered.
pub struct Asked {
    api: usize,
    at: Instant,
}

impl Asked {
    /// When it had been read.
    pub fn at(&self) -> Instant {
        self.at
    }
}

/// The requests of one API.
#[derive(Debug)]
struct ApiSnapshot {
    name: &'static str,
    latency: LatencySnapshot,
    errors: u64,
    request_bytes: u64,
    response_bytes: u64,
}

impl RequestMetrics {
    /// Counts the requests of each of the APIs that are served.
    pub fn new(served: impl Iterator<Item = &'static ApiSpec>) -> Self {
        let served: Vec<_> = served.collect();
        let keys = served
            .iter()
            .filter_map(|spec| usize::try_from(spec.api_key).ok());
        let unknown = keys.max().map_or(0, |key| key + 1);
        let apis = (0..=unknown).map(|_| ApiMetrics::default()).collect();
        Self { served, apis }
    }

    /// A frame has been read; its first two bytes name the API.
    pub fn asked(&self, frame: &[u8]) -> Asked {
        let unknown = self.apis.len() - 1;
        let api = match frame {
            [high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])).min(unknown),
            _ => unknown,
        };
        let bytes = (frame.len() + protocol_shim::frame::LENGTH_BYTES) as u64;
        self.apis[api]
            .request_bytes
            .fetch_add(bytes, Ordering::Relaxed);
        let at = Instant::now();
        Asked { api, at }
    }

    /// Its response, of so many bytes, is with the kernel; 0 bytes where none was wanted.
    pub fn answered(&self, asked: &Asked, bytes: usize) {
        let api = &self.apis[asked.api];
        api.latency.observe(asked.at.elapsed());
        api.response_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// It cannot be answered, and its connection ends.
    pub fn failed(&self, asked: &Asked) {
        self.apis[asked.api].errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Every API that is served, then what was asked of none.
    fn snapshot(&self) -> Vec<ApiSnapshot> {
        let take = |name, api: &ApiMetrics| ApiSnapshot {
            name,
            latency: api.latency.snapshot(),
            errors: api.errors.load(Ordering::Relaxed),
            request_bytes: api.request_bytes.load(Ordering::Relaxed),
            response_bytes: api.response_bytes.load(Ordering::Relaxed),
        };
        let served = self.served.iter().filter_map(|spec| {
            let api = self.apis.get(usize::try_from(spec.api_key).ok()?)?;
            Some(take(spec.name, api))
        });
        let unknown = self.apis.last().map(|api| take("unknown", api));
        served.chain(unknown).collect()
    }
}
