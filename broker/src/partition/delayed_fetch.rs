//! A fetch over several partitions that may wait for more data (`min_bytes`, `max_wait_ms`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use storage::log::{
    FetchWait, FetchedRecords, Isolation, Read, ReadError, ReadRequest, WaitRegistration,
};
use storage::record::batches;
use tokio::time::Instant;

use crate::partition::registry::Partition;

/// As many as the storage engine has threads for.
const READS_AT_ONCE: usize = 4;

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
pub(crate) async fn fetch(
    limits: FetchLimits,
    targets: &[FetchTarget],
    ended: impl Future<Output = ()>,
) -> Vec<Result<FetchedRecords, ReadError>> {
    let deadline = Instant::now() + limits.max_wait;
    let mut ended = std::pin::pin!(ended);
    loop {
        let results = read_all(limits, targets).await;
        let failed = results.iter().any(Result::is_err);
        let there = there(&results, targets, limits);
        if failed || targets.is_empty() || there >= limits.min_bytes || Instant::now() >= deadline {
            return results;
        }
        let missing = i64::try_from(limits.min_bytes - there).unwrap_or(i64::MAX);
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
        // A fetch that waits holds none of the log's memory.
        drop(results);
        tokio::select! {
            () = wait.wait() => {}
            () = tokio::time::sleep_until(deadline) => {}
            () = &mut ended => return read_all(limits, targets).await,
        }
    }
}

/// How many bytes there are for the fetch: what was read, and where more is there, what the target's own limit allows.
///
/// A read may give less than there is, since it ends where a segment does, and takes no more than a megabyte from the disk.
/// Who has asked for more is not to wait for what is there.
fn there(
    results: &[Result<FetchedRecords, ReadError>],
    targets: &[FetchTarget],
    limits: FetchLimits,
) -> usize {
    let read = results.iter().flatten().map(|seen| seen.size_bytes);
    let read: usize = read.sum();
    if read == 0 || read >= limits.min_bytes {
        return read;
    }
    let found = targets.iter().zip(results);
    let there = found.filter_map(|(target, result)| {
        let seen = result.as_ref().ok()?;
        let next_offset = next_offset(seen).unwrap_or(target.fetch_offset);
        Some(match next_offset < visible_end(seen, limits.isolation) {
            true => target.max_bytes.max(seen.size_bytes),
            false => seen.size_bytes,
        })
    });
    there.fold(0, usize::saturating_add)
}

/// The offset behind what was read; `None`: that is nothing.
fn next_offset(seen: &FetchedRecords) -> Option<i64> {
    let last = batches(seen.records.last()?)
        .filter_map(Result::ok)
        .last()?;
    Some(last.header.next_offset())
}

fn visible_end(seen: &FetchedRecords, isolation: Isolation) -> i64 {
    match isolation {
        Isolation::ReadUncommitted => seen.offsets.high_watermark,
        Isolation::ReadCommitted => seen.offsets.last_stable_offset,
    }
}

/// Reads the targets in their order, each with what the limits leave to it.
///
/// Some are begun before their turn, so that the disk has several reads at once: those whose own limit holds however
/// much the ones before them give.
async fn read_all(
    limits: FetchLimits,
    targets: &[FetchTarget],
) -> Vec<Result<FetchedRecords, ReadError>> {
    let begin = |target: &FetchTarget, max_bytes, at_least_one_batch| {
        target.partition.log.read(ReadRequest {
            fetch_offset: target.fetch_offset,
            max_bytes,
            at_least_one_batch,
            isolation: limits.isolation,
        })
    };
    let mut begun = VecDeque::with_capacity(READS_AT_ONCE);
    let mut left_for_sure = Some(limits.max_bytes);
    let mut none_begun_has_data = true;
    let mut left = limits.max_bytes;
    let mut none_has_data = true;
    let mut results = Vec::with_capacity(targets.len());
    for (at, target) in targets.iter().enumerate() {
        while begun.len() < READS_AT_ONCE
            && let Some(next) = targets.get(at + begun.len())
        {
            left_for_sure = left_for_sure.and_then(|left| left.checked_sub(next.max_bytes));
            let early = left_for_sure.map(|_| begin(next, next.max_bytes, none_begun_has_data));
            none_begun_has_data &= match &early {
                Some(Ok(Read::Ready(records))) => records.size_bytes == 0,
                Some(Ok(Read::Cold(_))) => false,
                Some(Err(_)) | None => true,
            };
            begun.push_back(early);
        }
        let early = match begun.pop_front().flatten() {
            Some(read) => Some(finish(read).await),
            None => None,
        };
        let fits = |result: &Result<FetchedRecords, ReadError>| {
            let bytes = result.as_ref().map_or(0, |records| records.size_bytes);
            none_has_data || bytes <= left
        };
        let result = match early.filter(fits) {
            Some(result) => result,
            // Its limit depends on those before it, or the first batch of all was larger than its own.
            None => finish(begin(target, target.max_bytes.min(left), none_has_data)).await,
        };
        if let Ok(records) = &result {
            left = left.saturating_sub(records.size_bytes);
            none_has_data &= records.size_bytes == 0;
        }
        results.push(result);
    }
    results
}

async fn finish(read: Result<Read, ReadError>) -> Result<FetchedRecords, ReadError> {
    match read? {
        Read::Ready(records) => Ok(records),
        Read::Cold(records) => records.await,
    }
}
