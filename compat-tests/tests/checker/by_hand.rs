//! For each kind of finding, a history that proves it and its neighbour that does not.

use compat_tests::checker::{
    Action, Batch, FinalPartition, History, Input, Isolation, Kind, Op, Outcome, Place, Writing,
    check, sent_again,
};

use Isolation::{ReadCommitted, ReadUncommitted};
use Kind::*;
use Outcome::{Fail, Ok, Unknown};

/// A history is written as a chain of calls; an operation ends before the next one starts.
#[derive(Default)]
struct Written {
    history: History,
    moment: u64,
}

impl Written {
    fn op(mut self, client: u32, outcome: Outcome, action: Action) -> Self {
        self.moment += 2;
        self.history.ops.push(Op {
            client,
            start: self.moment,
            end: self.moment + 1,
            outcome,
            action,
        });
        self
    }

    /// The last operation lasts until the end of the history.
    fn late(mut self) -> Self {
        if let Some(op) = self.history.ops.last_mut() {
            op.end = u64::MAX;
        }
        self
    }

    fn send(self, value: u64, partition: u32, offset: impl Into<Option<i64>>) -> Self {
        let offset = offset.into();
        self.send_as(Ok, value, partition, offset, None, None)
    }

    fn send_in(self, transaction: u64, value: u64, partition: u32, offset: i64) -> Self {
        self.send_as(Ok, value, partition, Some(offset), Some(transaction), None)
    }

    fn send_as(
        self,
        outcome: Outcome,
        value: u64,
        partition: u32,
        offset: Option<i64>,
        transaction: Option<u64>,
        input: Option<u64>,
    ) -> Self {
        let input = input.map(|value| Input { group: 0, value });
        let send = Action::Send {
            value,
            partition,
            offset,
            transaction,
            input,
        };
        self.op(1, outcome, send)
    }

    fn end(self, transaction: u64, commit: bool, outcome: Outcome) -> Self {
        let end = Action::End {
            transaction,
            commit,
        };
        self.op(1, outcome, end)
    }

    fn offsets_in(self, transaction: u64, partition: u32, offset: i64) -> Self {
        let next = vec![Place { partition, offset }];
        let group = 0;
        let offsets = Action::SendOffsets {
            transaction,
            group,
            next,
        };
        self.op(1, Ok, offsets)
    }

    fn assign(self, partition: u32, offset: impl Into<Option<i64>>) -> Self {
        self.op(2, Ok, Action::Assign(vec![(partition, offset.into())]))
    }

    fn poll(self, isolation: Isolation, records: &[(i64, u64)]) -> Self {
        let record = |&(offset, value): &(i64, u64)| {
            let partition = 0;
            (Place { partition, offset }, value)
        };
        let records = records.iter().map(record).collect();
        self.op(2, Ok, Action::Poll { isolation, records })
    }

    fn ends(self, high: i64, stable: i64) -> Self {
        let partition = 0;
        let ends = Action::ReadEnds {
            partition,
            high,
            stable,
        };
        self.op(3, Ok, ends)
    }

    fn read_offset(self, offset: i64) -> Self {
        let next = Place {
            partition: 0,
            offset,
        };
        self.op(3, Ok, Action::ReadOffset { group: 0, next })
    }

    fn commit(self, offset: i64, outcome: Outcome) -> Self {
        let next = vec![Place {
            partition: 0,
            offset,
        }];
        self.op(2, outcome, Action::CommitOffsets { group: 0, next })
    }

    /// A partition at the end: its high watermark, its records, and those of them that `read_committed` hides.
    fn holds(mut self, partition: u32, high: i64, records: &[(i64, u64)], hidden: &[u64]) -> Self {
        let is_visible = |(_, value): &&(i64, u64)| !hidden.contains(value);
        let end = FinalPartition {
            high,
            stable: high,
            uncommitted: records.to_vec(),
            committed: records.iter().filter(is_visible).copied().collect(),
            batches: Vec::new(),
        };
        self.history.end.partitions.insert(partition, end);
        self
    }

    /// Who has written what is in partition 0 from an offset up to another: producer, epoch and first sequence.
    fn by(mut self, offsets: (i64, i64), writing: (i64, i16, i32)) -> Self {
        let (producer_id, producer_epoch, sequence) = writing;
        let first = Writing {
            producer_id,
            producer_epoch,
            sequence,
        };
        let (base_offset, last_offset) = offsets;
        let end = self.history.end.partitions.entry(0).or_default();
        end.batches.push(Batch {
            base_offset,
            last_offset,
            first,
        });
        self
    }

