//! Gets bytes that are not in memory: from an object, or from the inline bytes of a row.
//!
//! A hot object has batches of a thousand partitions, and the consumers of all of them come at once. So of each object there is
//! one GET at a time: what is asked for meanwhile waits, and the next GET takes all of it that lies close together. Readers of
//! other objects do not wait for that.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::cache::Blob;
use super::database::OrderedLog;
use super::patience;
use crate::env::sync::Mutex;
use crate::log::cold_budget::ColdBudget;
use crate::log::stats::LatencyHistogram;

/// Ranges with less than that between them are one GET: a request takes as long as this many bytes more.
const GAP_BYTES: u64 = 256 << 10;
/// No GET is made larger than this by joining.
const JOINED_BYTES: u64 = 8 << 20;
const ATTEMPTS: u32 = 3;
/// Of all GETs: some of the largest.
const ROOM_BYTES: usize = 64 << 20;
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Fetcher {
    objects: Arc<dyn ObjectStore>,
    log: Arc<dyn OrderedLog>,
    runtime: Handle,
    wanted: Mutex<HashMap<Blob, Vec<Wanted>>>,
    /// Of answers, until all who wait have copied what they need. They wait for nothing meanwhile.
    room: ColdBudget,
    latency: LatencyHistogram,
}

struct Wanted {
    range: Range<u64>,
    answer: oneshot::Sender<Result<Bytes, FetchError>>,
}

/// Why bytes could not be had, in words.
#[derive(Clone, Debug)]
pub(super) enum FetchError {
    /// The object or the row is not there any more. What is needed of it is elsewhere, as a newer state tells.
    Gone(String),
    Failed(String),
}

impl Fetcher {
    pub fn new(
        objects: Arc<dyn ObjectStore>,
        log: Arc<dyn OrderedLog>,
        runtime: Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            objects,
            log,
            runtime,
            wanted: Mutex::new(HashMap::new()),
            room: ColdBudget::new(ROOM_BYTES),
            latency: LatencyHistogram::default(),
        })
    }

    /// The bytes of a range, all of them.
    ///
    /// # Errors
    /// They could not be had.
    pub async fn fetch(
        self: &Arc<Self>,
        blob: Blob,
        range: Range<u64>,
    ) -> Result<Bytes, FetchError> {
        let (answer, bytes) = oneshot::channel();
        let is_first = {
            let mut wanted = self.wanted.lock();
            let is_first = !wanted.contains_key(&blob);
            wanted
                .entry(blob)
                .or_default()
                .push(Wanted { range, answer });
            is_first
        };
        if is_first {
            // A task of its own: a reader that goes away must not take the bytes from the others.
            let fetcher = Arc::clone(self);
            self.runtime.spawn(async move { fetcher.serve(blob).await });
        }
        let stopped = |_| FetchError::Failed("the store was shut down".to_owned());
        bytes.await.map_err(stopped)?
    }

    pub fn latency(&self) -> &LatencyHistogram {
        &self.latency
    }

    /// Gets what is wanted of a blob until nothing is.
    async fn serve(&self, blob: Blob) {
        loop {
            let wanted = {
                let mut all = self.wanted.lock();
                match all.get_mut(&blob).map(std::mem::take) {
                    Some(wanted) if !wanted.is_empty() => wanted,
                    _ => {
                        all.remove(&blob);
                        return;
                    }
                }
            };
            for (range, wanted) in joined(wanted) {
                let size_bytes = usize::try_from(range.end - range.start);
                let room = self.room.take_patiently(size_bytes.unwrap_or(usize::MAX));
                let room = room.await;
                let bytes = self.get_patiently(blob, range.clone()).await;
                let bytes = bytes.map(|bytes| room.hold_bytes(bytes));
                for wanted in wanted {
                    let part = bytes.clone().and_then(|bytes| {
                        let place = (wanted.range.start - range.start) as usize
                            ..(wanted.range.end - range.start) as usize;
                        let missing = || {
                            let what = format!("{} is shorter than it has to be", name(blob));
                            FetchError::Failed(what)
                        };
                        (place.end <= bytes.len())
                            .then(|| bytes.slice(place))
                            .ok_or_else(missing)
                    });
                    // Whoever is gone does not want it any more.
                    let _ = wanted.answer.send(part);
                }
            }
        }
    }

    async fn get_patiently(&self, blob: Blob, range: Range<u64>) -> Result<Bytes, FetchError> {
        let mut error = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(PAUSE * attempt).await;
            }
            let began = tokio::time::Instant::now();
            let get = self.get(blob, range.clone());
            let answer = tokio::time::timeout(patience::READING, get).await;
            match answer {
                Ok(Ok(bytes)) => {
                    self.latency.observe(began.elapsed());
                    return Ok(bytes);
                }
                Ok(Err(FetchError::Gone(what))) => {
                    let what = format!("{} is gone: {what}", name(blob));
                    return Err(FetchError::Gone(what));
                }
                Ok(Err(FetchError::Failed(what))) => error = what,
                Err(_) => error = format!("no answer within {} s", patience::READING.as_secs()),
            }
        }
        let what = format!("cannot read {}: {error}", name(blob));
        Err(FetchError::Failed(what))
    }

    async fn get(&self, blob: Blob, range: Range<u64>) -> Result<Bytes, FetchError> {
        match blob {
            Blob::Object(object) => {
                let path = Path::from(object.key());
                let bytes = self.objects.get_range(&path, range).await;
                bytes.map_err(|error| match error {
                    object_store::Error::NotFound { .. } => FetchError::Gone(error.to_string()),
                    _ => FetchError::Failed(error.to_string()),
                })
            }
            Blob::Row(group, seq) => {
                let inline = self.log.inline(group, seq).await;
                let inline = inline.map_err(|error| FetchError::Failed(error.to_string()))?;
                let trimmed = || FetchError::Gone("it was trimmed".to_owned());
                let inline = inline.ok_or_else(trimmed)?;
                let end = range.end.min(inline.len() as u64) as usize;
                let start = (range.start as usize).min(end);
                Ok(inline.slice(start..end))
            }
        }
    }
}

