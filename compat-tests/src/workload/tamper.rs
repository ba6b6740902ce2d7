//! A proxy that lies: a broker that is broken on purpose, in ways that can be had between it and its clients.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use bytes::Bytes;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, EndTxnRequest, EndTxnResponse, FetchRequest, FetchResponse, InitProducerIdRequest,
    ProduceRequest, ProduceResponse,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::NO_PRODUCER_ID;
use protocol_shim::newer::txn_offset_commit::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use protocol_shim::newer::{
    ListOffsetsRequest, OffsetFetchRequest, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::frames;
use super::lie::Lie;
use crate::records::split;

/// What becomes of a request.
pub(super) enum Asked {
    /// It goes to the broker; or these do, and the client gets the answer to what has its correlation id.
    Forward(Vec<Vec<u8>>),
    /// The broker never sees it; the client gets this.
    Answer(Vec<u8>),
}

/// Sees every frame, without its length, of every connection.
pub(super) struct Liar {
    lie: Lie,
    random: StdRng,
    /// It does nothing new any more; what it has done stays done.
    reformed: bool,
    seen: HashSet<(String, i32, i64)>,
    lost: HashSet<(String, i32, i64)>,
    /// The last end of each transactional id.
    ends: HashMap<String, (i16, bool, Vec<u8>)>,
}

impl Liar {
    pub fn new(lie: Lie, seed: u64) -> Self {
        Self {
            lie,
            random: StdRng::seed_from_u64(seed),
            reformed: false,
            seen: HashSet::new(),
            lost: HashSet::new(),
            ends: HashMap::new(),
        }
    }

    pub fn reform(&mut self) {
        self.reformed = true;
    }

    /// What becomes of a request. What cannot be taken apart goes its way.
    pub fn asked(&mut self, key: i16, version: i16, frame: &[u8]) -> Asked {
        let forward = Asked::Forward(Vec::new());
        if self.reformed && self.lie != Lie::IgnoreIsolation {
            return forward;
        }
        let lied = match (ApiKey::try_from(key), self.lie) {
            (Ok(ApiKey::Produce), Lie::ProduceTwice) => self.twice(version, frame),
            (Ok(ApiKey::Produce), Lie::OnlyAnswer) => self.only_answered(version, frame),
            (Ok(ApiKey::Produce), Lie::ReverseRecords | Lie::ForgeRecords) => {
                self.rewritten(version, frame)
            }
            (Ok(ApiKey::Fetch), Lie::IgnoreIsolation) => uncommitted(version, frame),
            (Ok(ApiKey::EndTxn), Lie::CommitAborted | Lie::AbortCommitted) => {
                other_end(version, frame, self.lie == Lie::CommitAborted)
            }
            (Ok(ApiKey::EndTxn), Lie::NeverEnd) => no_end(version, frame),
            (Ok(ApiKey::InitProducerId), Lie::NeverEnd) => no_timeout(version, frame),
            (Ok(ApiKey::EndTxn), Lie::RepeatEnd) => self.repeated(version, frame),
            (Ok(ApiKey::TxnOffsetCommit), Lie::ForgetOffsets) => no_offsets(version, frame),
            (Ok(ApiKey::TxnOffsetCommit), Lie::SkipInputs) => one_more(version, frame),
            _ => return forward,
        };
        lied.inspect_err(complain).unwrap_or(forward)
    }

    /// What the client gets instead of an answer; nothing: the answer.
    pub fn answered(&mut self, key: i16, version: i16, frame: &[u8]) -> Option<Vec<u8>> {
        let lied = match (ApiKey::try_from(key), self.lie) {
            (Ok(ApiKey::Fetch), Lie::LoseBatches | Lie::SkipBatches | Lie::ShiftBatches) => {
                frames::changed::<FetchRequest>(version, frame, |answer| self.fetched(answer))
            }
            (Ok(ApiKey::ListOffsets), Lie::GoBack) if self.sins() => {
                frames::changed::<ListOffsetsRequest>(version, frame, |answer| {
                    let topics = answer.topics.iter_mut();
                    for partition in topics.flat_map(|topic| &mut topic.partitions) {
                        partition.offset /= 2;
                    }
                    Ok(())
                })
            }
            (Ok(ApiKey::OffsetFetch), Lie::GoBack) if self.sins() => {
                frames::changed::<OffsetFetchRequest>(version, frame, |answer| {
                    let topics = answer.topics.iter_mut();
                    for partition in topics.flat_map(|topic| &mut topic.partitions) {
                        partition.committed_offset /= 2;
                    }
                    Ok(())
                })
            }
            _ => return None,
        };
        lied.inspect_err(complain).ok()
    }

    fn sins(&mut self) -> bool {
        !self.reformed && self.random.random_bool(0.1)
    }

    fn fetched(&mut self, answer: &mut FetchResponse) -> Result<()> {
        for topic in &mut answer.responses {
            let name = format!("{:?}{}", topic.topic, topic.topic_id);
            for partition in &mut topic.partitions {
                let index = partition.partition_index;
                let Some(records) = &partition.records else {
                    continue;
                };
                let batches = split(records).into_iter();
                let told = batches.map(|batch| {
                    let batch = batch.to_vec();
                    if frames::is_control(&batch) {
                        return batch;
                    }
                    self.batch(name.clone(), index, batch)
                });
                let told: Vec<u8> = told.flatten().collect();
                partition.records = Some(Bytes::from(told));
            }
        }
        Ok(())
    }

    fn batch(&mut self, topic: String, partition: i32, batch: Vec<u8>) -> Vec<u8> {
        let key = (topic, partition, frames::base_offset(&batch));
        let lie = self.lie;
        match lie {
            Lie::LoseBatches => {
                if self.seen.insert(key.clone()) && self.sins() {
                    self.lost.insert(key.clone());
                }
                if self.lost.contains(&key) {
                    return frames::emptied(&batch);
                }
            }
            Lie::SkipBatches if self.sins() => return frames::emptied(&batch),
            Lie::ShiftBatches if self.sins() => {
                let mut shifted = batch;
                shifted[..8].copy_from_slice(&(key.2 + 1).to_be_bytes());
                return shifted;
            }
            _ => {}
        }
        batch
    }

    /// The request, and the same without what makes it idempotent. Those of transactions cannot be had so.
    fn twice(&mut self, version: i16, frame: &[u8]) -> Result<Asked> {
        let (header, mut request) = frames::request::<ProduceRequest>(version, frame)?;
        if request.transactional_id.is_some() || !self.sins() {
            return Ok(Asked::Forward(Vec::new()));
        }
        let topics = request.topic_data.iter_mut();
        for partition in topics.flat_map(|topic| &mut topic.partition_data) {
            let records = partition.records.clone().unwrap_or_default();
            partition.records = Some(frames::rewritten(&records, |records| {
                for record in records {
                    (record.producer_id, record.producer_epoch) = (NO_PRODUCER_ID, -1);
                    record.sequence = -1;
                }
            })?);
        }
        let again = header
            .clone()
            .with_correlation_id(-1 - header.correlation_id);
        let again = frames::of_request(version, &again, &request)?;
        Ok(Asked::Forward(vec![frame.to_vec(), again]))
    }

    /// Where the records are it does not say: that would give it away at once.
    fn only_answered(&mut self, version: i16, frame: &[u8]) -> Result<Asked> {
        let (header, request) = frames::request::<ProduceRequest>(version, frame)?;
        if request.acks == 0 || !self.sins() {
            return Ok(Asked::Forward(Vec::new()));
        }
        let topics = request.topic_data.iter().map(|topic| {
            let indexes = topic.partition_data.iter().map(|partition| partition.index);
            let answers = indexes.map(|index| {
                PartitionProduceResponse::default()
                    .with_index(index)
                    .with_base_offset(-1)
            });
            TopicProduceResponse::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_partition_responses(answers.collect())
        });
        let answer = ProduceResponse::default().with_responses(topics.collect());
        let correlation = header.correlation_id;
        let answer = frames::of_answer::<ProduceRequest>(version, correlation, &answer)?;
        Ok(Asked::Answer(answer))
    }

    fn rewritten(&mut self, version: i16, frame: &[u8]) -> Result<Asked> {
        let (header, mut request) = frames::request::<ProduceRequest>(version, frame)?;
        if !self.sins() {
            return Ok(Asked::Forward(Vec::new()));
        }
        let forges = self.lie == Lie::ForgeRecords;
        let topics = request.topic_data.iter_mut();
        for partition in topics.flat_map(|topic| &mut topic.partition_data) {
            let records = partition.records.clone().unwrap_or_default();
            partition.records = Some(frames::rewritten(&records, |records| {
                let mut values: Vec<_> =
                    records.iter().map(|record| record.value.clone()).collect();
                values.reverse();
                for (record, value) in records.iter_mut().zip(values) {
                    record.value = match &record.value {
                        Some(value) if forges => Some([b"77700000", &value[..]].concat().into()),
                        _ => value,
                    };
                }
            })?);
        }
        let request = frames::of_request(version, &header, &request)?;
        Ok(Asked::Forward(vec![request]))
    }

    /// The end, and behind it the one before once more, if that was another way.
    fn repeated(&mut self, version: i16, frame: &[u8]) -> Result<Asked> {
        let (header, request) = frames::request::<EndTxnRequest>(version, frame)?;
        let again = header
            .clone()
            .with_correlation_id(-1 - header.correlation_id);
        let again = frames::of_request(version, &again, &request)?;
        let id = request.transactional_id.to_string();
        let end = (version, request.committed, again);
        let before = self.ends.insert(id, end);
        Ok(match before {
            // It should abort; what arrives first is the commit of long ago.
            Some((before_version, true, late))
                if before_version == version && !request.committed =>
            {
                Asked::Forward(vec![late, frame.to_vec()])
            }
            _ => Asked::Forward(Vec::new()),
        })
    }
}

/// A test that wanted a lie must not take its absence for the broker's merit.
fn complain(error: &anyhow::Error) {
    eprintln!("# no lie: {error:#}");
}

fn uncommitted(version: i16, frame: &[u8]) -> Result<Asked> {
    let (header, request) = frames::request::<FetchRequest>(version, frame)?;
    let request = request.with_isolation_level(0);
    let request = frames::of_request(version, &header, &request)?;
    Ok(Asked::Forward(vec![request]))
}

fn other_end(version: i16, frame: &[u8], commit: bool) -> Result<Asked> {
    let (header, request) = frames::request::<EndTxnRequest>(version, frame)?;
    let request = request.with_committed(commit);
    let request = frames::of_request(version, &header, &request)?;
    Ok(Asked::Forward(vec![request]))
}

fn no_end(version: i16, frame: &[u8]) -> Result<Asked> {
    let (header, request) = frames::request::<EndTxnRequest>(version, frame)?;
    let answer = EndTxnResponse::default()
        .with_producer_id(request.producer_id)
        .with_producer_epoch(request.producer_epoch);
    let correlation = header.correlation_id;
    let answer = frames::of_answer::<EndTxnRequest>(version, correlation, &answer)?;
    Ok(Asked::Answer(answer))
}

fn no_timeout(version: i16, frame: &[u8]) -> Result<Asked> {
    let (header, request) = frames::request::<InitProducerIdRequest>(version, frame)?;
    let request = request.with_transaction_timeout_ms(600_000);
    let request = frames::of_request(version, &header, &request)?;
    Ok(Asked::Forward(vec![request]))
}

fn no_offsets(version: i16, frame: &[u8]) -> Result<Asked> {
    let (header, request) = frames::request::<TxnOffsetCommitRequest>(version, frame)?;
    let topics = request.topics.iter().map(|topic| {
        let partition =
            |index| TxnOffsetCommitResponsePartition::default().with_partition_index(index);
        let indexes = topic.partitions.iter().map(|asked| asked.partition_index);
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(indexes.map(partition).collect())
    });
    let answer = TxnOffsetCommitResponse::default().with_topics(topics.collect());
    let correlation = header.correlation_id;
    let answer = frames::of_answer::<TxnOffsetCommitRequest>(version, correlation, &answer)?;
    Ok(Asked::Answer(answer))
}

fn one_more(version: i16, frame: &[u8]) -> Result<Asked> {
    let (header, mut request) = frames::request::<TxnOffsetCommitRequest>(version, frame)?;
    let topics = request.topics.iter_mut();
    for partition in topics.flat_map(|topic| &mut topic.partitions) {
        partition.committed_offset += 1;
        partition.committed_metadata = Some(StrBytes::from_static_str(""));
    }
    let request = frames::of_request(version, &header, &request)?;
    Ok(Asked::Forward(vec![request]))
}
