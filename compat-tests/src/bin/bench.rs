//! Measures Ottla and real Kafka side by side: `cargo run --release -p compat-tests --bin bench`.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use compat_tests::bench::contender::{Contender, Settings};
use compat_tests::bench::page_cache::Ballast;
use compat_tests::bench::workloads::{self, Workload};
use compat_tests::bench::{machine, report};
use compat_tests::{BrokerKind, Missing};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Ample for 10,000 partitions that are all written to.
const DESCRIPTORS: u64 = 200_000;

/// Starts Ottla and real Kafka in turn and prints what each can do, and the ratios.
#[derive(Parser)]
struct Args {
    /// Run this workload; may be given more than once. Default: all.
    #[arg(long)]
    workload: Vec<String>,
    /// How long each run is measured.
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
    /// How long each run warms up before that.
    #[arg(long, default_value_t = 8.0)]
    warmup: f64,
    /// How often each workload is run.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Short and rough: does everything still work? Its figures mean little.
    #[arg(long)]
    quick: bool,
    /// Run one of the brokers alone.
    #[arg(long)]
    only: Option<Only>,
    /// Run Ottla in turn with this older binary of it, without Kafka, and print the ratio of every figure.
    #[arg(long, value_name = "BINARY", conflicts_with = "only")]
    against: Option<PathBuf>,
    /// Data that the cold fetch reads, in GiB.
    #[arg(long, default_value_t = 2.0)]
    cold_gib: f64,
    /// Data that is there at the start after a kill, in GiB.
    #[arg(long, default_value_t = 2.0)]
    recovery_gib: f64,
    /// In how many partitions that is.
    #[arg(long, default_value_t = 2000)]
    recovery_partitions: u32,
    /// Partitions that are there at the start with very many.
    #[arg(long, default_value_t = 100_000)]
    start_partitions: u32,
    /// Write a record into each of them beforehand.
    #[arg(long)]
    start_with_records: bool,
    /// Let Kafka take part in that too; it takes many minutes.
    #[arg(long)]
    kafka_start_partitions: bool,
    /// The largest number of partitions that is loaded; default: 10,000, or 1,000 if --quick.
    #[arg(long)]
    max_partitions: Option<u32>,
    /// Print the names of the workloads and end.
    #[arg(long)]
    list: bool,
    /// Write the report to this file.
    #[arg(long)]
    markdown: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    Ottla,
    Kafka,
    Cluster,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let workloads = chosen(&args)?;
    if args.list {
        for workload in workloads {
            let first_sentence = workload.about.split(". ").next().unwrap_or_default();
            println!(
                "{:<16} {}",
                workload.name,
                first_sentence.trim_end_matches('.')
            );
        }
        return Ok(());
    }
    with_kafkas_own_heap()?;
    raise_descriptor_limit()?;
    let settings = settings(&args);
    let machine = machine::describe()?;
    let mut ballast = Ballast::new()?;
    let mut results = Vec::new();
    for workload in workloads {
        let result = run(&workload, &args, &settings, &mut ballast)?;
        let rows = result.target_rows() + &result.older_rows();
        println!("\n{}\n{rows}", result.figure_table());
        results.push(result);
    }
    let command: Vec<String> = std::env::args().skip(1).collect();
    let command = format!(
        "cargo run --release -p compat-tests --bin bench -- {}",
        command.join(" ")
    );
    let report = report::markdown(command.trim_end_matches([' ', '-']), &machine, &results);
    match args.markdown {
        Some(file) => fs::write(&file, report).with_context(|| format!("{}", file.display()))?,
        None => println!("\n{report}"),
    }
    Ok(())
}

fn chosen(args: &Args) -> Result<Vec<Workload>> {
    let mut workloads = workloads::all(workloads::Options {
        kafka_start_partitions: args.kafka_start_partitions,
    });
    for name in &args.workload {
        ensure!(
            workloads.iter().any(|w| w.name == name),
            "no workload {name}; --list names them"
        );
    }
    if !args.workload.is_empty() {
        workloads.retain(|workload| args.workload.iter().any(|name| name == workload.name));
    }
    if let Some(binary) = &args.against {
        for workload in &mut workloads {
            workload.targets.clear();
            workload.contenders = with_older(&workload.contenders, binary);
        }
    }
    Ok(workloads)
}

