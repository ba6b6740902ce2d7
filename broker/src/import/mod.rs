//! Takes over what Apache Kafka has on disk: `ottla import`.
//!
//! Kafka's segments are Ottla's, so they are copied as they are, offsets, timestamps and committed offsets included; what
//! Kafka's metadata log says of topics is written into one of Ottla's. Nothing is written into Kafka's directory, which
//! Kafka can be started on again. A target that is not finished says so, and no broker starts on it.

pub mod command;
mod copy;
mod metadata_log;
mod recognise;
mod source;

pub(crate) use recognise::{Foreign, Owner, UNFINISHED, owner};

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::local::{self, LocalConfig};
use storage::log::{Durability, LogConfig, PartitionLog, ReadRequest};

use crate::config::BrokerConfig;
use crate::metadata::{
    self, AlterConfig, AlterQuotas, ConfigChange, METADATA_VERSION, MetaProperties, MetadataImage,
    MetadataLog, MetadataRecord, Operation, ResourceType,
};
use metadata_log::KafkaMetadata;
use source::{Partition, Source};

/// Logs that are looked at side by side.
const OPENED_TOGETHER: usize = 64;
/// What one read of a log may decompress to is not asked for here.
const PROBE_BYTES: usize = 1;

/// Why nothing was imported; one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Found out before anything was written.
    #[error("{0}")]
    Refused(String),
    /// The target is not finished.
    #[error("{what}; {} is not finished: remove it and import again", .target.display())]
    CutShort { what: String, target: PathBuf },
}

/// Says that a file of Kafka's cannot be read.
fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> ImportError + '_ {
    |error| ImportError::Refused(format!("{}: {error}", path.display()))
}

/// What was imported, and what was not.
#[derive(Debug, Default)]
pub struct Summary {
    pub topics: usize,
    pub partitions: usize,
    pub bytes: u64,
    pub acls: usize,
    pub tokens: usize,
    /// One line each.
    pub left_out: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "imported {} topics with {} partitions, {mib:.1} MiB",
            self.topics, self.partitions
        )?;
        if self.acls > 0 {
            write!(
                f,
                "\n{} ACLs are taken over; they hold where authorizer.class.name says so, as in Kafka",
                self.acls
            )?;
        }
        if self.tokens > 0 {
            write!(
                f,
                "\n{} delegation tokens are taken over; they hold where delegation.token.secret.key is the same as in Kafka",
                self.tokens
            )?;
        }
        for line in &self.left_out {
            write!(f, "\nnot taken over: {line}")?;
        }
        Ok(())
    }
}

/// Imports the directory of a Kafka that was stopped in order into `config.data_dir`, which is empty or not there.
///
/// `say` is told of the progress, a line at a time.
///
/// # Errors
/// See [`ImportError`].
pub(crate) async fn import(
    from: &Path,
    config: BrokerConfig,
    mut say: impl FnMut(&str),
) -> Result<Summary, ImportError> {
    let source = Source::open(from)?;
    let target = config.data_dir.clone();
    check_target(from, &target)?;
    let bytes = source.bytes()?;
    check_space(&target, bytes)?;
    let (image, left_out) = translate(&source, &config)?;
    say(&format!(
        "{} partitions of {} topics, {} MiB, from {} into {}",
        source.partitions.len(),
        image.topic_count(),
        bytes >> 20,
        from.display(),
        target.display()
    ));
    let cut_short = |what: String| ImportError::CutShort {
        what,
        target: target.clone(),
    };
    copy::copy(&source, &target, bytes, &mut say).map_err(|error| cut_short(error.to_string()))?;
    say("looking at what was copied");
    adopt(&source, &target, &image, config.node_id)
        .await
        .map_err(cut_short)?;
    finish(&target, &source, config.node_id).map_err(|error| cut_short(error.to_string()))?;
    Ok(Summary {
        topics: image.topic_count(),
        partitions: source.partitions.len(),
        bytes,
        acls: source.metadata.acls.len(),
        tokens: source.metadata.tokens.len(),
        left_out,
    })
}

