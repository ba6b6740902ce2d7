//! Who may do what, for every API in every version: what a client without rights is told, and that it learns and changes
//! nothing.
//!
//! Each case asks for the canaries below, in one request. It says which rights that takes, and what is answered without each
//! of them (Kafka's `KafkaApis` and `ControllerApis`). The client is given none, then exactly these, then all but one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use coordinators::group::{
    CommitOffsets, CommitPartition, CommitTopic, ConsumerHeartbeat, GroupId,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Encodable;
use protocol_shim::access::Operation::{
    self, Alter, AlterConfigs, ClusterAction, Create, Delete, Describe, DescribeConfigs,
    IdempotentWrite, Read, Write,
};
use protocol_shim::api_spec::ApiSpec;
use protocol_shim::sample::{self, Values};
use storage::log::{AppendOrigin, Next};
use storage::record::builder::BatchBuilder;
use storage::record::validate::ValidatedBatch;
use uuid::Uuid;

use super::walk::{self, Plain};
use super::{advertised, wire};
use crate::authorizer::Authorizer;
use crate::authorizer::Resource::{self, Cluster, Group, Topic, TransactionalId};
use crate::authorizer::rights::{Right, Rights};
use crate::broker::Broker;
use crate::metadata::{NewTopic, Placement};
use crate::net::session::{Principal, Session};

/// What requests ask for.
const ASKED: &str = "canary-asked";
const GROUP: &str = "canary-group";
/// A group of the consumer protocol. Its member reads [`ASKED`].
const CONSUMERS: &str = "canary-consumers";
const TRANSACTION: &str = "canary-transaction";
/// What is not there yet.
const NEW: &str = "canary-new";
/// What nobody asks for and nobody may see. Every name and record of it says `hidden`.
const HIDDEN: &str = "hidden-topic";
const HIDDEN_GROUP: &str = "hidden-group";

/// Without a right.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Without {
    /// This is the only error.
    Code(i16),
    /// There is no error, and nothing to be seen.
    LeftOut,
}

/// The body of a request of some version.
type Body = dyn Fn(&ApiSpec, i16) -> Vec<u8>;

struct Case {
    what: &'static str,
    body: Box<Body>,
    /// What it takes; the first is asked for first.
    needs: Vec<(Right, Without)>,
    /// Errors that have to do with something else.
    other_errors: &'static [i16],
    /// The answer may name what is asked for although it is denied: the request does.
    names_asked: bool,
    /// Its rights are on everything.
    sees_all: bool,
}

impl Case {
    fn new(what: &'static str, body: impl Fn(&ApiSpec, i16) -> Vec<u8> + 'static) -> Self {
        Self {
            what,
            body: Box::new(body),
            needs: Vec::new(),
            other_errors: &[],
            names_asked: true,
            sees_all: false,
        }
    }

    /// A request as [`sample`] makes it, with these values.
    fn sampled(what: &'static str, values: impl Values + 'static) -> Self {
        Self::new(what, move |spec, version| {
            sample::body(spec, version, usize::MAX, 1, &values)
        })
    }

    fn typed<R: Encodable>(what: &'static str, request: impl Fn(i16) -> R + 'static) -> Self {
        Self::new(what, move |_, version| {
            let mut body = BytesMut::new();
            let encoded = request(version).encode(&mut body, version);
            encoded.unwrap_or_else(|error| panic!("{what} v{version}: {error}"));
            body.to_vec()
        })
    }

    fn needs(mut self, operation: Operation, resource: Resource<'static>) -> Self {
        let code = resource.denied() as i16;
        self.needs
            .push((Right(operation, resource), Without::Code(code)));
        self
    }

    fn or_leaves_out(mut self, operation: Operation, resource: Resource<'static>) -> Self {
        self.needs
            .push((Right(operation, resource), Without::LeftOut));
        self
    }

    fn else_tells(mut self, code: i16) -> Self {
        if let Some((_, without)) = self.needs.last_mut() {
            *without = Without::Code(code);
        }
        self
    }

    fn may_tell(mut self, other_errors: &'static [i16]) -> Self {
        self.other_errors = other_errors;
        self
    }

    fn by_id(mut self) -> Self {
        self.names_asked = false;
        self
    }

