//! Others write to the same store: between plan and append, while nobody asks here, and in the middle of a snapshot.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::log::BoxFuture;
use storage::memory;

use super::super::store::Loaded;
use super::log::{random_change, seed, store};
use super::*;

/// Records that somebody else appends, each batch just before an append of ours.
type Rivals = Arc<Mutex<VecDeque<Vec<MetadataRecord>>>>;

/// A store in which somebody else is faster.
struct Contended {
    inner: MetadataLog,
    rivals: Rivals,
    /// They wait for the middle of a snapshot.
    in_snapshots: bool,
    has_begun: AtomicBool,
}

impl MetadataStore for Contended {
    fn load(&self, from_version: i64) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        self.inner.load(from_version)
    }

    fn append<'a>(
        &'a self,
        expected_version: i64,
        records: &'a [MetadataRecord],
    ) -> BoxFuture<'a, Result<i64, StoreError>> {
        Box::pin(async move {
            let has_begun = self.has_begun.load(Ordering::Relaxed);
            let is_time = has_begun || !self.in_snapshots;
            let rival = is_time.then(|| self.rivals.lock().pop_front()).flatten();
            let begins = records.first() == Some(&MetadataRecord::BeginTransaction);
            let ends = records.last() == Some(&MetadataRecord::EndTransaction);
            self.has_begun.store(begins && !ends, Ordering::Relaxed);
            if let Some(rival) = rival {
                let version = self.inner.load(i64::MAX).await?.version;
                self.inner.append(version, &rival).await?;
            }
            self.inner.append(expected_version, records).await
        })
    }

    fn watch(&self, seen_version: i64) -> BoxFuture<'_, ()> {
        self.inner.watch(seen_version)
    }

    fn forget_before(&self, version: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.forget_before(version)
    }
}

async fn contended(
    manager: &Arc<dyn storage::log::LogStore>,
    in_snapshots: bool,
) -> (Metadata, Rivals) {
    let rivals = Rivals::default();
    let store = Box::new(Contended {
        inner: store(manager),
        rivals: Arc::clone(&rivals),
        in_snapshots,
        has_begun: AtomicBool::new(false),
    });
    let metadata = open(store).await;
    (metadata, rivals)
}

async fn open(store: Box<dyn MetadataStore>) -> Metadata {
    let opened = Metadata::open(store, "c", broker_config(""), Arc::new(|_, _| {})).await;
    opened.expect("open")
}

/// Waits until an image is shown in which these topics are.
async fn shown(metadata: &Metadata, topics: &[&str]) {
    let is_there = |name: &&str| metadata.image().topic(name).is_some();
    while !topics.iter().all(is_there) {
        tokio::task::yield_now().await;
    }
}

fn created(name: &str, topic_id: u128) -> Vec<MetadataRecord> {
    let topic_id = Uuid::from_u128(topic_id);
    vec![
        MetadataRecord::Topic {
            name: name.to_owned(),
            topic_id,
        },
        partition_record(topic_id, 0, 2, LEADER_EPOCH),
    ]
}

async fn append(store: &MetadataLog, records: &[MetadataRecord]) {
    let version = store.load(i64::MAX).await.expect("load").version;
    store.append(version, records).await.expect("appended");
}

async fn replayed(manager: &Arc<dyn storage::log::LogStore>) -> MetadataImage {
    let loaded = store(manager).load(0).await.expect("load");
    let mut replay = Replay::new(MetadataImage::empty("c"), None);
    for record in &loaded.records {
        replay
            .apply(record)
            .expect("a record that was written fits");
    }
    replay.image
}

#[tokio::test]
async fn a_change_is_planned_again_when_somebody_else_was_faster() {
    let manager = memory::open();
    let (metadata, rivals) = contended(&manager, false).await;
    for (round, losses) in [(0, 1), (1, 2), (2, 5)] {
        for loss in 0..losses {
            let id = 100 * round + loss + 1;
            let rival = created(&format!("theirs-{id}"), id);
            rivals.lock().push_back(rival);
        }
        let ours = format!("ours-{round}");
        let answered = create(&metadata, topic(&ours, 3)).await.expect("created");
        let image = metadata.image();
        assert_eq!(
            image.topic(&ours),
            Some(&answered),
            "what was answered is there"
        );
        assert!(rivals.lock().is_empty());
        assert_eq!(*image, replayed(&manager).await);
    }
    assert_eq!(metadata.image().topic_count(), 3 + 8);
}

