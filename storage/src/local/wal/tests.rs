//! The write-ahead log by itself: what is written is read back, and damage is told from a torn end.

#![expect(
    clippy::disallowed_methods,
    reason = "tests damage files behind the engine's back"
)]

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::checkpoint::Checkpoint;
use super::chunk::ChunkPool;
use super::commit::Wal;
use super::entry::{NewEntry, WalError};
use super::format::{Entry, EntryKind, Place};
use super::replay::{LogEnd, Replay, ReplayError};
use super::ring::{Ring, RingConfig, RingPosition, region_path};
use crate::env::fs::{BLOCK_BYTES, Fs, RealFs};
use crate::env::wakeup::Wakeup;
use crate::local::io_pool::IoPool;
use crate::record::{BatchBuilder, batch};
use crate::testing::sim_disk::SimDisk;

const REGION_BYTES: u64 = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(20);

fn open(dir: &Path, max_bytes: u64) -> (Arc<Wal>, Checkpoint) {
    open_as(dir, max_bytes, true)
}

fn open_as(dir: &Path, max_bytes: u64, synced: bool) -> (Arc<Wal>, Checkpoint) {
    let fs = Arc::new(RealFs);
    let chunks = ChunkPool::new(0);
    let config = RingConfig {
        dir: dir.to_owned(),
        max_bytes,
        first_region_bytes: REGION_BYTES,
        region_bytes: REGION_BYTES,
        synced,
    };
    let ring = Ring::open(fs.clone(), config, Arc::clone(&chunks)).unwrap();
    let checkpoint = Checkpoint {
        number: 0,
        generation: 77,
        start_sequence: 1,
        start: ring.position(),
        closed: false,
    };
    let wal = Wal::new(ring, chunks, 77, 1, synced, Arc::<Wakeup>::default());
    (Arc::new(wal), checkpoint)
}

fn batch_of(bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.append(1, None, Some(&vec![b'x'; bytes]), &[]);
    builder.build().unwrap()
}

/// Appends a batch for each size, with its number as its offset, and waits for each or for all.
fn fill(wal: &Arc<Wal>, sizes: &[usize], one_by_one: bool) -> Vec<Result<usize, WalError>> {
    let results = Arc::new(Mutex::new(Vec::new()));
    let mut declared = false;
    let (sender, done) = std::sync::mpsc::channel();
    for (offset, &size) in sizes.iter().enumerate() {
        let payload = batch_of(size);
        let (results, sender) = (Arc::clone(&results), sender.clone());
        wal.append(
            &NewEntry {
                log_id: 1,
                kind: EntryKind::Batch,
                offset: offset as i64,
                place: Place::default(),
                payload: &payload,
                strict: true,
                commits_here: false,
            },
            &mut declared,
            || b"who".to_vec(),
            |copy| batch::set_offset_and_epoch(copy, offset as i64, 0).unwrap(),
            Box::new(move |written| {
                results.lock().push(written.map(|written| written.len()));
                sender.send(()).unwrap();
            }),
        )
        .unwrap();
        if one_by_one {
            done.recv().unwrap();
        }
    }
    if !one_by_one {
        sizes.iter().for_each(|_| done.recv().unwrap());
    }
    results.lock().clone()
}

/// The offsets that are read back, however they are read.
fn read(dir: &Path, checkpoint: &Checkpoint) -> Result<(Vec<i64>, LogEnd), ReplayError> {
    let pool = IoPool::start(1).unwrap();
    let whole = read_by(&Replay::new(&RealFs, dir), checkpoint);
    for (window_blocks, directly, ahead) in [(2, true, true), (4, false, true), (16, true, false)] {
        let replay = Replay {
            directly,
            ahead: ahead.then_some(&pool),
            window_bytes: window_blocks * BLOCK_BYTES,
            ..Replay::new(&RealFs, dir)
        };
        let again = read_by(&replay, checkpoint);
        assert_eq!(
            format!("{again:?}"),
            format!("{whole:?}"),
            "{window_blocks} blocks at a time, directly: {directly}, ahead: {ahead}"
        );
    }
    whole
}

