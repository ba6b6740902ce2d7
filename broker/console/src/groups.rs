//! `ottla groups`

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    ApiKey, ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, GroupId,
    ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};
use protocol_shim::ErrorCode;
use serde_json::{Value, json};

use crate::cluster::{Cluster, LATEST, Partition, by_topic, topic};
use crate::connection::text;
use crate::failure::{Outcomes, Result, check, failed, usage};
use crate::member::assigned;
use crate::page::{Output, Table};
use crate::position::{Position, SYNTAX};
use crate::progress::progress;
use crate::topics::select;

/// Offsets in one request: together they have to fit into one batch of `__consumer_offsets`.
const OFFSETS_AT_ONCE: usize = 1000;

/// List, describe and delete groups, and move their offsets
#[derive(Debug, Subcommand)]
pub(crate) enum Groups {
    /// All groups
    List,
    /// Members, offsets and lag
    Describe {
        #[arg(value_name = "GROUP", required = true)]
        groups: Vec<String>,
    },
    /// Delete groups that have no members
    Delete {
        #[arg(value_name = "GROUP", required = true)]
        groups: Vec<String>,
    },
    /// Let a group without members go on elsewhere; shows what would be done, unless --execute is given
    ResetOffsets {
        group: String,
        #[command(flatten)]
        which: Which,
        /// Where it goes on: @TIME is in ms, or as in @2026-01-01T00:00:00Z
        #[arg(long, value_name = SYNTAX)]
        to: Position,
        /// Do it
        #[arg(long)]
        execute: bool,
    },
    /// Forget where a group was
    DeleteOffsets {
        group: String,
        #[command(flatten)]
        which: Which,
    },
}

/// Which partitions of a group.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// A topic, or some partitions: orders, orders:0,2; repeat it for several
    #[arg(long, value_name = "TOPIC[:PARTITION,...]")]
    topic: Vec<String>,
    /// Whatever the group has offsets of
    #[arg(long)]
    all_topics: bool,
}

impl Which {
    async fn select(&self, cluster: &mut Cluster, group: &str) -> Result<Vec<Partition>> {
        match self.all_topics {
            true => Ok(committed(cluster, group).await?.into_keys().collect()),
            false => select(cluster, &self.topic).await,
        }
    }
}

impl Groups {
    pub(crate) async fn run(self, cluster: &mut Cluster, output: Output) -> Result<()> {
        match self {
            Self::List => {
                let mut table = Table::new(&["group", "type", "state", "protocol_type"]);
                for group in list(cluster).await? {
                    table.row([
                        json!(group.group_id.as_str()),
                        json!(group.group_type.as_str()),
                        json!(group.group_state.as_str()),
                        json!(group.protocol_type.as_str()),
                    ]);
                }
                output.table(&table);
                Ok(())
            }
            Self::Describe { groups } => show(cluster, output, &groups).await,
            Self::Delete { groups } => {
                let mut outcomes = Outcomes::default();
                for group in groups {
                    let outcome = delete(cluster, &group).await?;
                    outcomes.add(outcome, || format!("deleted group {group}"));
                }
                outcomes.end()
            }
            Self::ResetOffsets {
                group,
                which,
                to,
                execute,
            } => {
                let partitions = which.select(cluster, &group).await?;
                reset(cluster, output, &group, &partitions, to, execute).await
            }
            Self::DeleteOffsets { group, which } => {
                let partitions = which.select(cluster, &group).await?;
                delete_offsets(cluster, &group, partitions).await
            }
        }
    }
}

/// Asks the group's coordinator.
async fn ask<R: Request + Clone>(
    cluster: &mut Cluster,
    group: &str,
    request: R,
    error: impl Fn(&R::Response) -> Option<i16>,
) -> Result<R::Response> {
    let patience = cluster.timeout();
    cluster
        .ask_coordinator(group, request, patience, error)
        .await
}

