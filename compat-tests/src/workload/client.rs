//! One stock client, and what it does, written down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value as Json, json};

use super::recorder::Recorder;
use super::topics::{number, place};
use super::worker::Worker;
use crate::checker::{Action, Input, Isolation, Outcome, Place, Transaction, Value};

/// How long a transaction may be open. A client that is paused for longer is a zombie. Clients of the old protocol wait as long for
/// answers, which has to be longer than any broker pauses.
pub(super) const TRANSACTION_TIMEOUT_MS: u64 = 16_000;

/// How an operation went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    /// As it should.
    Well,
    /// The transaction is not committed, and can be aborted.
    Abortable,
    /// Nobody knows; or the producer is of no use any more.
    Wrong,
}

/// A group, as a consumer joins it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub number: u32,
    pub name: &'static str,
    /// `classic` or `consumer`.
    pub protocol: &'static str,
    /// It assigns all partitions of the inputs by itself instead of subscribing.
    pub is_static: bool,
}

pub(super) struct Client {
    pub id: u32,
    pub worker: Worker,
    pub recorder: Arc<Recorder>,
    /// What its consumer sees.
    pub isolation: Isolation,
}

impl Client {
    /// Gets a new producer.
    pub fn producer(&mut self, transactional_id: Option<&str>) -> Result<Went> {
        self.producer_with(transactional_id, &BTreeMap::new())
    }

    /// The same with this over its configuration, if it is a Java client.
    pub fn producer_with(
        &mut self,
        transactional_id: Option<&str>,
        config: &BTreeMap<&str, u64>,
    ) -> Result<Went> {
        let mut command = json!({"do": "producer", "transactional_id": transactional_id, "timeout_ms": TRANSACTION_TIMEOUT_MS});
        if !config.is_empty() {
            command["config"] = json!(config);
        }
        let start = self.recorder.moment();
        let went = went(self.worker.call(&command)?.as_ref());
        let outcome = (Outcome::Ok, Action::Producer);
        self.recorder.ended(self.id, start, [outcome]);
        Ok(went)
    }

    /// Begins a transaction.
    pub fn begin(&mut self) -> Result<Went> {
        let answer = self.worker.call(&json!({"do": "begin"}))?;
        Ok(went(answer.as_ref()))
    }

    /// Sends records, each to a partition, and made from something or not. Well: all are acknowledged.
    pub fn send(
        &mut self,
        transaction: Option<Transaction>,
        records: &[(u32, Option<Input>)],
    ) -> Result<Went> {
        self.send_slowly(transaction, records, Duration::ZERO)
    }

    /// The same with so much time between two of them, if it is a Java client.
    pub fn send_slowly(
        &mut self,
        transaction: Option<Transaction>,
        records: &[(u32, Option<Input>)],
        between: Duration,
    ) -> Result<Went> {
        let values: Vec<Value> = records.iter().map(|_| self.recorder.value()).collect();
        let sent = records.iter().zip(&values);
        let sent = sent.map(|((partition, _), value)| place(*partition, Some(*value as i64)));
        let mut command = json!({"do": "send", "records": sent.collect::<Vec<_>>()});
        if !between.is_zero() {
            command["between_ms"] = json!(u64::try_from(between.as_millis())?);
        }
        let start = self.recorder.moment();
        let answer = self.worker.call(&command)?.unwrap_or_default();
        let acks = answer.get("acks").and_then(Json::as_array);
        let offset = |index: usize| acks?.get(index)?.as_i64();
        let all = (0..records.len()).all(|index| offset(index).is_some());
        let sends = records.iter().zip(values).enumerate();
        let sends = sends.map(|(index, (&(partition, input), value))| {
            let outcome = offset(index).map_or(Outcome::Unknown, |_| Outcome::Ok);
            let send = Action::Send {
                value,
                partition,
                offset: offset(index).filter(|offset| *offset >= 0),
                transaction,
                input,
            };
            (outcome, send)
        });
        self.recorder.ended(self.id, start, sends);
        Ok(if all { Went::Well } else { Went::Abortable })
    }

    /// Makes offsets part of a transaction.
    pub fn send_offsets(
        &mut self,
        transaction: Transaction,
        group: u32,
        next: Vec<Place>,
    ) -> Result<Went> {
        let action = Action::SendOffsets {
            transaction,
            group,
            next: next.clone(),
        };
        self.told("send_offsets", "offsets", &next, action)
    }

    /// Commits offsets outside of a transaction.
    pub fn commit_offsets(&mut self, group: u32, next: Vec<Place>) -> Result<Went> {
        let action = Action::CommitOffsets {
            group,
            next: next.clone(),
        };
        self.told("commit_offsets", "offsets", &next, action)
    }

