//! `ottla topics`, `ottla produce` and so on: a topic, a message, a lag, in a second and without a JVM.
//!
//! Each verb is a thin page over one API or a few. This crate sees a broker only over the wire, so it serves with any
//! Kafka; of Ottla it uses error codes, the format of record batches and the arithmetic of log-ins.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | refused, or not done; stderr says what and why |
//! | 2 | wrong arguments; stderr says which |

mod acls;
pub mod client_config;
mod cluster;
mod configs;
pub mod connection;
mod consume;
pub mod failure;
mod group_member;
mod groups;
mod health;
mod kafka_scripts;
mod login;
mod member;
mod page;
mod position;
mod produce;
mod progress;
mod quotas;
mod topics;
mod users;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use cluster::{Cluster, Connect};
use failure::{Failure, Result, failed};
use page::Output;

const FAILED: u8 = 1;
const WRONG_ARGUMENTS: u8 = 2;

/// What the command line can do besides serving.
#[derive(Debug, Parser)]
#[command(name = "ottla", version, subcommand_required = true)]
struct Cli {
    #[command(flatten)]
    connect: Connect,

    /// Write JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    page: Page,
}

#[derive(Debug, Subcommand)]
enum Page {
    #[command(subcommand)]
    Topics(topics::Topics),
    #[command(subcommand)]
    Groups(groups::Groups),
    Produce(produce::Produce),
    Consume(consume::Consume),
    #[command(subcommand)]
    Configs(configs::Configs),
    #[command(subcommand)]
    Acls(acls::Acls),
    #[command(subcommand)]
    Users(users::Users),
    #[command(subcommand)]
    Quotas(quotas::Quotas),
    /// Exit with 0 if the broker serves: for health checks
    Health,
    /// Write a script that completes command lines: `ottla completions bash > /etc/bash_completion.d/ottla`
    Completions {
        shell: clap_complete::Shell,
    },
    /// Write the manual page
    #[command(hide = true)]
    Man,
}

/// Runs the command line if it is about one of the pages here, and not about serving.
///
/// `arguments` begin with the program's name. `serving` is the command line of the rest, for completions and the manual.
pub fn run(arguments: &[OsString], serving: impl FnOnce() -> clap::Command) -> Option<ExitCode> {
    if let Some(script) = kafka_scripts::called(arguments.first()?) {
        return Some(kafka_scripts::run(&script, arguments));
    }
    let first = arguments.get(1)?.to_str()?;
    if !names().any(|name| name == first) {
        return None;
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody listens.
            let _ = error.print();
            return Some(match error.use_stderr() {
                true => ExitCode::from(WRONG_ARGUMENTS),
                false => ExitCode::SUCCESS,
            });
        }
    };
    Some(exit_code(show(cli, serving)))
}

/// The names of the pages.
pub fn names() -> impl Iterator<Item = String> {
    let command = Cli::command();
    let names: Vec<String> = command
        .get_subcommands()
        .map(|page| page.get_name().to_owned())
        .collect();
    names.into_iter()
}

fn show(cli: Cli, serving: impl FnOnce() -> clap::Command) -> Result<()> {
    match cli.page {
        Page::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut whole(serving()), "ottla", &mut script);
            page::print(&script);
            Ok(())
        }
        Page::Man => manual(whole(serving())),
        networked => block_on(async {
            let mut cluster = Cluster::connect(&cli.connect).await?;
            let output = Output { json: cli.json };
            networked.run(&mut cluster, output).await
        }),
    }
}

impl Page {
    async fn run(self, cluster: &mut Cluster, output: Output) -> Result<()> {
        match self {
            Self::Topics(page) => page.run(cluster, output).await,
            Self::Groups(page) => page.run(cluster, output).await,
            Self::Produce(page) => page.run(cluster, output).await,
            Self::Consume(page) => page.run(cluster, output).await,
            Self::Configs(page) => page.run(cluster, output).await,
            Self::Acls(page) => page.run(cluster, output).await,
            Self::Users(page) => page.run(cluster, output).await,
            Self::Quotas(page) => page.run(cluster, output).await,
            Self::Health => health::run(cluster, output).await,
            Self::Completions { .. } | Self::Man => Ok(()),
        }
    }
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(work)
}

/// The serving command line and all pages.
fn whole(serving: clap::Command) -> clap::Command {
    let pages = Cli::command();
    let globals: Vec<clap::Arg> = pages.get_arguments().cloned().collect();
    let pages = pages.get_subcommands().cloned();
    // Below each page they are arguments of its own: the serving command line has none of them.
    serving.subcommands(pages.map(|page| page.args(globals.clone())))
}

/// The page of the broker's command line, then one of each command.
fn manual(mut command: clap::Command) -> Result<()> {
    fn render(command: &clap::Command, text: &mut Vec<u8>) -> std::io::Result<()> {
        clap_mangen::Man::new(command.clone()).render(text)?;
        let shown = command
            .get_subcommands()
            .filter(|page| !page.is_hide_set() && page.get_name() != "help");
        shown.into_iter().try_for_each(|page| render(page, text))
    }
    command.build();
    let mut text = Vec::new();
    render(&command, &mut text).map_err(|error| failed(error.to_string()))?;
    page::print(&text);
    Ok(())
}

fn exit_code(outcome: Result<()>) -> ExitCode {
    let (code, text) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(text)) => (FAILED, text),
        Err(Failure::Usage(text)) => (WRONG_ARGUMENTS, text),
    };
    for line in text.lines() {
        eprintln!("ottla: {}", page::plain(line));
    }
    ExitCode::from(code)
}

/// `KEY=VALUE`, as options and arguments have it.
fn parse_pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected KEY=VALUE".to_owned())
}