#[tokio::test]
async fn what_somebody_else_has_done_meanwhile_decides_the_answer() {
    let manager = memory::open();
    let (metadata, rivals) = contended(&manager, false).await;
    rivals.lock().push_back(created("a", 7));
    let refused = create(&metadata, topic("a", 1)).await;
    assert_eq!(refused, Err(MetadataError::TopicExists("a".to_owned())));
    let there = metadata.image().topic("a").cloned().expect("theirs");
    assert_eq!(there.topic_id, Uuid::from_u128(7));

    rivals.lock().push_back(vec![MetadataRecord::RemoveTopic {
        topic_id: there.topic_id,
    }]);
    let deleted = metadata.delete_topics(vec![TopicRef::Name("a".to_owned())]);
    assert_eq!(deleted.await, [Err(MetadataError::UnknownTopic)]);

    rivals.lock().push_back(vec![MetadataRecord::ProducerIds {
        broker_id: 2,
        next_producer_id: 5000,
    }]);
    let first = metadata.allocate_producer_ids(10).await;
    assert_eq!(first, Ok(5000), "theirs are not given out again");
    assert_eq!(*metadata.image(), replayed(&manager).await);
}

#[tokio::test]
async fn changes_that_wait_together_are_all_planned_again() {
    let manager = memory::open();
    let (metadata, rivals) = contended(&manager, false).await;
    rivals.lock().push_back(created("topic-3", 7));
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..20 {
        let metadata = metadata.clone();
        tasks.spawn(async move { create(&metadata, topic(&format!("topic-{index}"), 1)).await });
    }
    let created = tasks.join_all().await;
    let refused: Vec<_> = created.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused, [MetadataError::TopicExists("topic-3".to_owned())]);
    assert_eq!(metadata.image().topic_count(), 20);
    assert_eq!(*metadata.image(), replayed(&manager).await);
}

#[tokio::test]
async fn what_others_write_is_shown_although_nobody_asks_for_a_change() {
    let manager = memory::open();
    let metadata = open(Box::new(store(&manager))).await;
    let theirs = store(&manager);
    for count in 1..=3_usize {
        let records = created(&format!("theirs-{count}"), count as u128);
        append(&theirs, &records).await;
        shown(&metadata, &[&format!("theirs-{count}")]).await;
    }
    create(&metadata, topic("ours", 1)).await.expect("created");
    assert_eq!(*metadata.image(), replayed(&manager).await);
}

#[tokio::test]
async fn two_brokers_that_change_everything_at_once_agree_in_the_end() {
    let seed = seed();
    let manager = memory::open();
    let one = open(Box::new(store(&manager))).await;
    let other = open(Box::new(store(&manager))).await;
    let mut tasks = tokio::task::JoinSet::new();
    for (index, metadata) in [&one, &other].into_iter().enumerate() {
        let metadata = metadata.clone();
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(index as u64));
        tasks.spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..150 {
                match random.random_bool(0.3) {
                    true => ids.push(metadata.allocate_producer_ids(3).await.expect("ids")),
                    false => random_change(&metadata, &mut random).await,
                }
                tokio::task::yield_now().await;
            }
            ids
        });
    }
    let ids = tasks.join_all().await.concat();
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "no producer id twice");
    // Each waits for the last thing that the other does.
    create(&one, topic("last-of-one", 1))
        .await
        .expect("created");
    create(&other, topic("last-of-the-other", 1))
        .await
        .expect("created");
    for metadata in [&one, &other] {
        shown(metadata, &["last-of-one", "last-of-the-other"]).await;
        assert_eq!(*metadata.image(), replayed(&manager).await);
    }
}

#[tokio::test]
async fn a_snapshot_of_somebody_else_counts_and_one_without_an_end_does_not() {
    let manager = memory::open();
    let metadata = open(Box::new(store(&manager))).await;
    let theirs = store(&manager);
    append(&theirs, &created("theirs", 7)).await;
    shown(&metadata, &["theirs"]).await;
    let whole: Vec<_> = snapshot::records(&metadata.image(), 2).collect();
    append(&theirs, &whole[..3]).await;
    append(&theirs, &whole[3..]).await;
    let begin = theirs.load(i64::MAX).await.expect("load").version - whole.len() as i64;
    theirs.forget_before(begin).await.expect("forgotten");
    create(&metadata, topic("a", 2)).await.expect("created");
    assert_eq!(metadata.image().topic_count(), 2);
    assert_eq!(*metadata.image(), replayed(&manager).await);

    append(&theirs, &whole[..3]).await;
    create(&metadata, topic("b", 2)).await.expect("created");
    let image = replayed(&manager).await;
    assert_eq!(*metadata.image(), image);
    assert_eq!(image.topic_count(), 3, "what had begun does not count");
    let end = theirs.append(begin, &whole[3..]).await;
    assert!(matches!(end, Err(StoreError::Conflict { .. })));
}

