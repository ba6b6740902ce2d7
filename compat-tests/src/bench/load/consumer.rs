//! A consumer that checks everything it is given.

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};

use crate::bench::batch::{FetchedBatch, check_batches};
use crate::bench::connection::Connection;
use crate::bench::request::{FetchLimits, FetchTemplate};
use crate::bench::wire::read_fetch_response;

/// A consumer of some partitions of one topic, from given offsets on.
pub struct Consumer {
    connection: Connection,
    template: FetchTemplate,
    positions: Vec<Position>,
}

/// How far one partition is read.
pub struct Position {
    pub partition: i32,
    pub next_offset: i64,
    /// By producer id, the sequence number that its next batch must have.
    next_sequences: HashMap<i64, i32>,
}

impl Consumer {
    /// Connects; `partitions` are indexes and the offsets to start from.
    ///
    /// # Errors
    /// Nothing listens there.
    pub fn open(
        address: SocketAddr,
        topic: &str,
        partitions: &[(i32, i64)],
        limits: FetchLimits,
    ) -> Result<Self> {
        let indexes: Vec<i32> = partitions.iter().map(|(index, _)| *index).collect();
        let position = |(partition, next_offset): &(i32, i64)| Position {
            partition: *partition,
            next_offset: *next_offset,
            next_sequences: HashMap::new(),
        };
        Ok(Self {
            connection: Connection::open(address)?,
            template: FetchTemplate::new(topic, &indexes, limits)?,
            positions: partitions.iter().map(position).collect(),
        })
    }

    /// How far it has read.
    pub fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// Fetches once, checks every batch and hands it to `each` with its partition's index; gives the
    /// bytes of all batches.
    ///
    /// # Errors
    /// The fetch fails; a CRC is wrong; offsets or sequence numbers have a gap or repeat themselves.
    pub fn poll(&mut self, mut each: impl FnMut(i32, &FetchedBatch)) -> Result<u64> {
        for (slot, position) in self.positions.iter().enumerate() {
            self.template.set(slot, position.next_offset);
        }
        self.connection.send(self.template.frame())?;
        let frame = self.connection.receive()?;
        let mut bytes = 0;
        read_fetch_response(frame, |fetched| {
            let index = fetched.index;
            ensure!(
                fetched.error_code == 0,
                "partition {index}: fetch error {}",
                fetched.error_code
            );
            let position = self
                .positions
                .iter_mut()
                .find(|position| position.partition == index)
                .context("a partition that was not asked for")?;
            check_batches(fetched.records, |batch| {
                position.advance(&batch)?;
                bytes += batch.size_bytes as u64;
                each(index, &batch);
                Ok(())
            })?;
            Ok(())
        })?;
        Ok(bytes)
    }
}

impl Position {
    fn advance(&mut self, batch: &FetchedBatch) -> Result<()> {
        ensure!(
            batch.base_offset == self.next_offset,
            "partition {}: offset {} instead of {}",
            self.partition,
            batch.base_offset,
            self.next_offset
        );
        let next_sequence = batch.base_sequence + batch.records_count;
        if let Some(expected) = self.next_sequences.insert(batch.producer_id, next_sequence) {
            ensure!(
                batch.base_sequence == expected,
                "partition {}: at offset {} producer {} has sequence {} instead of {expected}",
                self.partition,
                batch.base_offset,
                batch.producer_id,
                batch.base_sequence
            );
        }
        self.next_offset += i64::from(batch.records_count);
        Ok(())
    }
}
