#![allow(clippy::unwrap_used)]

use std::path::Path;

use uuid::Uuid;

use super::*;
use crate::local::segment::open_files::OpenFiles;
use crate::local::wal::chunk::ChunkPool;
use crate::testing::sim_disk::SimDisk;

/// A seed of a power cut that drops whatever is not durable.
const DROP_ALL: u64 = 3;

fn writer(disk: &SimDisk) -> SegmentWriter {
    let fs: Arc<dyn Fs> = Arc::new(disk.boot(None));
    let id = TopicPartition {
        topic: Arc::from("topic"),
        topic_id: Uuid::from_u128(7),
        partition: 0,
    };
    fs.create_dir_all(Path::new("/data")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    let open_files = OpenFiles::new(10, Arc::default());
    let dir = LogPath::new(PathBuf::from("/data/topic-0"), &open_files);
    let direct_io = DirectIo::new(ChunkPool::new(0), u64::MAX);
    SegmentWriter::new(fs, direct_io, id, dir)
}

fn write_snapshot(writer: &mut SegmentWriter, offset: i64) {
    let snapshot = Snapshot {
        offset,
        sidecar: vec![b's'; 100],
        kafka: Some(vec![b'k'; 100]),
    };
    writer.write_snapshot(&snapshot).unwrap();
}

/// The offsets of snapshots that are there, whole.
fn snapshots(disk: &SimDisk) -> Vec<i64> {
    let files = disk.files().into_iter();
    let whole = files.filter(|(_, bytes)| *bytes == 100);
    let offset = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        segment::offset_of(&name, SIDECAR_SUFFIX)
    };
    whole.filter_map(|(path, _)| offset(path)).collect()
}

/// Segments are removed behind it, and what they told of producers is in the snapshots.
#[test]
fn a_log_that_is_synced_by_itself_loses_nothing_of_what_a_sync_of_everything_had_begun() {
    for seed in 0..50 {
        let disk = SimDisk::new();
        let mut writer = writer(&disk);
        write_snapshot(&mut writer, 10);
        write_snapshot(&mut writer, 20);
        writer.sync().unwrap();
        write_snapshot(&mut writer, 30);
        write_snapshot(&mut writer, 40);
        writer.begin_sync();
        // Before the file system is synced.
        writer.sync().unwrap();
        disk.power_cut(seed);
        let found = snapshots(&disk);
        assert!(
            found.contains(&30) && found.contains(&40),
            "seed {seed}: {found:?}"
        );
    }
}

#[test]
fn the_last_two_durable_snapshots_stay_whatever_becomes_of_newer_ones() {
    for seed in 0..50 {
        let disk = SimDisk::new();
        let mut writer = writer(&disk);
        for offset in [10, 20] {
            write_snapshot(&mut writer, offset);
        }
        writer.sync().unwrap();
        for offset in [30, 40, 50] {
            write_snapshot(&mut writer, offset);
        }
        writer.begin_sync();
        disk.power_cut(seed);
        let found = snapshots(&disk);
        assert!(
            found.contains(&10) && found.contains(&20),
            "seed {seed}: {found:?}"
        );
    }
}

/// The segments before it may be gone, and recovery takes no newer one.
#[test]
fn the_newest_snapshot_from_before_the_checkpoint_stays_however_many_follow() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    for offset in [10, 20] {
        write_snapshot(&mut writer, offset);
    }
    writer.checkpointed(25);
    for offset in [30, 40, 50] {
        write_snapshot(&mut writer, offset);
        writer.sync().unwrap();
    }
    assert_eq!(snapshots(&disk), [20, 30, 40, 50]);
    assert_eq!(writer.producers_known_below(0), 20);
    assert_eq!(writer.producers_known_below(45), 40);
    writer.checkpointed(50);
    writer.sync().unwrap();
    assert_eq!(snapshots(&disk), [40, 50]);
    assert_eq!(writer.producers_known_below(0), 50);
}

#[test]
fn a_snapshot_is_not_known_to_stay_before_it_is_durable() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    write_snapshot(&mut writer, 10);
    writer.sync().unwrap();
    write_snapshot(&mut writer, 20);
    assert_eq!(writer.producers_known_below(100), 10);
    writer.begin_sync();
    assert_eq!(writer.producers_known_below(100), 10);
    writer.finish_sync().unwrap();
    assert_eq!(writer.producers_known_below(100), 20);
}

/// Written over it would be torn by a power cut; removed as the older of two it would take both along.
#[test]
fn a_snapshot_of_the_same_offset_is_written_once() {
    for seed in 0..50 {
        let disk = SimDisk::new();
        let mut writer = writer(&disk);
        write_snapshot(&mut writer, 10);
        writer.sync().unwrap();
        write_snapshot(&mut writer, 10);
        write_snapshot(&mut writer, 20);
        writer.sync().unwrap();
        disk.power_cut(seed);
        assert_eq!(snapshots(&disk), [10, 20], "seed {seed}");
    }
}

/// A killed process may have written it, and synced nothing.
#[test]
fn a_snapshot_that_a_killed_process_left_is_not_known_to_stay_before_the_next_sync() {
    let disk = SimDisk::new();
    let mut left = writer(&disk);
    write_snapshot(&mut left, 10);
    let mut writer = writer(&disk);
    writer.known_snapshots(vec![10], [None; 2], 50, false);
    assert_eq!(writer.producers_known_below(100), 0);
    writer.sync().unwrap();
    assert_eq!(writer.producers_known_below(100), 10);
    disk.power_cut(DROP_ALL);
    assert_eq!(snapshots(&disk), [10]);
}
