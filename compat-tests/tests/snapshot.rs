//! `ottla snapshot` where things go wrong: killed in the middle, twice at once, on a full disk, by another user; and a copy of
//! a directory whose broker was stopped.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use compat_tests::broker_process::ottla_binary;
use compat_tests::records::{batch, create_topic, produce};
use compat_tests::toolchain::skip;
use compat_tests::{BrokerKind, BrokerProcess, RawClient, cluster};
use tempfile::TempDir;

const TOPIC: &str = "orders";
const BATCHES: usize = 48;
const BATCH_BYTES: usize = 900_000;
/// How often a snapshot may be done before it could be disturbed.
const TRIES: usize = 50;
const LIMIT: Duration = Duration::from_secs(60);
const MANIFEST: &str = "ottla-snapshot.json";
const NOBODY: u32 = 65_534;

/// A broker with something to copy, and a place for the copies.
struct World {
    broker: BrokerProcess,
    places: TempDir,
    made: usize,
}

impl World {
    fn new() -> Result<Option<Self>> {
        if BrokerKind::from_env()? == BrokerKind::Kafka {
            skip("snapshots are Ottla's own");
            return Ok(None);
        }
        if cluster::leaves_out("snapshot") {
            return Ok(None);
        }
        let world = Self {
            broker: BrokerProcess::start_with(&[("ottla.durability", "os")])?,
            places: tempfile::tempdir()?,
            made: 0,
        };
        let mut client = RawClient::connect(world.broker.address())?;
        create_topic(&mut client, TOPIC, 1)?;
        let records = batch(&[&vec![7; BATCH_BYTES][..]])?.freeze();
        for _ in 0..BATCHES {
            append(&mut client, records.clone())?;
        }
        Ok(Some(world))
    }

    /// A place that is not there yet.
    fn place(&mut self) -> PathBuf {
        self.made += 1;
        self.places.path().join(self.made.to_string())
    }

    fn begin(&self, to: &Path) -> Result<Child> {
        Ok(snapshot(self.broker.data_dir(), to)?.spawn()?)
    }

    fn serves(&mut self) -> Result<()> {
        self.broker.ensure_running()?;
        let mut client = RawClient::connect(self.broker.address())?;
        append(&mut client, batch(&[b"more"])?.freeze())
    }

    /// A snapshot that nothing disturbs is whole.
    fn makes_a_whole_one(&mut self) -> Result<()> {
        let to = self.place();
        let made = self.begin(&to)?.wait_with_output()?;
        ensure!(made.status.success(), "{}", text(&made));
        let verified = ottla(&["snapshot".as_ref(), "--verify".as_ref(), &to])?;
        ensure!(verified.status.success(), "{}", text(&verified));
        ensure!(
            !self
                .broker
                .data_dir()
                .join(".ottla-snapshot-staging")
                .exists()
        );
        Ok(())
    }

    /// Nothing takes it for a whole one.
    fn is_not_whole(&mut self, to: &Path) -> Result<()> {
        let data = self.place();
        let attempts: [&[&Path]; 3] = [
            &["snapshot".as_ref(), "--verify".as_ref(), to],
            &["restore".as_ref(), to, "--data-dir".as_ref(), &data],
            &[
                "--listen".as_ref(),
                "127.0.0.1:0".as_ref(),
                "--data-dir".as_ref(),
                to,
            ],
        ];
        for arguments in attempts {
            let refused = ottla(arguments)?;
            ensure!(!refused.status.success(), "{arguments:?} takes it");
            ensure!(text(&refused).contains("snapshot"), "{}", text(&refused));
        }
        Ok(())
    }
}

fn append(client: &mut RawClient, records: Bytes) -> Result<()> {
    let (error, _) = produce(client, TOPIC, 0, records)?;
    ensure!(error == 0, "Produce: error {error}");
    Ok(())
}

