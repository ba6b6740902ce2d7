//! What clients work on: a broker behind a proxy, or several, with proxies also before the stores that they share.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::runtime::Runtime;

use super::Settings;
use super::clock::WallClock;
use super::nemesis::Fault;
use super::proxy::Proxy;
use super::tamper::Liar;
use crate::broker_process::free_port;
use crate::cluster::Place;
use crate::database_proxy::DatabaseProxy;
use crate::objects_proxy::ObjectsProxy;
use crate::stores::{Postgres, S3};
use crate::{BrokerKind, BrokerProcess};

/// How often a broker is started that gives up.
const STARTS: usize = 5;
/// Of every broker.
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

pub(super) struct Stage {
    /// Locked while they start.
    pub brokers: Vec<Arc<Mutex<BrokerProcess>>>,
    /// Before each broker.
    pub proxies: Vec<Proxy>,
    /// Of each broker, if they are to be put forward and back.
    pub clocks: Vec<WallClock>,
    pub stores: Option<Stores>,
}

/// What the brokers of a cluster share.
pub(super) struct Stores {
    pub postgres: Postgres,
    pub s3: S3,
    /// Between each broker and the database.
    pub databases: Vec<DatabaseProxy>,
    /// Between each broker and the object store.
    pub objects: Vec<ObjectsProxy>,
    /// These proxies work in it.
    _runtime: Runtime,
}

impl Stage {
    /// Starts everything. Brokers send their clients to their proxies.
    pub fn start(settings: &Settings) -> Result<Self> {
        let ports = (0..settings.brokers).map(|_| free_port());
        let ports: Vec<u16> = ports.collect::<Result<_>>()?;
        let clocks = match settings.faults.contains(&Fault::StepClock) {
            true => ports.iter().map(|_| WallClock::new()).collect(),
            false => Ok(Vec::new()),
        }?;
        let (brokers, stores) = match settings.brokers {
            1 => (
                vec![start_broker(settings, ports[0], clocks.first())?],
                None,
            ),
            _ => {
                let stores = Stores::start(settings.brokers)?;
                let brokers = stores.start_brokers(settings, &ports, &clocks)?;
                (brokers, Some(stores))
            }
        };
        let liar = settings.lie.map(|lie| Liar::new(lie, settings.seed));
        let liar = liar.map(|liar| Arc::new(Mutex::new(liar)));
        let proxies = ports.iter().zip(&brokers);
        let proxies =
            proxies.map(|(port, broker)| Proxy::start(*port, broker.address(), liar.clone()));
        Ok(Self {
            proxies: proxies.collect::<Result<_>>()?,
            brokers: brokers
                .into_iter()
                .map(|broker| Arc::new(Mutex::new(broker)))
                .collect(),
            clocks,
            stores,
        })
    }

    /// Waits while it starts.
    pub fn broker(&self, index: usize) -> MutexGuard<'_, BrokerProcess> {
        lock(&self.brokers[index])
    }

    /// What the brokers of a cluster share.
    pub fn stores(&mut self) -> Result<&mut Stores> {
        self.stores.as_mut().context("one broker has no stores")
    }

    /// Where clients find the brokers.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.proxies.iter().map(Proxy::address).collect()
    }

    /// No proxy lies any more.
    pub fn reform(&self) {
        for proxy in &self.proxies {
            proxy.reform();
        }
    }

    /// The ends of the brokers' logs, for an error message.
    pub fn log_tails(&self) -> String {
        let tails = self.brokers.iter().map(|broker| lock(broker).log_tail());
        tails.collect::<Vec<_>>().join("\n")
    }

    /// Copies the brokers' logs to a directory.
    pub fn keep_logs(&self, dir: &Path, seed: u64) -> Result<()> {
        std::fs::create_dir_all(dir)?;
        for (index, broker) in self.brokers.iter().enumerate() {
            let path = dir.join(format!("{seed}-broker-{}.log", index + 1));
            std::fs::write(path, lock(broker).log())?;
        }
        Ok(())
    }
}

impl Stores {
    fn start(brokers: usize) -> Result<Self> {
        let (postgres, s3) = (Postgres::start()?, S3::start()?);
        let runtime = Runtime::new()?;
        let (mut databases, mut objects) = (Vec::new(), Vec::new());
        for _ in 0..brokers {
            databases.push(runtime.block_on(DatabaseProxy::start(postgres.port()))?);
            objects.push(runtime.block_on(ObjectsProxy::start(s3.port()))?);
        }
        Ok(Self {
            postgres,
            s3,
            databases,
            objects,
            _runtime: runtime,
        })
    }

