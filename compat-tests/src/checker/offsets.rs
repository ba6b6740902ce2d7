//! Offsets that only grow: what a group has committed, the high watermark, the last stable offset.

use std::collections::HashMap;

use super::facts::Facts;
use super::finding::{Finding, Kind};
use super::history::{Action, History, Isolation, Op, Outcome, Place};

/// An offset that must not go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Mark {
    High(u32),
    Stable(u32),
    Group(u32, u32),
}

/// What is known of the marks while the history is gone through in the order of its moments.
#[derive(Default)]
struct Marks {
    /// The highest that anybody was told.
    floor: HashMap<Mark, i64>,
    /// What a commit that nobody knows the end of may set a group back to, whenever it arrives.
    late: HashMap<Mark, Vec<i64>>,
}

pub(super) fn check(history: &History, facts: &Facts, findings: &mut Vec<Finding>) {
    let mut marks = Marks::default();
    let mut at_start: HashMap<usize, Vec<i64>> = HashMap::new();
    for (index, is_start) in moments(history) {
        let op = &history.ops[index];
        if is_start {
            let floors = read(op).into_iter().map(|(mark, _)| marks.floor(mark));
            at_start.insert(index, floors.collect());
            marks.expect_late(op);
            continue;
        }
        let floors = at_start.remove(&index).unwrap_or_default();
        for ((mark, told), floor) in read(op).into_iter().zip(floors) {
            marks.check(mark, told, floor, findings);
        }
        for (mark, told) in read(op).into_iter().chain(implied(op, facts)) {
            marks.raise(mark, told);
        }
    }
    at_the_end(history, &marks, findings);
}

/// Every start and every end, in order: the op's position, and whether it is its start.
fn moments(history: &History) -> Vec<(usize, bool)> {
    let ops = history.ops.iter().enumerate();
    let both = ops.flat_map(|(index, op)| [(op.start, index, true), (op.end, index, false)]);
    let mut moments: Vec<_> = both.collect();
    // Of what shares a moment, starts come first: nobody can say what came before what.
    moments.sort_by_key(|&(moment, index, is_start)| (moment, !is_start, index));
    let without_time = |(_, index, is_start)| (index, is_start);
    moments.into_iter().map(without_time).collect()
}

/// The marks that an operation asks for.
fn read(op: &Op) -> Vec<(Mark, i64)> {
    match &op.action {
        Action::ReadEnds {
            partition,
            high,
            stable,
        } => vec![
            (Mark::High(*partition), *high),
            (Mark::Stable(*partition), *stable),
        ],
        Action::ReadOffset { group, next } => {
            vec![(Mark::Group(*group, next.partition), next.offset)]
        }
        _ => Vec::new(),
    }
}

/// Marks that must be at least so high when an operation has ended.
fn implied(op: &Op, facts: &Facts) -> Vec<(Mark, i64)> {
    if op.outcome != Outcome::Ok {
        return Vec::new();
    }
    let group = |group: u32, next: &Place| (Mark::Group(group, next.partition), next.offset);
    match &op.action {
        Action::Send {
            partition,
            offset: Some(offset),
            ..
        } => vec![(Mark::High(*partition), offset + 1)],
        Action::Poll { isolation, records } => {
            let mark = match isolation {
                Isolation::ReadUncommitted => Mark::High,
                Isolation::ReadCommitted => Mark::Stable,
            };
            let end_of = |(place, _): &(Place, _)| (mark(place.partition), place.offset + 1);
            records.iter().map(end_of).collect()
        }
        Action::CommitOffsets { group: id, next } => {
            next.iter().map(|next| group(*id, next)).collect()
        }
        Action::End {
            transaction,
            commit: true,
        } => {
            let told = facts.transactions.get(transaction);
            let offsets = told.map(|told| told.offsets.as_slice()).unwrap_or_default();
            offsets.iter().map(|(id, next)| group(*id, next)).collect()
        }
        _ => Vec::new(),
    }
}

impl Marks {
    fn floor(&self, mark: Mark) -> i64 {
        self.floor.get(&mark).copied().unwrap_or(i64::MIN)
    }

    fn raise(&mut self, mark: Mark, told: i64) {
        let floor = self.floor.entry(mark).or_insert(told);
        *floor = told.max(*floor);
    }

    /// A commit without an answer may still be on its way: it orders with nothing.
    fn expect_late(&mut self, op: &Op) {
        if let Action::CommitOffsets { group, next } = &op.action
            && op.outcome == Outcome::Unknown
        {
            for next in next {
                let late = self.late.entry(Mark::Group(*group, next.partition));
                late.or_default().push(next.offset);
            }
        }
    }

    fn check(&self, mark: Mark, told: i64, floor: i64, findings: &mut Vec<Finding>) {
        let is_late = || {
            self.late
                .get(&mark)
                .is_some_and(|late| late.contains(&told))
        };
        if told >= floor || is_late() {
            return;
        }
        let (kind, what) = match mark {
            Mark::High(partition) => (
                Kind::HighWatermarkBack,
                format!("the high watermark of partition {partition}"),
            ),
            Mark::Stable(partition) => (
                Kind::StableOffsetBack,
                format!("the last stable offset of partition {partition}"),
            ),
            Mark::Group(group, partition) => (
                Kind::GroupOffsetBack,
                format!("the offset of group {group} in partition {partition}"),
            ),
        };
        let story = format!("{what} was at least {floor}, and then {told}");
        findings.push(Finding::new(kind, story));
    }
}

/// The final read sees all marks after everybody else, and no transaction open.
fn at_the_end(history: &History, marks: &Marks, findings: &mut Vec<Finding>) {
    for (&partition, end) in &history.end.partitions {
        for (mark, told) in [
            (Mark::High(partition), end.high),
            (Mark::Stable(partition), end.stable),
        ] {
            marks.check(mark, told, marks.floor(mark), findings);
        }
        if end.stable < end.high {
            let story = format!(
                "partition {partition}: everybody has stopped, the last stable offset is {}, the high watermark {}",
                end.stable, end.high
            );
            findings.push(Finding::new(Kind::StuckTransaction, story));
        }
    }
    for (&(group, partition), &told) in &history.end.offsets {
        let mark = Mark::Group(group, partition);
        marks.check(mark, told, marks.floor(mark), findings);
    }
}
