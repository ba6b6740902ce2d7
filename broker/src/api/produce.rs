//! Produce (key 0), versions 3-13; announced from 0 (KAFKA-18659).
//!
//! Batches are checked and appended in the order of the connection's requests; the response waits until
//! they are as durable as the topic promises (acks=1 and acks=all alike), without holding up the next
//! request. A duplicate of an idempotent batch is answered with the original's offset. Topics by id
//! from v13 (KIP-516); refused records are named from v8 (KIP-467). After a failed acks=0 request the
//! connection is closed, which is how Kafka tells.
//!
//! Batches of a transaction need a transactional id that the client may use, else the whole request is refused. A partition
//! that the transaction has not written to yet must belong to it; from v12 the request adds it (KIP-890): see
//! [`verification`](crate::partition::verification). A transactional id alone means nothing.
//!
//! Of a partition that is named again the last mention counts, and it is answered once, as by Kafka: no client sends two.
//!
//! Deviations: what does not decompress is INVALID_RECORD, where Kafka fails with UNKNOWN_SERVER_ERROR; a batch may
//! decompress to 64 MiB, and all of a request together to that and 64 times its size, else it is MESSAGE_TOO_LARGE.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coordinators::txn::TransactionalId;
use indexmap::IndexMap;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;
use protocol_shim::header::RequestHeader;
use storage::log::{AppendError, AppendOrigin, Next, PendingAppend, VerificationGuard};
use storage::record::validate::{ValidateError, is_transactional};
use tokio::time::Instant;
use tracing::{Level, debug};
use uuid::Uuid;

use super::wire;
use crate::authorizer::{Authorized, Resource};
use crate::client_text::client_text;
use crate::context::RequestContext;
use crate::log_limited;
use crate::partition::errors;
use crate::partition::registry::Partition;
use crate::partition::validation::RequestValidation;
use crate::partition::verification::{Transactional, Unverified, overtaken, verify};
use crate::response::{self, RequestError};
use crate::view::View;

/// The client id by which Kafka lets administrators write to internal topics.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// `acks` of a producer that wants every replica to have the records.
const ALL_REPLICAS: i16 = -1;
/// What a disk may take, however short the timeout of the producer.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Stage 1: checks every batch and appends it. Waits only for room in the log. With acks=0 there is no stage 2.
///
/// # Errors
/// With acks=0, when a batch was refused.
pub(crate) async fn start(
    ctx: &RequestContext,
    header: &RequestHeader,
    request: ProduceRequest,
) -> Result<Option<Started>, RequestError> {
    let acks = request.acks;
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    // With acks=1 Kafka has no timeout; with acks=all and one replica it answers whatever the timeout.
    let deadline = (acks == ALL_REPLICAS).then(|| Instant::now() + timeout.max(MIN_TIMEOUT));
    let topics = append_all(ctx, request, deadline).await;
    if let Some(toll) = ctx.toll() {
        toll.produce(ctx.request_bytes);
        if acks == 0 {
            toll.exempt();
        }
    }
    if acks != 0 {
        return Ok(Some(Started { topics, deadline }));
    }
    let mut partitions = topics.iter().flat_map(|topic| &topic.partitions);
    let failed = partitions.find_map(|partition| partition.outcome.as_ref().err());
    let error = failed.map_or(ErrorCode::None, |refusal| refusal.code);
    if tracing::enabled!(Level::DEBUG) {
        response::tell(ctx, header, error, 0);
    }
    match failed {
        None => Ok(None),
        Some(refusal) => Err(RequestError::UnacknowledgedProduce(
            refusal.code.to_string(),
        )),
    }
}

/// A request whose batches are on their way to the disk.
pub(crate) struct Started {
    topics: Vec<StartedTopic>,
    /// Until when the disk is waited for.
    deadline: Option<Instant>,
}

impl Started {
    /// Stage 2: waits until all batches are durable.
    pub(crate) async fn answer(self) -> ProduceResponse {
        let mut responses = Vec::with_capacity(self.topics.len());
        for topic in self.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in topic.partitions {
                partitions.push(partition.answer(self.deadline).await);
            }
            responses.push(
                TopicProduceResponse::default()
                    .with_name(topic.name)
                    .with_topic_id(topic.topic_id)
                    .with_partition_responses(partitions),
            );
        }
        ProduceResponse::default().with_responses(responses)
    }
}

