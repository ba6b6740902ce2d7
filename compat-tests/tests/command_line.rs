//! The binary as a shell sees it: options, exit codes, one clear line where it cannot start.

use std::fs::{self, File};
use std::io::BufRead as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
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
        self.spawn_with(args, &[])
    }

    /// The same, with more in its environment.
    fn spawn_with(&self, args: &[&str], environment: &[(&str, &str)]) -> Result<Child> {
        let temporary = self.dir.path().join("tmp");
        fs::create_dir_all(&temporary)?;
        let mut command = Command::new(ottla_binary()?);
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("TMPDIR", temporary)
            .envs(environment.iter().copied());
        command.stdin(Stdio::null());
        command.stdout(File::create(self.dir.path().join("stdout"))?);
        command.stderr(File::create(self.dir.path().join("stderr"))?);
        Ok(command.spawn()?)
    }

    /// Starts it on whatever it is told, and waits for a line on stdout.
    fn serve_until(
        &self,
        args: &[&str],
        variables: &[(&str, &str)],
        line: &str,
    ) -> Result<(Child, String)> {
        let mut child = self.spawn_with(args, variables)?;
        let deadline = Instant::now() + LIMIT;
        loop {
            let said = fs::read_to_string(self.dir.path().join("stdout"))?;
            // Whole lines: the last may be under way.
            if said.lines().any(|said| said.contains(line)) && said.ends_with('\n') {
                return Ok((child, said));
            }
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("{status}: {}", self.ended(status)?.stderr);
            }
            ensure!(Instant::now() < deadline, "{line:?} is not said: {said}");
            std::thread::sleep(Duration::from_millis(5));
        }
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

    /// Starts it on a free port and waits until it listens.
    fn serve(&self, args: &[&str]) -> Result<Running> {
        let port = free_port()?;
        let listen = format!("127.0.0.1:{port}");
        self.start(port, &[&["--listen", &listen], args].concat())
    }

    /// Starts it and waits until it listens on that port.
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
    /// Sends a signal that ends nothing.
    fn hang_up(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::HUP)?)
    }

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
    let running = shell.serve(&["--data-dir", &data])?;
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
    let data = shell.path("data");
    let running = shell.serve(&["--data-dir", &data])?;
    let listen = running.address.to_string();
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
    let running = shell.serve(&["--ephemeral"])?;
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
fn a_program_that_ends_takes_the_broker_along_that_it_has_started() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let mut command = Command::new(ottla_binary()?);
    command.args([
        "--ephemeral",
        "--listen",
        "127.0.0.1:0",
        "--stop-with-stdin",
    ]);
    command.env("TMPDIR", shell.dir.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn()?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("it is piped")?;
    std::io::BufReader::new(stdout).read_line(&mut line)?;
    assert!(line.contains("clients connect to"), "{line}");
    assert!(!is_empty(shell.dir.path()));
    // This program has ended, as the broker sees it.
    drop(child.stdin.take());
    assert_eq!(wait(&mut child)?.code(), Some(0));
    assert!(is_empty(shell.dir.path()), "its data is still there");
    Ok(())
}