    fn sees_all(mut self) -> Self {
        self.sees_all = true;
        self
    }
}

/// Names of canaries for every field that names something.
struct Names;

impl Values for Names {
    fn text(&self, field: &str, position: usize) -> String {
        match Plain.text(field, position).as_str() {
            _ if field.starts_with("transactional_id") => TRANSACTION,
            "group" => GROUP,
            _ => ASKED,
        }
        .to_owned()
    }

    fn number(&self, field: &str, position: usize) -> i64 {
        match field {
            "count" => 3,
            "broker_ids" => 1,
            "timestamp" => -2,
            _ => Plain.number(field, position),
        }
    }

    fn uuid(&self, field: &str, position: usize) -> [u8; 16] {
        Plain.uuid(field, position)
    }

    fn bytes(&self, field: &str) -> Vec<u8> {
        Plain.bytes(field)
    }
}

/// The same, but for one field.
struct But(&'static str, &'static str, i64);

impl Values for But {
    fn text(&self, field: &str, position: usize) -> String {
        match field == self.0 {
            true => self.1.to_owned(),
            false => Names.text(field, position),
        }
    }

    fn number(&self, field: &str, position: usize) -> i64 {
        match field == self.0 {
            true => self.2,
            false => Names.number(field, position),
        }
    }

    fn uuid(&self, field: &str, position: usize) -> [u8; 16] {
        Names.uuid(field, position)
    }

    fn bytes(&self, field: &str) -> Vec<u8> {
        Names.bytes(field)
    }
}

fn topic() -> TopicName {
    TopicName(wire(ASKED))
}

fn batch(value: &str) -> BatchBuilder {
    let mut batch = BatchBuilder::new();
    batch.append(1_700_000_000_000, None, Some(value.as_bytes()), &[]);
    batch
}

