//! What the metadata log promises: order, durability before visibility, and the same image after every start.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::log::BoxFuture;
use storage::memory;

use super::super::store::Loaded;
use super::*;

pub(super) fn store(manager: &Arc<dyn storage::log::LogStore>) -> MetadataLog {
    let log = manager.open_log(metadata_log_id(), Arc::new(metadata_log_config()));
    MetadataLog::new(log.expect("open"))
}

async fn open(manager: &Arc<dyn storage::log::LogStore>) -> Metadata {
    let store = Box::new(store(manager));
    let opened = Metadata::open(store, "c", broker_config(""), Arc::new(|_, _| {})).await;
    opened.expect("open")
}

pub(super) fn seed() -> u64 {
    let given = std::env::var("OTTLA_SEED").ok();
    let seed = given.map_or_else(rand::random, |seed| seed.parse().expect("a number"));
    println!("OTTLA_SEED={seed}");
    seed
}

pub(super) async fn random_change(metadata: &Metadata, random: &mut StdRng) {
    let names = ["a", "b", "a.b", "a_b", "c", "__consumer_offsets"];
    let name = names[random.random_range(0..names.len())].to_owned();
    let operation = [
        Operation::Set,
        Operation::Delete,
        Operation::Append,
        Operation::Subtract,
    ][random.random_range(0..4)];
    let alter = |resource_type, resource_name: &str, key: &str, value: &str| AlterConfig {
        resource_type,
        resource_name: resource_name.to_owned(),
        change: ConfigChange::Incremental(vec![(
            key.to_owned(),
            operation,
            Some(value.to_owned()),
        )]),
    };
    match random.random_range(0..9) {
        0 | 1 => {
            let new = topic(&name, random.random_range(0..5));
            metadata
                .create_topics(vec![new], random.random_bool(0.2))
                .await;
        }
        2 => {
            metadata.delete_topics(vec![TopicRef::Name(name)]).await;
        }
        3 => {
            let grown = NewPartitions {
                name,
                count: random.random_range(0..9),
                assignments: None,
            };
            metadata.create_partitions(vec![grown], false).await;
        }
        4 => {
            let value = random.random_range(-2..100).to_string();
            let key = ["retention.ms", "cleanup.policy", "nope"][random.random_range(0..3)];
            let alter = alter(ResourceType::Topic, &name, key, &value);
            metadata.alter_configs(vec![alter], false).await;
        }
        5 => {
            let value = random.random_range(1..100).to_string();
            let broker = ["", "1", "2"][random.random_range(0..3)];
            let alter = alter(ResourceType::Broker, broker, "log.retention.ms", &value);
            metadata.alter_configs(vec![alter], false).await;
        }
        6 => {
            let key = "consumer.session.timeout.ms";
            let alter = alter(ResourceType::Group, &name, key, "50000");
            metadata.alter_configs(vec![alter], false).await;
        }
        7 => {
            let kind = ["user", "client-id", "ip", "planet"][random.random_range(0..4)];
            let named = random.random_bool(0.5).then_some(name);
            let value = random.random_bool(0.7).then_some(5.0);
            let alter = AlterQuotas {
                entity: [(kind.to_owned(), named)].into(),
                changes: vec![("producer_byte_rate".to_owned(), value)],
            };
            let validate_only = random.random_bool(0.2);
            metadata.alter_quotas(vec![alter], validate_only).await;
        }
        _ => {
            let count = random.random_range(1..5);
            metadata.allocate_producer_ids(count).await.expect("ids");
        }
    }
}

#[tokio::test]
async fn replaying_the_log_gives_the_live_image_after_every_change() {
    let mut random = StdRng::seed_from_u64(seed());
    let manager = memory::open();
    let metadata = open(&manager).await;
    for _ in 0..300 {
        random_change(&metadata, &mut random).await;
        let loaded = store(&manager).load(0).await.expect("load");
        let mut replayed = MetadataImage::empty("c");
        for record in &loaded.records {
            replayed
                .apply(record)
                .expect("a record that was written fits");
        }
        assert_eq!(replayed, *metadata.image());
    }
}

#[tokio::test]
async fn loading_from_a_version_gives_what_came_after_it() {
    let manager = memory::open();
    let metadata = open(&manager).await;
    create(&metadata, topic("a", 3)).await.expect("created");
    let all = store(&manager).load(0).await.expect("load");
    assert_eq!(all.version, all.records.len() as i64);
    for from in 0..all.version {
        let rest = store(&manager).load(from).await.expect("load");
        assert_eq!(rest.records, all.records[from as usize..]);
        assert_eq!(rest.version, all.version);
    }
}

