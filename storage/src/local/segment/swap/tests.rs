use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::env::fs::{DirEntry, File, LockGuard};
use crate::record::{BatchBuilder, batch};

/// A directory that survives a crash in part: what was not synced is there or not, each operation for itself.
#[derive(Debug, Default)]
struct CrashFs(Mutex<Names>);

#[derive(Debug, Default, Clone)]
struct Names {
    durable: HashMap<String, Arc<Vec<u8>>>,
    pending: Vec<Operation>,
    current: HashMap<String, Arc<Vec<u8>>>,
    /// Operations until the process dies.
    left: Option<usize>,
}

#[derive(Debug, Clone)]
enum Operation {
    Create(String, Arc<Vec<u8>>),
    Rename(String, String),
    Remove(String),
}

impl Operation {
    fn apply(&self, names: &mut HashMap<String, Arc<Vec<u8>>>) -> bool {
        match self {
            Self::Create(name, content) => {
                names.insert(name.clone(), Arc::clone(content));
                true
            }
            Self::Remove(name) => names.remove(name).is_some(),
            Self::Rename(from, to) => match names.remove(from) {
                Some(file) => {
                    names.insert(to.clone(), file);
                    true
                }
                None => false,
            },
        }
    }
}

impl Names {
    fn step(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or(io::ErrorKind::Interrupted)?;
        }
        Ok(())
    }

    fn apply(&mut self, operation: Operation) -> io::Result<()> {
        self.step()?;
        if !operation.apply(&mut self.current) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.pending.push(operation);
        Ok(())
    }

    /// The process ends, or the power goes: then what was not synced is there or not.
    fn end(&mut self, random: &mut StdRng) {
        self.left = None;
        if random.random_bool(0.3) {
            return;
        }
        for operation in std::mem::take(&mut self.pending) {
            if random.random() {
                operation.apply(&mut self.durable);
            }
        }
        self.current = self.durable.clone();
    }
}

#[derive(Debug)]
struct Content(Arc<Vec<u8>>);