fn name(blob: Blob) -> String {
    match blob {
        Blob::Object(object) => format!("the object {}", object.key()),
        Blob::Row(group, seq) => format!("row {seq} of log group {}", group.0),
    }
}

/// Puts ranges together that lie close to each other.
fn joined(mut wanted: Vec<Wanted>) -> Vec<(Range<u64>, Vec<Wanted>)> {
    wanted.sort_unstable_by_key(|wanted| wanted.range.start);
    let mut joined: Vec<(Range<u64>, Vec<Wanted>)> = Vec::new();
    for next in wanted {
        if let Some((range, parts)) = joined.last_mut()
            && next.range.start <= range.end.saturating_add(GAP_BYTES)
            && next.range.end.max(range.end) - range.start <= JOINED_BYTES
        {
            range.end = range.end.max(next.range.end);
            parts.push(next);
        } else {
            joined.push((next.range.clone(), vec![next]));
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(wanted: &[Range<u64>]) -> Vec<Range<u64>> {
        let wanted = wanted.iter().map(|range| Wanted {
            range: range.clone(),
            answer: oneshot::channel().0,
        });
        let joined = joined(wanted.collect());
        joined.into_iter().map(|(range, _)| range).collect()
    }

    #[test]
    fn ranges_that_lie_close_together_are_one_get() {
        let far = GAP_BYTES + 1;
        let one = ranges(&[20..30, 0..10, 5..25]);
        assert_eq!((one.len(), one.first()), (1, Some(&(0..30))));
        assert_eq!(
            ranges(&[0..10, 10 + far..20 + far]),
            [0..10, 10 + far..20 + far]
        );
        let half = JOINED_BYTES / 2;
        assert_eq!(
            ranges(&[0..half, half..2 * half, 2 * half..3 * half]),
            [0..2 * half, 2 * half..3 * half]
        );
        assert_eq!(ranges(&[0..3 * JOINED_BYTES, 5..6]).len(), 2);
    }
}