fn read_by(
    replay: &Replay<'_>,
    checkpoint: &Checkpoint,
) -> Result<(Vec<i64>, LogEnd), ReplayError> {
    let read = |offsets: &mut Vec<i64>, entries: &[Entry<'_>]| {
        let batches = entries
            .iter()
            .filter(|entry| entry.row.kind == EntryKind::Batch);
        offsets.extend(batches.map(|entry| entry.row.offset));
        Ok::<(), ReplayError>(())
    };
    let (mut offsets, mut again) = (Vec::new(), Vec::new());
    let end = replay.run(checkpoint, |entries| read(&mut offsets, entries))?;
    replay.repeat(checkpoint, &end, |entries| read(&mut again, entries))?;
    assert_eq!(again, offsets);
    Ok((offsets, end))
}

fn with_thread<R>(wal: &Arc<Wal>, work: impl FnOnce() -> R) -> R {
    let committing = Arc::clone(wal);
    let thread = std::thread::spawn(move || committing.run());
    let result = work();
    wal.close();
    thread.join().unwrap();
    result
}

#[test]
fn entries_are_read_back_in_the_order_in_which_they_were_appended() {
    for one_by_one in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (wal, checkpoint) = open(dir.path(), REGION_BYTES);
        let sizes: Vec<usize> = (0..12).map(|number| number * 300).collect();
        let results = with_thread(&wal, || fill(&wal, &sizes, one_by_one));
        for (result, &size) in results.iter().zip(&sizes) {
            assert_eq!(*result, Ok(batch_of(size).len()));
        }
        let (offsets, end) = read(dir.path(), &checkpoint).unwrap();
        assert_eq!(offsets, (0..12).collect::<Vec<_>>());
        assert_eq!(end.next_sequence, wal.committed().next_sequence);
        assert_eq!(end.torn_bytes, 0);
    }
}

#[test]
fn what_was_intact_when_it_was_checked_must_be_so_when_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, checkpoint) = open(dir.path(), REGION_BYTES);
    with_thread(&wal, || fill(&wal, &[300; 3], true));
    let replay = Replay::new(&RealFs, dir.path());
    let end = replay
        .run(&checkpoint, |_| Ok::<(), ReplayError>(()))
        .unwrap();
    let path = region_path(dir.path(), checkpoint.start.region);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0; 100], 2 * BLOCK_BYTES as u64)
        .unwrap();
    let error = replay.repeat(&checkpoint, &end, |_| Ok::<(), ReplayError>(()));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("was intact a moment ago"), "{error}");
}

/// Appends a small batch as one who goes on with a commit, and commits.
fn append_and_commit(wal: &Wal, strict: bool, committed: impl FnOnce(ThreadId) + Send + 'static) {
    let payload = batch_of(10);
    let entry = NewEntry {
        log_id: 1,
        kind: EntryKind::Batch,
        offset: 0,
        place: Place::default(),
        payload: &payload,
        strict,
        commits_here: true,
    };
    let tell = Box::new(|written: Result<_, _>| {
        written.unwrap();
        committed(std::thread::current().id());
    });
    wal.append(&entry, &mut false, || b"who".to_vec(), |_| {}, tell)
        .unwrap();
    wal.commit_here();
}

/// How many of ten appends are committed by this thread, if each finds the commit thread asleep.
fn committed_here(wal: &Wal, strict: bool) -> usize {
    let (sender, committed_by) = std::sync::mpsc::channel();
    let commits = (0..10).map(|_| {
        while !wal.thread_waits() {
            std::thread::yield_now();
        }
        let sender = sender.clone();
        append_and_commit(wal, strict, move |thread| sender.send(thread).unwrap());
        committed_by.recv_timeout(PATIENCE).expect("nobody commits")
    });
    let myself = std::thread::current().id();
    commits.filter(|thread| *thread == myself).count()
}

#[test]
fn who_appends_alone_commits_for_itself_unless_that_waits_for_the_device() {
    for synced in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (wal, _) = open_as(dir.path(), 2 * REGION_BYTES, synced);
        wal.ring().grow().unwrap();
        with_thread(&wal, || {
            assert_eq!(committed_here(&wal, true), 0);
            assert_eq!(committed_here(&wal, false), if synced { 0 } else { 10 });
        });
    }
}

