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

/// What is visible of what was made from each record: one, or as many as there are copies of it.
fn visible_outputs(facts: &Facts, findings: &mut Vec<Finding>) -> HashMap<Input, Vec<Value>> {
    let mut outputs: HashMap<Input, Vec<Value>> = HashMap::new();
    let visible = facts.sent.iter();
    for sent in visible.filter(|sent| facts.visible.contains_key(&sent.value)) {
        let Some(input) = sent.input else { continue };
        let made = outputs.entry(input).or_default();
        made.push(sent.value);
        let copies = facts.sent_again.get(&input.value);
        if made.len() > copies.map_or(1, |again| again.copies.len()) {
            let story = format!("group {} made {made:?} from {}", input.group, input.value);
            findings.push(Finding::new(Kind::ProcessedTwice, story));
        }
    }
    outputs
}

fn never_processed(
    history: &History,
    facts: &Facts,
    outputs: &HashMap<Input, Vec<Value>>,
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
        let mut times: HashMap<Value, usize> = HashMap::new();
        for &(offset, value) in read {
            let times = times.entry(value).or_default();
            *times += 1;
            let made = outputs.get(&Input { group, value });
            if made.map_or(0, Vec::len) < *times {
                let story = format!(
                    "group {group} has read up to {next} in partition {partition}; nothing that is visible was made from {value} at {offset}"
                );
                findings.push(Finding::new(Kind::NeverProcessed, story));
            }
        }
    }
}
