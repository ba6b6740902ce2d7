//! The one task of this broker that changes metadata.
//!
//! Changes that wait together are planned one after the other, each on what the one before left, and
//! become durable in one append. Only then is the new image published and everybody answered.
//!
//! Others may append to the same store. Then the append is refused, because the store is at another version than the plan
//! began with. The task takes in what the others have written and plans the same changes again. It also takes in what others
//! write while nobody asks for a change.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::draft::Draft;
use super::error::MetadataError;
use super::image::MetadataImage;
use super::record::MetadataRecord;
use super::snapshot::{self, Replay};
use super::store::{MetadataStore, StoreError};
use super::topic_configs::Published;
use crate::config::BrokerConfig;

/// No further waiting change joins an append of this size.
const GROUP_BYTES: usize = 1 << 20;
/// Most changes in one append.
const GROUP_COUNT: usize = 64;
/// A change of more resources than this is planned on a thread for long work: the other threads serve clients.
const PLANNED_AT_ONCE: usize = 500;
/// How long to wait before looking again at a store that could not be read, or had nothing new.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Opens, deletes and reconfigures logs when an image is about to be published. May wait for the disk.
pub type Observer = Arc<dyn Fn(&Published, &Published) + Send + Sync>;

/// A change that waits for its turn.
pub(super) trait Change: Send {
    /// About how many resources it looks at.
    fn size(&self) -> usize;

    /// Plans the change on a draft, and once more on another if that one was not written.
    fn plan(&mut self, draft: &mut Draft);

    /// Tells the caller what has become of the change: the version that holds it.
    fn answer(self: Box<Self>, committed: Result<i64, MetadataError>);
}

/// A change that somebody waits for.
pub(super) struct Asked<T, P> {
    pub size: usize,
    pub plan: P,
    /// What the newest plan says.
    pub planned: Option<T>,
    pub reply: oneshot::Sender<Result<(T, i64), MetadataError>>,
}

impl<T: Send, P: FnMut(&mut Draft) -> T + Send> Change for Asked<T, P> {
    fn size(&self) -> usize {
        self.size
    }

    fn plan(&mut self, draft: &mut Draft) {
        self.planned = Some((self.plan)(draft));
    }

    fn answer(self: Box<Self>, committed: Result<i64, MetadataError>) {
        let unplanned = || Err(MetadataError::Storage("the change was not planned".into()));
        let Self { planned, reply, .. } = *self;
        let outcome = committed.and_then(|version| match planned {
            Some(planned) => Ok((planned, version)),
            None => unplanned(),
        });
        // Nobody waits any more: the change holds all the same.
        let _ = reply.send(outcome);
    }
}

pub(super) type Changes = Vec<Box<dyn Change>>;

pub(super) struct Writer {
    pub store: Box<dyn MetadataStore>,
    pub node: Arc<BrokerConfig>,
    pub version: i64,
    /// Since the log start.
    pub records_in_log: usize,
    /// A snapshot that was begun and has no end. What is appended next has to say that it does not count.
    pub begun: Option<MetadataImage>,
    /// While anybody else holds it, the log is not shortened: it says what has been deleted.
    pub history: Arc<()>,
    pub published: Arc<ArcSwap<Published>>,
    /// Which version is published; `None`: what follows it can be read no longer.
    pub seen: watch::Sender<Option<i64>>,
    pub observer: Observer,
    pub changes: mpsc::Receiver<Box<dyn Change>>,
    /// Why nothing can be changed or followed before a restart.
    pub failed: Option<MetadataError>,
}

impl Writer {
    /// Runs until nobody can ask for changes any more.
    pub(crate) async fn run(mut self) {
        self.shorten_log().await;
        let mut look_at = Instant::now();
        loop {
            let (store, version, is_well) = (&self.store, self.version, self.failed.is_none());
            let newer = async {
                sleep_until(look_at).await;
                store.watch(version).await;
            };
            tokio::select! {
                change = self.changes.recv() => match change {
                    Some(first) => self.carry_out(first).await,
                    None => return,
                },
                () = newer, if is_well => {
                    if !self.follow().await {
                        look_at = Instant::now() + LOOK_AGAIN;
                    }
                }
            }
            self.shorten_log().await;
        }
    }

