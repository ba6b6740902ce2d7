//! WriteTxnMarkers, and what partitions tell of it: DescribeProducers, and Produce of an epoch that was fenced.

use anyhow::Result;
use compat_tests::scenario::{Talk, topic_name};
use kafka_protocol::messages::DescribeProducersRequest;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use protocol_shim::newer::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};

use super::produce;

/// What a marker says: producer, epoch, coordinator epoch, transaction version.
type Marker = (i64, i16, i32, i8);

fn request(markers: &[Marker], topic: &str, partitions: &[i32]) -> WriteTxnMarkersRequest {
    let markers = markers
        .iter()
        .map(|(id, epoch, coordinator_epoch, version)| {
            let topic = WritableTxnMarkerTopic::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(partitions.to_vec());
            WritableTxnMarker::default()
                .with_producer_id((*id).into())
                .with_producer_epoch(*epoch)
                .with_coordinator_epoch(*coordinator_epoch)
                .with_transaction_version(*version)
                .with_topics(vec![topic])
        });
    WriteTxnMarkersRequest::default().with_markers(markers.collect())
}

/// Markers of transactions without data, on partitions that may know their producer.
pub fn without_data(talk: &mut Talk<'_>) -> Result<()> {
    for version in 1..=2 {
        let name = format!("markers-{version}");
        let topic = (name.as_str(), talk.create_topic(&name, 2)?);
        let sequenced = produce::sequenced(5_000, 3, 0, 2)?;
        let produce = produce::request(9, topic, &[(0, sequenced)]);
        talk.ask("idempotent", 9, &produce)?;
        let markers: [(&str, Marker); 16] = [
            ("unknown producer", (5_001, 4, 7, 0)),
            ("again", (5_001, 4, 7, 0)),
            ("older epoch", (5_001, 3, 7, 0)),
            ("older coordinator", (5_001, 4, 6, 0)),
            ("older coordinator and epoch", (5_001, 3, 6, 0)),
            ("newer epoch", (5_001, 5, 7, 0)),
            ("newer coordinator", (5_001, 5, 8, 2)),
            ("version 2, older epoch", (5_001, 4, 8, 2)),
            ("version 2, newer epoch", (5_001, 6, 8, 2)),
            ("version 1", (5_001, 6, 8, 1)),
            ("another version", (5_001, 6, 8, 9)),
            ("the last epoch", (5_001, i16::MAX, 8, 2)),
            ("the last epoch again", (5_001, i16::MAX, 8, 2)),
            ("no coordinator", (5_002, 0, -1, 0)),
            ("idempotent producer, older epoch", (5_000, 2, 0, 0)),
            ("idempotent producer", (5_000, 4, 0, 0)),
        ];
        for (what, marker) in markers {
            let markers = request(&[marker], &name, &[0]);
            talk.ask(what, version, &markers)?;
        }
        let described = TopicRequest::default()
            .with_name(topic_name(&name))
            .with_partition_indexes(vec![0]);
        let described = DescribeProducersRequest::default().with_topics(vec![described]);
        talk.ask("after markers", 0, &described)?;
        let fenced = produce::sequenced(5_000, 3, 2, 1)?;
        let fenced = produce::request(9, topic, &[(0, fenced)]);
        talk.ask("fenced", 9, &fenced)?;
        let next = produce::sequenced(5_000, 4, 0, 1)?;
        let next = produce::request(9, topic, &[(0, next)]);
        talk.ask("the epoch of the marker", 9, &next)?;
        talk.ask("after a batch", 0, &described)?;

        let marker = (5_003, 0, 0, 0);
        talk.ask("none", version, &WriteTxnMarkersRequest::default())?;
        for (what, partitions) in [
            ("no partition", vec![]),
            ("unknown partition", vec![9]),
            ("negative partition", vec![-1]),
            ("two partitions", vec![0, 1]),
            ("known and unknown", vec![0, 9]),
        ] {
            let request = request(&[marker], &name, &partitions);
            talk.ask(what, version, &request)?;
        }
        let unknown = request(&[marker], "markers-unknown", &[0]);
        talk.ask("unknown topic", version, &unknown)?;
        let invalid = request(&[marker], "not valid", &[0]);
        talk.ask("invalid topic", version, &invalid)?;
        let twice = request(&[marker, (5_003, 1, 0, 0)], &name, &[0]);
        talk.ask("a producer twice", version, &twice)?;
        let backwards = request(&[(5_004, 1, 0, 0), (5_004, 0, 0, 0)], &name, &[0]);
        talk.ask("a producer twice, the second fenced", version, &backwards)?;
        let own = request(&[(5_005, 0, 0, 0)], "__consumer_offsets", &[0, 77]);
        talk.ask("the offsets of groups", version, &own)?;
        for (what, marker) in [
            ("nobody", (-1, 0, 0, 0)),
            ("no epoch", (5_006, -1, 0, 0)),
            ("another coordinator below zero", (5_007, 0, -9, 0)),
        ] {
            let request = request(&[marker], &name, &[0]);
            talk.ask(what, version, &request)?;
        }
        talk.ask("at last", 0, &described)?;
    }
    Ok(())
}
