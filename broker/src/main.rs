//! Arguments, configuration, signals and exit codes. What is not about serving is the `console`'s.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | stopped by SIGTERM or Ctrl-C with a clean directory |
//! | 1 | did not start, or stopped because of a failure; one line on stderr says why |
//! | 2 | wrong arguments or configuration; one line on stderr says which |
//! | 128 + n | a second signal n cut the shutdown short |

extern crate ottla as broker;

mod cli;
mod ready;
mod supervisor;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::anyhow;
use broker::client_text::{OneLine, OneObject};
use broker::config::{BrokerConfig, Environment, Remark};
use broker::log_levels;
use broker::server::Server;
use clap::Parser as _;
use clap::error::ErrorKind;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use cli::{Cli, LogFormat};
use supervisor::Supervisor;

/// A request takes some fifty small pieces of memory, which threads hand to each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FAILED: u8 = 1;
const WRONG_ARGUMENTS: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some((name, run)) = command(&arguments) {
        let name = std::iter::once(name.into());
        return match run(&mut name.chain(arguments.into_iter().skip(2))) {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(error)) => refuse(FAILED, &anyhow!(error)),
            Err(error) => usage(&error),
        };
    }
    if let Some(code) = console::run(&arguments, cli::serving) {
        return code;
    }
    if let Some(error) = arguments.get(1).and_then(|word| cli::slip(word)) {
        return refuse(WRONG_ARGUMENTS, &anyhow!(error));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let environment = match Environment::of_process() {
        Ok(environment) => environment,
        Err(error) => return refuse(WRONG_ARGUMENTS, &error.into()),
    };
    if let Err(error) = start_logging(&cli, &environment) {
        return refuse(WRONG_ARGUMENTS, &error);
    }
    // Dropped, and so removed, when main returns.
    let ephemeral = match cli.ephemeral.then(tempfile::TempDir::new).transpose() {
        Ok(ephemeral) => ephemeral,
        Err(error) => return refuse(FAILED, &anyhow!("no temporary directory: {error}")),
    };
    let ephemeral_dir = ephemeral.as_ref().map(|dir| dir.path().to_owned());
    let (config, remarks) = match cli.broker_config(ephemeral_dir, &environment) {
        Ok(config) => config,
        Err(error) => return refuse(WRONG_ARGUMENTS, &error.into()),
    };
    match run(&cli, config, remarks) {
        Ok(code) => code,
        Err(error) => refuse(FAILED, &error),
    }
}

/// What a first argument stands for that is about this machine: no option of the broker, and no command of the console.
type Command = fn(&mut dyn Iterator<Item = OsString>) -> Result<Result<(), String>, clap::Error>;

fn command(arguments: &[OsString]) -> Option<(&'static str, Command)> {
    use broker::{import, snapshot, users};
    // The console's goes over the wire, and has no directory.
    let is_local = || {
        let mut texts = arguments.iter().filter_map(|argument| argument.to_str());
        texts.any(|text| text == "--data-dir" || text.starts_with("--data-dir="))
    };
    let command: (_, Command) = match arguments.get(1)?.to_str()? {
        "import" => ("ottla import", |arguments| import::command::run(arguments)),
        "restore" => ("ottla restore", |arguments| {
            snapshot::command::run_restore(arguments)
        }),
        "snapshot" => ("ottla snapshot", |arguments| {
            snapshot::command::run_snapshot(arguments)
        }),
        "users" if is_local() => ("ottla users", |arguments| users::run(arguments)),
        _ => return None,
    };
    Some(command)
}

/// Every connection and every open segment takes a file descriptor, and the usual soft limit is for other programs.
fn raise_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(?current, %error, "the limit of open files stays where it is");
    }
}

fn run(cli: &Cli, config: BrokerConfig, remarks: Vec<Remark>) -> anyhow::Result<ExitCode> {
    raise_open_files_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow!("cannot start the runtime: {error}"))?;
    let served = runtime.block_on(serve(cli, config, remarks));
    // Whoever waits for the disk still is not waited for: the stop has had its time.
    runtime.shutdown_background();
    served
}

async fn serve(cli: &Cli, config: BrokerConfig, remarks: Vec<Remark>) -> anyhow::Result<ExitCode> {
    let mut signals =
        Signals::new().map_err(|error| anyhow!("cannot listen to signals: {error}"))?;
    let mut stdin = StdinEnd::new(cli.stop_with_stdin)?;
    let mut supervisor = Supervisor::starting();
    let running = tokio::select! {
        // Its message tells the cause already; the chain would tell it twice.
        started = Server::start(config) => started.map_err(|error| anyhow!("{error}"))?,
        // Nothing has been promised to anybody yet.
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
        () = stdin.wait() => return Ok(ExitCode::SUCCESS),
    };
    // Not before: a start that is refused is one line, the one that says why.
    for remark in remarks {
        match remark {
            Remark::Info(text) => tracing::info!("{text}"),
            Remark::Warning(text) => tracing::warn!("{text}"),
        }
    }
    ready::announce(&running, cli.ready_format, cli.kafka_env);
    supervisor.ready();
    loop {
        tokio::select! {
            signal = signals.any() => match signal {
                Told::End(_) => break,
                Told::ReadAgain => running.reload().await,
            },
            () = stdin.wait() => break,
            failure = running.failed() => return Err(failure.into()),
        }
    }
    supervisor.stopping();
    tokio::select! {
        stopped = running.shutdown() => {
            stopped.map_err(|error| anyhow!("the shutdown was not clean: {error}"))?;
            Ok(ExitCode::SUCCESS)
        }
        number = signals.next() => {
            // At once: not even waiting for tasks that the runtime would wait for.
            std::process::exit(128 + number);
        }
    }
}