/// Every case of an API in a version. `asked_id` is that of [`ASKED`].
fn cases(api: ApiKey, version: i16, asked_id: Uuid) -> Vec<Case> {
    let asked = Topic(ASKED);
    let by_name_or_id = move |case: Case, id_since: i16| match version >= id_since {
        true => case.by_id(),
        false => case,
    };
    match api {
        ApiKey::Produce => {
            let request = move |records: Bytes, id: Option<&'static str>| {
                use produce_request::{PartitionProduceData, TopicProduceData};
                let data = PartitionProduceData::default().with_records(Some(records));
                let topic = match version {
                    13.. => TopicProduceData::default().with_topic_id(asked_id),
                    _ => TopicProduceData::default().with_name(topic()),
                };
                ProduceRequest::default()
                    .with_acks(-1)
                    .with_timeout_ms(1000)
                    .with_transactional_id(id.map(|id| wire(id).into()))
                    .with_topic_data(vec![topic.with_partition_data(vec![data])])
            };
            let plain = Case::typed("a batch", move |_| {
                request(batch("more").build().expect("a batch"), None)
            });
            let of_transaction = Case::typed("a batch of a transaction", move |_| {
                let batch = batch("more").producer(7, 0, 0).transactional();
                request(batch.build().expect("a batch"), Some(TRANSACTION))
            });
            vec![
                by_name_or_id(plain, 13).needs(Write, asked),
                by_name_or_id(of_transaction, 13)
                    .needs(Write, TransactionalId(TRANSACTION))
                    .needs(Write, asked)
                    // There are no transactions yet.
                    .may_tell(&[49]),
            ]
        }
        ApiKey::Fetch => {
            let request = move |replica_id: i32| {
                use fetch_request::{FetchPartition, FetchTopic, ReplicaState};
                let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
                let topic = match version {
                    13.. => FetchTopic::default().with_topic_id(asked_id),
                    _ => FetchTopic::default().with_topic(topic()),
                };
                let request = FetchRequest::default()
                    .with_max_bytes(1 << 20)
                    .with_topics(vec![topic.with_partitions(vec![partition])]);
                match version {
                    ..15 => request.with_replica_id(BrokerId(replica_id)),
                    _ => request.with_replica_state(
                        ReplicaState::default().with_replica_id(BrokerId(replica_id)),
                    ),
                }
            };
            let as_consumer = Case::typed("as a consumer", move |_| request(-1));
            let as_follower = Case::typed("as a follower", move |_| request(3));
            vec![
                by_name_or_id(as_consumer, 13).needs(Read, asked),
                by_name_or_id(as_follower, 13)
                    .needs(ClusterAction, Cluster)
                    .else_tells(29),
            ]
        }
        ApiKey::ListOffsets => vec![Case::sampled("by name", Names).needs(Describe, asked)],
        ApiKey::Metadata => metadata_cases(version, asked_id),
        ApiKey::ApiVersions => vec![Case::sampled("all", Names)],
        ApiKey::OffsetForLeaderEpoch => vec![
            Case::sampled("as a consumer", Names).needs(Describe, asked),
            Case::sampled("as a broker", Names)
                .needs(ClusterAction, Cluster)
                .else_tells(29),
        ],
        ApiKey::OffsetCommit => vec![
            Case::sampled("by name", Names)
                .needs(Read, Group(GROUP))
                .needs(Read, asked),
        ],
        ApiKey::OffsetFetch => {
            let by_name = Case::sampled("by name", But("member_id", "", 0))
                .needs(Describe, Group(GROUP))
                .needs(Describe, asked);
            let all = Case::typed("all", |version| {
                let request = OffsetFetchRequest::default();
                match version {
                    ..8 => request.with_group_id(wire(GROUP).into()).with_topics(None),
                    _ => request.with_groups(vec![
                        offset_fetch_request::OffsetFetchRequestGroup::default()
                            .with_group_id(wire(GROUP).into())
                            .with_topics(None),
                    ]),
                }
            });
            let all = all
                .needs(Describe, Group(GROUP))
                .or_leaves_out(Describe, asked);
            match version {
                ..2 => vec![by_name],
                _ => vec![by_name, all],
            }
        }
        ApiKey::FindCoordinator => {
            let group = Case::sampled("of a group", But("key_type", "", 0));
            let transaction = Case::typed("of a transaction", |version| {
                let request = FindCoordinatorRequest::default().with_key_type(1);
                match version {
                    ..4 => request.with_key(wire(TRANSACTION)),
                    _ => request.with_coordinator_keys(vec![wire(TRANSACTION)]),
                }
            });
            let share = Case::sampled("of a share group", But("key_type", "", 2));
            let mut cases = vec![group.needs(Describe, Group(GROUP))];
            if version >= 1 {
                cases.extend([
                    transaction
                        .needs(Describe, TransactionalId(TRANSACTION))
                        .may_tell(&[42]),
                    share.needs(ClusterAction, Cluster).may_tell(&[42]),
                ]);
            }
            cases
        }
        ApiKey::JoinGroup => vec![
            Case::sampled("a member", But("member_id", "", 0))
                .needs(Read, Group(GROUP))
                // A member is given its id, and a static one is not.
                .may_tell(&[79]),
        ],
        ApiKey::SyncGroup | ApiKey::Heartbeat => vec![
            Case::sampled("a member", Names)
                .needs(Read, Group(GROUP))
                .may_tell(&[25]),
        ],
        ApiKey::LeaveGroup => vec![
            Case::sampled("a member", Names)
                .needs(Read, Group(GROUP))
                .may_tell(&[25]),
        ],
        ApiKey::ConsumerGroupHeartbeat => {
            let request = |topics: &[&str], regex: Option<&str>| {
                ConsumerGroupHeartbeatRequest::default()
                    .with_group_id(wire(CONSUMERS).into())
                    .with_member_id(wire("another"))
                    .with_rebalance_timeout_ms(10_000)
                    .with_subscribed_topic_names(Some(
                        topics.iter().map(|name| wire(name).into()).collect(),
                    ))
                    .with_subscribed_topic_regex(regex.map(wire))
                    .with_topic_partitions(Some(Vec::new()))
            };
            let by_name = Case::typed("by name", move |_| request(&[ASKED], None))
                .needs(Read, Group(CONSUMERS))
                .needs(Describe, asked);
            let by_pattern = Case::typed("by pattern", move |_| request(&[], Some(".*")))
                .needs(Read, Group(CONSUMERS));
            match version {
                0 => vec![by_name],
                _ => vec![by_name, by_pattern],
            }
        }
        ApiKey::ConsumerGroupDescribe => vec![
            Case::sampled("by name", But("group_ids", CONSUMERS, 0))
                .needs(Describe, Group(CONSUMERS))
                .needs(Describe, asked),
        ],
        ApiKey::DescribeGroups => {
            vec![Case::sampled("by name", Names).needs(Describe, Group(GROUP))]
        }
        ApiKey::ListGroups => vec![
            Case::typed("some", |_| ListGroupsRequest::default())
                .or_leaves_out(Describe, Group(GROUP)),
            Case::typed("all", |_| ListGroupsRequest::default())
                .or_leaves_out(Describe, Cluster)
                .sees_all(),
        ],
        ApiKey::DeleteGroups => vec![Case::sampled("by name", Names).needs(Delete, Group(GROUP))],
        ApiKey::OffsetDelete => vec![
            Case::sampled("by name", Names)
                .needs(Delete, Group(GROUP))
                .needs(Read, asked),
        ],
        ApiKey::InitProducerId => {
            let idempotent = || {
                let request = InitProducerIdRequest::default().with_transactional_id(None);
                Case::typed("idempotent", move |_| request.clone())
            };
            let transactional = Case::typed("transactional", |_| {
                InitProducerIdRequest::default()
                    .with_transactional_id(Some(wire(TRANSACTION).into()))
            });
            vec![
                idempotent().needs(IdempotentWrite, Cluster),
                idempotent().needs(Write, asked).else_tells(31),
                transactional
                    .needs(Write, TransactionalId(TRANSACTION))
                    // There are no transactions yet.
                    .may_tell(&[53]),
            ]
        }
        ApiKey::DescribeProducers => vec![Case::sampled("by name", Names).needs(Read, asked)],
        ApiKey::DescribeTransactions => vec![
            Case::sampled("by name", Names)
                .needs(Describe, TransactionalId(TRANSACTION))
                .may_tell(&[105]),
        ],
        ApiKey::ListTransactions => vec![Case::sampled("none", Names)],
        ApiKey::CreateTopics => {
            let create = || {
                Case::typed("new", |_| {
                    let topic = create_topics_request::CreatableTopic::default()
                        .with_name(TopicName(wire(NEW)))
                        .with_num_partitions(1)
                        .with_replication_factor(1);
                    CreateTopicsRequest::default()
                        .with_timeout_ms(1000)
                        .with_topics(vec![topic])
                })
            };
            let with_configs = |case: Case| match version {
                ..5 => case,
                // The topic is made, and its settings are not told.
                _ => case.needs(DescribeConfigs, Topic(NEW)).may_tell(&[]),
            };
            vec![
                with_configs(create().needs(Create, Topic(NEW))),
                with_configs(create().needs(Create, Cluster).else_tells(29)),
            ]
        }
        ApiKey::DeleteTopics => {
            let by_name = || Case::sampled("by name", Names);
            let named = || match version {
                ..6 => by_name(),
                _ => Case::typed("by name", |_| {
                    let topic = delete_topics_request::DeleteTopicState::default();
                    DeleteTopicsRequest::default()
                        .with_topics(vec![topic.with_name(Some(topic_name()))])
                }),
            };
            let by_id = Case::typed("by id", move |_| {
                let topic = delete_topics_request::DeleteTopicState::default();
                DeleteTopicsRequest::default()
                    .with_topics(vec![topic.with_name(None).with_topic_id(asked_id)])
            });
            let mut cases = vec![
                named().needs(Delete, asked),
                named().needs(Delete, Cluster).else_tells(29),
            ];
            if version >= 6 {
                cases.push(by_id.by_id().needs(Delete, asked));
            }
            cases
        }
        ApiKey::CreatePartitions => vec![Case::sampled("by name", Names).needs(Alter, asked)],
        ApiKey::DeleteRecords => vec![Case::sampled("by name", Names).needs(Delete, asked)],
        ApiKey::DescribeConfigs => configured()
            .map(|(kind, name, resource)| {
                Case::typed("settings", move |_| {
                    let resource = describe_configs_request::DescribeConfigsResource::default()
                        .with_resource_type(kind)
                        .with_resource_name(wire(name));
                    DescribeConfigsRequest::default().with_resources(vec![resource])
                })
                .needs(DescribeConfigs, resource)
            })
            .collect(),
        ApiKey::AlterConfigs => configured()
            .map(|(kind, name, resource)| {
                Case::typed("settings", move |_| {
                    let resource = alter_configs_request::AlterConfigsResource::default()
                        .with_resource_type(kind)
                        .with_resource_name(wire(name));
                    AlterConfigsRequest::default().with_resources(vec![resource])
                })
                .needs(AlterConfigs, resource)
            })
            .collect(),
        ApiKey::IncrementalAlterConfigs => configured()
            .map(|(kind, name, resource)| {
                use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
                Case::typed("settings", move |_| {
                    let (key, value) = match kind {
                        2 => ("retention.ms", "1000"),
                        4 => ("log.retention.ms", "1000"),
                        _ => ("consumer.session.timeout.ms", "50000"),
                    };
                    let config = AlterableConfig::default()
                        .with_name(wire(key))
                        .with_value(Some(wire(value)));
                    let resource = AlterConfigsResource::default()
                        .with_resource_type(kind)
                        .with_resource_name(wire(name))
                        .with_configs(vec![config]);
                    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
                })
                .needs(AlterConfigs, resource)
            })
            .collect(),
        ApiKey::ListConfigResources => vec![
            Case::sampled("topics", But("resource_types", "", 2))
                .needs(DescribeConfigs, Cluster)
                .sees_all(),
        ],
        ApiKey::DescribeTopicPartitions => {
            use describe_topic_partitions_request::TopicRequest;
            let request = |topics: Vec<TopicRequest>| {
                DescribeTopicPartitionsRequest::default()
                    .with_response_partition_limit(100)
                    .with_topics(topics)
            };
            vec![
                Case::typed("by name", move |_| {
                    request(vec![TopicRequest::default().with_name(topic())])
                })
                .needs(Describe, asked),
                Case::typed("all", move |_| request(Vec::new())).or_leaves_out(Describe, asked),
            ]
        }
        ApiKey::DescribeCluster => vec![Case::sampled("it", But("endpoint_type", "", 1))],
        ApiKey::DescribeLogDirs => {
            let all = Case::typed("all", |_| {
                DescribeLogDirsRequest::default().with_topics(None)
            });
            vec![match version {
                // These versions have no field for it.
                ..3 => all.or_leaves_out(Describe, Cluster).sees_all(),
                _ => all.needs(Describe, Cluster).sees_all(),
            }]
        }
        ApiKey::ElectLeaders => vec![
            Case::sampled("by name", Names)
                .needs(Alter, Cluster)
                .may_tell(&[84]),
        ],
        ApiKey::ListPartitionReassignments => {
            vec![Case::sampled("by name", Names).needs(Describe, Cluster)]
        }
        ApiKey::DescribeQuorum => vec![
            Case::sampled("by name", Names)
                .needs(Describe, Cluster)
                .may_tell(&[3]),
        ],
        ApiKey::DescribeAcls => vec![
            Case::sampled("some", Names)
                .needs(Describe, Cluster)
                .may_tell(&[54]),
        ],
        ApiKey::CreateAcls | ApiKey::DeleteAcls => vec![
            Case::sampled("some", Names)
                .needs(Alter, Cluster)
                .may_tell(&[54]),
        ],
        ApiKey::DescribeDelegationToken => vec![Case::sampled("some", Names).may_tell(&[64])],
        ApiKey::DescribeClientQuotas => vec![
            Case::sampled("some", Names)
                .needs(DescribeConfigs, Cluster)
                .may_tell(&[35]),
        ],
        ApiKey::DescribeUserScramCredentials => vec![
            Case::sampled("by name", Names)
                .needs(Describe, Cluster)
                .may_tell(&[91]),
        ],
        other => panic!("nobody has said what {other:?} needs"),
    }
}