    fn stable(mut self, partition: u32, stable: i64) -> Self {
        if let Some(end) = self.history.end.partitions.get_mut(&partition) {
            end.stable = stable;
        }
        self
    }

    fn group_at(mut self, partition: u32, offset: i64) -> Self {
        self.history.end.offsets.insert((0, partition), offset);
        self
    }

    #[track_caller]
    fn finds(self, kinds: &[Kind]) {
        let findings = check(&self.history);
        let mut found: Vec<Kind> = findings.iter().map(|finding| finding.kind).collect();
        found.sort();
        found.dedup();
        assert_eq!(found, kinds, "{findings:#?}");
    }

    /// Nothing that is the broker's fault, and these values twice by their clients.
    #[track_caller]
    fn finds_sent_again(self, values: &[u64]) {
        let again = sent_again(&self.history);
        let again: Vec<u64> = again.iter().map(|again| again.value).collect();
        assert_eq!(again, values);
        self.finds_nothing();
    }

    #[track_caller]
    fn finds_nothing(self) {
        self.finds(&[]);
    }
}

fn written() -> Written {
    Written::default()
}

#[test]
fn an_acknowledged_write_is_there() {
    written()
        .send(1, 0, 0)
        .send(2, 0, 1)
        .holds(0, 2, &[(0, 1), (1, 2)], &[])
        .finds_nothing();
    written()
        .send(1, 0, 0)
        .send(2, 0, 1)
        .holds(0, 2, &[(1, 2)], &[])
        .finds(&[LostWrite]);
    // Nobody was told anything.
    written()
        .send_as(Unknown, 1, 0, None, None, None)
        .holds(0, 0, &[], &[])
        .finds_nothing();
    // Stored, and hidden from half of its readers.
    written()
        .send(1, 0, 0)
        .holds(0, 1, &[(0, 1)], &[1])
        .finds(&[LostWrite]);
}

#[test]
fn what_was_read_is_there() {
    let read = |isolation| {
        written()
            .send_as(Unknown, 1, 0, None, None, None)
            .poll(isolation, &[(0, 1)])
    };
    read(ReadUncommitted)
        .holds(0, 1, &[(0, 1)], &[])
        .finds_nothing();
    read(ReadUncommitted)
        .holds(0, 1, &[], &[])
        .finds(&[LostWrite]);
    read(ReadCommitted)
        .holds(0, 1, &[], &[])
        .finds(&[LostWrite]);
}

#[test]
fn a_committed_write_is_there() {
    let sent = || {
        written()
            .send_as(Unknown, 1, 0, None, Some(7), None)
            .end(7, true, Ok)
    };
    sent().holds(0, 2, &[(0, 1)], &[]).finds_nothing();
    sent().holds(0, 2, &[], &[]).finds(&[LostWrite]);
    sent().holds(0, 2, &[(0, 1)], &[1]).finds(&[LostWrite]);
}

#[test]
fn nothing_is_there_that_was_not_sent() {
    written().holds(0, 1, &[(0, 1)], &[]).finds(&[Phantom]);
    let failed = || written().send_as(Fail, 1, 0, None, None, None);
    failed().holds(0, 1, &[(0, 1)], &[]).finds(&[Phantom]);
    failed().holds(0, 1, &[], &[]).finds_nothing();
    written()
        .send(1, 0, 0)
        .holds(0, 1, &[], &[])
        .holds(1, 1, &[(0, 1)], &[])
        .finds(&[Phantom, Duplicate]);
}

#[test]
fn a_value_is_at_one_place() {
    let unknown = || written().send_as(Unknown, 1, 0, None, None, None);
    unknown().holds(0, 2, &[(0, 1)], &[]).finds_nothing();
    unknown()
        .holds(0, 2, &[(0, 1), (1, 1)], &[])
        .finds(&[Duplicate]);
    // It is not where its client was told.
    written()
        .send(1, 0, 0)
        .holds(0, 2, &[(1, 1)], &[])
        .finds(&[Duplicate]);
    written()
        .send(1, 0, None)
        .holds(0, 2, &[(1, 1)], &[])
        .finds_nothing();
}

/// Two batches of two records, and the second once more. The client was told nothing of either.
fn twice(first: Outcome, second: Outcome, transaction: Option<u64>) -> Written {
    let sent = written()
        .send_as(first, 1, 0, None, transaction, None)
        .send_as(first, 2, 0, None, transaction, None)
        .send_as(second, 3, 0, None, transaction, None)
        .send_as(second, 4, 0, None, transaction, None)
        .op(1, Ok, Action::Producer)
        .send_as(Ok, 5, 0, Some(4), None, None);
    let stored = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 3), (6, 4)];
    sent.holds(0, 7, &stored, &[])
        .by((0, 1), (7, 0, 0))
        .by((2, 3), (7, 0, 2))
        .by((4, 4), (8, 0, 0))
}