/// Its disk is full, or whoever read it has gone.
#[test]
fn a_log_that_cannot_be_written_ends_nothing() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let full = File::options().write(true).open("/dev/full")?;
    for log in [Stdio::from(full), Stdio::piped()] {
        let mut command = Command::new(ottla_binary()?);
        command.args(["--ephemeral", "--listen", "127.0.0.1:0"]);
        command.args(["--stop-with-stdin", "--log-level", "debug"]);
        command.env("TMPDIR", shell.dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(log).spawn()?;
        drop(child.stderr.take());
        let mut line = String::new();
        let stdout = child.stdout.take().context("it is piped")?;
        std::io::BufReader::new(stdout).read_line(&mut line)?;
        assert!(line.contains("clients connect to"), "{line}");
        drop(child.stdin.take());
        assert_eq!(wait(&mut child)?.code(), Some(0));
    }
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

/// An environment of the internet's kind, and the lines that modules of testcontainers wait for.
#[test]
fn it_starts_in_the_environment_of_kafkas_image_and_says_so_in_kafkas_words() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let data = shell.path("data");
    let variables = [
        ("OTTLA_KAFKA_ENV", "true"),
        ("OTTLA_DISK_RESERVE_BYTES", "0"),
        ("CLUSTER_ID", "4L6g3nShT-eMCtK--X86sw"),
        ("KAFKA_NODE_ID", "7"),
        ("KAFKA_PROCESS_ROLES", "broker,controller"),
        (
            "KAFKA_LISTENERS",
            "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:1,BROKER://127.0.0.1:0",
        ),
        (
            "KAFKA_ADVERTISED_LISTENERS",
            "PLAINTEXT://127.0.0.1:0,BROKER://kafka:9093",
        ),
        (
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT",
        ),
        ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
        ("KAFKA_CONTROLLER_QUORUM_VOTERS", "7@kafka:9094"),
        ("KAFKA_INTER_BROKER_LISTENER_NAME", "BROKER"),
        ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
        ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1"),
        ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1"),
        ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
        ("KAFKA_LOG_FLUSH_INTERVAL_MESSAGES", "9223372036854775807"),
        ("KAFKA_LOG_DIRS", &data),
        ("KAFKA_LOG4J_ROOT_LOGLEVEL", "WARN"),
        ("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false"),
        ("KAFKA_CREATE_TOPICS", "orders:3:1,users:1:1:compact"),
    ];
    let args = ["--ready-format", "json", "--create-topic", "more:2"];
    let (child, said) = shell.serve_until(&args, &variables, "[KafkaServer id=7] started")?;
    let mut lines = said.lines();
    let ready: serde_json::Value = serde_json::from_str(lines.next().context("a line")?)?;
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            "Transitioning from RECOVERY to RUNNING",
            "[KafkaRaftServer nodeId=7] Kafka Server started",
            "[KafkaServer id=7] started"
        ]
    );
    assert_eq!(ready["cluster_id"], "4L6g3nShT-eMCtK--X86sw");
    assert_eq!(
        (&ready["node_id"], &ready["durability"]),
        (&7.into(), &"strict".into())
    );
    let [plaintext, inner] = [0, 1].map(|place| &ready["listeners"][place]);
    assert_eq!(
        (&plaintext["name"], &inner["name"]),
        (&"PLAINTEXT".into(), &"BROKER".into())
    );
    assert_eq!(inner["advertised"], "kafka:9093");
    assert_eq!(plaintext["advertised"], plaintext["addresses"][0]);
    let address: SocketAddr = plaintext["advertised"].as_str().context("text")?.parse()?;
    let running = Running { child, address };

    // They are there for the first client, and no other topic comes into being.
    let mut client = RawClient::connect(address)?;
    let topic = |name| {
        let name = TopicName(StrBytes::from_static_str(name));
        MetadataRequestTopic::default().with_name(Some(name))
    };
    let partitions = |client: &mut RawClient| -> Result<Vec<(i16, usize)>> {
        let names = ["orders", "users", "more", "else"].map(topic);
        let request = MetadataRequest::default()
            .with_topics(Some(names.to_vec()))
            .with_allow_auto_topic_creation(true);
        let response = client.call(9, &request)?;
        let told = response.topics.iter();
        Ok(told
            .map(|topic| (topic.error_code, topic.partitions.len()))
            .collect())
    };
    assert_eq!(partitions(&mut client)?, [(0, 3), (0, 1), (0, 2), (3, 0)]);
    assert_eq!(
        produce(&mut client, "orders", 2, batch(&[b"kept"])?.freeze())?,
        (0, 0)
    );
    let status = running.signal(Signal::TERM)?;
    assert!(status.success());
    let ended = shell.ended(status)?;
    assert_eq!(
        ended.stderr, "",
        "a usual environment is nothing to warn of"
    );

    // What is there stays as it is, and what cannot be made stops the start.
    let port = free_port()?;
    let listen = format!("127.0.0.1:{port}");
    let args = [
        "--listen",
        &listen,
        "--data-dir",
        &data,
        "--override",
        "node.id=7",
    ];
    let running = shell.start(port, &[&args[..], &["--create-topic", "orders:5"]].concat())?;
    let mut client = RawClient::connect(running.address)?;
    assert_eq!(partitions(&mut client)?[0], (0, 3));
    let (error, records) = fetch(&mut client, "orders", 2, 0)?;
    assert!(error == 0 && !records.is_empty());
    assert!(running.signal(Signal::TERM)?.success());
    for (entry, named) in [
        ("a:1:1", "Invalid value 1 for configuration cleanup.policy"),
        ("a:2000000", "ottla.max.partitions"),
        ("orders.x:1", "orders_x"),
    ] {
        let two = ["--create-topic", "orders_x:1", "--create-topic", entry];
        assert_refused(&shell.run(&[&args[..], &two].concat())?, named);
    }
    let running = shell.start(port, &args)?;
    let mut client = RawClient::connect(running.address)?;
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic("orders_x")]))
        .with_allow_auto_topic_creation(false);
    assert_eq!(
        client.call(9, &request)?.topics[0].error_code,
        3,
        "all or none"
    );
    Ok(())
}

