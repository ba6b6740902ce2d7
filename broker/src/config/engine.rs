//! The sections of the storage engine.

use storage::local::LocalConfig;
use storage::log::{CleanerConfig, LiveConfig};

use super::broker_row::{BrokerRow, kafka, own};
use super::def::{Kind, Rule};
use super::section::{count, section};
use super::settings::{DynamicSettings, Settings};
use super::topic::DURABILITIES;

section! {
    fill LocalConfig of BrokerRow = LocalConfig::new("");
    keys {
        /// strict: a producer is answered when the record is on stable media. os: when it is in the page cache.
        durability = own("ottla.durability", Kind::String, "strict").rule(Rule::OneOf(DURABILITIES)),
        /// How far the write-ahead log may grow.
        wal_ring_bytes = own("ottla.wal.ring.bytes", Kind::Long, "1073741824").at_least(16 << 20),
        /// Most segment files that are kept open; never more than half of what the system allows the process.
        open_files_max = own("ottla.open.files.max", Kind::Int, "32768").at_least(16),
        /// Room to keep free on the disk: below it producers are refused. -1: a twentieth of the file system, at most 512 MiB.
        disk_reserve_bytes = own("ottla.disk.reserve.bytes", Kind::Long, "-1").at_least(-1) => not_below_zero,
        /// How often it is looked for segments that may be deleted.
        retention_check_interval_ms = kafka("log.retention.check.interval.ms"),
        /// How long after the start it is first looked for segments that may be deleted.
        initial_task_delay_ms = kafka("log.initial.task.delay.ms"),
        /// How often it is looked for producers that may be forgotten.
        producer_id_expiration_check_interval_ms = kafka("producer.id.expiration.check.interval.ms"),
    }
    also {}
}

section! {
    fill LiveConfig of BrokerRow = LiveConfig::default();
    keys {
        /// A producer that has been silent in a partition for this long, and has no transaction open, is forgotten there.
        producer_id_expiration_ms = kafka("producer.id.expiration.ms"),
        /// Whether a transaction's coordinator is asked before the transaction's first batch is appended to a partition.
        transaction_verification_enabled = kafka("transaction.partition.verification.enable"),
    }
    also {}
}

section! {
    fill CleanerConfig of BrokerRow = CleanerConfig::default();
    keys {
        /// Whether compacted topics are compacted.
        enabled = kafka("log.cleaner.enable"),
        /// How long the log cleaner sleeps when nothing is due.
        backoff_ms = kafka("log.cleaner.backoff.ms"),
        /// Bytes that the log cleaner may use to tell keys apart.
        dedupe_buffer_bytes = kafka("log.cleaner.dedupe.buffer.size") => count,
        /// What the log cleaner reads and writes a second at most.
        io_max_bytes_per_second = kafka("log.cleaner.io.max.bytes.per.second") => rate,
    }
    also {}
}

fn not_below_zero(bytes: i64) -> Option<u64> {
    u64::try_from(bytes).ok()
}

/// Bytes a second; 0, for no limit, where Kafka's default says so.
fn rate(rate: f64) -> u64 {
    match rate {
        rate if (1.0..1e18).contains(&rate) => rate as u64,
        _ => 0,
    }
}

impl Settings {
    /// What the engine goes by that may change while it runs.
    pub fn live(&self, dynamic: DynamicSettings<'_>) -> LiveConfig {
        LiveConfig {
            cleaner: self.section(dynamic),
            ..self.section(dynamic)
        }
    }
}
