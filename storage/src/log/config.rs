//! What the configuration of a topic means to its logs, and that of the broker to all of them.

/// When a producer is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// When the batch is on stable media: survives a power cut.
    #[default]
    Strict,
    /// When the batch is in the page cache: survives the death of the process.
    Os,
}

/// What a topic's configuration means to its logs; names and defaults are Kafka's.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    pub segment_bytes: u64,
    pub segment_ms: i64,
    /// A segment may end sooner by up to so many milliseconds, each by another number. So not all logs begin one at once.
    pub segment_jitter_ms: i64,
    pub segment_index_bytes: u64,
    pub index_interval_bytes: u64,
    /// -1: no limit.
    pub retention_bytes: i64,
    /// -1: no limit.
    pub retention_ms: i64,
    pub file_delete_delay_ms: i64,
    pub compact: bool,
    pub delete: bool,
    pub delete_retention_ms: i64,
    pub min_compaction_lag_ms: i64,
    pub max_compaction_lag_ms: i64,
    pub min_cleanable_dirty_ratio: f64,
    pub flush_messages: i64,
    pub flush_ms: i64,
    /// `None`: as the broker's default.
    pub durability: Option<Durability>,
}

impl LogConfig {
    /// For how long records of a segment may lie apart; compaction must not wait for the segment to be full.
    pub(crate) fn roll_ms(&self) -> i64 {
        if self.compact {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 168 * 3_600_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_bytes: -1,
            retention_ms: 168 * 3_600_000,
            file_delete_delay_ms: 60_000,
            compact: false,
            delete: true,
            delete_retention_ms: 86_400_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            durability: None,
        }
    }
}

/// `log.cleaner.*` of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanerConfig {
    /// `log.cleaner.enable`
    pub enabled: bool,
    /// `log.cleaner.backoff.ms`: how long to wait when nothing is due.
    pub backoff_ms: u64,
    /// `log.cleaner.dedupe.buffer.size`: no offset map is larger.
    pub dedupe_buffer_bytes: usize,
    /// `log.cleaner.io.max.bytes.per.second`, read and written; 0 is no limit.
    pub io_max_bytes_per_second: u64,
    /// No batch is decompressed to more.
    pub decompressed_limit_bytes: usize,
}

impl Default for CleanerConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            backoff_ms: 15_000,
            dedupe_buffer_bytes: 128 << 20,
            io_max_bytes_per_second: 0,
            decompressed_limit_bytes: 256 << 20,
        }
    }
}

/// What may change while the logs are in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveConfig {
    /// A producer outside a transaction is forgotten after being silent for so long (`producer.id.expiration.ms`).
    pub producer_id_expiration_ms: i64,
    /// Whether the first batch of a transaction needs the agreement of the coordinator
    /// (`transaction.partition.verification.enable`).
    pub transaction_verification_enabled: bool,
    /// Compaction. Whether there is any does not change.
    pub cleaner: CleanerConfig,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self {
            producer_id_expiration_ms: 86_400_000,
            transaction_verification_enabled: true,
            cleaner: CleanerConfig::default(),
        }
    }
}