#[test]
fn what_is_appended_while_an_appender_commits_is_left_to_the_commit_thread() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open_as(dir.path(), REGION_BYTES, false);
    let committing = Arc::clone(&wal);
    let thread = std::thread::spawn(move || committing.run());
    committed_here(&wal, false);
    let (sender, committed_by) = std::sync::mpsc::channel();
    let second = {
        let wal = Arc::clone(&wal);
        move || append_and_commit(&wal, false, move |thread| sender.send(thread).unwrap())
    };
    // Appended by another thread while this one is in the middle of a commit.
    append_and_commit(&wal, false, |_| std::thread::spawn(second).join().unwrap());
    let committed_by = committed_by.recv_timeout(PATIENCE).expect("nobody commits");
    assert_eq!(committed_by, thread.thread().id());
    wal.close();
    thread.join().unwrap();
}

#[test]
fn appends_after_the_end_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = open(dir.path(), REGION_BYTES);
    with_thread(&wal, || fill(&wal, &[10], true));
    let entry = NewEntry {
        log_id: 1,
        kind: EntryKind::Delete,
        offset: 0,
        place: Place::default(),
        payload: &[],
        strict: true,
        commits_here: false,
    };
    let refused = wal.append(&entry, &mut true, Vec::new, |_| {}, Box::new(|_| {}));
    assert_eq!(refused, Err(WalError::Closed));
}

#[test]
fn the_ring_is_not_overwritten_before_a_checkpoint_lets_go_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, mut checkpoint) = open(dir.path(), 2 * REGION_BYTES);
    wal.ring().grow().unwrap();
    let committing = Arc::clone(&wal);
    let thread = std::thread::spawn(move || committing.run());
    // Each is a write of 12 KiB: ten of them fill both regions.
    let filling = {
        let wal = Arc::clone(&wal);
        std::thread::spawn(move || fill(&wal, &[9_000; 30], true))
    };
    let mut checkpoints = 0;
    while !filling.is_finished() {
        if wal.ring().shortage(12 << 10).is_some() {
            let committed = wal.committed();
            let (offsets, end) = read(dir.path(), &checkpoint).unwrap();
            assert_eq!(offsets.len() as u64, end.groups);
            assert!(end.next_sequence >= committed.next_sequence);
            if end.next_sequence > committed.next_sequence {
                // The last write has reached the disk and is not reported yet.
                continue;
            }
            checkpoint.start_sequence = committed.next_sequence;
            checkpoint.start = committed.end;
            wal.ring().release(committed.next_sequence);
            checkpoints += 1;
        }
        std::thread::yield_now();
    }
    assert!(filling.join().unwrap().iter().all(Result::is_ok));
    assert!(checkpoints >= 2, "{checkpoints}");
    wal.close();
    thread.join().unwrap();
    let (offsets, end) = read(dir.path(), &checkpoint).unwrap();
    assert_eq!(end.next_sequence, wal.committed().next_sequence);
    // Nothing is left to be read if the last checkpoint was taken behind the last write.
    let is_behind_all = checkpoint.start_sequence == end.next_sequence;
    assert_eq!(offsets.last(), (!is_behind_all).then_some(&29));
}

#[test]
fn a_ring_of_one_region_turns_when_all_of_it_is_checkpointed() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, mut checkpoint) = open(dir.path(), REGION_BYTES);
    let committing = Arc::clone(&wal);
    let thread = std::thread::spawn(move || committing.run());
    let filling = {
        let wal = Arc::clone(&wal);
        std::thread::spawn(move || fill(&wal, &[9_000; 20], true))
    };
    while !filling.is_finished() {
        let committed = wal.committed();
        if wal.ring().shortage(12 << 10).is_some() && committed.next_sequence > 1 {
            checkpoint.start_sequence = committed.next_sequence;
            checkpoint.start = committed.end;
            wal.ring().release(committed.next_sequence);
        }
        std::thread::yield_now();
    }
    assert!(filling.join().unwrap().iter().all(Result::is_ok));
    wal.close();
    thread.join().unwrap();
    let (_, end) = read(dir.path(), &checkpoint).unwrap();
    assert_eq!(end.next_sequence, wal.committed().next_sequence);
}

