//! What goes wrong, and when: a seed decides.
//!
//! A fault is struck at once and healed later, so in a cluster several overlap.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};

use super::client::TRANSACTION_TIMEOUT_MS;
use super::proxy::Swallowed;
use super::stage::{Stage, Stores, lock, start_again};
use super::worker::WorkerPid;
use crate::cluster::LEASE;
use crate::objects_proxy::Mishap;

/// So many at a time in a cluster: more, and nothing gets done.
const AT_A_TIME: usize = 2;
const MOMENT: Duration = Duration::from_millis(20);
/// Steps of a clock. A broker refuses records whose clients are more than an hour ahead of it, as Kafka does; an object store
/// refuses brokers whose clocks are wrong by a quarter of an hour.
const STEPS_S: [i64; 6] = [-3_000, -60, -2, 2, 60, 7_200];
const STEPS_OF_CLUSTER_S: [i64; 4] = [-600, -2, 2, 600];

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// A broker is killed with SIGKILL and started again.
    KillBroker,
    /// A broker is stopped with SIGSTOP for a while, in a cluster mostly for longer than its lease.
    PauseBroker,
    /// A broker ends in order with SIGTERM and is started again.
    StopBroker,
    /// All connections of clients with a broker end.
    Cut,
    /// Nothing gets through to a broker for a while.
    HoldUp,
    /// Requests arrive at a broker for a while, and answers do not; then all connections end.
    SwallowAnswers,
    /// A client is killed with SIGKILL and started again.
    KillClient,
    /// A client is stopped with SIGSTOP, for so long that its transactions time out.
    PauseClient,
    /// The disk is full for a while. Needs a small one.
    FillDisk,
    /// The wall clock of a broker is put forward or back, and is right again later.
    StepClock,
    /// Cluster: the database is killed with SIGKILL and started again.
    KillDatabase,
    /// Cluster: sessions of brokers in the database are ended.
    KillSessions,
    /// Cluster: some of what the database answers is lost for a while, with its connection.
    LoseDatabaseAnswers,
    /// Cluster: a broker does not reach the database for a while, mostly for longer than its lease. Its clients reach it.
    HoldUpDatabase,
    /// Cluster: the object store refuses some requests for a while (503).
    RefuseObjects,
    /// Cluster: the object store says of some writes for a while that another one is under way (409).
    ConflictObjects,
    /// Cluster: the object store does as it is told for a while, and some of its answers are lost.
    LoseObjectsAnswers,
    /// Cluster: the object store answers nothing for seconds.
    StallObjects,
    /// Cluster: the object store is not there for tens of seconds.
    Outage,
}

/// What there must be for a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    SmallDisk,
    Cluster,
}

impl Fault {
    pub fn needs(self) -> Needs {
        match self {
            Self::FillDisk => Needs::SmallDisk,
            Self::KillDatabase
            | Self::KillSessions
            | Self::LoseDatabaseAnswers
            | Self::HoldUpDatabase
            | Self::RefuseObjects
            | Self::ConflictObjects
            | Self::LoseObjectsAnswers
            | Self::StallObjects
            | Self::Outage => Needs::Cluster,
            Self::KillBroker
            | Self::PauseBroker
            | Self::StopBroker
            | Self::Cut
            | Self::HoldUp
            | Self::SwallowAnswers
            | Self::KillClient
            | Self::PauseClient
            | Self::StepClock => Needs::Nothing,
        }
    }
}

/// Who suffers. Two faults at a time have two victims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Broker(usize),
    /// The way of clients to a broker.
    Way(usize),
    Client(usize),
    Clock(usize),
    Disk,
    Database,
    Objects,
}

/// How a fault ends.
type Heal = Box<dyn FnOnce(&mut Stage) -> Result<Option<Start>>>;
/// A broker that starts takes its time, and may not hold up other faults.
type Start = JoinHandle<Result<()>>;

/// A fault that is not healed yet.
struct Wound {
    victim: Victim,
    until: Instant,
    heal: Heal,
}

pub(super) struct Nemesis<'a> {
    pub stage: &'a mut Stage,
    pub clients: &'a [WorkerPid],
    pub faults: &'a [Fault],
    /// A file that fills the disk.
    pub ballast: Option<PathBuf>,
    /// Whether the clients have done enough.
    pub is_enough: &'a dyn Fn() -> bool,
    pub began: Instant,
}

