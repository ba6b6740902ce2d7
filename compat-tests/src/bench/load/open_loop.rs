//! Producers on a schedule, and consumers beside them.
//!
//! Request `i` is due at `start + i * interval` whatever became of the ones before, and its latency
//! counts from then: a broker that stalls is charged for everything that had to wait (no coordinated
//! omission). Nothing has to be remembered about a request: partition and sequence number of a batch
//! give its `i`, and `i` gives its due time.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::consumer::Consumer;
use crate::bench::admin::{Topic, init_producer_id};
use crate::bench::batch::{BatchShape, Producer};
use crate::bench::connection::Connection;
use crate::bench::request::{FetchLimits, ProduceTemplate};
use crate::bench::served::Served;
use crate::bench::usage::{Latency, Usage, Window, sleep_until, wake_on_time};
use crate::bench::wire::read_produce_response;

/// How long after the last request everything must have arrived.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for all threads to be up before the first request is due.
const LEAD: Duration = Duration::from_millis(100);

/// One producer, acks=all, one batch a request, partitions in turn; each consumer reads all of them.
#[derive(Clone, Debug)]
pub struct OpenLoad {
    pub topic: Topic,
    pub shape: BatchShape,
    pub requests_per_second: f64,
    pub consumers: usize,
}

/// What came of it.
pub struct OpenOutcome {
    /// From due to acknowledged.
    pub produce: Latency,
    /// From due to fetched and checked, by any consumer.
    pub end_to_end: Latency,
    /// From due to sent: how late the generator itself was.
    pub slip: Latency,
    /// What all consumers fetched within the window.
    pub fetched_bytes: u64,
    pub usage: Usage,
}

#[derive(Clone, Copy)]
struct Schedule {
    start: Instant,
    requests_per_second: f64,
    requests_count: u64,
    window: Window,
}

impl Schedule {
    fn due(&self, request: u64) -> Instant {
        self.start + Duration::from_secs_f64(request as f64 / self.requests_per_second)
    }

    fn deadline(&self) -> Instant {
        self.due(self.requests_count) + DRAIN_TIMEOUT
    }
}

impl OpenLoad {
    /// Runs it for `warmup` and then `seconds`; the topic exists and is empty.
    ///
    /// # Errors
    /// A request fails, something acknowledged does not arrive at every consumer, or what arrives is
    /// wrong.
    pub fn run(
        &self,
        broker: &dyn Served,
        warmup: Duration,
        seconds: Duration,
    ) -> Result<OpenOutcome> {
        let (address, addresses) = (broker.address(), broker.addresses());
        let producer = init_producer_id(address)?;
        let connection = Connection::open(address)?;
        let sender = connection.sender()?;
        let start = Instant::now() + LEAD;
        let schedule = Schedule {
            start,
            requests_per_second: self.requests_per_second,
            requests_count: ((warmup + seconds).as_secs_f64() * self.requests_per_second) as u64,
            window: Window::after(start, warmup, seconds),
        };
        std::thread::scope(|scope| {
            let consume = |address: &SocketAddr| {
                scope.spawn({
                    let address = *address;
                    move || self.consume(address, schedule)
                })
            };
            let consumers = addresses.iter().cycle().take(self.consumers);
            let consumers: Vec<_> = consumers.map(consume).collect();
            let acknowledgements = scope.spawn(move || self.receive(connection, schedule));
            let sends = scope.spawn(move || self.send(sender, producer, schedule));
            let usage = Usage::during(broker, schedule.window)?;

            let panicked = |_| anyhow!("the generator panicked");
            let slip = sends.join().map_err(panicked)?.context("sending")?;
            let produce = acknowledgements
                .join()
                .map_err(panicked)?
                .context("acknowledgements")?;
            let mut end_to_end = Latency::new()?;
            let mut fetched_bytes = 0;
            for consumer in consumers {
                let (latency, bytes) = consumer.join().map_err(panicked)?.context("consuming")?;
                end_to_end.merge(&latency)?;
                fetched_bytes += bytes;
            }
            Ok(OpenOutcome {
                produce,
                end_to_end,
                slip,
                fetched_bytes,
                usage,
            })
        })
    }

    fn send(
        &self,
        mut stream: TcpStream,
        producer: Producer,
        schedule: Schedule,
    ) -> Result<Latency> {
        wake_on_time()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let batch = self.shape.build(i64::try_from(now.as_millis())?)?;
        let mut template = ProduceTemplate::new(&self.topic.name, &batch, 1)?;
        let partitions = u64::try_from(self.topic.partitions)?;
        let mut slip = Latency::new()?;
        for request in 0..schedule.requests_count {
            let sequence = i32::try_from(request / partitions)? * self.shape.records_count;
            template.set(0, i32::try_from(request % partitions)?, producer, sequence);
            let due = schedule.due(request);
            sleep_until(due);
            if schedule.window.contains(due) {
                slip.record(due.elapsed());
            }
            stream.write_all(template.frame())?;
        }
        Ok(slip)
    }

    fn receive(&self, mut connection: Connection, schedule: Schedule) -> Result<Latency> {
        let partitions = u64::try_from(self.topic.partitions)?;
        let mut latency = Latency::new()?;
        for request in 0..schedule.requests_count {
            let frame = connection.receive()?;
            let now = Instant::now();
            let expected_offset =
                i64::try_from(request / partitions)? * i64::from(self.shape.records_count);
            let mut answers = 0;
            read_produce_response(frame, |answer| {
                ensure!(
                    answer.error_code == 0,
                    "produce error {}",
                    answer.error_code
                );
                ensure!(
                    answer.base_offset == expected_offset,
                    "offset {} instead of {expected_offset}",
                    answer.base_offset
                );
                answers += 1;
                Ok(())
            })?;
            ensure!(answers == 1, "{answers} answers for one batch");
            let due = schedule.due(request);
            if schedule.window.contains(due) {
                latency.record(now.saturating_duration_since(due));
            }
        }
        Ok(latency)
    }

    fn consume(&self, address: SocketAddr, schedule: Schedule) -> Result<(Latency, u64)> {
        let from_start: Vec<(i32, i64)> =
            (0..self.topic.partitions).map(|index| (index, 0)).collect();
        let mut consumer = Consumer::open(
            address,
            &self.topic.name,
            &from_start,
            FetchLimits::default(),
        )?;
        let partitions = u64::try_from(self.topic.partitions)?;
        let records_count = u64::try_from(self.shape.records_count)?;
        let mut latency = Latency::new()?;
        let mut bytes = 0;
        let mut batches = 0;
        while batches < schedule.requests_count {
            let fetched = consumer.poll(|partition, batch| {
                let now = Instant::now();
                let request =
                    batch.base_sequence as u64 / records_count * partitions + partition as u64;
                let due = schedule.due(request);
                if schedule.window.contains(due) {
                    latency.record(now.saturating_duration_since(due));
                }
                batches += 1;
            })?;
            let now = Instant::now();
            if schedule.window.contains(now) {
                bytes += fetched;
            }
            ensure!(
                now < schedule.deadline(),
                "{batches} of {} batches have arrived",
                schedule.requests_count
            );
        }
        Ok((latency, bytes))
    }
}
