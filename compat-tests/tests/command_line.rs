//! The binary as a shell sees it: options, exit codes, one clear line where it cannot start.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use compat_tests::broker_process::{free_port, ottla_binary};
use compat_tests::records::{batch, create_topic, fetch, produce};
use compat_tests::toolchain::skip;
use compat_tests::{BrokerKind, BrokerProcess, RawClient};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

/// `ottla` in a directory of its own.
struct Shell {
    dir: TempDir,
}

/// A started `ottla`; killed when dropped.
struct Running {
    child: Child,
    address: SocketAddr,
}

/// How an `ottla` ended and what it wrote.
struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Shell {
    fn new() -> Result<Option<Self>> {
        if BrokerKind::from_env()? == BrokerKind::Kafka {
            skip("the command line is Ottla's own");
            return Ok(None);
        }
        Ok(Some(Self {
            dir: tempfile::tempdir()?,
        }))
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn spawn(&self, args: &[&str]) -> Result<Child> {
        let temporary = self.dir.path().join("tmp");
        fs::create_dir_all(&temporary)?;
        let mut command = Command::new(ottla_binary()?);
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("TMPDIR", temporary);
        command.stdin(Stdio::null());
        command.stdout(File::create(self.dir.path().join("stdout"))?);
        command.stderr(File::create(self.dir.path().join("stderr"))?);
        Ok(command.spawn()?)
    }

    /// Runs it until it ends by itself.
    fn run(&self, args: &[&str]) -> Result<Ended> {
        let mut child = self.spawn(args)?;
        let status = wait(&mut child).with_context(|| format!("ottla {args:?}"))?;
        self.ended(status)
    }

    fn ended(&self, status: ExitStatus) -> Result<Ended> {
        let read = |name| fs::read_to_string(self.dir.path().join(name));
        Ok(Ended {
            status,
            stdout: read("stdout")?,
            stderr: read("stderr")?,
        })
    }

    /// Starts it and waits until it listens.
    fn start(&self, port: u16, args: &[&str]) -> Result<Running> {
        let mut child = self.spawn(args)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let deadline = Instant::now() + LIMIT;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("{status}: {}", self.ended(status)?.stderr);
            }
            ensure!(Instant::now() < deadline, "does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Running { child, address })
    }
}

impl Running {
    fn signal(mut self, signal: Signal) -> Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), signal)?;
        wait(&mut self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait(child: &mut Child) -> Result<ExitStatus> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            anyhow::bail!("does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// It gave up with one line on stderr that names what is wrong.
fn assert_refused(ended: &Ended, named: &str) {
    assert!(!ended.status.success(), "exit code 0");
    assert!(
        ended.status.code().is_some(),
        "ended by a signal: {}",
        ended.status
    );
    let lines: Vec<&str> = ended
        .stderr
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    assert_eq!(lines.len(), 1, "one line, not: {}", ended.stderr);
    assert!(
        lines[0].contains(named),
        "{:?} does not name {named:?}",
        lines[0]
    );
    assert_eq!(ended.stdout, "");
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none())
}

#[test]
fn version_and_help_are_answered_without_starting_anything() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let version = shell.run(&["--version"])?;
    assert!(version.status.success());
    assert_eq!(
        version.stdout.trim(),
        concat!("ottla ", env!("CARGO_PKG_VERSION"))
    );
    let help = shell.run(&["--help"])?;
    assert!(help.status.success());
    for option in [
        "--listen",
        "--advertise",
        "--data-dir",
        "--ephemeral",
        "--config",
        "--version",
    ] {
        assert!(
            help.stdout.contains(option),
            "--help does not mention {option}"
        );
    }
    assert!(!shell.dir.path().join("ottla-data").exists());
    Ok(())
}

#[test]
fn an_unknown_option_is_refused_in_one_line() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    assert_refused(&shell.run(&["--bogus"])?, "--bogus");
    assert_refused(&shell.run(&["--listen", "nonsense"])?, "nonsense");
    assert!(!shell.dir.path().join("ottla-data").exists());
    Ok(())
}

#[test]
fn an_invalid_config_value_is_refused_in_one_line() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let config = shell.path("server.properties");
    let data = shell.path("data");
    for (line, named) in [
        ("num.partitions=many", "num.partitions"),
        ("num.partitions=0", "num.partitions"),
        (
            "auto.create.topics.enable=perhaps",
            "auto.create.topics.enable",
        ),
        ("log.segment.bytes=-5", "log.segment.bytes"),
        ("listeners=nonsense", "listeners"),
    ] {
        fs::write(&config, line)?;
        let port = free_port()?.to_string();
        let listen = format!("127.0.0.1:{port}");
        let mut args = vec!["--data-dir", &data, "--config", &config];
        if !line.starts_with("listeners") {
            args.extend(["--listen", &listen]);
        }
        assert_refused(&shell.run(&args)?, named);
        assert!(is_empty(Path::new(&data)), "{line}: something was started");
    }
    let missing = shell.path("missing.properties");
    assert_refused(&shell.run(&["--config", &missing])?, &missing);
    Ok(())
}

#[test]
fn a_port_in_use_is_refused_in_one_line() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = taken.local_addr()?.to_string();
    let data = shell.path("data");
    assert_refused(
        &shell.run(&["--listen", &address, "--data-dir", &data])?,
        &address,
    );

    // The directory is as good as new.
    let port = free_port()?;
    let listen = format!("127.0.0.1:{port}");
    let running = shell.start(port, &["--listen", &listen, "--data-dir", &data])?;
    assert!(running.signal(Signal::TERM)?.success());
    Ok(())
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_in_one_line() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    // Permissions do not stop root; a directory below a file stops everybody.
    let file = shell.path("file");
    fs::write(&file, "")?;
    let port = free_port()?;
    let listen = format!("127.0.0.1:{port}");
    for data in [format!("{file}/data"), file] {
        assert_refused(
            &shell.run(&["--listen", &listen, "--data-dir", &data])?,
            &data,
        );
    }
    Ok(())
}

