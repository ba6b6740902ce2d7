//! `ottla topics` and the others, as a shell sees them; with COMPAT_BROKER=kafka against real Kafka, and with the same output.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use compat_tests::broker_process::{free_port, ottla_binary};
use compat_tests::{BrokerKind, BrokerProcess};
use serde_json::{Value, json};

/// How a command ended and what it wrote.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the binary under a name; lines for stdin.
fn run_as(name: &str, args: &[&str], stdin: &str, env: &[(&str, &str)]) -> Result<Ended> {
    let mut child = Command::new(ottla_binary()?)
        .arg0(name)
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Who is refused reads nothing.
    let _ = child
        .stdin
        .take()
        .context("stdin")?
        .write_all(stdin.as_bytes());
    let output = child.wait_with_output()?;
    Ok(Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

/// The command line of somebody who talks to one broker.
struct Console {
    broker: BrokerProcess,
}

impl Console {
    fn start(config: &[(&str, &str)]) -> Result<Self> {
        Ok(Self {
            broker: BrokerProcess::start_with(config)?,
        })
    }

    fn run(&self, line: &str, stdin: &str) -> Result<Ended> {
        let bootstrap = self.broker.bootstrap();
        let mut args: Vec<&str> = line.split(' ').collect();
        args.extend(["--bootstrap", &bootstrap]);
        run_as("ottla", &args, stdin, &[])
    }

    /// What it writes when all is well.
    fn says(&self, line: &str) -> Result<String> {
        self.says_to(line, "")
    }

    fn says_to(&self, line: &str, stdin: &str) -> Result<String> {
        let ended = self.run(line, stdin)?;
        ensure!(
            ended.code == Some(0),
            "{line}: {ended:?}\n{}",
            self.broker.log_tail()
        );
        Ok(ended.stdout)
    }

    fn json(&self, line: &str) -> Result<Value> {
        let text = self.says(&format!("{line} --json"))?;
        serde_json::from_str(&text).with_context(|| format!("{line}: {text}"))
    }

    /// What it writes when it is refused.
    fn refused(&self, line: &str, code: i32) -> Result<String> {
        let ended = self.run(line, "")?;
        ensure!(ended.code == Some(code), "{line}: {ended:?}");
        Ok(ended.stderr)
    }

    /// One of Kafka's scripts.
    fn script(&self, name: &str, line: &str, stdin: &str) -> Result<Ended> {
        let bootstrap = self.broker.bootstrap();
        let mut args = vec!["--bootstrap-server", &bootstrap];
        args.extend(line.split(' ').filter(|word| !word.is_empty()));
        run_as(&format!("/opt/kafka/bin/{name}.sh"), &args, stdin, &[])
    }

    fn script_says(&self, name: &str, line: &str) -> Result<String> {
        let ended = self.script(name, line, "")?;
        ensure!(ended.code == Some(0), "{name} {line}: {ended:?}");
        Ok(ended.stdout)
    }
}

#[test]
fn topics_are_made_seen_changed_and_taken_away() -> Result<()> {
    let console = Console::start(&[])?;
    let healthy = console.says("health")?;
    assert!(healthy.starts_with("healthy: 127.0.0.1:"), "{healthy}");
    let brokers = console.broker.count();
    assert_eq!(console.json("health")?["brokers"], brokers);

    assert_eq!(
        console.says("topics create a b -p 2 --config retention.ms=60000")?,
        "created topic a\ncreated topic b\n"
    );
    let refused = console.refused("topics create a c", 1)?;
    assert!(
        refused.contains("create topic a: TOPIC_ALREADY_EXISTS: Topic 'a' already exists."),
        "{refused}"
    );
    assert_eq!(
        console.says("topics create a --if-not-exists")?,
        "topic a is there already\n"
    );
    assert_eq!(
        console.says("topics list")?,
        format!(
            "TOPIC  PARTITIONS  REPLICATION FACTOR  INTERNAL\n\
             a      2           {brokers}                   false\n\
             b      2           {brokers}                   false\n\
             c      1           {brokers}                   false\n"
        )
    );
    let listed = console.json("topics list")?;
    assert_eq!(
        listed[0],
        json!({"topic": "a", "partitions": 2, "replication_factor": brokers, "internal": false})
    );

    assert_eq!(
        console.says("topics add-partitions c -p 3")?,
        "topic c has 3 partitions now\n"
    );
    let refused = console.refused("topics add-partitions c -p 2", 1)?;
    assert!(refused.contains("INVALID_PARTITIONS"), "{refused}");

    console.says_to("produce a -p 1", "1\n2\n3\n")?;
    assert_eq!(
        console.says("topics delete-records a:1 --before 2")?,
        "TOPIC  PARTITION  FIRST OFFSET\na      1          2\n"
    );
    let described = console.says("topics describe a")?;
    match brokers {
        1 => assert_eq!(
            described,
            "TOPIC  PARTITION  LEADER  REPLICAS  IN SYNC  FIRST OFFSET  NEXT OFFSET\n\
             a      0          1       1         1        0             0\n\
             a      1          1       1         1        2             3\n"
        ),
        _ => {
            let lines: Vec<&str> = described.lines().collect();
            let ends = ["NEXT OFFSET", " 0             0", " 2             3"];
            let are_so = lines
                .iter()
                .zip(ends)
                .all(|(line, end)| line.ends_with(end));
            assert!(lines.len() == 3 && are_so, "{described}");
        }
    }
    let refused = console.refused("topics delete-records a:1 --before 9", 1)?;
    assert!(refused.contains("a-1: OFFSET_OUT_OF_RANGE"), "{refused}");
    let refused = console.refused("topics delete-records a:7 --before end", 2)?;
    assert!(refused.contains("topic a has 2 partitions"), "{refused}");

    assert_eq!(console.says("topics delete a b c")?.lines().count(), 3);
    let refused = console.refused("topics delete nothing", 1)?;
    assert!(
        refused.contains("delete topic nothing: UNKNOWN_TOPIC_OR_PARTITION")
            && refused.contains("`ottla topics list`"),
        "{refused}"
    );
    assert_eq!(console.json("topics list")?, json!([]));
    Ok(())
}

#[test]
fn records_go_in_and_come_out() -> Result<()> {
    let console = Console::start(&[])?;
    console.says("topics create one")?;
    console.says("topics create many -p 4")?;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let produced = console.says_to(
            &format!("produce one -k : -H source=test -z {codec}"),
            &format!("{codec}:first\n{codec}:a:b\r\n:\n"),
        )?;
        assert!(produced.contains("one    0          3 "), "{produced}");
    }
    assert_eq!(
        console.says("consume one --format {offset}\\t{key}={value}[{headers}]\\n -n 4")?,
        "0\tnone=first[source:test]\n1\tnone=a:b[source:test]\n2\t=[source:test]\n\
         3\tgzip=first[source:test]\n"
    );
    assert_eq!(console.says("consume one")?.lines().count(), 15);
    assert_eq!(console.says("consume one --from 13")?, "a:b\n\n");
    assert_eq!(console.says("consume one --from latest")?, "");
    assert_eq!(
        console.says("consume one --from @2000-01-01T00:00:00Z -n 1")?,
        "first\n"
    );
    assert_eq!(
        console.says("consume one --from @2200-01-01T00:00:00Z")?,
        ""
    );
    let line: Value = serde_json::from_str(&console.says("consume one -n 1 --json")?)?;
    assert_eq!(
        (
            &line["key"],
            &line["value"],
            &line["offset"],
            &line["headers"]
        ),
        (
            &json!("none"),
            &json!("first"),
            &json!(0),
            &json!([{"key": "source", "value": "test"}])
        )
    );

    // As Java's producer does: murmur2.
    console.says_to("produce many -k :", "foobar:x\n21:y\nabc:z\n")?;
    let placed = console.says("consume many --format {key}={partition}\\n")?;
    let mut placed: Vec<&str> = placed.lines().collect();
    placed.sort_unstable();
    assert_eq!(placed, ["21=0", "abc=3", "foobar=2"]);

    let refused = console.run("produce one -k :", "no separator\n")?;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("line 1 has no \":\""),
        "{refused:?}"
    );
    let refused = console.refused("consume one -p 5", 1)?;
    assert!(
        refused.contains("topic one has no partition 5"),
        "{refused}"
    );
    let refused = console.refused("consume nowhere", 1)?;
    assert!(refused.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{refused}");
    console.says("configs set topic one max.message.bytes=200")?;
    let refused = console.run("produce one", &format!("{}\n", "x".repeat(1000)))?;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("MESSAGE_TOO_LARGE") && refused.stderr.contains("lines 1 to 1"),
        "{refused:?}"
    );
    // Also brokers that make topics when they are asked for.
    assert!(console.says_to("produce fresh", "x\n")?.contains("fresh"));
    assert_eq!(console.says("consume fresh")?, "x\n");
    Ok(())
}