/// The groups of all brokers, in the order of their names.
pub(crate) async fn list(
    cluster: &mut Cluster,
) -> Result<Vec<kafka_protocol::messages::list_groups_response::ListedGroup>> {
    let brokers: Vec<i32> = cluster.brokers().keys().copied().collect();
    let mut groups = Vec::new();
    for id in brokers {
        let answer = cluster
            .broker(id)
            .await?
            .call(ListGroupsRequest::default())
            .await?;
        check(&format!("groups of broker {id}"), answer.error_code, None)?;
        groups.extend(answer.groups);
    }
    groups.sort_by(|one, other| one.group_id.cmp(&other.group_id));
    Ok(groups)
}

/// A group, classic or of KIP-848.
pub(crate) struct Described {
    pub(crate) kind: &'static str,
    pub(crate) state: String,
    pub(crate) members: Vec<Member>,
}

pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) client_id: String,
    pub(crate) host: String,
    pub(crate) partitions: BTreeSet<Partition>,
}

/// Asks for a consumer group, and if it is none, for a classic one, as Java's admin client does.
///
/// # Errors
/// It is not there.
pub(crate) async fn describe(cluster: &mut Cluster, group: &str) -> Result<Described> {
    let coordinator = cluster.coordinator(group).await?;
    let knows = ApiKey::ConsumerGroupDescribe as i16;
    let mut apis = coordinator.versions().api_keys.iter();
    if apis.any(|api| api.api_key == knows) {
        let request =
            ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(group))]);
        let answer = ask(cluster, group, request, |answer| {
            Some(answer.groups.first()?.error_code)
        })
        .await?;
        let found = only(answer.groups, group)?;
        if found.error_code != ErrorCode::GroupIdNotFound as i16 {
            check(
                &format!("group {group}"),
                found.error_code,
                found.error_message.as_ref(),
            )?;
            let members = found.members.into_iter().map(|member| {
                let topics = member.assignment.topic_partitions.into_iter();
                let partitions = topics.flat_map(|topic| {
                    let name = topic.topic_name.to_string();
                    let indexes = topic.partitions.into_iter();
                    indexes.map(move |index| (name.clone(), index))
                });
                Member {
                    id: member.member_id.to_string(),
                    client_id: member.client_id.to_string(),
                    host: member.client_host.to_string(),
                    partitions: partitions.collect(),
                }
            });
            return Ok(Described {
                kind: "consumer",
                state: found.group_state.to_string(),
                members: members.collect(),
            });
        }
    }
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
    let answer = ask(cluster, group, request, |answer| {
        Some(answer.groups.first()?.error_code)
    })
    .await?;
    let found = only(answer.groups, group)?;
    check(
        &format!("group {group}"),
        found.error_code,
        found.error_message.as_ref(),
    )?;
    let members = found.members.into_iter().map(|member| Member {
        id: member.member_id.to_string(),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        // Groups of another protocol type, such as those of Connect, assign something else.
        partitions: assigned(member.member_assignment)
            .unwrap_or_default()
            .into_iter()
            .collect(),
    });
    Ok(Described {
        kind: "classic",
        state: found.group_state.to_string(),
        members: members.collect(),
    })
}

/// What an answer says of the one group that it was asked about.
fn only<T>(groups: Vec<T>, group: &str) -> Result<T> {
    let first = groups.into_iter().next();
    first.ok_or_else(|| {
        failed(format!(
            "group {group}: the broker left it out of its answer"
        ))
    })
}

/// The offsets that a group has committed.
///
/// # Errors
/// The coordinator refuses.
pub(crate) async fn committed(
    cluster: &mut Cluster,
    group: &str,
) -> Result<BTreeMap<Partition, i64>> {
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![asked]);
    let answer = ask(cluster, group, request, |answer| {
        Some(answer.groups.first()?.error_code)
    })
    .await?;
    let found = only(answer.groups, group)?;
    if found.error_code != ErrorCode::GroupIdNotFound as i16 {
        check(&format!("offsets of group {group}"), found.error_code, None)?;
    }
    let mut offsets = BTreeMap::new();
    for topic in found.topics {
        for partition in topic.partitions {
            let key = (topic.name.to_string(), partition.partition_index);
            check(
                &format!("offset of {}-{}", key.0, key.1),
                partition.error_code,
                None,
            )?;
            if partition.committed_offset >= 0 {
                offsets.insert(key, partition.committed_offset);
            }
        }
    }
    Ok(offsets)
}

