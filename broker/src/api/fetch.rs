//! Fetch (key 1), versions 4-18.
//!
//! Long polls until `min_bytes` are there or `max_wait_ms` is over; keeps incremental sessions
//! (KIP-227); checks leader epochs (KIP-320) and names diverging ones (KIP-595); topics by id from
//! v13 (KIP-516). Records leave as they are stored, never decoded and never copied.
//!
//! A client that is above its quota is answered without records, and its session stays as it was; what it may have at once is
//! capped to what its quota allows (KIP-219).
//!
//! A consumer that says where it is is sent to the broker that leads there (KIP-392).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::protocol::StrBytes;
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;
use protocol_shim::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchResponse, FetchTopic,
};
use storage::log::{FetchedRecords, Isolation, ReadError};
use uuid::Uuid;

use crate::authorizer::Resource;
use crate::context::RequestContext;
use crate::log_limited;
use crate::net::account::Unaffordable;
use crate::partition::delayed_fetch::{self, FetchLimits, FetchTarget};
use crate::partition::errors;
use crate::partition::fetch_session::{Outcome, Told, TopicKey, WantedPartition};
use crate::partition::registry::{Partition, check_leader_epoch};
use crate::quota::toll::Toll;
use crate::view::{Topic, View};

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: FetchRequest,
) -> Result<FetchResponse, Unaffordable> {
    let now_ms = ctx.clock().steady_ms();
    let sessions = ctx.fetch_sessions();
    let owner = &ctx.session.principal;
    let plan = match sessions.plan(&request, ctx.api_version, owner, now_ms, rand::random) {
        Ok(plan) => plan,
        Err(error_code) => {
            return Ok(FetchResponse {
                error_code,
                ..FetchResponse::default()
            });
        }
    };
    let (max_wait_ms, min_bytes) = (request.max_wait_ms, request.min_bytes);
    let (max_bytes, isolation_level) = (request.max_bytes, request.isolation_level);
    let is_follower = request.replica_id.0 >= 0 || request.replica_state.replica_id.0 >= 0;
    let rack = Some(request.rack_id.clone()).filter(|rack| !rack.is_empty() && !is_follower);
    if is_follower && let Some(toll) = ctx.toll() {
        toll.exempt();
    }
    // What it names is in the plan.
    drop(request);
    // Its records are not counted: they are slices of the log, or of the cold reads' own budget.
    ctx.pay_for_all(plan.partitions.len() * PARTITION_BYTES)
        .await?;
    let view = ctx.view();
    let wanted = plan.partitions.iter().map(|wanted| {
        let topic = topic(&view, &wanted.topic, is_follower)?;
        Ok((topic.id(), wanted.partition))
    });
    let found = view.partitions(wanted.collect()).await;
    let checked = plan.partitions.iter().zip(found);
    let checked = checked.map(|(wanted, found)| check(wanted, found));
    let found = within_the_log(&view, &plan.partitions, checked.collect()).await;
    let mut answers = Vec::with_capacity(plan.partitions.len());
    // What is to be read, and where its answer goes.
    let (mut targets, mut places) = (Vec::new(), Vec::new());
    for (wanted, found) in plan.partitions.iter().zip(found) {
        match ask(&view, wanted, found, rack.as_deref()) {
            Ok(target) => {
                places.push(answers.len());
                targets.push(target);
                answers.push(FetchPartition::default());
            }
            Err(answer) => answers.push(*answer),
        }
    }

    // What a follower reads is not its user's.
    let toll = ctx.toll().filter(|_| !is_follower);
    let most_by_quota = toll.map_or(usize::MAX, Toll::most_fetched);
    let limits = FetchLimits {
        // An answer that is known already is not waited for.
        max_wait: if targets.len() < answers.len() {
            Duration::ZERO
        } else {
            millis(max_wait_ms)
        },
        min_bytes: usize::try_from(min_bytes).unwrap_or(0).min(most_by_quota),
        max_bytes: usize::try_from(max_bytes)
            .unwrap_or(0)
            .min(ctx.config().serving.fetch_max_bytes)
            .min(most_by_quota),
        isolation: match isolation_level {
            1 => Isolation::ReadCommitted,
            _ => Isolation::ReadUncommitted,
        },
    };
    let results = delayed_fetch::fetch(limits, &targets, ctx.interrupted()).await;
    for (&place, result) in places.iter().zip(results) {
        let partition = plan.partitions[place].partition;
        answers[place] = match result {
            Ok(records) => answer(partition, records, limits.isolation),
            Err(error) => refusal(partition, &error),
        };
    }
    if toll.is_some_and(|toll| !toll.allows_fetch(size(&answers))) {
        sessions.withdraw(&plan);
        return Ok(FetchResponse {
            session_id: if plan.incremental { plan.session_id } else { 0 },
            ..FetchResponse::default()
        });
    }
    for (target, &place) in targets.iter().zip(&places) {
        let bytes = answers[place].records.iter().map(Bytes::len).sum();
        target.partition.traffic.went_out(bytes);
    }
    drop(targets);
    let outcomes: Vec<Outcome> = answers.iter().map(outcome).collect();
    let news = sessions.conclude(&plan, &outcomes);
    drop(outcomes);
    Ok(FetchResponse {
        session_id: plan.session_id,
        topics: by_topic(&plan.partitions, answers, &news),
        ..FetchResponse::default()
    })
}

