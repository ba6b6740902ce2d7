//! The end: all faults are healed, all clients are gone, all transactions have time to end, and everything is read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::asker::Asker;
use super::bootstrap;
use super::client::{Client, Group, TRANSACTION_TIMEOUT_MS, Went};
use super::recorder::Recorder;
use super::topics::ALL_PARTITIONS;
use super::worker::{Library, Worker, WorkerPid};
use crate::checker::Isolation::{self, ReadCommitted, ReadUncommitted};
use crate::checker::{Action, FinalRead, Place, Value};

/// For what was open to time out, twice over.
const SETTLING: Duration = Duration::from_millis(2 * TRANSACTION_TIMEOUT_MS + 10_000);
const READING: Duration = Duration::from_secs(120);
const QUIET_POLLS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Ending {
    pub addresses: Vec<SocketAddr>,
    pub recorder: Arc<Recorder>,
    pub groups: Vec<Group>,
    /// The number of the next client.
    pub next_client: u32,
}

type Read = BTreeMap<u32, Vec<(i64, Value)>>;

impl Ending {
    /// Reads everything with every library. What the first one gives is the end; what the others give is polls.
    pub fn read(mut self, libraries: &[Library]) -> Result<FinalRead> {
        self.settle()?;
        let first = *libraries.first().context("a client to read with")?;
        let last = self.write_last(first)?;
        let stuck = self.stuck()?;
        let mut end = FinalRead::default();
        for &library in libraries {
            for isolation in [ReadUncommitted, ReadCommitted] {
                let read = self
                    .read_with(library, isolation, &last, &stuck)
                    .with_context(|| format!("{library:?} reads {isolation:?}"))?;
                if library != first {
                    continue;
                }
                for (partition, records) in read {
                    let end = end.partitions.entry(partition).or_default();
                    match isolation {
                        ReadUncommitted => end.uncommitted = records,
                        ReadCommitted => end.committed = records,
                    }
                }
            }
        }
        for (partition, batches) in self.asker().batches()? {
            end.partitions.entry(partition).or_default().batches = batches;
        }
        self.offsets(&mut end)?;
        Ok(end)
    }

    /// Waits until no transaction is open, or until every one should have timed out long ago.
    fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + SETTLING;
        loop {
            match self.asker().ends() {
                Ok(ends) if ends.iter().all(|ends| ends.stable == ends.high) => return Ok(()),
                Ok(_) if Instant::now() > deadline => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("nobody does it harm any more");
                }
                _ => std::thread::sleep(PAUSE),
            }
        }
    }

    fn asker(&self) -> Asker {
        Asker::new(self.addresses.clone())
    }

    fn client(&mut self, library: Library, isolation: Isolation) -> Client {
        self.next_client += 1;
        let pid = WorkerPid::default();
        Client {
            id: self.next_client,
            worker: Worker::new(library, &bootstrap(&self.addresses), pid),
            recorder: Arc::clone(&self.recorder),
            isolation,
        }
    }

    /// One record into each partition: who has read it has read all.
    fn write_last(&mut self, library: Library) -> Result<BTreeMap<u32, Value>> {
        let mut client = self.client(library, ReadCommitted);
        let records: Vec<_> = (0..ALL_PARTITIONS).map(|p| (p, None)).collect();
        ensure!(
            client.producer(None)? == Went::Well,
            "no producer, and nobody does it harm any more"
        );
        ensure!(
            client.send(None, &records)? == Went::Well,
            "cannot write, and nobody does it harm any more"
        );
        let ops = self.recorder.ops();
        let sent = ops.iter().filter(|op| op.client == client.id);
        let value = |action: &Action| match action {
            Action::Send {
                partition, value, ..
            } => Some((*partition, *value)),
            _ => None,
        };
        Ok(sent.filter_map(|op| value(&op.action)).collect())
    }

    /// Partitions whose end a `read_committed` consumer will never see.
    fn stuck(&self) -> Result<BTreeSet<u32>> {
        let ends = self.asker().ends()?;
        let stuck = ends.iter().filter(|ends| ends.stable < ends.high);
        Ok(stuck.map(|ends| ends.partition).collect())
    }

    fn read_with(
        &mut self,
        library: Library,
        isolation: Isolation,
        last: &BTreeMap<u32, Value>,
        stuck: &BTreeSet<u32>,
    ) -> Result<Read> {
        let mut client = self.client(library, isolation);
        ensure!(client.consumer(None)? == Went::Well, "no consumer");
        let start = |partition| Place {
            partition,
            offset: 0,
        };
        let all: Vec<Place> = (0..ALL_PARTITIONS).map(start).collect();
        ensure!(client.assign(&all)? == Went::Well, "no partitions");
        let in_sight = |partition| isolation == ReadUncommitted || !stuck.contains(partition);
        let last = last.iter().filter(|(partition, _)| in_sight(partition));
        let mut left: BTreeSet<Value> = last.map(|(_, value)| *value).collect();
        // Where there is no last record, an end is where nothing more comes.
        let mut quiet = 0;
        let mut read = Read::new();
        let deadline = Instant::now() + READING;
        while !left.is_empty() || !stuck.is_empty() && quiet < QUIET_POLLS {
            ensure!(Instant::now() < deadline, "{left:?} cannot be read");
            let Some(records) = client.poll(1000, 500)? else {
                bail!("cannot read, and nobody does it harm any more");
            };
            quiet = if records.is_empty() { quiet + 1 } else { 0 };
            for (place, value) in records {
                left.remove(&value);
                let partition = read.entry(place.partition).or_default();
                partition.push((place.offset, value));
            }
        }
        Ok(read)
    }

    fn offsets(&self, end: &mut FinalRead) -> Result<()> {
        let mut asker = self.asker();
        for ends in asker.ends()? {
            let partition = end.partitions.entry(ends.partition);
            let partition = partition.or_default();
            (partition.high, partition.stable) = (ends.high, ends.stable);
        }
        for group in &self.groups {
            for next in asker.offsets(group.name)? {
                if next.offset >= 0 {
                    let key = (group.number, next.partition);
                    end.offsets.insert(key, next.offset);
                }
            }
        }
        Ok(())
    }
}