#[test]
fn the_same_producer_epoch_and_sequence_twice_is_the_brokers_fault() {
    let unknown = || twice(Unknown, Unknown, None);
    unknown().by((5, 6), (7, 0, 2)).finds(&[Duplicate]);
    // One batch of the two that were sent, or the first half of one.
    unknown().by((5, 6), (7, 0, 1)).finds(&[Duplicate]);
    // In an epoch that is over.
    let first_later = written()
        .send_as(Unknown, 1, 0, None, None, None)
        .send_as(Unknown, 2, 0, None, None, None)
        .holds(0, 3, &[(0, 1), (1, 2), (2, 2)], &[])
        .by((0, 1), (7, 1, 0));
    first_later.by((2, 2), (7, 0, 1)).finds(&[Duplicate]);
    // Nobody says who it was, or it was not idempotent.
    unknown().finds(&[Duplicate]);
    unknown().by((5, 6), (-1, -1, -1)).finds(&[Duplicate]);
}

#[test]
fn what_a_client_sends_again_as_new_is_there_again() {
    let later = |written: Written| written.by((5, 6), (7, 1, 0));
    later(twice(Unknown, Unknown, None)).finds_sent_again(&[3, 4]);
    // Its answer to the second attempt has come.
    later(twice(Unknown, Ok, None)).finds_sent_again(&[3, 4]);
    // Another id is another producer.
    let other = twice(Unknown, Unknown, None).by((5, 6), (9, 1, 0));
    other.finds(&[Duplicate]);
    // Nothing was given up, so there was no reason to begin an epoch.
    later(twice(Ok, Ok, None)).finds(&[Duplicate]);
    // What was given up is not sent again.
    later(twice(Ok, Unknown, None)).finds(&[Duplicate]);
    // A transaction's client would have aborted.
    let in_transaction = later(twice(Unknown, Unknown, Some(7)));
    in_transaction.end(7, true, Ok).finds(&[Duplicate]);
}

#[test]
fn a_record_that_its_client_sent_again_is_processed_as_often() {
    let sent = |outputs: u64| {
        let sent = written()
            .send_as(Unknown, 1, 0, None, None, None)
            .send_as(Unknown, 2, 0, None, None, None)
            .holds(0, 3, &[(0, 1), (1, 2), (2, 2)], &[])
            .by((0, 1), (7, 0, 0))
            .by((2, 2), (7, 1, 0))
            .group_at(0, 3)
            .op(1, Ok, Action::Producer);
        let inputs = [1, 2, 2, 2].into_iter().take(outputs as usize);
        let made = inputs.zip(10..).fold(sent, |sent, (input, value)| {
            let offset = Some(value as i64);
            sent.send_as(Ok, value, 1, offset, Some(value), Some(input))
                .end(value, true, Ok)
        });
        let stored: Vec<_> = (10..10 + outputs)
            .map(|value| (value as i64, value))
            .collect();
        made.holds(1, 20, &stored, &[])
    };
    sent(3).finds_sent_again(&[2]);
    sent(2).finds(&[NeverProcessed]);
    sent(4).finds(&[ProcessedTwice]);
}

#[test]
fn of_a_duplicate_it_says_who_has_written_it() {
    let written = written()
        .send_as(Unknown, 1, 0, None, None, None)
        .send_as(Unknown, 2, 0, None, None, None)
        .holds(0, 3, &[(0, 1), (1, 2), (2, 2)], &[])
        .by((0, 1), (7, 0, 3))
        .by((2, 2), (7, 0, 4));
    let same = "(producer 7, epoch 0, sequence 4)";
    for finding in check(&written.history) {
        assert_eq!(finding.story.matches(same).count(), 2, "{finding}");
    }
    written.finds(&[Duplicate]);
}

#[test]
fn an_offset_holds_one_value() {
    let sent = || written().send(1, 0, 0).send(2, 0, None);
    sent().holds(0, 2, &[(0, 1), (1, 2)], &[]).finds_nothing();
    sent()
        .poll(ReadUncommitted, &[(0, 2)])
        .holds(0, 2, &[(0, 1), (1, 2)], &[])
        .finds(&[Duplicate, DivergingOffset]);
}

