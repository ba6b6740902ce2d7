//! The simulated disk forgets what a real one may forget, and nothing else.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::path::Path;

use storage::env::fs::{Access, Fs, read_all};
use storage::testing::sim_disk::SimDisk;

const SEEDS: u64 = 60;

/// What is found in `/dir/file` after power cuts of many seeds; none where it is gone.
fn found(run: impl Fn(&dyn Fs)) -> HashSet<Option<Vec<u8>>> {
    (0..SEEDS)
        .map(|seed| {
            let disk = SimDisk::new();
            run(&disk.boot(None));
            disk.power_cut(seed);
            read_all(&disk.boot(None), Path::new("/dir/file")).ok()
        })
        .collect()
}

/// A file of one block of zeros, durable with its name.
fn prepare(fs: &dyn Fs) {
    fs.create_dir_all(Path::new("/dir")).unwrap();
    let file = fs.open(Path::new("/dir/file"), Access::Write).unwrap();
    file.write_at(&[&[0; 1024]], 0).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("/dir")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
}

#[test]
fn what_was_synced_with_its_name_is_always_there() {
    assert_eq!(found(prepare), HashSet::from([Some(vec![0; 1024])]));
}

#[test]
fn a_file_without_a_synced_name_may_be_gone() {
    let found = found(|fs| {
        prepare(fs);
        let to = Path::new("/dir/file");
        fs.remove_file(to).unwrap();
        let file = fs.open(to, Access::Write).unwrap();
        file.write_at(&[b"new"], 0).unwrap();
        file.sync_data().unwrap();
    });
    let expected = [Some(vec![0; 1024]), Some(b"new".to_vec()), None];
    assert_eq!(found, HashSet::from(expected));
}

#[test]
fn each_unsynced_sector_is_kept_dropped_or_torn_by_itself() {
    let found = found(|fs| {
        prepare(fs);
        let file = fs.open(Path::new("/dir/file"), Access::Write).unwrap();
        file.write_at(&[&[1; 1024]], 0).unwrap();
    });
    let ends = |first: u8, last: u8| {
        found.iter().flatten().any(|bytes| {
            assert_eq!(bytes.len(), 1024);
            bytes[..512].iter().all(|byte| *byte == first)
                && bytes[512..].iter().all(|byte| *byte == last)
        })
    };
    assert!(ends(0, 0) && ends(0, 1) && ends(1, 0) && ends(1, 1));
    assert!(found.len() > 4, "none was torn");
}

#[test]
fn a_rename_is_whole_or_not_at_all() {
    let found = found(|fs| {
        prepare(fs);
        let temporary = Path::new("/dir/temporary");
        let file = fs.open(temporary, Access::Write).unwrap();
        file.write_at(&[b"new"], 0).unwrap();
        file.sync_data().unwrap();
        fs.rename(temporary, Path::new("/dir/file")).unwrap();
    });
    let expected = [Some(vec![0; 1024]), Some(b"new".to_vec())];
    assert_eq!(found, HashSet::from(expected));
}

#[test]
fn a_process_that_has_ended_changes_nothing_any_more() {
    let disk = SimDisk::new();
    let old = disk.boot(None);
    prepare(&old);
    let file = old.open(Path::new("/dir/file"), Access::Write).unwrap();
    disk.kill();
    let new = disk.boot(None);
    assert!(file.write_at(&[b"late"], 0).is_err());
    assert!(old.list(Path::new("/dir")).is_err());
    assert_eq!(read_all(&new, Path::new("/dir/file")).unwrap(), [0; 1024]);
}
