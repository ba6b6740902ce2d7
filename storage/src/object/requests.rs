//! Counts what is asked of the object store: each request costs money, whoever at this broker has made it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use futures_core::Stream;
use futures_core::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use crate::log::stats::ObjectRequests;

/// S3 answers a listing with so many objects at a time.
const LISTED_AT_ONCE: u64 = 1000;

/// An object store whose requests are counted when they are sent. What the client repeats by itself counts once.
#[derive(Debug)]
pub struct Counted {
    inner: Arc<dyn ObjectStore>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    puts: AtomicU64,
    put_bytes: AtomicU64,
    gets: AtomicU64,
    got_bytes: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
}

impl Counts {
    fn put(&self, payload: &PutPayload) {
        self.puts.fetch_add(1, Ordering::Relaxed);
        let bytes = payload.content_length() as u64;
        self.put_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn listing(self: &Arc<Self>, listed: BoxStream<'static, Result<ObjectMeta>>) -> Listing {
        let counts = Arc::clone(self);
        counts.lists.fetch_add(1, Ordering::Relaxed);
        let each = move |at| {
            // The first object after a full answer comes with the next one.
            if at > 0 && at % LISTED_AT_ONCE == 0 {
                counts.lists.fetch_add(1, Ordering::Relaxed);
            }
        };
        Box::pin(Each {
            items: listed,
            at: 0,
            each,
        })
    }
}

type Listing = BoxStream<'static, Result<ObjectMeta>>;

impl Counted {
    pub fn over(inner: Arc<dyn ObjectStore>) -> Arc<Self> {
        let counts = Arc::default();
        Arc::new(Self { inner, counts })
    }

    /// What was asked since the start.
    pub fn requests(&self) -> ObjectRequests {
        let counts = &self.counts;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ObjectRequests {
            puts: count(&counts.puts),
            put_bytes: count(&counts.put_bytes),
            gets: count(&counts.gets),
            got_bytes: count(&counts.got_bytes),
            lists: count(&counts.lists),
            deletes: count(&counts.deletes),
        }
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Counted {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.counts.put(&payload);
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.counts.puts.fetch_add(1, Ordering::Relaxed);
        let inner = self.inner.put_multipart_opts(location, options).await?;
        let counts = Arc::clone(&self.counts);
        Ok(Box::new(CountedUpload { inner, counts }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.counts.gets.fetch_add(1, Ordering::Relaxed);
        let is_head = options.head;
        let found = self.inner.get_opts(location, options).await?;
        if !is_head {
            let bytes = found.range.end - found.range.start;
            self.counts.got_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(found)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let counts = Arc::clone(&self.counts);
        let each = move |_| {
            counts.deletes.fetch_add(1, Ordering::Relaxed);
        };
        self.inner.delete_stream(Box::pin(Each {
            items: locations,
            at: 0,
            each,
        }))
    }

    fn list(&self, prefix: Option<&Path>) -> Listing {
        self.counts.listing(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> Listing {
        let listed = self.inner.list_with_offset(prefix, offset);
        self.counts.listing(listed)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.counts.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.counts.puts.fetch_add(1, Ordering::Relaxed);
        self.inner.copy_opts(from, to, options).await
    }
}

/// An object that comes in parts, each of which is a request, as are the beginning and the end.
#[derive(Debug)]
struct CountedUpload {
    inner: Box<dyn MultipartUpload>,
    counts: Arc<Counts>,
}

#[async_trait]
impl MultipartUpload for CountedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.counts.put(&data);
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.counts.puts.fetch_add(1, Ordering::Relaxed);
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

/// Items that are told as they pass, numbered from 0.
struct Each<T, F> {
    items: BoxStream<'static, T>,
    at: u64,
    each: F,
}

impl<T, F: FnMut(u64) + Unpin> Stream for Each<T, F> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.get_mut();
        let item = ready!(this.items.as_mut().poll_next(context));
        if item.is_some() {
            (this.each)(this.at);
            this.at += 1;
        }
        Poll::Ready(item)
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::{GetRange, ObjectStoreExt};

    use super::*;

    async fn all<T>(mut items: BoxStream<'static, T>) -> usize {
        let mut count = 0;
        while std::future::poll_fn(|context| items.as_mut().poll_next(context))
            .await
            .is_some()
        {
            count += 1;
        }
        count
    }

    #[tokio::test]
    async fn every_request_is_counted_with_its_bytes() {
        let store = Counted::over(Arc::new(InMemory::new()));
        let path = |name: &str| Path::from(name);
        let payload = |bytes: usize| PutPayload::from(vec![0; bytes]);
        store.put(&path("a"), payload(10)).await.unwrap();
        let mut upload = store.put_multipart(&path("b")).await.unwrap();
        for bytes in [7, 8] {
            upload.put_part(payload(bytes)).await.unwrap();
        }
        upload.complete().await.unwrap();
        assert_eq!(store.get_range(&path("a"), 2..6).await.unwrap().len(), 4);
        store.get(&path("b")).await.unwrap();
        store.head(&path("b")).await.unwrap();
        let end = GetOptions::new().with_range(Some(GetRange::Suffix(3)));
        store.get_opts(&path("b"), end).await.unwrap();
        store.get(&path("missing")).await.unwrap_err();
        assert_eq!(all(store.list(None)).await, 2);
        store.delete(&path("a")).await.unwrap();
        assert_eq!(
            store.requests(),
            ObjectRequests {
                puts: 5,
                put_bytes: 25,
                gets: 5,
                got_bytes: 4 + 15 + 3,
                lists: 1,
                deletes: 1,
            }
        );
    }

    #[tokio::test]
    async fn a_listing_is_a_request_for_each_thousand_objects() {
        let store = Counted::over(Arc::new(InMemory::new()));
        for at in 0..1001 {
            let path = Path::from(format!("{at:04}"));
            store.put(&path, PutPayload::new()).await.unwrap();
            if at == 999 {
                all(store.list(None)).await;
                assert_eq!(store.requests().lists, 1);
            }
        }
        assert_eq!(all(store.list(None)).await, 1001);
        assert_eq!(store.requests().lists, 3);
        let behind = store.list_with_offset(None, &Path::from("0998"));
        assert_eq!(all(behind).await, 2);
        assert_eq!(store.requests().lists, 4);
    }
}
