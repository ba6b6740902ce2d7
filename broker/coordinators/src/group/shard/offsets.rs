//! OffsetCommit, TxnOffsetCommit, OffsetFetch, OffsetDelete, and what the deletion of a topic does to offsets.

use std::collections::BTreeSet;

use protocol_shim::ErrorCode;
use uuid::Uuid;

use crate::allowance::{Allowance, Priced};
use crate::batch_size::BATCH_OVERHEAD_BYTES;
use crate::codec::MAX_STRING_BYTES;
use crate::group::any::Group;
use crate::group::effects::Effects;
use crate::group::id::{GroupId, Name};
use crate::group::prices::FETCHED_PARTITION_BYTES;
use crate::group::record::GroupRecord;
use crate::group::record::offset::{CommittedOffset, OffsetKey};
use crate::group::reply::{
    DeleteOffsetsReply, FetchedGroup, FetchedPartition, FetchedTopic, PartitionResult, TopicResult,
};
use crate::group::request::{
    CommitOffsets, CommitPartition, CommitTopic, CommitTxnOffsets, DeleteOffsets, DeletedTopic,
    FetchGroup, FetchOffsets, FetchTopic,
};
use crate::group::shard::GroupShard;

/// From this version on clients know GROUP_ID_NOT_FOUND as an answer to a commit.
const FIRST_VERSION_KNOWING_GROUP_ID_NOT_FOUND: i16 = 9;
/// From this version on they know it, and STALE_MEMBER_EPOCH, as an answer to a commit in a transaction. The Java client takes
/// an error that it does not know there for a fatal one.
const FIRST_TXN_VERSION_KNOWING_THE_ERRORS_OF_COMMITS: i16 = 6;

impl GroupShard {
    pub(crate) fn commit_offsets(
        &mut self,
        now_ms: i64,
        request: CommitOffsets,
        effects: &mut Effects,
    ) -> Vec<TopicResult> {
        if let Err(error) = self.authorize_commit(now_ms, &request, effects) {
            return refuse(request.topics, error);
        }
        let expire_timestamp_ms = request
            .retention_time_ms
            .map(|retention_ms| self.wall_ms(now_ms).saturating_add(retention_ms));
        let wall_ms = self.wall_ms(now_ms);
        let (results, commits) = self.checked(
            &request.group_id,
            request.topics,
            wall_ms,
            expire_timestamp_ms,
            |key, value| GroupRecord::Offset {
                key,
                value: Some(value),
            },
        );
        for record in commits {
            self.append(effects, record);
        }
        results
    }

    fn authorize_commit(
        &mut self,
        now_ms: i64,
        request: &CommitOffsets,
        effects: &mut Effects,
    ) -> Result<(), ErrorCode> {
        let generation_id = request.generation_id_or_member_epoch;
        // The empty id is accepted here, because old clients without a group have always committed under it.
        if request.group_id.len() > MAX_STRING_BYTES {
            return Err(ErrorCode::InvalidGroupId);
        }
        let mut result = match self.groups.contains_key(&request.group_id) {
            false if generation_id < 0 => Ok(()),
            false if request.api_version >= FIRST_VERSION_KNOWING_GROUP_ID_NOT_FOUND => {
                Err(ErrorCode::GroupIdNotFound)
            }
            false => Err(ErrorCode::IllegalGeneration),
            true => Ok(()),
        };
        self.with_group(now_ms, &request.group_id, effects, |group, cx| {
            let (member_id, instance_id) =
                (&request.member_id, request.group_instance_id.as_deref());
            result = match group {
                Group::Classic(group) => {
                    group.authorize_commit(cx, member_id, instance_id, generation_id)
                }
                Group::Consumer(group) => group.authorize_commit(
                    member_id,
                    instance_id,
                    generation_id,
                    Some(request.api_version),
                    &request.topics,
                ),
            };
        });
        result
    }

