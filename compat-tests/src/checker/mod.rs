//! Finds out from what clients did and saw whether a broker kept its promises.
//!
//! A [`History`] holds every operation of every client, with its start and end in one sequence, and a final read of
//! everything. Every record holds a value of its own, so a value says who sent it, in which transaction, and what it was
//! made from. [`check`] holds everything that was seen against everything that was done. What a client does not know for
//! sure ([`Outcome::Unknown`]) is never held against the broker: then both ways are right, but only one of them.
//!
//! The idea is that of Jepsen's workload for Kafka; its analyses of Redpanda and Bufstream tell what to look for.

mod facts;
mod finding;
mod history;
mod offsets;
mod polls;
mod process;
mod sent_again;
mod transactions;
mod writes;

pub use finding::{Finding, Kind};
pub use history::{
    Action, Batch, FinalPartition, FinalRead, History, Input, Isolation, Moment, Op, Outcome,
    Place, Transaction, Value, Writing,
};
pub use sent_again::SentAgain;

use facts::Facts;

/// Everything that is wrong with a history.
///
/// Takes time and memory in proportion to the history's length, but for sorting it and for a binary search per record read.
pub fn check(history: &History) -> Vec<Finding> {
    let facts = Facts::of(history);
    let mut findings = Vec::new();
    writes::check(history, &facts, &mut findings);
    transactions::check(&facts, &mut findings);
    polls::check(history, &mut findings);
    offsets::check(history, &facts, &mut findings);
    process::check(history, &facts, &mut findings);
    findings
}

/// Records that are there twice because their client has sent them a second time as new ones: no fault of the broker's.
pub fn sent_again(history: &History) -> Vec<SentAgain> {
    let facts = Facts::of(history);
    let mut all: Vec<SentAgain> = facts.sent_again.into_values().collect();
    all.sort_by_key(|again| again.value);
    all
}