    /// Ends a transaction.
    pub fn end(&mut self, transaction: Transaction, commit: bool) -> Result<Went> {
        let what = if commit { "commit" } else { "abort" };
        let start = self.recorder.moment();
        let went = went(self.worker.call(&json!({"do": what}))?.as_ref());
        let outcome = match went {
            Went::Well => Outcome::Ok,
            Went::Abortable => Outcome::Fail,
            Went::Wrong => Outcome::Unknown,
        };
        let end = Action::End {
            transaction,
            commit,
        };
        self.recorder.ended(self.id, start, [(outcome, end)]);
        Ok(went)
    }

    /// Gets a new consumer: in a group that processes, or without partitions.
    pub fn consumer(&mut self, group: Option<Group>) -> Result<Went> {
        let inputs = (0..super::topics::PARTITIONS).map(|partition| place(partition, None));
        let inputs: Vec<Json> = inputs.collect();
        let is_static = group.is_some_and(|group| group.is_static);
        let command = json!({
            "do": "consumer",
            "group": group.map_or("none", |group| group.name),
            "protocol": group.map_or("classic", |group| group.protocol),
            "committed": self.isolation == Isolation::ReadCommitted,
            "topic": group.filter(|group| !group.is_static).map(|_| super::topics::INPUTS),
            "partitions": is_static.then_some(inputs),
        });
        let start = self.recorder.moment();
        let went = went(self.worker.call(&command)?.as_ref());
        let assign = (Outcome::Ok, Action::Assign(Vec::new()));
        self.recorder.ended(self.id, start, [assign]);
        Ok(went)
    }

    /// Has the consumer read from these places on.
    pub fn assign(&mut self, positions: &[Place]) -> Result<Went> {
        let assigned = positions.iter().map(|at| (at.partition, Some(at.offset)));
        let action = Action::Assign(assigned.collect());
        self.told("assign", "positions", positions, action)
    }

    /// Reads. `None`: the consumer is of no use any more.
    pub fn poll(&mut self, count: usize, ms: u64) -> Result<Option<Vec<(Place, Value)>>> {
        let start = self.recorder.moment();
        let command = json!({"do": "poll", "count": count, "ms": ms});
        let answer = self.worker.call(&command)?.unwrap_or_default();
        let Some(events) = answer.get("events").and_then(Json::as_array) else {
            return Ok(None);
        };
        let mut actions = Vec::new();
        let mut all = Vec::new();
        for event in events {
            if let Some(partitions) = event.get(1).and_then(Json::as_array) {
                let assigned = partitions.iter().filter_map(|partition| {
                    let number = number(partition.get(0)?.as_str()?, partition.get(1)?.as_i64()?)?;
                    Some((number, partition.get(2)?.as_i64()))
                });
                // A record that was given out before belongs to who has its partition now.
                all.clear();
                actions.push((Outcome::Ok, Action::Assign(assigned.collect())));
            } else if let Some(record) = record(event) {
                all.push(record);
                if let Some((_, Action::Poll { records, .. })) = actions.last_mut() {
                    records.push(record);
                    continue;
                }
                let isolation = self.isolation;
                let records = vec![record];
                actions.push((Outcome::Ok, Action::Poll { isolation, records }));
            }
        }
        self.recorder.ended(self.id, start, actions);
        Ok(Some(all))
    }

    fn told(&mut self, what: &str, list: &str, places: &[Place], action: Action) -> Result<Went> {
        let places = places.iter().map(|at| place(at.partition, Some(at.offset)));
        let command = json!({"do": what, list: places.collect::<Vec<_>>()});
        let start = self.recorder.moment();
        let went = went(self.worker.call(&command)?.as_ref());
        let outcome = match went {
            Went::Well => Outcome::Ok,
            Went::Abortable | Went::Wrong => Outcome::Unknown,
        };
        self.recorder.ended(self.id, start, [(outcome, action)]);
        Ok(went)
    }
}

fn went(answer: Option<&Json>) -> Went {
    match answer {
        None => Went::Wrong,
        Some(answer) if answer.get("error").is_none() => Went::Well,
        Some(answer) if answer.get("abort") == Some(&Json::Bool(true)) => Went::Abortable,
        Some(_) => Went::Wrong,
    }
}

fn record(event: &Json) -> Option<(Place, Value)> {
    let partition = number(event.get(1)?.as_str()?, event.get(2)?.as_i64()?)?;
    let offset = event.get(3)?.as_i64()?;
    Some((Place { partition, offset }, event.get(4)?.as_u64()?))
}
