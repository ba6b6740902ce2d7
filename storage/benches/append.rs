//! What one batch costs on its way in: checksum, validation, append, commit.
//!
//! `cargo bench -p ottla-storage`
//!
//! `append` acknowledges from the page cache (mode `os`): it shows the way through the write-ahead log without
//! the device. `commit` waits for the device (mode `strict`), with many appends that share its writes. Both write
//! under the temporary directory (`TMPDIR`), and how fast that is counts.

// Benchmarks may stop where they stand.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use storage::local::{self, LocalConfig};
use storage::log::{
    AppendOrigin, Durability, LogStore, Next, PartitionLog, PendingAppend, TopicPartition,
};
use storage::record::{BatchBuilder, CompressionType, ValidateConfig, ValidatedBatch, validate};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const NOW_MS: i64 = 1_700_000_000_000;
const PARTITIONS: usize = 100;

/// Records of 1 KiB that compress to about a third.
fn batch(records_count: usize, compression: CompressionType) -> Bytes {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut builder = BatchBuilder::new().compression(compression);
    for _ in 0..records_count {
        let mut value = Vec::new();
        while value.len() < 1024 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            value.extend_from_slice(&random.to_le_bytes()[..4]);
            value.extend_from_slice(b"ottlaott");
        }
        builder.append(NOW_MS, None, Some(&value), &[]);
    }
    builder.build().unwrap()
}

fn crc(c: &mut Criterion) {
    let mut group = c.benchmark_group("crc");
    for kib in [1, 16, 64] {
        let batch = batch(kib, CompressionType::None);
        group.throughput(Throughput::Bytes(batch.len() as u64));
        group.bench_with_input(BenchmarkId::new("verify, KiB", kib), &batch, |b, batch| {
            b.iter(|| storage::record::batch::verify_crc(black_box(batch)));
        });
    }
}

fn validation(c: &mut Criterion) {
    let mut group = c.benchmark_group("validate");
    let passed_through = ValidateConfig::default();
    let looked_into = ValidateConfig {
        validate_all_records: true,
        ..ValidateConfig::default()
    };
    for (name, compression, config) in [
        ("none", CompressionType::None, &passed_through),
        ("zstd", CompressionType::Zstd, &passed_through),
        ("zstd, every record", CompressionType::Zstd, &looked_into),
    ] {
        let batch = batch(64, compression);
        group.throughput(Throughput::Bytes(batch.len() as u64));
        group.bench_with_input(BenchmarkId::new(name, "64 records"), &batch, |b, batch| {
            b.iter(|| validate(black_box(batch), config, true, NOW_MS).unwrap());
        });
    }
}

/// A log directory that is removed at the end.
struct Logs {
    runtime: Runtime,
    manager: Arc<dyn LogStore>,
    logs: Vec<Arc<dyn PartitionLog>>,
    _dir: TempDir,
}

impl Logs {
    fn open(durability: Durability) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manager = local::open(LocalConfig {
            durability,
            ..LocalConfig::new(dir.path())
        })
        .unwrap();
        let open = |partition| {
            let id = TopicPartition {
                topic: "bench".into(),
                topic_id: uuid::Uuid::from_u128(1),
                partition: partition as i32,
            };
            manager.open_log(id, Arc::default()).unwrap()
        };
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            logs: (0..PARTITIONS).map(open).collect(),
            manager,
            _dir: dir,
        }
    }

    /// Submits `count` batches to partitions in turn and waits until all of them are acknowledged.
    fn append(&self, batch: &ValidatedBatch, count: usize) {
        self.runtime.block_on(async {
            let mut pending: Vec<PendingAppend> = Vec::with_capacity(count);
            for log in self.logs.iter().cycle().take(count) {
                let permit = log
                    .reserve(batch.bytes.len(), AppendOrigin::CLIENT)
                    .await
                    .unwrap();
                let submitted =
                    log.submit(permit, batch.clone(), AppendOrigin::CLIENT, Next::Append);
                pending.push(submitted.unwrap());
            }
            for append in pending {
                append.await.unwrap();
            }
        });
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.manager.shutdown().unwrap();
    }
}

fn append_and_commit(c: &mut Criterion) {
    let batch = batch(16, CompressionType::None);
    let batch = ValidatedBatch::trusted(batch).unwrap();
    for (name, durability, counts) in [
        ("append, os", Durability::Os, [1, 64]),
        ("commit of a group, strict", Durability::Strict, [1, 64]),
    ] {
        let logs = Logs::open(durability);
        let mut group = c.benchmark_group(name);
        // Every iteration writes to the disk: not more of them than it takes.
        group
            .sample_size(20)
            .warm_up_time(Duration::from_secs(1))
            .measurement_time(Duration::from_secs(2));
        for count in counts {
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new("16 KiB batches", count), |b| {
                b.iter(|| logs.append(&batch, count));
            });
        }
    }
}

criterion_group!(benches, crc, validation, append_and_commit);
criterion_main!(benches);
