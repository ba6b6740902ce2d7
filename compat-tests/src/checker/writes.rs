//! Records: lost, made up, twice, at the place of others, out of order.

use std::collections::{HashMap, HashSet};

use super::facts::{Facts, Fate, Sent};
use super::finding::{Finding, Kind};
use super::history::{Action, History, Isolation, Outcome, Place, Value};

/// A value at a place, and who says so.
struct Sighting {
    place: Place,
    value: Value,
    by: &'static str,
    is_poll: bool,
}

pub(super) fn check(history: &History, facts: &Facts, findings: &mut Vec<Finding>) {
    lost(facts, findings);
    let sightings = sightings(history);
    read_and_gone(&sightings, facts, findings);
    phantoms(&sightings, facts, findings);
    places(history, &sightings, facts, findings);
    order_of_sends(facts, findings);
}

/// Acknowledged or committed, and not there at the end.
fn lost(facts: &Facts, findings: &mut Vec<Finding>) {
    for sent in &facts.sent {
        let Sent {
            value, partition, ..
        } = sent;
        let fate = facts.fate(sent);
        let promised = match sent.outcome {
            Outcome::Ok => true,
            // A client commits nothing before all that it sent is acknowledged, told or not.
            Outcome::Unknown => sent.transaction.is_some() && fate == Fate::Committed,
            Outcome::Fail => false,
        };
        if !promised {
            continue;
        }
        let what = format!(
            "{value} in partition {partition} was acknowledged{}",
            in_(sent)
        );
        if !facts.stored.contains_key(value) {
            findings.push(Finding::new(Kind::LostWrite, format!("{what} and is gone")));
        } else if fate == Fate::Committed && !facts.visible.contains_key(value) {
            let story = format!("{what}, is stored, and is hidden from read_committed consumers");
            findings.push(Finding::new(Kind::LostWrite, story));
        }
    }
}

fn in_(sent: &Sent) -> String {
    sent.transaction
        .map(|transaction| format!(" in transaction {transaction}"))
        .unwrap_or_default()
}

/// Everywhere that anybody has seen a value.
fn sightings(history: &History) -> Vec<Sighting> {
    let mut sightings = Vec::new();
    let mut saw = |place, value, by, is_poll| {
        sightings.push(Sighting {
            place,
            value,
            by,
            is_poll,
        });
    };
    for op in &history.ops {
        match &op.action {
            Action::Send {
                value,
                partition,
                offset: Some(offset),
                ..
            } if op.outcome == Outcome::Ok => {
                let (partition, offset) = (*partition, *offset);
                saw(
                    Place { partition, offset },
                    *value,
                    "its acknowledgement",
                    false,
                );
            }
            Action::Poll { isolation, records } => {
                let by = match isolation {
                    Isolation::ReadCommitted => "a read_committed poll",
                    Isolation::ReadUncommitted => "a read_uncommitted poll",
                };
                for (place, value) in records {
                    saw(*place, *value, by, true);
                }
            }
            _ => {}
        }
    }
    for (&partition, end) in &history.end.partitions {
        for &(offset, value) in &end.uncommitted {
            saw(Place { partition, offset }, value, "the final read", false);
        }
        for &(offset, value) in &end.committed {
            let by = "the final read_committed read";
            saw(Place { partition, offset }, value, by, false);
        }
    }
    sightings
}

/// What a consumer was given is durable, with a transaction around it or without.
fn read_and_gone(sightings: &[Sighting], facts: &Facts, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for sighting in sightings {
        let Sighting {
            place, value, by, ..
        } = sighting;
        if facts.stored.contains_key(value) || !sighting.is_poll {
            continue;
        }
        if told.insert(*value) {
            let story = format!("{by} was given {value} at {place:?}, and it is gone");
            findings.push(Finding::new(Kind::LostWrite, story));
        }
    }
}

/// Nobody sent it, or who sent it was told that it will never be there.
fn phantoms(sightings: &[Sighting], facts: &Facts, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for Sighting {
        place, value, by, ..
    } in sightings
    {
        let sender = match facts.by_value.get(value).map(|&index| &facts.sent[index]) {
            None => "nobody has sent it",
            Some(sent) if sent.outcome == Outcome::Fail => "its send failed for good",
            Some(sent) if sent.partition != place.partition => "it was sent to another partition",
            Some(_) => continue,
        };
        if told.insert(*value) {
            let story = format!("{by} has {value} at {place:?}: {sender}");
            findings.push(Finding::new(Kind::Phantom, story));
        }
    }
}

/// One value at two places, and two values at one place.
fn places(history: &History, sightings: &[Sighting], facts: &Facts, findings: &mut Vec<Finding>) {
    let mut at: HashMap<Place, &Sighting> = HashMap::new();
    let mut of: HashMap<Value, &Sighting> = HashMap::new();
    for sighting in sightings {
        let Sighting {
            place, value, by, ..
        } = sighting;
        let first = *at.entry(*place).or_insert(sighting);
        if first.value != *value {
            let story = format!(
                "{place:?} holds {} by {}, and {value} by {by}",
                first.value, first.by
            );
            findings.push(Finding::new(Kind::DivergingOffset, story));
        }
        let first = *of.entry(*value).or_insert(sighting);
        let by_client = facts.sent_again.get(value);
        let by_client =
            by_client.is_some_and(|again| again.is_at(first.place) && again.is_at(*place));
        if first.place != *place && !by_client {
            let story = format!(
                "{value} is at {:?} by {}{}, and at {place:?} by {by}{}",
                first.place,
                first.by,
                written(history, first.place),
                written(history, *place)
            );
            findings.push(Finding::new(Kind::Duplicate, story));
        }
    }
}

/// Who has written what is at a place at the end: the same twice is what the broker had to know again.
fn written(history: &History, place: Place) -> String {
    let end = history.end.partitions.get(&place.partition);
    let writing = end.and_then(|end| end.writing(place.offset));
    writing.map(|by| format!(" ({by})")).unwrap_or_default()
}

/// What one producer has sent to one partition is there in that order.
fn order_of_sends(facts: &Facts, findings: &mut Vec<Finding>) {
    let mut latest: HashMap<((u32, u32), u32), (Value, i64)> = HashMap::new();
    for sent in &facts.sent {
        let Some(place) = facts.stored.get(&sent.value) else {
            continue;
        };
        let key = (sent.producer, sent.partition);
        let (value, offset) = (sent.value, place.offset);
        if let Some((before, higher)) = latest.insert(key, (value, offset))
            && higher > offset
        {
            let story = format!(
                "client {} sent {before} before {value} to partition {}; they are at {higher} and {offset}",
                sent.producer.0, sent.partition
            );
            findings.push(Finding::new(Kind::ReorderedSend, story));
        }
    }
}