    /// Makes a change together with the changes that wait behind it, and answers all of them.
    async fn carry_out(&mut self, first: Box<dyn Change>) {
        let mut changes = vec![first];
        let outcome = loop {
            let draft;
            (draft, changes) = self.plan(changes).await;
            let (image, records) = draft.finish();
            if records.is_empty() {
                break Ok(self.version);
            }
            if let Some(error) = &self.failed {
                break Err(error.clone());
            }
            match self.commit(image, records).await {
                Ok(()) => break Ok(self.version),
                Err(StoreError::Conflict { .. }) => match self.catch_up().await {
                    Ok(true) => {}
                    // Trying the same again would go on for ever.
                    Ok(false) => {
                        let what = "it is at another version and has nothing new";
                        break Err(self.fail(what.to_owned()));
                    }
                    Err(error) => break Err(error),
                },
                Err(StoreError::Indeterminate(what)) => break Err(self.fail(what)),
                Err(other) => break Err(MetadataError::Storage(other.to_string())),
            }
        };
        for change in changes {
            change.answer(outcome.clone());
        }
    }

    /// Plans changes on the newest image. More that wait join them while there is room.
    async fn plan(&mut self, changes: Changes) -> (Draft, Changes) {
        let image = MetadataImage::clone(&self.published.load().image);
        let mut draft = Draft::new(image, Arc::clone(&self.node));
        let mut planned = Changes::new();
        let mut again = changes.into_iter();
        loop {
            let next = again.next().or_else(|| {
                let has_room = draft.bytes() < GROUP_BYTES && planned.len() < GROUP_COUNT;
                has_room.then(|| self.changes.try_recv().ok()).flatten()
            });
            let Some(mut change) = next else {
                return (draft, planned);
            };
            (draft, change) = plan_one(draft, change).await;
            planned.push(change);
        }
    }

    async fn commit(
        &mut self,
        image: MetadataImage,
        mut records: Vec<MetadataRecord>,
    ) -> Result<(), StoreError> {
        if self.begun.is_some() {
            records.insert(0, MetadataRecord::AbortTransaction);
        }
        self.append(records).await?;
        self.begun = None;
        self.publish(image).await;
        Ok(())
    }

    async fn append(&mut self, records: Vec<MetadataRecord>) -> Result<(), StoreError> {
        self.version = self.store.append(self.version, &records).await?;
        self.records_in_log += records.len();
        Ok(())
    }

    /// Shows an image to the observer, and then to everybody.
    async fn publish(&mut self, image: MetadataImage) {
        let old = self.published.load_full();
        let next = Arc::new(old.next(image, &self.node));
        let (observer, shown) = (Arc::clone(&self.observer), Arc::clone(&next));
        if let Err(error) = tokio::task::spawn_blocking(move || observer(&old, &shown)).await {
            tracing::error!("the logs did not follow a change of metadata: {error}");
            if let Ok(panic) = error.try_into_panic() {
                // Nobody knows which logs there are now.
                std::panic::resume_unwind(panic);
            }
        }
        self.published.store(next);
        self.seen.send_replace(Some(self.version));
    }

    /// Takes in what others have written, unasked. Says whether there was anything.
    async fn follow(&mut self) -> bool {
        match self.catch_up().await {
            Ok(any) => any,
            Err(error) => {
                if self.failed.is_none() {
                    tracing::warn!(%error, "the metadata could not be read; it is tried again");
                }
                false
            }
        }
    }

