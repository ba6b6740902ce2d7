//! Kafka's own command names, for the options that health checks and topic creation in compose files use.
//!
//! An image that replaces Kafka's has links to the binary at /opt/kafka/bin. What is written out is what Kafka's tools write;
//! an option that is not here is refused, by the name of Kafka's tool that has it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser};
use kafka_protocol::messages::ApiKey;
use storage::record::CompressionType;

use crate::cluster::{Cluster, Connect, topic_name};
use crate::configs::{self, Kind};
use crate::consume::{Consume, Limits};
use crate::failure::{Failure, Result, failed, usage};
use crate::groups;
use crate::page::{Output, line, plain};
use crate::position::Position;
use crate::produce::Produce;
use crate::topics::{self, Shape};

const SCRIPTS: [&str; 6] = [
    "kafka-topics",
    "kafka-configs",
    "kafka-consumer-groups",
    "kafka-console-producer",
    "kafka-console-consumer",
    "kafka-broker-api-versions",
];
/// Kafka's tools give no other code.
const FAILED: u8 = 1;

/// The name that the program is called by, if that is one of Kafka's.
pub(crate) fn called(program: &OsString) -> Option<String> {
    let name = Path::new(program).file_name()?.to_str()?;
    let name = name.strip_suffix(".sh").unwrap_or(name);
    name.starts_with("kafka-").then(|| name.to_owned())
}

/// Runs a script of Kafka's.
pub(crate) fn run(name: &str, arguments: &[OsString]) -> ExitCode {
    let outcome = match name {
        "kafka-topics" => parsed::<TopicsScript>(arguments).map(|script| script.run()),
        "kafka-configs" => parsed::<ConfigsScript>(arguments).map(|script| script.run()),
        "kafka-consumer-groups" => parsed::<GroupsScript>(arguments).map(|script| script.run()),
        "kafka-console-producer" => parsed::<ProducerScript>(arguments).map(|script| script.run()),
        "kafka-console-consumer" => parsed::<ConsumerScript>(arguments).map(|script| script.run()),
        "kafka-broker-api-versions" => {
            parsed::<VersionsScript>(arguments).map(|script| script.run())
        }
        _ => {
            let known = SCRIPTS.join(".sh, ");
            eprintln!(
                "{name}.sh is not in Ottla, which answers to {known}.sh; use Kafka's own {name}.sh"
            );
            return ExitCode::from(FAILED);
        }
    };
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            eprintln!("{}", plain(&failure.text()));
            ExitCode::from(FAILED)
        }
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        Err(error) => {
            let text = error.to_string();
            let text = text.lines().next().unwrap_or_default();
            eprintln!(
                "{text}: {name}.sh of Ottla has the options that health checks and topic creation need; for others use Kafka's own {name}.sh"
            );
            ExitCode::from(FAILED)
        }
    }
}

fn parsed<S: Parser>(arguments: &[OsString]) -> Result<S, clap::Error> {
    S::try_parse_from(arguments)
}

/// Where the broker is.
#[derive(Args, Clone)]
struct Broker {
    #[arg(long, required = true)]
    bootstrap_server: String,
    #[arg(long, visible_aliases = ["producer.config", "consumer.config"])]
    command_config: Option<PathBuf>,
}

impl Broker {
    fn work(self, work: impl AsyncFnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
        let connect = Connect {
            bootstrap: Some(self.bootstrap_server),
            client_config: self.command_config,
            timeout: 60,
        };
        crate::block_on(async {
            let mut cluster = Cluster::connect(&connect).await?;
            work(&mut cluster).await
        })
    }
}

#[derive(Parser)]
#[command(infer_long_args = true)]
struct TopicsScript {
    #[command(flatten)]
    broker: Broker,
    #[command(flatten)]
    action: TopicsAction,
    #[arg(long)]
    topic: Option<String>,
    #[arg(long)]
    partitions: Option<i32>,
    #[arg(long)]
    replication_factor: Option<i16>,
    #[arg(long, value_parser = crate::parse_pair)]
    config: Vec<(String, String)>,
    #[arg(long)]
    if_not_exists: bool,
    #[arg(long)]
    if_exists: bool,
    #[arg(long)]
    exclude_internal: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct TopicsAction {
    #[arg(long)]
    create: bool,
    #[arg(long)]
    list: bool,
    #[arg(long)]
    describe: bool,
    #[arg(long)]
    delete: bool,
    #[arg(long)]
    alter: bool,
}

impl TopicsScript {
    fn run(self) -> Result<()> {
        let broker = self.broker.clone();
        broker.work(async |cluster| self.act(cluster).await)
    }

