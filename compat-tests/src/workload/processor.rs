//! A client that makes one record of each that it reads, exactly once.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::Stop;
use super::client::{Client, Group, Went};
use super::topics::{ALL_PARTITIONS, PARTITIONS};
use crate::checker::{Input, Place, Value};

const PAUSE: Duration = Duration::from_millis(300);

pub(super) struct Processor {
    client: Client,
    group: Group,
    random: StdRng,
    /// If not, it commits what it has read and writes nothing: without transactions, nothing is exactly once.
    transactions: bool,
    has_producer: bool,
    has_consumer: bool,
}

impl Processor {
    pub fn new(client: Client, group: Group, seed: u64, transactions: bool) -> Self {
        Self {
            client,
            group,
            random: StdRng::seed_from_u64(seed),
            transactions,
            has_producer: false,
            has_consumer: false,
        }
    }

    /// Goes on until it is told to stop; a transaction may stay open.
    pub fn run(mut self, stop: &Stop) -> Result<()> {
        while !stop.is_set() {
            if !self.step()? {
                // What it has read since its last commit is to be read again, and only a new consumer does that.
                self.has_consumer = false;
                stop.wait(PAUSE);
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<bool> {
        if self.transactions && !self.has_producer {
            // First the producer: its start ends a transaction that is still open, and with it what is to be read.
            let id = format!("processor-{}", self.client.id);
            self.has_producer = self.client.producer(Some(&id))? == Went::Well;
            return Ok(self.has_producer);
        }
        if !self.has_consumer {
            self.has_consumer = self.client.consumer(Some(self.group))? == Went::Well;
            return Ok(self.has_consumer);
        }
        let Some(records) = self.client.poll(20, 300)? else {
            // The process may be gone, and the producer with it.
            self.has_producer = false;
            return Ok(false);
        };
        if records.is_empty() {
            return Ok(true);
        }
        let next = records.iter().map(|(at, _)| (at.partition, at.offset + 1));
        let next: BTreeMap<u32, i64> = next.collect();
        let places = next.into_iter();
        let next = places.map(|(partition, offset)| Place { partition, offset });
        if self.transactions {
            self.process(&records, next.collect())
        } else {
            let went = self
                .client
                .commit_offsets(self.group.number, next.collect())?;
            Ok(went == Went::Well)
        }
    }

    fn process(&mut self, read: &[(Place, Value)], next: Vec<Place>) -> Result<bool> {
        if self.client.begin()? != Went::Well {
            self.has_producer = false;
            return Ok(false);
        }
        let transaction = self.client.recorder.transaction();
        let group = self.group.number;
        let random = &mut self.random;
        let made = read.iter().map(|&(_, value)| {
            let partition = random.random_range(PARTITIONS..ALL_PARTITIONS);
            (partition, Some(Input { group, value }))
        });
        let mut went = self
            .client
            .send(Some(transaction), &made.collect::<Vec<_>>())?;
        if went == Went::Well {
            went = self.client.send_offsets(transaction, group, next)?;
        }
        let commit = went == Went::Well && self.random.random_bool(0.9);
        if commit {
            went = self.client.end(transaction, true)?;
        }
        if commit && went == Went::Well {
            return Ok(true);
        }
        // After a commit without an answer, the next producer gets to know what became of it.
        self.has_producer =
            !(commit && went == Went::Wrong) && self.client.end(transaction, false)? == Went::Well;
        Ok(false)
    }
}