    pub(crate) fn commit_txn_offsets(
        &mut self,
        now_ms: i64,
        request: CommitTxnOffsets,
        effects: &mut Effects,
    ) -> Vec<TopicResult> {
        let instance_id = request.group_instance_id.as_deref();
        let authorized = if !request.group_id.is_valid() {
            Err(ErrorCode::InvalidGroupId)
        } else {
            match self.groups.get(&request.group_id) {
                Some(Group::Classic(group)) => group.authorize_txn_commit(
                    &request.member_id,
                    instance_id,
                    request.generation_id,
                ),
                Some(Group::Consumer(group)) => group.authorize_commit(
                    &request.member_id,
                    instance_id,
                    request.generation_id,
                    None,
                    &request.topics,
                ),
                None if request.generation_id < 0 => Ok(()),
                None => Err(ErrorCode::GroupIdNotFound),
            }
        };
        if let Err(error) = authorized {
            let knows = request.api_version >= FIRST_TXN_VERSION_KNOWING_THE_ERRORS_OF_COMMITS;
            let error = match error {
                ErrorCode::GroupIdNotFound | ErrorCode::StaleMemberEpoch if !knows => {
                    ErrorCode::IllegalGeneration
                }
                error => error,
            };
            return refuse(request.topics, error);
        }
        let CommitTxnOffsets {
            producer_id,
            producer_epoch,
            ..
        } = request;
        let wall_ms = self.wall_ms(now_ms);
        let (results, commits) = self.checked(
            &request.group_id,
            request.topics,
            wall_ms,
            None,
            |key, value| GroupRecord::TxnOffset {
                producer_id,
                producer_epoch,
                key,
                value,
            },
        );
        if !commits.is_empty() {
            let staged = commits.iter().filter_map(|record| match record {
                GroupRecord::TxnOffset { key, value, .. } => Some((key, value)),
                _ => None,
            });
            self.offsets.stage(producer_id, staged);
        }
        for record in commits {
            effects.write(record);
        }
        results
    }