impl Nemesis<'_> {
    /// Does harm until the time is up, and heals it all.
    pub fn run(&mut self, seed: u64, until: Instant) -> Result<()> {
        let mut harm = Harm {
            nemesis: self,
            random: StdRng::seed_from_u64(seed),
            next: Vec::new(),
            wounds: Vec::new(),
            starting: Vec::new(),
        };
        let at_a_time = if harm.is_cluster() { AT_A_TIME } else { 1 };
        let mut next = Instant::now();
        while Instant::now() < until && !(harm.nemesis.is_enough)() {
            // Clients get something done between two faults.
            if harm.heal(Instant::now())? {
                next = next.max(Instant::now() + harm.pause());
            }
            harm.look_after_brokers()?;
            if next <= Instant::now() && harm.busy() < at_a_time {
                harm.strike()?;
                next = Instant::now() + harm.pause();
            }
            std::thread::sleep(MOMENT);
        }
        harm.heal_all()
    }
}

/// What is broken.
struct Harm<'a, 'b> {
    nemesis: &'a mut Nemesis<'b>,
    random: StdRng,
    /// None comes again before all have come.
    next: Vec<Fault>,
    wounds: Vec<Wound>,
    starting: Vec<(usize, Start)>,
}

impl Harm<'_, '_> {
    fn is_cluster(&self) -> bool {
        self.nemesis.stage.stores.is_some()
    }

    fn busy(&self) -> usize {
        self.wounds.len() + self.starting.len()
    }

    fn is_free(&self, victim: Victim) -> bool {
        let is_starting = |index| self.starting.iter().any(|(starting, _)| *starting == index);
        let wounded = self.wounds.iter().any(|wound| wound.victim == victim);
        !wounded
            && match victim {
                Victim::Broker(index) => !is_starting(index),
                // A broker that starts without them gives up after half a minute.
                Victim::Database | Victim::Objects => self.starting.is_empty(),
                Victim::Way(_) | Victim::Client(_) | Victim::Clock(_) | Victim::Disk => true,
            }
    }

    /// Between two faults.
    fn pause(&mut self) -> Duration {
        Duration::from_millis(self.random.random_range(500..4_000))
    }

    /// Heals what is due. Says whether there was anything.
    fn heal(&mut self, now: Instant) -> Result<bool> {
        let wounds = self.wounds.len();
        // Stores first: brokers that start need them.
        let of_stores = |victim| matches!(victim, Victim::Database | Victim::Objects);
        let due = |wound: &mut Wound| wound.until <= now && of_stores(wound.victim);
        let due: Vec<Wound> = self.wounds.extract_if(.., due).collect();
        for wound in due {
            (wound.heal)(self.nemesis.stage)?;
        }
        let harmed = self.wounds.iter().any(|wound| of_stores(wound.victim));
        let can_wait = |victim| matches!(victim, Victim::Broker(_)) && harmed;
        let due = |wound: &mut Wound| wound.until <= now && !can_wait(wound.victim);
        let due: Vec<Wound> = self.wounds.extract_if(.., due).collect();
        for Wound { victim, heal, .. } in due {
            if let (Victim::Broker(index), Some(start)) = (victim, heal(self.nemesis.stage)?) {
                self.starting.push((index, start));
            }
        }
        Ok(self.wounds.len() < wounds)
    }

    fn heal_all(&mut self) -> Result<()> {
        let last = self.wounds.iter().map(|wound| wound.until).max();
        if let Some(last) = last {
            self.heal(last)?;
        }
        while !self.starting.is_empty() {
            self.look_after_brokers()?;
            std::thread::sleep(MOMENT);
        }
        Ok(())
    }