struct StartedTopic {
    name: TopicName,
    topic_id: Uuid,
    partitions: Vec<StartedPartition>,
}

struct StartedPartition {
    index: i32,
    outcome: Result<StartedAppend, Refusal>,
}

struct StartedAppend {
    partition: Arc<Partition>,
    pending: PendingAppend,
    log_append_time_ms: i64,
    verified: Verified,
}

/// The version of a request whose batch was verified, if another broker may have written to its log since.
type Verified = Option<i16>;

/// What to answer for a partition that took nothing.
struct Refusal {
    code: ErrorCode,
    message: Option<String>,
    record_errors: Vec<(i32, String)>,
    log_start_offset: i64,
}

impl From<Unverified> for Refusal {
    fn from(Unverified { code, message }: Unverified) -> Self {
        Self {
            message,
            ..code.into()
        }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            message: None,
            record_errors: Vec::new(),
            log_start_offset: -1,
        }
    }
}

/// Leaves of each partition the last mention, in the place of the first.
fn keep_last_mentions(topics: &mut Vec<TopicProduceData>) {
    let count = topics.iter().map(|topic| topic.partition_data.len()).sum();
    if count <= 1 {
        return;
    }
    let mut seen = HashSet::with_capacity(count);
    let all_differ = topics.iter().all(|topic| {
        let mut data = topic.partition_data.iter();
        data.all(|data| seen.insert((&topic.name, topic.topic_id, data.index)))
    });
    // A topic that is named again is answered once, too.
    let topics_differ = || {
        let mut seen = HashSet::with_capacity(topics.len());
        let mut topics = topics.iter();
        topics.all(|topic| seen.insert((&topic.name, topic.topic_id)))
    };
    if all_differ && (topics.len() == 1 || topics_differ()) {
        return;
    }
    type Mentioned = IndexMap<i32, PartitionProduceData>;
    let mut mentioned: IndexMap<(TopicName, Uuid), Mentioned> = IndexMap::new();
    for topic in topics.drain(..) {
        let partitions = mentioned.entry((topic.name, topic.topic_id)).or_default();
        let data = topic.partition_data.into_iter();
        partitions.extend(data.map(|data| (data.index, data)));
    }
    topics.extend(mentioned.into_iter().map(|((name, topic_id), partitions)| {
        TopicProduceData::default()
            .with_name(name)
            .with_topic_id(topic_id)
            .with_partition_data(partitions.into_values().collect())
    }));
}

async fn append_all(
    ctx: &RequestContext,
    mut request: ProduceRequest,
    deadline: Option<Instant>,
) -> Vec<StartedTopic> {
    let view = ctx.view();
    keep_last_mentions(&mut request.topic_data);
    let (transaction, refused_whole) = match transaction(ctx, &view, &request) {
        Ok(transaction) if matches!(request.acks, -1..=1) => (transaction, None),
        Ok(_) => (None, Some(ErrorCode::InvalidRequiredAcks)),
        Err(code) => (None, Some(code)),
    };
    let request_bytes = batches_of(&request).map(Bytes::len).sum();
    let mut validation =
        RequestValidation::new(ctx.validators(), request_bytes, ctx.api_version >= 7);
    let find_topic = |topic: &TopicProduceData| match refused_whole {
        Some(code) => Err(code),
        None => find_topic(ctx, &view, &topic.name, topic.topic_id),
    };
    let wanted = request.topic_data.iter().flat_map(|topic| {
        let topic_id = find_topic(topic);
        let data = topic.partition_data.iter();
        data.map(move |data| Ok((topic_id?, data.index)))
    });
    let found = view.partitions(wanted.collect()).await;
    let mut guards = match transaction {
        // In a box: every connection has room for what it waits for here.
        Some(transaction) => Box::pin(guards(ctx, &view, transaction, &request, &found)).await,
        None => Vec::new(),
    }
    .into_iter();
    let is_only = found.len() == 1;
    let mut found = found.into_iter();
    let mut started = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let index = data.index;
            let found = found.next();
            let found = found.unwrap_or(Err(ErrorCode::UnknownTopicOrPartition));
            let outcome = match (found, guards.next().unwrap_or(Ok(None))) {
                (Ok(partition), Ok(guard)) => {
                    let origin = AppendOrigin::Client(guard);
                    let how = (origin, is_only, deadline);
                    append(ctx, &mut validation, partition, data, how).await
                }
                (Err(code), _) => Err(code.into()),
                (Ok(_), Err(unverified)) => Err(unverified.into()),
            };
            partitions.push(StartedPartition { index, outcome });
        }
        started.push(StartedTopic {
            name: topic.name,
            topic_id: topic.topic_id,
            partitions,
        });
    }
    started
}

