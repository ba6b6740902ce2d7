//! A cluster: which broker is to be asked what.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponse, MetadataResponseTopic};
use kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, ListOffsetsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::Request;
use protocol_shim::ErrorCode;
use tokio::time::Instant;

use crate::client_config::{self, Security};
use crate::connection::{Connection, text};
use crate::failure::{Result, check, failed, usage};

const DEFAULT_BOOTSTRAP: &str = "localhost:9092";
/// Between two looks at something that a broker is about to have.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Where the broker is, and how to talk to it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Connect {
    /// A broker, or several with commas between them: the first that answers tells of the others [default: what
    /// bootstrap.servers says in --client-config, else localhost:9092]
    #[arg(
        long,
        alias = "bootstrap-server",
        value_name = "HOST:PORT",
        global = true
    )]
    pub(crate) bootstrap: Option<String>,

    /// Java's client.properties or a configuration of librdkafka, for TLS and log-ins
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) client_config: Option<PathBuf>,

    /// Wait so long for each answer
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=86_400),
        global = true
    )]
    pub(crate) timeout: u64,
}

/// A partition by its topic's name and its number.
pub(crate) type Partition = (String, i32);

/// Connections to brokers of a cluster.
pub(crate) struct Cluster {
    security: Security,
    timeout: Duration,
    bootstrap: Connection,
    brokers: BTreeMap<i32, String>,
    others: HashMap<i32, Connection>,
}

impl Cluster {
    /// Connects to the first broker that answers.
    ///
    /// # Errors
    /// None answers; what is said of each.
    pub(crate) async fn connect(connect: &Connect) -> Result<Self> {
        let file = connect.client_config.as_deref().map(client_config::read);
        let file = file.transpose()?;
        let (named, security) = file.map_or((None, Security::default()), |file| {
            (file.bootstrap, file.security)
        });
        let bootstrap = connect.bootstrap.clone().or(named);
        let bootstrap = bootstrap.unwrap_or_else(|| DEFAULT_BOOTSTRAP.to_owned());
        let timeout = Duration::from_secs(connect.timeout);
        let mut refusals = Vec::new();
        for address in bootstrap.split(',').map(str::trim) {
            // Also Kafka's tools take a listener's name.
            let address = address.split_once("://").map_or(address, |(_, rest)| rest);
            match Connection::open(address, &security, timeout).await {
                Ok(bootstrap) => {
                    let mut cluster = Self {
                        security,
                        timeout,
                        bootstrap,
                        brokers: BTreeMap::new(),
                        others: HashMap::new(),
                    };
                    cluster.look(Some(&[]), false).await?;
                    return Ok(cluster);
                }
                Err(failure) => refusals.push(failure.text()),
            }
        }
        Err(failed(refusals.join("\n")))
    }

