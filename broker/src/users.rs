//! `ottla users add --data-dir DIR`: the first password of a broker, and the way back in when nobody knows one.

use std::ffi::OsString;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use serde_json::json;

use crate::control;
use credentials::password_variable;
use credentials::secret::Secret;

/// Users that log in with SCRAM
#[derive(Debug, Parser)]
#[command(name = "ottla users", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Give a user of the broker on this machine a password, in place of the one that it may have
    ///
    /// The password is in OTTLA_PASSWORD_NAME, in a file, or the first line of stdin. Nobody needs to log in for this: it is for
    /// the user that the broker runs as, and root.
    Add {
        #[arg(value_name = "NAME")]
        name: String,

        /// The data directory of the broker
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,

        /// The first line of this file is the password
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
}

/// Runs the command; `arguments` begin with its name.
///
/// # Errors
/// The arguments are wrong: clap says how, or asks to have help printed.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Result<Result<(), String>, clap::Error> {
    let Verb::Add {
        name,
        data_dir,
        password_file,
    } = Arguments::try_parse_from(arguments)?.verb;
    let added = password(&name, password_file).and_then(|password| {
        let password = password.expose();
        let request = json!({ "command": "add_user", "name": name, "password": password });
        control::call(&data_dir, &request, |_| {})
    });
    Ok(added.map(|_| {
        // A closed stdout is no reason to fail.
        let _ = writeln!(
            std::io::stdout(),
            "{name} logs in with this password, by SCRAM-SHA-256 or SCRAM-SHA-512"
        );
    }))
}

fn password(user: &str, file: Option<PathBuf>) -> Result<Secret, String> {
    let line = match (std::env::var(password_variable(user)), file) {
        (_, Some(file)) => {
            let text = std::fs::read_to_string(&file);
            text.map_err(|error| format!("{}: {error}", file.display()))?
        }
        (Ok(password), None) => password,
        (Err(_), None) => {
            let mut line = String::new();
            let mut stdin = std::io::stdin().lock();
            // What is typed here would be seen.
            if !stdin.is_terminal() {
                let read = stdin.read_line(&mut line);
                read.map_err(|error| format!("stdin: {error}"))?;
            }
            line
        }
    };
    match line.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(Secret::new(line)),
        None => Err(format!(
            "there is no password for {user}: set {}, name a --password-file, or have it as the first line of stdin",
            password_variable(user)
        )),
    }
}