#[test]
fn a_producers_records_are_in_its_order() {
    let stored = [(0, 2), (1, 1)];
    written()
        .send(1, 0, None)
        .send(2, 0, None)
        .holds(0, 2, &stored, &[])
        .finds(&[ReorderedSend]);
    // Another producer is in no order with the first.
    let first = written().send(1, 0, None).op(1, Ok, Action::Producer);
    first
        .send(2, 0, None)
        .holds(0, 2, &stored, &[])
        .finds_nothing();
}

#[test]
fn nothing_of_an_aborted_transaction_is_read() {
    let aborted = || written().send_in(7, 1, 0, 0).end(7, false, Ok);
    aborted().holds(0, 2, &[(0, 1)], &[1]).finds_nothing();
    aborted().holds(0, 2, &[(0, 1)], &[]).finds(&[AbortedRead]);
    aborted()
        .poll(ReadUncommitted, &[(0, 1)])
        .holds(0, 2, &[(0, 1)], &[1])
        .finds_nothing();
    aborted()
        .poll(ReadCommitted, &[(0, 1)])
        .holds(0, 2, &[(0, 1)], &[1])
        .finds(&[AbortedRead]);
    // Nobody has ended it: the broker has, and can only have aborted it.
    written()
        .send_in(7, 1, 0, 0)
        .holds(0, 2, &[(0, 1)], &[])
        .finds(&[AbortedRead]);
    written()
        .send_in(7, 1, 0, 0)
        .end(7, true, Fail)
        .holds(0, 2, &[(0, 1)], &[])
        .finds(&[AbortedRead]);
}

#[test]
fn nothing_is_read_before_its_commit() {
    let sent = || written().send_in(7, 1, 0, 0);
    let stored = |written: Written| written.holds(0, 2, &[(0, 1)], &[]);
    stored(sent().end(7, true, Ok).poll(ReadCommitted, &[(0, 1)])).finds_nothing();
    stored(sent().poll(ReadCommitted, &[(0, 1)]).end(7, true, Ok)).finds(&[EarlyRead]);
    stored(sent().poll(ReadUncommitted, &[(0, 1)]).end(7, true, Ok)).finds_nothing();
    // It has ended after the commit has begun.
    stored(
        sent()
            .poll(ReadCommitted, &[(0, 1)])
            .late()
            .end(7, true, Ok),
    )
    .finds_nothing();
}

#[test]
fn a_transaction_is_there_or_not() {
    let sent = || written().send_in(7, 1, 0, 0).send_in(7, 2, 1, 0);
    let one = |written: Written| written.holds(0, 2, &[(0, 1)], &[]);
    let unknown = || one(sent().end(7, true, Unknown));
    unknown().holds(1, 2, &[(0, 2)], &[]).finds_nothing();
    unknown()
        .holds(1, 2, &[(0, 2)], &[2])
        .finds(&[TornTransaction]);
    sent()
        .end(7, true, Unknown)
        .holds(0, 2, &[(0, 1)], &[1])
        .holds(1, 2, &[(0, 2)], &[2])
        .finds_nothing();
    // Seen once is seen.
    let read = sent().end(7, true, Unknown).poll(ReadCommitted, &[(0, 1)]);
    read.holds(0, 2, &[(0, 1)], &[1])
        .holds(1, 2, &[(0, 2)], &[2])
        .finds(&[TornTransaction]);
    one(sent().end(7, true, Ok))
        .holds(1, 2, &[(0, 2)], &[2])
        .finds(&[LostWrite, TornTransaction]);
}

#[test]
fn a_transactions_offsets_are_part_of_it() {
    let processed = || {
        let sent = written()
            .send(1, 0, 0)
            .send_as(Ok, 2, 1, Some(0), Some(7), Some(1));
        let ended = sent.offsets_in(7, 0, 1).end(7, true, Unknown);
        ended.holds(0, 1, &[(0, 1)], &[])
    };
    processed()
        .holds(1, 2, &[(0, 2)], &[])
        .group_at(0, 1)
        .finds_nothing();
    processed().holds(1, 2, &[(0, 2)], &[2]).finds_nothing();
    processed()
        .holds(1, 2, &[(0, 2)], &[])
        .finds(&[TornTransaction]);
    processed()
        .holds(1, 2, &[(0, 2)], &[2])
        .group_at(0, 1)
        .finds(&[NeverProcessed]);
}