    /// What becomes of each partition of a commit, and the records of those that are let in.
    fn checked(
        &self,
        group_id: &GroupId,
        topics: Vec<CommitTopic>,
        now_ms: i64,
        expire_timestamp_ms: Option<i64>,
        record: impl Fn(OffsetKey, CommittedOffset) -> GroupRecord,
    ) -> (Vec<TopicResult>, Vec<GroupRecord>) {
        let mut results = Vec::with_capacity(topics.len());
        let mut records = Vec::new();
        let mut batch_bytes = BATCH_OVERHEAD_BYTES;
        for topic in topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in topic.partitions {
                let partition_index = partition.partition_index;
                let error = if topic.name.len() > MAX_STRING_BYTES {
                    Some(ErrorCode::UnknownServerError)
                } else if self.is_too_large(&partition.metadata) {
                    Some(ErrorCode::OffsetMetadataTooLarge)
                } else {
                    let key = OffsetKey {
                        group_id: group_id.clone(),
                        topic: topic.name.clone(),
                        partition_index,
                    };
                    // A record with an expiry has no room for epoch and topic id. The versions of
                    // OffsetCommit that ask for an expiry have neither.
                    let expires = expire_timestamp_ms.is_some();
                    let leader_epoch = partition.committed_leader_epoch;
                    let value = CommittedOffset {
                        offset: partition.committed_offset,
                        leader_epoch: if expires { -1 } else { leader_epoch },
                        metadata: partition.metadata,
                        commit_timestamp_ms: now_ms,
                        expire_timestamp_ms,
                        topic_id: if expires { Uuid::nil() } else { topic.topic_id },
                    };
                    let record = record(key, value);
                    batch_bytes += record.size_bytes();
                    records.push(record);
                    None
                };
                partitions.push(PartitionResult {
                    partition_index,
                    error,
                });
            }
            results.push(TopicResult {
                name: topic.name,
                topic_id: topic.topic_id,
                partitions,
            });
        }
        if batch_bytes > self.max_batch_bytes {
            // This is Kafka's error, for the commit is one batch. Clients of groups do not know RECORD_TOO_LARGE.
            let error = ErrorCode::UnknownServerError;
            results.iter_mut().for_each(|topic| topic.fail(error));
            records.clear();
        }
        (results, records)
    }

    fn is_too_large(&self, metadata: &str) -> bool {
        let max = self.config.offset_metadata_max_bytes;
        metadata.len() > MAX_STRING_BYTES
            || (metadata.len() > max && metadata.encode_utf16().count() > max)
    }

    /// Whether a transaction that seems to be open decides about the answer.
    pub(crate) fn fetches_pending(&self, request: &FetchOffsets) -> bool {
        let mut groups = request.groups.iter();
        groups.any(|group| self.offsets.has_pending(&group.group_id))
    }

    /// One answer for each mention of a group, in their order.
    pub(crate) fn fetch_offsets(&self, request: FetchOffsets) -> Vec<FetchedGroup> {
        let (require_stable, mut allowance) = (request.require_stable, request.allowance);
        let groups = request.groups.into_iter().map(|request| {
            let group_id = request.group_id.clone();
            let fetched = self.fetch_group(request, require_stable, &mut allowance);
            fetched.unwrap_or_else(|error| FetchedGroup::failed(group_id, error))
        });
        groups.collect()
    }

    fn fetch_group(
        &self,
        request: FetchGroup,
        require_stable: bool,
        allowance: &mut Allowance,
    ) -> Result<FetchedGroup, ErrorCode> {
        self.authorize_fetch(&request)?;
        let FetchGroup {
            group_id, topics, ..
        } = request;
        let asked = topics.iter().flatten();
        let partition_count: usize = asked.map(|topic| topic.partition_indexes.len()).sum();
        allowance.expect_at_least(partition_count.saturating_mul(FETCHED_PARTITION_BYTES))?;
        let topics = match topics {
            Some(topics) => topics
                .into_iter()
                .map(|topic| self.fetch_topic(&group_id, topic, require_stable))
                .collect(),
            None => self.fetch_all(&group_id, require_stable),
        };
        let fetched = FetchedGroup {
            group_id,
            error: None,
            topics,
        };
        allowance.spend(fetched.price_bytes())?;
        Ok(fetched)
    }

    /// A member of a consumer group must be one, and come with its epoch. Nobody checks classic members.
    fn authorize_fetch(&self, request: &FetchGroup) -> Result<(), ErrorCode> {
        match self.groups.get(&request.group_id) {
            Some(Group::Consumer(group)) => {
                group.authorize_fetch(request.member_id.as_deref(), request.member_epoch)
            }
            _ => Ok(()),
        }
    }

    fn fetch_topic(
        &self,
        group_id: &GroupId,
        topic: FetchTopic,
        require_stable: bool,
    ) -> FetchedTopic {
        let FetchTopic {
            name,
            topic_id,
            partition_indexes,
        } = topic;
        let partitions = partition_indexes
            .into_iter()
            .map(|partition_index| {
                let unstable =
                    require_stable && self.offsets.is_pending(group_id, &name, partition_index);
                let committed = self
                    .offsets
                    .get(group_id, &name, partition_index)
                    // An offset of an earlier topic of the same name counts for nothing.
                    .filter(|found| {
                        topic_id.is_nil() || found.topic_id.is_nil() || found.topic_id == topic_id
                    });
                fetched(partition_index, committed, unstable)
            })
            .collect();
        FetchedTopic {
            name,
            topic_id,
            partitions,
        }
    }

    fn fetch_all(&self, group_id: &GroupId, require_stable: bool) -> Vec<FetchedTopic> {
        let topics = self.offsets.committed(group_id);
        topics
            .map(|(name, partitions)| FetchedTopic {
                name: name.clone(),
                topic_id: Uuid::nil(),
                partitions: partitions
                    .map(|(index, committed)| {
                        let unstable =
                            require_stable && self.offsets.is_pending(group_id, name, index);
                        fetched(index, Some(committed), unstable)
                    })
                    .collect(),
            })
            .collect()
    }

    pub(crate) fn delete_offsets(
        &mut self,
        request: DeleteOffsets,
        effects: &mut Effects,
    ) -> DeleteOffsetsReply {
        let error = match self.groups.get(&request.group_id) {
            None => Some(ErrorCode::GroupIdNotFound),
            // Only consumers tell which topics they read. In other groups any offset may be in use.
            Some(group) if !group.is_empty() && !group.uses_consumer_protocol() => {
                Some(ErrorCode::NonEmptyGroup)
            }
            Some(_) => None,
        };
        if error.is_some() {
            return DeleteOffsetsReply {
                error,
                topics: Vec::new(),
            };
        }
        let group_id = &request.group_id;
        let topics = request.topics.into_iter();
        let topics = topics
            .map(|(topic, indexes)| self.delete_topic_offsets(group_id, topic, indexes, effects));
        DeleteOffsetsReply {
            error: None,
            topics: topics.collect(),
        }
    }

    fn delete_topic_offsets(
        &mut self,
        group_id: &GroupId,
        topic: Name,
        partition_indexes: Vec<i32>,
        effects: &mut Effects,
    ) -> TopicResult {
        let subscribed = self
            .groups
            .get(group_id)
            .is_some_and(|group| group.is_subscribed_to(&topic));
        let error = subscribed.then_some(ErrorCode::GroupSubscribedToTopic);
        let mut partitions = Vec::with_capacity(partition_indexes.len());
        for partition_index in partition_indexes {
            let exists = self
                .offsets
                .get(group_id, &topic, partition_index)
                .is_some()
                || self.offsets.is_pending(group_id, &topic, partition_index);
            if exists && !subscribed {
                let key = OffsetKey::new(group_id, &topic, partition_index);
                self.append(effects, GroupRecord::Offset { key, value: None });
            }
            partitions.push(PartitionResult {
                partition_index,
                error,
            });
        }
        TopicResult {
            name: topic,
            topic_id: Uuid::nil(),
            partitions,
        }
    }

    /// Drops what was committed for deleted topics. What was committed for a new topic of the same name stays.
    pub(crate) fn forget_topics(&mut self, topics: &[DeletedTopic], effects: &mut Effects) {
        let mut tombstones = BTreeSet::new();
        for topic in topics {
            let gone = |value: &CommittedOffset| {
                value.topic_id.is_nil() || value.topic_id == topic.topic_id
            };
            let offsets = self.offsets.of_topic(&topic.name);
            let dropped = offsets.filter(|(_, value)| gone(value));
            tombstones.extend(dropped.map(|(key, _)| key));
        }
        for key in tombstones {
            self.append(effects, GroupRecord::Offset { key, value: None });
        }
    }
}

/// Refuses a commit as a whole: every partition has the same error.
fn refuse(topics: Vec<CommitTopic>, error: ErrorCode) -> Vec<TopicResult> {
    let refuse_partition = |partition: CommitPartition| PartitionResult {
        partition_index: partition.partition_index,
        error: Some(error),
    };
    topics
        .into_iter()
        .map(|topic| TopicResult {
            name: topic.name,
            topic_id: topic.topic_id,
            partitions: topic.partitions.into_iter().map(refuse_partition).collect(),
        })
        .collect()
}

fn fetched(
    partition_index: i32,
    committed: Option<&CommittedOffset>,
    unstable: bool,
) -> FetchedPartition {
    match committed.filter(|_| !unstable) {
        Some(committed) => FetchedPartition {
            partition_index,
            committed_offset: committed.offset,
            committed_leader_epoch: committed.leader_epoch,
            metadata: committed.metadata.clone(),
            error: None,
        },
        None => FetchedPartition {
            partition_index,
            committed_offset: -1,
            committed_leader_epoch: -1,
            metadata: Name::default(),
            error: unstable.then_some(ErrorCode::UnstableOffsetCommit),
        },
    }
}
