//! What the figures were measured on, and what its disk can do at best.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Resource, getrlimit};

use super::usage::Latency;

/// How long the disk is written to with each size.
const PROBE: Duration = Duration::from_secs(2);
const PROBE_FILE_BYTES: u64 = 256 << 20;
/// What direct I/O has to be aligned to.
const ALIGNMENT: usize = 4096;
/// A single record's write, and a full one of a write-ahead log.
const WRITE_SIZES: [(&str, usize); 2] = [("4 KiB", 4 << 10), ("4 MiB", 4 << 20)];

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
    for (name, size_bytes) in WRITE_SIZES {
        lines.push(format!(
            "disk, {name} at a time, direct and synchronous: {}",
            probe(size_bytes)?
        ));
    }
    Ok(lines)
}

/// Overwrites a file with synchronous writes of one size.
fn probe(size_bytes: usize) -> Result<String> {
    let buffer = vec![0x5a; size_bytes + ALIGNMENT];
    let start = buffer.as_ptr().align_offset(ALIGNMENT);
    let aligned = buffer
        .get(start..start + size_bytes)
        .context("the buffer has room to align")?;
    let named = tempfile::NamedTempFile::new()?;
    for at in (0..PROBE_FILE_BYTES).step_by(1 << 20) {
        named.as_file().write_all_at(&[1; 1 << 20], at)?;
    }
    named.as_file().sync_all()?;
    let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::DSYNC;
    let file = File::from(open(named.path(), flags, Mode::empty())?);

    let mut latency = Latency::new()?;
    let start = Instant::now();
    for at in (0..PROBE_FILE_BYTES).step_by(size_bytes).cycle() {
        let before = Instant::now();
        if before - start > PROBE {
            break;
        }
        file.write_all_at(aligned, at)?;
        latency.record(before.elapsed());
    }
    let bytes = latency.count() as f64 * size_bytes as f64;
    let [p50, p99] = [0.5, 0.99].map(|quantile| latency.quantile_ms(quantile));
    let throughput = bytes / 1e6 / start.elapsed().as_secs_f64();
    Ok(format!(
        "p50 {p50:.2} ms, p99 {p99:.2} ms, {throughput:.1} MB/s"
    ))
}
