//! What goes wrong, and when: a seed decides.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};

use super::client::TRANSACTION_TIMEOUT_MS;
use super::proxy::Proxy;
use super::worker::WorkerPid;
use crate::BrokerProcess;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// The broker is killed with SIGKILL and started again.
    KillBroker,
    /// The broker is stopped with SIGSTOP for a while.
    PauseBroker,
    /// All connections end.
    Cut,
    /// Nothing gets through for a while.
    HoldUp,
    /// Requests arrive for a while, and answers do not; then all connections end.
    SwallowAnswers,
    /// A client is killed with SIGKILL and started again.
    KillClient,
    /// A client is stopped with SIGSTOP, for so long that its transactions time out.
    PauseClient,
    /// The disk is full for a while. Needs a small one.
    FillDisk,
}

pub(super) struct Nemesis<'a> {
    pub broker: &'a mut BrokerProcess,
    pub proxy: &'a Proxy,
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
        let mut random = StdRng::seed_from_u64(seed);
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let pause = Duration::from_millis(random.random_range(500..4_000));
            std::thread::sleep(pause.min(left));
            if (self.is_enough)() {
                break;
            }
            self.broker.ensure_running()?;
            if let Some(&fault) = self.faults.choose(&mut random) {
                println!("# {:.1} s: {fault:?}", self.began.elapsed().as_secs_f64());
                self.strike(fault, &mut random)?;
            }
        }
        Ok(())
    }

    fn strike(&mut self, fault: Fault, random: &mut StdRng) -> Result<()> {
        let while_ = Duration::from_millis(random.random_range(200..5_000));
        let client = self.clients.choose(random);
        match fault {
            Fault::KillBroker => {
                self.broker.kill9()?;
                if random.random_bool(0.2) {
                    std::thread::sleep(while_);
                }
                self.broker.restart()?;
            }
            Fault::PauseBroker => {
                let pid = Pid::from_raw(i32::try_from(self.broker.pid()?)?);
                if let Some(pid) = pid {
                    kill_process(pid, Signal::STOP)?;
                    std::thread::sleep(while_);
                    kill_process(pid, Signal::CONT)?;
                }
            }
            Fault::Cut => self.proxy.cut(),
            Fault::HoldUp => {
                self.proxy.hold_up(true);
                std::thread::sleep(while_);
                self.proxy.hold_up(false);
            }
            Fault::SwallowAnswers => {
                self.proxy.swallow_answers(true);
                std::thread::sleep(while_);
                self.proxy.cut();
                self.proxy.swallow_answers(false);
            }
            Fault::KillClient => {
                if let Some(client) = client {
                    client.signal(Signal::KILL);
                }
            }
            Fault::PauseClient => {
                if let Some(client) = client {
                    client.signal(Signal::STOP);
                    let timeout = Duration::from_millis(TRANSACTION_TIMEOUT_MS);
                    std::thread::sleep(timeout + while_);
                    client.signal(Signal::CONT);
                }
            }
            Fault::FillDisk => {
                if let Some(ballast) = &self.ballast {
                    fill(ballast)?;
                    std::thread::sleep(while_);
                    std::fs::remove_file(ballast)?;
                }
            }
        }
        Ok(())
    }
}

/// Writes until there is no room.
fn fill(ballast: &Path) -> Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(ballast)?;
    let zeros = vec![0; 1 << 16];
    while file.write_all(&zeros).is_ok() {}
    Ok(())
}