    fn named(&self) -> Result<[String; 1]> {
        let topic = self.topic.clone();
        topic
            .map(|topic| [topic])
            .ok_or_else(|| usage("Missing required argument \"[topic]\""))
    }

    async fn act(&self, cluster: &mut Cluster) -> Result<()> {
        let said = |failure: Failure| {
            failed(format!(
                "Error while executing topic command : {}",
                failure.text()
            ))
        };
        let action = &self.action;
        if action.create {
            let shape = Shape {
                partitions: self.partitions,
                replication_factor: self.replication_factor,
                configs: self.config.clone(),
            };
            let names = self.named()?;
            if names[0].contains(['.', '_']) {
                line(
                    "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both.",
                );
            }
            for made in topics::create(cluster, &names, &shape).await? {
                match made.already_there && self.if_not_exists {
                    true => {}
                    false => {
                        made.outcome.map_err(said)?;
                        line(&format!("Created topic {}.", made.name));
                    }
                }
            }
            return Ok(());
        }
        let all = cluster.topics(None, false).await?;
        let chosen = all.iter().filter(|topic| {
            let name = topic_name(topic);
            let is_named = self
                .topic
                .as_ref()
                .is_none_or(|wanted| wanted.split(',').any(|one| one == name));
            is_named && !(self.exclude_internal && topic.is_internal)
        });
        let chosen: Vec<_> = chosen.collect();
        let names: Vec<String> = chosen.iter().map(|topic| topic_name(topic)).collect();
        if action.list {
            names.iter().for_each(|name| line(name));
            return Ok(());
        }
        if let Some(topic) = self
            .topic
            .as_ref()
            .filter(|_| chosen.is_empty() && !self.if_exists)
        {
            return Err(said(failed(format!(
                "Topic '{topic}' does not exist as expected"
            ))));
        }
        if action.describe {
            for topic in chosen {
                describe(cluster, topic).await?;
            }
            return Ok(());
        }
        self.named()?;
        let outcomes = match (action.delete, self.partitions) {
            _ if names.is_empty() => Vec::new(),
            (true, _) => topics::delete(cluster, &names).await?,
            (false, Some(count)) => topics::add_partitions(cluster, &names, count).await?,
            (false, None) => return Err(usage("Missing required argument \"[partitions]\"")),
        };
        for (_, outcome) in outcomes {
            outcome.map_err(said)?;
        }
        Ok(())
    }
}

async fn describe(
    cluster: &mut Cluster,
    topic: &kafka_protocol::messages::metadata_response::MetadataResponseTopic,
) -> Result<()> {
    let name = topic_name(topic);
    let configs = configs::describe(cluster, Kind::Topic, &name).await?;
    // Kafka's tool shows whatever is not a default.
    let configs = configs.iter().filter(|config| config.config_source != 5);
    let configs = configs.map(|config| {
        let value = config.value.as_ref().map_or("", |value| value.as_str());
        format!("{}={value}", config.name.as_str())
    });
    let configs: Vec<String> = configs.collect();
    let ids = |ids: &[kafka_protocol::messages::BrokerId]| -> String {
        let ids: Vec<String> = ids.iter().map(|id| id.0.to_string()).collect();
        ids.join(",")
    };
    let mut partitions: Vec<_> = topic.partitions.iter().collect();
    partitions.sort_by_key(|partition| partition.partition_index);
    let replicas = partitions
        .first()
        .map_or(0, |partition| partition.replica_nodes.len());
    line(&format!(
        "Topic: {name}\tTopicId: {}\tPartitionCount: {}\tReplicationFactor: {replicas}\tConfigs: {}",
        base64_id(topic.topic_id),
        partitions.len(),
        configs.join(","),
    ));
    for partition in partitions {
        line(&format!(
            "\tTopic: {name}\tPartition: {}\tLeader: {}\tReplicas: {}\tIsr: {}\tElr: \tLastKnownElr: ",
            partition.partition_index,
            partition.leader_id.0,
            ids(&partition.replica_nodes),
            ids(&partition.isr_nodes),
        ));
    }
    Ok(())
}

/// An id as Kafka prints it.
fn base64_id(id: uuid::Uuid) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(id.as_bytes())
}

#[derive(Parser)]
#[command(infer_long_args = true)]
struct ConfigsScript {
    #[command(flatten)]
    broker: Broker,
    #[arg(
        long,
        required_unless_present = "describe",
        conflicts_with = "describe"
    )]
    alter: bool,
    #[arg(long)]
    describe: bool,
    #[arg(long)]
    entity_type: Option<String>,
    #[arg(long)]
    entity_name: Option<String>,
    #[arg(long)]
    entity_default: bool,
    #[arg(long)]
    topic: Option<String>,
    #[arg(long)]
    add_config: Option<String>,
    #[arg(long)]
    delete_config: Option<String>,
    #[arg(long)]
    all: bool,
}

