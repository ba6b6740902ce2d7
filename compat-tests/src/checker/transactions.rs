//! Transactions: what is visible of them, and when.

use super::facts::{Facts, Fate, Told};
use super::finding::{Finding, Kind};
use super::history::{Outcome, Transaction, Value};

pub(super) fn check(facts: &Facts, findings: &mut Vec<Finding>) {
    for (&transaction, told) in &facts.transactions {
        let seen = seen(facts, told);
        match told.fate() {
            Fate::Aborted => {
                for value in &seen {
                    let story = format!(
                        "{value} is of transaction {transaction}, which nobody has committed"
                    );
                    findings.push(Finding::new(Kind::AbortedRead, story));
                }
            }
            Fate::Committed | Fate::Unknown => {
                early(facts, transaction, told, &seen, findings);
                torn(facts, transaction, told, &seen, findings);
            }
        }
    }
}

/// What `read_committed` consumers have been given of it, at the end or before.
fn seen(facts: &Facts, told: &Told) -> Vec<Value> {
    let values = told.sends.iter().map(|&index| facts.sent[index].value);
    let is_seen = |value: &Value| {
        facts.visible.contains_key(value) || facts.read_committed.contains_key(value)
    };
    values.filter(is_seen).collect()
}

fn early(
    facts: &Facts,
    transaction: Transaction,
    told: &Told,
    seen: &[Value],
    findings: &mut Vec<Finding>,
) {
    let Some(begun) = told.commit_start else {
        return;
    };
    for value in seen {
        let read = facts.read_committed.get(value);
        if read.is_some_and(|read| *read < begun) {
            let story = format!(
                "{value} was read by a read_committed consumer before anybody began to commit transaction {transaction}"
            );
            findings.push(Finding::new(Kind::EarlyRead, story));
        }
    }
}

/// If one record of it was ever visible, all are visible at the end. Its offsets are looked at in `process`.
fn torn(
    facts: &Facts,
    transaction: Transaction,
    told: &Told,
    seen: &[Value],
    findings: &mut Vec<Finding>,
) {
    let Some(one) = seen.first() else {
        return;
    };
    let sends = told.sends.iter().map(|&index| &facts.sent[index]);
    let mut missing = sends
        .filter(|sent| sent.outcome != Outcome::Fail && !facts.visible.contains_key(&sent.value));
    if let Some(sent) = missing.next() {
        let story = format!(
            "of transaction {transaction}, {one} is visible; {} in partition {} and {} more are not",
            sent.value,
            sent.partition,
            missing.count()
        );
        findings.push(Finding::new(Kind::TornTransaction, story));
    }
}
