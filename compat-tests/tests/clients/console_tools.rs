//! Kafka's console tools, and what Kafka's log dump says of Ottla's files.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use compat_tests::java::KafkaTools;
use compat_tests::{BrokerProcess, available, cluster};

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
    if cluster::leaves_out("dump-log") {
        return Ok(());
    }
    let data = broker.data_dir();
    broker.terminate()?;
    let dump_log =
        |extension: &str, option: &str| tools.dump_log(&data, "smoke", extension, &[option]);
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