/// Each Ottla among them, and the older one after it.
fn with_older(contenders: &[Contender], binary: &Path) -> Vec<Contender> {
    let ours = contenders
        .iter()
        .filter(|contender| contender.kind == BrokerKind::Ottla);
    ours.flat_map(|ours| {
        let name = format!("{}{}", ours.name, report::OLDER).leak();
        [ours.clone(), ours.built_as(name, binary.to_owned())]
    })
    .collect()
}

fn settings(args: &Args) -> Settings {
    let gib = |gib: f64| (gib * f64::from(1 << 30)) as u64;
    let settings = Settings {
        seconds: Duration::from_secs_f64(args.seconds),
        warmup: Duration::from_secs_f64(args.warmup),
        cold_bytes: gib(args.cold_gib),
        recovery_bytes: gib(args.recovery_gib),
        recovery_partitions: args.recovery_partitions,
        start_partitions: args.start_partitions,
        start_with_records: args.start_with_records,
        max_partitions: args.max_partitions.unwrap_or(10_000),
    };
    if !args.quick {
        return settings;
    }
    Settings {
        seconds: Duration::from_secs(2),
        warmup: Duration::from_secs(1),
        cold_bytes: gib(0.25),
        recovery_bytes: gib(0.25),
        start_partitions: args.start_partitions.min(10_000),
        max_partitions: args.max_partitions.unwrap_or(1000),
        ..settings
    }
}

fn run(
    workload: &Workload,
    args: &Args,
    settings: &Settings,
    ballast: &mut Ballast,
) -> Result<report::Results> {
    let rounds_count = if args.quick { 1 } else { args.rounds };
    let mut rounds = Vec::new();
    let mut contenders = workload.contenders.clone();
    contenders.retain(|contender| match args.only {
        None => true,
        Some(Only::Ottla) => contender.kind == BrokerKind::Ottla && !contender.is_cluster,
        Some(Only::Kafka) => contender.kind == BrokerKind::Kafka,
        Some(Only::Cluster) => contender.is_cluster,
    });
    for round in 1..=rounds_count {
        let mut runs = Vec::new();
        for contender in contenders.clone() {
            let contender = &contender;
            if !args.quick {
                ballast.fill()?;
            }
            eprint!(
                "{} {round}/{rounds_count} {}: ",
                workload.name, contender.name
            );
            let start = Instant::now();
            let figures = match (workload.run)(contender, settings) {
                // An older binary may lack what is measured.
                Err(error)
                    if contender.binary.is_some()
                        || (contender.is_cluster && error.is::<Missing>()) =>
                {
                    eprintln!("left out: {error:#}");
                    contenders.retain(|other| other != contender);
                    continue;
                }
                figures => {
                    figures.with_context(|| format!("{} with {}", workload.name, contender.name))?
                }
            };
            eprintln!("{:.0} s", start.elapsed().as_secs_f64());
            runs.push((contender.name, figures));
        }
        rounds.push(runs);
    }
    Ok(report::Results {
        workload: workload.name,
        about: workload.about,
        rounds,
        targets: workload.targets.clone(),
    })
}

/// Gives Kafka the heap of its own start script, unless the environment says otherwise.
///
/// The environment of a running process cannot be changed safely, so this program starts itself anew.
fn with_kafkas_own_heap() -> Result<()> {
    if std::env::var_os("COMPAT_KAFKA_HEAP").is_some() {
        return Ok(());
    }
    let error = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env("COMPAT_KAFKA_HEAP", "-Xmx1G -Xms1G")
        .exec();
    Err(error).context("start anew")
}

/// Thousands of connections and partitions take descriptors; the brokers inherit the limit. Above the hard
/// limit only where this process may.
fn raise_descriptor_limit() -> Result<()> {
    let hard = getrlimit(Resource::Nofile).maximum;
    let set = |limit| {
        let limit = Rlimit {
            current: limit,
            maximum: limit,
        };
        setrlimit(Resource::Nofile, limit)
    };
    if set(Some(DESCRIPTORS.max(hard.unwrap_or(u64::MAX)))).is_err() {
        set(hard)?;
    }
    Ok(())
}