fn topic_name() -> TopicName {
    topic()
}

/// What has settings: a topic, a group, a broker.
fn configured() -> impl Iterator<Item = (i8, &'static str, Resource<'static>)> {
    [
        (2, ASKED, Topic(ASKED)),
        (32, GROUP, Group(GROUP)),
        (4, "1", Cluster),
    ]
    .into_iter()
}

fn metadata_cases(version: i16, asked_id: Uuid) -> Vec<Case> {
    use metadata_request::MetadataRequestTopic;
    let request = |topics: Option<Vec<MetadataRequestTopic>>| {
        MetadataRequest::default()
            .with_allow_auto_topic_creation(true)
            .with_topics(topics)
    };
    let named = move |name: &'static str| {
        let topic = MetadataRequestTopic::default().with_name(Some(TopicName(wire(name))));
        request(Some(vec![topic]))
    };
    let by_id = MetadataRequestTopic::default()
        .with_name(None)
        .with_topic_id(asked_id);
    let create = || Case::typed("new", move |_| named(NEW)).needs(Describe, Topic(NEW));
    let mut cases = vec![
        Case::typed("by name", move |_| named(ASKED)).needs(Describe, Topic(ASKED)),
        create().needs(Create, Topic(NEW)),
        create().needs(Create, Cluster).else_tells(29),
        match version {
            0 => Case::typed("all", move |_| request(Some(Vec::new()))),
            _ => Case::typed("all", move |_| request(None)),
        }
        .or_leaves_out(Describe, Topic(ASKED)),
    ];
    if version >= 12 {
        let by_id = Case::typed("by id", move |_| request(Some(vec![by_id.clone()])));
        cases.push(by_id.by_id().needs(Describe, Topic(ASKED)));
    }
    cases
}

