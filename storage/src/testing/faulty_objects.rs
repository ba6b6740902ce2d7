//! An object store that is slow, refuses, stalls, and loses answers: over the one in memory of the crate `object_store`.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use super::random::Random;

/// What may happen to a request, and how often: chances are out of a thousand.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectFaults {
    /// How long a request takes.
    pub latency: Range<Duration>,
    /// Refused with 503, and not applied.
    pub refused: u32,
    /// Applied, and the answer is lost.
    pub answer_lost: u32,
    /// Never answered. Whether it was applied is a matter of chance.
    pub stalled: u32,
    /// Every request is refused.
    pub down: bool,
    /// No request is answered for as long as this lasts.
    pub frozen: bool,
}

impl Default for ObjectFaults {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO..Duration::ZERO,
            refused: 0,
            answer_lost: 0,
            stalled: 0,
            down: false,
            frozen: false,
        }
    }
}

/// An object store in memory, with faults.
#[derive(Debug)]
pub struct FaultyObjects {
    inner: InMemory,
    faults: Mutex<ObjectFaults>,
    random: Mutex<Random>,
    puts: AtomicU64,
    gets: AtomicU64,
}

/// What befalls a request.
enum Fate {
    Good,
    Refused,
    AnswerLost,
    Stalled { applied: bool },
}

impl FaultyObjects {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            faults: Mutex::default(),
            random: Mutex::new(Random::new(seed)),
            puts: AtomicU64::new(0),
            gets: AtomicU64::new(0),
        })
    }

    /// Goes by other faults from the next request on.
    pub fn change(&self, change: impl FnOnce(&mut ObjectFaults)) {
        change(&mut self.faults.lock());
    }

    /// Requests that have come so far, whatever became of them.
    pub fn puts(&self) -> u64 {
        self.puts.load(Ordering::Relaxed)
    }

    /// As [`puts`](Self::puts).
    pub fn gets(&self) -> u64 {
        self.gets.load(Ordering::Relaxed)
    }

    /// Waits as long as the request takes, and says what becomes of it.
    async fn fate(&self) -> Fate {
        let (took, fate) = {
            let faults = self.faults.lock();
            let mut random = self.random.lock();
            let Range { start, end } = faults.latency;
            let spread = end.saturating_sub(start).as_micros() as u64;
            let took = start + Duration::from_micros(random.below(spread + 1));
            let roll = random.below(1000) as u32;
            let (refused, lost) = (faults.refused, faults.refused + faults.answer_lost);
            let fate = match roll {
                _ if faults.frozen => Fate::Stalled { applied: false },
                _ if faults.down => Fate::Refused,
                roll if roll < refused => Fate::Refused,
                roll if roll < lost => Fate::AnswerLost,
                roll if roll < lost + faults.stalled => Fate::Stalled {
                    applied: random.below(2) == 0,
                },
                _ => Fate::Good,
            };
            (took, fate)
        };
        if !took.is_zero() {
            tokio::time::sleep(took).await;
        }
        fate
    }

    /// Makes a request that changes the store meet its fate.
    async fn change_store<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        match self.fate().await {
            Fate::Good => request.await,
            Fate::Refused => Err(error("503 Slow Down")),
            Fate::AnswerLost => {
                request.await?;
                Err(error("the connection was closed before the answer came"))
            }
            Fate::Stalled { applied } => {
                if applied {
                    request.await?;
                }
                std::future::pending().await
            }
        }
    }
}

fn error(what: &'static str) -> Error {
    Error::Generic {
        store: "faulty",
        source: what.into(),
    }
}

impl fmt::Display for FaultyObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object store with faults")
    }
}

#[async_trait]
impl ObjectStore for FaultyObjects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.puts.fetch_add(1, Ordering::Relaxed);
        self.change_store(self.inner.put_opts(location, payload, options))
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.puts.fetch_add(1, Ordering::Relaxed);
        self.change_store(self.inner.put_multipart_opts(location, options))
            .await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        match self.fate().await {
            Fate::Good => self.inner.get_opts(location, options).await,
            Fate::Refused => Err(error("503 Slow Down")),
            Fate::AnswerLost => Err(error("the connection was closed before the answer came")),
            Fate::Stalled { .. } => std::future::pending().await,
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.change_store(self.inner.copy_opts(from, to, options))
            .await
    }
}
