//! A fetch over several partitions that may wait for more data (`min_bytes`, `max_wait_ms`).

use std::sync::Arc;
use std::time::Duration;

use storage::log::{
    FetchWait, FetchedRecords, Isolation, Read, ReadError, ReadRequest, WaitRegistration,
};
use tokio::time::Instant;

use crate::partition::registry::Partition;

/// Limits that hold for the whole fetch.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    pub max_wait: Duration,
    pub min_bytes: usize,
    pub max_bytes: usize,
    pub isolation: Isolation,
}

/// One partition to read.
pub struct FetchTarget {
    pub partition: Arc<Partition>,
    pub fetch_offset: i64,
    pub max_bytes: usize,
}

/// Reads all targets, waiting until together they give `min_bytes`, one fails, or time is up.
///
/// Results are in the order of `targets`. Only the first partition that has data may exceed the limits, by one batch (KIP-74).
pub async fn fetch(
    limits: FetchLimits,
    targets: &[FetchTarget],
    ended: impl Future<Output = ()>,
) -> Vec<Result<FetchedRecords, ReadError>> {
    let deadline = Instant::now() + limits.max_wait;
    let mut ended = std::pin::pin!(ended);
    loop {
        let results = read_all(limits, targets).await;
        let bytes: usize = results.iter().flatten().map(|r| r.size_bytes).sum();
        let failed = results.iter().any(Result::is_err);
        if failed || targets.is_empty() || bytes >= limits.min_bytes || Instant::now() >= deadline {
            return results;
        }
        let missing = i64::try_from(limits.min_bytes - bytes).unwrap_or(i64::MAX);
        let wait = FetchWait::new(missing);
        let _registrations: Vec<WaitRegistration> = targets
            .iter()
            .zip(results.iter().flatten())
            .map(|(target, seen)| {
                let seen_end = visible_end(seen, limits.isolation);
                target
                    .partition
                    .log
                    .watch(seen_end, limits.isolation, &wait)
            })
            .collect();
        tokio::select! {
            () = wait.wait() => {}
            () = tokio::time::sleep_until(deadline) => {}
            () = &mut ended => return results,
        }
    }
}

fn visible_end(seen: &FetchedRecords, isolation: Isolation) -> i64 {
    match isolation {
        Isolation::ReadUncommitted => seen.offsets.high_watermark,
        Isolation::ReadCommitted => seen.offsets.last_stable_offset,
    }
}

async fn read_all(
    limits: FetchLimits,
    targets: &[FetchTarget],
) -> Vec<Result<FetchedRecords, ReadError>> {
    let mut left = limits.max_bytes;
    let mut at_least_one_batch = true;
    let mut results = Vec::with_capacity(targets.len());
    for target in targets {
        let read = target.partition.log.read(ReadRequest {
            fetch_offset: target.fetch_offset,
            max_bytes: target.max_bytes.min(left),
            at_least_one_batch,
            isolation: limits.isolation,
        });
        let result = match read {
            Ok(Read::Ready(records)) => Ok(records),
            Ok(Read::Cold(records)) => records.await,
            Err(error) => Err(error),
        };
        if let Ok(records) = &result {
            left = left.saturating_sub(records.size_bytes);
            at_least_one_batch &= records.size_bytes == 0;
        }
        results.push(result);
    }
    results
}
