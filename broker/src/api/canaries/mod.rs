//! Who may do what, for every API in every version: what a client without rights is told, and that it learns and changes
//! nothing.
//!
//! Each case asks for the canaries below, in one request. It says which rights that takes, and what is answered without each
//! of them (Kafka's `KafkaApis` and `ControllerApis`). The client is given none, then exactly these, then all but one: by a list
//! of what it may do, and by entries that the broker keeps.

mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use coordinators::group::{
    CommitOffsets, CommitPartition, CommitTopic, ConsumerHeartbeat, GroupId, Viewer,
};
use coordinators::{machine, txn};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Encodable;
use protocol_shim::access::Operation::{
    self, Alter, AlterConfigs, ClusterAction, Create, CreateTokens, Delete, Describe,
    DescribeConfigs, DescribeTokens, IdempotentWrite, Read, Write,
};
use protocol_shim::api_spec::ApiSpec;
use protocol_shim::sample::{self, Values};
use storage::log::{AppendOrigin, Next};
use storage::memory;
use storage::record::builder::BatchBuilder;
use storage::record::validate::ValidatedBatch;
use uuid::Uuid;

use super::walk::{self, Plain};
use super::{advertised, wire};
use crate::acl::{Acl, PatternKind, Permission};
use crate::authorizer::Authorizer;
use crate::authorizer::Resource::{
    self, Cluster, DelegationToken, Group, Topic, TransactionalId, User,
};
use crate::authorizer::rights::{Right, Rights};
use crate::broker::Broker;
use crate::config::SecurityProtocol;
use crate::metadata::{NewAcls, NewToken, NewTopic, OldAcls, Placement, TopicImage};
use crate::net::session::{ClientListener, Principal, Session};

use cases::{But, Case, Without, batch, cases, topic_name};

/// What requests ask for.
const ASKED: &str = "canary-asked";
const GROUP: &str = "canary-group";
/// A group of the consumer protocol. Its member reads [`ASKED`].
const CONSUMERS: &str = "canary-consumers";
/// A transactional id with an open transaction in [`ASKED`] and [`HIDDEN`].
const TRANSACTION: &str = "canary-transaction";
/// The producer of [`TRANSACTION`].
const PRODUCER_ID: i64 = 0;
/// What is not there yet.
const NEW: &str = "canary-new";
/// What nobody asks for and nobody may see. Every name and record of it says `hidden`.
const HIDDEN: &str = "hidden-topic";
const HIDDEN_GROUP: &str = "hidden-group";
const HIDDEN_TRANSACTION: &str = "hidden-transaction";
/// A delegation token of [`ASKED_USER`]'s, and one of somebody's whom nobody asks for.
const TOKEN: &str = "canary-token";
const HIDDEN_TOKEN: &str = "hidden-token";
const ASKED_USER: &str = "User:canary-asked";
/// Makes the secrets of tokens.
const TOKEN_KEY: (&str, &str) = ("delegation.token.secret.key", "canary-key");

/// A broker with canaries, and a client that may do what it is told to.
struct Aviary {
    broker: Arc<Broker>,
    /// `None`: entries of the broker's say what the client may do.
    rights: Option<Rights>,
    client: Arc<Session>,
    asked_id: Uuid,
    /// What no answer may say.
    secrets: Vec<String>,
}

