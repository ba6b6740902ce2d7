//! After a load: is everything there that was acknowledged?

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::consumer::Consumer;
use crate::bench::admin::{Topic, end_offsets};
use crate::bench::batch::BatchShape;
use crate::bench::request::FetchLimits;

/// How much of all that was produced is fetched again; the rest is counted only.
const READBACK_BYTES: u64 = 1 << 30;
const PARTITIONS_PER_FETCH: usize = 50;
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Checks that each partition ends where the acknowledgements say, and reads the newest batches of
/// each, a gibibyte in all.
///
/// # Errors
/// Records are missing, too many or damaged.
pub fn check(
    address: SocketAddr,
    topics: &[Topic],
    acknowledged: &[Vec<i64>],
    shape: &BatchShape,
) -> Result<()> {
    let partitions: usize = acknowledged.iter().map(Vec::len).sum();
    let records_per_batch = i64::from(shape.records_count);
    let batch_bytes = (shape.records_count as usize * shape.record_bytes) as u64;
    let limit = i64::try_from(READBACK_BYTES / (batch_bytes * partitions as u64))?.max(1);
    check_newest(address, topics, acknowledged, limit * records_per_batch).map(|_| ())
}

/// The same, but reads every batch from the first on; gives the bytes.
///
/// # Errors
/// Records are missing, too many or damaged.
pub fn check_all(address: SocketAddr, topics: &[Topic], acknowledged: &[Vec<i64>]) -> Result<u64> {
    check_newest(address, topics, acknowledged, i64::MAX)
}

/// Reads at most `limit` records of each partition, the newest.
fn check_newest(
    address: SocketAddr,
    topics: &[Topic],
    acknowledged: &[Vec<i64>],
    limit: i64,
) -> Result<u64> {
    let mut bytes = 0;
    for (topic, expected_ends) in topics.iter().zip(acknowledged) {
        let ends = end_offsets(address, topic)?;
        ensure!(
            ends == *expected_ends,
            "{}: ends {ends:?} instead of {expected_ends:?}",
            topic.name
        );
        let from = |end: &i64| (end - limit).max(0);
        let positions: Vec<(i32, i64)> = (0..).zip(ends.iter().map(from)).collect();
        for (positions, ends) in positions
            .chunks(PARTITIONS_PER_FETCH)
            .zip(ends.chunks(PARTITIONS_PER_FETCH))
        {
            bytes += read_to(address, &topic.name, positions, ends)?;
        }
    }
    Ok(bytes)
}

/// Reads partitions to given ends; gives the bytes.
///
/// # Errors
/// Nothing comes for a long time, or what comes is wrong.
pub fn read_to(address: SocketAddr, topic: &str, from: &[(i32, i64)], ends: &[i64]) -> Result<u64> {
    let mut consumer = Consumer::open(address, topic, from, FetchLimits::default())?;
    let mut bytes = 0;
    let mut last_progress = Instant::now();
    while consumer
        .positions()
        .iter()
        .zip(ends)
        .any(|(position, end)| position.next_offset < *end)
    {
        let fetched = consumer.poll(|_, _| {})?;
        if fetched > 0 {
            last_progress = Instant::now();
        }
        ensure!(
            last_progress.elapsed() < STALL_TIMEOUT,
            "{topic}: acknowledged records do not come"
        );
        bytes += fetched;
    }
    Ok(bytes)
}