    /// Those that start may fail, and those that run may end by themselves.
    fn look_after_brokers(&mut self) -> Result<()> {
        let ended = |(_, start): &mut (usize, Start)| start.is_finished();
        let ended: Vec<_> = self.starting.extract_if(.., ended).collect();
        for (_, start) in ended {
            start.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        for index in 0..self.nemesis.stage.brokers.len() {
            if self.is_free(Victim::Broker(index)) {
                self.nemesis.stage.broker(index).ensure_running()?;
            }
        }
        Ok(())
    }

    fn strike(&mut self) -> Result<()> {
        if self.next.is_empty() {
            self.next = self.nemesis.faults.to_vec();
            self.next.shuffle(&mut self.random);
        }
        let Some(&fault) = self.next.last() else {
            return Ok(());
        };
        let brokers = 0..self.nemesis.stage.brokers.len();
        let victims: Vec<Victim> = match fault {
            Fault::KillBroker | Fault::PauseBroker | Fault::StopBroker => {
                brokers.map(Victim::Broker).collect()
            }
            Fault::Cut | Fault::HoldUp | Fault::SwallowAnswers => {
                brokers.map(Victim::Way).collect()
            }
            Fault::KillClient | Fault::PauseClient => (0..self.nemesis.clients.len())
                .map(Victim::Client)
                .collect(),
            Fault::StepClock => brokers.map(Victim::Clock).collect(),
            Fault::FillDisk => vec![Victim::Disk],
            Fault::KillDatabase
            | Fault::KillSessions
            | Fault::LoseDatabaseAnswers
            | Fault::HoldUpDatabase => vec![Victim::Database],
            Fault::RefuseObjects
            | Fault::ConflictObjects
            | Fault::LoseObjectsAnswers
            | Fault::StallObjects
            | Fault::Outage => vec![Victim::Objects],
        };
        let free = victims.into_iter().filter(|victim| self.is_free(*victim));
        let free: Vec<Victim> = free.collect();
        let Some(&victim) = free.choose(&mut self.random) else {
            // Another one meanwhile.
            self.next.rotate_right(1);
            return Ok(());
        };
        self.next.pop();
        println!(
            "# {:.1} s: {fault:?} {victim:?}",
            self.nemesis.began.elapsed().as_secs_f64()
        );
        let while_ = self.duration(fault);
        let heal = match victim {
            Victim::Broker(index) => self.strike_broker(fault, index)?,
            Victim::Way(index) => self.strike_way(fault, index),
            Victim::Client(index) => self.strike_client(fault, index),
            Victim::Clock(index) => self.step_clock(index)?,
            Victim::Disk => self.fill_disk()?,
            Victim::Database => self.strike_database(fault)?,
            Victim::Objects => self.strike_objects(fault),
        };
        if let Some(heal) = heal {
            let until = Instant::now() + while_;
            self.wounds.push(Wound {
                victim,
                until,
                heal,
            });
        }
        Ok(())
    }

    /// How long a fault lasts.
    fn duration(&mut self, fault: Fault) -> Duration {
        let is_cluster = self.is_cluster();
        let random = &mut self.random;
        let mut ms = |range| Duration::from_millis(random.random_range(range));
        let short = ms(200..5_000);
        let odds = ms(0..100);
        let is_often = |percent| odds < Duration::from_millis(percent);
        match fault {
            Fault::KillBroker if is_often(80) => Duration::ZERO,
            Fault::PauseBroker | Fault::HoldUpDatabase if is_cluster && is_often(75) => {
                LEASE + ms(2_000..5_000)
            }
            Fault::PauseClient => Duration::from_millis(TRANSACTION_TIMEOUT_MS) + short,
            Fault::StepClock => 4 * short,
            Fault::Outage => ms(10_000..30_000),
            _ => short,
        }
    }

    fn strike_broker(&self, fault: Fault, index: usize) -> Result<Option<Heal>> {
        let start: Heal = Box::new(move |stage| {
            let broker = stage.brokers[index].clone();
            let start = move || start_again(&broker);
            Ok(Some(std::thread::spawn(start)))
        });
        let mut broker = self.nemesis.stage.broker(index);
        Ok(Some(match fault {
            Fault::KillBroker => {
                broker.kill9()?;
                start
            }
            Fault::StopBroker => {
                drop(broker);
                let broker = self.nemesis.stage.brokers[index].clone();
                let stop = std::thread::spawn(move || lock(&broker).terminate());
                Box::new(move |stage| {
                    let broker = stage.brokers[index].clone();
                    let start = move || {
                        stop.join().map_err(|_| anyhow!("a thread panicked"))??;
                        start_again(&broker)
                    };
                    Ok(Some(std::thread::spawn(start)))
                })
            }
            _ => {
                let pid = Pid::from_raw(i32::try_from(broker.pid()?)?).context("not 0")?;
                kill_process(pid, Signal::STOP)?;
                Box::new(move |_| {
                    kill_process(pid, Signal::CONT)?;
                    Ok(None)
                })
            }
        }))
    }

    fn strike_way(&self, fault: Fault, index: usize) -> Option<Heal> {
        let proxy = &self.nemesis.stage.proxies[index];
        match fault {
            Fault::HoldUp => {
                proxy.hold_up(true);
                heal(move |stage| stage.proxies[index].hold_up(false))
            }
            Fault::SwallowAnswers => {
                proxy.swallow(Swallowed::All);
                heal(move |stage| {
                    stage.proxies[index].cut();
                    stage.proxies[index].swallow(Swallowed::Nothing);
                })
            }
            _ => {
                proxy.cut();
                None
            }
        }
    }

    fn strike_client(&self, fault: Fault, index: usize) -> Option<Heal> {
        let client = self.nemesis.clients[index].clone();
        if fault == Fault::KillClient {
            client.signal(Signal::KILL);
            return None;
        }
        client.signal(Signal::STOP);
        heal(move |_| client.signal(Signal::CONT))
    }

    fn step_clock(&mut self, index: usize) -> Result<Option<Heal>> {
        let steps_s: &[i64] = match self.is_cluster() {
            true => &STEPS_OF_CLUSTER_S,
            false => &STEPS_S,
        };
        let step_s = steps_s.choose(&mut self.random).context("some")?;
        self.nemesis.stage.clocks[index].step_to(*step_s)?;
        Ok(Some(Box::new(move |stage| {
            stage.clocks[index].step_to(0)?;
            Ok(None)
        })))
    }

    fn fill_disk(&self) -> Result<Option<Heal>> {
        let ballast = self.nemesis.ballast.clone();
        let ballast = ballast.context("a small disk")?;
        fill(&ballast)?;
        Ok(Some(Box::new(move |_| {
            std::fs::remove_file(ballast)?;
            Ok(None)
        })))
    }

    fn strike_database(&mut self, fault: Fault) -> Result<Option<Heal>> {
        let random = &mut self.random;
        let stores = self.nemesis.stage.stores()?;
        Ok(match fault {
            Fault::KillDatabase => {
                stores.postgres.kill();
                Some(Box::new(|stage| {
                    stage.stores()?.postgres.restart()?;
                    Ok(None)
                }))
            }
            Fault::KillSessions => {
                stores.postgres.psql("postgres", KILL_SESSIONS)?;
                None
            }
            Fault::LoseDatabaseAnswers => {
                let percent = random.random_range(1..20);
                stores.each_database(|proxy| proxy.lose_answers(percent));
                heal_stores(|stores| stores.each_database(|proxy| proxy.lose_answers(0)))
            }
            _ => {
                let index = random.random_range(0..stores.databases.len());
                stores.databases[index].hold_up(true);
                heal_stores(move |stores| stores.databases[index].hold_up(false))
            }
        })
    }

    fn strike_objects(&mut self, fault: Fault) -> Option<Heal> {
        let mishap = match fault {
            Fault::RefuseObjects => Mishap::Refuse,
            Fault::ConflictObjects => Mishap::Conflict,
            Fault::LoseObjectsAnswers => Mishap::LoseAnswers,
            Fault::StallObjects => Mishap::Stall,
            _ => Mishap::Outage,
        };
        let befall = |mishap: Mishap| {
            move |stores: &mut Stores| stores.objects.iter().for_each(|proxy| proxy.befall(mishap))
        };
        befall(mishap)(self.nemesis.stage.stores().ok()?);
        heal_stores(befall(Mishap::None))
    }
}

/// Half of the brokers' sessions, whatever they are at.
const KILL_SESSIONS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                             WHERE usename = 'ottla' AND random() < 0.5";

fn heal(heal: impl FnOnce(&mut Stage) + 'static) -> Option<Heal> {
    Some(Box::new(move |stage| {
        heal(stage);
        Ok(None)
    }))
}

fn heal_stores(heal: impl FnOnce(&mut Stores) + 'static) -> Option<Heal> {
    Some(Box::new(move |stage| {
        heal(stage.stores()?);
        Ok(None)
    }))
}

/// Writes until there is no room.
fn fill(ballast: &Path) -> Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(ballast)?;
    let zeros = vec![0; 1 << 16];
    while file.write_all(&zeros).is_ok() {}
    Ok(())
}
