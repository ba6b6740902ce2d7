//! The fuzzers' entry points, fed for a moment with valid inputs that were tampered with.
//!
//! `OTTLA_FUZZ_SEED` repeats a run, `OTTLA_FUZZ_MS` makes it longer. `OTTLA_FUZZ_CORPUS=DIR` writes the valid inputs
//! to `DIR/TARGET/`, where `cargo fuzz` begins with them.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make and damage files behind the engine's back"
)]
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/group.rs"]
mod group;

use std::path::Path;
use std::time::{Duration, Instant};

use common::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::local::{self};
use storage::log::{AppendOrigin, LogConfig};
use storage::record::compression::compress;
use storage::record::{BatchBuilder, CompressionType, EndTxnMarker, Header, TransactionResult};
use storage::testing::fuzzing;

const CODECS: [CompressionType; 5] = [
    CompressionType::None,
    CompressionType::Gzip,
    CompressionType::Snappy,
    CompressionType::Lz4,
    CompressionType::Zstd,
];

type Target = (&'static str, fn(&[u8]), Vec<Vec<u8>>);

fn seed_batches() -> Vec<Vec<u8>> {
    let mut batches = Vec::new();
    for codec in CODECS {
        let mut builder = BatchBuilder::new().producer(7, 0, 0).compression(codec);
        for number in 0..3 {
            let header = |key, value| Header { key, value };
            let headers = &[header(b"a", Some(b"1")), header(b"b", None)];
            builder.append(1_000 + number, Some(b"key"), Some(&[b'v'; 30]), headers);
        }
        builder.append(2_000, None, None, &[]);
        batches.push(builder.build().unwrap().to_vec());
    }
    let marker = EndTxnMarker {
        result: TransactionResult::Abort,
        coordinator_epoch: 1,
    };
    batches.push(marker.to_batch(7, 0, 3_000).unwrap().to_vec());
    batches
}

/// All files below a directory that are not empty, by name; a region of the write-ahead log without its unused end.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("ring-") {
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            bytes.truncate((used / 4096 + 1) * 4096);
        }
        if !bytes.is_empty() {
            found.push((name, bytes));
        }
    }
    found.sort();
    found
}

/// The files of a directory that is in use, and of one that was closed.
async fn seed_files() -> [Vec<(String, Vec<u8>)>; 2] {
    let dir = tempfile::tempdir().unwrap();
    let manager = local::open(small(dir.path())).unwrap();
    let config = LogConfig {
        index_interval_bytes: 0,
        ..LogConfig::default()
    };
    let log = open_with(&manager, "topic", 0, config);
    for sequence in 0..6 {
        let builder = BatchBuilder::new().producer(7, 0, sequence);
        append(&log, trusted(build(builder, 1_000, &[b"value"])))
            .await
            .unwrap();
    }
    let builder = BatchBuilder::new().producer(8, 0, 0).transactional();
    append(&log, trusted(build(builder, 1_000, &[b"aborted"])))
        .await
        .unwrap();
    let marker = EndTxnMarker {
        result: TransactionResult::Abort,
        coordinator_epoch: 1,
    };
    let marker = trusted(marker.to_batch(8, 0, 2_000).unwrap());
    append_as(&log, marker, AppendOrigin::COORDINATOR)
        .await
        .unwrap();
    let in_use = files(dir.path());
    drop(log);
    manager.shutdown().unwrap();
    [in_use, files(dir.path())]
}

async fn targets() -> Vec<Target> {
    let [in_use, closed] = seed_files().await;
    let of = |files: &[(String, Vec<u8>)], suffix: &str| -> Vec<u8> {
        let found = files.iter().find(|(name, _)| name.ends_with(suffix));
        found.map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    };
    let ring = of(&in_use, "ring-0.wal");
    assert!(!ring.is_empty());
    let rings = [255, 1].map(|split| [vec![split], ring.clone()].concat());
    let mut partition = Vec::new();
    for suffix in [".index", ".timeindex", ".txnindex"] {
        let bytes = of(&closed, suffix);
        assert!(!bytes.is_empty(), "{suffix}");
        partition.extend((bytes.len() as u16).to_le_bytes());
        partition.extend(bytes);
    }
    partition.extend(of(&closed, ".log"));
    let small_files = in_use.iter().chain(&closed);
    let checkpoints = small_files
        .filter(|(name, _)| {
            let suffix = [".snapshot", ".producers", "metadata"]
                .iter()
                .any(|suffix| name.ends_with(suffix));
            suffix || name.contains("checkpoint") || name.starts_with("logs-")
        })
        .map(|(_, bytes)| bytes.clone())
        .collect();
    let compressed = CODECS
        .iter()
        .map(|codec| {
            let compressed = compress((*codec).into(), &b"some records ".repeat(20)).unwrap();
            [vec![codec.id()], compressed].concat()
        })
        .collect();
    let (entries, snapshot) = group::eventful();
    vec![
        ("wal", fuzzing::wal, rings.into()),
        ("batch", fuzzing::batch, seed_batches()),
        ("compressed", fuzzing::compressed, compressed),
        ("partition", fuzzing::partition, vec![partition]),
        ("checkpoints", fuzzing::checkpoints, checkpoints),
        ("entry", fuzzing::entry, entries),
        ("group", fuzzing::group, vec![snapshot]),
    ]
}

/// A few changes of the kinds that damage and malice make.
fn tamper(random: &mut StdRng, valid: &[u8]) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for _ in 0..random.random_range(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..5) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes.truncate(at),
            2 => {
                let number = [0, 1, -1, i32::MAX, i32::MIN][random.random_range(0..5)];
                for (byte, new) in bytes[at..].iter_mut().zip(number.to_be_bytes()) {
                    *byte = new;
                }
            }
            3 => {
                let end = random.random_range(at..bytes.len());
                let part = bytes[at..=end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => bytes[at] = random.random(),
        }
    }
    bytes
}

#[tokio::test]
async fn whatever_reads_bytes_from_outside_survives_what_was_tampered_with() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("OTTLA_FUZZ_SEED").unwrap_or_else(rand::random);
    let time = Duration::from_millis(number("OTTLA_FUZZ_MS").unwrap_or(300));
    eprintln!("OTTLA_FUZZ_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for (name, target, valid) in targets().await {
        if let Some(corpus) = std::env::var_os("OTTLA_FUZZ_CORPUS") {
            let dir = Path::new(&corpus).join(name);
            std::fs::create_dir_all(&dir).unwrap();
            for (number, bytes) in valid.iter().enumerate() {
                std::fs::write(dir.join(format!("valid-{number}")), bytes).unwrap();
            }
        }
        valid.iter().for_each(|bytes| target(bytes));
        let started = Instant::now();
        while started.elapsed() < time {
            let bytes = &valid[random.random_range(0..valid.len())];
            target(&tamper(&mut random, bytes));
        }
    }
}
