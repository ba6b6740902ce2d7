//! Transactions, commit after commit.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, anyhow, bail, ensure};
use bytes::Bytes;
use kafka_protocol::messages::{
    EndTxnRequest, EndTxnResponse, FindCoordinatorRequest, InitProducerIdRequest, ResponseHeader,
    TransactionalId,
};
use kafka_protocol::protocol::{Decodable as _, HeaderVersion as _, StrBytes};

use super::{Workload, window};
use crate::RawClient;
use crate::bench::admin::{self, Topic};
use crate::bench::batch::{BatchShape, Producer};
use crate::bench::connection::Connection;
use crate::bench::contender::{Contender, KAFKA, OTTLA, OTTLA_OS, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::request::{ProduceTemplate, frame};
use crate::bench::usage::{Latency, Usage, Window};
use crate::bench::wire::read_produce_response;
use storage::record::CompressionType;

const PRODUCERS: [(&str, usize); 2] = [("1 producer", 1), ("64 producers", 64)];
const PARTITIONS: i32 = 12;
/// One transaction: a batch for each of four partitions, 100 records of 1 KiB in all.
const SHAPE: BatchShape = BatchShape {
    records_count: 25,
    record_bytes: 1024,
    compression: CompressionType::None,
};
const BATCHES: usize = 4;

const FIND_COORDINATOR_VERSION: i16 = 3;
const INIT_PRODUCER_ID_VERSION: i16 = 5;
const END_TXN_VERSION: i16 = 5;
const KEY_TYPE_TRANSACTION: i8 = 1;
const TIMEOUT_MS: i32 = 60_000;
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// A broker that is still writing the markers of the transaction before says so. Java's producer asks again after this time.
const CONCURRENT_TRANSACTIONS: i16 = 51;
const PAUSE: Duration = Duration::from_millis(20);

pub(super) fn workload() -> Workload {
    let ratio = |(name, _)| {
        let transactions = format!("{name}, transactions");
        Target::ratio(&transactions, &OTTLA, &KAFKA, Limit::AtLeast(3.0))
    };
    Workload {
        name: "transactions",
        about: "Each producer writes 100 records of 1 KiB to 4 of 12 partitions in one request, commits, and begins \
                again, with one request in flight, by the protocol of KIP-890. `ottla` has records and commit on \
                stable media when it answers, `kafka` and `ottla os` in the page cache. At the end every \
                record that was committed is stable, and nothing is open.",
        contenders: vec![OTTLA, KAFKA, OTTLA_OS],
        targets: PRODUCERS.into_iter().map(ratio).collect(),
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let mut figures = Figures::default();
    for (name, producers) in PRODUCERS {
        let (latency, usage) = commit(contender, settings, producers)?;
        let mut of_count = Figures::default();
        of_count.push_cost_of("transaction", latency.count(), &usage);
        of_count.push_latency("", &latency);
        figures.extend(&format!("{name}, "), &of_count);
    }
    Ok(figures)
}

fn commit(
    contender: &Contender,
    settings: &Settings,
    producers: usize,
) -> Result<(Latency, Usage)> {
    let broker = contender.start()?;
    let topic = Topic::bench(PARTITIONS);
    admin::create_topics(broker.address(), std::slice::from_ref(&topic))?;
    let open = |index| Transactions::open(broker.address(), index, &topic);
    let opened = (0..producers).map(open).collect::<Result<Vec<_>>>()?;
    let window = window(settings);
    let (ended, usage) = std::thread::scope(|scope| -> Result<_> {
        let run = |mut producer: Transactions| {
            scope.spawn(move || producer.run(window).map(|()| producer))
        };
        let running: Vec<_> = opened.into_iter().map(run).collect();
        let usage = Usage::during(&broker, window)?;
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Transactions>>| {
            thread.join().map_err(|_| anyhow!("a producer panicked"))?
        };
        let ended = running.into_iter().map(join).collect::<Result<Vec<_>>>()?;
        Ok((ended, usage))
    })?;
    let mut latency = Latency::new()?;
    let mut written = vec![0; usize::try_from(PARTITIONS)?];
    for producer in &ended {
        latency.merge(&producer.latency)?;
        for (sum, of_producer) in written.iter_mut().zip(&producer.written) {
            *sum += of_producer;
        }
    }
    check(broker.address(), &topic, &written)?;
    Ok((latency, usage))
}

/// All that was committed can be read, and nothing is open: markers may be written a little later.
fn check(address: SocketAddr, topic: &Topic, written: &[i64]) -> Result<()> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let stable = admin::stable_offsets(address, topic)?;
        if stable == written {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "stable up to {stable:?}, written {written:?}"
        );
        std::thread::sleep(PAUSE);
    }
}

