//! Directories that belong to no log any more.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make and damage files behind the engine's back"
)]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use common::*;
use storage::local::{self, LocalConfig};
use storage::log::{
    DeletedTopics, LogConfig, LogStore, PartitionLog, Read, ReadError, TopicPartition,
};
use uuid::Uuid;

const THEIRS: Uuid = Uuid::from_u128(9);

fn id(topic: &str, topic_id: u128, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: Arc::from(topic),
        topic_id: Uuid::from_u128(topic_id),
        partition,
    }
}

fn open_as(manager: &Arc<dyn LogStore>, id: TopicPartition) -> Arc<dyn PartitionLog> {
    let config = LogConfig {
        file_delete_delay_ms: 60_000,
        ..LogConfig::default()
    };
    manager.open_log(id, Arc::new(config)).unwrap()
}

async fn fill(manager: &Arc<dyn LogStore>, id: TopicPartition) {
    let log = open_as(manager, id);
    append(&log, batch(&[b"x"])).await.unwrap();
}

/// Waits for the sweep's end.
fn sweep(manager: &Arc<dyn LogStore>, deleted: &[(u128, &str)]) {
    let (sender, done) = mpsc::channel();
    let deleted: DeletedTopics = deleted
        .iter()
        .map(|(id, name)| (Uuid::from_u128(*id), Arc::from(*name)))
        .collect::<HashMap<_, _>>();
    manager.sweep(deleted, 60_000, Box::new(move || sender.send(()).unwrap()));
    done.recv().unwrap();
}

/// The names of the directories of logs, what was added to tell them apart left out.
fn directories(dir: &Path) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name != "wal")
        .map(|name| match (name.split_once('.'), name.rsplit_once('-')) {
            (Some((start, _)), Some((_, end))) => format!("{start}.*-{end}"),
            _ => name,
        })
        .collect();
    found.sort();
    found
}

/// A directory that another broker could have made.
fn foreign(dir: &Path, name: &str, topic_id: Option<Uuid>) {
    let partition = dir.join(name);
    fs::create_dir(&partition).unwrap();
    fs::write(partition.join("00000000000000000000.log"), b"theirs").unwrap();
    if let Some(topic_id) = topic_id {
        let id = base64(topic_id);
        let text = format!("version: 0\ntopic_id: {id}");
        fs::write(partition.join("partition.metadata"), text).unwrap();
    }
}

/// A topic id as Kafka writes it.
fn base64(id: Uuid) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = id.as_u128();
    let digit = |at: i32| {
        let shift = 122 - 6 * at;
        let six = if shift >= 0 {
            bits >> shift
        } else {
            bits << -shift
        };
        char::from(DIGITS[(six & 63) as usize])
    };
    (0..22).map(digit).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_directories_of_deleted_topics_go_and_what_may_be_somebodys_stays() {
    let dir = tempfile::tempdir().unwrap();
    let manager = local::open(small(dir.path())).unwrap();
    for (topic, topic_id) in [("kept", 1), ("gone", 2), ("again", 3)] {
        for partition in 0..2 {
            fill(&manager, id(topic, topic_id, partition)).await;
        }
    }
    // The metadata said that two of the topics are deleted; nothing else had come of it.
    let dir = crash(manager, dir.path());
    foreign(dir.path(), "foreign-0", Some(THEIRS));
    foreign(dir.path(), "unowned-0", None);
    foreign(dir.path(), "kept-7", Some(THEIRS));
    fs::create_dir(dir.path().join("not a partition")).unwrap();
    let manager = local::open(small(dir.path())).unwrap();
    let kept = open_as(&manager, id("kept", 1, 0));
    open_as(&manager, id("kept", 1, 1));
    // One of them has been created anew.
    let again = open_as(&manager, id("again", 4, 0));
    sweep(&manager, &[(2, "gone"), (3, "again")]);
    assert_eq!(read_all(&kept, 0).await.len(), 1);
    assert_eq!(read_all(&again, 0).await.len(), 0);
    append(&again, batch(&[b"new"])).await.unwrap();
    let expected = [
        "again-0.*-delete",
        "again-1.*-delete",
        "foreign-0.*-stray",
        "gone-0.*-delete",
        "gone-1.*-delete",
        "kept-0",
        "kept-1",
        "kept-7.*-stray",
        "not a partition",
        "unowned-0",
    ];
    let mut found = directories(dir.path());
    found.retain(|name| name != "again-0");
    assert_eq!(found, expected);
    manager.shutdown().unwrap();
    // And what was to be removed is gone with the next start.
    let manager = local::open(small(dir.path())).unwrap();
    open_as(&manager, id("again", 4, 0));
    open_as(&manager, id("kept", 1, 0));
    open_as(&manager, id("kept", 1, 1));
    sweep(&manager, &[]);
    let is_doomed = |name: &String| name.ends_with("-delete");
    while directories(dir.path()).iter().any(is_doomed) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(manager);
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    assert_eq!(read("unowned-0/00000000000000000000.log"), b"theirs");
    let aside = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let aside = aside.map(|name| name.into_string().unwrap());
    for name in aside.filter(|name| name.ends_with("-stray")) {
        assert_eq!(read(&format!("{name}/00000000000000000000.log")), b"theirs");
    }
}

