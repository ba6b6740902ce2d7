//! Records of the `__cluster_metadata` log, in the frames of Kafka's own (KRaft).
//!
//! Kafka's schema costs no more than one of our own, and `kafka-dump-log --cluster-metadata-decoder`
//! reads it: an independent check, and a way out. Key: null. Value:
//!
//! | bytes | what |
//! |---|---|
//! | unsigned varint | frame version, 1 |
//! | unsigned varint | record type (Kafka's apiKey), the number of a row below |
//! | unsigned varint | record version, 0 |
//! | ... | fields in Kafka's flexible encoding, then tagged fields |
//!
//! The first record of a log is FeatureLevelRecord `ottla.metadata.version`. A broker refuses to start on a level above its
//! own, or on a type or version that it does not know: what the record says would be lost. A log keeps its level until a
//! record comes that needs a higher one, so that an older version can go on with what it understands.
//!
//! | level | also has |
//! |---|---|
//! | 1 | |
//! | 2 | UserScramCredential, ClientQuota, AccessControlEntry, DelegationToken and what removes them |

use uuid::Uuid;

use super::primitives::{Damaged, Field, Input, put_length, put_uvarint};

/// The feature that says which records a log may hold.
pub(crate) const METADATA_VERSION_FEATURE: &str = "ottla.metadata.version";
/// The highest level that this version reads.
pub(crate) const METADATA_VERSION: i16 = 2;
/// The level of a log that has nothing that needs a higher one.
pub(crate) const LOWEST_METADATA_VERSION: i16 = 1;

const FRAME_VERSION: u32 = 1;
/// An entity has a type once, and there are three.
const MAX_QUOTA_NAMES: u32 = 3;

/// Why a record is not understood; a broker does not start on such a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error(
        "metadata record of type {record_type} version {version} was written by a newer version"
    )]
    Newer { record_type: u32, version: u32 },
    #[error("metadata record is damaged")]
    Damaged,
}

impl From<Damaged> for RecordError {
    fn from(_: Damaged) -> Self {
        Self::Damaged
    }
}