impl File for Content {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let rest = self.0.get(position as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn write_at(&self, _: &[&[u8]], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl Fs for CrashFs {
    fn space(&self, path: &Path) -> io::Result<crate::env::fs::Space> {
        crate::env::fs::RealFs.space(path)
    }

    fn open(&self, path: &Path, _: Access) -> io::Result<Arc<dyn File>> {
        let names = self.0.lock();
        let file = names.current.get(&name(path));
        Ok(Arc::new(Content(Arc::clone(
            file.ok_or(io::ErrorKind::NotFound)?,
        ))))
    }

    fn list(&self, _: &Path) -> io::Result<Vec<DirEntry>> {
        let names = self.0.lock();
        let entry = |name: &String| DirEntry {
            name: name.clone(),
            is_dir: false,
        };
        Ok(names.current.keys().map(entry).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.lock().apply(Operation::Rename(name(from), name(to)))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.lock().apply(Operation::Remove(name(path)))
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut names = self.0.lock();
        names.step()?;
        names.durable = names.current.clone();
        names.pending.clear();
        Ok(())
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove_dir_all(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<LockGuard>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn log_of(offsets: &[i64], what: &str) -> Vec<u8> {
    let mut log = Vec::new();
    for offset in offsets {
        let mut builder = BatchBuilder::new();
        builder.append(0, Some(what.as_bytes()), None, &[]);
        let mut bytes = builder.build().unwrap().to_vec();
        batch::set_offset_and_epoch(&mut bytes, *offset, 0).unwrap();
        log.extend(bytes);
    }
    log
}

type Files = HashMap<String, Arc<Vec<u8>>>;

/// Three segments of two batches each, and others around them that must stay.
fn old_files() -> Files {
    let mut files = Files::new();
    for base in [0, 10, 20, 30, 40] {
        for part in PARTS {
            // Only some segments have aborted transactions.
            if part != "txnindex" || base <= 20 {
                let content = match part {
                    "log" => log_of(&[base, base + 9], "old"),
                    _ => format!("old {part}").into_bytes(),
                };
                files.insert(
                    name(&path(Path::new(""), base, part, "")),
                    Arc::new(content),
                );
            }
        }
    }
    files.insert("00000000000000000010.snapshot".into(), Arc::default());
    files.insert("leader-epoch-checkpoint".into(), Arc::default());
    files
}

/// The files of the segment that takes the place of 10, 20 and 30.
fn cleaned_files(suffix: &str, has_aborted: bool) -> Files {
    PARTS
        .into_iter()
        .filter(|part| *part != "txnindex" || has_aborted)
        .map(|part| {
            let content = match part {
                "log" => log_of(&[19, 39], "new"),
                _ => format!("new {part}").into_bytes(),
            };
            (
                name(&path(Path::new(""), 10, part, suffix)),
                Arc::new(content),
            )
        })
        .collect()
}

fn new_files(has_aborted: bool) -> Files {
    let mut files = old_files();
    for base in [10, 20, 30] {
        for part in PARTS {
            files.remove(&name(&path(Path::new(""), base, part, "")));
        }
    }
    files.extend(cleaned_files("", has_aborted));
    files
}

fn written(has_aborted: bool) -> CrashFs {
    let mut names = Names {
        durable: old_files(),
        current: old_files(),
        ..Names::default()
    };
    for (name, content) in cleaned_files(CLEANED, has_aborted) {
        names.apply(Operation::Create(name, content)).unwrap();
    }
    CrashFs(Mutex::new(names))
}

const DIR: &str = "/log";

#[test]
fn a_replacement_without_a_crash_leaves_the_new_files_only() {
    for has_aborted in [false, true] {
        let fs = written(has_aborted);
        replace(&fs, Path::new(DIR), 10, &[10, 20, 30]).unwrap();
        assert_eq!(fs.0.lock().durable, new_files(has_aborted));
        assert!(!recover(&fs, Path::new(DIR)).unwrap());
        assert_eq!(fs.0.lock().durable, new_files(has_aborted));
    }
}

#[test]
fn what_is_discarded_leaves_the_old_files_only() {
    let fs = written(true);
    discard(&fs, Path::new(DIR), 10).unwrap();
    assert_eq!(fs.0.lock().durable, old_files());
}

#[test]
fn after_a_crash_at_any_step_and_more_while_recovering_either_the_old_or_the_new_files_are_there() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut old, mut new) = (0, 0);
    for run in 0..3_000 {
        let has_aborted = random.random();
        let fs = written(has_aborted);
        fs.0.lock().left = Some(run % 30);
        let replaced = replace(&fs, Path::new(DIR), 10, &[10, 20, 30]);
        fs.0.lock().end(&mut random);
        for _ in 0..random.random_range(0..3) {
            fs.0.lock().left = Some(random.random_range(0..30));
            let _ = recover(&fs, Path::new(DIR));
            fs.0.lock().end(&mut random);
        }
        recover(&fs, Path::new(DIR)).unwrap();
        let found = fs.0.lock().current.clone();
        if found == old_files() {
            assert!(replaced.is_err());
            old += 1;
        } else {
            let new_files = new_files(has_aborted);
            let differs = |name: &&String| found.get(*name) != new_files.get(*name);
            let names = found.keys().chain(new_files.keys());
            let differing: Vec<&String> = names.filter(differs).collect();
            assert!(differing.is_empty(), "run {run}: {differing:?}");
            new += 1;
        }
    }
    assert!(old > 300 && new > 300, "{old} old, {new} new");
}

#[test]
fn a_cleaned_segment_without_batches_replaces_the_one_of_its_name() {
    let fs = written(false);
    {
        let mut names = fs.0.lock();
        for part in PARTS {
            names
                .current
                .remove(&format!("00000000000000000010.{part}.cleaned"));
        }
        let swap = format!("00000000000000000010.log.{SWAP}");
        names.current.insert(swap, Arc::default());
        names.durable = names.current.clone();
    }
    assert!(recover(&fs, Path::new(DIR)).unwrap());
    let mut expected = old_files();
    for part in PARTS {
        expected.remove(&format!("00000000000000000010.{part}"));
    }
    expected.insert("00000000000000000010.log".into(), Arc::default());
    assert_eq!(fs.0.lock().durable, expected);
}

#[test]
fn a_swap_file_that_is_no_log_stops_recovery_and_deletes_nothing() {
    let fs = written(false);
    {
        let mut names = fs.0.lock();
        names.current.retain(|name, _| !name.ends_with(CLEANED));
        let swap = format!("00000000000000000010.log.{SWAP}");
        names.current.insert(swap, Arc::new(vec![7; 100]));
        names.durable = names.current.clone();
    }
    let before = fs.0.lock().durable.clone();
    let error = recover(&fs, Path::new(DIR)).unwrap_err();
    assert!(error.to_string().contains("log.swap at 0"), "{error}");
    assert_eq!(fs.0.lock().current, before);
}

#[test]
fn only_names_of_segment_files_are_taken_for_them() {
    assert_eq!(parse("00000000000000000010.log"), Some((10, "log", "")));
    assert_eq!(
        parse("00000000000000000010.timeindex.swap"),
        Some((10, "timeindex", SWAP))
    );
    for other in [
        "10.log",
        "00000000000000000010.snapshot",
        "0000000000000000001x.log",
        "+0000000000000000010.log",
        "99999999999999999999.log",
        "leader-epoch-checkpoint",
        "",
    ] {
        assert_eq!(parse(other), None, "{other}");
    }
}
