//! Memory and CPU of a process, from /proc.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Clock ticks a second in /proc/PID/stat: USER_HZ, 100 on every Linux that Rust's std supports.
const TICKS_PER_SECOND: u64 = 100;

/// Resident memory of process `pid`, in bytes.
///
/// # Errors
/// The process is gone, or there is no /proc.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.trim().strip_suffix(" kB"))
        .context("no VmRSS in /proc/PID/status")?;
    Ok(kib.trim().parse::<u64>()? * 1024)
}

/// CPU time that process `pid` has used, user and system, in steps of 10 ms.
///
/// # Errors
/// The process is gone, or there is no /proc.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command name, the second field, may hold blanks; everything after its ')' does not.
    let (_, rest) = stat.rsplit_once(')').context("no ')' in /proc/PID/stat")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks = |index: usize| -> Result<u64> {
        let field = fields.get(index).context("/proc/PID/stat is too short")?;
        Ok(field.parse()?)
    };
    // utime and stime are fields 14 and 15, counted from 1; the first after ')' is field 3.
    Ok(Duration::from_millis(
        (ticks(11)? + ticks(12)?) * 1000 / TICKS_PER_SECOND,
    ))
}
