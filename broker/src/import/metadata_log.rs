//! Kafka's metadata as its `__cluster_metadata` log has it: the newest snapshot, and the records after it.
//!
//! The frames of the records are those of our own (`metadata/record.rs`); read is what topics and settings need, of every
//! version up to Kafka 4.4, and the rest is passed over. A kind of record that is not known refuses the import: it may
//! say that a topic is not what it seems.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use storage::record::batch::verify_crc;
use storage::record::{BatchHeader, RecordSet};
use uuid::Uuid;

use super::{ImportError, unreadable};
use crate::metadata::{Input, MetadataRecord, QuotaName, RecordError};

/// Base offset and length of a batch.
const OVERHEAD_BYTES: usize = 12;
/// Larger than any batch that a controller writes.
const MAX_BATCH_BYTES: usize = 256 << 20;
/// The newest kind of record that Kafka 4.4 writes (UnregisterControllerRecord).
const NEWEST_TYPE: u32 = 29;

/// Settings of one resource.
pub(super) type Configs = BTreeMap<String, String>;

/// What Kafka knows of its topics.
#[derive(Debug, Default)]
pub(super) struct KafkaMetadata {
    pub topics: BTreeMap<Uuid, Topic>,
    /// By type and name of the resource.
    pub configs: BTreeMap<(i8, String), Configs>,
    /// By whom they are for: types and names.
    pub quotas: BTreeMap<BTreeMap<String, Option<String>>, BTreeMap<String, f64>>,
    /// Who may do what: records that are the same here, by the entry's id.
    pub acls: BTreeMap<Uuid, MetadataRecord>,
    pub next_producer_id: i64,
    /// Credentials of SCRAM, by user and mechanism, as they are written down.
    pub users: BTreeMap<(String, i8), MetadataRecord>,
    /// Delegation tokens, as they are written down.
    pub tokens: BTreeMap<String, MetadataRecord>,
}

#[derive(Debug, Default)]
pub(super) struct Topic {
    pub name: String,
    pub partitions: BTreeMap<i32, Registered>,
}

#[derive(Debug, Default)]
pub(super) struct Registered {
    pub replicas: Vec<i32>,
    leader_epoch: i32,
}

impl Registered {
    /// The epoch of the leader after Kafka's last.
    pub(crate) fn next_leader_epoch(&self) -> i32 {
        self.leader_epoch.saturating_add(1)
    }
}

/// Reads the directory of the metadata log.
pub(super) fn read(dir: &Path) -> Result<KafkaMetadata, ImportError> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable(dir))? {
        let entry = entry.map_err(unreadable(dir))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut reader = Reader::default();
    let snapshot = names.iter().rev().find_map(|name| snapshot_end(name));
    let mut from_offset = 0;
    if let Some((name, end_offset)) = snapshot {
        reader.read_file(&dir.join(name), 0)?;
        from_offset = end_offset;
    }
    let segments = names.iter().filter(|name| name.ends_with(".log"));
    for segment in segments {
        let path: PathBuf = dir.join(segment);
        reader.read_file(&path, from_offset)?;
    }
    Ok(reader.metadata)
}

