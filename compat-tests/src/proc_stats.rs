//! Memory and CPU of a process, from /proc.

use std::fs;
use std::io;
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
    let [own, _] = cpu_times(pid)?;
    Ok(own)
}

/// CPU time that process `pid` and all that it has started have used, those included that are gone and were waited for.
///
/// # Errors
/// The process is gone, or there is no /proc.
pub fn tree_cpu_time(pid: u32) -> Result<Duration> {
    loop {
        let [own, gone] = cpu_times(pid)?;
        let children = children_cpu_time(pid)?;
        // A child that was waited for meanwhile is now among those that are gone, and may be in neither sum.
        if cpu_times(pid)?[1] == gone {
            return Ok(own + gone + children);
        }
    }
}

/// Of the children that are there, and of all that they have started.
fn children_cpu_time(pid: u32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let children = match fs::read_to_string(task?.path().join("children")) {
            // A thread may end meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            children => children?,
        };
        for child in children.split_ascii_whitespace() {
            // As may a child; then its parent has its time from now on.
            sum += tree_cpu_time(child.parse()?).unwrap_or_default();
        }
    }
    Ok(sum)
}

/// Of the process itself, and of its children that it has waited for.
fn cpu_times(pid: u32) -> Result<[Duration; 2]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command name, the second field, may hold blanks; everything after its ')' does not.
    let (_, rest) = stat.rsplit_once(')').context("no ')' in /proc/PID/stat")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks = |index: usize| -> Result<u64> {
        let field = fields.get(index).context("/proc/PID/stat is too short")?;
        Ok(field.parse()?)
    };
    let time = |ticks: u64| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND);
    // utime, stime, cutime and cstime are fields 14 to 17, counted from 1; the first after ')' is field 3.
    Ok([time(ticks(11)? + ticks(12)?), time(ticks(13)? + ticks(14)?)])
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_charged_for_its_children_while_they_are_there_and_afterwards() -> Result<()> {
        // Each burns time in a process of its own; the first is gone when it says so, the second is not.
        const BURN: &str = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo burnt";
        let script = format!("sh -c '{BURN}'; sh -c '{BURN}; read end'");
        let mut shell = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = shell.stdout.take().context("it is piped")?;
        let mut charged = Vec::new();
        for line in BufReader::new(said).lines().take(2) {
            line?;
            charged.push(tree_cpu_time(shell.id())?);
        }
        let own = cpu_time(shell.id())?;
        drop(shell.stdin.take());
        shell.wait()?;
        assert!(own < charged[0] / 2, "{own:?} of {charged:?}");
        assert!(charged[1] > charged[0] * 3 / 2, "{charged:?}");
        Ok(())
    }
}