/// A partition that a group has committed an offset of, or that a member reads.
pub(crate) struct Row {
    pub(crate) partition: Partition,
    pub(crate) committed: Option<i64>,
    pub(crate) end: i64,
    /// Of the members.
    pub(crate) member: Option<usize>,
}

impl Row {
    pub(crate) fn lag(&self) -> Option<i64> {
        self.committed.map(|committed| self.end - committed)
    }
}

/// A row for each partition, in order.
pub(crate) async fn rows(
    cluster: &mut Cluster,
    group: &str,
    members: &[Member],
) -> Result<Vec<Row>> {
    let committed = committed(cluster, group).await?;
    let assigned = members.iter().flat_map(|member| &member.partitions);
    let partitions: BTreeSet<_> = committed.keys().chain(assigned).cloned().collect();
    let mut names: Vec<&String> = partitions.iter().map(|(name, _)| name).collect();
    names.dedup();
    let there: BTreeSet<Partition> = {
        let all = cluster.topics(None, false).await?;
        let all = all.iter().flat_map(|topic| {
            let name = crate::cluster::topic_name(topic);
            let indexes = topic.partitions.iter().map(|one| one.partition_index);
            indexes.map(move |index| (name.clone(), index))
        });
        all.collect()
    };
    // A group may remember topics that were deleted.
    let wanted = partitions.intersection(&there).cloned();
    let ends = cluster
        .offsets(&wanted.map(|partition| (partition, LATEST)).collect())
        .await?;
    let rows = ends.into_iter().map(|(partition, end)| Row {
        committed: committed.get(&partition).copied(),
        member: members
            .iter()
            .position(|member| member.partitions.contains(&partition)),
        partition,
        end,
    });
    Ok(rows.collect())
}

async fn show(cluster: &mut Cluster, output: Output, groups: &[String]) -> Result<()> {
    let mut about = Table::new(&["group", "type", "state", "members", "lag"]);
    let mut members_table = Table::new(&["group", "member", "client_id", "host", "partitions"]);
    let mut offsets = Table::new(&[
        "group",
        "topic",
        "partition",
        "committed",
        "end",
        "lag",
        "member",
    ]);
    for group in groups {
        let described = describe(cluster, group).await?;
        let rows = rows(cluster, group, &described.members).await?;
        about.row([
            json!(group),
            json!(described.kind),
            json!(described.state),
            json!(described.members.len()),
            json!(rows.iter().filter_map(Row::lag).sum::<i64>()),
        ]);
        for member in &described.members {
            let partitions = member.partitions.iter();
            let partitions = partitions.map(|(name, index)| format!("{name}-{index}"));
            members_table.row([
                json!(group),
                json!(member.id),
                json!(member.client_id),
                json!(member.host),
                json!(partitions.collect::<Vec<_>>()),
            ]);
        }
        for row in &rows {
            let member = row.member.and_then(|index| described.members.get(index));
            offsets.row([
                json!(group),
                json!(row.partition.0),
                json!(row.partition.1),
                json!(row.committed),
                json!(row.end),
                json!(row.lag()),
                member.map_or(Value::Null, |member| json!(member.id)),
            ]);
        }
    }
    output.tables(&[
        ("groups", &about),
        ("members", &members_table),
        ("offsets", &offsets),
    ]);
    Ok(())
}

pub(crate) async fn delete(cluster: &mut Cluster, group: &str) -> Result<Result<()>> {
    let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(group))]);
    let answer = ask(cluster, group, request, |answer| {
        Some(answer.results.first()?.error_code)
    })
    .await?;
    let deleted = only(answer.results, group)?;
    Ok(check(
        &format!("delete group {group}"),
        deleted.error_code,
        None,
    ))
}

