//! What clients report of themselves (KIP-714): which of them may report what and how often, and that they keep to it.
//!
//! A client asks what it should report (GetTelemetrySubscriptions) and pushes that from time to time (PushTelemetry). What is
//! wanted stands in the metadata, as settings of the resource type CLIENT_METRICS (`subscriptions`). What is pushed is opened,
//! counted and thrown away: see `/metrics`.
//!
//! The rules are those of Kafka's `ClientMetricsManager`.

mod instances;
mod subscriptions;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use protocol_shim::ErrorCode;
use storage::record::compression::{CompressionType, decompress};
use tokio::sync::Semaphore;
use uuid::Uuid;

use self::instances::Instances;
pub(crate) use self::subscriptions::Client;
use self::subscriptions::Subscriptions;
use crate::metadata::MetadataImage;
use crate::net::session::Session;

/// In the order in which Kafka would rather have them.
pub(crate) const CODECS: [CompressionType; 4] = [
    CompressionType::Zstd,
    CompressionType::Lz4,
    CompressionType::Gzip,
    CompressionType::Snappy,
];

/// Clients that are remembered while the connections are open over which they came, as by Kafka; the longest silent make room.
const MAX_INSTANCES: usize = 16_384;

/// See the [module](self).
pub struct ClientMetrics {
    /// `telemetry.max.bytes`
    pub(crate) max_bytes: usize,
    subscriptions: ArcSwap<Subscriptions>,
    instances: Mutex<Instances>,
    /// One report is opened at a time.
    opening: Semaphore,
    counts: Counts,
}

/// What has come of reports.
#[derive(Debug, Default)]
struct Counts {
    pushes: AtomicU64,
    pushed_bytes: AtomicU64,
    refused: AtomicU64,
}

/// What a client should report.
pub(crate) struct Wanted {
    pub subscription_id: i32,
    pub push_interval_ms: i32,
    /// Prefixes of names; `*` alone is everything, none is nothing.
    pub metrics: Vec<StrBytes>,
}

/// A report.
pub(crate) struct Report {
    pub subscription_id: i32,
    pub terminating: bool,
    pub compression_type: i8,
    pub metrics: Bytes,
}

impl ClientMetrics {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            subscriptions: ArcSwap::default(),
            instances: Mutex::new(Instances::new(MAX_INSTANCES)),
            opening: Semaphore::new(1),
            counts: Counts::default(),
        }
    }

    /// Takes over what has changed in the metadata.
    pub(crate) fn follow(&self, old: &MetadataImage, new: &MetadataImage) {
        if !subscriptions::are_same(old, new) {
            let version = self.subscriptions.load().version + 1;
            self.subscriptions
                .store(Arc::new(Subscriptions::of(new, version)));
        }
    }

    /// What a client should report, when it asks at `now_ms`.
    ///
    /// # Errors
    /// THROTTLING_QUOTA_EXCEEDED: it asks before its interval is over, and has no reason to.
    pub(crate) fn wanted(&self, client: &Client<'_>, now_ms: i64) -> Result<Wanted, ErrorCode> {
        let subscriptions = self.subscriptions.load();
        let found = subscriptions.find(client);
        let mut instances = self.instances.lock();
        let instance = instances.get(client.instance_id, subscriptions.version, || {
            client.comes();
            found.terms()
        });
        let allowed = instance.may_ask(now_ms);
        drop(instances);
        self.counted(allowed)?;
        Ok(Wanted {
            subscription_id: found.id,
            push_interval_ms: found.push_interval_ms,
            metrics: found.metrics,
        })
    }

    /// Takes a report that a client has sent at `now_ms`.
    ///
    /// # Errors
    /// Why it is not taken.
    pub(crate) async fn report(
        &self,
        client: &Client<'_>,
        report: Report,
        now_ms: i64,
    ) -> Result<(), ErrorCode> {
        let allowed = self.check(client, &report, now_ms);
        self.counted(allowed)?;
        let pushed_bytes = match report.metrics.len() {
            0 => Ok(0),
            _ => self.open(&report).await,
        };
        let pushed_bytes = self.counted(pushed_bytes)?;
        self.counts.pushes.fetch_add(1, Ordering::Relaxed);
        let pushed_bytes = u64::try_from(pushed_bytes).unwrap_or(u64::MAX);
        self.counts
            .pushed_bytes
            .fetch_add(pushed_bytes, Ordering::Relaxed);
        Ok(())
    }

    fn check(&self, client: &Client<'_>, report: &Report, now_ms: i64) -> Result<(), ErrorCode> {
        // Kafka's reserved ids.
        if client.instance_id.as_u128() <= 1 {
            return Err(ErrorCode::InvalidRequest);
        }
        let subscriptions = self.subscriptions.load();
        let mut instances = self.instances.lock();
        let instance = instances.get(client.instance_id, subscriptions.version, || {
            client.comes();
            subscriptions.find(client).terms()
        });
        let allowed = instance.may_push(report.subscription_id, report.terminating, now_ms);
        let allowed = allowed.and_then(|()| match codec(report.compression_type) {
            None => Err(ErrorCode::UnsupportedCompressionType),
            Some(_) if report.metrics.len() > self.max_bytes => Err(ErrorCode::TelemetryTooLarge),
            Some(_) => Ok(()),
        });
        instance.remember(allowed.err(), report.terminating);
        allowed
    }

    /// How large a report is. It is opened on a thread for it, one at a time: a small one may become `telemetry.max.bytes`.
    async fn open(&self, report: &Report) -> Result<usize, ErrorCode> {
        let codec = codec(report.compression_type).ok_or(ErrorCode::UnsupportedCompressionType)?;
        if codec == CompressionType::None {
            return Ok(report.metrics.len());
        }
        let _turn = self.opening.acquire().await;
        let (metrics, max_bytes) = (report.metrics.clone(), self.max_bytes);
        let opening = tokio::task::spawn_blocking(move || {
            decompress(codec, &metrics, max_bytes).map(|opened| opened.len())
        });
        match opening.await {
            Ok(Ok(opened_bytes)) => Ok(opened_bytes),
            Ok(Err(_)) | Err(_) => Err(ErrorCode::InvalidRecord),
        }
    }

    fn counted<T>(&self, outcome: Result<T, ErrorCode>) -> Result<T, ErrorCode> {
        if outcome.is_err() {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// A connection has ended, and with it what is remembered of the client that came over it. As in Kafka, that is the last
    /// one, and goes whoever else speaks for it by now.
    pub(crate) fn forget(&self, session: &Session) {
        let id = session.reports_as.lock().take();
        if let Some(id) = id {
            self.instances.lock().forget(id);
        }
    }

    /// Clients that are remembered.
    pub(crate) fn instance_count(&self) -> usize {
        self.instances.lock().len()
    }

    /// Reports taken, their bytes when opened, and requests refused.
    pub(crate) fn counts(&self) -> [u64; 3] {
        let Counts {
            pushes,
            pushed_bytes,
            refused,
        } = &self.counts;
        [pushes, pushed_bytes, refused].map(|count| count.load(Ordering::Relaxed))
    }

    /// An id for a client that has none yet.
    pub(crate) fn new_instance_id() -> Uuid {
        Uuid::new_v4()
    }
}

fn codec(compression_type: i8) -> Option<CompressionType> {
    CompressionType::from_id(u8::try_from(compression_type).ok()?)
}

#[cfg(test)]
mod tests;