    pub fn each_database(&self, act: impl Fn(&DatabaseProxy)) {
        self.databases.iter().for_each(act);
    }

    /// A seed decides where they are and what goes into the database.
    fn start_brokers(
        &self,
        settings: &Settings,
        ports: &[u16],
        clocks: &[WallClock],
    ) -> Result<Vec<BrokerProcess>> {
        let mut random = StdRng::seed_from_u64(settings.seed);
        let one_rack = [true, false].choose(&mut random) == Some(&true);
        let inline_bytes = ["0", "400", "65536"].choose(&mut random).context("some")?;
        println!(
            "# one rack: {one_rack}; up to {inline_bytes} bytes of a flush go into the database"
        );
        let mut brokers = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            let database = self.postgres.url();
            let own = format!(":{}/", self.databases[index].port);
            let database = database.replace(&format!(":{}/", self.postgres.port()), &own);
            let id = (index + 1).to_string();
            let rack = if one_rack {
                "rack".to_owned()
            } else {
                format!("rack-{id}")
            };
            let of_cluster = [
                ("node.id", id),
                ("broker.rack", rack),
                ("ottla.cluster.database.url", database),
                ("ottla.cluster.objects.url", self.s3.url("cluster")),
                ("ottla.cluster.inline.bytes", (*inline_bytes).to_owned()),
                (
                    "advertised.listeners",
                    format!("PLAINTEXT://127.0.0.1:{port}"),
                ),
            ];
            let owned = |(name, value): (&str, String)| (name.to_owned(), value);
            let environment = self.s3.environment_by(self.objects[index].port);
            let place = Place {
                properties: of_cluster.into_iter().map(owned).collect(),
                environment: environment.into_iter().map(owned).collect(),
            };
            let more = settings.config.iter();
            let more: Vec<(&str, &str)> = more.map(|(key, value)| (&**key, &**value)).collect();
            let mut broker = BrokerProcess::member(place, &[CONFIG, &more].concat())?;
            go_by(&mut broker, clocks.get(index));
            start_patiently(&mut broker)?;
            brokers.push(broker);
        }
        Ok(brokers)
    }
}

/// Starts a broker that sends its clients to the proxy.
fn start_broker(
    settings: &Settings,
    proxy_port: u16,
    clock: Option<&WallClock>,
) -> Result<BrokerProcess> {
    let more = settings.config.iter();
    let more: Vec<(&str, &str)> = more.map(|(key, value)| (&**key, &**value)).collect();
    let config = [CONFIG, &more].concat();
    let advertised = format!("127.0.0.1:{proxy_port}");
    let args: &[&str] = match settings.kind {
        BrokerKind::Ottla => &["--advertise", &advertised],
        BrokerKind::Kafka => &[],
    };
    let mut broker = BrokerProcess::stopped(settings.kind, &config, args)?;
    go_by(&mut broker, clock);
    if let Some(disk) = &settings.disk {
        broker.put_on(disk)?;
    }
    if settings.kind == BrokerKind::Kafka {
        configure_kafka(&mut broker, &config, &advertised)?;
    }
    broker.restart()?;
    Ok(broker)
}

/// From its start on.
fn go_by(broker: &mut BrokerProcess, clock: Option<&WallClock>) {
    if let Some(clock) = clock {
        broker.put_in_environment(&clock.environment());
    }
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

/// Starts it.
pub(super) fn start_again(broker: &Mutex<BrokerProcess>) -> Result<()> {
    start_patiently(&mut lock(broker))
}

/// A broker whose database does not answer for half a minute, as that of a machine that is too busy, gives up. Whoever looks after
/// it starts it again.
fn start_patiently(broker: &mut BrokerProcess) -> Result<()> {
    for _ in 0..STARTS {
        let started = broker.restart();
        let gave_up = |line: &str| line.starts_with("ottla: ") && line.contains("has not answered");
        match started {
            Err(_) if broker.log().lines().last().is_some_and(gave_up) => {
                println!("# a broker that was started has given up");
                // It has ended, and says so.
                let _ = broker.kill9();
            }
            started => return started,
        }
    }
    broker.restart()
}

pub(super) fn lock(broker: &Mutex<BrokerProcess>) -> MutexGuard<'_, BrokerProcess> {
    broker.lock().unwrap_or_else(PoisonError::into_inner)
}