#[test]
fn groups_read_commit_are_seen_and_moved() -> Result<()> {
    let console = Console::start(&[])?;
    console.says("topics create t -p 2")?;
    console.says_to("produce t -p 0", "1\n2\n3\n")?;
    console.says_to("produce t -p 1", "4\n")?;
    let mut read: Vec<String> = Vec::new();
    read.extend(
        console
            .says("consume t -g g -n 3")?
            .lines()
            .map(str::to_owned),
    );
    read.extend(console.says("consume t -g g")?.lines().map(str::to_owned));
    read.sort();
    assert_eq!(read, ["1", "2", "3", "4"], "each once");
    assert_eq!(console.says("consume t -g g")?, "");
    console.says_to("produce t -p 0", "5\n")?;

    let listed = console.json("groups list")?;
    assert_eq!(
        listed,
        json!([{"group": "g", "type": "classic", "state": "Empty", "protocol_type": "consumer"}])
    );
    assert_eq!(
        console.says("groups describe g")?,
        "GROUP  TYPE     STATE  MEMBERS  LAG\n\
         g      classic  Empty  0        1\n\
         \n\
         GROUP  TOPIC  PARTITION  COMMITTED  END  LAG  MEMBER\n\
         g      t      0          3          4    1    -\n\
         g      t      1          1          1    0    -\n"
    );

    let dry = console.run("groups reset-offsets g --topic t:0 --to earliest", "")?;
    assert!(
        dry.stdout.ends_with("g      t      0          0\n"),
        "{dry:?}"
    );
    assert!(dry.stderr.contains("--execute"), "{dry:?}");
    assert_eq!(
        console.says("consume t -g g")?,
        "5\n",
        "nothing was changed"
    );
    for (to, expected) in [
        ("earliest", json!([0, 0])),
        ("latest", json!([4, 1])),
        ("2", json!([2, 1])),
        ("@2200-01-01T00:00:00Z", json!([4, 1])),
        ("@0", json!([0, 0])),
    ] {
        let to = format!("groups reset-offsets g --all-topics --to {to} --execute");
        let moved = console.json(&to)?;
        assert_eq!(
            json!([moved[0]["new_offset"], moved[1]["new_offset"]]),
            expected,
            "{to}"
        );
    }
    assert_eq!(console.says("consume t -g g")?.lines().count(), 5);
    console.says("groups reset-offsets new --topic t --to latest --execute")?;
    assert_eq!(console.json("groups describe new")?["groups"][0]["lag"], 0);

    assert_eq!(
        console.says("groups delete-offsets g --topic t:1")?,
        "group g has no offset of t-1 any more\n"
    );
    assert_eq!(
        console.json("groups describe g")?["offsets"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );

    // Somebody reads now: as kafka-console-consumer.sh does.
    let bootstrap = console.broker.bootstrap();
    let mut reader = Command::new(ottla_binary()?)
        .args([
            "consume",
            "t",
            "-g",
            "busy",
            "--follow",
            "--bootstrap",
            &bootstrap,
        ])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut first = [0; 2];
    let mut stdout = reader.stdout.take().context("stdout")?;
    stdout.read_exact(&mut first)?;
    let busy = console.json("groups describe busy")?;
    assert_eq!(busy["groups"][0]["state"], "Stable", "{busy}");
    assert_eq!(busy["members"][0]["client_id"], "ottla");
    assert_eq!(busy["members"][0]["partitions"], json!(["t-0", "t-1"]));
    let refused = console.refused("groups delete busy", 1)?;
    assert!(
        refused.contains("delete group busy: NON_EMPTY_GROUP"),
        "{refused}"
    );
    let refused = console.refused(
        "groups reset-offsets busy --topic t --to earliest --execute",
        1,
    )?;
    assert!(
        refused.contains("group busy is in use (its state is Stable)"),
        "{refused}"
    );
    let refused = console.refused("groups delete-offsets busy --topic t", 1)?;
    assert!(refused.contains("GROUP_SUBSCRIBED_TO_TOPIC"), "{refused}");
    let pid = rustix::process::Pid::from_child(&reader);
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    ensure!(reader.wait()?.success(), "Ctrl-C ends it in order");
    assert_eq!(
        console.json("groups describe busy")?["groups"][0]["state"],
        "Empty",
        "it has left"
    );

    assert_eq!(
        console.says("groups delete g new busy")?,
        "deleted group g\ndeleted group new\ndeleted group busy\n"
    );
    let refused = console.refused("groups describe g", 1)?;
    assert!(refused.contains("group g: GROUP_ID_NOT_FOUND"), "{refused}");
    Ok(())
}

const WITH_ACLS: [(&str, &str); 3] = [
    (
        "authorizer.class.name",
        "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    ),
    ("super.users", "User:ANONYMOUS"),
    ("allow.everyone.if.no.acl.found", "true"),
];

#[test]
fn settings_rights_users_and_quotas_are_set_seen_and_removed() -> Result<()> {
    let console = Console::start(&WITH_ACLS)?;
    console.says("topics create t")?;
    for (kind, name, key, value) in [
        ("topic", "t", "retention.ms", "60000"),
        ("broker", "1", "log.cleaner.threads", "2"),
        ("broker", "default", "message.max.bytes", "2000000"),
        ("group", "g", "consumer.session.timeout.ms", "50000"),
    ] {
        let changed = console.says(&format!("configs set {kind} {name} {key}={value}"))?;
        assert_eq!(changed, format!("changed {name}\n"));
        let shown = console.json(&format!("configs describe {kind} {name}"))?;
        let row = shown
            .as_array()
            .and_then(|rows| rows.iter().find(|row| row["key"] == key));
        assert_eq!(row.context("a row")?["value"], value, "{kind} {name}");
        console.says(&format!("configs delete {kind} {name} {key}"))?;
        let shown = console.json(&format!("configs describe {kind} {name}"))?;
        let rows = shown.as_array().context("rows")?;
        assert!(
            rows.iter().all(|row| row["key"] != key),
            "{kind} {name}: {shown}"
        );
    }
    let all = console.json("configs describe topic t --all")?;
    assert!(all.as_array().is_some_and(|rows| rows.len() > 20), "{all}");
    let refused = console.refused("configs set topic t retention.ms=soon", 1)?;
    assert!(refused.contains("change t: INVALID_CONFIG"), "{refused}");
    let refused = console.refused("configs describe broker x", 2)?;
    assert!(
        refused.contains("x: expected the id of a broker"),
        "{refused}"
    );

    assert_eq!(
        console.says(
            "acls add --principal User:ann --resource topic:orders- --prefixed --operation read"
        )?,
        "PRINCIPAL  HOST  PERMISSION  OPERATION  RESOURCE  NAME     PATTERN\n\
         User:ann   *     allow       read       topic     orders-  prefixed\n"
    );
    console.says("acls add --principal User:bob --resource cluster --operation alter --operation create --deny")?;
    assert_eq!(console.json("acls list")?.as_array().map(Vec::len), Some(3));
    let denied = console.json("acls list --deny --operation create")?;
    assert_eq!(denied[0]["principal"], "User:bob");
    assert_eq!(denied[0]["name"], "kafka-cluster");
    assert_eq!(
        console.json("acls list --deny=false --principal User:bob")?,
        json!([])
    );
    let refused = console.refused("acls remove", 2)?;
    assert!(
        refused.contains("this would remove all entries"),
        "{refused}"
    );
    assert_eq!(
        console
            .json("acls remove --principal User:bob")?
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    console.says("acls remove --all")?;
    assert_eq!(console.json("acls list")?, json!([]));

    let refused = console.refused("users add ann", 2)?;
    assert!(refused.contains("--password-stdin"), "{refused}");
    assert_eq!(
        console.says_to("users add ann --password-stdin", "secret\n")?,
        "ann logs in with SCRAM-SHA-512\n"
    );
    let ended = run_as(
        "ottla",
        &[
            "users",
            "add",
            "ann",
            "--mechanism",
            "SCRAM-SHA-256",
            "--iterations",
            "8192",
            "--bootstrap",
            &console.broker.bootstrap(),
        ],
        "",
        &[("OTTLA_PASSWORD_ANN", "other")],
    )?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        console.says("users list")?,
        "USER  MECHANISM      ITERATIONS\n\
         ann   SCRAM-SHA-256  8192\n\
         ann   SCRAM-SHA-512  4096\n"
    );
    console.says("users remove ann")?;
    assert_eq!(console.json("users list")?, json!([]));
    let refused = console.refused("users remove ann", 1)?;
    assert!(refused.contains("there is no user ann"), "{refused}");

    console.says("quotas set --user ann --client-id app producer_byte_rate=1024")?;
    console.says("quotas set --user-default consumer_byte_rate=2048")?;
    assert_eq!(
        console.json("quotas list --user ann --client-id app")?,
        json!([{"user": "ann", "client_id": "app", "ip": null, "key": "producer_byte_rate", "value": 1024.0}])
    );
    assert_eq!(
        console.json("quotas list --user-default")?[0]["user"],
        "(default)"
    );
    assert_eq!(
        console.json("quotas list")?.as_array().map(Vec::len),
        Some(2)
    );
    console.says("quotas remove --user ann --client-id app producer_byte_rate")?;
    console.says("quotas remove --user-default consumer_byte_rate")?;
    assert_eq!(console.json("quotas list")?, json!([]));
    let refused = console.refused("quotas set consumer_byte_rate=1", 2)?;
    assert!(refused.contains("whose?"), "{refused}");
    let refused = console.refused("quotas set --user ann producer_rate=1", 1)?;
    assert!(refused.contains("INVALID_REQUEST"), "{refused}");
    Ok(())
}

#[test]
fn kafkas_names_do_what_compose_files_ask_of_them() -> Result<()> {
    let console = Console::start(&[])?;
    let says = |name: &str, line: &str| console.script_says(name, line);
    let create = "--create --if-not-exists --topic orders --partitions 2 --replication-factor 1 --config retention.ms=1000";
    assert_eq!(says("kafka-topics", create)?, "Created topic orders.\n");
    assert_eq!(says("kafka-topics", create)?, "");
    let again = console.script("kafka-topics", "--create --topic orders", "")?;
    assert_eq!(again.code, Some(1));
    assert!(
        again
            .stderr
            .contains("Error while executing topic command : "),
        "{again:?}"
    );
    assert_eq!(says("kafka-topics", "--list")?, "orders\n");
    let described = says("kafka-topics", "--describe --topic orders")?;
    let brokers = console.broker.count();
    assert!(
        described.starts_with("Topic: orders\tTopicId: ")
            && described.contains(&format!(
                "\tPartitionCount: 2\tReplicationFactor: {brokers}\tConfigs: "
            ))
            && described.contains("retention.ms=1000")
            && (brokers > 1
                || described
                    .contains("\n\tTopic: orders\tPartition: 1\tLeader: 1\tReplicas: 1\tIsr: 1\t")),
        "{described}"
    );
    assert_eq!(
        says("kafka-topics", "--alter --topic orders --partitions 3")?,
        ""
    );
    let alter = "--alter --entity-type topics --entity-name orders --add-config cleanup.policy=[compact,delete],retention.ms=5000";
    assert_eq!(
        says("kafka-configs", alter)?,
        "Completed updating config for topic orders.\n"
    );
    let described = says(
        "kafka-configs",
        "--describe --entity-type topics --entity-name orders",
    )?;
    assert!(
        described.starts_with("Dynamic configs for topic orders are:\n")
            && described.contains("  cleanup.policy=compact,delete sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,delete, DEFAULT_CONFIG:"),
        "{described}"
    );
    let produced = console.script(
        "kafka-console-producer",
        "--topic orders --property parse.key=true --property key.separator=:",
        "a:1\na:2\n",
    )?;
    assert_eq!(
        (produced.code, produced.stdout.as_str()),
        (Some(0), ""),
        "{produced:?}"
    );
    let read = console.script(
        "kafka-console-consumer",
        "--topic orders --from-beginning --max-messages 1 --property print.key=true --group g",
        "",
    )?;
    assert_eq!(
        (read.code, read.stdout.as_str()),
        (Some(0), "a\t1\n"),
        "{read:?}"
    );
    assert!(
        read.stderr.contains("Processed a total of 1 messages"),
        "{read:?}"
    );
    let timed_out = console.script(
        "kafka-console-consumer",
        "--topic orders --timeout-ms 600",
        "",
    )?;
    assert_eq!(
        (timed_out.code, timed_out.stdout.as_str()),
        (Some(0), ""),
        "{timed_out:?}"
    );
    assert_eq!(says("kafka-consumer-groups", "--list")?, "g\n");
    let described = says("kafka-consumer-groups", "--describe --all-groups")?;
    assert!(
        described.contains("\nConsumer group 'g' has no active members.\n")
            && described.contains("GROUP           TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     HOST            CLIENT-ID\n")
            && described.contains("g               orders          1          1               2               1               -               -               -"),
        "{described}"
    );
    let versions = says("kafka-broker-api-versions", "")?;
    assert!(
        versions.contains(" (id: 1 rack: null isFenced: false) -> (\n\tProduce(0): "),
        "{versions}"
    );
    assert_eq!(says("kafka-topics", "--delete --topic orders")?, "");
    let other = console.script("kafka-topics", "--list --under-replicated-partitions", "")?;
    assert_eq!(other.code, Some(1));
    assert!(
        other.stderr.contains("use Kafka's own kafka-topics.sh"),
        "{other:?}"
    );
    let other = console.script("kafka-acls", "--list", "")?;
    assert_eq!(other.code, Some(1));
    assert!(
        other.stderr.contains("use Kafka's own kafka-acls.sh"),
        "{other:?}"
    );
    Ok(())
}

/// `ottla --secure`; killed when dropped.
struct Secured(Child);

impl Secured {
    /// Serves when this returns.
    fn start(data: &Path, listen: &str) -> Result<Self> {
        let mut child = Command::new(ottla_binary()?)
            .args(["--secure", "--listen", listen, "--data-dir"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("stdout")?;
        let started = Self(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line.contains("listens on"), "it did not start");
        Ok(started)
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_is_let_in_by_a_secured_broker_says_so_in_a_file() -> Result<()> {
    if BrokerKind::from_env()? == BrokerKind::Kafka {
        compat_tests::toolchain::skip("--secure is Ottla's own");
        return Ok(());
    }
    let data = tempfile::tempdir()?;
    let listen = format!("127.0.0.1:{}", free_port()?);
    let _broker = Secured::start(data.path(), &listen)?;
    let bootstrap = listen.as_str();
    let dir = data.path().join("secure");
    for name in ["client.properties", "librdkafka.conf"] {
        let file = dir.join(name).display().to_string();
        let listed = run_as(
            "ottla",
            &["topics", "list", "--client-config", &file],
            "",
            &[],
        )?;
        assert_eq!(listed.code, Some(0), "{name}: {listed:?}");
    }
    let file = dir.join("client.properties");
    let text = std::fs::read_to_string(&file)?;
    let written = |name: &str, text: String| -> Result<String> {
        let path = dir.join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let health = |config: &str| {
        run_as(
            "ottla",
            &[
                "health",
                "--bootstrap",
                bootstrap,
                "--client-config",
                config,
            ],
            "",
            &[],
        )
    };
    for (name, from, to, expected) in [
        (
            "password",
            "password=\"",
            "password=\"x",
            "SASL_AUTHENTICATION_FAILED",
        ),
        (
            "mechanism",
            "SCRAM-SHA-512",
            "PLAIN",
            "the broker offers SCRAM-SHA-512",
        ),
        (
            "plaintext",
            "SASL_SSL",
            "SASL_PLAINTEXT",
            "security.protocol=SSL or SASL_SSL",
        ),
        ("authority", "ca.pem", "server.pem", "UnknownIssuer"),
    ] {
        let ended = health(&written(name, text.replace(from, to))?)?;
        assert_eq!(ended.code, Some(1), "{name}: {ended:?}");
        assert!(ended.stderr.contains(expected), "{name}: {ended:?}");
    }

    // A user of less.
    let admin = file.display().to_string();
    let as_admin = |args: &[&str], stdin: &str| {
        run_as(
            "ottla",
            &[args, &["--client-config", &admin]].concat(),
            stdin,
            &[],
        )
    };
    let added = as_admin(&["users", "add", "ann", "--password-stdin"], "wonder\n")?;
    assert_eq!(added.code, Some(0), "{added:?}");
    let start = text.find("username=").context("a user")?;
    let ann = format!("{}username=\"ann\" password=\"wonder\";\n", &text[..start]);
    let ann = written("ann.properties", ann)?;
    let as_ann = |args: &[&str], stdin: &str| {
        run_as(
            "ottla",
            &[args, &["--client-config", &ann]].concat(),
            stdin,
            &[],
        )
    };
    let refused = as_ann(&["topics", "create", "t"], "")?;
    assert!(refused.stderr.contains("`ottla acls add`"), "{refused:?}");
    let created = as_admin(&["topics", "create", "t"], "")?;
    assert_eq!(created.code, Some(0), "{created:?}");
    let right = [
        "acls",
        "add",
        "--principal",
        "User:ann",
        "--resource",
        "topic:t",
        "--operation",
        "all",
    ];
    let right = as_admin(&right, "")?;
    assert_eq!(right.code, Some(0), "{right:?}");
    let produced = as_ann(&["produce", "t"], "hello\n")?;
    assert_eq!(produced.code, Some(0), "{produced:?}");
    let read = as_ann(&["consume", "t"], "")?;
    assert_eq!(
        (read.code, read.stdout.as_str()),
        (Some(0), "hello\n"),
        "{read:?}"
    );
    let script = run_as(
        "kafka-topics.sh",
        &[
            "--bootstrap-server",
            bootstrap,
            "--command-config",
            &ann,
            "--list",
        ],
        "",
        &[],
    )?;
    assert_eq!(
        (script.code, script.stdout.as_str()),
        (Some(0), "t\n"),
        "{script:?}"
    );
    Ok(())
}

#[test]
fn who_is_no_broker_is_told_apart_in_time() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let health = |timeout| {
        run_as(
            "ottla",
            &["health", "--bootstrap", &address, "--timeout", timeout],
            "",
            &[],
        )
    };
    // The system takes connections for it, and nobody answers.
    let silent = health("1")?;
    assert_eq!(silent.code, Some(1));
    assert!(
        silent.stderr.contains("no answer within 1 s; --timeout"),
        "{silent:?}"
    );
    for (answer, expected) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            "not a Kafka broker's answer",
        ),
        (b"", "closed the connection instead of answering"),
        (b"\x00\x00\x00\x04\x00\x00\x00\x07", "answers out of order"),
        (
            b"\x00\x00\x00\x06\x00\x00\x00\x01\x00\x00",
            "an answer that is none",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let server = thread::spawn(move || -> Result<()> {
            let (mut stream, _) = listener.accept()?;
            let mut request = [0; 4];
            stream.read_exact(&mut request)?;
            let mut request = vec![0; usize::try_from(u32::from_be_bytes(request))?];
            stream.read_exact(&mut request)?;
            stream.write_all(answer)?;
            Ok(())
        });
        let ended = run_as("ottla", &["health", "--bootstrap", &address], "", &[])?;
        server.join().map_err(|_| anyhow::anyhow!("a panic"))??;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(expected), "{ended:?}");
    }
    drop(listener);
    let nobody = health("1")?;
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.stderr.contains("Connection refused"), "{nobody:?}");
    // The second address is asked when the first does not answer.
    let both = format!("{address},{address}");
    let nobody = run_as("ottla", &["health", "--bootstrap", &both], "", &[])?;
    assert_eq!(nobody.stderr.lines().count(), 2, "{nobody:?}");
    Ok(())
}

#[test]
fn commands_files_and_slips_are_told_apart() -> Result<()> {
    let run = |args: &[&str]| run_as("ottla", args, "", &[]);
    let slip = run(&["topcs", "list"])?;
    assert_eq!(slip.code, Some(2));
    assert!(
        slip.stderr
            .contains("topcs: there is no such command, and no such file")
            && slip.stderr.contains("`ottla topics`"),
        "{slip:?}"
    );
    let file = run(&["nowhere/server.properties"])?;
    assert_eq!(file.code, Some(2));
    assert!(!file.stderr.contains("no such command"), "{file:?}");
    let unknown = run(&["topics", "create"])?;
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("<TOPIC>"), "{unknown:?}");
    let help = run(&["--help"])?;
    for name in [
        "topics",
        "groups",
        "produce",
        "consume",
        "configs",
        "acls",
        "users",
        "quotas",
        "health",
        "completions",
        "import",
    ] {
        assert!(help.stdout.contains(name), "{name}: {}", help.stdout);
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell])?;
        assert_eq!(script.code, Some(0));
        for word in ["reset-offsets", "ephemeral", "client-config"] {
            assert!(script.stdout.contains(word), "{shell} completes {word}");
        }
    }
    let manual = run(&["man"])?;
    assert_eq!(manual.code, Some(0));
    for page in [".TH ottla 1", ".TH ottla-groups-reset-offsets 1"] {
        assert!(manual.stdout.contains(page), "{page}: {}", manual.stdout);
    }
    Ok(())
}
