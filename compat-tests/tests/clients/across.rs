//! What one client writes every other reads the same, and members of different clients share a group's partitions.
//!
//! The programs are `across.*` in `clients/`; what they write is in each of them, and here.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Buf as _, Bytes};
use compat_tests::coverage::{self, Outcome, Subject};
use compat_tests::python::Python;
use compat_tests::{BrokerProcess, Program, RawClient, available, go, java, node};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerProtocolAssignment, CreateTopicsRequest,
    DescribeGroupsRequest,
};
use kafka_protocol::protocol::{Decodable as _, StrBytes};

const LIMIT: Duration = Duration::from_secs(120);

const CODECS: &[&str] = &["none", "gzip", "snappy", "lz4", "zstd"];

/// Key, value and headers.
type Record = (
    Option<&'static str>,
    Option<&'static str>,
    &'static [(&'static str, &'static str)],
);

/// What each client writes; a program that reads tells the texts in hexadecimal digits.
const RECORDS: &[Record] = &[
    (None, Some("a null key"), &[]),
    (Some(""), Some("an empty key"), &[]),
    (Some("key"), None, &[]),
    (Some("key"), Some(""), &[]),
    (
        Some("k\u{e9}y"),
        Some(HEADERS),
        &[("a", "1"), ("a", "2"), ("empty", "")],
    ),
];
const HEADERS: &str = concat!(
    "headers headers headers headers headers headers headers headers headers headers ",
    "headers headers headers headers headers headers headers headers headers headers "
);

/// A client that takes part.
struct Client {
    name: &'static str,
    version: &'static str,
    command: fn() -> Result<Command>,
    /// How many of [`CODECS`] it has.
    codecs: usize,
    /// Whether it tells what is empty as null, as kafka-go does.
    empty_is_null: bool,
    /// Whether it can be a member of a group with the range assignor, and of one of KIP-848.
    groups: (bool, bool),
}

const CLIENTS: &[Client] = &[
    Client {
        name: "confluent-kafka",
        version: "2.16.1",
        command: || Ok(Python::with("confluent-kafka", "2.16.1")?.command("across.py", &[])),
        codecs: 5,
        empty_is_null: false,
        groups: (true, true),
    },
    Client {
        name: "kafka-python",
        version: "3.0.12",
        command: || Ok(Python::with("kafka-python", "3.0.12")?.command("across.py", &[])),
        codecs: 5,
        empty_is_null: false,
        groups: (true, false),
    },
    Client {
        name: "aiokafka",
        version: "0.14.0",
        command: || Ok(Python::with("aiokafka", "0.14.0")?.command("across.py", &[])),
        codecs: 5,
        empty_is_null: false,
        groups: (true, false),
    },
    Client {
        name: "kafka-clients",
        version: "4.4.0",
        command: || java::client("4.4.0", "Across"),
        codecs: 5,
        empty_is_null: false,
        groups: (true, true),
    },
    Client {
        name: "franz-go",
        version: "1.22.3",
        command: || go::program("franz-go").map(Command::new),
        codecs: 5,
        empty_is_null: false,
        groups: (true, true),
    },
    Client {
        name: "sarama",
        version: "1.61.1",
        command: || go::program("sarama").map(Command::new),
        codecs: 5,
        empty_is_null: false,
        groups: (true, false),
    },
    Client {
        name: "kafka-go",
        version: "0.4.51",
        command: || go::program("kafka-go").map(Command::new),
        codecs: 5,
        empty_is_null: true,
        // Its subscription says version 1 and ends as one of version 0. Others cannot read it, with Kafka neither: where they
        // lead the group, it gets no partition.
        groups: (false, false),
    },
    Client {
        name: "kafkajs",
        version: "2.2.4",
        command: || node::command("kafkajs", "across.js"),
        codecs: 3,
        empty_is_null: false,
        groups: (false, false),
    },
];

