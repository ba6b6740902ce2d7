//! A process with a stock client in it that does what it is told.
//!
//! A command is a line of JSON to its stdin, the answer is one from its stdout: `{}` or what was asked for, or
//! `{"error": text, "abort": true}` if a transaction is not committed and can be aborted. The commands:
//!
//! | do | with | gives |
//! |---|---|---|
//! | `producer` | `transactional_id` or null, `timeout_ms`, Java: `config` | a new idempotent producer, initialized |
//! | `begin`, `commit`, `abort` | | |
//! | `send` | `records`: `[topic, partition, value]`, Java: `between_ms` | `acks`: an offset, -1 if unknown, or an error, each |
//! | `send_offsets`, `commit_offsets` | `offsets`: `[topic, partition, next]` | |
//! | `consumer` | `group`, `protocol`, `committed`; `topic` to subscribe to or `partitions` to assign, or null | a new consumer |
//! | `assign` | `positions`: `[topic, partition, offset]` | |
//! | `poll` | `count`, `ms` | `events`: `["assigned", [[topic, partition, offset or null]]]`, `["record", topic, partition, offset, value]` |
//!
//! An assignment takes the place of the one before. What was read before it may be another member's, and is not to be processed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

use crate::python::Python;
use crate::{go, java};

/// Longer than any client takes to give up.
const PATIENCE: Duration = Duration::from_secs(100);

/// A client library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Library {
    /// confluent-kafka for Python, which is librdkafka.
    Librdkafka,
    /// Kafka's own.
    Java,
    /// kafka-python.
    KafkaPython,
    /// franz-go.
    FranzGo,
}

impl Library {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Librdkafka,
        Self::Java,
        Self::KafkaPython,
        Self::FranzGo,
    ];

    /// How to start its program, built on first use.
    ///
    /// # Errors
    /// [`crate::Missing`] where its toolchain is missing; what the toolchain says where it does not build.
    pub fn command(self, bootstrap: &str) -> Result<Command> {
        let mut command = match self {
            Self::Librdkafka => Python::with("confluent-kafka", "2.16.1")?
                .command("commanded_confluent_kafka.py", &[]),
            Self::KafkaPython => {
                Python::with("kafka-python", "3.0.12")?.command("commanded_kafka_python.py", &[])
            }
            Self::Java => java::program("commanded", "Commanded")?,
            Self::FranzGo => Command::new(go::program("commanded")?),
        };
        command.arg(bootstrap);
        Ok(command)
    }
}

/// The id of a worker's process, for who wants to kill or pause it; 0 while there is none.
#[derive(Clone, Default)]
pub(super) struct WorkerPid(Arc<AtomicI32>);

impl WorkerPid {
    /// Sends a signal, if there is a process.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.0.load(Ordering::SeqCst)) {
            // It may have ended: that is no less than what was wanted.
            let _ = kill_process(pid, signal);
        }
    }
}

/// The process; killed when dropped.
pub(super) struct Worker {
    library: Library,
    bootstrap: String,
    running: Option<(Child, Receiver<String>)>,
    pid: WorkerPid,
}

impl Worker {
    /// One that starts with its first command.
    pub fn new(library: Library, bootstrap: &str, pid: WorkerPid) -> Self {
        Self {
            library,
            bootstrap: bootstrap.to_owned(),
            running: None,
            pid,
        }
    }

    /// Has it do something; starts it if it does not run. `None`: it has died, or is dead to the world and has been killed.
    ///
    /// # Errors
    /// It cannot be started, or does not speak JSON.
    pub fn call(&mut self, command: &Json) -> Result<Option<Json>> {
        if self.running.is_none() {
            self.start()?;
        }
        let (child, answers) = self.running.as_mut().context("it runs")?;
        let stdin = child.stdin.as_mut().context("stdin is piped")?;
        let said = writeln!(stdin, "{command}").and_then(|()| stdin.flush());
        let answer = said.ok().and_then(|()| answers.recv_timeout(PATIENCE).ok());
        let Some(answer) = answer else {
            self.end();
            return Ok(None);
        };
        let answer: Json =
            serde_json::from_str(&answer).with_context(|| format!("not JSON: {answer}"))?;
        if let Some(error) = answer.get("error") {
            tracing_line(self.library, command, error);
        }
        Ok(Some(answer))
    }

    /// Kills it, without a word to the broker.
    pub fn end(&mut self) {
        self.pid.0.store(0, Ordering::SeqCst);
        if let Some((mut child, _)) = self.running.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn start(&mut self) -> Result<()> {
        let mut command = self.library.command(&self.bootstrap)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if std::env::var_os("WORKLOAD_LOG").is_none() {
            command.stderr(Stdio::null());
        }
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let pid = i32::try_from(child.id())?;
        self.running = Some((child, answers));
        self.pid.0.store(pid, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

/// What clients complain of, for who looks for a fault.
fn tracing_line(library: Library, command: &Json, error: &Json) {
    if std::env::var_os("WORKLOAD_LOG").is_some() {
        let what = command.get("do");
        eprintln!("# {library:?} {}: {error}", what.unwrap_or(&Json::Null));
    }
}