/// A broker with canaries, and a client that may do what it is told to.
struct Aviary {
    broker: Arc<Broker>,
    rights: Rights,
    client: Arc<Session>,
    asked_id: Uuid,
    /// What no answer may say.
    secrets: Vec<String>,
}

impl Aviary {
    async fn new() -> Self {
        let rights = Rights::default();
        let mut broker = walk::broker().await;
        let alone = Arc::get_mut(&mut broker).expect("nobody else has it yet");
        alone.authorizer = Authorizer::Only(rights.clone());
        let topics = [ASKED, HIDDEN].map(|name| NewTopic {
            name: name.to_owned(),
            placement: Placement::Counts {
                partitions: 2,
                replication_factor: 1,
            },
            configs: Vec::new(),
        });
        let created = broker.metadata.create_topics(topics.into(), false).await;
        let [asked, hidden] = [&created[0], &created[1]].map(|topic| topic.as_ref().expect("made"));
        for (topic, value) in [(asked, "seen"), (hidden, "hidden value")] {
            let id = topic.topic_id;
            let partition = broker.partitions.get(id.into(), 0).await.expect("there");
            let batch = ValidatedBatch::trusted(batch(value).build().expect("a batch"));
            let batch = batch.expect("a batch");
            let log = &partition.log;
            let permit = log.reserve(batch.size_bytes(), AppendOrigin::Client).await;
            let appended = log.submit(
                permit.expect("room"),
                batch,
                AppendOrigin::Client,
                Next::Append,
            );
            appended.expect("submitted").await.expect("appended");
        }
        for group in [GROUP, HIDDEN_GROUP] {
            let topics = [(ASKED, asked), (HIDDEN, hidden)].map(|(name, topic)| CommitTopic {
                name: name.into(),
                topic_id: topic.topic_id,
                partitions: vec![CommitPartition {
                    partition_index: 0,
                    committed_offset: 1,
                    committed_leader_epoch: -1,
                    metadata: "".into(),
                }],
            });
            let commit = |group_id| CommitOffsets {
                group_id,
                generation_id_or_member_epoch: -1,
                member_id: "".into(),
                group_instance_id: None,
                retention_time_ms: None,
                topics: topics.into(),
                api_version: 9,
            };
            let committed = broker
                .groups
                .call(Ok(GroupId::from(group).into()), commit)
                .await;
            committed.expect("committed");
        }
        let join = |group_id| ConsumerHeartbeat {
            group_id,
            member_id: "member".into(),
            member_epoch: 0,
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: 10_000,
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            subscribed_topic_names: Some(vec![ASKED.into()]),
            subscribed_topic_regex: None,
            resolved: None,
            server_assignor: None,
            owned: Some(Vec::new()),
            api_version: 1,
            member_uuid: Uuid::from_u128(7),
        };
        let joined = broker
            .groups
            .call(Ok(GroupId::from(CONSUMERS).into()), join)
            .await;
        assert_eq!(joined.expect("joined").refusal, None);
        let secrets = vec!["hidden".to_owned(), hidden.topic_id.to_string()];
        Self {
            rights,
            client: Arc::new(walk::session()),
            asked_id: asked.topic_id,
            secrets,
            broker,
        }
    }
}

