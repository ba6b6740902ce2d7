//! WriteTxnMarkers (key 27), versions 1-2.
//!
//! Ends a producer's transaction in the partitions that are named, whatever its coordinator knows of it: this is how tools
//! end one that hangs (KIP-664). Version 2 says whether the producer gets a new epoch with each transaction (KIP-1228).
//! It takes ALTER or CLUSTER_ACTION on the cluster. Each partition of a producer is answered once, however often it is named;
//! the last answer counts, as in Kafka.
//!
//! A partition of `__consumer_offsets` is answered when the marker is in its log. Its groups read it there before they tell an
//! offset that depends on it.
//!
//! Deviation: partitions are in the order of their names and numbers, where Kafka has no order.

use std::collections::BTreeMap;

use coordinators::machine::EndTxn;
use kafka_protocol::messages::{ProducerId, TopicName};
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;
use protocol_shim::newer::write_txn_markers::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

use crate::authorizer::Resource;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;
use crate::partition::errors;

/// What one marker takes on its way, and its answer as a struct and encoded.
const MARKER_BYTES: usize = 768;

/// The answers to one producer, by topic and partition.
type Answers = BTreeMap<TopicName, BTreeMap<i32, ErrorCode>>;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: WriteTxnMarkersRequest,
) -> Result<WriteTxnMarkersResponse, Unaffordable> {
    // Brokers ask it, as a rule.
    if let Some(toll) = ctx.toll() {
        toll.exempt();
    }
    let topics = request.markers.iter().flat_map(|marker| &marker.topics);
    let parts = topics.map(|topic| 1 + topic.partition_indexes.len());
    let parts = request.markers.len() + parts.sum::<usize>();
    ctx.pay(parts * MARKER_BYTES + ctx.request_bytes).await?;

    let view = ctx.view();
    let mut operations = [Operation::Alter, Operation::ClusterAction].into_iter();
    let right = operations.find(|operation| view.allows(*operation, Resource::Cluster));
    let right = right.ok_or(Resource::Cluster.denied());
    let mut answers: BTreeMap<i64, Answers> = BTreeMap::new();
    let mut pending = Vec::new();
    for marker in request.markers {
        let transaction_version = i16::from(marker.transaction_version);
        let end = EndTxn {
            producer_id: marker.producer_id.0,
            producer_epoch: marker.producer_epoch,
            coordinator_epoch: marker.coordinator_epoch,
            commit: marker.transaction_result,
        };
        for asked in marker.topics {
            for index in asked.partition_indexes {
                let topic = right.and_then(|right| view.topic_of_cluster(&asked.name, right));
                let submitted = match view.partition(topic, index).await {
                    // Kafka fails at a marker of nobody.
                    Ok(_) if end.producer_id < 0 || end.producer_epoch < 0 => {
                        Err(ErrorCode::UnknownServerError)
                    }
                    Ok(partition) => {
                        let coordination = view.coordination();
                        coordination
                            .append_marker(&*partition.log, end, transaction_version)
                            .await
                    }
                    Err(error) => Err(error),
                };
                pending.push((end.producer_id, asked.name.clone(), index, submitted));
            }
        }
    }
    for (producer_id, topic, index, submitted) in pending {
        let error = match submitted {
            Ok(append) => match append.await {
                Ok(_) => ErrorCode::None,
                Err(error) => errors::of_append(&error),
            },
            Err(error) => error,
        };
        let topics = answers.entry(producer_id).or_default();
        topics.entry(topic).or_default().insert(index, error);
    }
    let markers = answers.into_iter().map(answered).collect();
    Ok(WriteTxnMarkersResponse::default().with_markers(markers))
}

fn answered((producer_id, topics): (i64, Answers)) -> WritableTxnMarkerResult {
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, error)| {
            WritableTxnMarkerPartitionResult::default()
                .with_partition_index(index)
                .with_error_code(error.into())
        });
        WritableTxnMarkerTopicResult::default()
            .with_name(name)
            .with_partitions(partitions.collect())
    });
    WritableTxnMarkerResult::default()
        .with_producer_id(ProducerId(producer_id))
        .with_topics(topics.collect())
}
