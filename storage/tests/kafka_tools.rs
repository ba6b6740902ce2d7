//! What an orderly shutdown leaves is read without complaint by Kafka's own tool.
//!
//! Needs `KAFKA_DUMP_LOG`: the command that runs `kafka.tools.DumpLogSegments`, split at blanks.
//! Without it the test says so and does nothing; the compatibility suite runs the tool on a whole broker's directory.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Command;

use common::*;
use storage::local::{self};
use storage::log::{AppendOrigin, LogConfig};
use storage::record::{BatchBuilder, CompressionType, EndTxnMarker, TransactionResult};

/// What the tool prints about some files; `None` if there is no tool.
fn dump(dir: &Path, suffix: &str, options: &[&str]) -> Option<String> {
    let Ok(command) = std::env::var("KAFKA_DUMP_LOG") else {
        eprintln!("skipped: KAFKA_DUMP_LOG does not say how to run Kafka's tool");
        return None;
    };
    let mut words = command.split_whitespace();
    let files: Vec<String> = names(dir)
        .into_iter()
        .filter(|name| name.ends_with(suffix))
        .map(|name| dir.join(name).display().to_string())
        .collect();
    let output = Command::new(words.next().expect("a command"))
        .args(words)
        .args(["--files", &files.join(",")])
        .args(options)
        .output()
        .expect("the tool runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    for complaint in [
        "Exception",
        "Mismatch",
        "mismatch",
        "non-consecutive",
        "isvalid: false",
        "corrupt",
    ] {
        assert!(!text.contains(complaint), "{suffix}: {text}");
    }
    Some(text)
}

#[tokio::test]
async fn kafka_reads_every_file_of_a_closed_directory() {
    let dir = tempfile::tempdir().unwrap();
    let manager = local::open(small(dir.path())).unwrap();
    let config = LogConfig {
        segment_bytes: 20_000,
        index_interval_bytes: 1_000,
        ..LogConfig::default()
    };
    let log = open_with(&manager, "topic", 0, config);
    let codecs = [
        CompressionType::None,
        CompressionType::Gzip,
        CompressionType::Snappy,
        CompressionType::Lz4,
        CompressionType::Zstd,
    ];
    for sequence in 0..400 {
        let builder = BatchBuilder::new()
            .producer(7, 0, sequence)
            .compression(codecs[sequence as usize % codecs.len()]);
        let value = vec![b'v'; 500];
        let time = 1_000 + i64::from(sequence % 50);
        append(&log, trusted(build(builder, time, &[&value])))
            .await
            .unwrap();
    }
    for producer_id in [8, 9] {
        let builder = BatchBuilder::new()
            .producer(producer_id, 0, 0)
            .transactional();
        append(&log, trusted(build(builder, 5_000, &[b"aborted"])))
            .await
            .unwrap();
        let marker = EndTxnMarker {
            result: TransactionResult::Abort,
            coordinator_epoch: 1,
        };
        let marker = marker.to_batch(producer_id, 0, 5_001).unwrap();
        append_as(&log, trusted(marker), AppendOrigin::COORDINATOR)
            .await
            .unwrap();
    }
    drop(log);
    manager.shutdown().unwrap();

    let dir = dir.path().join("topic-0");
    let Some(records) = dump(&dir, ".log", &["--deep-iteration", "--print-data-log"]) else {
        return;
    };
    assert_eq!(records.matches("payload: vvvv").count(), 400);
    assert_eq!(records.matches("endTxnMarker: ABORT").count(), 2);
    let index = dump(&dir, ".index", &["--index-sanity-check"]).unwrap();
    assert!(index.matches("passed sanity check").count() > 2, "{index}");
    let index = dump(&dir, ".index", &["--verify-index-only"]).unwrap();
    assert!(index.contains("Dumping"), "{index}");
    let times = dump(&dir, ".timeindex", &["--index-sanity-check"]).unwrap();
    assert!(times.matches("passed sanity check").count() > 2, "{times}");
    dump(&dir, ".timeindex", &["--verify-index-only"]).unwrap();
    let aborted = dump(&dir, ".txnindex", &[]).unwrap();
    assert!(
        aborted.contains("producerId: 8") || aborted.contains("producerId=8"),
        "{aborted}"
    );
    let snapshot = dump(&dir, ".snapshot", &[]).unwrap();
    assert!(snapshot.contains("producerId: 7"), "{snapshot}");
}
