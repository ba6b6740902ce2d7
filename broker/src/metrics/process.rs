//! The process as the system sees it. Where there is no `/proc`, there is nothing to tell.

use std::fs;

use rustix::param;

/// The process at one moment.
#[derive(Debug)]
pub struct ProcessStats {
    pub resident_bytes: u64,
    pub cpu_seconds: f64,
    pub open_fds: u64,
}

impl ProcessStats {
    pub fn read() -> Option<Self> {
        let memory = fs::read_to_string("/proc/self/statm").ok()?;
        let resident_pages: u64 = memory.split(' ').nth(1)?.parse().ok()?;
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name stands in parentheses and may hold anything; utime and stime are the 12th and 13th after it.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<u64>().ok();
        let cpu_ticks = ticks()? + ticks()?;
        Some(Self {
            resident_bytes: resident_pages * param::page_size() as u64,
            cpu_seconds: cpu_ticks as f64 / param::clock_ticks_per_second() as f64,
            open_fds: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
        })
    }
}