    /// Takes in what others have written, and publishes it. Says whether there was anything.
    ///
    /// # Errors
    /// It cannot be read. Where it cannot be understood either, nothing can be changed any more.
    async fn catch_up(&mut self) -> Result<bool, MetadataError> {
        let loaded = match self.store.load(self.version).await {
            Ok(loaded) => loaded,
            Err(error @ (StoreError::Record { .. } | StoreError::Corrupt { .. })) => {
                return Err(self.fail(error.to_string()));
            }
            Err(error) => return Err(MetadataError::Storage(error.to_string())),
        };
        if loaded.version < self.version {
            return Err(self.fail(format!(
                "the store is at version {} and was at {}: it has lost changes",
                loaded.version, self.version
            )));
        }
        if loaded.version == self.version {
            return Ok(false);
        }
        let image = MetadataImage::clone(&self.published.load().image);
        let mut replay = Replay::new(image, self.begun.take());
        for record in &loaded.records {
            if let Err(error) = replay.apply(record) {
                return Err(self.fail(error.to_string()));
            }
        }
        self.version = loaded.version;
        self.records_in_log = records_after(self.records_in_log, &loaded.records, &replay.image);
        self.begun = replay.begun;
        self.publish(replay.image).await;
        Ok(true)
    }

    /// Nothing can be changed any more: nobody knows what the log says.
    fn fail(&mut self, what: String) -> MetadataError {
        let error = MetadataError::Indeterminate(what);
        tracing::error!("{error}; metadata cannot be changed before a restart");
        self.failed = Some(error.clone());
        self.seen.send_replace(None);
        error
    }

    /// Lets a snapshot take the place of a long history.
    async fn shorten_log(&mut self) {
        let published = self.published.load_full();
        let image = &published.image;
        let is_needed = Arc::strong_count(&self.history) > 1;
        if self.failed.is_some() || is_needed || !snapshot::is_due(self.records_in_log, image) {
            return;
        }
        let records_before = std::mem::take(&mut self.records_in_log);
        match self.write_snapshot(image).await {
            Ok(()) => {
                let records_after = self.records_in_log;
                tracing::info!(
                    records_before,
                    records_after,
                    "a snapshot of the metadata shortens its log"
                );
            }
            Err(StoreError::Indeterminate(what)) => {
                self.fail(what);
            }
            // Somebody else has changed something, or writes a snapshot, too. What comes next finds out.
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => {
                // It is tried again when the log has grown as much once more.
                tracing::warn!(%error, "the metadata log could not be shortened");
            }
        }
    }

    async fn write_snapshot(&mut self, image: &MetadataImage) -> Result<(), StoreError> {
        let start = self.version;
        let mut records = snapshot::records(image, self.node.node_id).peekable();
        while records.peek().is_some() {
            let batch: Vec<_> = records.by_ref().take(snapshot::WRITTEN_TOGETHER).collect();
            self.append(batch).await?;
            let is_unfinished = records.peek().is_some();
            // What it holds so far does not matter: only its end would make it count.
            self.begun = is_unfinished.then(|| MetadataImage::empty(image.cluster_id()));
        }
        self.seen.send_replace(Some(self.version));
        self.store.forget_before(start).await
    }
}

/// How many records there are when others have added these, which lead to this image. Behind the end of a snapshot the log
/// begins with it.
fn records_after(before: usize, added: &[MetadataRecord], image: &MetadataImage) -> usize {
    let is_end = |record: &MetadataRecord| matches!(record, MetadataRecord::EndTransaction);
    match added.iter().rposition(is_end) {
        Some(end) => image.record_count() + added.len() - end,
        None => before + added.len(),
    }
}

async fn plan_one(mut draft: Draft, mut change: Box<dyn Change>) -> (Draft, Box<dyn Change>) {
    let size = change.size();
    let work = move || {
        draft.begin_change();
        change.plan(&mut draft);
        (draft, change)
    };
    if size <= PLANNED_AT_ONCE {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(planned) => planned,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
