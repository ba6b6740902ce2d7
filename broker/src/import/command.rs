//! `ottla import`: arguments, progress on stderr, the summary on stdout.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{CommandFactory as _, Parser};

use super::import;
use crate::config::{BrokerConfig, Properties, read_properties};

/// Import topics, records, settings and groups from the data directory of Apache Kafka
///
/// Kafka 3.x or 4.x without ZooKeeper, a single broker with a single directory, stopped in order. Nothing is written into
/// its directory.
#[derive(Debug, Parser)]
#[command(name = "ottla import", version)]
struct Arguments {
    /// Kafka's data directory (log.dirs)
    #[arg(value_name = "DIR")]
    from: PathBuf,

    /// Write here; empty, or not there yet
    #[arg(long, value_name = "TARGET", default_value = "ottla-data")]
    data_dir: PathBuf,

    /// Kafka's server.properties, if Ottla is going to be started with it: it has the node.id
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Its command line, for completions and the manual.
pub fn command_line() -> clap::Command {
    Arguments::command().name("import")
}

/// Runs the command; `arguments` begin with its name.
///
/// # Errors
/// The arguments are wrong: clap says how, or asks to have help printed.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Result<Result<(), String>, clap::Error> {
    let arguments = Arguments::try_parse_from(arguments)?;
    Ok(imported(&arguments))
}

fn imported(arguments: &Arguments) -> Result<(), String> {
    let mut properties = match &arguments.config {
        Some(file) => read_properties(file).map_err(|error| error.to_string())?,
        None => Properties::new(),
    };
    properties.remove("log.dir");
    // Set below: here a comma would separate directories.
    properties.insert("log.dirs".to_owned(), "ottla-data".to_owned());
    let (mut config, _) =
        BrokerConfig::from_properties(properties).map_err(|error| error.to_string())?;
    config.data_dir.clone_from(&arguments.data_dir);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    let say = |line: &str| eprintln!("ottla import: {line}");
    let imported = runtime.block_on(import(&arguments.from, config, say));
    let summary = imported.map_err(|error| error.to_string())?;
    // A closed stdout is no reason to fail.
    let _ = writeln!(
        std::io::stdout(),
        "{summary}\nstart it with `ottla --data-dir {}`; settings from Kafka's server.properties apply with --config",
        arguments.data_dir.display()
    );
    Ok(())
}
