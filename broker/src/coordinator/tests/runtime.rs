//! The runtime with a machine that has nothing to do with groups: what a coordinator of transactions will rely on.

use std::collections::BTreeMap;
use std::convert::Infallible;

use coordinators::machine::{Effects, EffectsOf, EndTxn, KeyValue, Producer, Refused, Write};
use storage::record::BatchHeader;

use super::*;
use crate::coordinator::batches::Batches;
use crate::coordinator::runtime::Outside;
use crate::coordinator::shard::Within;
use crate::coordinator::shards::Shards;
use crate::replay::{Entry, replay};

/// Words, those of open transactions apart.
#[derive(Default)]
pub(super) struct Words {
    known: Vec<String>,
    /// On their way into the log in transactions.
    unsettled: Vec<(Producer, Vec<String>)>,
    pending: BTreeMap<i64, Vec<String>>,
    ends: Vec<EndTxn>,
}

pub(super) enum Request {
    Say(Vec<Write<String>>),
    /// What is known, what is pending, and how transactions have ended.
    List,
    /// Asks something; the answer is a panic if so told.
    Ask {
        panics: bool,
    },
}

#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    Said,
    Listed(Vec<String>, BTreeMap<i64, Vec<String>>, Vec<EndTxn>),
    Refused(Refused),
}

impl From<Refused> for Reply {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Words {
    fn apply(&mut self, producer: Option<Producer>, word: &str) {
        let words = match producer {
            Some(producer) => self.pending.entry(producer.id).or_default(),
            None => &mut self.known,
        };
        words.push(word.to_owned());
    }
}

impl Machine for Words {
    type Catalog = ();
    type Request = Request;
    type Reply = Reply;
    type Record = String;
    type RecordError = Infallible;
    type Question = bool;
    type Outcome = String;
    type Note = String;

    fn replay(
        &mut self,
        producer: Option<Producer>,
        key: &[u8],
        _: Option<&[u8]>,
    ) -> Result<(), Infallible> {
        self.apply(producer, &String::from_utf8_lossy(key));
        Ok(())
    }

    fn replay_marker(&mut self, end: EndTxn) {
        let words = self.pending.remove(&end.producer_id).unwrap_or_default();
        if end.commit {
            self.known.extend(words);
        }
        self.ends.push(end);
    }

    fn settled(&mut self, producer: Producer, is_appended: bool) {
        let mut unsettled = self.unsettled.iter();
        let oldest = unsettled.position(|(of, _)| *of == producer);
        let (_, words) = self.unsettled.remove(oldest.expect("a write"));
        let words = words.into_iter().filter(|_| is_appended);
        let words: Vec<String> = words.collect();
        words
            .iter()
            .for_each(|word| self.apply(Some(producer), word));
    }

    fn depends_on_markers(&self, request: &Request) -> bool {
        matches!(request, Request::List) && !self.pending.is_empty()
    }

    fn loaded(&mut self, _: &Moment<()>) -> EffectsOf<Self> {
        Effects::default()
    }

    fn handle(&mut self, _: &Moment<()>, token: Token, request: Request) -> EffectsOf<Self> {
        let mut effects = Effects::default();
        match request {
            Request::Say(writes) => {
                for write in &writes {
                    match write {
                        Write::Plain(words) => words.iter().for_each(|word| self.apply(None, word)),
                        Write::Transactional { producer, records } => {
                            self.unsettled.push((*producer, records.clone()));
                        }
                        Write::Joint { record, .. } => {
                            self.apply(None, record);
                        }
                    }
                }
                effects.writes = writes;
                effects.reply(token, Reply::Said);
            }
            Request::List => {
                let listed =
                    Reply::Listed(self.known.clone(), self.pending.clone(), self.ends.clone());
                effects.reply(token, listed);
            }
            Request::Ask { panics } => {
                effects.questions.push(panics);
                effects.reply(token, Reply::Said);
            }
        }
        effects
    }

    fn outcome(&mut self, _: &Moment<()>, outcome: String) -> EffectsOf<Self> {
        let mut effects = Effects::default();
        self.apply(None, &outcome);
        effects.append(outcome);
        effects
    }

    fn next_deadline(&self) -> Option<i64> {
        None
    }

    fn on_deadline(&mut self, _: &Moment<()>) -> EffectsOf<Self> {
        Effects::default()
    }

    fn unload(self, _: Refused) -> Vec<(Token, Reply)> {
        Vec::new()
    }