/// The target has to be empty: nothing in it could be told from what is imported.
fn check_target(from: &Path, target: &Path) -> Result<(), ImportError> {
    let refuse = |what: String| Err(ImportError::Refused(what));
    let absolute = |path: &Path| {
        let existing = path.ancestors().find(|path| path.exists())?;
        let rest = path.strip_prefix(existing).ok()?;
        let existing = if existing.as_os_str().is_empty() {
            Path::new(".")
        } else {
            existing
        };
        Some(existing.canonicalize().ok()?.join(rest))
    };
    let inside = absolute(from).zip(absolute(target));
    if inside.is_some_and(|(from, target)| target.starts_with(from)) {
        return refuse(format!(
            "{} lies in Kafka's directory, in which nothing is written; name another --data-dir",
            target.display()
        ));
    }
    let entries = match fs::read_dir(target) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return refuse(format!("{}: {error}", target.display())),
    };
    if target.join(UNFINISHED).exists() {
        return refuse(format!(
            "{} is left over from an import that was not finished: remove it and import again",
            target.display()
        ));
    }
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    match names.into_iter().find(|name| name != "lost+found") {
        None => Ok(()),
        Some(name) => refuse(format!(
            "{} is not empty (it has {}): name another --data-dir, one that is empty or not there",
            target.display(),
            name.to_string_lossy()
        )),
    }
}

fn check_space(target: &Path, bytes: u64) -> Result<(), ImportError> {
    let there = target.ancestors().find(|path| path.exists());
    let there = there.filter(|path| !path.as_os_str().is_empty());
    let Ok(space) = rustix::fs::statvfs(there.unwrap_or(Path::new("."))) else {
        return Ok(());
    };
    let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
    if bytes <= free_bytes {
        return Ok(());
    }
    Err(ImportError::Refused(format!(
        "{} MiB are to be copied, and {} MiB are free for {}",
        bytes >> 20,
        free_bytes >> 20,
        target.display()
    )))
}

/// Kafka's metadata as an image of ours, and what of it has no place there.
fn translate(
    source: &Source,
    config: &BrokerConfig,
) -> Result<(MetadataImage, Vec<String>), ImportError> {
    let node_id = config.node_id;
    let mut image = MetadataImage::empty(&source.cluster_id);
    let mut records = vec![
        metadata::metadata_version(METADATA_VERSION),
        MetadataRecord::ProducerIds {
            broker_id: node_id,
            next_producer_id: source.metadata.next_producer_id,
        },
    ];
    for (topic_id, topic) in source.metadata.imported() {
        records.push(MetadataRecord::Topic {
            name: topic.name.clone(),
            topic_id: *topic_id,
        });
        for (&partition, found) in &topic.partitions {
            let leader_epoch = found.next_leader_epoch();
            let record = metadata::partition_record(*topic_id, partition, node_id, leader_epoch);
            records.push(record);
        }
    }
    records.extend(source.metadata.acls.values().cloned());
    records.extend(source.metadata.users.values().cloned());
    records.extend(source.metadata.tokens.values().cloned());
    let refused = |error: &dyn fmt::Display| {
        let from = source.dir.display();
        ImportError::Refused(format!("the metadata of {from} cannot be used: {error}"))
    };
    for record in &records {
        image.apply(record).map_err(|error| refused(&error))?;
    }
    let mut left_out = source.metadata.left_out();
    for ((kind, name), configs) in &source.metadata.configs {
        let kind = ResourceType::from_wire(*kind);
        let name = match kind {
            Some(ResourceType::Topic) if image.topic(name).is_none() => continue,
            Some(ResourceType::Broker) if *name == source.node_id.to_string() => {
                node_id.to_string()
            }
            Some(ResourceType::Broker) if !name.is_empty() => continue,
            _ => name.clone(),
        };
        let Some(kind) = kind else {
            left_out.push(format!("settings of a resource of an unknown type, {name}"));
            continue;
        };
        take_configs(config, &mut image, kind, &name, configs, &mut left_out)
            .map_err(|error| refused(&error))?;
    }
    take_quotas(source, &mut image, &mut left_out).map_err(|error| refused(&error))?;
    Ok((image, left_out))
}

/// Takes the quotas of clients into the image. Those that cannot be are named: they would limit nobody.
fn take_quotas(
    source: &Source,
    image: &mut MetadataImage,
    left_out: &mut Vec<String>,
) -> Result<(), metadata::ApplyError> {
    for (entity, quotas) in &source.metadata.quotas {
        for (key, value) in quotas {
            let alter = AlterQuotas {
                entity: entity.clone().into_iter().collect(),
                changes: vec![(key.clone(), Some(*value))],
            };
            match metadata::plan_quotas(image.quotas(), &alter) {
                Ok(records) => records.iter().try_for_each(|record| image.apply(record))?,
                Err(error) => {
                    let whom = alter.entity_text();
                    left_out.push(format!("the quota {key}={value} of {whom}: {error}"));
                }
            }
        }
    }
    Ok(())
}