/// The end of standard input, if it is one that ends the broker.
///
/// A program that is killed cannot stop the brokers that it has started, but the system closes its ends of their pipes.
struct StdinEnd(Option<oneshot::Receiver<()>>);

impl StdinEnd {
    fn new(is_awaited: bool) -> anyhow::Result<Self> {
        if !is_awaited {
            return Ok(Self(None));
        }
        let (ended, end) = oneshot::channel();
        // A thread of its own: nothing can take it back from a read.
        let watch = std::thread::Builder::new().name("stdin".to_owned());
        let watched = watch.spawn(move || {
            let read = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            tracing::info!(?read, "standard input has ended, and with it the broker");
            drop(ended);
        });
        watched.map_err(|error| anyhow!("cannot watch standard input: {error}"))?;
        Ok(Self(Some(end)))
    }

    /// Resolves once, when standard input has ended.
    async fn wait(&mut self) {
        match &mut self.0 {
            Some(end) => {
                let _ = end.await;
                self.0 = None;
            }
            None => std::future::pending().await,
        }
    }
}

/// SIGTERM and Ctrl-C, and SIGHUP, which ends nothing.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// What a signal tells the broker to do.
enum Told {
    /// The number of the signal.
    End(i32),
    /// Certificates, keys and tokens may be others.
    ReadAgain,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End(SignalKind::terminate().as_raw_value()),
            _ = self.interrupt.recv() => Told::End(SignalKind::interrupt().as_raw_value()),
            _ = self.hang_up.recv() => {
                tracing::info!(
                    "SIGHUP: certificates and the token of metrics are read again; settings are changed with AlterConfigs or by a restart"
                );
                Told::ReadAgain
            }
        }
    }

    /// The number of the next signal that ends something.
    async fn next(&mut self) -> i32 {
        loop {
            if let Told::End(number) = self.any().await {
                return number;
            }
        }
    }
}

fn start_logging(cli: &Cli, environment: &Environment) -> anyhow::Result<()> {
    let kafkas = match cli.kafka_env {
        true => environment.kafka_log_level()?,
        false => None,
    };
    let usual = kafkas.unwrap_or("info");
    let from_environment = || {
        let text = std::env::var(EnvFilter::DEFAULT_ENV).ok()?;
        let filter = EnvFilter::try_new(&text).ok()?;
        (!text.trim().is_empty()).then_some((text, filter))
    };
    let (text, filter) = match &cli.log_level {
        Some(level) => (level.clone(), log_filter(level)?),
        None => from_environment().unwrap_or_else(|| (usual.to_owned(), EnvFilter::new(usual))),
    };
    let told = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A line that cannot be written, as when the disk is full, would be told of on stderr: which panics where that is the log.
        .log_internal_errors(false);
    match cli.log_format {
        LogFormat::Human => {
            let told = told
                .with_writer(|| OneLine(std::io::stderr()))
                .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
                .with_filter_reloading();
            let handle = told.reload_handle();
            told.init();
            log_levels::install(&text, move |filter| {
                handle.reload(filter).map_err(|error| error.to_string())
            });
        }
        LogFormat::Json => {
            let told = told
                .json()
                .flatten_event(true)
                .with_writer(|| OneObject(std::io::stderr()))
                .with_filter_reloading();
            let handle = told.reload_handle();
            told.init();
            log_levels::install(&text, move |filter| {
                handle.reload(filter).map_err(|error| error.to_string())
            });
        }
    }
    Ok(())
}

/// A bare word that is no level would be a target of its own, and the log silent.
fn log_filter(text: &str) -> anyhow::Result<EnvFilter> {
    let is_word = |part: &&str| !part.is_empty() && !part.contains(['=', '[']);
    let words = text.split(',').map(str::trim).filter(is_word);
    if let Some(word) = words
        .into_iter()
        .find(|word| word.parse::<LevelFilter>().is_err())
    {
        let expected = "expected off, error, warn, info, debug or trace, or TARGET=LEVEL,...";
        return Err(anyhow!("--log-level {word}: {expected}"));
    }
    EnvFilter::try_new(text).map_err(|error| anyhow!("--log-level {text}: {error}"))
}

/// Help and version go to stdout; a wrong argument is one line on stderr.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let what = text.lines().next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let tips = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("tip: "));
    let tips: String = tips.map(|tip| format!("; {tip}")).collect();
    refusal_line(&format!("{what}{tips}; ottla --help tells the options"));
    ExitCode::from(WRONG_ARGUMENTS)
}

fn refuse(code: u8, error: &anyhow::Error) -> ExitCode {
    // Every error of ours names its cause itself.
    refusal_line(&error.to_string());
    ExitCode::from(code)
}

/// One line, whatever a file or an argument made of it.
fn refusal_line(text: &str) {
    // A closed stderr is no reason to panic.
    let _ = writeln!(OneLine(std::io::stderr()), "ottla: {text}");
}