#[tokio::test]
async fn an_append_on_an_old_version_is_refused() {
    let manager = memory::open();
    let store = store(&manager);
    let record = MetadataRecord::ProducerIds {
        broker_id: 1,
        next_producer_id: 5,
    };
    let records = [record];
    assert_eq!(store.append(0, &records).await.expect("appended"), 1);
    let conflict = store.append(0, &records).await;
    assert!(matches!(
        conflict,
        Err(StoreError::Conflict {
            expected: 0,
            found: 1
        })
    ));
    assert_eq!(store.load(0).await.expect("load").version, 1);
}

#[tokio::test]
async fn a_watcher_wakes_when_there_is_a_newer_version() {
    let manager = memory::open();
    let (watched, writer) = (store(&manager), store(&manager));
    let record = MetadataRecord::ProducerIds {
        broker_id: 1,
        next_producer_id: 5,
    };
    let records = [record];
    let (_, appended) = tokio::join!(watched.watch(0), writer.append(0, &records));
    assert_eq!(appended.expect("appended"), 1);
    watched.watch(0).await;
}

#[tokio::test]
async fn producer_ids_are_never_given_out_twice_even_when_the_broker_dies() {
    let manager = memory::open();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let metadata = open(&manager).await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let metadata = metadata.clone();
            tasks.spawn(async move {
                let mut ids = Vec::new();
                for _ in 0..200 {
                    ids.push(metadata.new_producer_id().await.expect("id"));
                }
                ids
            });
        }
        for ids in tasks.join_all().await {
            for id in ids {
                assert!(seen.insert(id), "{id} twice");
            }
        }
        // Dropped without a word: what is left of its block is lost.
    }
}

#[tokio::test]
async fn a_topic_that_many_ask_for_at_once_is_created_once() {
    let manager = memory::open();
    let metadata = open(&manager).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let metadata = metadata.clone();
        tasks.spawn(async move {
            let names = vec!["a".to_owned(), "b".to_owned()];
            let topics = metadata.auto_create(names).await;
            topics
                .into_iter()
                .map(|topic| topic.expect("there").topic_id)
                .collect::<Vec<_>>()
        });
    }
    let ids: BTreeSet<_> = tasks.join_all().await.into_iter().collect();
    assert_eq!(ids.len(), 1, "everybody got the same two topics");
}

#[tokio::test]
async fn a_log_of_a_newer_version_is_not_opened() {
    let manager = memory::open();
    let record = MetadataRecord::FeatureLevel {
        name: "ottla.metadata.version".to_owned(),
        level: METADATA_VERSION + 1,
    };
    store(&manager)
        .append(0, &[record])
        .await
        .expect("appended");
    let newer = Box::new(store(&manager));
    let opened = Metadata::open(newer, "c", broker_config(""), Arc::new(|_, _| {})).await;
    let error = opened.err().expect("refused").to_string();
    let newer = format!("ottla.metadata.version {}", METADATA_VERSION + 1);
    assert!(error.contains(&newer), "{error}");
}

#[tokio::test]
async fn a_log_that_contradicts_itself_is_not_opened() {
    let manager = memory::open();
    let orphan = MetadataRecord::RemoveTopic {
        topic_id: uuid::Uuid::from_u128(7),
    };
    store(&manager)
        .append(0, &[orphan])
        .await
        .expect("appended");
    let broken = Box::new(store(&manager));
    let opened = Metadata::open(broken, "c", broker_config(""), Arc::new(|_, _| {})).await;
    assert!(matches!(
        opened.err(),
        Some(OpenError::Replay { index: 0, .. })
    ));
}

#[tokio::test]
async fn the_observer_sees_every_topic_before_anybody_else_does() {
    let manager = memory::open();
    let shown = Arc::new(Mutex::new(Vec::new()));
    let observed = Arc::clone(&shown);
    let observer: Observer = Arc::new(move |old: &Published, new: &Published| {
        let counts = (old.image.topic_count(), new.image.topic_count());
        observed.lock().push(counts);
    });
    let opened = Metadata::open(Box::new(store(&manager)), "c", broker_config(""), observer).await;
    let metadata = opened.expect("open");
    create(&metadata, topic("a", 1)).await.expect("created");
    // The second one sets min.insync.replicas.
    assert_eq!(*shown.lock(), [(0, 0), (0, 0), (0, 1)]);
    drop(metadata);

    let shown_again = Arc::new(Mutex::new(Vec::new()));
    let observed = Arc::clone(&shown_again);
    let observer: Observer = Arc::new(move |old: &Published, new: &Published| {
        let counts = (old.image.topic_count(), new.image.topic_count());
        observed.lock().push(counts);
    });
    let store = Box::new(store(&manager));
    let reopened = Metadata::open(store, "c", broker_config(""), observer).await;
    reopened.expect("open");
    assert_eq!(*shown_again.lock(), [(0, 1)]);
}