    /// Any broker: each knows the metadata, and takes changes of it to the controller.
    pub(crate) fn any(&mut self) -> &mut Connection {
        &mut self.bootstrap
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long the broker may take, as requests say it.
    pub(crate) fn timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// The ids of all brokers and where they say they are.
    pub(crate) fn brokers(&self) -> &BTreeMap<i32, String> {
        &self.brokers
    }

    /// A certain broker.
    ///
    /// # Errors
    /// There is none of this id, or it does not answer.
    pub(crate) async fn broker(&mut self, id: i32) -> Result<&mut Connection> {
        // Where there is one, we are connected to it, whatever it advertises: inside a container that may lead elsewhere.
        if self.brokers.len() == 1 && self.brokers.contains_key(&id) {
            return Ok(&mut self.bootstrap);
        }
        if !self.others.contains_key(&id) {
            let address = self.brokers.get(&id).ok_or_else(|| {
                let ids: Vec<String> = self.brokers.keys().map(ToString::to_string).collect();
                failed(format!(
                    "there is no broker {id} now; there are {}",
                    ids.join(", ")
                ))
            })?;
            let opened = Connection::open(address, &self.security, self.timeout).await?;
            self.others.insert(id, opened);
        }
        self.others
            .get_mut(&id)
            .ok_or_else(|| failed(format!("there is no broker {id}")))
    }

    /// Topics by name, all if `None`, in the order of their names; makes those that are not there if the broker does.
    ///
    /// # Errors
    /// One is not there.
    pub(crate) async fn topics(
        &mut self,
        names: Option<&[String]>,
        create: bool,
    ) -> Result<Vec<MetadataResponseTopic>> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let mut topics = self.look(names, create).await?.topics;
            topics.sort_by(|one, other| one.name.cmp(&other.name));
            let being_made = topics.iter().any(|topic| {
                let code = ErrorCode::from_code(topic.error_code);
                code == Some(ErrorCode::LeaderNotAvailable)
                    || create && code == Some(ErrorCode::UnknownTopicOrPartition)
            });
            if being_made && Instant::now() < deadline {
                tokio::time::sleep(POLL_INTERVAL).await;
                continue;
            }
            for topic in &topics {
                check(
                    &format!("topic {}", topic_name(topic)),
                    topic.error_code,
                    None,
                )?;
            }
            return Ok(topics);
        }
    }

    /// Waits until the broker that is asked knows of a change that has been answered. One of Kafka's learns of it later, and
    /// the next command would not see it. `knows` is asked of each topic; waits no longer than for an answer.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) async fn until_known(
        &mut self,
        names: &[String],
        knows: impl Fn(&MetadataResponseTopic) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + self.timeout;
        while !names.is_empty() {
            let topics = self.look(Some(names), false).await?.topics;
            if topics.iter().all(&knows) || Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    async fn look(&mut self, names: Option<&[String]>, create: bool) -> Result<MetadataResponse> {
        let named = |name: &String| MetadataRequestTopic::default().with_name(Some(topic(name)));
        let request = MetadataRequest::default()
            .with_topics(names.map(|names| names.iter().map(named).collect()))
            .with_allow_auto_topic_creation(create);
        let answer = self.bootstrap.call(request).await?;
        let brokers = answer.brokers.iter();
        self.brokers = brokers
            .map(|broker| {
                let host = match broker.host.contains(':') {
                    true => format!("[{}]", broker.host.as_str()),
                    false => broker.host.to_string(),
                };
                (broker.node_id.0, format!("{host}:{}", broker.port))
            })
            .collect();
        Ok(answer)
    }

    /// The partitions of topics, each with its leader.
    ///
    /// # Errors
    /// A topic is not there, or a partition has no leader now.
    pub(crate) async fn leaders(
        &mut self,
        names: &[String],
        create: bool,
    ) -> Result<BTreeMap<Partition, i32>> {
        let mut leaders = BTreeMap::new();
        for topic in self.topics(Some(names), create).await? {
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let name = topic_name(&topic);
                check(&format!("{name}-{index}"), partition.error_code, None)?;
                leaders.insert((name, index), partition.leader_id.0);
            }
        }
        Ok(leaders)
    }

    /// The broker that keeps a group. A new cluster may have to make its place first.
    ///
    /// # Errors
    /// There is none in time, or the group may not be seen.
    pub(crate) async fn coordinator(&mut self, group: &str) -> Result<&mut Connection> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let request =
                FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
            let answer = self.bootstrap.call(request).await?;
            let found = answer
                .coordinators
                .first()
                .ok_or_else(|| failed(format!("group {group}: nobody coordinates it")))?;
            let error = ErrorCode::from_code(found.error_code);
            if error == Some(ErrorCode::CoordinatorNotAvailable) && Instant::now() < deadline {
                tokio::time::sleep(POLL_INTERVAL).await;
                continue;
            }
            check(
                &format!("group {group}"),
                found.error_code,
                found.error_message.as_ref(),
            )?;
            let id = found.node_id.0;
            if !self.brokers.contains_key(&id) {
                self.look(Some(&[]), false).await?;
            }
            return self.broker(id).await;
        }
    }

    /// Asks the broker that keeps a group. One that has just become it has to load the group first, and says so in the error
    /// that `error` finds in its answer.
    ///
    /// # Errors
    /// It does not answer in time.
    pub(crate) async fn ask_coordinator<R: Request + Clone>(
        &mut self,
        group: &str,
        request: R,
        patience: Duration,
        error: impl Fn(&R::Response) -> Option<i16>,
    ) -> Result<R::Response> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let coordinator = self.coordinator(group).await?;
            let answer = coordinator.call_within(patience, request.clone()).await?;
            let not_yet = [
                ErrorCode::NotCoordinator,
                ErrorCode::CoordinatorNotAvailable,
                ErrorCode::CoordinatorLoadInProgress,
            ];
            let code = error(&answer).and_then(ErrorCode::from_code);
            if !code.is_some_and(|code| not_yet.contains(&code)) || Instant::now() >= deadline {
                return Ok(answer);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// The offset at a timestamp of each partition, or at one of [`EARLIEST`] and [`LATEST`]; -1: no record is that late.
    ///
    /// # Errors
    /// A leader refuses.
    pub(crate) async fn offsets(
        &mut self,
        wanted: &BTreeMap<Partition, i64>,
    ) -> Result<BTreeMap<Partition, i64>> {
        let mut offsets = BTreeMap::new();
        for (leader, partitions) in self.by_leader(wanted.clone()).await? {
            let topics = by_topic(partitions).into_iter().map(|(name, partitions)| {
                let partition = |(index, timestamp)| {
                    ListOffsetsPartition::default()
                        .with_partition_index(index)
                        .with_timestamp(timestamp)
                };
                ListOffsetsTopic::default()
                    .with_name(topic(&name))
                    .with_partitions(partitions.into_iter().map(partition).collect())
            });
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_topics(topics.collect());
            let answer = self.broker(leader).await?.call(request).await?;
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    let index = partition.partition_index;
                    let name = topic.name.to_string();
                    check(&format!("{name}-{index}"), partition.error_code, None)?;
                    offsets.insert((name, index), partition.offset);
                }
            }
        }
        match wanted
            .keys()
            .find(|partition| !offsets.contains_key(*partition))
        {
            None => Ok(offsets),
            Some((name, index)) => Err(failed(format!("{name}-{index}: the broker left it out"))),
        }
    }

    /// Parts what is said of partitions by who leads them.
    ///
    /// # Errors
    /// A partition is not there.
    pub(crate) async fn by_leader<T>(
        &mut self,
        partitions: BTreeMap<Partition, T>,
    ) -> Result<BTreeMap<i32, BTreeMap<Partition, T>>> {
        let mut names: Vec<String> = partitions.keys().map(|(name, _)| name.clone()).collect();
        names.dedup();
        let leaders = self.leaders(&names, false).await?;
        let mut parted: BTreeMap<i32, BTreeMap<Partition, T>> = BTreeMap::new();
        for (partition, said) in partitions {
            let leader = leaders.get(&partition).ok_or_else(|| {
                let (name, index) = &partition;
                failed(format!("topic {name} has no partition {index}"))
            })?;
            parted.entry(*leader).or_default().insert(partition, said);
        }
        Ok(parted)
    }
}