impl ConfigsScript {
    fn run(self) -> Result<()> {
        let (kind, said, name) = match (self.entity_type.as_deref(), self.topic, self.entity_name) {
            (None, Some(topic), None) => (Kind::Topic, "topic", topic),
            (Some("topics"), None, Some(name)) => (Kind::Topic, "topic", name),
            (Some("groups"), None, Some(name)) => (Kind::Group, "group", name),
            (Some("brokers"), None, Some(name)) => (Kind::Broker, "broker", name),
            (Some("brokers"), None, None) if self.entity_default => {
                (Kind::Broker, "brokers", "default".to_owned())
            }
            _ => {
                return Err(usage(
                    "expected --entity-type topics, brokers or groups with --entity-name; for others use Kafka's own kafka-configs.sh, or `ottla users` and `ottla quotas`",
                ));
            }
        };
        let is_default = said == "brokers";
        let mut changes: Vec<(String, Option<String>)> = Vec::new();
        for pair in outside_brackets(self.add_config.as_deref().unwrap_or_default()) {
            let (key, value) = crate::parse_pair(pair)
                .map_err(|_| usage(format!("Invalid entity config: all configs to be added must be in the format \"key=val\": {pair}")))?;
            let inner = value
                .strip_prefix('[')
                .and_then(|value| value.strip_suffix(']'));
            changes.push((key, Some(inner.unwrap_or(&value).to_owned())));
        }
        let deleted = outside_brackets(self.delete_config.as_deref().unwrap_or_default());
        changes.extend(deleted.map(|key| (key.to_owned(), None)));
        if self.alter && changes.is_empty() {
            return Err(usage(
                "At least one of --add-config or --delete-config must be specified with --alter",
            ));
        }
        let all = self.all;
        self.broker.work(async |cluster| {
            if self.alter {
                let changes: Vec<_> = changes
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_deref()))
                    .collect();
                configs::change(cluster, kind, &name, &changes).await?;
                line(&match is_default {
                    true => {
                        "Completed updating default config for brokers in the cluster.".to_owned()
                    }
                    false => format!("Completed updating config for {said} {name}."),
                });
                return Ok(());
            }
            let head = if all { "All" } else { "Dynamic" };
            line(&match is_default {
                true => "Default configs for brokers in the cluster are:".to_owned(),
                false => format!("{head} configs for {said} {name} are:"),
            });
            for config in configs::describe(cluster, kind, &name).await? {
                if !all && !configs::is_set(&config) {
                    continue;
                }
                let value = |value: Option<&kafka_protocol::protocol::StrBytes>| {
                    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
                };
                let synonyms = config.synonyms.iter().map(|one| {
                    let source = configs::source(one.source);
                    format!(
                        "{source}:{}={}",
                        one.name.as_str(),
                        value(one.value.as_ref())
                    )
                });
                line(&format!(
                    "  {}={} sensitive={} synonyms={{{}}}",
                    config.name.as_str(),
                    value(config.value.as_ref()),
                    config.is_sensitive,
                    synonyms.collect::<Vec<_>>().join(", ")
                ));
            }
            Ok(())
        })
    }
}