/// Makes a kind of record of each row: its number in the log, the level that it needs if not the lowest, its name, and its
/// fields in the order of their bytes. A field in brackets is only there because Kafka has it: it is written with this value,
/// and passed over when it is read.
macro_rules! records {
    ($(
        $(#[$about:meta])*
        $number:literal $( (level $level:literal) )? => $name:ident $( {
            $( $( $field:ident : $type:ty )? $( [ $filler:ty = $value:expr ] )? ; )*
        } )?
    )*) => {
        /// One change of the metadata.
        #[derive(Clone, Debug, PartialEq)]
        pub enum MetadataRecord {
            $( $(#[$about])* $name $( { $( $( $field: $type, )? )* } )?, )*
        }

        impl MetadataRecord {
            /// The record's value in the log.
            pub(crate) fn encode(&self) -> Vec<u8> {
                let mut out = Vec::with_capacity(64);
                put_uvarint(&mut out, FRAME_VERSION);
                match self {
                    $( Self::$name $( { $( $( $field, )? )* } )? => {
                        put_uvarint(&mut out, $number);
                        put_uvarint(&mut out, 0);
                        $( $(
                            $( $field.put(&mut out); )?
                            $( <$filler as Field>::put(&$value, &mut out); )?
                        )* )?
                    } )*
                }
                put_uvarint(&mut out, 0);
                out
            }

            /// `None`: there is no record with this number.
            fn read_fields(number: u32, input: &mut Input<'_>) -> Result<Option<Self>, Damaged> {
                Ok(Some(match number {
                    $( $number => {
                        $( $(
                            $( let $field = input.read::<$type>()?; )?
                            $( let _ = input.read::<$filler>()?; )?
                        )* )?
                        Self::$name $( { $( $( $field, )? )* } )?
                    } )*
                    _ => return Ok(None),
                }))
            }

            /// The level that a log with this record has at least.
            pub(crate) fn level(&self) -> i16 {
                match self {
                    $( Self::$name $( { $( $( $field: _, )? )* } )? => {
                        let levels = [LOWEST_METADATA_VERSION, $( $level )?];
                        levels[levels.len() - 1]
                    } )*
                }
            }

            /// How much of the record is text.
            pub(crate) fn text_bytes(&self) -> usize {
                match self {
                    $( Self::$name $( { $( $( $field, )? )* } )? => {
                        0 $( $( $( + $field.text_bytes() )? )* )?
                    } )*
                }
            }
        }
    };
}

records! {
    2 => Topic {
        name: String;
        topic_id: Uuid;
    }
    /// Partitions of a topic follow in ascending order from 0.
    3 => Partition {
        partition: i32;
        topic_id: Uuid;
        replicas: Vec<i32>;
        // In sync, being removed, being added.
        [Vec<i32> = replicas.clone()];
        [Vec<i32> = Vec::new()];
        [Vec<i32> = Vec::new()];
        leader: i32;
        leader_epoch: i32;
        // Of the partition.
        [i32 = 0];
    }
    /// `value: None` takes the key back.
    4 => Config {
        resource_type: i8;
        resource_name: String;
        name: String;
        value: Option<String>;
    }
    9 => RemoveTopic {
        topic_id: Uuid;
    }
    /// A new one, or one that has been renewed. The secret of a token is not in it: that is made of the id.
    10 (level 2) => DelegationToken {
        owner: String;
        requester: String;
        renewers: Vec<String>;
        issued_at_ms: i64;
        max_at_ms: i64;
        expires_at_ms: i64;
        token_id: String;
    }
    /// Since level 2, as is what takes it back.
    11 (level 2) => UserScramCredential {
        name: String;
        mechanism: i8;
        salt: Vec<u8>;
        stored_key: Vec<u8>;
        server_key: Vec<u8>;
        iterations: i32;
    }
    12 => FeatureLevel {
        name: String;
        level: i16;
    }
    /// `remove`: takes the key back; `value` says nothing then.
    14 (level 2) => ClientQuota {
        entity: Vec<QuotaName>;
        key: String;
        value: f64;
        remove: bool;
    }
    15 => ProducerIds {
        broker_id: i32;
        // The broker's epoch.
        [i64 = -1];
        next_producer_id: i64;
    }
    18 (level 2) => AccessControlEntry {
        id: Uuid;
        resource_type: i8;
        resource_name: String;
        pattern_type: i8;
        principal: String;
        host: String;
        operation: i8;
        permission_type: i8;
    }
    19 (level 2) => RemoveAccessControlEntry {
        id: Uuid;
    }
    22 (level 2) => RemoveUserScramCredential {
        name: String;
        mechanism: i8;
    }
    /// A snapshot follows: records that lead from nothing to the state.
    23 => BeginTransaction
    /// The snapshot is complete: what came before it no longer counts.
    24 => EndTransaction
    /// The snapshot that has begun does not count.
    25 => AbortTransaction
    26 (level 2) => RemoveDelegationToken {
        token_id: String;
    }
}

/// A part of whom a quota is for: `user`, `client-id` or `ip`, and its name; `None` is the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaName {
    pub kind: String,
    pub name: Option<String>,
}

/// Each of them may have tagged fields, of which none is known.
impl Field for Vec<QuotaName> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(out, self.len());
        for QuotaName { kind, name } in self {
            kind.put(out);
            name.put(out);
            put_uvarint(out, 0);
        }
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let count = input.uvarint()?.checked_sub(1).ok_or(Damaged)?;
        if count > MAX_QUOTA_NAMES {
            return Err(Damaged);
        }
        let read = |_| {
            let (kind, name) = (input.read()?, input.read()?);
            match input.uvarint()? {
                0 => Ok(QuotaName { kind, name }),
                _ => Err(Damaged),
            }
        };
        (0..count).map(read).collect()
    }

    fn text_bytes(&self) -> usize {
        let names = self.iter();
        let bytes = names.map(|part| part.kind.text_bytes() + part.name.text_bytes());
        bytes.sum()
    }
}

impl MetadataRecord {
    /// Reads a record's value; it allocates no more than the bytes hold.
    ///
    /// # Errors
    /// The record was written by a newer version, or is damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut input = Input(bytes);
        let frame_version = input.uvarint()?;
        let record_type = input.uvarint()?;
        let version = input.uvarint()?;
        let newer = RecordError::Newer {
            record_type,
            version,
        };
        if frame_version != FRAME_VERSION || version != 0 {
            return Err(newer);
        }
        let Some(record) = Self::read_fields(record_type, &mut input)? else {
            return Err(newer);
        };
        // A tagged field would say something that this version does not know.
        if input.uvarint()? != 0 {
            return Err(newer);
        }
        if !input.0.is_empty() {
            return Err(RecordError::Damaged);
        }
        Ok(record)
    }
}