#[test]
fn topics_of_the_start_are_made_whoever_may_make_topics() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let authorizer =
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let mut args = vec![
        "--ephemeral",
        "--listen",
        "127.0.0.1:0",
        "--ready-format",
        "json",
    ];
    args.extend(["--create-topic", "t:4", "--override", authorizer]);
    args.extend(["--override", "super.users=User:ANONYMOUS"]);
    let (child, said) = shell.serve_until(&args, &[], "listeners")?;
    let ready: serde_json::Value = serde_json::from_str(&said)?;
    assert_eq!(
        (&ready["ephemeral"], &ready["durability"]),
        (&true.into(), &"os".into())
    );
    let address = ready["listeners"][0]["addresses"][0].as_str();
    let address: SocketAddr = address.context("text")?.parse()?;
    let running = Running { child, address };
    let mut client = RawClient::connect(address)?;
    let name = TopicName(StrBytes::from_static_str("t"));
    let topic = MetadataRequestTopic::default().with_name(Some(name));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(false);
    let response = client.call(9, &request)?;
    assert_eq!(response.topics[0].partitions.len(), 4);
    drop(client);
    assert!(running.signal(Signal::TERM)?.success());
    Ok(())
}

#[test]
fn a_log_level_that_there_is_not_is_refused_in_one_line() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    for level in ["blah", "info,blah", "broker=blah", "="] {
        assert_refused(&shell.run(&["--log-level", level])?, "--log-level");
    }
    assert!(!shell.dir.path().join("ottla-data").exists());
    for level in ["WARN", "off", "broker=debug,info"] {
        let running = shell.serve(&["--ephemeral", "--log-level", level])?;
        assert!(running.signal(Signal::TERM)?.success(), "{level}");
    }
    Ok(())
}

#[test]
fn a_mistyped_option_is_refused_with_the_one_that_was_meant() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    assert_refused(&shell.run(&["--lisen", "localhost:1"])?, "--listen");
    assert_refused(
        &shell.run(&["--data", "x", "--advertize", "x:1"])?,
        "--data-dir",
    );
    Ok(())
}

#[test]
fn a_terminal_that_is_closed_ends_nothing() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let running = shell.serve(&["--ephemeral"])?;
    let mut client = RawClient::connect(running.address)?;
    running.hang_up()?;
    // It has been taken, and the broker goes on.
    let deadline = Instant::now() + LIMIT;
    let log = || fs::read_to_string(shell.dir.path().join("stderr"));
    while log()?
        .lines()
        .filter(|line| line.contains("SIGHUP"))
        .count()
        != 1
    {
        ensure!(Instant::now() < deadline, "no line about it: {}", log()?);
        std::thread::sleep(Duration::from_millis(5));
    }
    create_topic(&mut client, "t", 1)?;
    assert!(running.signal(Signal::TERM)?.success());
    Ok(())
}