/// What may write the transactional batches of a request, if it has any.
///
/// # Errors
/// TRANSACTIONAL_ID_AUTHORIZATION_FAILED; INVALID_PRODUCER_ID_MAPPING if they are of two producers.
fn transaction(
    ctx: &RequestContext,
    view: &View<'_>,
    request: &ProduceRequest,
) -> Result<Option<Authorized<TransactionalId>>, ErrorCode> {
    let mut batches = batches_of(request);
    if !batches.any(|records| is_transactional(records)) {
        return Ok(None);
    }
    let denied = ErrorCode::TransactionalIdAuthorizationFailed;
    let id = request.transactional_id.as_deref().ok_or(denied)?;
    let id = view.transactional_id(id, Operation::Write)?;
    let batches =
        batches_of(request).filter_map(|records| Transactional::of(records, ctx.api_version >= 7));
    let mut producers = batches.map(|batch| batch.producer);
    let first = producers.next();
    match producers.all(|producer| Some(producer) == first) {
        true => Ok(Some(id)),
        false => Err(ErrorCode::InvalidProducerIdMapping),
    }
}

/// For each partition that was found: the guard that its batch needs.
async fn guards(
    ctx: &RequestContext,
    view: &View<'_>,
    transactional_id: Authorized<TransactionalId>,
    request: &ProduceRequest,
    found: &[Result<Arc<Partition>, ErrorCode>],
) -> Vec<Result<Option<VerificationGuard>, Unverified>> {
    let data = request
        .topic_data
        .iter()
        .flat_map(|topic| &topic.partition_data);
    let batches = data.zip(found).map(|(data, found)| {
        let batch = Transactional::of(data.records.as_ref()?, ctx.api_version >= 7)?;
        Some((&**found.as_ref().ok()?, batch))
    });
    verify(view, ctx.api_version, transactional_id, batches.collect()).await
}

fn batches_of(request: &ProduceRequest) -> impl Iterator<Item = &Bytes> {
    let partitions = request.topic_data.iter();
    let partitions = partitions.flat_map(|topic| &topic.partition_data);
    partitions.filter_map(|data| data.records.as_ref())
}

fn find_topic(
    ctx: &RequestContext,
    view: &View<'_>,
    name: &TopicName,
    topic_id: Uuid,
) -> Result<Authorized<Uuid>, ErrorCode> {
    let topic = match ctx.api_version {
        13.. => view.topic_by_id(topic_id, Operation::Write)?,
        _ => view.topic(name, Operation::Write)?,
    };
    // Only the coordinators write to internal topics. Anybody can call himself an administrator.
    let is_admin = || {
        &*ctx.client_id == ADMIN_CLIENT_ID
            && view.allows(Operation::ClusterAction, Resource::Cluster)
    };
    if topic.is_internal() && !is_admin() {
        return Err(ErrorCode::InvalidTopicException);
    }
    Ok(topic.id())
}

async fn append(
    ctx: &RequestContext,
    validation: &mut RequestValidation<'_>,
    partition: Arc<Partition>,
    data: PartitionProduceData,
    (origin, is_only, deadline): (AppendOrigin, bool, Option<Instant>),
) -> Result<StartedAppend, Refusal> {
    let records = data.records.unwrap_or_default();
    let settings = partition.settings.load_full();
    let batch = validation.validate(&records, &settings, ctx.clock().wall_ms());
    let batch = batch.await.map_err(|error| {
        debug!(log = %partition.log.id(), client_id = %client_text(&ctx.client_id), "refusing a batch: {error}");
        refused_batch(error, &partition)
    })?;
    let log_append_time_ms = batch.log_append_time_ms().unwrap_or(-1);
    let is_shared = || !ctx.view().coordination().is_alone;
    let verified = batch.header.is_transactional() && is_shared();
    let verified = verified.then_some(ctx.api_version);
    let refused = |error| refused_append(&error, &partition, verified);
    // Where there is no room nothing moves: whoever waits for that waits for the store.
    let room = partition.log.reserve(batch.size_bytes(), origin);
    let permit = match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, room)
            .await
            .map_err(|_| ErrorCode::RequestTimedOut)?,
        None => room.await,
    };
    let permit = permit.map_err(refused)?;
    let log = &partition.log;
    let next = match is_only {
        true => Next::Wait,
        false => Next::Append,
    };
    let (records, bytes) = (batch.record_count(), batch.size_bytes());
    let pending = log.submit(permit, batch, origin, next).map_err(refused)?;
    partition.traffic.came_in(records, bytes);
    Ok(StartedAppend {
        partition,
        pending,
        log_append_time_ms,
        verified,
    })
}