/// Three writes of one group each; the bytes of the ring and where the last group begins.
fn three_groups(dir: &Path) -> (Checkpoint, Vec<u8>, usize) {
    let (wal, checkpoint) = open(dir, REGION_BYTES);
    with_thread(&wal, || fill(&wal, &[100, 100, 100], true));
    let ring = std::fs::read(region_path(dir, 0)).unwrap();
    (checkpoint, ring, 2 * BLOCK_BYTES)
}

/// What of a group is not padding.
fn used_bytes(group: &[u8]) -> usize {
    BLOCK_BYTES - group.iter().rev().take_while(|&&byte| byte == 0).count()
}

#[test]
fn a_last_group_damaged_in_any_byte_is_dropped_and_the_others_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, ring, last) = three_groups(dir.path());
    let used = used_bytes(&ring[last..last + BLOCK_BYTES]);
    let path = region_path(dir.path(), 0);
    for at in 0..used {
        for bit in [0, 7] {
            let mut damaged = ring.clone();
            damaged[last + at] ^= 1 << bit;
            std::fs::write(&path, &damaged).unwrap();
            match read(dir.path(), &checkpoint) {
                Ok((offsets, _)) => {
                    // What is zero and not covered may change without harm.
                    let harmless = offsets == [0, 1, 2] && (5..8).contains(&at);
                    assert!(offsets == [0, 1] || harmless, "byte {at}: {offsets:?}");
                }
                Err(ReplayError::NewerFormat { .. }) => assert!((4..6).contains(&at)),
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
    }
}

#[test]
fn a_last_group_cut_off_at_any_byte_is_dropped_and_the_others_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, ring, last) = three_groups(dir.path());
    let used = used_bytes(&ring[last..last + BLOCK_BYTES]);
    let path = region_path(dir.path(), 0);
    for at in 0..used {
        let mut zeroed = ring.clone();
        zeroed[last + at..].fill(0);
        for cut in [&ring[..last + at], &zeroed] {
            std::fs::write(&path, cut).unwrap();
            let (offsets, _) = read(dir.path(), &checkpoint).unwrap();
            assert_eq!(offsets, [0, 1], "cut at {at}");
        }
    }
}

#[test]
fn an_earlier_group_damaged_in_any_bit_is_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, ring, _) = three_groups(dir.path());
    let path = region_path(dir.path(), 0);
    let middle = BLOCK_BYTES;
    let used = used_bytes(&ring[middle..middle + BLOCK_BYTES]);
    for at in 0..used {
        for bit in 0..8 {
            let mut damaged = ring.clone();
            damaged[middle + at] ^= 1 << bit;
            std::fs::write(&path, &damaged).unwrap();
            match read(dir.path(), &checkpoint) {
                Err(ReplayError::Hole { .. } | ReplayError::NewerFormat { .. }) => {}
                Ok((offsets, _)) => panic!("byte {at} bit {bit}: {offsets:?}"),
                Err(error) => panic!("byte {at} bit {bit}: {error}"),
            }
        }
    }
}

#[test]
fn groups_of_one_torn_write_are_no_hole() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, checkpoint) = open(dir.path(), REGION_BYTES);
    // All collected before the thread starts: more than fits a chunk, hence several groups in one write.
    let filling = {
        let wal = Arc::clone(&wal);
        std::thread::spawn(move || fill(&wal, &[5_000; 9], false))
    };
    while wal.appended_count() < 9 {
        std::thread::yield_now();
    }
    with_thread(&wal, || filling.join().unwrap());
    let path = region_path(dir.path(), 0);
    let mut ring = std::fs::read(&path).unwrap();
    assert!(wal.committed().next_sequence > 2, "several groups");
    ring[100] ^= 1;
    std::fs::write(&path, &ring).unwrap();
    let (offsets, end) = read(dir.path(), &checkpoint).unwrap();
    assert!(offsets.is_empty(), "{offsets:?}");
    assert!(end.torn_bytes > 0);
}

#[test]
fn a_group_of_another_generation_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, _, _) = three_groups(dir.path());
    let other = Checkpoint {
        generation: 78,
        ..checkpoint
    };
    let (offsets, end) = read(dir.path(), &other).unwrap();
    assert_eq!((offsets, end.groups), (vec![], 0));
}