impl Aviary {
    async fn new(by: By) -> Self {
        let mut broker = match by {
            By::List => walk::broker_with(&[TOKEN_KEY], memory::open()).await,
            By::Acls => {
                let settings = [
                    (
                        "authorizer.class.name",
                        "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                    ),
                    ("super.users", "User:administrator"),
                    TOKEN_KEY,
                ];
                walk::broker_with(&settings, memory::open()).await
            }
        };
        let rights = (by == By::List).then(|| {
            let rights = Rights::default();
            let alone = Arc::get_mut(&mut broker).expect("nobody else has it yet");
            alone.authorizer = Arc::new(Authorizer::Only(rights.clone()));
            rights
        });
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
            let permit = log.reserve(batch.size_bytes(), AppendOrigin::CLIENT).await;
            let appended = log.submit(
                permit.expect("room"),
                batch,
                AppendOrigin::CLIENT,
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
            viewer: Viewer::anonymous(),
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
        begin(&broker, TRANSACTION, [asked, hidden], PRODUCER_ID).await;
        begin(
            &broker,
            HIDDEN_TRANSACTION,
            [asked, hidden],
            PRODUCER_ID + 1,
        )
        .await;
        for (id, owner) in [(TOKEN, ASKED_USER), (HIDDEN_TOKEN, "User:hidden-user")] {
            let new = NewToken {
                id: id.into(),
                owner: owner.to_owned(),
                requester: owner.to_owned(),
                renewers: Vec::new(),
                now_ms: broker.clock.wall_ms(),
                lifetime_ms: 60_000,
                period_ms: 60_000,
            };
            broker.metadata.create_token(new).await.expect("made");
        }
        let secrets = vec!["hidden".to_owned(), hidden.topic_id.to_string()];
        Self {
            rights,
            client: Arc::new(session()),
            asked_id: asked.topic_id,
            secrets,
            broker,
        }
    }
}

/// Begins a transaction in partition 0 of some topics.
async fn begin(broker: &Broker, id: &str, topics: [&Arc<TopicImage>; 2], producer_id: i64) {
    let id = || txn::TransactionalId::from(id).into();
    let producer = broker.transactions.init_producer(id(), 60_000, None);
    let producer = producer.await.expect("initialized");
    assert_eq!(producer.id, producer_id);
    let partitions = topics.map(|topic| machine::Partition {
        topic: topic.name.clone(),
        topic_id: topic.topic_id,
        index: 0,
    });
    let adding = txn::Adding::AddAhead;
    let transactions = &broker.transactions;
    let added = transactions.add_partitions(id(), producer, partitions.into(), adding);
    assert_eq!(added.await, [Ok(()); 2]);
}

/// Who says what the client may do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    List,
    Acls,
}

/// What a client is told, and what may be seen of it.
#[derive(Debug)]
struct Told {
    errors: BTreeSet<i16>,
    text: String,
}

impl Aviary {
    /// The client may do this from now on, and nothing else.
    async fn give(&self, given: impl IntoIterator<Item = Right>) {
        let Some(rights) = &self.rights else {
            let metadata = &self.broker.metadata;
            let old = metadata.image().acls().iter().map(|(id, _)| id).collect();
            metadata.delete_acls(OldAcls(old)).await.expect("deleted");
            let nobody = Right(Read, Topic(HIDDEN));
            let nobody = Acl {
                principal: "User:hidden-user".into(),
                ..acl(nobody)
            };
            let new = given.into_iter().map(acl).chain([nobody]).collect();
            metadata.create_acls(NewAcls(new)).await.expect("made");
            return;
        };
        rights.set(given);
    }

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
        let mut known = Vec::new();
        for (name, field, id) in [
            ("DescribeGroups", "groups", GROUP),
            ("DescribeGroups", "groups", NEW),
            ("ConsumerGroupDescribe", "group_ids", CONSUMERS),
            ("DescribeTransactions", "transactional_ids", TRANSACTION),
            ("DescribeTransactions", "transactional_ids", NEW),
        ] {
            let spec = advertised().find(|spec| spec.name == name).expect("served");
            let body = sample::body(spec, spec.max_version, usize::MAX, 1, &But(field, id, 0));
            let version = spec.max_version;
            let told = walk::ask_with(&self.broker, administrator, spec, version, body).await;
            known.push(told.expect("answered"));
        }
        (image, offsets, known)
    }
}

/// The codes of all errors in the text of a response.
fn errors_in(text: &str) -> BTreeSet<i16> {
    let values = text.split("error_code: ").skip(1);
    let codes = values.filter_map(|rest| rest.split([',', ' ', '}']).next()?.parse().ok());
    codes.filter(|code| *code != 0).collect()
}

fn acl(Right(operation, resource): Right) -> Acl {
    let (resource, name) = resource.kind_and_name();
    Acl {
        resource,
        pattern: PatternKind::Literal,
        name: name.into(),
        principal: "User:ANONYMOUS".into(),
        host: "*".into(),
        operation: operation.into(),
        permission: Permission::Allow,
    }
}

/// A client that has come to a listener at which it could have logged in: others have nothing to do with delegation tokens.
fn session() -> Session {
    let mut session = walk::session();
    session.listener = Arc::new(ClientListener {
        security_protocol: SecurityProtocol::SaslPlaintext,
        ..ClientListener::clone(&session.listener)
    });
    session
}

fn administrator() -> Arc<Session> {
    let mut session = session();
    session.principal = Principal {
        kind: "User".into(),
        name: "administrator".into(),
    };
    Arc::new(session)
}