/// What a partition takes from the plan to the response: a session of many is answered on a request of a few bytes.
const PARTITION_BYTES: usize = size_of::<WantedPartition>()
    + size_of::<FetchTarget>()
    + size_of::<FetchedRecords>()
    + size_of::<Outcome>()
    + size_of::<FetchPartition>()
    + 64;

/// About as many bytes as an answer takes.
fn size(answers: &[FetchPartition]) -> usize {
    const PARTITION_WIRE_BYTES: usize = 48;
    let records = answers.iter().flat_map(|answer| &answer.records);
    answers.len() * PARTITION_WIRE_BYTES + records.map(Bytes::len).sum::<usize>()
}

/// What to read for a wanted partition, or the answer if it is known.
fn ask(
    view: &View<'_>,
    wanted: &WantedPartition,
    found: Result<Arc<Partition>, ErrorCode>,
    rack: Option<&str>,
) -> Result<FetchTarget, Box<FetchPartition>> {
    let known = |error_code| Box::new(failed(wanted.partition, error_code));
    let partition = found.map_err(known)?;
    let without_records = || {
        let offsets = partition.log.offsets();
        Box::new(FetchPartition {
            partition_index: wanted.partition,
            high_watermark: offsets.high_watermark,
            last_stable_offset: offsets.last_stable_offset,
            log_start_offset: offsets.log_start_offset,
            ..FetchPartition::default()
        })
    };
    if let Some(diverging) = diverging_epoch(&partition, wanted).map_err(known)? {
        return Err(Box::new(FetchPartition {
            diverging_epoch: Some(diverging),
            ..*without_records()
        }));
    }
    let topic_id = partition.log.id().topic_id;
    let nearer = rack.and_then(|rack| view.nearer(topic_id, wanted.partition, rack));
    if let Some(nearer) = nearer {
        return Err(Box::new(FetchPartition {
            preferred_read_replica: nearer.0,
            ..*without_records()
        }));
    }
    Ok(FetchTarget {
        partition,
        fetch_offset: wanted.fetch_offset,
        max_bytes: usize::try_from(wanted.max_bytes).unwrap_or(0),
    })
}

/// What a follower reads is the cluster's business.
fn topic<'v>(
    view: &'v View<'_>,
    topic: &TopicKey,
    is_follower: bool,
) -> Result<Topic<'v>, ErrorCode> {
    if is_follower && !view.allows(Operation::ClusterAction, Resource::Cluster) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    match topic {
        TopicKey::Id(id) if is_follower => {
            view.topic_of_cluster_by_id(*id, Operation::ClusterAction)
        }
        TopicKey::Id(id) => view.topic_by_id(*id, Operation::Read),
        TopicKey::Name(name) if is_follower => {
            view.topic_of_cluster(name, Operation::ClusterAction)
        }
        TopicKey::Name(name) => view.topic(name, Operation::Read),
    }
}

fn check(
    wanted: &WantedPartition,
    found: Result<Arc<Partition>, ErrorCode>,
) -> Result<Arc<Partition>, ErrorCode> {
    let partition = found?;
    check_leader_epoch(&*partition.log, wanted.current_leader_epoch)?;
    Ok(partition)
}