async fn reset(
    cluster: &mut Cluster,
    output: Output,
    group: &str,
    partitions: &[Partition],
    to: Position,
    execute: bool,
) -> Result<()> {
    if partitions.is_empty() {
        return Err(failed(format!(
            "group {group} has no offsets: name topics with --topic"
        )));
    }
    refuse_active(cluster, group).await?;
    let offsets = to.find(cluster, partitions).await?;
    if execute {
        commit(cluster, group, None, &offsets).await?;
    }
    let mut table = Table::new(&["group", "topic", "partition", "new_offset"]);
    for ((name, index), offset) in &offsets {
        table.row([json!(group), json!(name), json!(index), json!(offset)]);
    }
    output.table(&table);
    if !execute {
        eprintln!("ottla: nothing was changed: --execute does it");
    }
    Ok(())
}

/// A group that is not there yet may get offsets.
async fn refuse_active(cluster: &mut Cluster, group: &str) -> Result<()> {
    let groups = list(cluster).await?;
    if groups
        .iter()
        .all(|listed| listed.group_id.as_str() != group)
    {
        return Ok(());
    }
    let state = describe(cluster, group).await?.state;
    match state.as_str() {
        "Empty" | "Dead" => Ok(()),
        state => Err(failed(format!(
            "group {group} is in use (its state is {state}): stop its members first"
        ))),
    }
}

/// A member of a group, and in which generation.
pub(crate) struct Membership {
    pub(crate) member_id: StrBytes,
    pub(crate) generation: i32,
}

/// Commits offsets, as a member or from outside.
///
/// # Errors
/// The coordinator refuses.
pub(crate) async fn commit(
    cluster: &mut Cluster,
    group: &str,
    member: Option<&Membership>,
    offsets: &BTreeMap<Partition, i64>,
) -> Result<()> {
    let offsets: Vec<_> = offsets.iter().collect();
    let bar = progress(offsets.len() as u64, "offsets");
    for chunk in offsets.chunks(OFFSETS_AT_ONCE) {
        let partitions = chunk
            .iter()
            .map(|(partition, offset)| ((*partition).clone(), **offset));
        let topics = by_topic(partitions).into_iter().map(|(name, partitions)| {
            let partition = |(index, offset)| {
                OffsetCommitRequestPartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_committed_metadata(Some(StrBytes::new()))
            };
            OffsetCommitRequestTopic::default()
                .with_name(topic(&name))
                .with_partitions(partitions.into_iter().map(partition).collect())
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_member_id(member.map_or_else(StrBytes::new, |member| member.member_id.clone()))
            .with_generation_id_or_member_epoch(member.map_or(-1, |member| member.generation))
            .with_topics(topics.collect());
        let answer = ask(cluster, group, request, |answer| {
            Some(answer.topics.first()?.partitions.first()?.error_code)
        })
        .await?;
        for topic in &answer.topics {
            for partition in &topic.partitions {
                let (name, index) = (topic.name.as_str(), partition.partition_index);
                let what = format!("commit an offset of {name}-{index} for group {group}");
                check(&what, partition.error_code, None)?;
            }
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

async fn delete_offsets(
    cluster: &mut Cluster,
    group: &str,
    partitions: Vec<Partition>,
) -> Result<()> {
    if partitions.is_empty() {
        return Err(usage(format!("group {group} has no offsets")));
    }
    let topics = by_topic(partitions.into_iter().map(|partition| (partition, ())));
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partition =
            |(index, ())| OffsetDeleteRequestPartition::default().with_partition_index(index);
        OffsetDeleteRequestTopic::default()
            .with_name(topic(&name))
            .with_partitions(partitions.into_iter().map(partition).collect())
    });
    let request = OffsetDeleteRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(topics.collect());
    let answer = ask(cluster, group, request, |answer| Some(answer.error_code)).await?;
    check(
        &format!("delete offsets of group {group}"),
        answer.error_code,
        None,
    )?;
    let mut outcomes = Outcomes::default();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let name = format!("{}-{}", topic.name.as_str(), partition.partition_index);
            let what = format!("delete the offset of {name}");
            let outcome = check(&what, partition.error_code, None);
            outcomes.add(outcome, || {
                format!("group {group} has no offset of {name} any more")
            });
        }
    }
    outcomes.end()
}