/// The parts between commas, but those within `[` and `]`.
fn outside_brackets(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let parts = text.split(move |character| {
        match character {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

#[derive(Parser)]
#[command(infer_long_args = true)]
struct GroupsScript {
    #[command(flatten)]
    broker: Broker,
    #[command(flatten)]
    action: GroupsAction,
    #[arg(long)]
    group: Vec<String>,
    #[arg(long)]
    all_groups: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct GroupsAction {
    #[arg(long)]
    list: bool,
    #[arg(long)]
    describe: bool,
    #[arg(long)]
    delete: bool,
}

impl GroupsScript {
    fn run(self) -> Result<()> {
        self.broker.work(async |cluster| {
            let listed = groups::list(cluster).await?;
            let names = listed.iter().map(|group| group.group_id.to_string());
            if self.action.list {
                names.for_each(|name| line(&name));
                return Ok(());
            }
            let chosen: Vec<String> = match self.all_groups {
                true => names.collect(),
                false => self.group.clone(),
            };
            if chosen.is_empty() && !self.all_groups {
                return Err(usage("expected --group GROUP or --all-groups"));
            }
            if self.action.delete {
                for group in &chosen {
                    groups::delete(cluster, group).await??;
                }
                let named: Vec<String> = chosen.iter().map(|name| format!("'{name}'")).collect();
                line(&format!(
                    "Deletion of requested consumer groups ({}) was successful.",
                    named.join(", ")
                ));
                return Ok(());
            }
            for group in &chosen {
                lag(cluster, group).await?;
            }
            Ok(())
        })
    }
}

async fn lag(cluster: &mut Cluster, group: &str) -> Result<()> {
    let described = groups::describe(cluster, group).await?;
    let rows = groups::rows(cluster, group, &described.members).await?;
    if described.members.is_empty() {
        line(&format!(
            "\nConsumer group '{group}' has no active members."
        ));
    }
    if rows.is_empty() {
        return Ok(());
    }
    let cells = rows.iter().map(|row| {
        let member = row.member.and_then(|index| described.members.get(index));
        let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let of =
            |what: fn(&groups::Member) -> &String| member.map_or("-", |one| what(one)).to_owned();
        [
            group.to_owned(),
            row.partition.0.clone(),
            row.partition.1.to_string(),
            number(row.committed),
            row.end.to_string(),
            number(row.lag()),
            of(|member| &member.id),
            of(|member| &member.host),
            of(|member| &member.client_id),
        ]
    });
    let heads = [
        "GROUP",
        "TOPIC",
        "PARTITION",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ];
    let lines: Vec<[String; 9]> = std::iter::once(heads.map(str::to_owned))
        .chain(cells)
        .collect();
    let width = |column: usize| {
        let longest = lines.iter().map(|line| line[column].len());
        longest.max().unwrap_or(0).max(15)
    };
    let widths = [width(0), width(1), 10, 15, 15, 15, width(6), width(7), 0];
    line("");
    for cells in &lines {
        let padded = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        line(padded.collect::<Vec<_>>().join(" ").as_str());
    }
    Ok(())
}

#[derive(Parser)]
#[command(infer_long_args = true)]
struct ProducerScript {
    #[command(flatten)]
    broker: Broker,
    #[arg(long)]
    topic: String,
    #[arg(long, visible_alias = "reader-property", value_parser = crate::parse_pair)]
    property: Vec<(String, String)>,
    #[arg(long, num_args = 0..=1, default_missing_value = "gzip")]
    compression_codec: Option<String>,
    /// Ottla's has all always.
    #[arg(long, value_parser = ["0", "1", "-1", "all"])]
    request_required_acks: Option<String>,
    #[arg(long)]
    sync: bool,
}

impl ProducerScript {
    fn run(self) -> Result<()> {
        let Self {
            broker,
            topic,
            property,
            compression_codec,
            request_required_acks: _,
            sync: _,
        } = self;
        let known = ["parse.key", "key.separator"];
        let property = properties(property, &known, "kafka-console-producer.sh")?;
        let separator = property("key.separator").unwrap_or_else(|| "\t".to_owned());
        let codec = compression_codec.unwrap_or_else(|| "none".to_owned());
        let mut codecs = CompressionType::ALL.into_iter();
        let produce = Produce {
            topic,
            key_separator: (property("parse.key").as_deref() == Some("true")).then_some(separator),
            header: Vec::new(),
            compression: codecs
                .find(|one| one.name() == codec)
                .ok_or_else(|| usage(format!("--compression-codec {codec} is not known")))?,
            partition: None,
        };
        broker.work(async |cluster| produce.run_quietly(cluster).await)
    }
}

/// What `--property` says, if it says nothing else than is known.
fn properties(
    given: Vec<(String, String)>,
    known: &[&str],
    script: &str,
) -> Result<impl Fn(&str) -> Option<String> + use<>> {
    if let Some((key, _)) = given.iter().find(|(key, _)| !known.contains(&key.as_str())) {
        return Err(usage(format!(
            "--property {key} is not known here, known are {}; use Kafka's own {script}",
            known.join(", ")
        )));
    }
    Ok(move |key: &str| {
        let mut found = given.iter().rev().filter(|(name, _)| name == key);
        found.next().map(|(_, value)| value.clone())
    })
}

#[derive(Parser)]
#[command(infer_long_args = true)]
struct ConsumerScript {
    #[command(flatten)]
    broker: Broker,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    from_beginning: bool,
    #[arg(long)]
    max_messages: Option<u64>,
    #[arg(long)]
    timeout_ms: Option<u64>,
    #[arg(long)]
    group: Option<String>,
    #[arg(long)]
    partition: Option<i32>,
    #[arg(long, requires = "partition")]
    offset: Option<Position>,
    #[arg(long, visible_alias = "formatter-property", value_parser = crate::parse_pair)]
    property: Vec<(String, String)>,
}

impl ConsumerScript {
    fn run(self) -> Result<()> {
        let known = [
            "print.timestamp",
            "print.partition",
            "print.offset",
            "print.headers",
            "print.key",
            "print.value",
            "key.separator",
        ];
        let property = properties(self.property, &known, "kafka-console-consumer.sh")?;
        let separator = property("key.separator").unwrap_or_else(|| "\t".to_owned());
        let wants = |key: &str, otherwise: bool| {
            property(key).map_or(otherwise, |value| value.eq_ignore_ascii_case("true"))
        };
        let pieces = [
            ("print.timestamp", "CreateTime:{timestamp}", false),
            ("print.partition", "Partition:{partition}", false),
            ("print.offset", "Offset:{offset}", false),
            ("print.headers", "{headers}", false),
            ("print.key", "{key}", false),
            ("print.value", "{value}", true),
        ];
        let pieces = pieces
            .into_iter()
            .filter(|(key, _, usual)| wants(key, *usual));
        let pieces: Vec<&str> = pieces.map(|(_, piece, _)| piece).collect();
        let format = format!("{}\\n", pieces.join(&separator));
        let mut format: crate::consume::Format = format.parse().map_err(usage)?;
        format.null = b"null";
        let consume = Consume {
            topic: self.topic,
            partition: self.partition.into_iter().collect(),
            from: match (self.offset, self.from_beginning) {
                (Some(offset), _) => offset,
                (None, true) => Position::Earliest,
                (None, false) => Position::Latest,
            },
            group: self.group,
            count: self.max_messages,
            follow: true,
            format,
        };
        let limits = Limits {
            idle: self.timeout_ms.map(Duration::from_millis),
        };
        self.broker.work(async |cluster| {
            let count = consume
                .read(cluster, Output { json: false }, &limits)
                .await?;
            eprintln!("Processed a total of {count} messages");
            Ok(())
        })
    }
}

#[derive(Parser)]
#[command(infer_long_args = true)]
struct VersionsScript {
    #[command(flatten)]
    broker: Broker,
}

impl VersionsScript {
    fn run(self) -> Result<()> {
        self.broker.work(async |cluster| {
            for (id, address) in cluster.brokers().clone() {
                line(&format!(
                    "{address} (id: {id} rack: null isFenced: false) -> ("
                ));
                let broker = cluster.broker(id).await?;
                let mut apis = broker.versions().api_keys.clone();
                apis.sort_by_key(|api| api.api_key);
                let count = apis.len();
                for (number, api) in apis.iter().enumerate() {
                    let (name, usable) = match ApiKey::try_from(api.api_key) {
                        Ok(key) => (
                            format!("{key:?}"),
                            key.valid_versions().max.min(api.max_version),
                        ),
                        Err(()) => ("UNKNOWN".to_owned(), api.max_version),
                    };
                    let comma = if number + 1 < count { "," } else { "" };
                    let range = match api.min_version == api.max_version {
                        true => api.min_version.to_string(),
                        false => format!("{} to {}", api.min_version, api.max_version),
                    };
                    line(&format!(
                        "\t{name}({}): {range} [usable: {usable}]{comma}",
                        api.api_key
                    ));
                }
                line(")");
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_called_by_its_link() {
        let called = |path: &str| called(&path.into());
        assert_eq!(
            called("/opt/kafka/bin/kafka-topics.sh").as_deref(),
            Some("kafka-topics")
        );
        assert_eq!(called("kafka-acls").as_deref(), Some("kafka-acls"));
        assert_eq!(called("/usr/bin/ottla"), None);
    }

    #[test]
    fn lists_stay_together_in_brackets() {
        let parts = |text| outside_brackets(text).collect::<Vec<_>>();
        assert_eq!(parts("a=1,b=[x,y],c=2"), ["a=1", "b=[x,y]", "c=2"]);
        assert_eq!(parts(""), [""; 0]);
    }

    #[test]
    fn another_option_is_no_option() {
        let parse = |arguments: &[&str]| {
            TopicsScript::try_parse_from(arguments.iter().map(OsString::from)).is_ok()
        };
        let usual = ["kafka-topics.sh", "--bootstrap-server", "h:1"];
        assert!(parse(&[&usual[..], &["--list"]].concat()));
        assert!(parse(&["kafka-topics.sh", "--bootstrap=h:1", "--list"]));
        assert!(!parse(&[&usual[..], &["--list", "--create"]].concat()));
        assert!(!parse(
            &[&usual[..], &["--list", "--under-replicated-partitions"]].concat()
        ));
        assert!(!parse(&["kafka-topics.sh", "--list"]));
    }
}
