//! What the figures were measured on, and what its disk can do at best.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Resource, getrlimit};
use tempfile::NamedTempFile;

use super::usage::{Latency, sleep_until, wake_on_time};

/// How long the disk is written to in each manner.
const PROBE: Duration = Duration::from_secs(2);
/// Long enough for the one in a thousand to be more than a few.
const PACED_PROBE: Duration = Duration::from_secs(10);
const PROBE_FILE_BYTES: u64 = 256 << 20;
/// What direct I/O has to be aligned to.
const ALIGNMENT: usize = 4096;

/// How a probe writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// The next as soon as one is done.
    OnAndOn,
    /// One every millisecond, as `latency` has its records; measured from when it was due, too.
    Paced,
    /// All of it a second time beside it, without a sync: to the segments.
    Twice,
}

/// The writes of a write-ahead log by itself, with single records and busy, and what becomes of them in company.
const WRITES: [(&str, usize, Manner); 5] = [
    ("4 KiB at a time", 4 << 10, Manner::OnAndOn),
    ("4 KiB every millisecond", 4 << 10, Manner::Paced),
    ("512 KiB at a time", 512 << 10, Manner::OnAndOn),
    (
        "512 KiB at a time, all of it a second time beside it",
        512 << 10,
        Manner::Twice,
    ),
    ("4 MiB at a time", 4 << 20, Manner::OnAndOn),
];
/// What is written the second time, without a sync.
const BESIDE_BYTES: usize = 1 << 20;

/// Lines that say which machine, which system and which commit this is, and how fast its disk is: no
/// broker that answers from stable media is faster.
///
/// # Errors
/// The temporary directory cannot be written, or not directly.
pub fn describe() -> Result<Vec<String>> {
    let field = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.split_once(':'));
        value.map_or_else(|| "?".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let output = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output();
        output.map_or_else(
            |_| "?".to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let file_system = std::env::temp_dir();
    let file_system = output("stat", &["-f", "-c", "%T", &file_system.to_string_lossy()]);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut lines = vec![
        format!("date: {}", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        format!(
            "commit: {}",
            output("git", &["rev-parse", "--short", "HEAD"])
        ),
        format!(
            "processor: {}, {cores} cores",
            field("/proc/cpuinfo", "model name")
        ),
        format!("memory: {}", field("/proc/meminfo", "MemTotal")),
        format!("system: {}, {file_system}", output("uname", &["-sr"])),
        format!(
            "load average before: {}",
            load.split(' ').next().unwrap_or("?")
        ),
        format!(
            "file descriptors a broker may have: {}",
            getrlimit(Resource::Nofile)
                .current
                .map_or_else(|| "any number".to_owned(), |limit| limit.to_string())
        ),
    ];
    for (name, size_bytes, manner) in WRITES {
        lines.push(format!(
            "disk, direct and synchronous, {name}: {}",
            probe(size_bytes, manner)?
        ));
    }
    Ok(lines)
}

/// Overwrites a file with synchronous writes of one size.
fn probe(size_bytes: usize, manner: Manner) -> Result<String> {
    let synchronous = ProbeFile::new(size_bytes, OFlags::DSYNC)?;
    let beside = (manner == Manner::Twice)
        .then(|| ProbeFile::new(BESIDE_BYTES, OFlags::empty()))
        .transpose()?;
    let (written_bytes, done) = (&AtomicU64::new(0), &AtomicBool::new(false));
    let (latency, took) = thread::scope(|scope| {
        let follow = |file| scope.spawn(move || write_beside(file, written_bytes, done));
        let follower = beside.as_ref().map(follow);
        let writer = scope.spawn(|| write_synchronously(&synchronous, manner, written_bytes));
        let written = writer.join();
        done.store(true, Ordering::Relaxed);
        let panicked = |_| anyhow!("a probe of the disk panicked");
        if let Some(follower) = follower {
            follower.join().map_err(panicked)??;
        }
        written.map_err(panicked)?
    })?;
    let bytes = latency.count() as f64 * size_bytes as f64;
    let quantiles = [0.5, 0.99, 0.999];
    let [p50, p99, p999] = quantiles.map(|quantile| latency.quantile_ms(quantile));
    let throughput = bytes / 1e6 / took.as_secs_f64();
    Ok(format!(
        "p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, {throughput:.1} MB/s"
    ))
}

/// Writes until the probe is over, and says how long each write and all of them took.
fn write_synchronously(
    file: &ProbeFile,
    manner: Manner,
    written_bytes: &AtomicU64,
) -> Result<(Latency, Duration)> {
    let length = match manner {
        Manner::Paced => {
            wake_on_time()?;
            PACED_PROBE
        }
        Manner::OnAndOn | Manner::Twice => PROBE,
    };
    let mut latency = Latency::new()?;
    let start = Instant::now();
    let mut at = 0;
    for number in 0.. {
        let due = match manner {
            Manner::Paced => start + Duration::from_millis(number),
            Manner::OnAndOn | Manner::Twice => Instant::now(),
        };
        if due - start > length {
            break;
        }
        sleep_until(due);
        file.write(at)?;
        latency.record(due.elapsed());
        at += file.size_bytes as u64;
        written_bytes.store(at, Ordering::Relaxed);
    }
    Ok((latency, start.elapsed()))
}

/// Writes as much as was written synchronously, a little behind it.
fn write_beside(file: &ProbeFile, written_bytes: &AtomicU64, done: &AtomicBool) -> Result<()> {
    let mut at = 0;
    while !done.load(Ordering::Relaxed) {
        if at + BESIDE_BYTES as u64 <= written_bytes.load(Ordering::Relaxed) {
            file.write(at)?;
            at += BESIDE_BYTES as u64;
        } else {
            thread::sleep(Duration::from_micros(50));
        }
    }
    Ok(())
}

/// A file with all its blocks, and what is written to it.
struct ProbeFile {
    file: File,
    buffer: Vec<u8>,
    size_bytes: usize,
    /// Removed when it is dropped.
    _named: NamedTempFile,
}

impl ProbeFile {
    fn new(size_bytes: usize, flags: OFlags) -> Result<Self> {
        let named = NamedTempFile::new()?;
        for at in (0..PROBE_FILE_BYTES).step_by(1 << 20) {
            named.as_file().write_all_at(&[1; 1 << 20], at)?;
        }
        named.as_file().sync_all()?;
        let flags = OFlags::WRONLY | OFlags::DIRECT | flags;
        Ok(Self {
            file: File::from(open(named.path(), flags, Mode::empty())?),
            buffer: vec![0x5a; size_bytes + ALIGNMENT],
            size_bytes,
            _named: named,
        })
    }

    /// Writes at a position that starts over with each file's end.
    fn write(&self, at: u64) -> Result<()> {
        let start = self.buffer.as_ptr().align_offset(ALIGNMENT);
        let aligned = self.buffer.get(start..start + self.size_bytes);
        let aligned = aligned.context("the buffer has room to align")?;
        Ok(self.file.write_all_at(aligned, at % PROBE_FILE_BYTES)?)
    }
}
