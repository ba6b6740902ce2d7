//! Stock clients log in, with the right password and with a wrong one, and go on when their time is over.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use compat_tests::{BrokerKind, toolchain};

use super::Secured;
use super::client_programs::{CLIENTS, Client};
use super::same_log_ins::make_alice;

/// One log-in of one client.
struct LogIn<'a> {
    mechanism: &'a str,
    user: &'a str,
    password: &'a str,
    seconds: u32,
}

fn run(client: &Client, broker: &Secured, log_in: &LogIn<'_>) -> Result<Option<String>> {
    let Some(mut command): Option<Command> = toolchain::available((client.command)())? else {
        return Ok(None);
    };
    command.arg(broker.login.to_string());
    command.args([log_in.mechanism, log_in.user, log_in.password, "topic"]);
    command.arg(log_in.seconds.to_string());
    Ok(Some(toolchain::run(&mut command)?))
}

fn start(properties: &[(&str, &str)]) -> Result<Secured> {
    let broker = Secured::start(BrokerKind::Ottla, properties)?;
    make_alice(&broker.broker)?;
    Ok(broker)
}

fn every_client(properties: &[(&str, &str)], log_ins: &[(LogIn<'_>, bool)]) -> Result<()> {
    let broker = start(properties)?;
    let only = std::env::var("SECURITY_CLIENT").ok();
    for client in CLIENTS {
        if only.as_deref().is_some_and(|only| only != client.name) {
            continue;
        }
        for (log_in, is_good) in log_ins {
            let LogIn {
                mechanism, user, ..
            } = log_in;
            // It leaves SCRAM to others.
            if client.name.starts_with("sarama") && *mechanism != "PLAIN" {
                continue;
            }
            let what = format!("{} with {mechanism} as {user}", client.name);
            let told = run(client, &broker, log_in).with_context(|| what.clone())?;
            let Some(told) = told else {
                continue;
            };
            let expected = if *is_good { "read value" } else { "refused" };
            ensure!(
                told.contains(expected),
                "{what}: {told}\n{}",
                broker.broker.log_tail()
            );
        }
    }
    let log = broker.broker.log();
    ensure!(!log.contains("-secret") && !log.contains("canary"), "{log}");
    Ok(())
}

const fn log_in<'a>(mechanism: &'a str, user: &'a str, password: &'a str) -> LogIn<'a> {
    LogIn {
        mechanism,
        user,
        password,
        seconds: 0,
    }
}

#[test]
fn every_client_logs_in_with_the_right_password_and_with_no_other() -> Result<()> {
    every_client(
        &[],
        &[
            (log_in("SCRAM-SHA-512", "alice", "alice-secret"), true),
            (log_in("PLAIN", "bob", "bob-secret"), true),
            (log_in("PLAIN", "alice", "canary"), false),
        ],
    )
}

/// `SECURITY_CLIENT=NAME` runs one client. Takes a minute.
#[test]
#[ignore = "waits for log-ins to run out: cargo test -p compat-tests --test security -- --ignored"]
fn every_client_goes_on_when_its_log_in_runs_out() -> Result<()> {
    let good = |mechanism, seconds| LogIn {
        mechanism,
        user: "alice",
        password: "alice-secret",
        seconds,
    };
    every_client(
        &[("connections.max.reauth.ms", "2000")],
        &[
            (good("SCRAM-SHA-256", 7), true),
            (good("PLAIN", 5), true),
            (log_in("SCRAM-SHA-256", "alice", "canary"), false),
            (log_in("SCRAM-SHA-512", "nobody", "canary"), false),
        ],
    )
}
