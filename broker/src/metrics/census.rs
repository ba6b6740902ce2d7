//! Topics, partitions and groups, as a scrape shows them: many rows, and never more than it may.
//!
//! Only what a log knows of itself anyway is told: a scrape opens no log and waits for no file.

#![expect(clippy::disallowed_methods, reason = "no client sees it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coordinators::group::{
    AssignedTopics, GroupId, GroupsSurveyed, SurveyGroups, SurveyPlace, SurveyedGroup,
};
use protocol_shim::ErrorCode;
use storage::log::{Glance, PartitionLog};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::broker::Broker;
use crate::metadata::Published;
use crate::partition::registry::{PartitionRegistry, TrafficCounts};

/// How many groups and offsets a shard is asked for at once.
const PAGE_ROWS: usize = 1000;
/// What does not answer for so long is left out.
const PATIENCE: Duration = Duration::from_millis(250);

/// Topics and their partitions at one moment.
#[derive(Debug, Default)]
pub(super) struct Topics {
    /// By name; beyond the limit all of them are one row without a name.
    pub topics: Vec<TopicRow>,
    /// In the order of topics; none if there are more than may be told.
    pub partitions: Vec<PartitionRow>,
    pub is_truncated: bool,
}

#[derive(Debug)]
pub(super) struct TopicRow {
    pub name: Arc<str>,
    /// The broker's own.
    pub is_internal: bool,
    pub partition_count: u64,
    pub traffic: TrafficCounts,
    /// Of the partitions that are known.
    pub sum: PartitionSum,
    pub compacts: bool,
    pub deletes: bool,
}

/// What partitions have together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PartitionSum {
    pub log_start_offset: Option<i64>,
    pub high_watermark: Option<i64>,
    pub size_bytes: Option<u64>,
}

#[derive(Debug)]
pub(super) struct PartitionRow {
    pub topic: Arc<str>,
    pub topic_id: Uuid,
    /// Of a topic of the broker's own.
    pub is_internal: bool,
    pub partition: i32,
    /// `None`: the log was not used since the start, and nothing is known of it.
    pub glance: Option<Glance>,
}

impl PartitionSum {
    pub fn add(&mut self, glance: &Glance) {
        let add = |sum: &mut Option<i64>, value: i64| {
            *sum = Some(sum.unwrap_or(0).saturating_add(value));
        };
        add(&mut self.high_watermark, glance.high_watermark);
        if let Some(more) = glance.more {
            add(&mut self.log_start_offset, more.log_start_offset);
            let bytes = self.size_bytes.unwrap_or(0);
            self.size_bytes = Some(bytes.saturating_add(more.size_bytes));
        }
    }

    fn merge(&mut self, other: Self) {
        let add = |one: Option<i64>, other: Option<i64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        self.log_start_offset = add(self.log_start_offset, other.log_start_offset);
        self.high_watermark = add(self.high_watermark, other.high_watermark);
        self.size_bytes = match (self.size_bytes, other.size_bytes) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
    }
}

impl Topics {
    /// Linear in the partitions that there are, but no more rows than `rows_max`.
    pub fn gather(published: &Published, registry: &PartitionRegistry, rows_max: usize) -> Self {
        let image = &published.image;
        let shows_partitions = image.partition_count() <= rows_max;
        let shows_topics = image.topic_count() <= rows_max;
        let mut told = Self {
            is_truncated: !shows_partitions,
            ..Self::default()
        };
        for topic in image.topics() {
            let config = published.topic_configs.of(topic);
            let mut row = TopicRow {
                name: Arc::clone(&topic.name),
                is_internal: topic.is_internal(),
                partition_count: u64::try_from(topic.partition_count).unwrap_or(0),
                traffic: TrafficCounts::default(),
                sum: PartitionSum::default(),
                compacts: config.log.compact,
                deletes: config.log.delete,
            };
            for partition in 0..topic.partition_count {
                let found = registry.known(topic.topic_id, partition);
                let glance = found.as_ref().and_then(|found| found.log.glance());
                if let Some(found) = &found {
                    row.traffic.add(&found.traffic.counts());
                }
                if let Some(glance) = &glance {
                    row.sum.add(glance);
                }
                if shows_partitions {
                    told.partitions.push(PartitionRow {
                        topic: Arc::clone(&topic.name),
                        topic_id: topic.topic_id,
                        is_internal: topic.is_internal(),
                        partition,
                        glance,
                    });
                }
            }
            match told.topics.last_mut() {
                Some(all) if !shows_topics => {
                    all.partition_count += row.partition_count;
                    all.traffic.add(&row.traffic);
                    all.sum.merge(row.sum);
                }
                _ if !shows_topics => told.topics.push(TopicRow {
                    name: Arc::default(),
                    ..row
                }),
                _ => told.topics.push(row),
            }
        }
        told
    }
}

/// Groups and what they have committed, at one moment.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// By type and state.
    pub counts: BTreeMap<(&'static str, &'static str), u64>,
    /// By id; beyond the limit all of them are one row without an id, of which only the members count.
    pub groups: BTreeMap<GroupId, GroupRow>,
    pub lags: BTreeMap<LagKey, Lag>,
    pub detail: Detail,
    /// There are more groups than may be told.
    pub members_of_all: Option<u64>,
}

/// How much rows of lag tell: as much as there is room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Detail {
    #[default]
    Partitions,
    Topics,
    Groups,
    /// All groups together.
    Sum,
}

#[derive(Debug)]
pub(super) struct GroupRow {
    pub group_type: &'static str,
    pub state: &'static str,
    pub protocol_type: Arc<str>,
    pub protocol_name: Arc<str>,
    pub member_count: u64,
    pub assigned: AssignedTopics,
    /// Commits of offsets, as far as the log tells since its load.
    pub commits: u64,
}