/// What a client is told, and what may be seen of it.
#[derive(Debug)]
struct Told {
    errors: BTreeSet<i16>,
    text: String,
}

impl Aviary {
    async fn ask(&self, case: &Case, spec: &ApiSpec, version: i16) -> Told {
        let body = (case.body)(spec, version);
        let answer = walk::ask_with(&self.broker, &self.client, spec, version, body).await;
        let text = answer.expect("answered").expect("an answer");
        Told {
            errors: errors_in(&text),
            text,
        }
    }

    /// Everything that a request could change.
    async fn state(&self, administrator: &Arc<Session>) -> impl PartialEq + std::fmt::Debug {
        let image = self.broker.metadata.image();
        let mut offsets = BTreeMap::new();
        for topic in image.topics() {
            for partition in 0..topic.partition_count {
                let id = topic.topic_id.into();
                let found = self.broker.partitions.get(id, partition).await;
                let offsets_now = found.expect("there").log.offsets();
                offsets.insert((topic.name.clone(), partition), format!("{offsets_now:?}"));
            }
        }
        let mut groups = Vec::new();
        for (name, field, group) in [
            ("DescribeGroups", "groups", GROUP),
            ("DescribeGroups", "groups", NEW),
            ("ConsumerGroupDescribe", "group_ids", CONSUMERS),
        ] {
            let spec = advertised().find(|spec| spec.name == name).expect("served");
            let body = sample::body(spec, spec.max_version, usize::MAX, 1, &But(field, group, 0));
            let version = spec.max_version;
            let told = walk::ask_with(&self.broker, administrator, spec, version, body).await;
            groups.push(told.expect("answered"));
        }
        (image, offsets, groups)
    }
}

