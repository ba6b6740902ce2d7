//! What the guard adds to decoding, and what a fetch response costs to encode.
//!
//! `cargo bench -p ottla-protocol-shim`

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use kafka_protocol::messages::{
    MetadataResponse, ProduceRequest, TopicName, metadata_response, produce_request,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use protocol_shim::fetch_response::{
    FetchPartition, FetchResponse, FetchTopic, encode_fetch_response,
};
use protocol_shim::{api_spec, decode_request, encode_response, guard};

const PRODUCE: i16 = 0;
const METADATA: i16 = 3;

/// One topic with `count` partitions of 1 KiB each.
fn produce_body(count: i32, version: i16) -> Bytes {
    let partitions = (0..count).map(|index| {
        produce_request::PartitionProduceData::default()
            .with_index(index)
            .with_records(Some(Bytes::from(vec![0; 1024])))
    });
    let topic = produce_request::TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str("events")))
        .with_partition_data(partitions.collect());
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_topic_data(vec![topic]);
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("a valid request");
    body.freeze()
}

fn produce(c: &mut Criterion) {
    let version = 9;
    let spec = api_spec::spec(PRODUCE).expect("Produce is in the table");
    let mut group = c.benchmark_group("produce v9");
    for count in [1, 100] {
        let body = produce_body(count, version);
        group.bench_with_input(BenchmarkId::new("guard", count), &body, |b, body| {
            b.iter(|| guard::check(spec, version, black_box(body)));
        });
        group.bench_with_input(
            BenchmarkId::new("guard and decode", count),
            &body,
            |b, body| {
                b.iter(|| decode_request::<ProduceRequest>(0, version, black_box(body.clone())));
            },
        );
    }
}

fn fetch(c: &mut Criterion) {
    let mut group = c.benchmark_group("fetch v12, 64 KiB a partition");
    for count in [1, 100] {
        let records = vec![
            Bytes::from(vec![0; 32 << 10]),
            Bytes::from(vec![1; 32 << 10]),
        ];
        let partitions = (0..count).map(|partition_index| FetchPartition {
            partition_index,
            records: records.clone(),
            ..Default::default()
        });
        let topic = FetchTopic {
            topic: StrBytes::from_static_str("events"),
            partitions: partitions.collect(),
            ..Default::default()
        };
        let response = FetchResponse {
            topics: vec![topic],
            ..Default::default()
        };
        group.bench_with_input(
            BenchmarkId::new("encode", count),
            &response,
            |b, response| {
                b.iter(|| encode_fetch_response(12, 1, black_box(response)));
            },
        );
    }
}

fn metadata(c: &mut Criterion) {
    let partitions = (0..100).map(|index| {
        metadata_response::MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_replica_nodes(vec![0.into()])
            .with_isr_nodes(vec![0.into()])
    });
    let topic = metadata_response::MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str("events"))))
        .with_partitions(partitions.collect());
    let response = MetadataResponse::default().with_topics(vec![topic]);
    c.bench_function("metadata v9, 100 partitions/encode", |b| {
        b.iter(|| encode_response(METADATA, 9, 1, black_box(&response)));
    });
}

criterion_group!(benches, produce, fetch, metadata);
criterion_main!(benches);