/// Whose lag a row is. What is left out is the sum of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LagKey {
    pub group: GroupId,
    pub topic: Option<Arc<str>>,
    pub partition: Option<i32>,
}

/// How far a group is behind.
#[derive(Clone, Debug, Default)]
pub(super) struct Lag {
    pub committed: i64,
    /// `None`: where the log ends is not known.
    pub records: Option<i64>,
    /// `None`: not known.
    pub seconds: Option<f64>,
    /// Where to ask for the time at the committed offset.
    pub source: Option<Source>,
}

#[derive(Clone)]
pub(super) struct Source {
    pub topic_id: Uuid,
    pub log: Arc<dyn PartitionLog>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

impl LagKey {
    fn at(mut self, detail: Detail) -> Self {
        if detail >= Detail::Topics {
            self.partition = None;
        }
        if detail >= Detail::Groups {
            self.topic = None;
        }
        if detail >= Detail::Sum {
            self.group = GroupId::default();
        }
        self
    }
}

impl Lag {
    pub fn merge(&mut self, other: &Self) {
        self.committed = self.committed.saturating_add(other.committed);
        self.records = match (self.records, other.records) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        self.source = None;
    }
}

impl Groups {
    /// `None` while a coordinator does not answer.
    pub async fn gather(broker: &Broker, rows_max: usize, with_assignments: bool) -> Option<Self> {
        let mut told = Self::default();
        let Ok(shards) = broker.groups.shards() else {
            return Some(told);
        };
        let published = broker.metadata.published();
        let ask = |shard, from: Option<SurveyPlace>| {
            let shards = Arc::clone(&shards);
            async move {
                let survey = SurveyGroups {
                    from,
                    rows_max: PAGE_ROWS,
                    with_assignments,
                };
                (shard, shards.call_shard(shard, survey).await)
            }
        };
        let mut asked = JoinSet::new();
        for shard in 0..shards.count() {
            asked.spawn(ask(shard, None));
        }
        while let Some(answered) = tokio::time::timeout(PATIENCE, asked.join_next())
            .await
            .ok()?
        {
            let (shard, surveyed) = answered.ok()?;
            let GroupsSurveyed { groups, next } = match surveyed {
                // Another broker tells of it.
                Err(ErrorCode::NotCoordinator) => continue,
                surveyed => surveyed.ok()?,
            };
            for group in groups {
                told.add(broker, &published, group, rows_max);
            }
            if next.is_some() {
                asked.spawn(ask(shard, next));
            }
        }
        if let Some(member_count) = told.members_of_all {
            let all = GroupRow {
                group_type: "",
                state: "",
                protocol_type: Arc::default(),
                protocol_name: Arc::default(),
                member_count,
                assigned: AssignedTopics::default(),
                commits: 0,
            };
            told.groups.insert(GroupId::default(), all);
        }
        Some(told)
    }

    pub fn is_truncated(&self) -> bool {
        self.detail != Detail::Partitions
    }

    fn add(
        &mut self,
        broker: &Broker,
        published: &Published,
        part: SurveyedGroup,
        rows_max: usize,
    ) {
        let group = &part.group_id;
        for (topic, partition, committed) in part.offsets {
            // What was committed for a topic that is gone is forgotten soon.
            let Some(image) = published.image.topic(&topic) else {
                continue;
            };
            let found = broker.partitions.known(image.topic_id, partition);
            let glance = found.as_ref().and_then(|found| found.log.glance());
            let records = glance.map(|glance| glance.high_watermark.saturating_sub(committed));
            let is_open = glance.is_some_and(|glance| glance.more.is_some());
            let lag = Lag {
                committed,
                records: records.map(|records| records.max(0)),
                seconds: None,
                source: found.filter(|_| is_open).map(|found| Source {
                    topic_id: image.topic_id,
                    log: Arc::clone(&found.log),
                }),
            };
            let key = LagKey {
                group: group.clone(),
                topic: Some(topic),
                partition: Some(partition),
            };
            self.add_lag(key, lag);
            while self.lags.len() > rows_max && self.detail != Detail::Sum {
                self.coarsen(match self.detail {
                    Detail::Partitions => Detail::Topics,
                    Detail::Topics => Detail::Groups,
                    Detail::Groups | Detail::Sum => Detail::Sum,
                });
            }
        }
        if part.goes_on {
            if let Some(row) = self.groups.get_mut(&part.group_id) {
                row.commits += part.commits;
            }
            return;
        }
        *self
            .counts
            .entry((part.group_type, part.state))
            .or_default() += 1;
        let row = GroupRow {
            group_type: part.group_type,
            state: part.state,
            protocol_type: part.protocol_type,
            protocol_name: part.protocol_name,
            member_count: part.member_count as u64,
            assigned: part.assigned,
            commits: part.commits,
        };
        if let Some(members) = &mut self.members_of_all {
            *members += row.member_count;
            return;
        }
        self.groups.insert(part.group_id, row);
        if self.groups.len() > rows_max {
            let groups = std::mem::take(&mut self.groups);
            self.members_of_all = Some(groups.values().map(|group| group.member_count).sum());
            self.coarsen(Detail::Sum);
        }
    }

    fn add_lag(&mut self, key: LagKey, lag: Lag) {
        let row = self.lags.entry(key.at(self.detail));
        row.and_modify(|row| row.merge(&lag)).or_insert(lag);
    }

    fn coarsen(&mut self, detail: Detail) {
        self.detail = detail;
        for (key, lag) in std::mem::take(&mut self.lags) {
            self.add_lag(key, lag);
        }
        self.lags.values_mut().for_each(|lag| lag.source = None);
    }
}
