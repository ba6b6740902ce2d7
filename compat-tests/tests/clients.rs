//! One program for each stock client: create a topic, produce with every compression it has, consume in a
//! group, commit, describe; all with the client's defaults.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use compat_tests::java::KafkaTools;
use compat_tests::python::Python;
use compat_tests::toolchain::find;
use compat_tests::{BrokerProcess, Program, available, go, node};

const LIMIT: Duration = Duration::from_secs(120);

/// Runs `command` with the broker's address behind it, against a new broker, and gives its last line.
fn run(found: Result<Command>) -> Result<Option<String>> {
    let Some(mut command) = available(found)? else {
        return Ok(None);
    };
    let Some(mut broker) = available(BrokerProcess::start())? else {
        return Ok(None);
    };
    command.arg(broker.bootstrap());
    let result = Program::start(command, LIMIT)?
        .finish()
        .with_context(|| broker.log_tail())?;
    broker.terminate()?;
    Ok(Some(result))
}

fn python(client: &str, version: &str) -> Result<Command> {
    Ok(Python::with(client, version)?.command("smoke.py", &[]))
}

#[test]
fn kafka_python_2_0_2_reads_back_every_compression() -> Result<()> {
    if let Some(result) = run(python("kafka-python", "2.0.2"))? {
        assert_eq!(result, r#"{"all_there": true, "headers_kept": true}"#);
    }
    Ok(())
}

#[test]
fn kafka_python_3_0_12_reads_back_every_compression() -> Result<()> {
    if let Some(result) = run(python("kafka-python", "3.0.12"))? {
        assert_eq!(result, r#"{"all_there": true, "headers_kept": true}"#);
    }
    Ok(())
}

#[test]
fn confluent_kafka_works_with_its_defaults() -> Result<()> {
    if let Some(result) = run(python("confluent-kafka", "2.16.1"))? {
        let expected = concat!(
            r#"{"all_there": true, "committed": [50, 50], "groups": ["smokers"], "headers_kept": true, "#,
            r#""members": 1, "state": "STABLE", "watermarks": [[0, 50], [0, 50]]}"#
        );
        assert_eq!(result, expected);
    }
    Ok(())
}

#[test]
fn aiokafka_works_with_its_defaults() -> Result<()> {
    if let Some(result) = run(python("aiokafka", "0.14.0"))? {
        let expected = concat!(
            r#"{"all_there": true, "committed": [50, 50], "ends": [50, 50], "groups": ["smokers"], "#,
            r#""headers_kept": true, "members": 1, "state": "Stable"}"#
        );
        assert_eq!(result, expected);
    }
    Ok(())
}

#[test]
fn kafkas_java_client_works_with_its_defaults() -> Result<()> {
    let command = KafkaTools::new().map(|tools| tools.command("Smoke.java", &[]));
    if let Some(result) = run(command)? {
        assert_eq!(
            result,
            "all_there=true headers_kept=true state=Stable members=1 committed=50,50 segment.bytes=1073741824"
        );
    }
    Ok(())
}

#[test]
fn franz_go_works_with_its_defaults() -> Result<()> {
    if let Some(result) = run(go::program("franz-go").map(Command::new))? {
        assert_eq!(
            result,
            "count=100 headers_kept=true state=Stable members=1 committed=50,50"
        );
    }
    Ok(())
}

#[test]
fn sarama_works_with_its_defaults() -> Result<()> {
    if let Some(result) = run(go::program("sarama").map(Command::new))? {
        assert_eq!(
            result,
            "count=100 headers_kept=true state=Stable members=1 committed=50,50"
        );
    }
    Ok(())
}

#[test]
fn kafkajs_works_with_its_defaults() -> Result<()> {
    if let Some(result) = run(node::command("kafkajs", "smoke.js"))? {
        let expected = concat!(
            r#"{"count":60,"missing":0,"headersKept":true,"state":"Stable","members":1,"#,
            r#""committed":["30","30"]}"#
        );
        assert_eq!(result, expected);
    }
    Ok(())
}

/// Runs a command-line tool with `input` on its stdin and gives its stdout.
fn pipe(mut command: Command, input: &str) -> Result<String> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child
        .stdin
        .take()
        .context("stdin is piped")?
        .write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{stderr}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn kcat_produces_consumes_and_lists() -> Result<()> {
    let Some(kcat) = available(find("kcat"))? else {
        return Ok(());
    };
    let Some(mut broker) = available(BrokerProcess::start())? else {
        return Ok(());
    };
    let bootstrap = broker.bootstrap();
    let kcat = |args: &[&str], input: &str| {
        let mut command = Command::new(&kcat);
        command.args(["-b", &bootstrap]).args(args);
        pipe(command, input).with_context(|| broker.log_tail())
    };
    let mut expected = String::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let line = format!("{}\n", codec.repeat(100));
        kcat(&["-P", "-t", "smoke", "-p", "0", "-z", codec], &line)?;
        expected += &line;
    }
    assert_eq!(
        kcat(&["-C", "-q", "-e", "-t", "smoke", "-o", "beginning"], "")?,
        expected
    );
    let group = [
        "-q",
        "-c",
        "5",
        "-X",
        "auto.offset.reset=earliest",
        "-G",
        "smokers",
        "smoke",
    ];
    assert_eq!(kcat(&group, "")?, expected);
    let listed = kcat(&["-L", "-t", "smoke"], "")?;
    assert!(
        listed.contains(r#"topic "smoke" with 1 partitions"#),
        "{listed}"
    );
    broker.terminate()
}

#[test]
fn kafkas_console_tools_work_and_dump_log_reads_the_files() -> Result<()> {
    let Some(tools) = available(KafkaTools::new())? else {
        return Ok(());
    };
    let Some(mut broker) = available(BrokerProcess::start())? else {
        return Ok(());
    };
    let bootstrap = broker.bootstrap();
    let tool = |class: &str, args: &[&str], input: &str| {
        let class = format!("org.apache.kafka.tools.{class}");
        let mut command = tools.command(&class, &["--bootstrap-server", &bootstrap]);
        command.args(args);
        pipe(command, input).with_context(|| broker.log_tail())
    };
    tool(
        "TopicCommand",
        &["--create", "--topic", "smoke", "--partitions", "2"],
        "",
    )?;
    let mut expected = Vec::new();
    for codec in ["gzip", "zstd"] {
        let lines: Vec<String> = (0..20).map(|number| format!("{codec}-{number}")).collect();
        let property = format!("compression.type={codec}");
        let args = ["--topic", "smoke", "--command-property", &property];
        tool("ConsoleProducer", &args, &lines.join("\n"))?;
        expected.extend(lines);
    }
    expected.sort();

    let consume = [
        "--topic",
        "smoke",
        "--group",
        "smokers",
        "--from-beginning",
        "--max-messages",
        "40",
    ];
    let read = tool(
        "consumer.ConsoleConsumer",
        &[&consume[..], &["--timeout-ms", "60000"]].concat(),
        "",
    )?;
    let mut read: Vec<&str> = read.lines().collect();
    read.sort_unstable();
    assert_eq!(read, expected);

    let described = tool(
        "consumer.group.ConsumerGroupCommand",
        &["--describe", "--group", "smokers"],
        "",
    )?;
    let lag = |line: &str| line.split_ascii_whitespace().nth(5).map(str::to_owned);
    let lags: Vec<_> = described
        .lines()
        .filter(|line| line.starts_with("smokers"))
        .filter_map(lag)
        .collect();
    assert_eq!(lags, ["0", "0"], "{described}");
    let listed = tool("TopicCommand", &["--describe", "--topic", "smoke"], "")?;
    assert!(listed.contains("PartitionCount: 2"), "{listed}");

    // What a stopped broker leaves behind is Kafka's own format.
    let data = broker.data_dir();
    broker.terminate()?;
    let dump_log = |extension: &str, option: &str| {
        let files = partition_files(&data, "smoke-", extension)?.join(",");
        tools.run(
            "org.apache.kafka.tools.DumpLogSegments",
            &[option, "--files", &files],
        )
    };
    let dumped = dump_log("log", "--print-data-log")?;
    assert!(!dumped.contains("isvalid: false"), "{dumped}");
    let payload = |line: &str| Some(line.split_once("payload: ")?.1.to_owned());
    let mut payloads: Vec<String> = dumped.lines().filter_map(payload).collect();
    for extension in ["index", "timeindex"] {
        let checked = dump_log(extension, "--index-sanity-check")?;
        for line in checked.lines().filter(|line| !line.starts_with("Dumping ")) {
            assert!(
                line.ends_with("passed sanity check.") || line.ends_with("is empty."),
                "{checked}"
            );
        }
    }
    payloads.sort_unstable();
    assert_eq!(payloads, expected);
    Ok(())
}

/// The files of one kind in the partitions whose directory begins with `prefix`.
fn partition_files(data: &Path, prefix: &str, extension: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for partition in std::fs::read_dir(data)? {
        let partition = partition?;
        if partition.file_name().to_string_lossy().starts_with(prefix) {
            for file in std::fs::read_dir(partition.path())? {
                found.push(file?.path());
            }
        }
    }
    found.retain(|path| path.extension().is_some_and(|found| found == extension));
    ensure!(
        !found.is_empty(),
        "no .{extension} files in {}",
        data.display()
    );
    Ok(found
        .iter()
        .map(|path| path.display().to_string())
        .collect())
}
