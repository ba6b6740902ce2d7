//! Random work by several stock clients on a broker to which bad things happen, for [`crate::checker`] to judge.
//!
//! Everything goes through proxies of our own, in a cluster also what brokers and their stores say to each other. A seed decides what clients do and which faults happen when; how the threads of
//! ten processes interleave it cannot decide, so the same seed gives a similar run, not the same.

mod asker;
mod client;
mod clock;
mod disk;
mod ending;
mod frames;
mod given_up;
mod lie;
mod nemesis;
mod observer;
mod processor;
mod proxy;
mod recorder;
mod stage;
mod tamper;
mod topics;
mod worker;
mod writer;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

pub use disk::SmallDisk;
pub use given_up::given_up;
pub use lie::Lie;
pub use nemesis::{Fault, Needs};
pub use worker::Library;

use crate::BrokerKind;
use crate::bench::admin::create_topic;
use crate::checker::{Action, History, Isolation, sent_again};
use asker::Asker;
use client::{Client, Group};
use ending::Ending;
use nemesis::Nemesis;
use observer::Observer;
use processor::Processor;
use recorder::Recorder;
use stage::Stage;
use worker::{Worker, WorkerPid};
use writer::Writer;

/// The client number of who asks for offsets.
const OBSERVER: u32 = 1000;
const PREPARING: Duration = Duration::from_secs(60);

/// Groups that process the inputs, and who is in them.
const GROUPS: &[(Group, &[Library])] = &[
    (
        Group {
            number: 0,
            name: "classic",
            protocol: "classic",
            is_static: false,
        },
        &[Library::Librdkafka, Library::Java],
    ),
    (
        Group {
            number: 1,
            name: "next-generation",
            protocol: "consumer",
            is_static: false,
        },
        &[Library::Java],
    ),
    (
        Group {
            number: 2,
            name: "static",
            protocol: "classic",
            is_static: true,
        },
        &[Library::KafkaPython],
    ),
];

/// How a run is to be.
#[derive(Clone)]
pub struct Settings {
    /// Which broker.
    pub kind: BrokerKind,
    /// How many; several have stores of their own, and are Ottla.
    pub brokers: usize,
    /// Properties over those that the workload needs.
    pub config: Vec<(String, String)>,
    /// What decides.
    pub seed: u64,
    /// How long clients work; the final read comes on top.
    pub duration: Duration,
    /// After so many operations they have done enough, however early it is.
    pub enough: usize,
    /// What happens to them.
    pub faults: Vec<Fault>,
    /// Who works.
    pub libraries: Vec<Library>,
    /// A small file system to put the data on, which [`Fault::FillDisk`] fills.
    pub disk: Option<PathBuf>,
    /// A way in which the broker is broken on purpose.
    pub lie: Option<Lie>,
    /// A directory for the brokers' logs.
    pub logs: Option<PathBuf>,
}

/// Tells all threads when it is time.
#[derive(Default)]
struct Stop {
    is_set: AtomicBool,
    mutex: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    fn is_set(&self) -> bool {
        self.is_set.load(Ordering::SeqCst)
    }

