//! Read-process-write: every record that a group has read past was processed once, and no other.

use std::collections::{HashMap, HashSet};

use super::facts::Facts;
use super::finding::{Finding, Kind};
use super::history::{History, Input, Value};

pub(super) fn check(history: &History, facts: &Facts, findings: &mut Vec<Finding>) {
    offsets_of_visible(history, facts, findings);
    let outputs = visible_outputs(facts, findings);
    never_processed(history, facts, &outputs, findings);
}

/// What is visible of a transaction has its offsets with it.
fn offsets_of_visible(history: &History, facts: &Facts, findings: &mut Vec<Finding>) {
    for (transaction, told) in &facts.transactions {
        let mut values = told.sends.iter().map(|&index| facts.sent[index].value);
        let Some(value) = values.find(|value| facts.visible.contains_key(value)) else {
            continue;
        };
        for (group, next) in &told.offsets {
            let end = history.end.offsets.get(&(*group, next.partition));
            let end = end.copied().unwrap_or(-1);
            if end < next.offset {
                let story = format!(
                    "of transaction {transaction}, {value} is visible; its offset {} of group {group} in partition {} is not: {end}",
                    next.offset, next.partition
                );
                findings.push(Finding::new(Kind::TornTransaction, story));
            }
        }
    }
}

/// What is visible of what was made from each record.
fn visible_outputs(facts: &Facts, findings: &mut Vec<Finding>) -> HashMap<Input, Value> {
    let mut outputs = HashMap::new();
    let visible = facts.sent.iter();
    for sent in visible.filter(|sent| facts.visible.contains_key(&sent.value)) {
        let Some(input) = sent.input else { continue };
        if let Some(other) = outputs.insert(input, sent.value) {
            let story = format!(
                "group {} made both {other} and {} from {}",
                input.group, sent.value, input.value
            );
            findings.push(Finding::new(Kind::ProcessedTwice, story));
        }
    }
    outputs
}

fn never_processed(
    history: &History,
    facts: &Facts,
    outputs: &HashMap<Input, Value>,
    findings: &mut Vec<Finding>,
) {
    // A group that makes nothing of what it reads has nothing to be counted.
    let inputs = facts.sent.iter().filter_map(|sent| sent.input);
    let processing: HashSet<u32> = inputs.map(|input| input.group).collect();
    for (&(group, partition), &next) in &history.end.offsets {
        let Some(end) = history.end.partitions.get(&partition) else {
            continue;
        };
        if !processing.contains(&group) {
            continue;
        }
        let read = end
            .committed
            .iter()
            .take_while(|(offset, _)| *offset < next);
        for &(offset, value) in read {
            if !outputs.contains_key(&Input { group, value }) {
                let story = format!(
                    "group {group} has read up to {next} in partition {partition}; nothing that is visible was made from {value} at {offset}"
                );
                findings.push(Finding::new(Kind::NeverProcessed, story));
            }
        }
    }
}