impl StartedPartition {
    /// Stage 2: waits until the batch is durable, at most until `deadline`.
    async fn answer(self, deadline: Option<Instant>) -> PartitionProduceResponse {
        let response = PartitionProduceResponse::default().with_index(self.index);
        let outcome = match self.outcome {
            Ok(append) => {
                let appended = match deadline {
                    Some(deadline) => tokio::time::timeout_at(deadline, append.pending).await,
                    None => Ok(append.pending.await),
                };
                match appended {
                    Ok(Ok(appended)) => Ok((appended, append.log_append_time_ms)),
                    Ok(Err(error)) => {
                        Err(refused_append(&error, &append.partition, append.verified))
                    }
                    Err(_) => Err(ErrorCode::RequestTimedOut.into()),
                }
            }
            Err(refusal) => Err(refusal),
        };
        match outcome {
            Ok((appended, log_append_time_ms)) => response
                .with_base_offset(appended.base_offset)
                .with_log_append_time_ms(log_append_time_ms)
                .with_log_start_offset(appended.log_start_offset),
            Err(refusal) => response
                .with_error_code(refusal.code.into())
                .with_base_offset(-1)
                .with_log_append_time_ms(-1)
                .with_log_start_offset(refusal.log_start_offset)
                .with_error_message(refusal.message.map(StrBytes::from_string))
                .with_record_errors(
                    refusal
                        .record_errors
                        .into_iter()
                        .map(|(batch_index, message)| {
                            BatchIndexAndErrorMessage::default()
                                .with_batch_index(batch_index)
                                .with_batch_index_error_message(Some(wire(&message)))
                        })
                        .collect(),
                ),
        }
    }
}

fn refused_batch(error: ValidateError, partition: &Partition) -> Refusal {
    let code = match &error {
        ValidateError::CorruptMessage(_) => ErrorCode::CorruptMessage,
        ValidateError::InvalidRecord { .. } => ErrorCode::InvalidRecord,
        ValidateError::InvalidTimestamp { .. } => ErrorCode::InvalidTimestamp,
        ValidateError::MessageTooLarge(_) => ErrorCode::MessageTooLarge,
        ValidateError::UnsupportedCompressionType(_) => ErrorCode::UnsupportedCompressionType,
    };
    let record_errors = error
        .record_errors()
        .iter()
        .map(|r| (r.batch_index, r.message.clone()))
        .collect();
    Refusal {
        code,
        message: Some(error.to_string()),
        record_errors,
        // Kafka tells it where the records are at fault, not the bytes.
        log_start_offset: match code {
            ErrorCode::CorruptMessage | ErrorCode::MessageTooLarge => -1,
            _ => partition.log.offsets().log_start_offset,
        },
    }
}

fn refused_append(error: &AppendError, partition: &Partition, verified: Verified) -> Refusal {
    if let (AppendError::InvalidTxnState { .. }, Some(api_version)) = (error, verified) {
        return overtaken(api_version).into();
    }
    let code = errors::of_append(error);
    if code == ErrorCode::KafkaStorageError {
        log_limited!(error, "cannot append: {error}");
    }
    Refusal {
        message: Some(error.to_string()),
        // As Kafka: where the log itself is at fault nothing is told of it.
        log_start_offset: match code {
            ErrorCode::KafkaStorageError | ErrorCode::UnknownTopicOrPartition => -1,
            _ => partition.log.offsets().log_start_offset,
        },
        ..code.into()
    }
}
