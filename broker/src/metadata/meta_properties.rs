//! `meta.properties` says which cluster and broker a data directory belongs to, in Kafka's format (version 1).
//!
//! | key | what |
//! |---|---|
//! | version | 1 |
//! | cluster.id | 22 characters of base64url, made at the first start |
//! | node.id | the broker that owns the directory |
//! | directory.id | 22 characters of base64url, made at the first start (KIP-858) |

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use storage::{kafka_uuid, parse_kafka_uuid};
use uuid::Uuid;

use super::topics::plan::new_topic_id;
use crate::config::{Properties, read_properties};

const FILE_NAME: &str = "meta.properties";

/// Identity of a cluster and of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    pub cluster_id: String,
    pub node_id: i32,
    pub directory_id: Uuid,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetaPropertiesError {
    #[error("{}: {source}", .path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: {what}", .path.display())]
    Invalid { path: PathBuf, what: String },
    #[error("{} belongs to node.id {found}, but the configuration says {configured}", .path.display())]
    OtherNode {
        path: PathBuf,
        found: i32,
        configured: i32,
    },
}

impl MetaProperties {
    /// A new identity.
    pub fn random(node_id: i32) -> Self {
        Self {
            cluster_id: kafka_uuid(new_topic_id()),
            node_id,
            directory_id: new_topic_id(),
        }
    }

    /// Whether a broker on one machine has its data in this directory.
    pub fn is_in(dir: &Path) -> bool {
        dir.join(FILE_NAME).exists()
    }

    /// Reads the directory's identity, or makes one, of this cluster or of a new one, and writes it durably.
    ///
    /// # Errors
    /// The file cannot be read or written, is damaged, or names another broker.
    pub fn load_or_create(
        dir: &Path,
        node_id: i32,
        cluster_id: Option<&str>,
    ) -> Result<Self, MetaPropertiesError> {
        let path = dir.join(FILE_NAME);
        match fs::metadata(&path) {
            Ok(_) => Self::load(&path, node_id),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let random = Self::random(node_id);
                let created = Self {
                    cluster_id: cluster_id.map_or(random.cluster_id, str::to_owned),
                    ..random
                };
                created
                    .write(dir)
                    .map_err(|source| MetaPropertiesError::Io { path, source })?;
                Ok(created)
            }
            Err(source) => Err(MetaPropertiesError::Io { path, source }),
        }
    }

    /// Writes the identity of a directory that goes on with another one's cluster.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(dir: &Path, cluster_id: &str, node_id: i32) -> Result<(), std::io::Error> {
        let created = Self {
            cluster_id: cluster_id.to_owned(),
            ..Self::random(node_id)
        };
        created.write(dir)
    }

    fn load(path: &Path, node_id: i32) -> Result<Self, MetaPropertiesError> {
        let invalid = |what: String| MetaPropertiesError::Invalid {
            path: path.to_owned(),
            what,
        };
        let properties: Properties =
            read_properties(path).map_err(|error| invalid(error.to_string()))?;
        let get = |key: &str| -> Result<String, MetaPropertiesError> {
            let value = properties.get(key).filter(|value| !value.is_empty());
            value
                .cloned()
                .ok_or_else(|| invalid(format!("{key} is missing")))
        };
        let version = get("version")?;
        if version != "1" {
            return Err(invalid(format!(
                "version {version} is not known, expected 1"
            )));
        }
        let found: i32 = get("node.id")?
            .parse()
            .map_err(|_| invalid("node.id is not a number".to_owned()))?;
        if found != node_id {
            return Err(MetaPropertiesError::OtherNode {
                path: path.to_owned(),
                found,
                configured: node_id,
            });
        }
        let cluster_id = get("cluster.id")?;
        let directory_id = parse_kafka_uuid(&get("directory.id")?)
            .ok_or_else(|| invalid("directory.id is not an id".to_owned()))?;
        Ok(Self {
            cluster_id,
            node_id,
            directory_id,
        })
    }

    /// Written beside and renamed: the file is whole or it is not there.
    fn write(&self, dir: &Path) -> Result<(), std::io::Error> {
        let temporary = dir.join(format!("{FILE_NAME}.tmp"));
        let mut file = File::create(&temporary)?;
        write!(
            file,
            "#\n#Written by Ottla\ncluster.id={}\ndirectory.id={}\nnode.id={}\nversion=1\n",
            self.cluster_id,
            kafka_uuid(self.directory_id),
            self.node_id
        )?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(FILE_NAME))?;
        File::open(dir)?.sync_all()
    }
}