fn snapshot(data: PathBuf, to: &Path) -> Result<Command> {
    let mut command = Command::new(ottla_binary()?);
    command.arg("snapshot").arg(to).arg("--data-dir").arg(data);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn ottla(arguments: &[&Path]) -> Result<Output> {
    let mut command = Command::new(ottla_binary()?);
    command.args(arguments).stdin(Stdio::null());
    Ok(command.output()?)
}

fn text(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Waits until the broker writes there. Says whether it has not come to the end yet.
fn is_under_way(to: &Path, command: &mut Child) -> Result<bool> {
    let deadline = Instant::now() + LIMIT;
    while !to.join(MANIFEST).exists() {
        if command.try_wait()?.is_some() {
            return Ok(false);
        }
        ensure!(Instant::now() < deadline, "no snapshot begins");
        std::thread::yield_now();
    }
    Ok(command.try_wait()?.is_none())
}

#[test]
fn a_command_that_is_killed_leaves_nothing_that_is_taken_for_a_snapshot() -> Result<()> {
    let Some(mut world) = World::new()? else {
        return Ok(());
    };
    for _ in 0..TRIES {
        let to = world.place();
        let mut command = world.begin(&to)?;
        let is_under_way = is_under_way(&to, &mut command)?;
        command.kill()?;
        command.wait()?;
        if !is_under_way {
            continue;
        }
        // The broker notices it in its own time; while it copies, another is refused.
        let deadline = Instant::now() + LIMIT;
        loop {
            let next = world.place();
            let made = world.begin(&next)?.wait_with_output()?;
            if made.status.success() {
                break;
            }
            ensure!(text(&made).contains("another snapshot"), "{}", text(&made));
            ensure!(Instant::now() < deadline, "the first one does not end");
        }
        world.serves()?;
        world.makes_a_whole_one()?;
        // It was whole before the broker could notice, or it is gone.
        if to.exists() {
            let verified = ottla(&["snapshot".as_ref(), "--verify".as_ref(), &to])?;
            ensure!(verified.status.success(), "{}", text(&verified));
        }
        return Ok(());
    }
    anyhow::bail!("no snapshot lasted long enough to be killed")
}

#[test]
fn a_broker_that_is_killed_leaves_a_snapshot_that_says_it_is_not_whole() -> Result<()> {
    let Some(mut world) = World::new()? else {
        return Ok(());
    };
    for _ in 0..TRIES {
        let to = world.place();
        let mut command = world.begin(&to)?;
        let is_under_way = is_under_way(&to, &mut command)?;
        world.broker.kill9()?;
        let ended = command.wait_with_output()?;
        world.broker.restart()?;
        if !is_under_way || ended.status.success() {
            continue;
        }
        ensure!(text(&ended).contains("hung up"), "{}", text(&ended));
        world.is_not_whole(&to)?;
        world.serves()?;
        return world.makes_a_whole_one();
    }
    anyhow::bail!("no snapshot lasted long enough to be broken off")
}

#[test]
fn of_two_snapshots_at_once_one_is_refused_by_name() -> Result<()> {
    let Some(mut world) = World::new()? else {
        return Ok(());
    };
    for _ in 0..TRIES {
        let (one, other) = (world.place(), world.place());
        let commands = [world.begin(&one)?, world.begin(&other)?];
        let [one, other] = commands.map(Child::wait_with_output);
        let (one, other) = (one?, other?);
        if one.status.success() && other.status.success() {
            // One after the other.
            continue;
        }
        let refused = if one.status.success() { other } else { one };
        let text = text(&refused);
        ensure!(text.contains("another snapshot is being made"), "{text}");
        world.serves()?;
        return world.makes_a_whole_one();
    }
    anyhow::bail!("no two snapshots met")
}

/// Unmounts it when dropped.
struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The directory is removed with its parent; if it is busy, that says so.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_too_small_is_told_and_the_broker_goes_on() -> Result<()> {
    let Some(mut world) = World::new()? else {
        return Ok(());
    };
    let disk = world.place();
    std::fs::create_dir(&disk)?;
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=80m", "none"]);
    match mount.arg(&disk).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => {}
        _ => {
            skip("no file system can be mounted");
            return Ok(());
        }
    }
    let disk = SmallDisk(disk);
    let to = disk.0.join("snapshot");
    let refused = world.begin(&to)?.wait_with_output()?;
    ensure!(!refused.status.success());
    ensure!(text(&refused).contains("free"), "{}", text(&refused));
    ensure!(!to.exists(), "what was written is removed");
    world.serves()?;
    world.makes_a_whole_one()
}

#[test]
fn another_user_gets_no_snapshot() -> Result<()> {
    let Some(mut world) = World::new()? else {
        return Ok(());
    };
    if !rustix::process::geteuid().is_root() {
        skip("only root can become another user");
        return Ok(());
    }
    let to = world.place();
    let mut command = snapshot(world.broker.data_dir(), &to)?;
    let refused = match command.uid(NOBODY).gid(NOBODY).output() {
        Ok(refused) => refused,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            skip("another user may not run the binary");
            return Ok(());
        }
        Err(error) => return Err(error).context("the command does not start"),
    };
    ensure!(!refused.status.success());
    let text = text(&refused);
    ensure!(
        text.contains("only the user that the broker runs as"),
        "{text}"
    );
    world.serves()?;
    world.makes_a_whole_one()
}

#[test]
fn a_copy_of_a_directory_whose_broker_was_stopped_starts() -> Result<()> {
    let Some(mut world) = World::new()? else {
        return Ok(());
    };
    world.broker.terminate()?;
    let to = world.place();
    // There is nobody to ask.
    let refused = world.begin(&to)?.wait_with_output()?;
    ensure!(!refused.status.success(), "{}", text(&refused));
    ensure!(!to.exists());
    let copied = Command::new("cp")
        .arg("-a")
        .arg(world.broker.data_dir())
        .arg(&to)
        .status()?;
    ensure!(copied.success());
    // What is gone is taken from the copy.
    std::fs::remove_dir_all(world.broker.data_dir())?;
    std::fs::rename(&to, world.broker.data_dir())?;
    world.broker.restart()?;
    let mut client = RawClient::connect(world.broker.address())?;
    let (error, base_offset) = produce(&mut client, TOPIC, 0, batch(&[b"more"])?.freeze())?;
    assert_eq!((error, base_offset), (0, BATCHES as i64));
    Ok(())
}
