//! Cuts what a machine writes into batches that its log takes.

use coordinators::batch_size::{BATCH_OVERHEAD_BYTES, record_bytes};
use coordinators::machine::{Ending, KeyValue, Machine, Producer, Token, Write};
use storage::record::BatchBuilder;

/// The sequence number in batches that a coordinator writes for a producer.
pub(super) const NO_SEQUENCE: i32 = -1;

/// Records of one kind that are appended together, and the replies that wait for them.
pub(super) struct Batch<M: Machine> {
    kind: Kind,
    pub(super) records: BatchBuilder,
    bytes: usize,
    /// Writes of the machine in a producer's transaction.
    writes: usize,
    /// The transaction that ends together with these records.
    pub(super) ending: Option<Ending>,
    pub(super) replies: Vec<(Token, M::Reply)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Transactional(Producer),
    /// What ends a transaction is alone in its batch.
    Joint,
}

impl<M: Machine> Batch<M> {
    fn new(kind: Kind) -> Self {
        let builder = BatchBuilder::new();
        let records = match kind {
            Kind::Plain | Kind::Joint => builder,
            Kind::Transactional(Producer { id, epoch }) => {
                builder.producer(id, epoch, NO_SEQUENCE).transactional()
            }
        };
        Self {
            kind,
            records,
            bytes: 0,
            writes: 0,
            ending: None,
            replies: Vec::new(),
        }
    }

    /// Whose transaction the batch belongs to, and how many of the machine's writes are in it.
    pub(super) fn transactional_writes(&self) -> Option<(Producer, usize)> {
        match self.kind {
            Kind::Transactional(producer) if self.writes > 0 => Some((producer, self.writes)),
            _ => None,
        }
    }

    /// Whether there is nothing to append.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// Collects writes and replies in their order.
pub(super) struct Batches<M: Machine> {
    max_records_bytes: usize,
    /// The timestamp of the records.
    now_ms: i64,
    last: Batch<M>,
}

impl<M: Machine> Batches<M> {
    /// For batches of at most this size. Only what has to stay whole may exceed it.
    pub(super) fn new(max_batch_bytes: usize, now_ms: i64) -> Self {
        Self {
            max_records_bytes: max_batch_bytes.saturating_sub(BATCH_OVERHEAD_BYTES),
            now_ms,
            last: Batch::new(Kind::Plain),
        }
    }

    /// Takes in the writes and replies of one step, and gives the batches that are full.
    ///
    /// A step stays in one batch if it fits and is of one kind. Then a crash leaves all of it or nothing.
    ///
    /// # Errors
    /// A record has no bytes.
    pub(super) fn add(
        &mut self,
        writes: Vec<Write<M::Record>>,
        replies: Vec<(Token, M::Reply)>,
    ) -> Result<Vec<Batch<M>>, M::RecordError> {
        let mut full = Vec::new();
        for write in writes {
            match write {
                Write::Plain(records) => {
                    self.add_records(Kind::Plain, &encoded::<M>(&records)?, &mut full);
                }
                Write::Transactional { producer, records } => {
                    let kind = Kind::Transactional(producer);
                    self.add_records(kind, &encoded::<M>(&records)?, &mut full);
                    self.last.writes += 1;
                }
                Write::Joint { record, ending } => {
                    self.cut(Kind::Joint, &mut full);
                    self.add_records(Kind::Joint, &encoded::<M>(&[record])?, &mut full);
                    self.last.ending = Some(ending);
                }
            }
        }
        self.last.replies.extend(replies);
        Ok(full)
    }

    fn add_records(&mut self, kind: Kind, records: &[KeyValue], full: &mut Vec<Batch<M>>) {
        let bytes: usize = records.iter().map(encoded_bytes).sum();
        if !self.has_room(kind, bytes) {
            self.cut(kind, full);
        }
        for record in records {
            let bytes = encoded_bytes(record);
            if kind == Kind::Plain && !self.has_room(kind, bytes) {
                self.cut(kind, full);
            }
            let (key, value) = record;
            let batch = &mut self.last;
            batch
                .records
                .append(self.now_ms, Some(key), value.as_deref(), &[]);
            batch.bytes += bytes;
        }
    }

    fn has_room(&self, kind: Kind, bytes: usize) -> bool {
        kind == self.last.kind
            && (self.last.is_empty()
                || kind != Kind::Joint && self.last.bytes + bytes <= self.max_records_bytes)
    }

    /// Begins a new batch. Replies of a batch without records wait for the new one.
    fn cut(&mut self, kind: Kind, full: &mut Vec<Batch<M>>) {
        let mut last = std::mem::replace(&mut self.last, Batch::new(kind));
        if last.is_empty() {
            self.last.replies.append(&mut last.replies);
        } else {
            full.push(last);
        }
    }

    /// The last batch. It may have replies and no records, or neither.
    pub(super) fn finish(self) -> Batch<M> {
        self.last
    }
}

fn encoded<M: Machine>(records: &[M::Record]) -> Result<Vec<KeyValue>, M::RecordError> {
    records.iter().map(M::encode).collect()
}

fn encoded_bytes((key, value): &KeyValue) -> usize {
    record_bytes(key.len(), value.as_ref().map(Vec::len))
}