#[tokio::test]
async fn somebody_elses_change_in_the_middle_of_a_snapshot_is_not_lost() {
    let manager = memory::open();
    let (metadata, rivals) = contended(&manager, true).await;
    let mut theirs = created("theirs", 7);
    theirs.insert(0, MetadataRecord::AbortTransaction);
    rivals.lock().push_back(theirs);
    // Enough for a snapshot of two appends, and enough history for one to be due.
    let change = async |name: &str| {
        create(&metadata, topic(name, 12_000))
            .await
            .expect("created");
    };
    change("big").await;
    while !rivals.lock().is_empty() {
        change("gone").await;
        let gone = metadata.delete_topics(vec![TopicRef::Name("gone".to_owned())]);
        gone.await.remove(0).expect("deleted");
    }
    create(&metadata, topic("after", 1)).await.expect("created");
    let image = metadata.image();
    assert!(image.topic("theirs").is_some() && image.topic("big").is_some());
    assert_eq!(*image, replayed(&manager).await);
    // The next snapshot meets nobody.
    let log = manager.open_log(metadata_log_id(), Arc::new(metadata_log_config()));
    let log = log.expect("open");
    while log.offsets().log_start_offset == 0 {
        change("gone").await;
        let gone = metadata.delete_topics(vec![TopicRef::Name("gone".to_owned())]);
        gone.await.remove(0).expect("deleted");
    }
    assert!(metadata.image().topic("theirs").is_some());
    assert_eq!(*metadata.image(), replayed(&manager).await);
}

/// A store that goes wrong in one way.
struct Odd {
    inner: MetadataLog,
    /// Added to every version that it tells.
    shift: Arc<AtomicI64>,
    loads: Arc<AtomicUsize>,
    always_wakes: bool,
    refuses: bool,
}

impl MetadataStore for Odd {
    fn load(&self, from_version: i64) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        Box::pin(async move {
            self.loads.fetch_add(1, Ordering::Relaxed);
            let mut loaded = self.inner.load(from_version).await?;
            loaded.version += self.shift.load(Ordering::Relaxed);
            Ok(loaded)
        })
    }

    fn append<'a>(
        &'a self,
        expected: i64,
        records: &'a [MetadataRecord],
    ) -> BoxFuture<'a, Result<i64, StoreError>> {
        if self.refuses || self.shift.load(Ordering::Relaxed) != 0 {
            let found = expected + 1;
            return Box::pin(async move { Err(StoreError::Conflict { expected, found }) });
        }
        self.inner.append(expected, records)
    }

    fn watch(&self, seen_version: i64) -> BoxFuture<'_, ()> {
        match self.always_wakes {
            true => Box::pin(std::future::ready(())),
            false => self.inner.watch(seen_version),
        }
    }

    fn forget_before(&self, version: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.forget_before(version)
    }
}

fn odd(manager: &Arc<dyn storage::log::LogStore>) -> Odd {
    Odd {
        inner: store(manager),
        shift: Arc::default(),
        loads: Arc::default(),
        always_wakes: false,
        refuses: false,
    }
}

#[tokio::test]
async fn a_store_that_refuses_and_has_nothing_new_is_not_asked_for_ever() {
    let manager = memory::open();
    let refusing = Odd {
        refuses: true,
        ..odd(&manager)
    };
    let metadata = open(Box::new(refusing)).await;
    let unknown = create(&metadata, topic("a", 1)).await;
    assert!(matches!(unknown, Err(MetadataError::Indeterminate(_))));
    assert_eq!(metadata.image().topic_count(), 0);
}

#[tokio::test]
async fn a_store_that_has_lost_changes_is_not_written_to_any_more() {
    let manager = memory::open();
    let store = odd(&manager);
    let shift = Arc::clone(&store.shift);
    let metadata = open(Box::new(store)).await;
    create(&metadata, topic("a", 1)).await.expect("created");
    shift.store(-1, Ordering::Relaxed);
    for _ in 0..2 {
        let refused = create(&metadata, topic("b", 1)).await;
        let Err(MetadataError::Indeterminate(why)) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains("lost changes"), "{why}");
        shift.store(0, Ordering::Relaxed);
    }
    assert_eq!(metadata.image().topic_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_wakes_for_nothing_is_looked_at_once_a_second() {
    let manager = memory::open();
    let waking = Odd {
        always_wakes: true,
        ..odd(&manager)
    };
    let loads = Arc::clone(&waking.loads);
    let metadata = open(Box::new(waking)).await;
    tokio::time::sleep(std::time::Duration::from_millis(10_500)).await;
    let loads = loads.load(Ordering::Relaxed);
    assert!((8..=14).contains(&loads), "{loads} in ten seconds");
    create(&metadata, topic("a", 1)).await.expect("created");
}

#[tokio::test]
async fn what_others_write_and_nobody_here_understands_stops_changes() {
    let manager = memory::open();
    let metadata = open(Box::new(store(&manager))).await;
    let newer = MetadataRecord::FeatureLevel {
        name: "ottla.metadata.version".to_owned(),
        level: METADATA_VERSION + 1,
    };
    append(&store(&manager), &[newer]).await;
    let refused = create(&metadata, topic("a", 1)).await;
    assert!(matches!(refused, Err(MetadataError::Indeterminate(_))));
    assert!(metadata.image().topic("a").is_none());
}