/// A store that takes nothing while `broken`, and says so or does not know.
struct Failing {
    inner: MetadataLog,
    broken: Arc<AtomicBool>,
    indeterminate: bool,
}

impl MetadataStore for Failing {
    fn load(&self, from_version: i64) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        self.inner.load(from_version)
    }

    fn append<'a>(
        &'a self,
        expected_version: i64,
        records: &'a [MetadataRecord],
    ) -> BoxFuture<'a, Result<i64, StoreError>> {
        if !self.broken.load(Ordering::Relaxed) {
            return self.inner.append(expected_version, records);
        }
        let what = "disk full".to_owned();
        let error = match self.indeterminate {
            true => StoreError::Indeterminate(what),
            false => StoreError::NotApplied(what),
        };
        Box::pin(std::future::ready(Err(error)))
    }

    fn watch(&self, seen_version: i64) -> BoxFuture<'_, ()> {
        self.inner.watch(seen_version)
    }

    fn forget_before(&self, version: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.forget_before(version)
    }
}

async fn failing(indeterminate: bool) -> (Metadata, Arc<AtomicBool>) {
    let broken = Arc::new(AtomicBool::new(false));
    let store = Box::new(Failing {
        inner: store(&memory::open()),
        broken: Arc::clone(&broken),
        indeterminate,
    });
    let observer = Arc::new(|_: &_, _: &_| {});
    let opened = Metadata::open(store, "c", broker_config(""), observer).await;
    (opened.expect("open"), broken)
}

#[tokio::test]
async fn a_change_that_was_not_written_is_not_seen_and_can_be_tried_again() {
    let (metadata, broken) = failing(false).await;
    broken.store(true, Ordering::Relaxed);
    let refused = create(&metadata, topic("a", 1)).await;
    assert!(matches!(refused, Err(MetadataError::Storage(_))));
    assert!(metadata.image().topic("a").is_none());
    broken.store(false, Ordering::Relaxed);
    create(&metadata, topic("a", 1)).await.expect("created");
}

#[tokio::test]
async fn after_a_change_of_unknown_fate_nothing_changes_any_more() {
    let (metadata, broken) = failing(true).await;
    broken.store(true, Ordering::Relaxed);
    let unknown = create(&metadata, topic("a", 1)).await;
    assert!(matches!(unknown, Err(MetadataError::Indeterminate(_))));
    broken.store(false, Ordering::Relaxed);
    let refused = create(&metadata, topic("b", 1)).await;
    assert!(matches!(refused, Err(MetadataError::Indeterminate(_))));
    assert_eq!(metadata.image().topic_count(), 0);
}

#[test]
fn a_directory_keeps_its_identity() {
    let dir = tempfile::tempdir().expect("directory");
    let made = MetaProperties::load_or_create(dir.path(), 1, None).expect("made");
    let read = MetaProperties::load_or_create(dir.path(), 1, None).expect("read");
    assert_eq!(made, read);
    assert_eq!(made.cluster_id.len(), 22);
    assert_ne!(made.cluster_id, storage::kafka_uuid(made.directory_id));
}

#[test]
fn a_directory_of_kafka_is_recognised() {
    let dir = tempfile::tempdir().expect("directory");
    let text = "#\n#Sun Nov 22 16:31:24 UTC 2026\ncluster.id=Ls_ZqBt2SK6cucelTd2B4g\n\
                directory.id=Yb0iZjTtTpu5qkbEGXDyjQ\nnode.id=1\nversion=1\n";
    std::fs::write(dir.path().join("meta.properties"), text).expect("write");
    let read = MetaProperties::load_or_create(dir.path(), 1, None).expect("read");
    assert_eq!(read.cluster_id, "Ls_ZqBt2SK6cucelTd2B4g");
    assert_eq!(
        storage::kafka_uuid(read.directory_id),
        "Yb0iZjTtTpu5qkbEGXDyjQ"
    );
}

