//! A client that sends, in transactions and without, and reads what is there.

use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::Stop;
use super::client::{Client, Went};
use super::topics::ALL_PARTITIONS;
use crate::checker::{Isolation, Place, Transaction};

/// After something went wrong: who hurries now only burns the CPU that the broker needs to start.
const PAUSE: Duration = Duration::from_millis(300);

/// Between two operations: more would only make a longer history, not a more telling one.
const PACE: Duration = Duration::from_millis(10);

/// What it is at.
enum Producing {
    Nothing,
    Plain,
    Transactional,
    In(Transaction),
}

pub(super) struct Writer {
    client: Client,
    random: StdRng,
    transactional_id: String,
    transactions: bool,
    producing: Producing,
    has_consumer: bool,
}

impl Writer {
    pub fn new(client: Client, seed: u64, transactions: bool) -> Self {
        Self {
            transactional_id: format!("writer-{}", client.id),
            client,
            random: StdRng::seed_from_u64(seed),
            transactions,
            producing: Producing::Nothing,
            has_consumer: false,
        }
    }

    /// Goes on until it is told to stop; a transaction may stay open.
    pub fn run(mut self, stop: &Stop) -> Result<()> {
        while !stop.is_set() {
            let well = if self.random.random_bool(0.35) {
                self.read()?
            } else {
                self.write()?
            };
            stop.wait(if well { PACE } else { PAUSE });
        }
        Ok(())
    }

    fn write(&mut self) -> Result<bool> {
        match self.producing {
            Producing::Nothing => self.make_producer(),
            Producing::Plain => self.send(None),
            Producing::Transactional => self.begin(),
            Producing::In(transaction) => match self.random.random_range(0..100) {
                0..60 => self.send(Some(transaction)),
                60..85 => self.end(transaction, true),
                85..97 => self.end(transaction, false),
                // It goes away without a word; the next producer takes its transactional id over.
                _ => {
                    self.client.worker.end();
                    self.has_consumer = false;
                    self.producing = Producing::Nothing;
                    Ok(true)
                }
            },
        }
    }

    fn make_producer(&mut self) -> Result<bool> {
        let id = (self.transactions && self.random.random_bool(0.7))
            .then_some(self.transactional_id.as_str());
        let well = self.client.producer(id)? == Went::Well;
        self.producing = match (well, id) {
            (false, _) => Producing::Nothing,
            (true, None) => Producing::Plain,
            (true, Some(_)) => Producing::Transactional,
        };
        Ok(well)
    }

    fn begin(&mut self) -> Result<bool> {
        // Now and then without.
        if self.random.random_bool(0.1) {
            self.producing = Producing::Nothing;
            return Ok(true);
        }
        let well = self.client.begin()? == Went::Well;
        self.producing = if well {
            Producing::In(self.client.recorder.transaction())
        } else {
            Producing::Nothing
        };
        Ok(well)
    }

    fn send(&mut self, transaction: Option<Transaction>) -> Result<bool> {
        if transaction.is_none() && self.random.random_bool(0.05) {
            self.producing = Producing::Nothing;
            return Ok(true);
        }
        let count = self.random.random_range(1..8);
        let random = &mut self.random;
        let records = (0..count).map(|_| (random.random_range(0..ALL_PARTITIONS), None));
        let records: Vec<_> = records.collect();
        let well = self.client.send(transaction, &records)? == Went::Well;
        match transaction {
            _ if well => {}
            Some(transaction) => {
                self.end(transaction, false)?;
            }
            None => self.producing = Producing::Nothing,
        }
        Ok(well)
    }

    fn end(&mut self, transaction: Transaction, commit: bool) -> Result<bool> {
        let mut went = self.client.end(transaction, commit)?;
        let well = went == Went::Well;
        if went == Went::Abortable && commit {
            went = self.client.end(transaction, false)?;
        }
        self.producing = if went == Went::Well {
            Producing::Transactional
        } else {
            Producing::Nothing
        };
        Ok(well)
    }

    fn read(&mut self) -> Result<bool> {
        if !self.has_consumer {
            self.client.isolation = if self.random.random() {
                Isolation::ReadCommitted
            } else {
                Isolation::ReadUncommitted
            };
            self.has_consumer =
                self.client.consumer(None)? == Went::Well && self.seek()? == Went::Well;
            return Ok(self.has_consumer);
        }
        if self.random.random_bool(0.03) {
            return Ok(self.seek()? == Went::Well);
        }
        if self.random.random_bool(0.02) {
            self.has_consumer = false;
            return Ok(true);
        }
        let count = self.random.random_range(1..60);
        self.has_consumer = self.client.poll(count, 300)?.is_some();
        Ok(self.has_consumer)
    }

    /// Reads some partitions from the start, where a consumer's way is longest.
    fn seek(&mut self) -> Result<Went> {
        let first = self.random.random_range(0..ALL_PARTITIONS);
        let count = self.random.random_range(1..=ALL_PARTITIONS);
        let positions = (first..first + count).map(|partition| Place {
            partition: partition % ALL_PARTITIONS,
            offset: 0,
        });
        self.client.assign(&positions.collect::<Vec<_>>())
    }
}