#[test]
fn a_directory_locked_by_another_broker_is_refused_in_one_line() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let mut first = BrokerProcess::start()?;
    let port = free_port()?;
    let data = first.data_dir().display().to_string();
    let ended = shell.run(&[
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--data-dir",
        &data,
    ])?;
    assert_refused(&ended, &data);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());

    first.ensure_running()?;
    let mut client = RawClient::connect(first.address())?;
    create_topic(&mut client, "t", 1)?;
    assert_eq!(
        produce(&mut client, "t", 0, batch(&[b"safe"])?.freeze())?,
        (0, 0)
    );
    first.terminate()
}

#[test]
fn it_says_where_it_listens_where_the_data_is_and_how_durable_it_is() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let port = free_port()?;
    let listen = format!("127.0.0.1:{port}");
    let data = shell.path("data");
    let running = shell.start(port, &["--listen", &listen, "--data-dir", &data])?;
    let status = running.signal(Signal::TERM)?;
    let ended = shell.ended(status)?;
    assert!(status.success(), "{}", ended.stderr);
    let output = ended.stdout + &ended.stderr;
    let line = output.lines().find(|line| line.contains(&listen));
    let line = line.with_context(|| format!("no line names {listen}: {output}"))?;
    assert!(line.contains(&data), "{line}");
    assert!(line.contains("strict"), "{line}");
    Ok(())
}

#[test]
fn sigterm_and_ctrl_c_end_it_with_exit_code_0_and_keep_the_data() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let port = free_port()?;
    let listen = format!("127.0.0.1:{port}");
    // Without --data-dir the data is in ./ottla-data.
    let args = ["--listen", listen.as_str()];

    let running = shell.start(port, &args)?;
    let mut client = RawClient::connect(running.address)?;
    create_topic(&mut client, "t", 1)?;
    let sent = batch(&[b"kept"])?.freeze();
    assert_eq!(produce(&mut client, "t", 0, sent.clone())?, (0, 0));
    // An open connection does not keep it from ending.
    assert!(running.signal(Signal::TERM)?.success());
    assert!(shell.dir.path().join("ottla-data").is_dir());

    let running = shell.start(port, &args)?;
    let mut client = RawClient::connect(running.address)?;
    let (error, records) = fetch(&mut client, "t", 0, 0)?;
    assert_eq!((error, records.len()), (0, sent.len()));
    assert_eq!(produce(&mut client, "t", 0, sent)?, (0, 1));
    assert!(running.signal(Signal::INT)?.success());

    let running = shell.start(port, &args)?;
    let mut client = RawClient::connect(running.address)?;
    assert_eq!(
        produce(&mut client, "t", 0, batch(&[b"third"])?.freeze())?,
        (0, 2)
    );
    Ok(())
}

#[test]
fn ephemeral_leaves_nothing_behind() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let port = free_port()?;
    let listen = format!("127.0.0.1:{port}");
    let running = shell.start(port, &["--ephemeral", "--listen", &listen])?;
    let mut client = RawClient::connect(running.address)?;
    create_topic(&mut client, "t", 3)?;
    assert_eq!(
        produce(&mut client, "t", 2, batch(&[b"gone soon"])?.freeze())?,
        (0, 0)
    );
    assert!(running.signal(Signal::TERM)?.success());
    assert!(
        is_empty(&shell.dir.path().join("tmp")),
        "its temporary directory is still there"
    );
    assert!(!shell.dir.path().join("ottla-data").exists());
    Ok(())
}

#[test]
fn server_properties_are_read_as_kafka_reads_them() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let port = free_port()?;
    let data = shell.path("logs");
    let config = shell.path("server.properties");
    let lines = [
        "# a comment".to_owned(),
        format!("listeners = PLAINTEXT://127.0.0.1:{port}"),
        format!("log.dirs={data}"),
        "node.id=7".to_owned(),
        "num.partitions=2".to_owned(),
        // The last of a repeated key wins; a line may go on on the next.
        "num.partitions=\\\n    5".to_owned(),
        // Kafka has it, Ottla has no replicas to fetch.
        "num.replica.fetchers=3".to_owned(),
    ];
    fs::write(&config, lines.join("\n"))?;
    let running = shell.start(port, &["--config", &config])?;
    let mut client = RawClient::connect(running.address)?;
    let name = TopicName(StrBytes::from_static_str("made-on-demand"));
    let topic = MetadataRequestTopic::default().with_name(Some(name));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(true);
    let deadline = Instant::now() + LIMIT;
    let response = loop {
        let response = client.call(9, &request)?;
        if response.topics[0].error_code == 0 {
            break response;
        }
        ensure!(
            Instant::now() < deadline,
            "error {}",
            response.topics[0].error_code
        );
    };
    assert_eq!(response.topics[0].partitions.len(), 5);
    let broker = &response.brokers[0];
    assert_eq!((broker.node_id.0, broker.port), (7, i32::from(port)));
    assert!(!is_empty(Path::new(&data)));
    let status = running.signal(Signal::TERM)?;
    let ended = shell.ended(status)?;
    let output = ended.stdout + &ended.stderr;
    let warnings = output
        .lines()
        .filter(|line| line.contains("num.replica.fetchers"))
        .count();
    assert_eq!(
        warnings, 1,
        "one warning for a key that is not used: {output}"
    );
    Ok(())
}