#[test]
fn of_two_checkpoints_the_newer_intact_one_counts() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = |number| Checkpoint {
        number,
        generation: 9,
        start_sequence: number * 10,
        start: Default::default(),
        closed: false,
    };
    let read = || Checkpoint::read(&RealFs, dir.path()).unwrap();
    assert_eq!(read(), None);
    for number in 0..4 {
        checkpoint(number).write(&RealFs, dir.path()).unwrap();
        assert_eq!(read(), Some(checkpoint(number)));
    }
    let newest = dir.path().join("checkpoint-b");
    let intact = std::fs::read(&newest).unwrap();
    for at in 0..48 {
        let mut damaged = intact.clone();
        damaged[at] ^= 4;
        std::fs::write(&newest, damaged).unwrap();
        assert_eq!(read(), Some(checkpoint(2)), "byte {at}");
    }
    std::fs::write(&newest, &intact[..40]).unwrap();
    assert_eq!(read(), Some(checkpoint(2)));
}

#[test]
fn the_table_of_logs_is_read_up_to_its_torn_end() {
    use super::logs::{LogTable, declaration};
    let dir = tempfile::tempdir().unwrap();
    let id = |partition| crate::log::TopicPartition {
        topic: "topic".into(),
        topic_id: uuid::Uuid::from_u128(5),
        partition,
    };
    let mut table = LogTable::create(&RealFs, dir.path(), 9).unwrap();
    table
        .add(
            &RealFs,
            &[(1, declaration(&id(1))), (2, declaration(&id(2)))],
        )
        .unwrap();
    table.add(&RealFs, &[(3, declaration(&id(3)))]).unwrap();
    let read = || LogTable::read(&RealFs, dir.path(), 9).unwrap();
    assert_eq!(read().len(), 3);
    assert_eq!(read()[&3], id(3));
    let path = dir.path().join("logs-0000000000000009");
    let bytes = std::fs::read(&path).unwrap();
    for cut in bytes.len() * 2 / 3..bytes.len() {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert_eq!(read().len(), 2, "cut at {cut}");
    }
    assert!(LogTable::read(&RealFs, dir.path(), 10).unwrap().is_empty());
}

#[test]
fn a_writer_that_comes_after_the_checkpoint_finds_the_room_that_it_has_made() {
    let dir = tempfile::tempdir().unwrap();
    let config = RingConfig {
        dir: dir.path().to_owned(),
        max_bytes: REGION_BYTES,
        first_region_bytes: REGION_BYTES,
        region_bytes: REGION_BYTES,
        synced: false,
    };
    let ring = Arc::new(Ring::open(Arc::new(RealFs), config, ChunkPool::new(0)).unwrap());
    ring.write(&[&vec![1; REGION_BYTES as usize]], 1).unwrap();
    // All that was written is checkpointed: no other checkpoint will come and wake anybody.
    ring.release(2);
    let (sender, found) = std::sync::mpsc::channel();
    let writer = Arc::clone(&ring);
    std::thread::spawn(move || sender.send(writer.wait_for_room(BLOCK_BYTES as u64)));
    assert_eq!(found.recv_timeout(PATIENCE), Ok(true));
    assert_eq!(ring.position().position, 0);
}

#[test]
fn a_checkpoint_that_was_refused_half_way_is_durable_at_the_next_attempt() {
    const DROP_ALL: u64 = 3;
    const EMFILE: i32 = 24;
    let dir = Path::new("/wal");
    let checkpoint = Checkpoint {
        number: 1,
        generation: 77,
        start_sequence: 1,
        start: RingPosition::default(),
        closed: false,
    };
    let mut were_refused = 0;
    for refused in 1..8 {
        let disk = SimDisk::new();
        let fs = disk.boot(None);
        fs.create_dir_all(dir).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        let call = disk.calls() + refused;
        disk.fail_calls(call..call + 1, EMFILE);
        if checkpoint.write(&fs, dir).is_err() {
            were_refused += 1;
            checkpoint.write(&fs, dir).unwrap();
        }
        disk.allow_calls();
        disk.power_cut(DROP_ALL);
        let found = Checkpoint::read(&disk.boot(None), dir).unwrap();
        assert_eq!(found, Some(checkpoint), "call {refused} was refused");
    }
    assert!(were_refused > 2, "{were_refused} calls were refused");
}