#[test]
fn whoever_has_started_it_is_told_when_it_is_ready_and_when_it_stops() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let path = shell.path("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(LIMIT))?;
    let next = || -> Result<String> {
        let mut said = [0; 256];
        let length = socket.recv(&mut said).context("nothing more is told")?;
        Ok(String::from_utf8(said[..length].to_vec())?
            .trim()
            .to_owned())
    };
    let environment = [("NOTIFY_SOCKET", &*path), ("WATCHDOG_USEC", "200000")];
    let args = [
        "--ephemeral",
        "--listen",
        "127.0.0.1:0",
        "--log-format",
        "json",
    ];
    let running = Running {
        child: shell.spawn_with(&args, &environment)?,
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    };
    let mut before = Vec::new();
    loop {
        match next()?.as_str() {
            "READY=1" => break,
            other => before.push(other.to_owned()),
        }
    }
    ensure!(
        before.contains(&"EXTEND_TIMEOUT_USEC=60000000".to_owned()),
        "{before:?}"
    );
    for _ in 0..2 {
        ensure!(next()? == "WATCHDOG=1");
    }
    ensure!(running.signal(Signal::TERM)?.success());
    while next()? != "STOPPING=1" {}
    // Each line of the log is an object.
    let log = fs::read_to_string(shell.dir.path().join("stderr"))?;
    let lines = log.lines().map(serde_json::from_str::<serde_json::Value>);
    let lines = lines
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| log.clone())?;
    let stop = lines.iter().find(|line| line["message"] == "shutting down");
    let stop = stop.with_context(|| log.clone())?;
    ensure!(
        stop["level"] == "INFO" && stop["target"] == "ottla::server",
        "{stop}"
    );
    Ok(())
}

#[test]
fn any_free_port_is_told_as_the_one_that_it_is() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    for listen in ["127.0.0.1:0", "PLAINTEXT://127.0.0.1:0"] {
        let mut child = shell.spawn(&["--ephemeral", "--listen", listen])?;
        let deadline = Instant::now() + LIMIT;
        let line = loop {
            let said = fs::read_to_string(shell.dir.path().join("stdout"))?;
            if let Some(line) = said
                .lines()
                .find(|line| line.contains("clients connect to"))
            {
                break line.to_owned();
            }
            ensure!(child.try_wait()?.is_none(), "ended");
            ensure!(Instant::now() < deadline, "says nothing");
            std::thread::sleep(Duration::from_millis(5));
        };
        let after = |text: &str| -> Option<SocketAddr> {
            let rest = line.split_once(text)?.1;
            rest.split([',', ';']).next()?.trim().parse().ok()
        };
        let bound = after("listens on").context("where it listens")?;
        let told = after("clients connect to").context("where clients connect")?;
        assert_ne!(bound.port(), 0, "{line}");
        assert_eq!(told, bound, "{line}");
        let running = Running {
            child,
            address: bound,
        };
        let mut client = RawClient::connect(bound)?;
        let response = client.call(9, &MetadataRequest::default().with_topics(Some(vec![])))?;
        assert_eq!(response.brokers[0].port, i32::from(bound.port()));
        assert!(running.signal(Signal::TERM)?.success());
    }
    Ok(())
}

#[test]
fn kafkas_file_may_be_the_argument_as_for_kafkas_own_script() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let port = free_port()?;
    let config = shell.path("server.properties");
    let data = shell.path("logs");
    fs::write(&config, format!("node.id=7\nlog.dirs={data}\n"))?;
    let listen = format!("PLAINTEXT://127.0.0.1:{port}");
    let args = [
        config.as_str(),
        "--override",
        "node.id=8",
        "--listen",
        &listen,
    ];
    let running = shell.start(port, &args)?;
    let mut client = RawClient::connect(running.address)?;
    let response = client.call(9, &MetadataRequest::default().with_topics(Some(vec![])))?;
    let broker = &response.brokers[0];
    assert_eq!((broker.node_id.0, broker.port), (8, i32::from(port)));
    assert!(running.signal(Signal::TERM)?.success());
    let twice = [config.as_str(), "--config", config.as_str()];
    assert_refused(&shell.run(&twice)?, "--config");
    Ok(())
}

/// What Kafka 4.4 ships as config/server.properties, and Kafka 3.9 as such and as config/kraft/server.properties; the
/// directory and the ports are the test's.
fn stock_files(port: u16, data: &str) -> [String; 3] {
    let kraft = format!(
        "process.roles=broker,controller\nnode.id=1\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://localhost:9093\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n"
    );
    let common = format!(
        "num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\n\
         socket.receive.buffer.bytes=102400\nsocket.request.max.bytes=104857600\nlog.dirs={data}\n\
         num.partitions=1\nnum.recovery.threads.per.data.dir=2\noffsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
         log.retention.hours=168\nlog.retention.check.interval.ms=300000\n"
    );
    let share = "share.coordinator.state.topic.replication.factor=1\n\
                 share.coordinator.state.topic.min.isr=1\nlog.segment.bytes=1073741824\n";
    let newest =
        format!("{kraft}controller.quorum.bootstrap.servers=localhost:9093\n{share}{common}");
    let older = format!("{kraft}controller.quorum.voters=1@localhost:9093\n{common}");
    let zookeeper = format!(
        "broker.id=0\nlisteners=PLAINTEXT://127.0.0.1:{port}\nzookeeper.connect=localhost:2181\n\
         zookeeper.connection.timeout.ms=18000\ngroup.initial.rebalance.delay.ms=0\n{common}"
    );
    [newest, older, zookeeper]
}