/// One version of one API: every case with no rights, with exactly its rights, and with all but one.
async fn walk_through(by: By, spec: &'static ApiSpec, version: i16, wrong: &mut Vec<String>) {
    let api = ApiKey::try_from(spec.api_key).expect("known");
    let count = cases(api, version, Uuid::nil()).len();
    for at in 0..count {
        let needs = cases(api, version, Uuid::nil()).swap_remove(at).needs.len();
        // Without any, then without each one, then with all.
        let left_out = (0..=needs + 1).filter(|missing| needs > 0 || *missing > 0);
        for missing in left_out {
            let aviary = Aviary::new(by).await;
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
            aviary.give(given).await;
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

async fn walk_through_all(by: By) {
    let only = std::env::var("CANARIES_API").ok();
    let mut wrong = Vec::new();
    for spec in advertised() {
        if only.as_deref().is_some_and(|only| only != spec.name) {
            continue;
        }
        for version in spec.min_version..=spec.max_version {
            walk_through(by, spec, version, &mut wrong).await;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn a_client_without_rights_learns_and_changes_nothing_and_one_with_exactly_these_succeeds() {
    walk_through_all(By::List).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_without_acls_learns_and_changes_nothing_and_one_with_exactly_these_succeeds() {
    walk_through_all(By::Acls).await;
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_waits_for_no_answer_and_may_not_write_is_told_by_its_connections_end() {
    let aviary = Aviary::new(By::List).await;
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
    aviary.give([Right(Write, Topic(ASKED))]).await;
    assert_eq!(ask().await.expect("taken"), None);
    assert!(before != aviary.state(&administrator).await);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_told_what_it_may_do_and_of_the_cluster_only_if_it_may_describe_it() {
    let aviary = Aviary::new(By::List).await;
    let operations = async |rights: &[Right]| {
        aviary.give(rights.iter().copied()).await;
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

/// Not only when it is said: topics come later, and the shard asks anew what it matches.
#[tokio::test]
async fn a_pattern_matches_what_its_member_may_describe_and_nothing_that_comes_later_either() {
    let aviary = Aviary::new(By::Acls).await;
    let group = Right(Read, Group(NEW));
    let rights = [
        group,
        Right(Read, Topic(ASKED)),
        Right(Describe, Topic(NEW)),
    ];
    aviary.give(rights).await;
    let spec = advertised()
        .find(|spec| spec.name == "ConsumerGroupHeartbeat")
        .expect("served");
    let heartbeat = async |epoch: i32| {
        let joins = epoch == 0;
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(wire(NEW).into())
            .with_member_id(wire("member"))
            .with_member_epoch(epoch)
            .with_rebalance_timeout_ms(if joins { 10_000 } else { -1 })
            .with_subscribed_topic_names(None)
            .with_subscribed_topic_regex(joins.then(|| wire(".*")))
            .with_topic_partitions(joins.then(Vec::new));
        let mut body = BytesMut::new();
        request.encode(&mut body, 1).expect("version 1");
        let asked = walk::ask_with(&aviary.broker, &aviary.client, spec, 1, body.to_vec());
        asked.await.expect("answered").expect("an answer")
    };
    let epoch_in = |answer: &str| {
        let rest = answer.split("member_epoch: ").nth(1);
        let epoch = rest.and_then(|rest| rest.split(',').next()?.parse::<i32>().ok());
        epoch.unwrap_or_else(|| panic!("{answer}"))
    };
    let first = heartbeat(0).await;
    let mut epoch = epoch_in(&first);
    let topics = [NEW, "hidden-later"].map(NewTopic::with_defaults);
    let created = aviary
        .broker
        .metadata
        .create_topics(topics.into(), false)
        .await;
    let [seen, hidden] = &created[..] else {
        panic!("two")
    };
    let ids = [seen, hidden].map(|topic| topic.as_ref().expect("made").topic_id.to_string());
    let mut told = first;
    for _ in 0..200 {
        if told.contains(&ids[0]) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let answer = heartbeat(epoch).await;
        epoch = epoch_in(&answer);
        told += &answer;
    }
    assert!(told.contains(&aviary.asked_id.to_string()), "{told}");
    assert!(told.contains(&ids[0]), "what came later is there: {told}");
    let secrets = aviary.secrets.iter().chain([&ids[1]]);
    for secret in secrets {
        assert!(!told.contains(secret.as_str()), "{secret}: {told}");
    }
}