/// One producer.
struct Transactions {
    id: TransactionalId,
    connection: Connection,
    producer: Producer,
    template: ProduceTemplate,
    /// The partition that the next transaction begins with.
    next_partition: i32,
    /// Records and markers, by partition.
    written: Vec<i64>,
    latency: Latency,
}

impl Transactions {
    fn open(address: SocketAddr, index: usize, topic: &Topic) -> Result<Self> {
        let name = format!("transactional-{index}");
        let id = TransactionalId(StrBytes::from_string(name.clone()));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let batch: Bytes = SHAPE.build(i64::try_from(now.as_millis())?)?;
        Ok(Self {
            connection: Connection::open(address)?,
            producer: init(address, &id)?,
            template: ProduceTemplate::transactional(&topic.name, &batch, BATCHES, &name)?,
            next_partition: i32::try_from(index)? % topic.partitions,
            written: vec![0; usize::try_from(topic.partitions)?],
            latency: Latency::new()?,
            id,
        })
    }

    fn run(&mut self, window: Window) -> Result<()> {
        loop {
            let began = Instant::now();
            if began >= window.until {
                return Ok(());
            }
            self.write()?;
            self.end()?;
            let now = Instant::now();
            if window.contains(now) {
                self.latency.record(now - began);
            }
        }
    }

    /// Sends a request until every partition has taken its batch. The epoch is new, so its first sequence is 0.
    fn write(&mut self) -> Result<()> {
        let count = i32::try_from(self.written.len())?;
        for slot in 0..BATCHES {
            let partition = (self.next_partition + i32::try_from(slot)?) % count;
            self.template.set(slot, partition, self.producer, 0);
            let written = &mut self.written[usize::try_from(partition)?];
            *written += i64::from(SHAPE.records_count) + 1;
        }
        self.next_partition = (self.next_partition + i32::try_from(BATCHES)?) % count;
        loop {
            self.connection.send(self.template.frame())?;
            let (mut taken, mut too_early) = (0, 0);
            read_produce_response(self.connection.receive()?, |answer| {
                match answer.error_code {
                    0 => taken += 1,
                    CONCURRENT_TRANSACTIONS => too_early += 1,
                    error => bail!("partition {}: produce error {error}", answer.index),
                }
                Ok(())
            })?;
            match (taken, too_early) {
                (BATCHES, 0) => return Ok(()),
                // All partitions are added, or none is. What was taken would be a duplicate.
                (0, BATCHES) => std::thread::sleep(PAUSE),
                _ => bail!("{taken} batches were taken, {too_early} were too early"),
            }
        }
    }

    fn end(&mut self) -> Result<()> {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.id.clone())
            .with_producer_id(self.producer.id.into())
            .with_producer_epoch(self.producer.epoch)
            .with_committed(true);
        let frame = frame(END_TXN_VERSION, &request)?;
        loop {
            self.connection.send(&frame)?;
            let mut response = Bytes::copy_from_slice(self.connection.receive()?);
            ResponseHeader::decode(
                &mut response,
                EndTxnResponse::header_version(END_TXN_VERSION),
            )?;
            let response = EndTxnResponse::decode(&mut response, END_TXN_VERSION)?;
            match response.error_code {
                0 => {
                    self.producer = Producer {
                        id: response.producer_id.0,
                        epoch: response.producer_epoch,
                    };
                    return Ok(());
                }
                CONCURRENT_TRANSACTIONS => std::thread::sleep(PAUSE),
                error => bail!("the transaction did not end: error {error}"),
            }
        }
    }
}

/// A new broker makes the topic of its coordinator when it is first asked for one.
fn init(address: SocketAddr, id: &TransactionalId) -> Result<Producer> {
    let find = FindCoordinatorRequest::default()
        .with_key_type(KEY_TYPE_TRANSACTION)
        .with_key(id.0.clone());
    let init = InitProducerIdRequest::default()
        .with_transactional_id(Some(id.clone()))
        .with_transaction_timeout_ms(TIMEOUT_MS)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let mut client = RawClient::connect(address)?;
        let found = client.call(FIND_COORDINATOR_VERSION, &find)?;
        if found.error_code == 0 {
            let response = client.call(INIT_PRODUCER_ID_VERSION, &init)?;
            if response.error_code == 0 {
                return Ok(Producer {
                    id: response.producer_id.0,
                    epoch: response.producer_epoch,
                });
            }
        }
        ensure!(Instant::now() < deadline, "{id:?} has no coordinator");
        std::thread::sleep(PAUSE);
    }
}