/// The first offset that is there.
pub(crate) const EARLIEST: i64 = -2;
/// The offset that the next record will have.
pub(crate) const LATEST: i64 = -1;

/// Each topic once, as requests name them.
pub(crate) fn by_topic<T>(
    partitions: impl IntoIterator<Item = (Partition, T)>,
) -> BTreeMap<String, Vec<(i32, T)>> {
    let mut topics: BTreeMap<String, Vec<(i32, T)>> = BTreeMap::new();
    for ((name, index), said) in partitions {
        topics.entry(name).or_default().push((index, said));
    }
    topics
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(crate) fn topic_name(topic: &MetadataResponseTopic) -> String {
    let name = topic.name.as_ref();
    name.map_or_else(String::new, |name| name.to_string())
}

/// A topic, or some of its partitions: `orders`, `orders:0,2`.
pub(crate) fn parse_partitions(given: &str) -> Result<(String, Option<Vec<i32>>)> {
    let Some((name, numbers)) = given.split_once(':') else {
        return Ok((given.to_owned(), None));
    };
    let numbers: Result<Vec<i32>, _> = numbers.split(',').map(str::parse).collect();
    match numbers {
        Ok(numbers) => Ok((name.to_owned(), Some(numbers))),
        Err(_) => Err(usage(format!(
            "{given}: expected TOPIC or TOPIC:PARTITION,PARTITION,..."
        ))),
    }
}
