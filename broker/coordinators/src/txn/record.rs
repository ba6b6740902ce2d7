//! The records of `__transaction_state`, byte for byte as Kafka 4.4 writes them.
//!
//! A key is its type (int16, 0) and the transactional id. A value begins with its version (int16): 1 is written, 0 is read as
//! well. No value: the id has expired.
//!
//! The last epoch is in a tagged field of our own, which Kafka skips. Kafka forgets it when it restarts (KAFKA-20357), so a
//! producer that has not heard the answer to its InitProducerId is fenced then.

use std::sync::Arc;

use crate::batch_size::record_bytes;
use crate::codec::{Reader, RecordError, Writer};
use crate::id::Name;
use crate::machine::{KeyValue, Partition, Producer};
use crate::txn::partitions::Partitions;
use crate::txn::request::TransactionalId;
use crate::txn::transaction::{NO_EPOCH, NO_PRODUCER_ID, Transaction, TransactionState};
use uuid::Uuid;

const TRANSACTION_KEY: i16 = 0;
const VALUE_VERSION: i16 = 1;

const PREVIOUS_PRODUCER_ID_TAG: u32 = 0;
const NEXT_PRODUCER_ID_TAG: u32 = 1;
const VERSION_TAG: u32 = 2;
/// Ours.
const LAST_EPOCH_TAG: u32 = 10_001;

/// All fields of a value, and every tag with its number and size.
const FIXED_VALUE_BYTES: usize = 2 + 8 + 2 + 4 + 1 + 8 + 8 + 1 + 2 * (2 + 8) + (2 + 2) + (3 + 2);

/// One entry of a shard's log. `None` as a value is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRecord {
    pub(super) transactional_id: TransactionalId,
    pub(super) value: Option<Transaction>,
}

impl TransactionRecord {
    /// # Errors
    /// [`RecordError::StringTooLong`] if an id is longer than Kafka's schema allows. Requests cannot have such an id.
    pub(super) fn encode(&self) -> Result<KeyValue, RecordError> {
        let mut key = Writer::default();
        key.i16(TRANSACTION_KEY);
        key.string(&self.transactional_id)?;
        let value = self.value.as_ref().map(encode_value).transpose()?;
        Ok((key.finish(), value))
    }

    /// `None` for a type of key that is not known and is to be skipped.
    ///
    /// # Errors
    /// The bytes are not what their version says.
    pub(super) fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self>, RecordError> {
        let mut key = Reader::new(key);
        if key.i16()? != TRANSACTION_KEY {
            return Ok(None);
        }
        Ok(Some(Self {
            transactional_id: key.string()?.into(),
            value: value.map(decode_value).transpose()?,
        }))
    }

    /// What the record takes in a batch, or somewhat more. It is counted without making the bytes.
    pub(super) fn size_bytes(&self) -> usize {
        let value_bytes = self.value.as_ref();
        let value_bytes =
            value_bytes.map(|value| FIXED_VALUE_BYTES + value.partitions.size_bytes());
        record_bytes(2 + 2 + self.transactional_id.len(), value_bytes)
    }
}

fn encode_value(value: &Transaction) -> Result<Vec<u8>, RecordError> {
    let mut writer = Writer::default();
    writer.i16(VALUE_VERSION);
    writer.i64(value.producer.id);
    writer.i16(value.producer.epoch);
    writer.i32(value.timeout_ms);
    writer.i8(value.state.number());
    encode_partitions(&mut writer, value)?;
    writer.i64(value.last_update_ms);
    writer.i64(value.start_ms);
    let producer_id = |id: i64| (id != NO_PRODUCER_ID).then(|| id.to_be_bytes().to_vec());
    let version = (value.version != 0).then(|| value.version.to_be_bytes().to_vec());
    let last_epoch =
        (value.last_epoch != NO_EPOCH).then(|| value.last_epoch.to_be_bytes().to_vec());
    writer.tagged_fields(&[
        (
            PREVIOUS_PRODUCER_ID_TAG,
            producer_id(value.previous_producer_id),
        ),
        (NEXT_PRODUCER_ID_TAG, producer_id(value.next_producer_id)),
        (VERSION_TAG, version),
        (LAST_EPOCH_TAG, last_epoch),
    ])?;
    Ok(writer.finish())
}

fn encode_partitions(writer: &mut Writer, value: &Transaction) -> Result<(), RecordError> {
    if value.state == TransactionState::Empty {
        writer.uvarint(0); // null
        return Ok(());
    }
    let topics = value.partitions.by_topic();
    writer.compact_count(topics.len())?;
    for (topic, indexes) in topics {
        writer.compact_string(topic)?;
        writer.compact_count(indexes.len())?;
        indexes.iter().for_each(|index| writer.i32(*index));
        writer.tagged_fields(&[])?;
    }
    Ok(())
}

fn decode_value(bytes: &[u8]) -> Result<Transaction, RecordError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    if !(0..=VALUE_VERSION).contains(&version) {
        return Err(RecordError::UnknownVersion(version));
    }
    let is_flexible = version >= 1;
    let producer = Producer {
        id: reader.i64()?,
        epoch: reader.i16()?,
    };
    let timeout_ms = reader.i32()?;
    let status = reader.i8()?;
    let mut states = TransactionState::ALL.into_iter();
    let state = states.find(|state| state.number() == status);
    let state = state.ok_or(RecordError::UnknownStatus(status))?;
    let partitions = Arc::new(decode_partitions(&mut reader, is_flexible)?);
    let mut value = Transaction {
        producer,
        last_epoch: NO_EPOCH,
        previous_producer_id: NO_PRODUCER_ID,
        next_producer_id: NO_PRODUCER_ID,
        timeout_ms,
        state,
        partitions,
        last_update_ms: reader.i64()?,
        start_ms: reader.i64()?,
        version: 0,
    };
    if is_flexible {
        reader.tagged_fields(|tag, field| {
            let mut field = Reader::new(field);
            match tag {
                PREVIOUS_PRODUCER_ID_TAG => value.previous_producer_id = field.i64()?,
                NEXT_PRODUCER_ID_TAG => value.next_producer_id = field.i64()?,
                VERSION_TAG => value.version = field.i16()?,
                LAST_EPOCH_TAG => value.last_epoch = field.i16()?,
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(value)
}

fn decode_partitions(
    reader: &mut Reader<'_>,
    is_flexible: bool,
) -> Result<Partitions, RecordError> {
    let mut partitions = Vec::new();
    for _ in 0..reader.nullable_count_of(is_flexible)?.unwrap_or(0) {
        let topic: Name = reader.string_of(is_flexible)?.into();
        for _ in 0..reader.count_of(is_flexible)? {
            partitions.push(Partition {
                topic: topic.clone(),
                topic_id: Uuid::nil(),
                index: reader.i32()?,
            });
        }
        if is_flexible {
            reader.tagged_fields(|_, _| Ok(()))?;
        }
    }
    Ok(partitions.into_iter().collect())
}
