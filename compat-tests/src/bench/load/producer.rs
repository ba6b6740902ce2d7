//! Producers in a closed loop: each connection keeps a number of requests in flight.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::poll::Poll;
use crate::bench::admin::{Topic, init_producer_id};
use crate::bench::batch::{BatchShape, Producer};
use crate::bench::connection::Connection;
use crate::bench::request::ProduceTemplate;
use crate::bench::served::Served;
use crate::bench::usage::{Latency, Usage, Window};
use crate::bench::wire::read_produce_response;

/// A load of idempotent producers with acks=all.
#[derive(Clone, Debug)]
pub struct ProduceLoad {
    pub topics: Vec<Topic>,
    pub shape: BatchShape,
    pub connections: usize,
    /// Requests that one connection has in flight.
    pub in_flight: usize,
    /// Partitions that one request writes to; fewer where a connection has no more.
    pub batches_per_request: usize,
}

/// What producers have seen.
pub struct Produced {
    /// Acknowledged within the window.
    pub requests: u64,
    pub bytes: u64,
    pub latency: Latency,
    /// Records acknowledged since the first request: by topic, by partition.
    pub acknowledged: Vec<Vec<i64>>,
}

impl ProduceLoad {
    /// Runs it, a thread for each connection, until the window closes and all is acknowledged.
    ///
    /// # Errors
    /// A request fails, or is acknowledged with an offset that cannot be.
    pub fn run(&self, broker: &dyn Served, window: Window) -> Result<(Produced, Usage)> {
        let sessions = self.sessions(&broker.addresses())?;
        self.measure(broker, window, || run_threads(sessions, window))
    }

    /// Produces about `bytes` and waits until all is acknowledged; gives the records of each topic's
    /// partitions.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn fill(&self, address: SocketAddr, bytes: u64) -> Result<Vec<Vec<i64>>> {
        const LIMIT: Duration = Duration::from_secs(3600);
        let mut sessions = self.sessions(&[address])?;
        for session in &mut sessions {
            let request_bytes = session.shares[0].template.frame().len() as u64;
            session.requests_left = (bytes / self.connections as u64).div_ceil(request_bytes);
        }
        let window = Window::after(Instant::now(), Duration::ZERO, LIMIT);
        let sessions = run_threads(sessions, window)?;
        Ok(self.acknowledged(&sessions))
    }

    /// Runs it with one thread for all connections: for many of them with small requests, where a thread
    /// for each would spend the machine's time on switching between them.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_polled(&self, broker: &dyn Served, window: Window) -> Result<(Produced, Usage)> {
        let sessions = self.sessions(&broker.addresses())?;
        self.measure(broker, window, || run_polled(sessions, window))
    }

    fn measure(
        &self,
        broker: &dyn Served,
        window: Window,
        run: impl FnOnce() -> Result<Vec<Session>> + Send,
    ) -> Result<(Produced, Usage)> {
        let (sessions, usage) = std::thread::scope(|scope| -> Result<_> {
            let sessions = scope.spawn(run);
            let usage = Usage::during(broker, window)?;
            let sessions = sessions
                .join()
                .map_err(|_| anyhow!("the generator panicked"))??;
            Ok((sessions, usage))
        })?;
        let acknowledged = self.acknowledged(&sessions);
        let mut all = Produced {
            requests: 0,
            bytes: 0,
            latency: Latency::new()?,
            acknowledged,
        };
        for session in &sessions {
            all.requests += session.requests;
            all.bytes += session.bytes;
            all.latency.merge(&session.latency)?;
        }
        ensure!(
            all.requests > 0,
            "nothing was acknowledged within the window"
        );
        Ok((all, usage))
    }

    fn acknowledged(&self, sessions: &[Session]) -> Vec<Vec<i64>> {
        let by_partition = |topic: &Topic| vec![0; topic.partitions as usize];
        let mut acknowledged: Vec<Vec<i64>> = self.topics.iter().map(by_partition).collect();
        for session in sessions {
            for (sums, share) in acknowledged.iter_mut().zip(&session.shares) {
                for (sum, partition) in sums.iter_mut().zip(&share.partitions) {
                    *sum += partition.acknowledged;
                }
            }
        }
        acknowledged
    }

    fn sessions(&self, addresses: &[SocketAddr]) -> Result<Vec<Session>> {
        let addresses = addresses.iter().cycle().take(self.connections);
        let sessions = addresses.enumerate();
        sessions
            .map(|(index, address)| Session::open(self, index, *address))
            .collect()
    }
}

/// One connection's part of one topic.
struct Share {
    template: ProduceTemplate,
    /// The partitions that this connection writes to.
    indexes: Vec<i32>,
    /// Where in `indexes` the next request goes on.
    next: usize,
    /// No other connection writes to them: every offset is known beforehand.
    is_alone: bool,
    /// By the partition's index, those of other connections too.
    partitions: Vec<Partition>,
}

#[derive(Clone, Default)]
struct Partition {
    next_sequence: i32,
    /// The lowest offset that the next batch can get.
    next_offset: i64,
    acknowledged: i64,
}

struct Sent {
    at: Instant,
    share: usize,
}