#[test]
fn clients_read_what_others_write_and_share_groups() -> Result<()> {
    for client in CLIENTS {
        if available((client.command)())?.is_none() {
            return Ok(());
        }
    }
    let Some(mut broker) = available(BrokerProcess::start_with(compat_tests::trial::CONFIG))?
    else {
        return Ok(());
    };
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let base_ms = u64::try_from(since_1970.as_millis())? - 60_000;

    let mut topics = Vec::new();
    for writer in CLIENTS {
        topics.extend(
            CODECS[..writer.codecs]
                .iter()
                .map(|codec| format!("{}-{codec}", writer.name)),
        );
    }
    create(&broker, &topics, 1)?;
    for writer in CLIENTS {
        let written = run(
            writer,
            "write",
            &broker,
            &[writer.name.to_owned(), base_ms.to_string()],
        );
        written.with_context(|| format!("{} writes\n{}", writer.name, broker.log_tail()))?;
    }
    let mut outcomes: Vec<Vec<Outcome>> = Vec::new();
    for reader in CLIENTS {
        outcomes.push(read_all(reader, &broker, base_ms)?);
    }
    for (protocol, takes_part) in [("classic", 0), ("consumer", 1)] {
        let members: Vec<usize> = (0..CLIENTS.len())
            .filter(|index| [CLIENTS[*index].groups.0, CLIENTS[*index].groups.1][takes_part])
            .collect();
        let shared = share(&broker, protocol, &members).with_context(|| broker.log_tail());
        for index in members {
            let outcome = shared
                .as_ref()
                .copied()
                .map_err(|error| format!("{error:#}"));
            outcomes[index].push((
                format!("shares a group of the {protocol} protocol with the others"),
                outcome,
            ));
        }
    }
    broker.terminate()?;
    for (client, outcomes) in CLIENTS.iter().zip(&outcomes) {
        let subject = Subject {
            section: "across-clients",
            name: client.name,
            version: client.version,
        };
        coverage::check(subject, outcomes)?;
    }
    Ok(())
}

fn run(
    client: &Client,
    what: &str,
    broker: &BrokerProcess,
    args: &[String],
) -> Result<Vec<String>> {
    let mut command = (client.command)()?;
    command.arg(what).arg(broker.bootstrap()).args(args);
    Program::start(command, LIMIT)?.finish_with_lines()
}

/// Reads what each client has written; the topics of each make one outcome.
fn read_all(reader: &Client, broker: &BrokerProcess, base_ms: u64) -> Result<Vec<Outcome>> {
    let mut topics = Vec::new();
    for writer in CLIENTS {
        let codecs = writer.codecs.min(reader.codecs);
        topics.extend(
            CODECS[..codecs]
                .iter()
                .map(|codec| format!("{}-{codec}", writer.name)),
        );
    }
    let lines =
        run(reader, "read", broker, &topics).with_context(|| format!("{} reads", reader.name))?;
    let found: BTreeSet<&String> = lines.iter().collect();
    let mut outcomes = Vec::new();
    for writer in CLIENTS {
        let prefix = format!("{}-", writer.name);
        let missing: Vec<String> = topics
            .iter()
            .filter(|topic| {
                topic
                    .strip_prefix(&prefix)
                    .is_some_and(|codec| CODECS.contains(&codec))
            })
            .flat_map(|topic| {
                (0..RECORDS.len())
                    .map(move |index| line(topic, index, base_ms, reader.empty_is_null))
            })
            .filter(|line| !found.contains(line))
            .collect();
        let outcome = if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("these are missing: {missing:#?}"))
        };
        outcomes.push((format!("reads what {} writes", writer.name), outcome));
    }
    Ok(outcomes)
}

/// What a program tells of a record.
fn line(topic: &str, index: usize, base_ms: u64, empty_is_null: bool) -> String {
    let digits = |text: &str| {
        if text.is_empty() && empty_is_null {
            return "null".to_owned();
        }
        let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("x{digits}")
    };
    let or_null = |text: Option<&str>| text.map_or("null".to_owned(), digits);
    let (key, value, headers) = RECORDS[index];
    let headers: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}={}", digits(value)))
        .collect();
    let timestamp_ms = base_ms + index as u64;
    format!(
        "{topic} {index} {timestamp_ms} {} {} [{}]",
        or_null(key),
        or_null(value),
        headers.join(",")
    )
}