#[test]
fn kafkas_own_server_properties_start_with_one_line_at_most_about_their_keys() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    for index in 0..3 {
        let port = free_port()?;
        let data = shell.path(&format!("logs-{index}"));
        let text = &stock_files(port, &data)[index];
        let config = shell.path("server.properties");
        fs::write(&config, text)?;
        let running = shell.start(port, &[&config])?;
        let status = running.signal(Signal::TERM)?;
        let ended = shell.ended(status)?;
        assert!(status.success(), "{}", ended.stderr);
        let output = ended.stdout + &ended.stderr;
        let about_keys = output
            .lines()
            .filter(|line| line.contains("num.recovery.threads"));
        assert!(about_keys.count() <= 1, "{output}");
        assert!(!output.contains("WARN"), "{output}");
        assert!(output.lines().count() <= 6, "{output}");
    }
    Ok(())
}

#[test]
fn a_key_that_protects_stops_the_start_in_one_line_and_nothing_is_written() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let config = shell.path("server.properties");
    let data = shell.path("data");
    for (line, named) in [
        (
            "authorizer.class.name=org.example.Own",
            "authorizer.class.name",
        ),
        ("super.users=User:admin", "super.users"),
        ("sasl.enabled.mechanisms=PLAIN", "sasl.enabled.mechanisms"),
        (
            "ssl.keystore.location=/etc/kafka/keystore.jks",
            "ssl.keystore.location",
        ),
        ("ssl.client.auth=required", "ssl.client.auth"),
        (
            "security.inter.broker.protocol=SSL",
            "security.inter.broker.protocol",
        ),
        (
            "listener.name.plaintext.plain.sasl.jaas.config=x",
            "listener.name.plaintext.plain.sasl.jaas.config",
        ),
        (
            "listener.security.protocol.map=PLAINTEXT:SASL_SSL",
            "sasl.enabled.mechanisms",
        ),
        ("listeners=SSL://:9092", "SSL://127.0.0.1"),
        ("process.roles=broker", "process.roles"),
        (
            "controller.quorum.voters=1@a:9093,2@b:9093",
            "controller.quorum.voters",
        ),
        (
            "delegation.token.master.key=x",
            "delegation.token.master.key",
        ),
        (
            "client.quota.callback.class=x",
            "client.quota.callback.class",
        ),
        (
            "create.topic.policy.class.name=x",
            "create.topic.policy.class.name",
        ),
        ("supr.users=User:admin", "super.users"),
    ] {
        fs::write(&config, line)?;
        let listen = format!("127.0.0.1:{}", free_port()?);
        // Also where options say where to listen, and where the data is.
        let args = ["--listen", &listen, "--data-dir", &data, &config];
        assert_refused(&shell.run(&args)?, named);
        assert!(is_empty(Path::new(&data)), "{line}: something was started");
    }
    Ok(())
}

#[test]
fn a_mistyped_key_is_worth_a_warning_with_the_one_that_was_meant() -> Result<()> {
    let Some(shell) = Shell::new()? else {
        return Ok(());
    };
    let running = shell.serve(&["--ephemeral", "--override", "num.partition=3"])?;
    let status = running.signal(Signal::TERM)?;
    let ended = shell.ended(status)?;
    let warnings = ended
        .stderr
        .lines()
        .filter(|line| line.contains("num.partition "));
    let warnings: Vec<&str> = warnings.collect();
    assert_eq!(warnings.len(), 1, "{}", ended.stderr);
    assert!(warnings[0].contains("num.partitions"), "{}", warnings[0]);
    Ok(())
}