/// One connection.
struct Session {
    connection: Connection,
    producer: Producer,
    records_count: i32,
    shares: Vec<Share>,
    next_share: usize,
    limit: usize,
    requests_left: u64,
    in_flight: VecDeque<Sent>,
    requests: u64,
    bytes: u64,
    latency: Latency,
}

impl Session {
    fn open(load: &ProduceLoad, index: usize, address: SocketAddr) -> Result<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let batch = load.shape.build(i64::try_from(now.as_millis())?)?;
        let mut shares = Vec::new();
        for topic in &load.topics {
            let partitions = usize::try_from(topic.partitions)?;
            let is_alone = load.connections <= partitions;
            let indexes: Vec<i32> = if is_alone {
                (0..topic.partitions)
                    .skip(index)
                    .step_by(load.connections)
                    .collect()
            } else {
                vec![i32::try_from(index % partitions)?]
            };
            shares.push(Share {
                template: ProduceTemplate::new(
                    &topic.name,
                    &batch,
                    load.batches_per_request.min(indexes.len()),
                )?,
                indexes,
                next: 0,
                is_alone,
                partitions: vec![Partition::default(); partitions],
            });
        }
        Ok(Self {
            connection: Connection::open(address)?,
            producer: init_producer_id(address)?,
            records_count: load.shape.records_count,
            shares,
            next_share: index % load.topics.len(),
            limit: load.in_flight,
            requests_left: u64::MAX,
            in_flight: VecDeque::new(),
            requests: 0,
            bytes: 0,
            latency: Latency::new()?,
        })
    }

    fn run(&mut self, window: Window) -> Result<()> {
        loop {
            self.send_up_to_limit(window)?;
            if self.in_flight.is_empty() {
                return Ok(());
            }
            self.receive(window)?;
        }
    }

    fn send_up_to_limit(&mut self, window: Window) -> Result<()> {
        while self.in_flight.len() < self.limit && self.requests_left > 0 {
            let now = Instant::now();
            if now >= window.until {
                break;
            }
            self.send(now)?;
            self.requests_left -= 1;
        }
        Ok(())
    }

    fn send(&mut self, now: Instant) -> Result<()> {
        let share = &mut self.shares[self.next_share];
        for slot in 0..share.template.batches_count() {
            let index = share.indexes[share.next];
            share.next = (share.next + 1) % share.indexes.len();
            let partition = &mut share.partitions[index as usize];
            share
                .template
                .set(slot, index, self.producer, partition.next_sequence);
            partition.next_sequence += self.records_count;
        }
        self.connection.send(share.template.frame())?;
        self.in_flight.push_back(Sent {
            at: now,
            share: self.next_share,
        });
        self.next_share = (self.next_share + 1) % self.shares.len();
        Ok(())
    }

    /// Waits for the response to the oldest request in flight and checks it.
    fn receive(&mut self, window: Window) -> Result<()> {
        let frame = self.connection.receive()?;
        let now = Instant::now();
        let sent = self
            .in_flight
            .pop_front()
            .context("a response without a request")?;
        let share = &mut self.shares[sent.share];
        let records_count = i64::from(self.records_count);
        let mut answers = 0;
        read_produce_response(frame, |answer| {
            ensure!(
                answer.error_code == 0,
                "partition {}: produce error {}",
                answer.index,
                answer.error_code
            );
            let partition = share
                .partitions
                .get_mut(answer.index as usize)
                .context("an unknown partition")?;
            let expected = partition.next_offset;
            let fits = if share.is_alone {
                answer.base_offset == expected
            } else {
                answer.base_offset >= expected
            };
            ensure!(
                fits,
                "partition {}: offset {} instead of {expected}",
                answer.index,
                answer.base_offset
            );
            partition.next_offset = answer.base_offset + records_count;
            partition.acknowledged += records_count;
            answers += 1;
            Ok(())
        })?;
        let batches = share.template.batches_count();
        ensure!(
            answers == batches,
            "{answers} answers for {batches} batches"
        );
        if window.contains(now) {
            self.requests += 1;
            self.bytes += (batches * share.template.batch_bytes()) as u64;
            self.latency.record(now - sent.at);
        }
        Ok(())
    }
}

fn run_threads(sessions: Vec<Session>, window: Window) -> Result<Vec<Session>> {
    std::thread::scope(|scope| {
        let run = |mut session: Session| scope.spawn(move || session.run(window).map(|()| session));
        let threads: Vec<_> = sessions.into_iter().map(run).collect();
        let join = |thread: ScopedJoinHandle<'_, Result<Session>>| {
            thread.join().map_err(|_| anyhow!("a producer panicked"))?
        };
        threads.into_iter().map(join).collect()
    })
}

fn run_polled(mut sessions: Vec<Session>, window: Window) -> Result<Vec<Session>> {
    let mut poll = Poll::new(sessions.iter().map(|session| &session.connection))?;
    for session in &mut sessions {
        session.send_up_to_limit(window)?;
    }
    while sessions.iter().any(|session| !session.in_flight.is_empty()) {
        poll.wait(|index| {
            let session = &mut sessions[index];
            loop {
                session.receive(window)?;
                session.send_up_to_limit(window)?;
                if !session.connection.has_response() {
                    return Ok(());
                }
            }
        })?;
    }
    Ok(sessions)
}