#[test]
fn a_record_is_processed_once() {
    let once = || {
        written()
            .send(1, 0, 0)
            .send_as(Ok, 2, 1, Some(0), Some(7), Some(1))
            .end(7, true, Ok)
    };
    let stored = |written: Written| written.holds(0, 1, &[(0, 1)], &[]).group_at(0, 1);
    stored(once()).holds(1, 2, &[(0, 2)], &[]).finds_nothing();
    let twice = || once().send_as(Ok, 3, 1, Some(2), Some(8), Some(1));
    stored(twice().end(8, true, Ok))
        .holds(1, 4, &[(0, 2), (2, 3)], &[])
        .finds(&[ProcessedTwice]);
    stored(twice().end(8, false, Ok))
        .holds(1, 4, &[(0, 2), (2, 3)], &[3])
        .finds_nothing();
}

#[test]
fn a_consumer_reads_forward_and_leaves_nothing_out() {
    let sent = || {
        let sent = written().send(1, 0, 0).send(2, 0, 1).send(3, 0, 2);
        sent.holds(0, 3, &[(0, 1), (1, 2), (2, 3)], &[])
    };
    let poll = |written: Written, records: &[(i64, u64)]| written.poll(ReadUncommitted, records);
    poll(poll(sent(), &[(0, 1), (1, 2)]), &[(2, 3)]).finds_nothing();
    poll(sent(), &[(1, 2), (0, 1)]).finds(&[ReorderedPoll]);
    poll(poll(sent(), &[(1, 2)]), &[(1, 2)]).finds(&[ReorderedPoll]);
    poll(sent(), &[(0, 1), (2, 3)]).finds(&[SkippedPoll]);
    poll(poll(sent(), &[(0, 1)]), &[(2, 3)]).finds(&[SkippedPoll]);
    // From where it was told to begin, or from where it likes.
    poll(sent().assign(0, 1), &[(2, 3)]).finds(&[SkippedPoll]);
    poll(sent().assign(0, None), &[(2, 3)]).finds_nothing();
    poll(poll(sent(), &[(2, 3)]).assign(0, 0), &[(0, 1)]).finds_nothing();
}

#[test]
fn what_a_consumer_may_not_see_is_not_left_out() {
    let sent = || {
        let aborted = written()
            .send(1, 0, 0)
            .send_in(7, 2, 0, 1)
            .end(7, false, Ok);
        aborted
            .send(3, 0, 3)
            .holds(0, 4, &[(0, 1), (1, 2), (3, 3)], &[2])
    };
    sent()
        .poll(ReadCommitted, &[(0, 1), (3, 3)])
        .finds_nothing();
    sent()
        .poll(ReadUncommitted, &[(0, 1), (3, 3)])
        .finds(&[SkippedPoll]);
}

#[test]
fn watermarks_only_grow() {
    let sent = || {
        written()
            .send(1, 0, 0)
            .send(2, 0, 1)
            .holds(0, 2, &[(0, 1), (1, 2)], &[])
    };
    sent().ends(2, 1).ends(2, 2).finds_nothing();
    sent().ends(2, 2).ends(2, 1).finds(&[StableOffsetBack]);
    // Both were acknowledged.
    sent().ends(1, 1).finds(&[HighWatermarkBack]);
    // A read that began earlier may tell what was earlier.
    sent().ends(2, 2).late().ends(2, 1).finds_nothing();
    sent()
        .poll(ReadCommitted, &[(0, 1), (1, 2)])
        .ends(2, 1)
        .finds(&[StableOffsetBack]);
    sent().ends(3, 2).finds(&[HighWatermarkBack]);
}

#[test]
fn a_groups_offset_only_grows() {
    let committed = || written().commit(5, Ok);
    committed().read_offset(5).group_at(0, 5).finds_nothing();
    committed()
        .read_offset(4)
        .group_at(0, 5)
        .finds(&[GroupOffsetBack]);
    committed().group_at(0, 4).finds(&[GroupOffsetBack]);
    // It was on its way, and nobody has heard of it since.
    written()
        .commit(3, Unknown)
        .commit(5, Ok)
        .read_offset(3)
        .finds_nothing();
    let in_transaction = || written().offsets_in(7, 0, 5);
    in_transaction()
        .end(7, true, Ok)
        .read_offset(4)
        .finds(&[GroupOffsetBack]);
    in_transaction()
        .end(7, false, Ok)
        .read_offset(4)
        .finds_nothing();
}

#[test]
fn every_transaction_ends() {
    let sent = || written().send_in(7, 1, 0, 0).holds(0, 1, &[(0, 1)], &[1]);
    sent().stable(0, 0).finds(&[StuckTransaction]);
    sent().stable(0, 1).finds_nothing();
}
