//! A client program under test, started as a user starts it and watched through its output.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::NamedTempFile;

/// A program that writes progress lines and, last, one line of JSON: its result.
///
/// It leads its own process group; the whole group is killed when this is dropped.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    stderr: NamedTempFile,
    deadline: Instant,
}

impl Program {
    /// Starts `command`; it has `limit` from now to end.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command, limit: Duration) -> Result<Self> {
        let stderr = NamedTempFile::new()?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr.reopen()?);
        command.process_group(0);
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            lines,
            seen: Vec::new(),
            stderr,
            deadline: Instant::now() + limit,
        })
    }

    /// Waits for a line that begins with `prefix` and gives the whole line.
    ///
    /// # Errors
    /// The program ends, or its time is up, without that line.
    pub fn wait_for_line(&mut self, prefix: &str) -> Result<String> {
        loop {
            match self.next_line()? {
                Some(line) if line.starts_with(prefix) => return Ok(line),
                Some(_) => {}
                None => bail!("ended without a line {prefix:?}\n{}", self.transcript()),
            }
        }
    }

    /// Lets a program go on that waits for the end of its standard input.
    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until it has ended and gives its last line, the result.
    ///
    /// # Errors
    /// An exit code other than 0, no output, or its time is up; with all that it has written.
    pub fn finish(self) -> Result<String> {
        let mut lines = self.finish_with_lines()?;
        lines.pop().context("there is a last line")
    }

    /// Waits until it has ended and gives all lines of its output, the result last.
    ///
    /// # Errors
    /// As [`Program::finish`].
    pub fn finish_with_lines(mut self) -> Result<Vec<String>> {
        self.close_stdin();
        while self.next_line()?.is_some() {}
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > self.deadline {
                bail!(
                    "closed its output and went on running\n{}",
                    self.transcript()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        if !status.success() {
            bail!("{status}\n{}", self.transcript());
        }
        if self.seen.is_empty() {
            bail!("no result\n{}", self.transcript());
        }
        Ok(std::mem::take(&mut self.seen))
    }

    fn next_line(&mut self) -> Result<Option<String>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.seen.push(line.clone());
                Ok(Some(line))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("its time is up\n{}", self.transcript()),
        }
    }

    /// Everything it has written, the last part of it where that is long.
    pub fn transcript(&self) -> String {
        const LIMIT: usize = 120;
        let stderr = fs::read(self.stderr.path()).unwrap_or_default();
        let stderr = String::from_utf8_lossy(&stderr);
        let stderr: Vec<&str> = stderr.lines().collect();
        format!(
            "stdout:\n{}\nstderr:\n{}",
            self.seen[self.seen.len().saturating_sub(LIMIT)..].join("\n"),
            stderr[stderr.len().saturating_sub(LIMIT)..].join("\n"),
        )
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The group may be gone already; that is what is wanted.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
