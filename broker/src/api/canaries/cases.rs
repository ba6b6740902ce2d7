//! The rows: what each API asks for, what that takes, and what is answered without it.

use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use protocol_shim::newer::{
    api_versions, describe_log_dirs, offset_commit, offset_fetch, txn_offset_commit,
};

use super::*;
use crate::config::BrokerConfig;
use crate::security::delegation::DelegationTokens;

/// Without a right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Without {
    /// This is the only error.
    Code(i16),
    /// There is no error, and nothing to be seen.
    LeftOut,
}

/// The body of a request of some version.
pub(super) type Body = dyn Fn(&ApiSpec, i16) -> Vec<u8>;

pub(super) struct Case {
    pub(super) what: &'static str,
    pub(super) body: Box<Body>,
    /// What it takes; the first is asked for first.
    pub(super) needs: Vec<(Right, Without)>,
    /// Errors that have to do with something else.
    pub(super) other_errors: &'static [i16],
    /// The answer may name what is asked for although it is denied: the request does.
    pub(super) names_asked: bool,
    /// Its rights are on everything.
    pub(super) sees_all: bool,
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

    pub(super) fn typed<R: Encodable>(
        what: &'static str,
        request: impl Fn(i16) -> R + 'static,
    ) -> Self {
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
pub(super) struct But(
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) i64,
);

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

pub(super) fn batch(value: &str) -> BatchBuilder {
    let mut batch = BatchBuilder::new();
    batch.append(1_700_000_000_000, None, Some(value.as_bytes()), &[]);
    batch
}

/// Every case of an API in a version. `asked_id` is that of [`ASKED`].
pub(super) fn cases(api: ApiKey, version: i16, asked_id: Uuid) -> Vec<Case> {
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
                let batch = batch("more").producer(PRODUCER_ID, 0, 0).transactional();
                request(batch.build().expect("a batch"), Some(TRANSACTION))
            });
            vec![
                by_name_or_id(plain, 13).needs(Write, asked),
                by_name_or_id(of_transaction, 13)
                    .needs(Write, TransactionalId(TRANSACTION))
                    .needs(Write, asked)
                    // That the partition is not in a transaction.
                    .may_tell(&[48, 120]),
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
        // Whoever means another broker is told so.
        ApiKey::ApiVersions => vec![Case::typed("all", |_| {
            api_versions::ApiVersionsRequest::default()
                .with_client_software_name(wire("canary"))
                .with_client_software_version(wire("1"))
        })],
        ApiKey::OffsetForLeaderEpoch => vec![
            Case::sampled("as a consumer", Names).needs(Describe, asked),
            Case::sampled("as a broker", Names)
                .needs(ClusterAction, Cluster)
                .else_tells(29),
        ],
        ApiKey::OffsetCommit => {
            let by_id = Case::typed("by id", move |_| {
                let partition = offset_commit::OffsetCommitRequestPartition::default();
                let topic = offset_commit::OffsetCommitRequestTopic::default()
                    .with_topic_id(asked_id)
                    .with_partitions(vec![partition]);
                offset_commit::OffsetCommitRequest::default()
                    .with_group_id(wire(GROUP).into())
                    .with_topics(vec![topic])
            });
            let case = match version {
                ..10 => Case::sampled("by name", Names),
                _ => by_id.by_id(),
            };
            vec![case.needs(Read, Group(GROUP)).needs(Read, asked)]
        }
        ApiKey::OffsetFetch => {
            use offset_fetch::{
                OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
            };
            let of_group = |topics: Option<Vec<OffsetFetchRequestTopics>>| {
                let group = OffsetFetchRequestGroup::default()
                    .with_group_id(wire(GROUP).into())
                    .with_topics(topics);
                OffsetFetchRequest::default().with_groups(vec![group])
            };
            let by_id = Case::typed("by id", move |_| {
                let topic = OffsetFetchRequestTopics::default().with_topic_id(asked_id);
                of_group(Some(vec![topic.with_partition_indexes(vec![0])]))
            });
            let named = match version {
                ..10 => Case::sampled("by name", But("member_id", "", 0)),
                _ => by_id.by_id(),
            };
            let named = named.needs(Describe, Group(GROUP)).needs(Describe, asked);
            let all = Case::typed("all", move |version| match version {
                ..8 => OffsetFetchRequest::default()
                    .with_group_id(wire(GROUP).into())
                    .with_topics(None),
                _ => of_group(None),
            });
            let all = all
                .needs(Describe, Group(GROUP))
                .or_leaves_out(Describe, asked);
            match version {
                ..2 => vec![named],
                _ => vec![named, by_name_or_id(all, 10)],
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
                    transaction.needs(Describe, TransactionalId(TRANSACTION)),
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
                    .with_transaction_timeout_ms(60_000)
            });
            vec![
                idempotent().needs(IdempotentWrite, Cluster),
                idempotent().needs(Write, asked).else_tells(31),
                transactional.needs(Write, TransactionalId(TRANSACTION)),
            ]
        }
        ApiKey::WriteTxnMarkers => {
            use protocol_shim::newer::write_txn_markers::*;
            let marked = || {
                Case::typed("by name", |_| {
                    let topic = WritableTxnMarkerTopic::default().with_name(topic_name());
                    let marker = WritableTxnMarker::default()
                        .with_topics(vec![topic.with_partition_indexes(vec![0])]);
                    WriteTxnMarkersRequest::default().with_markers(vec![marker])
                })
            };
            [Alter, ClusterAction]
                .map(|right| marked().needs(right, Cluster))
                .into()
        }
        ApiKey::AddPartitionsToTxn => {
            use add_partitions_to_txn_request::{
                AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
            };
            let topics = || {
                let topic = AddPartitionsToTxnTopic::default().with_name(topic());
                vec![topic.with_partitions(vec![1])]
            };
            let of_producer = Case::typed("as a producer", move |_| {
                AddPartitionsToTxnRequest::default()
                    .with_v3_and_below_transactional_id(wire(TRANSACTION).into())
                    .with_v3_and_below_producer_id(PRODUCER_ID.into())
                    .with_v3_and_below_topics(topics())
            });
            let of_broker = Case::typed("as a broker", move |_| {
                let transaction = AddPartitionsToTxnTransaction::default()
                    .with_transactional_id(wire(TRANSACTION).into())
                    .with_producer_id(PRODUCER_ID.into())
                    .with_topics(topics());
                AddPartitionsToTxnRequest::default().with_transactions(vec![transaction])
            });
            match version {
                ..4 => vec![
                    of_producer
                        .needs(Write, TransactionalId(TRANSACTION))
                        .needs(Write, asked),
                ],
                4.. => vec![of_broker.needs(ClusterAction, Cluster)],
            }
        }
        ApiKey::AddOffsetsToTxn => vec![
            Case::typed("for a group", |_| {
                AddOffsetsToTxnRequest::default()
                    .with_transactional_id(wire(TRANSACTION).into())
                    .with_producer_id(PRODUCER_ID.into())
                    .with_group_id(wire(GROUP).into())
            })
            .needs(Write, TransactionalId(TRANSACTION))
            .needs(Read, Group(GROUP)),
        ],
        ApiKey::EndTxn => vec![
            Case::typed("commit", |_| {
                EndTxnRequest::default()
                    .with_transactional_id(wire(TRANSACTION).into())
                    .with_producer_id(PRODUCER_ID.into())
                    .with_committed(true)
            })
            .needs(Write, TransactionalId(TRANSACTION)),
        ],
        ApiKey::TxnOffsetCommit => {
            let case = Case::typed("an offset", move |version| {
                let partition = txn_offset_commit::TxnOffsetCommitRequestPartition::default();
                let topic = txn_offset_commit::TxnOffsetCommitRequestTopic::default()
                    .with_partitions(vec![partition]);
                let topic = match version {
                    6.. => topic.with_topic_id(asked_id),
                    _ => topic.with_name(self::topic()),
                };
                txn_offset_commit::TxnOffsetCommitRequest::default()
                    .with_transactional_id(wire(TRANSACTION).into())
                    .with_group_id(wire(GROUP).into())
                    .with_producer_id(PRODUCER_ID.into())
                    .with_topics(vec![topic])
            });
            vec![
                by_name_or_id(case, 6)
                    .needs(Write, TransactionalId(TRANSACTION))
                    .needs(Read, Group(GROUP))
                    .needs(Read, asked)
                    // That the group's partition is not in a transaction.
                    .may_tell(&[48, 120]),
            ]
        }
        ApiKey::DescribeProducers => vec![Case::sampled("by name", Names).needs(Read, asked)],
        ApiKey::DescribeTransactions => vec![
            Case::sampled("by name", Names)
                .needs(Describe, TransactionalId(TRANSACTION))
                .or_leaves_out(Describe, asked),
        ],
        ApiKey::ListTransactions => vec![
            Case::typed("all", |_| ListTransactionsRequest::default())
                .or_leaves_out(Describe, TransactionalId(TRANSACTION)),
        ],
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
                describe_log_dirs::DescribeLogDirsRequest::default().with_topics(None)
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
        ApiKey::AlterReplicaLogDirs => vec![
            Case::sampled("to another directory", Names)
                .needs(Alter, Cluster)
                .may_tell(&[57]),
        ],
        ApiKey::AlterPartitionReassignments => vec![
            Case::sampled("by name", Names)
                .needs(Alter, Cluster)
                .may_tell(&[39]),
        ],
        ApiKey::UpdateFeatures => vec![
            Case::sampled("another one", Names)
                .needs(Alter, Cluster)
                .may_tell(&[95]),
        ],
        ApiKey::UnregisterBroker => vec![
            Case::sampled("another one", Names)
                .needs(Alter, Cluster)
                .may_tell(&[102]),
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
            Case::typed("all", |_| {
                DescribeAclsRequest::default()
                    .with_resource_type_filter(1)
                    .with_resource_name_filter(None)
                    .with_pattern_type_filter(1)
                    .with_principal_filter(None)
                    .with_host_filter(None)
                    .with_operation(1)
                    .with_permission_type(1)
            })
            .needs(Describe, Cluster)
            .sees_all(),
        ],
        ApiKey::CreateAcls => vec![
            Case::typed("one", |_| {
                let entry = create_acls_request::AclCreation::default()
                    .with_resource_type(2)
                    .with_resource_name(wire(NEW))
                    .with_resource_pattern_type(3)
                    .with_principal(wire("User:canary"))
                    .with_host(wire("*"))
                    .with_operation(3)
                    .with_permission_type(3);
                CreateAclsRequest::default().with_creations(vec![entry])
            })
            .needs(Alter, Cluster),
        ],
        ApiKey::DeleteAcls => vec![
            Case::typed("of everybody", |_| {
                let filter = delete_acls_request::DeleteAclsFilter::default()
                    .with_resource_type_filter(1)
                    .with_resource_name_filter(None)
                    .with_pattern_type_filter(1)
                    .with_principal_filter(None)
                    .with_host_filter(None)
                    .with_operation(1)
                    .with_permission_type(1);
                DeleteAclsRequest::default().with_filters(vec![filter])
            })
            .needs(Alter, Cluster)
            .sees_all(),
        ],
        ApiKey::CreateDelegationToken => {
            let request = || CreateDelegationTokenRequest::default().with_max_lifetime_ms(-1);
            let own = Case::typed("its own", move |_| request());
            let of_another = Case::typed("somebody else's", move |_| {
                request()
                    .with_owner_principal_type(Some(wire("User")))
                    .with_owner_principal_name(Some(wire(ASKED)))
            });
            match version {
                ..3 => vec![own],
                _ => vec![own, of_another.needs(CreateTokens, User(ASKED_USER))],
            }
        }
        ApiKey::RenewDelegationToken => vec![
            Case::typed("of another", |_| {
                RenewDelegationTokenRequest::default().with_hmac(token_secret())
            })
            .may_tell(&[63]),
        ],
        ApiKey::ExpireDelegationToken => vec![
            Case::typed("of another", |_| {
                ExpireDelegationTokenRequest::default()
                    .with_hmac(token_secret())
                    .with_expiry_time_period_ms(-1)
            })
            .may_tell(&[63]),
        ],
        ApiKey::DescribeDelegationToken => {
            let all = || {
                Case::typed("all", |_| {
                    DescribeDelegationTokenRequest::default().with_owners(None)
                })
            };
            vec![
                all().or_leaves_out(Describe, DelegationToken(TOKEN)),
                all().or_leaves_out(DescribeTokens, User(ASKED_USER)),
            ]
        }
        ApiKey::DescribeClientQuotas => vec![
            Case::sampled("some", Names)
                .needs(DescribeConfigs, Cluster)
                .may_tell(&[35]),
        ],
        ApiKey::AlterClientQuotas => {
            use alter_client_quotas_request::{EntityData, EntryData, OpData};
            let quota = |_| {
                let user = EntityData::default()
                    .with_entity_type(wire("user"))
                    .with_entity_name(Some(wire(ASKED)));
                let op = OpData::default()
                    .with_key(wire("producer_byte_rate"))
                    .with_value(1e9);
                let entry = EntryData::default()
                    .with_entity(vec![user])
                    .with_ops(vec![op]);
                AlterClientQuotasRequest::default().with_entries(vec![entry])
            };
            vec![Case::typed("one", quota).needs(AlterConfigs, Cluster)]
        }
        ApiKey::DescribeUserScramCredentials => vec![
            Case::sampled("by name", Names)
                .needs(Describe, Cluster)
                .may_tell(&[91]),
        ],
        ApiKey::AlterUserScramCredentials => vec![
            Case::typed("a user more", |_| {
                let upsertion = ScramCredentialUpsertion::default()
                    .with_name(wire(ASKED))
                    .with_mechanism(1)
                    .with_iterations(4096)
                    .with_salt(Bytes::from_static(b"salt"))
                    .with_salted_password(Bytes::from_static(b"salted"));
                AlterUserScramCredentialsRequest::default().with_upsertions(vec![upsertion])
            })
            .needs(Alter, Cluster),
            Case::typed("a user less", |_| {
                let deletion = ScramCredentialDeletion::default()
                    .with_name(wire(ASKED))
                    .with_mechanism(1);
                AlterUserScramCredentialsRequest::default().with_deletions(vec![deletion])
            })
            .needs(Alter, Cluster)
            .may_tell(&[91]),
        ],
        ApiKey::GetTelemetrySubscriptions => {
            vec![Case::sampled("again and again", Names).may_tell(&[89])]
        }
        ApiKey::PushTelemetry => {
            vec![Case::sampled("unasked", Names).may_tell(&[42, 76, 89, 117])]
        }
        ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => {
            vec![Case::sampled("too late", Names).may_tell(&[34])]
        }
        other => panic!("nobody has said what {other:?} needs"),
    }
}

/// The secret of [`TOKEN`].
fn token_secret() -> Bytes {
    let settings =
        BrokerConfig::from_properties([(TOKEN_KEY.0.to_owned(), TOKEN_KEY.1.to_owned())].into());
    let tokens = DelegationTokens::new(settings.expect("valid").0.section());
    let secret = tokens.secret(TOKEN).expect("on");
    Bytes::copy_from_slice(secret.expose())
}

pub(super) fn topic_name() -> TopicName {
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