/// The codes of all errors in the text of a response.
fn errors_in(text: &str) -> BTreeSet<i16> {
    let values = text.split("error_code: ").skip(1);
    let codes = values.filter_map(|rest| rest.split([',', ' ', '}']).next()?.parse().ok());
    codes.filter(|code| *code != 0).collect()
}

fn administrator() -> Arc<Session> {
    let mut session = walk::session();
    session.principal = Principal {
        kind: "User".into(),
        name: "administrator".into(),
    };
    Arc::new(session)
}

/// One version of one API: every case with no rights, with exactly its rights, and with all but one.
async fn walk_through(spec: &'static ApiSpec, version: i16, wrong: &mut Vec<String>) {
    let api = ApiKey::try_from(spec.api_key).expect("known");
    let count = cases(api, version, Uuid::nil()).len();
    for at in 0..count {
        let needs = cases(api, version, Uuid::nil()).swap_remove(at).needs.len();
        // Without any, then without each one, then with all.
        let left_out = (0..=needs + 1).filter(|missing| needs > 0 || *missing > 0);
        for missing in left_out {
            let aviary = Aviary::new().await;
            let case = cases(api, version, aviary.asked_id).swap_remove(at);
            let all = case.needs.iter().map(|(right, _)| *right);
            let (given, expected): (Vec<Right>, _) = match missing {
                0 => (Vec::new(), case.needs.first()),
                missing => {
                    let kept = all.enumerate().filter(|(place, _)| place + 1 != missing);
                    (
                        kept.map(|(_, right)| right).collect(),
                        case.needs.get(missing - 1),
                    )
                }
            };
            let what = format!(
                "{} v{version}, {}, with {given:?} of {:?}",
                spec.name, case.what, case.needs
            );
            aviary.rights.set(given);
            let administrator = administrator();
            let before = aviary.state(&administrator).await;
            let told = aviary.ask(&case, spec, version).await;
            let after = aviary.state(&administrator).await;
            let mut expect = |holds: bool, rule: &str| {
                if !holds {
                    wrong.push(format!("{what}: {rule}: {told:?}"));
                }
            };
            let is_secret = |secret: &String| told.text.contains(secret.as_str());
            let hides = !aviary.secrets.iter().any(is_secret);
            match expected.map(|(_, without)| *without) {
                None => {
                    let other = told
                        .errors
                        .iter()
                        .all(|code| case.other_errors.contains(code));
                    expect(other, "succeeds");
                    let lists = case
                        .needs
                        .iter()
                        .any(|(_, without)| *without == Without::LeftOut);
                    expect(
                        !lists || told.text.contains("canary"),
                        "tells what is there",
                    );
                    expect(
                        hides || case.sees_all,
                        "tells nothing that was not asked for",
                    );
                }
                Some(without) => {
                    let code = match without {
                        Without::Code(code) => BTreeSet::from([code]),
                        Without::LeftOut => BTreeSet::new(),
                    };
                    expect(told.errors == code, "tells the right error");
                    expect(hides, "tells nothing that was not asked for");
                    let may_name = case.names_asked && without != Without::LeftOut;
                    expect(
                        may_name || !told.text.contains(ASKED),
                        "does not tell a name",
                    );
                    let created = spec.name == "CreateTopics" && missing == needs && needs > 1;
                    expect(created || before == after, "changes nothing");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_without_rights_learns_and_changes_nothing_and_one_with_exactly_these_succeeds() {
    let only = std::env::var("CANARIES_API").ok();
    let mut wrong = Vec::new();
    for spec in advertised() {
        if only.as_deref().is_some_and(|only| only != spec.name) {
            continue;
        }
        for version in spec.min_version..=spec.max_version {
            walk_through(spec, version, &mut wrong).await;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_waits_for_no_answer_and_may_not_write_is_told_by_its_connections_end() {
    let aviary = Aviary::new().await;
    let administrator = administrator();
    let before = aviary.state(&administrator).await;
    let spec = advertised()
        .find(|spec| spec.name == "Produce")
        .expect("served");
    let data = produce_request::PartitionProduceData::default()
        .with_records(Some(batch("more").build().expect("a batch")));
    let topic = produce_request::TopicProduceData::default()
        .with_name(topic_name())
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(0)
        .with_topic_data(vec![topic]);
    let ask = async || {
        let mut body = BytesMut::new();
        request.encode(&mut body, 9).expect("version 9");
        walk::ask_with(&aviary.broker, &aviary.client, spec, 9, body.to_vec()).await
    };
    let refused = ask().await.expect_err("refused");
    assert!(
        refused.to_string().contains("TOPIC_AUTHORIZATION_FAILED"),
        "{refused}"
    );
    assert!(before == aviary.state(&administrator).await);
    aviary.rights.set([Right(Write, Topic(ASKED))]);
    assert_eq!(ask().await.expect("taken"), None);
    assert!(before != aviary.state(&administrator).await);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_told_what_it_may_do_and_of_the_cluster_only_if_it_may_describe_it() {
    let aviary = Aviary::new().await;
    let operations = async |rights: &[Right]| {
        aviary.rights.set(rights.iter().copied());
        let spec = advertised()
            .find(|spec| spec.name == "Metadata")
            .expect("served");
        let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name()));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_include_topic_authorized_operations(true)
            .with_include_cluster_authorized_operations(true);
        let case = Case::typed("operations", move |_| request.clone());
        let text = aviary.ask(&case, spec, 9).await.text;
        let of = |what: &str| {
            let (_, rest) = text.split_once(what)?;
            rest.split([',', ' ']).next()?.parse::<i32>().ok()
        };
        let topic = of(" topic_authorized_operations: ").expect("told");
        (topic, of(" cluster_authorized_operations: ").expect("told"))
    };
    let describe = Right(Describe, Topic(ASKED));
    let write = Right(Write, Topic(ASKED));
    assert_eq!(operations(&[]).await, (i32::MIN, 0));
    assert_eq!(operations(&[describe]).await, (Describe.bit(), 0));
    assert_eq!(
        operations(&[describe, write]).await,
        (Describe.bit() | Write.bit(), 0)
    );
    let alter = Right(Alter, Cluster);
    assert_eq!(operations(&[describe, alter]).await.1, 0);
    let both = [Right(Describe, Cluster), alter];
    assert_eq!(operations(&both).await.1, Describe.bit() | Alter.bit());
}