#[test]
fn a_directory_of_another_broker_or_with_a_damaged_identity_is_refused() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("meta.properties");
    let refused = |text: &str| {
        std::fs::write(&path, text).expect("write");
        let error = MetaProperties::load_or_create(dir.path(), 1, None);
        error.expect_err(text).to_string()
    };
    let rest = "cluster.id=c\ndirectory.id=Yb0iZjTtTpu5qkbEGXDyjQ\n";
    for (text, expected) in [
        (
            format!("{rest}version=1\nnode.id=2"),
            "belongs to node.id 2",
        ),
        (
            format!("{rest}version=1\nnode.id=x"),
            "node.id is not a number",
        ),
        (
            format!("{rest}version=2\nnode.id=1"),
            "version 2 is not known",
        ),
        (format!("{rest}node.id=1"), "version is missing"),
        ("version=1\nnode.id=1".to_owned(), "cluster.id is missing"),
        (String::new(), "version is missing"),
    ] {
        let error = refused(&text);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_id_is_written_as_kafka_writes_it() {
    let id = |value| storage::kafka_uuid(uuid::Uuid::from_u128(value));
    assert_eq!(id(0), "AAAAAAAAAAAAAAAAAAAAAA");
    // Kafka's Uuid.METADATA_TOPIC_ID.
    assert_eq!(id(1), "AAAAAAAAAAAAAAAAAAAAAQ");
    assert_eq!(id(u128::MAX), "_____________________w");
}

/// Creates and deletes topics until a snapshot has taken the place of the history.
async fn churn(metadata: &Metadata, manager: &Arc<dyn storage::log::LogStore>) {
    let log = manager.open_log(metadata_log_id(), Arc::new(metadata_log_config()));
    let log = log.expect("open");
    for round in 0..200 {
        create(metadata, topic("transient", 100))
            .await
            .expect("created");
        let gone = metadata.delete_topics(vec![TopicRef::Name("transient".to_owned())]);
        gone.await.remove(0).expect("deleted");
        let kept = format!("kept-{round}");
        create(metadata, topic(&kept, 2)).await.expect("created");
        if log.offsets().log_start_offset > 0 {
            return;
        }
    }
    panic!("the log was never shortened");
}

#[tokio::test]
async fn a_snapshot_takes_the_place_of_a_long_history_and_leads_to_the_same_image() {
    let manager = memory::open();
    let metadata = open(&manager).await;
    metadata
        .allocate_producer_ids(1000)
        .await
        .expect("allocated");
    churn(&metadata, &manager).await;
    create(&metadata, topic("after", 3)).await.expect("created");
    let image = metadata.image();
    let records = store(&manager).load(0).await.expect("load").records;
    assert!(records.len() < 1_500, "{} records", records.len());
    drop(metadata);
    assert!(*open(&manager).await.image() == *image);
}

#[tokio::test]
async fn a_snapshot_without_an_end_does_not_count_and_neither_hides_what_follows() {
    let manager = memory::open();
    let metadata = open(&manager).await;
    create(&metadata, topic("a", 2)).await.expect("created");
    drop(metadata);
    let log = store(&manager);
    let version = log.load(0).await.expect("load").version;
    let half = [
        MetadataRecord::BeginTransaction,
        MetadataRecord::Topic {
            name: "b".to_owned(),
            topic_id: uuid::Uuid::from_u128(7),
        },
    ];
    log.append(version, &half).await.expect("appended");
    let metadata = open(&manager).await;
    assert!(metadata.image().topic("a").is_some() && metadata.image().topic("b").is_none());
    create(&metadata, topic("c", 1)).await.expect("created");
    let image = metadata.image();
    drop(metadata);
    let reopened = open(&manager).await;
    assert!(*reopened.image() == *image);
    assert!(reopened.image().topic("c").is_some());
}

#[tokio::test]
async fn the_log_tells_what_was_deleted_until_nobody_needs_it_any_more() {
    let manager = memory::open();
    let open = || async {
        let observer: Observer = Arc::new(|_: &_, _: &_| {});
        let store = Box::new(store(&manager));
        let opened = Metadata::open_with_history(store, "c", broker_config(""), observer);
        opened.await.expect("open")
    };
    let (metadata, before) = open().await;
    assert!(before.topics.is_empty());
    drop(before);
    create(&metadata, topic("kept", 1)).await.expect("created");
    let gone = create(&metadata, topic("gone", 2)).await.expect("created");
    let named = vec![TopicRef::Name("gone".to_owned())];
    metadata
        .delete_topics(named)
        .await
        .remove(0)
        .expect("deleted");
    drop(metadata);

    let (metadata, deleted) = open().await;
    assert_eq!(deleted.topics.len(), 1);
    assert_eq!(deleted.topics.get(&gone.topic_id), Some(&gone.name));
    // Far more history than state.
    let churn = |metadata: Metadata| async move {
        create(&metadata, topic("big", 12_000))
            .await
            .expect("created");
        let named = vec![TopicRef::Name("big".to_owned())];
        metadata
            .delete_topics(named)
            .await
            .remove(0)
            .expect("deleted");
    };
    churn(metadata.clone()).await;
    drop(metadata);
    drop(deleted);
    let (metadata, deleted) = open().await;
    assert!(
        deleted.topics.contains_key(&gone.topic_id),
        "it was still needed"
    );
    drop(deleted);
    churn(metadata.clone()).await;
    // The writer answers a change before it shortens the log, and takes the next one after that.
    create(&metadata, topic("last", 1)).await.expect("created");
    drop(metadata);
    let (_, deleted) = open().await;
    assert!(
        !deleted.topics.contains_key(&gone.topic_id),
        "the log was shortened"
    );
}