/// Of a complete snapshot, `OFFSET-EPOCH.checkpoint`: the offset of the first record that is not in it.
fn snapshot_end(name: &str) -> Option<(&str, i64)> {
    let (offset, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
    epoch.parse::<i32>().ok()?;
    Some((name, offset.parse().ok()?))
}

#[derive(Default)]
struct Reader {
    metadata: KafkaMetadata,
    /// Records of a transaction that has not ended (KIP-868).
    begun: Option<Vec<Vec<u8>>>,
}

impl Reader {
    /// Takes in the records of a file whose offset is not below `from_offset`.
    fn read_file(&mut self, path: &Path, from_offset: i64) -> Result<(), ImportError> {
        let damaged = |position: u64, what: &dyn std::fmt::Display| {
            ImportError::Refused(format!("{} at byte {position}: {what}", path.display()))
        };
        let file = File::open(path).map_err(unreadable(path))?;
        let bytes = file.metadata().map_err(unreadable(path))?.len();
        let mut position = 0;
        while position < bytes {
            let mut head = [0; OVERHEAD_BYTES];
            let read = file.read_exact_at(&mut head, position);
            read.map_err(|error| damaged(position, &error))?;
            let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
            let size = usize::try_from(length).unwrap_or(usize::MAX);
            let size = size.saturating_add(OVERHEAD_BYTES);
            let left = usize::try_from(bytes - position).unwrap_or(usize::MAX);
            if size > left.min(MAX_BATCH_BYTES) {
                return Err(damaged(position, &"the last batch is cut off"));
            }
            let mut batch = vec![0; size];
            let read = file.read_exact_at(&mut batch, position);
            read.map_err(|error| damaged(position, &error))?;
            let header = BatchHeader::parse(&batch).map_err(|error| damaged(position, &error))?;
            verify_crc(&batch).map_err(|error| damaged(position, &error))?;
            if !header.is_control() && header.last_offset() >= from_offset {
                let records = RecordSet::open(&Bytes::from(batch), MAX_BATCH_BYTES)
                    .map_err(|error| damaged(position, &error))?;
                for record in records.iter() {
                    let record = record.map_err(|error| damaged(position, &error))?;
                    let value = record.value.unwrap_or_default();
                    if record.offset >= from_offset {
                        self.take(value)
                            .map_err(|error| damaged(position, &error))?;
                    }
                }
            }
            position += size as u64;
        }
        Ok(())
    }

    fn take(&mut self, value: &[u8]) -> Result<(), RecordError> {
        let mut input = Input(value);
        let _frame_version = input.uvarint()?;
        match input.uvarint()? {
            23 => self.begun = Some(Vec::new()),
            24 => {
                for record in self.begun.take().unwrap_or_default() {
                    self.metadata.apply(&record)?;
                }
            }
            25 => self.begun = None,
            _ => match &mut self.begun {
                Some(begun) => begun.push(value.to_vec()),
                None => self.metadata.apply(value)?,
            },
        }
        Ok(())
    }
}

impl KafkaMetadata {
    /// Takes one record in.
    fn apply(&mut self, value: &[u8]) -> Result<(), RecordError> {
        let mut input = Input(value);
        let _frame_version = input.uvarint()?;
        let record_type = input.uvarint()?;
        let version = input.uvarint()?;
        let newest = match record_type {
            3 | 5 => 2,
            2 | 4 | 9 | 14 | 15 | 18 | 19 => 0,
            _ => u32::MAX,
        };
        if version > newest || record_type > NEWEST_TYPE {
            return Err(RecordError::Newer {
                record_type,
                version,
            });
        }
        match record_type {
            2 => {
                let name = input.read()?;
                let topic = Topic {
                    name,
                    ..Topic::default()
                };
                self.topics.insert(input.read()?, topic);
            }
            3 => {
                let partition = input.read()?;
                let topic_id = input.read()?;
                let replicas = input.read()?;
                for _in_sync_removed_added in 0..3 {
                    input.read::<Vec<i32>>()?;
                }
                let _leader = input.read::<i32>()?;
                let registered = Registered {
                    replicas,
                    leader_epoch: input.read()?,
                };
                let topic = self.topics.get_mut(&topic_id).ok_or(RecordError::Damaged)?;
                topic.partitions.insert(partition, registered);
            }
            4 => {
                let kind = input.read()?;
                let (resource, name) = (input.read()?, input.read()?);
                let configs = self.configs.entry((kind, resource)).or_default();
                match input.read::<Option<String>>()? {
                    Some(value) => configs.insert(name, value),
                    None => configs.remove(&name),
                };
            }
            5 => self.change_partition(&mut input)?,
            9 => {
                if let Some(topic) = self.topics.remove(&input.read()?) {
                    let topic_kind = crate::metadata::ResourceType::Topic as i8;
                    self.configs.remove(&(topic_kind, topic.name));
                }
            }
            10 | 26 => match MetadataRecord::decode(value)? {
                MetadataRecord::RemoveDelegationToken { token_id } => {
                    self.tokens.remove(&token_id);
                }
                record => {
                    if let MetadataRecord::DelegationToken { token_id, .. } = &record {
                        self.tokens.insert(token_id.clone(), record);
                    }
                }
            },
            11 | 22 => self.change_user(MetadataRecord::decode(value)?),
            14 => {
                let names: Vec<QuotaName> = input.read()?;
                let entity = names.into_iter().map(|part| (part.kind, part.name));
                let quotas = self.quotas.entry(entity.collect()).or_default();
                let (key, value) = (input.read()?, input.read()?);
                match input.read::<bool>()? {
                    true => quotas.remove(&key),
                    false => quotas.insert(key, value),
                };
            }
            18 | 19 => match MetadataRecord::decode(value)? {
                MetadataRecord::RemoveAccessControlEntry { id } => drop(self.acls.remove(&id)),
                record @ MetadataRecord::AccessControlEntry { id, .. } => {
                    self.acls.insert(id, record);
                }
                _ => {}
            },
            15 => {
                let _broker_id = input.read::<i32>()?;
                let _broker_epoch = input.read::<i64>()?;
                self.next_producer_id = input.read()?;
            }
            _ => {}
        }
        Ok(())
    }

    fn change_user(&mut self, record: MetadataRecord) {
        match &record {
            MetadataRecord::UserScramCredential {
                name, mechanism, ..
            } => {
                self.users.insert((name.clone(), *mechanism), record);
            }
            MetadataRecord::RemoveUserScramCredential { name, mechanism } => {
                self.users.remove(&(name.clone(), *mechanism));
            }
            _ => {}
        }
    }

    /// A change that names a leader begins a leader epoch, even if it names the same one.
    fn change_partition(&mut self, input: &mut Input<'_>) -> Result<(), RecordError> {
        const LEADER: u32 = 1;
        const REPLICAS: u32 = 2;
        let partition = input.read()?;
        let topic = self.topics.get_mut(&input.read()?);
        let registered = topic.and_then(|topic| topic.partitions.get_mut(&partition));
        let registered = registered.ok_or(RecordError::Damaged)?;
        for _ in 0..input.uvarint()? {
            let (tag, size) = (input.uvarint()?, input.uvarint()?);
            let mut field = Input(input.take(size as usize)?);
            match tag {
                LEADER => registered.leader_epoch += 1,
                REPLICAS => registered.replicas = field.read()?,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_is_said_of_a_user_counts() {
        let credential = |name: &str, mechanism, iterations| MetadataRecord::UserScramCredential {
            name: name.to_owned(),
            mechanism,
            salt: vec![1, 2],
            stored_key: vec![3; 32],
            server_key: vec![4; 32],
            iterations,
        };
        let gone = MetadataRecord::RemoveUserScramCredential {
            name: "ben".to_owned(),
            mechanism: 2,
        };
        let mut metadata = KafkaMetadata::default();
        for record in [
            credential("ann", 1, 4096),
            credential("ben", 1, 4096),
            credential("ben", 2, 4096),
            gone,
            credential("ann", 1, 8192),
        ] {
            metadata.apply(&record.encode()).expect("known");
        }
        let users: Vec<_> = metadata.users.into_values().collect();
        assert_eq!(
            users,
            [credential("ann", 1, 8192), credential("ben", 1, 4096)]
        );
    }
}
