//! Lets stock clients work on a broker to which bad things happen, and finds out whether it kept its promises:
//! `cargo run -p compat-tests --bin checker -- --minutes 60 --seed 7`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum as _};
use compat_tests::checker::{check, sent_again};
use compat_tests::workload::{self, Fault, Library, Lie, Needs, Settings, SmallDisk};
use compat_tests::{BrokerKind, toolchain};

/// Of one broker's life.
const ROUND_MINUTES: f64 = 5.0;

/// Sends, polls, commits, transactions and read-process-write by several clients, and faults; then a final read of everything.
#[derive(Parser)]
struct Args {
    /// How long clients work. The final read comes on top.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Decides what clients do and which faults happen. Default: another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Which broker.
    #[arg(long, default_value = "ottla")]
    broker: Broker,
    /// How many brokers: three are a cluster, over a database and an object store of its own.
    #[arg(long, default_value_t = 1, conflicts_with = "disk", value_parser = clap::value_parser!(u8).range(1..=5))]
    brokers: u8,
    /// A property of the brokers, KEY=VALUE; may be given more than once.
    #[arg(long, value_parser = property)]
    config: Vec<(String, String)>,
    /// Only these faults; may be given more than once. Default: all that there is what they take for.
    #[arg(long)]
    fault: Vec<Fault>,
    /// No faults at all.
    #[arg(long, conflicts_with = "fault")]
    peace: bool,
    /// Only these client libraries; may be given more than once.
    #[arg(long)]
    client: Vec<Library>,
    /// A small file system for the data, which is filled now and then. Root needs none: one is mounted.
    #[arg(long)]
    disk: Option<PathBuf>,
    /// Break the broker on purpose, to see what is found.
    #[arg(long)]
    lie: Option<Lie>,
    /// A directory for the brokers' logs.
    #[arg(long)]
    logs: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Broker {
    Ottla,
    Kafka,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(toolchain::seed);
    let small_disk = small_disk(&args)?;
    let mounted = small_disk.as_ref().map(|disk| disk.path().to_owned());
    let disk = args.disk.clone().or(mounted);
    let settings = Settings {
        kind: match args.broker {
            Broker::Ottla => BrokerKind::Ottla,
            Broker::Kafka => BrokerKind::Kafka,
        },
        brokers: args.brokers.into(),
        config: args.config.clone(),
        seed,
        duration: Duration::ZERO,
        enough: usize::MAX,
        faults: faults(&args, disk.is_some()),
        libraries: if args.client.is_empty() {
            Library::ALL.to_vec()
        } else {
            args.client.clone()
        },
        disk,
        lie: args.lie,
        logs: args.logs.clone(),
    };
    // A long run is several: each begins with an empty broker, and its history fits into memory.
    let rounds = args.minutes.div_euclid(ROUND_MINUTES) + 1.0;
    let mut exit = ExitCode::SUCCESS;
    for round in 0..rounds as u64 {
        let settings = Settings {
            seed: seed.wrapping_add(round),
            duration: Duration::from_secs_f64(60.0 * args.minutes / rounds),
            ..settings.clone()
        };
        if !is_good(&settings)? {
            exit = ExitCode::FAILURE;
        }
    }
    Ok(exit)
}

/// Lets clients work once, and says what was found.
fn is_good(settings: &Settings) -> Result<bool> {
    println!("# seed {}", settings.seed);
    let history = workload::run(settings)?;
    println!("# {}", workload::summary(&history));
    for again in sent_again(&history) {
        println!("# {again}");
    }
    let findings = check(&history);
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        println!("# {} findings with seed {}", findings.len(), settings.seed);
        println!("# the history is in {}", history.write_down()?.display());
    }
    Ok(findings.is_empty())
}

/// One to fill, if that is wanted and nobody has named one. Kafka ends when its disk is full.
fn small_disk(args: &Args) -> Result<Option<SmallDisk>> {
    let is_named = args.fault.contains(&Fault::FillDisk);
    let is_ottla = matches!(args.broker, Broker::Ottla) && args.brokers == 1;
    if args.disk.is_some() || args.peace || !(is_named || args.fault.is_empty() && is_ottla) {
        return Ok(None);
    }
    match SmallDisk::mount() {
        Err(error) if !is_named => {
            println!("# {error:#}");
            Ok(None)
        }
        mounted => mounted.map(Some),
    }
}

fn faults(args: &Args, has_small_disk: bool) -> Vec<Fault> {
    if args.peace {
        return Vec::new();
    }
    if !args.fault.is_empty() {
        return args.fault.clone();
    }
    let all = Fault::value_variants().iter().copied();
    all.filter(|fault| match fault.needs() {
        Needs::Nothing => true,
        Needs::SmallDisk => has_small_disk,
        Needs::Cluster => args.brokers > 1,
    })
    .collect()
}

fn property(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
