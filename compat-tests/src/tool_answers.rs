//! The same tools with Kafka and with Ottla, and what they say, side by side.
//!
//! A tool writes a transcript: a line that begins with `$ ` or `> ` for what it was asked, then what came back; the last line
//! is `end`. What no two runs have in common has a name in it.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::scenario::comparison::{Deliberate, Difference, judge_of};
use crate::{BrokerProcess, Program, available};

const LIMIT: Duration = Duration::from_secs(600);

/// Gives the command of a program that takes the brokers' addresses as its last argument.
pub type Tool = fn() -> Result<Command>;

/// Runs each tool with both brokers at the same time. Those whose toolchain is missing are left out.
///
/// # Errors
/// An answer differs; a tool does not come to its end.
pub fn same_answers(
    tools: &[(&str, Tool)],
    kafka: &BrokerProcess,
    ottla: &BrokerProcess,
) -> Result<()> {
    same_answers_but((&[], &[]), tools, kafka, ottla)
}

/// The same where some answers are meant to differ: `meant` has what was asked, and what comes back from each; behind it stands
/// what is meant of several brokers besides.
///
/// # Errors
/// Another answer differs, or one that is meant to does not; a tool does not come to its end.
pub fn same_answers_but(
    (meant, of_several): (&'static [Deliberate], &'static [Deliberate]),
    tools: &[(&str, Tool)],
    kafka: &BrokerProcess,
    ottla: &BrokerProcess,
) -> Result<()> {
    let mut differences = Vec::new();
    for (name, tool) in tools {
        if available(tool())?.is_none() {
            continue;
        }
        let (by_kafka, by_ottla) = both(|| answers(*tool, kafka), || answers(*tool, ottla));
        let by_kafka = by_kafka.with_context(|| format!("{name} with Kafka"))?;
        let by_ottla =
            by_ottla.with_context(|| format!("{name} with Ottla\n{}", ottla.log_tail()))?;
        for (by_kafka, by_ottla) in by_kafka.iter().zip(&by_ottla) {
            if by_kafka != by_ottla {
                let (asked, kafka) = by_kafka.split_once('\n').unwrap_or((by_kafka, ""));
                let (asked_too, ottla) = by_ottla.split_once('\n').unwrap_or((by_ottla, ""));
                ensure!(asked == asked_too, "{name}: {asked}, or {asked_too}?");
                differences.push(Difference {
                    at: asked.to_owned(),
                    kafka: kafka.to_owned(),
                    ottla: ottla.to_owned(),
                });
            }
        }
        ensure!(
            by_kafka.len() == by_ottla.len(),
            "{name}: not as many answers"
        );
    }
    let verdict = judge_of(ottla.count(), differences, meant, of_several);
    for Difference { at, kafka, ottla } in &verdict.unexpected {
        println!("{at}\nwith Kafka:\n{kafka}\nwith Ottla:\n{ottla}\n");
    }
    for outdated in &verdict.outdated {
        println!("not a difference any more, remove it from the table: {outdated:?}");
    }
    ensure!(
        verdict.unexpected.is_empty() && verdict.outdated.is_empty(),
        "{} answers differ, {} outdated entries: see above",
        verdict.unexpected.len(),
        verdict.outdated.len(),
    );
    Ok(())
}

/// What the tool was asked and what came back, one text for each.
fn answers(tool: Tool, broker: &BrokerProcess) -> Result<Vec<String>> {
    let bootstrap = broker.bootstrap();
    let mut command = tool()?;
    command.arg(&bootstrap);
    let mut lines = Program::start(command, LIMIT)?.finish_with_lines()?;
    ensure!(lines.pop().as_deref() == Some("end"), "not run to its end");

    let mut answers: Vec<String> = Vec::new();
    for line in lines {
        if line.starts_with("$ ") || line.starts_with("> ") {
            answers.push(line);
        } else {
            let answer = answers.last_mut().context("an answer before a question")?;
            answer.push('\n');
            answer.push_str(&line);
        }
    }
    ensure!(!answers.is_empty(), "nothing was asked");
    Ok(match broker.count() {
        1 => answers,
        _ => answers
            .iter()
            .map(|answer| as_by_one(answer, &bootstrap))
            .collect(),
    })
}

/// What one of several brokers said, as if it were the only one.
fn as_by_one(answer: &str, bootstrap: &str) -> String {
    let mut answer = answer.to_owned();
    for (address, id) in bootstrap.split(',').zip(1..) {
        answer = answer.replace(address, "BROKER");
        answer = answer.replace(&address.replace(':', " "), "BROKER");
        answer = answer.replace(&format!("BROKER ({id})"), "BROKER (1)");
        let node = format!("BROKER (id: {id} rack: rack-{id} ");
        answer = answer.replace(&node, "BROKER (id: 1 rack: null ");
    }
    answer
}

/// Two things at the same time: most of both is waiting.
///
/// # Errors
/// Theirs; one panics.
pub fn both<A: Send, B: Send>(
    first: impl FnOnce() -> Result<A> + Send,
    second: impl FnOnce() -> Result<B> + Send,
) -> (Result<A>, Result<B>) {
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        let first = first.join().unwrap_or_else(|_| Err(anyhow!("panicked")));
        (first, second)
    })
}
