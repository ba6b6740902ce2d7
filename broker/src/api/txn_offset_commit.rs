//! TxnOffsetCommit (key 28), versions 0-6.
//!
//! Commits offsets in a producer's transaction: they count when it commits. The member is checked as in OffsetCommit
//! (KIP-447, from v3). From v5 the request adds the group's partition to the transaction (KIP-890); before, AddOffsetsToTxn
//! has done so. Partitions that do not exist get UNKNOWN_TOPIC_OR_PARTITION, the others go on. From v6 topics are named by
//! their ids.

use coordinators::group::{CommitTopic, CommitTxnOffsets, GroupId, TopicResult};
use coordinators::machine::Producer;
use coordinators::txn::{Adding, TransactionalId};
use kafka_protocol::messages::offset_commit_response::OffsetCommitResponsePartition;
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;
use protocol_shim::newer::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use protocol_shim::newer::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
};

use super::commit_topics::{answers, commit_topics, known_topics, price_bytes, refused};
use super::owned;
use crate::authorizer::Authorized;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;
use crate::view::View;

/// Topics are named by their ids.
const TOPIC_IDS_SINCE: i16 = 6;
/// The request adds the group's partition to the transaction.
const ADDS_SINCE: i16 = 5;
/// Clients know TRANSACTION_ABORTABLE.
const ABORTABLE_SINCE: i16 = 4;
/// Clients know that a coordinator may be loading.
const LOADS_SINCE: i16 = 2;

pub(crate) async fn handle(
    ctx: &RequestContext,
    mut request: TxnOffsetCommitRequest,
) -> Result<TxnOffsetCommitResponse, Unaffordable> {
    let counts = request.topics.iter().map(|topic| topic.partitions.len());
    let struct_bytes = size_of::<OffsetCommitRequestPartition>()
        + size_of::<OffsetCommitResponsePartition>()
        + size_of::<TxnOffsetCommitResponsePartition>();
    ctx.pay(price_bytes(counts, struct_bytes)).await?;
    let view = ctx.view();
    let asked = as_offset_commit(&mut request);
    let allowed = Allowed::new(&view, &request);
    let topics = match allowed {
        Ok(allowed) => {
            let known = known_topics(&view, &asked, ctx.api_version >= TOPIC_IDS_SINCE);
            let topics = commit_topics(&asked, &known);
            let results = match topics.is_empty() {
                true => Ok(Vec::new()),
                false => commit(&view, allowed, &request, topics, ctx.api_version).await,
            };
            answers(&asked, &known, results)
        }
        Err(error) => refused(asked, error),
    };
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(partition.error_code)
        });
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    });
    Ok(TxnOffsetCommitResponse::default().with_topics(topics.collect()))
}

/// What the client may write to.
struct Allowed {
    transactional_id: Authorized<TransactionalId>,
    group: Authorized<GroupId>,
}

impl Allowed {
    fn new(view: &View<'_>, request: &TxnOffsetCommitRequest) -> Result<Self, ErrorCode> {
        Ok(Self {
            transactional_id: view.transactional_id(&request.transactional_id, Operation::Write)?,
            group: view.group(&request.group_id, Operation::Read)?,
        })
    }
}

/// The topics as OffsetCommit has them: what is done with them is the same.
fn as_offset_commit(request: &mut TxnOffsetCommitRequest) -> Vec<OffsetCommitRequestTopic> {
    let topics = std::mem::take(&mut request.topics)
        .into_iter()
        .map(|topic| {
            let partitions = topic.partitions.into_iter().map(|partition| {
                OffsetCommitRequestPartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_committed_offset(partition.committed_offset)
                    .with_committed_leader_epoch(partition.committed_leader_epoch)
                    .with_committed_metadata(partition.committed_metadata)
            });
            OffsetCommitRequestTopic::default()
                .with_name(topic.name)
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions.collect())
        });
    topics.collect()
}

async fn commit(
    view: &View<'_>,
    allowed: Allowed,
    request: &TxnOffsetCommitRequest,
    topics: Vec<CommitTopic>,
    api_version: i16,
) -> Result<Vec<TopicResult>, ErrorCode> {
    let Allowed {
        transactional_id,
        group,
    } = allowed;
    let producer = Producer {
        id: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    let adds = api_version >= ADDS_SINCE;
    let call = |group_id| CommitTxnOffsets {
        group_id,
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        generation_id: request.generation_id_or_member_epoch,
        member_id: owned(&request.member_id),
        group_instance_id: request.group_instance_id.as_ref().map(owned),
        topics,
        api_version,
    };
    let join = async |offsets_partition| {
        let adding = match adds {
            true => Adding::Add,
            false => Adding::Verify,
        };
        let partitions = vec![offsets_partition];
        let answers = view.add_to_transaction(transactional_id, producer, partitions, adding);
        answers
            .await
            .pop()
            .unwrap_or(Err(ErrorCode::UnknownServerError))
    };
    let committed = view
        .groups()
        .commit_within(group, producer, adds, join, call);
    committed.await.map_err(|error| told(error, api_version))
}

/// What a client is told of an error of the transaction's coordinator, or of the log that the offsets are written to.
fn told(error: ErrorCode, api_version: i16) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if api_version < ABORTABLE_SINCE => {
            ErrorCode::InvalidTxnState
        }
        ErrorCode::KafkaStorageError | ErrorCode::NotLeaderOrFollower => ErrorCode::NotCoordinator,
        ErrorCode::UnknownTopicOrPartition | ErrorCode::RequestTimedOut => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::CoordinatorLoadInProgress if api_version < LOADS_SINCE => {
            ErrorCode::CoordinatorNotAvailable
        }
        error => error,
    }
}