    fn set(&self) {
        self.is_set.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    fn wait(&self, limit: Duration) {
        let guard = self.mutex.lock().unwrap_or_else(PoisonError::into_inner);
        // What it was woken up by, the caller finds out.
        let _ = self
            .changed
            .wait_timeout_while(guard, limit, |()| !self.is_set());
    }
}

/// Starts a broker or several, and clients, lets them work, does them harm, heals it, and reads everything.
///
/// # Errors
/// [`crate::Missing`] where a toolchain is missing; a broker that ends by itself; one that does not work when all is healed.
pub fn run(settings: &Settings) -> Result<History> {
    for library in &settings.libraries {
        // Built before the clock runs.
        library.command("")?;
    }
    let mut stage = Stage::start(settings)?;
    let recorder = Arc::new(Recorder::default());
    let transactions = prepare(&stage)?;
    if !transactions {
        println!("# the broker has no transactions: only what is idempotent is looked at");
    }

    let stop = Arc::new(Stop::default());
    let mut crew = Crew {
        addresses: stage.addresses(),
        recorder: Arc::clone(&recorder),
        stop: Arc::clone(&stop),
        pids: Vec::new(),
        threads: Vec::new(),
    };
    crew.hire(settings, transactions);
    crew.observe();

    let began = Instant::now();
    let mut nemesis = Nemesis {
        stage: &mut stage,
        clients: &crew.pids,
        faults: &settings.faults,
        ballast: settings.disk.as_ref().map(|disk| disk.join("ballast")),
        is_enough: &|| recorder.count() >= settings.enough,
        began,
    };
    let harmed = nemesis.run(settings.seed, began + settings.duration);
    stop.set();
    stage.reform();
    let history = end(settings, &stage, crew, recorder, harmed);
    if let Some(dir) = &settings.logs {
        stage.keep_logs(dir, settings.seed)?;
    }
    history.with_context(|| stage.log_tails())
}

/// Waits until everybody has gone home, and reads everything.
fn end(
    settings: &Settings,
    stage: &Stage,
    crew: Crew,
    recorder: Arc<Recorder>,
    harmed: Result<()>,
) -> Result<History> {
    let next_client = u32::try_from(crew.pids.len())?;
    for thread in crew.threads {
        thread.join().map_err(|_| anyhow!("a thread panicked"))??;
    }
    harmed?;
    let ending = Ending {
        addresses: stage.addresses(),
        recorder: Arc::clone(&recorder),
        groups: GROUPS.iter().map(|(group, _)| *group).collect(),
        next_client,
    };
    let end = ending.read(&settings.libraries)?;
    for index in 0..stage.brokers.len() {
        stage.broker(index).ensure_running()?;
    }
    let ops = recorder.ops();
    Ok(History { ops, end })
}

/// Makes the topics, and waits until they can be asked for. Says whether there are transactions.
fn prepare(stage: &Stage) -> Result<bool> {
    let addresses = stage.addresses();
    for topic in topics::topics() {
        create_topic(addresses[0], &topic)?;
    }
    let mut asker = Asker::new(addresses);
    let deadline = Instant::now() + PREPARING;
    while let Err(error) = asker.ends() {
        if Instant::now() > deadline {
            return Err(error.context("the topics are not ready"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    asker.has_transactions()
}

/// As clients want it.
fn bootstrap(addresses: &[SocketAddr]) -> String {
    let addresses = addresses.iter().map(SocketAddr::to_string);
    addresses.collect::<Vec<_>>().join(",")
}

/// How much there was to judge.
pub fn summary(history: &History) -> String {
    let (mut sends, mut processed, mut read) = (0, 0, 0);
    let mut ended = BTreeMap::new();
    for op in &history.ops {
        match &op.action {
            Action::Send { input, .. } => {
                sends += 1;
                processed += usize::from(input.is_some());
            }
            Action::Poll { records, .. } => read += records.len(),
            Action::End { commit, .. } => {
                let way = if *commit { "commit" } else { "abort" };
                *ended.entry((way, format!("{:?}", op.outcome))).or_insert(0) += 1;
            }
            _ => {}
        }
    }
    let ended = ended
        .iter()
        .map(|((way, outcome), count)| format!(", {way} {outcome} {count}"));
    let again = match sent_again(history).len() {
        0 => String::new(),
        again => format!(", {again} sent again by their clients as new ones"),
    };
    format!(
        "{sends} records sent, {processed} of them processed ones, {read} read{}{again}",
        ended.collect::<String>()
    )
}

/// The threads that work; each has a client in a process.
struct Crew {
    addresses: Vec<SocketAddr>,
    recorder: Arc<Recorder>,
    stop: Arc<Stop>,
    pids: Vec<WorkerPid>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Crew {
    fn hire(&mut self, settings: &Settings, transactions: bool) {
        let seed = |id: u32| settings.seed.wrapping_add(u64::from(id));
        for &library in &settings.libraries {
            let client = self.client(library);
            let writer = Writer::new(client, seed(self.pids.len() as u32), transactions);
            self.spawn(move |stop| writer.run(stop));
        }
        for &(group, libraries) in GROUPS {
            for library in libraries {
                if settings.libraries.contains(library) {
                    let client = self.client(*library);
                    let id = client.id;
                    let processor = Processor::new(client, group, seed(id), transactions);
                    self.spawn(move |stop| processor.run(stop));
                }
            }
        }
    }

    fn observe(&mut self) {
        let observer = Observer {
            id: OBSERVER,
            asker: Asker::new(self.addresses.clone()),
            recorder: Arc::clone(&self.recorder),
            groups: GROUPS.iter().map(|(g, _)| (g.number, g.name)).collect(),
        };
        self.spawn(move |stop| observer.run(stop));
    }

    fn client(&mut self, library: Library) -> Client {
        let pid = WorkerPid::default();
        self.pids.push(pid.clone());
        Client {
            id: self.pids.len() as u32,
            worker: Worker::new(library, &bootstrap(&self.addresses), pid),
            recorder: Arc::clone(&self.recorder),
            isolation: Isolation::ReadCommitted,
        }
    }

    fn spawn(&mut self, work: impl FnOnce(&Stop) -> Result<()> + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || work(&stop)));
    }
}
