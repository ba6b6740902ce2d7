//! Random work by several stock clients on a broker to which bad things happen, for [`crate::checker`] to judge.
//!
//! Everything goes through a proxy of our own. A seed decides what clients do and which faults happen when; how the threads of
//! ten processes interleave it cannot decide, so the same seed gives a similar run, not the same.

mod client;
mod ending;
mod frames;
mod lie;
mod nemesis;
mod observer;
mod processor;
mod proxy;
mod recorder;
mod tamper;
mod topics;
mod worker;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

pub use lie::Lie;
pub use nemesis::Fault;

pub use worker::Library;

use crate::bench::admin::create_topics;
use crate::broker_process::free_port;
use crate::checker::{Action, History, Isolation};
use crate::{BrokerKind, BrokerProcess};
use client::{Client, Group};
use ending::Ending;
use nemesis::Nemesis;
use observer::Observer;
use processor::Processor;
use proxy::Proxy;
use recorder::Recorder;
use tamper::Liar;
use worker::{Worker, WorkerPid};
use writer::Writer;

/// The client number of who asks for offsets.
const OBSERVER: u32 = 1000;

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

/// Starts a broker and clients, lets them work, does them harm, heals it, and reads everything.
///
/// # Errors
/// [`crate::Missing`] where a toolchain is missing; a broker that ends by itself; one that does not work when all is healed.
pub fn run(settings: &Settings) -> Result<History> {
    for library in &settings.libraries {
        // Built before the clock runs.
        library.command("")?;
    }
    let port = free_port()?;
    let mut broker = start_broker(settings, port)?;
    let liar = settings.lie.map(|lie| Liar::new(lie, settings.seed));
    let proxy = Proxy::start(port, broker.address(), liar)?;
    let recorder = Arc::new(Recorder::default());
    create_topics(broker.address(), &topics::topics())?;
    let transactions = observer::has_transactions(broker.address())?;
    if !transactions {
        println!("# the broker has no transactions: only what is idempotent is looked at");
    }

    let stop = Arc::new(Stop::default());
    let mut crew = Crew {
        address: proxy.address().to_string(),
        recorder: Arc::clone(&recorder),
        stop: Arc::clone(&stop),
        pids: Vec::new(),
        threads: Vec::new(),
    };
    crew.hire(settings, transactions);
    crew.observe(&proxy);

    let began = Instant::now();
    let mut nemesis = Nemesis {
        broker: &mut broker,
        proxy: &proxy,
        clients: &crew.pids,
        faults: &settings.faults,
        ballast: settings.disk.as_ref().map(|disk| disk.join("ballast")),
        is_enough: &|| recorder.count() >= settings.enough,
        began,
    };
    let harmed = nemesis.run(settings.seed, began + settings.duration);
    stop.set();
    proxy.reform();
    let next_client = u32::try_from(crew.pids.len())?;
    let log = || broker.log_tail();
    for thread in crew.threads {
        let ended = thread.join().map_err(|_| anyhow!("a thread panicked"))?;
        ended.with_context(log)?;
    }
    harmed.with_context(log)?;

    let ending = Ending {
        address: proxy.address(),
        recorder: Arc::clone(&recorder),
        groups: GROUPS.iter().map(|(group, _)| *group).collect(),
        next_client,
    };
    let end = ending.read(&settings.libraries).with_context(log)?;
    broker.ensure_running()?;
    let ops = recorder.ops();
    Ok(History { ops, end })
}

/// Starts a broker that sends its clients to the proxy.
fn start_broker(settings: &Settings, proxy_port: u16) -> Result<BrokerProcess> {
    const CONFIG: &[(&str, &str)] = &[
        ("offsets.topic.num.partitions", "3"),
        ("transaction.state.log.num.partitions", "3"),
        ("group.initial.rebalance.delay.ms", "0"),
        (
            "transaction.abort.timed.out.transaction.cleanup.interval.ms",
            "1000",
        ),
        ("group.consumer.min.heartbeat.interval.ms", "500"),
        ("group.consumer.heartbeat.interval.ms", "500"),
        ("group.consumer.min.session.timeout.ms", "6000"),
        ("group.consumer.session.timeout.ms", "6000"),
    ];
    let advertised = format!("127.0.0.1:{proxy_port}");
    let args: &[&str] = match settings.kind {
        BrokerKind::Ottla => &["--advertise", &advertised],
        BrokerKind::Kafka => &[],
    };
    let mut broker = BrokerProcess::stopped(settings.kind, CONFIG, args)?;
    if let Some(disk) = &settings.disk {
        broker.put_on(disk)?;
    }
    if settings.kind == BrokerKind::Kafka {
        configure_kafka(&mut broker, CONFIG, &advertised)?;
    }
    broker.restart()?;
    Ok(broker)
}

/// What Kafka says to itself, markers of transactions among it, does not go through the proxy.
fn configure_kafka(
    broker: &mut BrokerProcess,
    config: &[(&str, &str)],
    advertised: &str,
) -> Result<()> {
    let own = broker.address();
    let (internal, controller) = (free_port()?, own.port() + 10_000);
    let internal = format!("INTERNAL://127.0.0.1:{internal}");
    let listeners = format!("PLAINTEXT://{own},{internal},CONTROLLER://127.0.0.1:{controller}");
    let advertised = format!("PLAINTEXT://{advertised},{internal}");
    let of_kafka = [
        ("listeners", listeners.as_str()),
        ("advertised.listeners", &advertised),
        ("inter.broker.listener.name", "INTERNAL"),
        (
            "listener.security.protocol.map",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT",
        ),
    ];
    broker.configure(&[config, &of_kafka].concat());
    Ok(())
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
    format!(
        "{sends} records sent, {processed} of them processed ones, {read} read{}",
        ended.collect::<String>()
    )
}

/// The threads that work; each has a client in a process.
struct Crew {
    address: String,
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

    fn observe(&mut self, proxy: &Proxy) {
        let observer = Observer {
            id: OBSERVER,
            address: proxy.address(),
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
            worker: Worker::new(library, &self.address, pid),
            recorder: Arc::clone(&self.recorder),
            isolation: Isolation::ReadCommitted,
        }
    }

    fn spawn(&mut self, work: impl FnOnce(&Stop) -> Result<()> + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || work(&stop)));
    }
}