/// Whoever brings a backup of a deleted topic back finds it set aside, not removed.
#[tokio::test(flavor = "multi_thread")]
async fn after_an_orderly_stop_nothing_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let manager = local::open(small(dir.path())).unwrap();
    fill(&manager, id("gone", 2, 0)).await;
    manager.shutdown().unwrap();
    let manager = local::open(small(dir.path())).unwrap();
    sweep(&manager, &[(2, "gone")]);
    assert_eq!(directories(dir.path()), ["gone-0.*-stray"]);
    manager.shutdown().unwrap();
}

/// A log that is looked at before the sweep has come to its directory is not given what a deleted one has left.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_log_begins_at_0_whatever_was_left_of_a_deleted_one() {
    let dir = tempfile::tempdir().unwrap();
    let manager = local::open(small(dir.path())).unwrap();
    let log = open_as(&manager, id("topic", 1, 0));
    for _ in 0..5 {
        append(&log, batch(&[b"x"])).await.unwrap();
    }
    log.delete_records_before(5).await.unwrap();
    drop(log);
    manager.shutdown().unwrap();
    let manager = local::open(small(dir.path())).unwrap();
    let dir = crash(manager, dir.path());
    let manager = local::open(small(dir.path())).unwrap();
    sweep(&manager, &[(1, "topic")]);
    let log = open_as(&manager, id("topic", 2, 0));
    let appended = append(&log, batch(&[b"new"])).await.unwrap();
    assert_eq!((appended.base_offset, appended.log_start_offset), (0, 0));
}

/// A read that waits for room while its log is deleted and made again.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_was_planned_before_a_deletion_leaves_no_file_in_the_next_log() {
    let dir = tempfile::tempdir().unwrap();
    let with_little_room = || {
        let config = LocalConfig {
            cold_read_budget_bytes: 1_000,
            ..small(dir.path())
        };
        local::open(config).unwrap()
    };
    let rolled = Arc::new(LogConfig {
        segment_bytes: 1_000,
        ..LogConfig::default()
    });
    let deleted = id("topic", 1, 0);
    let manager = with_little_room();
    let log = manager
        .open_log(deleted.clone(), Arc::clone(&rolled))
        .unwrap();
    for _ in 0..6 {
        append(&log, batch(&[&[0; 600]])).await.unwrap();
    }
    drop(log);
    manager.shutdown().unwrap();

    let manager = with_little_room();
    let log = manager.open_log(deleted.clone(), rolled).unwrap();
    let keeps_the_room = read(&log, request(0)).await.unwrap();
    let waiting = log.read(request(3)).unwrap();
    manager.delete_logs(vec![deleted]).await.unwrap();
    let next = open_as(&manager, id("topic", 2, 0));
    append(&next, batch(&[b"new"])).await.unwrap();
    // A copy is made of what was written to segments.
    let copy = tempfile::tempdir().unwrap();
    let go_on = &mut |_| ControlFlow::Continue(());
    manager.snapshot(&copy.path().join("copy"), go_on).unwrap();
    drop(keeps_the_room);
    let Read::Cold(read) = waiting else {
        panic!("it is in memory");
    };
    let answer = read.await.map(|read| values(&read));
    let files = fs::read_dir(dir.path().join("topic-0")).unwrap();
    let mut segments: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".log"))
        .collect();
    segments.sort_unstable();
    assert_eq!(segments, ["00000000000000000000.log"]);
    assert!(matches!(answer, Err(ReadError::Deleted)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_logs_are_deleted_with_few_writes_and_their_names_are_free_at_once() {
    const LOGS: i32 = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let manager = local::open(small(dir.path())).unwrap();
    let ids: Vec<_> = (0..LOGS)
        .map(|partition| id("many", 1, partition))
        .collect();
    for id in &ids {
        open_as(&manager, id.clone());
    }
    for id in ids.iter().step_by(100) {
        fill(&manager, id.clone()).await;
    }
    manager.shutdown().unwrap();
    let manager = local::open(small(dir.path())).unwrap();
    for id in &ids {
        open_as(&manager, id.clone());
    }
    let writes_before = manager.stats().unwrap().commit_writes.count;
    manager.delete_logs(ids.clone()).await.unwrap();
    let writes = manager.stats().unwrap().commit_writes.count - writes_before;
    assert!(writes < 50, "{writes} writes");
    // Their directories may have their names still: who needs one does not wait for the others.
    for partition in (0..LOGS).step_by(100).rev() {
        let log = open_as(&manager, id("many", 2, partition));
        let appended = append(&log, batch(&[b"new"])).await.unwrap();
        assert_eq!(appended.base_offset, 0);
    }
    manager.shutdown().unwrap();
    let left = directories(dir.path());
    let count = |suffix: &str| left.iter().filter(|name| name.ends_with(suffix)).count();
    assert_eq!((count("-delete"), count("-stray")), (30, 0));
    assert_eq!(left.len(), 60, "{left:?}");
}
