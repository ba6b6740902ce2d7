//! Records that their client has stored twice by itself.
//!
//! An idempotent producer without a transactional id gives a record up when its time is over, and cannot know whether it is
//! stored. What comes behind it has then nothing to follow on, so the client begins a new epoch of its producer id, in which it
//! numbers from 0 what it has not heard of, and sends that again. What the broker has of it already it cannot know again: the
//! epoch and the number are new. So it stores it a second time, and so does Kafka. These clients do it:
//!
//! * Java, up to 4.4.0. In `Sender.completeBatch`, `canRetry` refuses a batch whose `delivery.timeout.ms` are over, whatever its error; a
//!   lost connection is one. It is then failed with `adjustSequenceNumbers`, which asks only whether `retries` are left, and
//!   `TransactionManager.handleFailedBatch` takes it for one that the broker has refused:
//!   `requestIdempotentEpochBumpForPartition`, and `bumpIdempotentProducerEpoch` has `TxnPartitionEntry.startSequencesAtBeginning`
//!   number anew all that is in flight to the partition. That is KAFKA-14397 (apache/kafka pull request 12922).
//!   It takes an error that is seen when the time of one batch is over and that of the next is not: some milliseconds, or as
//!   long as the client sleeps. The usual way, `Sender.sendProducerData`, sees the time first and does no harm: it sets no
//!   `adjustSequenceNumbers`, and no epoch begins before all that is in flight has ended.
//! * librdkafka. A message that times out has `rd_kafka_idemp_drain_epoch_bump` begin an epoch for all partitions, in which it
//!   sends what it is to try again (confluentinc/librdkafka issue 4953).
//!
//! franz-go 1.22.3 and kafka-python 3.0.12 send what may be stored in its old epoch, or not at all.
//!
//! So a second copy is its client's doing if its batch says the same producer id and a later epoch, and if that producer has given
//! up another record, which is not there twice. The same id, epoch and sequence twice is always the broker's fault: that is what it
//! has to know again.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::facts::{Facts, Sent};
use super::history::{History, Outcome, Place, Value, Writing};

/// A record that its client has sent again as a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentAgain {
    /// What it holds.
    pub value: Value,
    /// Where it is, and who says to have written it there.
    pub copies: Vec<(Place, Writing)>,
}

impl SentAgain {
    pub(super) fn is_at(&self, place: Place) -> bool {
        self.copies.iter().any(|(copy, _)| *copy == place)
    }
}

impl fmt::Display for SentAgain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was sent again by its client:", self.value)?;
        for (place, writing) in &self.copies {
            let Place { partition, offset } = place;
            write!(f, " at {offset} of partition {partition} ({writing})")?;
        }
        Ok(())
    }
}

pub(super) fn find(history: &History, facts: &Facts) -> HashMap<Value, SentAgain> {
    let several = several(history);
    let sent = |value: &Value| facts.by_value.get(value).map(|&index| &facts.sent[index]);
    // Whoever has given up a record that is not there twice.
    let given_up = facts
        .sent
        .iter()
        .filter(|sent| sent.outcome == Outcome::Unknown && !several.contains_key(&sent.value));
    let given_up: HashSet<(u32, u32)> = given_up.map(|sent| sent.producer).collect();
    let is_excused = |sent: &Sent| sent.transaction.is_none() && given_up.contains(&sent.producer);
    let several = several.iter();
    let excused = several.filter(|(value, _)| sent(value).is_some_and(is_excused));
    let again = excused.filter_map(|(&value, places)| {
        let copies = copies(history, places)?;
        Some((value, SentAgain { value, copies }))
    });
    again.collect()
}

/// The places of each value that has more than one.
fn several(history: &History) -> HashMap<Value, Vec<Place>> {
    let mut places: HashMap<Value, Vec<Place>> = HashMap::new();
    for (&partition, end) in &history.end.partitions {
        for &(offset, value) in &end.uncommitted {
            let place = Place { partition, offset };
            places.entry(value).or_default().push(place);
        }
    }
    places.retain(|_, places| places.len() > 1);
    places
}

/// What is at these places, if one producer has written it in one epoch after the other.
fn copies(history: &History, places: &[Place]) -> Option<Vec<(Place, Writing)>> {
    let copy = |&place: &Place| {
        let end = history.end.partitions.get(&place.partition)?;
        Some((place, end.writing(place.offset)?))
    };
    let copies: Vec<(Place, Writing)> = places.iter().map(copy).collect::<Option<_>>()?;
    let follow = copies.is_sorted_by(|(place, writing), (next, later)| {
        place.partition == next.partition
            && writing.producer_id == later.producer_id
            && writing.producer_epoch < later.producer_epoch
    });
    follow.then_some(copies)
}