    fn encode(record: &String) -> Result<KeyValue, Infallible> {
        Ok((record.as_bytes().to_vec(), None))
    }
}

struct WordsOutside;

impl Outside for WordsOutside {
    type Machine = Words;
    const TOPIC: &'static str = "words";
    const NAME: &'static str = "a shard of words";

    fn machine(&self) -> Words {
        Words::default()
    }

    fn catalog(&self, _: &Arc<Published>) -> Arc<()> {
        Arc::default()
    }

    fn line(note: String) -> impl std::fmt::Display {
        note
    }

    async fn answer(self: Arc<Self>, panics: bool, _: Arc<Published>) -> Option<String> {
        assert!(!panics, "meant to panic");
        Some("answer".to_owned())
    }
}

/// A shard of words on `log`, and what would shut it down.
async fn words(log: &Arc<TestLog>) -> (Shards<Words>, Runtime, watch::Sender<bool>) {
    let (stop, shutdown) = watch::channel(false);
    let runtime = runtime(shutdown).await;
    let shards = words_on(&runtime, log.clone()).await;
    (shards, runtime, stop)
}

/// A shard of words on any log.
pub(super) async fn words_on(runtime: &Runtime, log: Arc<dyn PartitionLog>) -> Shards<Words> {
    let outside = Arc::new(WordsOutside);
    let started = Shards::start(runtime, &outside, Uuid::nil(), vec![log]).await;
    started.expect("loaded")
}

const COORDINATOR_EPOCH: i32 = 3;
pub(super) const PRODUCER: Producer = Producer { id: 7, epoch: 2 };

pub(super) fn plain(words: &[&str]) -> Write<String> {
    Write::Plain(words.iter().map(|word| (*word).to_owned()).collect())
}

pub(super) fn transactional(producer: Producer, words: &[&str]) -> Write<String> {
    Write::Transactional {
        producer,
        records: words.iter().map(|word| (*word).to_owned()).collect(),
    }
}

fn end(producer: Producer, commit: bool) -> EndTxn {
    EndTxn {
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        coordinator_epoch: COORDINATOR_EPOCH,
        commit,
    }
}

#[tokio::test]
async fn what_transactions_wrote_and_how_they_ended_is_known_again_after_a_load() {
    let log = TestLog::new();
    let (first, runtime, stop) = words(&log).await;
    let other = Producer { id: 8, epoch: 0 };
    let open = Producer { id: 9, epoch: 0 };
    for writes in [
        vec![transactional(PRODUCER, &["committed"]), plain(&["plain"])],
        vec![transactional(other, &["aborted"])],
        vec![transactional(open, &["open"])],
    ] {
        let said = first.request(0, Request::Say(writes)).await;
        assert_eq!(said, Ok(Reply::Said));
    }
    for end in [end(PRODUCER, true), end(other, false)] {
        let append = runtime.append_marker(&*log, end, 0).await;
        append.expect("let in").await.expect("durable");
    }
    let live = first.request(0, Request::List).await.expect("answered");
    let known = vec!["plain".to_owned(), "committed".to_owned()];
    let pending = BTreeMap::from([(open.id, vec!["open".to_owned()])]);
    let ends = [end(PRODUCER, true), end(other, false)];
    assert_eq!(live, Reply::Listed(known, pending, ends.to_vec()));
    stop.send_replace(true);
    let (second, _runtime, _stop) = words(&log).await;
    assert_eq!(second.request(0, Request::List).await, Ok(live));
}

#[tokio::test]
async fn a_machine_does_not_learn_of_a_transaction_that_its_log_refuses() {
    let log = TestLog::new();
    let (shards, _runtime, _stop) = words(&log).await;
    let older = Producer {
        epoch: PRODUCER.epoch - 1,
        ..PRODUCER
    };
    let say = async |producer, word| {
        let request = Request::Say(vec![transactional(producer, &[word])]);
        let guard = None;
        let within = Within { producer, guard };
        shards.request_within(0, request, within).await
    };
    assert_eq!(say(PRODUCER, "first").await, Ok(Reply::Said));
    // Both wait together, so the log is asked before the first of them has reached the disk.
    let (second, late) = tokio::join!(say(PRODUCER, "second"), say(older, "late"));
    assert_eq!(second, Ok(Reply::Said));
    assert_eq!(late, Err(ErrorCode::InvalidProducerEpoch));
    let words = vec!["first".to_owned(), "second".to_owned()];
    let pending = BTreeMap::from([(PRODUCER.id, words)]);
    let listed = shards.request(0, Request::List).await;
    assert_eq!(listed, Ok(Reply::Listed(Vec::new(), pending, Vec::new())));
    assert_eq!(
        log.loads.load(Ordering::Relaxed),
        1,
        "nothing was loaded again"
    );
}

#[tokio::test]
async fn steps_that_come_together_share_a_batch_only_with_their_own_kind() {
    let log = TestLog::new();
    let (shards, _runtime, _stop) = words(&log).await;
    let shards = Arc::new(shards);
    let other = Producer { id: 8, epoch: 0 };
    let steps = [
        vec![plain(&["a"])],
        vec![plain(&["b"])],
        vec![transactional(PRODUCER, &["c"])],
        vec![
            transactional(PRODUCER, &["d"]),
            transactional(other, &["e"]),
        ],
        vec![plain(&["f"])],
    ];
    let said = steps.map(|writes| {
        let shards = Arc::clone(&shards);
        tokio::spawn(async move { shards.request(0, Request::Say(writes)).await })
    });
    for said in said {
        assert_eq!(said.await.expect("no panic"), Ok(Reply::Said));
    }
    let mut batches = Vec::new();
    let replayed = replay(&*log.inner, 0, |entry| {
        let mut note = |header: &BatchHeader, what: String| {
            let of = (
                header.is_transactional(),
                header.producer_id,
                header.producer_epoch,
            );
            batches.push((header.base_offset, of, what));
        };
        match entry {
            Entry::Record(header, record) => {
                let key = record.key.unwrap_or_default();
                note(header, String::from_utf8_lossy(key).into_owned());
            }
            Entry::Marker(header, marker) => note(header, format!("{:?}", marker.result)),
        }
    });
    replayed.await.expect("read");
    let of = |producer: Producer| (true, producer.id, producer.epoch);
    let word = |base: i64, of: (bool, i64, i16), word: &str| (base, of, word.to_owned());
    assert_eq!(
        batches,
        [
            word(0, (false, -1, -1), "a"),
            word(0, (false, -1, -1), "b"),
            word(2, of(PRODUCER), "c"),
            word(2, of(PRODUCER), "d"),
            word(4, of(other), "e"),
            word(5, (false, -1, -1), "f"),
        ]
    );
}

#[test]
fn plain_records_are_split_where_they_do_not_fit_and_those_of_a_transaction_never() {
    let long = "w".repeat(300);
    let words = [&*long; 10];
    for (write, batch_count) in [(plain(&words), 5), (transactional(PRODUCER, &words), 1)] {
        let mut batches = Batches::<Words>::new(61 + 650, 0);
        let mut full = batches
            .add(vec![write], vec![(Token(1), Reply::Said)])
            .expect("encoded");
        full.push(batches.finish());
        assert_eq!(full.len(), batch_count);
        let counts = full.iter().map(|batch| batch.records.records_count());
        assert_eq!(counts.sum::<usize>(), words.len());
        // The reply waits for the last of them.
        let replies: Vec<usize> = full.iter().map(|batch| batch.replies.len()).collect();
        assert_eq!(replies.iter().sum::<usize>(), 1);
        assert_eq!(replies.last(), Some(&1));
    }
}

#[test]
fn a_write_of_a_transaction_that_does_not_fit_beside_another_begins_a_batch() {
    let long = "w".repeat(300);
    let mut batches = Batches::<Words>::new(61 + 950, 0);
    let two = transactional(PRODUCER, &[&*long; 2]);
    for number in 0..3 {
        let replies = vec![(Token(number), Reply::Said)];
        let full = batches.add(vec![two.clone()], replies).expect("encoded");
        assert_eq!(full.len(), usize::from(number > 0));
        for batch in full {
            assert_eq!(batch.records.records_count(), 2);
            assert_eq!(batch.replies, [(Token(number - 1), Reply::Said)]);
        }
    }
}

#[tokio::test]
async fn an_answer_from_outside_comes_back_and_a_panic_there_is_the_brokers() {
    let (shards, runtime, _stop) = words(&TestLog::new()).await;
    let asked = shards.request(0, Request::Ask { panics: false }).await;
    assert_eq!(asked, Ok(Reply::Said));
    let expected = Reply::Listed(vec!["answer".to_owned()], BTreeMap::new(), Vec::new());
    while shards.request(0, Request::List).await.as_ref() != Ok(&expected) {
        tokio::task::yield_now().await;
    }
    let asked = shards.request(0, Request::Ask { panics: true }).await;
    assert_eq!(asked, Ok(Reply::Said));
    runtime.metadata.vital().failed().await;
    let listed = shards.request(0, Request::List).await;
    assert_eq!(listed, Err(ErrorCode::CoordinatorNotAvailable));
}