/// Refuses partitions that are to be read from beyond their ends, but for readers who are told where their history and the log's
/// part. Another broker may have acknowledged more than this one knows: of all that it knows to be shorter it asks at once.
async fn within_the_log(
    view: &View<'_>,
    wanted: &[WantedPartition],
    mut found: Vec<Result<Arc<Partition>, ErrorCode>>,
) -> Vec<Result<Arc<Partition>, ErrorCode>> {
    // On one machine whoever reads finds out.
    if view.coordination().is_alone {
        return found;
    }
    let is_beyond = |at: &usize| {
        let partition = found[*at].as_ref();
        let end = partition.map(|partition| partition.log.offsets().log_end_offset);
        end.is_ok_and(|end| wanted[*at].fetch_offset > end)
    };
    let beyond: Vec<usize> = (0..found.len()).filter(is_beyond).collect();
    let asked = beyond.iter().map(|at| found[*at].clone()).collect();
    for (at, known) in beyond.iter().zip(view.current_offsets(asked).await) {
        let wanted = &wanted[*at];
        found[*at] = known.and_then(|(partition, offsets)| {
            let is_beyond = wanted.fetch_offset > offsets.log_end_offset;
            match is_beyond && wanted.last_fetched_epoch < 0 {
                true => Err(ErrorCode::OffsetOutOfRange),
                false => Ok(partition),
            }
        });
    }
    found
}

/// Where the reader's history and the log's part, if they do (KIP-595).
///
/// # Errors
/// OFFSET_OUT_OF_RANGE where the reader has seen an epoch that the log knows nothing of.
fn diverging_epoch(
    partition: &Partition,
    wanted: &WantedPartition,
) -> Result<Option<EpochEndOffset>, ErrorCode> {
    if wanted.last_fetched_epoch < 0 {
        return Ok(None);
    }
    let (epoch, end_offset) = partition
        .log
        .end_offset_for_epoch(wanted.last_fetched_epoch)
        .ok_or(ErrorCode::OffsetOutOfRange)?;
    let diverges = epoch < wanted.last_fetched_epoch || end_offset < wanted.fetch_offset;
    Ok(diverges.then_some(EpochEndOffset { epoch, end_offset }))
}

fn answer(partition_index: i32, read: FetchedRecords, isolation: Isolation) -> FetchPartition {
    let aborted = read
        .aborted_transactions
        .iter()
        .map(|aborted| AbortedTransaction {
            producer_id: aborted.producer_id,
            first_offset: aborted.first_offset,
        });
    FetchPartition {
        partition_index,
        high_watermark: read.offsets.high_watermark,
        last_stable_offset: read.offsets.last_stable_offset,
        log_start_offset: read.offsets.log_start_offset,
        aborted_transactions: (isolation == Isolation::ReadCommitted).then(|| aborted.collect()),
        records: read.records,
        ..FetchPartition::default()
    }
}

fn refusal(partition_index: i32, error: &ReadError) -> FetchPartition {
    if let ReadError::Corrupt { .. } | ReadError::Storage(_) = error {
        log_limited!(error, "cannot fetch: {error}");
    }
    failed(partition_index, errors::of_read(error))
}

fn failed(partition_index: i32, error_code: ErrorCode) -> FetchPartition {
    FetchPartition {
        partition_index,
        error_code,
        ..FetchPartition::default()
    }
}

fn outcome(answer: &FetchPartition) -> Outcome {
    Outcome {
        has_records: !answer.records.is_empty()
            || answer.diverging_epoch.is_some()
            || answer.preferred_read_replica >= 0,
        failed: answer.error_code != ErrorCode::None,
        told: Told {
            high_watermark: answer.high_watermark,
            log_start_offset: answer.log_start_offset,
        },
    }
}

/// Puts what there is news of under headings: one for partitions of a topic that follow each other. Of many partitions it
/// makes no copy, not even for a moment.
fn by_topic(
    wanted: &[WantedPartition],
    mut answers: Vec<FetchPartition>,
    news: &[bool],
) -> Vec<FetchTopic> {
    let mut is_news = news.iter();
    answers.retain(|_| is_news.next() == Some(&true));
    let mut headings: Vec<(&TopicKey, usize)> = Vec::new();
    for (wanted, _) in wanted.iter().zip(news).filter(|(_, news)| **news) {
        match headings.last_mut() {
            Some((topic, count)) if **topic == wanted.topic => *count += 1,
            _ => headings.push((&wanted.topic, 1)),
        }
    }
    let mut topics = Vec::with_capacity(headings.len());
    for (topic, count) in headings.into_iter().rev() {
        let partitions = match answers.len().saturating_sub(count) {
            0 => std::mem::take(&mut answers),
            first => answers.split_off(first),
        };
        let (topic, topic_id) = match topic {
            TopicKey::Name(name) => (StrBytes::from_string(name.to_string()), Uuid::nil()),
            TopicKey::Id(id) => (StrBytes::default(), *id),
        };
        topics.push(FetchTopic {
            topic,
            topic_id,
            partitions,
        });
    }
    topics.reverse();
    topics
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