/// Has a member of each client in one group until each owns two partitions; then all but the first leave.
fn share(broker: &BrokerProcess, protocol: &str, members: &[usize]) -> Result<()> {
    let topic = format!("shared-{protocol}");
    create(
        broker,
        std::slice::from_ref(&topic),
        i32::try_from(2 * members.len())?,
    )?;
    let args = [
        topic.clone(),
        format!("of-all-{protocol}"),
        protocol.to_owned(),
    ];
    let mut client = RawClient::connect(broker.address())?.to_coordinator(&args[1])?;
    let mut programs = Vec::new();
    for index in members {
        let mut command = (CLIENTS[*index].command)()?;
        command.arg("member").arg(broker.bootstrap()).args(&args);
        programs.push(Program::start(command, LIMIT)?);
    }
    wait_for(&mut client, &args[1], protocol, members.len(), 2)?;
    let first = programs.remove(0);
    for mut program in programs {
        program.close_stdin();
        program.finish()?;
    }
    wait_for(&mut client, &args[1], protocol, 1, 2 * members.len())?;
    first.finish().map(|_| ())
}

/// Waits until the group has so many members with so many partitions each, none of them twice.
fn wait_for(
    client: &mut RawClient,
    group: &str,
    protocol: &str,
    members: usize,
    each: usize,
) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let owned = if protocol == "classic" {
            classic_members(client, group)?
        } else {
            consumer_members(client, group)?
        };
        let partitions = owned.iter().map(|(_, partitions)| partitions);
        let distinct: BTreeSet<i32> = partitions.clone().flatten().copied().collect();
        if owned.len() == members
            && partitions
                .clone()
                .all(|partitions| partitions.len() == each)
            && distinct.len() == members * each
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("not {members} members with {each} partitions each: {owned:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A member's id, and its partitions.
type Owner = (StrBytes, Vec<i32>);

fn classic_members(client: &mut RawClient, group: &str) -> Result<Vec<Owner>> {
    let request = DescribeGroupsRequest::default()
        .with_groups(vec![StrBytes::from_string(group.to_owned()).into()]);
    let described = client.call(5, &request)?.groups.remove(0);
    if described.group_state.as_str() != "Stable" {
        return Ok(Vec::new());
    }
    described
        .members
        .into_iter()
        .map(|member| Ok((member.member_id, partitions(member.member_assignment)?)))
        .collect()
}

fn partitions(mut assignment: Bytes) -> Result<Vec<i32>> {
    if assignment.is_empty() {
        return Ok(Vec::new());
    }
    let version = assignment.get_i16();
    let decoded = ConsumerProtocolAssignment::decode(&mut assignment, version.min(3))?;
    Ok(decoded
        .assigned_partitions
        .into_iter()
        .flat_map(|topic| topic.partitions)
        .collect())
}

fn consumer_members(client: &mut RawClient, group: &str) -> Result<Vec<Owner>> {
    let request = ConsumerGroupDescribeRequest::default()
        .with_group_ids(vec![StrBytes::from_string(group.to_owned()).into()]);
    let described = client.call(0, &request)?.groups.remove(0);
    let owned = |topics: Vec<_>| {
        topics.into_iter().flat_map(
            |topic: kafka_protocol::messages::consumer_group_describe_response::TopicPartitions| {
                topic.partitions
            },
        )
    };
    Ok(described
        .members
        .into_iter()
        .map(|member| {
            let partitions = owned(member.assignment.topic_partitions).collect();
            (member.member_id, partitions)
        })
        .collect())
}

fn create(broker: &BrokerProcess, topics: &[String], partitions: i32) -> Result<()> {
    let topics = topics.iter().map(|name| {
        CreatableTopic::default()
            .with_name(StrBytes::from_string(name.clone()).into())
            .with_num_partitions(partitions)
            .with_replication_factor(1)
    });
    let request = CreateTopicsRequest::default()
        .with_topics(topics.collect())
        .with_timeout_ms(30_000);
    let created = RawClient::connect(broker.address())?.call(5, &request)?;
    for topic in created.topics {
        ensure!(topic.error_code == 0, "{topic:?}");
    }
    Ok(())
}