/// Takes the settings of a resource into the image. Settings that have no place there are named.
fn take_configs(
    node: &BrokerConfig,
    image: &mut MetadataImage,
    kind: ResourceType,
    name: &str,
    configs: &metadata_log::Configs,
    left_out: &mut Vec<String>,
) -> Result<(), metadata::ApplyError> {
    let planned = |image: &MetadataImage, some: Vec<(&String, &String)>| {
        let set =
            |(key, value): (&String, &String)| (key.clone(), Operation::Set, Some(value.clone()));
        let alter = AlterConfig {
            resource_type: kind,
            resource_name: name.to_owned(),
            change: ConfigChange::Incremental(some.into_iter().map(set).collect()),
        };
        metadata::plan_alter(node, image, &alter)
    };
    let mut records = Vec::new();
    // Together, since some are checked against each other; one by one, if one of them is wrong.
    match planned(image, configs.iter().collect()) {
        Ok(all) => records = all,
        Err(_) => {
            for setting in configs {
                match planned(image, vec![setting]) {
                    Ok(one) => records.extend(one),
                    Err(error) => {
                        left_out.push(format!("{}={} of {name:?}: {error}", setting.0, setting.1))
                    }
                }
            }
        }
    }
    records.iter().try_for_each(|record| image.apply(record))
}

/// Nothing is to be removed or rewritten before the broker starts.
fn untouched() -> Arc<LogConfig> {
    Arc::new(metadata::metadata_log_config())
}

/// Has the engine look at every log that was copied, and writes the metadata.
async fn adopt(
    source: &Source,
    target: &Path,
    image: &MetadataImage,
    node_id: i32,
) -> Result<(), String> {
    let mut config = LocalConfig {
        durability: Durability::Strict,
        ..LocalConfig::new(target)
    };
    config.live.cleaner.enabled = false;
    let logs = local::open(config).map_err(|error| error.to_string())?;
    let store = logs
        .open_log(metadata::metadata_log_id(), untouched())
        .map_err(|error| error.to_string())?;
    metadata::write_image(&MetadataLog::new(store), image, node_id)
        .await
        .map_err(|error| error.to_string())?;
    for some in source.partitions.chunks(OPENED_TOGETHER) {
        let mut opened = Vec::new();
        for partition in some {
            let log = logs.open_log(partition.id.clone(), untouched());
            opened.push((partition, log.map_err(|error| error.to_string())?));
        }
        let preparing: Vec<_> = opened.iter().filter_map(|(_, log)| log.ready()).collect();
        for prepared in preparing {
            prepared.await;
        }
        for (partition, log) in opened {
            check(partition, &*log).await?;
        }
    }
    logs.shutdown().map_err(|error| error.to_string())
}

/// What the engine has found has to be what Kafka had.
async fn check(partition: &Partition, log: &dyn PartitionLog) -> Result<(), String> {
    let (id, offsets) = (&partition.id, log.offsets());
    let probe = ReadRequest {
        fetch_offset: offsets.log_start_offset,
        max_bytes: PROBE_BYTES,
        at_least_one_batch: false,
        isolation: storage::log::Isolation::ReadUncommitted,
    };
    log.read(probe).map_err(|error| format!("{id}: {error}"))?;
    if offsets.log_end_offset != partition.end_offset {
        return Err(format!(
            "{id} ends at offset {}, and Kafka had closed it at {}",
            offsets.log_end_offset, partition.end_offset
        ));
    }
    if offsets.last_stable_offset < offsets.high_watermark {
        return Err(format!(
            "{id} has an open transaction at offset {}",
            offsets.last_stable_offset
        ));
    }
    if log.leader_epoch() != partition.leader_epoch {
        return Err(format!("{id} has leader epoch {}", log.leader_epoch()));
    }
    Ok(())
}

/// Says whose the directory is, has everything on stable media, and only then takes the mark away.
fn finish(target: &Path, source: &Source, node_id: i32) -> io::Result<()> {
    MetaProperties::create(target, &source.cluster_id, node_id)?;
    let directory = File::open(target)?;
    rustix::fs::syncfs(&directory)?;
    fs::remove_file(target.join(UNFINISHED))?;
    directory.sync_all()
}

/// Kafka's topic that means nothing here.
const LEFT_OUT: &str = "__share_group_state";

impl KafkaMetadata {
    /// The topics that are taken over.
    fn imported(&self) -> impl Iterator<Item = (&uuid::Uuid, &metadata_log::Topic)> {
        self.topics
            .iter()
            .filter(|(_, topic)| topic.name != LEFT_OUT)
    }

    fn left_out(&self) -> Vec<String> {
        let topics = self.topics.values();
        let topics = topics.filter(|topic| topic.name == LEFT_OUT);
        let lines = topics.map(|topic| format!("{}: Ottla has no share groups yet", topic.name));
        lines.collect()
    }
}
