//! From the write buffer to the store: into objects, or into the rows of the next commit.
//!
//! A PUT that fails may have been applied, and one that is slow may be yet. So it is never repeated under its key: another
//! attempt is another object, and the one that is not used is an orphan that nobody names.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::database::Fence;
use super::engine::Engine;
use super::in_flight::Unnamed;
use super::object_format::ObjectBuilder;
use super::patience::{self, answered};
use super::pending::{BatchPlace, Pending};
use super::write_buffer::Due;

/// Uploads at a time.
const UPLOADS: usize = 8;
/// A PUT without an answer for so long gets company.
const SLOW: Duration = Duration::from_secs(3);
/// PUTs of the same bytes at a time.
const ATTEMPTS: usize = 3;
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Engine {
    /// Empties the buffer whenever it is due, for ever.
    pub async fn flush_on_time(self: Arc<Self>) {
        let uploads = Arc::new(Semaphore::new(UPLOADS));
        loop {
            let now = Instant::now();
            let is_inline_busy = self.inline_in_flight.load(Ordering::Acquire) > 0;
            let due = match self.is_closing() {
                false => self.buffer.lock().due(now, is_inline_busy),
                // What is left goes now.
                true if self.buffer.lock().bytes() == 0 => Due::Never,
                true => Due::Object,
            };
            match due {
                Due::Never => self.buffered.notified().await,
                Due::At(then) => {
                    tokio::select! {
                        () = self.buffered.notified() => {}
                        () = tokio::time::sleep_until(then) => {}
                    }
                }
                Due::Inline => self.put_inline(),
                Due::Object => {
                    // More gathers while all are busy.
                    let Ok(upload) = Arc::clone(&uploads).acquire_owned().await else {
                        return;
                    };
                    let batches = self.buffer.lock().take(Due::Object);
                    let engine = Arc::clone(&self);
                    self.spawn(async move {
                        engine.put_into_object(batches).await;
                        drop(upload);
                    });
                }
            }
        }
    }

    fn put_inline(&self) {
        let batches = self.buffer.lock().take(Due::Inline);
        self.inline_in_flight
            .fetch_add(batches.len(), Ordering::AcqRel);
        for pending in &batches {
            if let Some(batch) = pending.batch() {
                batch.set_place(BatchPlace::Inline);
            }
        }
        self.ready.notify_one();
    }

    /// Batches were answered: if they went inline, the next may.
    pub fn inline_settled(&self, pending: &[(Arc<Pending>, super::pending::Outcome)]) {
        let batches = pending.iter().filter_map(|(pending, _)| pending.batch());
        let inline = batches.filter(|batch| batch.place() == BatchPlace::Inline);
        let count = inline.count();
        if count > 0 && self.inline_in_flight.fetch_sub(count, Ordering::AcqRel) == count {
            self.buffered.notify_one();
        }
    }

    async fn put_into_object(self: &Arc<Self>, mut batches: Vec<Arc<Pending>>) {
        // Those of one partition are a run, and those of one group lie together.
        batches.sort_by_key(|pending| (self.group_of(&pending.id).id, pending.id));
        let mut builder = ObjectBuilder::default();
        let mut positions = Vec::with_capacity(batches.len());
        for pending in &batches {
            let stored = pending.batch().map(|batch| batch.stored.clone());
            positions.push(builder.push(pending.id, stored.unwrap_or_default()));
        }
        let payload: PutPayload = builder.finish().into_iter().collect();
        let object = self.put_patiently(payload).await.name();
        self.name_object(object, batches.len());
        for (pending, position) in batches.iter().zip(positions) {
            if let (Some(batch), Ok(position)) = (pending.batch(), u32::try_from(position)) {
                batch.set_place(BatchPlace::Object(object, position));
            }
        }
        self.ready.notify_one();
    }

    /// Puts bytes into an object, however long it takes.
    async fn put_patiently(self: &Arc<Self>, payload: PutPayload) -> Unnamed {
        let began = Instant::now();
        let mut attempts: JoinSet<Result<Unnamed, String>> = JoinSet::new();
        let mut pause = PAUSE;
        loop {
            if attempts.len() < ATTEMPTS {
                let fence = self.fence().await;
                let (engine, payload) = (Arc::clone(self), payload.clone());
                attempts.spawn(async move { engine.put(fence, payload).await });
            }
            let answer = tokio::time::timeout(SLOW, attempts.join_next()).await;
            let what = match answer {
                Ok(Some(Ok(Ok(object)))) => {
                    self.counters.uploads.observe(began.elapsed());
                    *self.waits_for_objects.lock() = None;
                    return object;
                }
                Ok(Some(Ok(Err(what)))) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    what
                }
                Ok(Some(Err(ended))) => ended.to_string(),
                Ok(None) => continue,
                Err(_) => format!("no answer within {} s", SLOW.as_secs()),
            };
            let what = format!("the object store: {what}");
            tracing::debug!("an upload is tried again, {what}");
            *self.waits_for_objects.lock() = Some(what);
        }
    }

    async fn put(&self, fence: Fence, payload: PutPayload) -> Result<Unnamed, String> {
        let object = Unnamed::begin(&self.config.in_flight, fence.broker_epoch);
        let path = Path::from(object.object().key());
        let put = self.config.objects.put(&path, payload);
        let put = answered(patience::WRITING, put).await;
        put.map_err(|error| error.to_string())?;
        Ok(object)
    }
}
