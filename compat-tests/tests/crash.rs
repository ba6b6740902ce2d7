//! Kill -9 in the middle of everything: what was acknowledged is there, once, in order, where it was said.

use std::time::Duration;

use anyhow::{Context as _, Result};
use compat_tests::python::Python;
use compat_tests::{BrokerProcess, Program, available};

/// Nothing lost, nothing twice, nothing moved.
const FLAWLESS: &str = concat!(
    r#"{"failed": 0, "lost": 0, "misplaced": 0, "offsets_with_gaps": 0, "stored_twice": 0, "#,
    r#""unacknowledged": 0, "unordered": 0}"#
);

fn kill_and_restart(kills: u32) -> Result<()> {
    let Some(python) = available(Python::with("confluent-kafka", "2.16.1"))? else {
        return Ok(());
    };
    let Some(mut broker) = available(BrokerProcess::start())? else {
        return Ok(());
    };
    let limit = Duration::from_secs(60 + 30 * u64::from(kills));
    let mut program = Program::start(python.command("crash.py", &[&broker.bootstrap()]), limit)?;
    let mut seed = u64::from(std::process::id());
    println!("seed {seed}");
    for _ in 0..kills {
        // Some acknowledgements after each start, then a moment that nobody chose.
        program
            .wait_for_line("# acknowledged")
            .with_context(|| broker.log_tail())?;
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros(seed >> 46));
        broker.kill9()?;
        broker.restart()?;
    }
    program
        .wait_for_line("# acknowledged")
        .with_context(|| broker.log_tail())?;
    let result = program.finish().with_context(|| broker.log_tail())?;
    assert_eq!(result, FLAWLESS, "{}", broker.log_tail());
    broker.terminate()
}

#[test]
fn an_idempotent_producer_survives_five_kills_without_loss_or_duplicates() -> Result<()> {
    kill_and_restart(5)
}

#[test]
#[ignore = "takes minutes: run it with `cargo test -p compat-tests --test crash -- --ignored`"]
fn an_idempotent_producer_survives_a_hundred_kills_without_loss_or_duplicates() -> Result<()> {
    kill_and_restart(100)
}
