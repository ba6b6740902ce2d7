//! The order in which a consumer is given records: forward, and none left out.

use std::collections::HashMap;

use super::finding::{Finding, Kind};
use super::history::{Action, FinalRead, History, Isolation, Value};

pub(super) fn check(history: &History, findings: &mut Vec<Finding>) {
    // By client and partition: what its consumer must be given next at the earliest.
    let mut positions: HashMap<u32, HashMap<u32, i64>> = HashMap::new();
    for op in &history.ops {
        let positions = positions.entry(op.client).or_default();
        match &op.action {
            Action::Assign(partitions) => {
                let known = |&(partition, offset): &(u32, Option<i64>)| Some((partition, offset?));
                *positions = partitions.iter().filter_map(known).collect();
            }
            Action::Poll { isolation, records } => {
                for (place, value) in records {
                    let next = positions.insert(place.partition, place.offset + 1);
                    let Some(next) = next else {
                        continue;
                    };
                    let who = format!("client {} was given {value} at {place:?}", op.client);
                    if place.offset < next {
                        let story = format!("{who}, and something at {} before", next - 1);
                        findings.push(Finding::new(Kind::ReorderedPoll, story));
                    } else if let Some((skipped, count)) = between(
                        &history.end,
                        *isolation,
                        place.partition,
                        next,
                        place.offset,
                    ) {
                        let story = format!(
                            "{who} when it had read up to {next}: {count} records are between, {skipped} the first"
                        );
                        findings.push(Finding::new(Kind::SkippedPoll, story));
                    }
                }
            }
            _ => {}
        }
    }
}

/// The first of the records that are visible from one offset up to another, and how many there are.
fn between(
    end: &FinalRead,
    isolation: Isolation,
    partition: u32,
    from: i64,
    to: i64,
) -> Option<(Value, usize)> {
    let end = end.partitions.get(&partition)?;
    let all = match isolation {
        Isolation::ReadUncommitted => &end.uncommitted,
        Isolation::ReadCommitted => &end.committed,
    };
    let position = |offset: i64| all.partition_point(|(other, _)| *other < offset);
    let between = all.get(position(from)..position(to))?;
    Some((between.first()?.1, between.len()))
}
