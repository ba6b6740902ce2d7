//! Kill -9 while a pipeline copies numbers from topic to topic in transactions: each number arrives once, in order.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use compat_tests::java::KafkaTools;
use compat_tests::python::Python;
use compat_tests::toolchain::seed;
use compat_tests::{BrokerProcess, Program, available, go};

/// Every number is there once, and none before a smaller one of its partition.
const FLAWLESS: &str = r#"{"invented":0,"lost":0,"twice":0,"unordered":0}"#;

type Pipeline = fn() -> Result<Command>;

const BY_LIBRDKAFKA: Pipeline =
    || Ok(Python::with("confluent-kafka", "2.16.1")?.command("exactly_once.py", &[]));
const BY_FRANZ_GO: Pipeline = || go::program("exactly-once").map(Command::new);
const BY_JAVA: Pipeline = || Ok(KafkaTools::new()?.command("ExactlyOnce", &[]));
const BY_AIOKAFKA: Pipeline =
    || Ok(Python::with("aiokafka", "0.14.0")?.command("exactly_once.py", &[]));

fn kill_and_restart(pipeline: Pipeline, kills: u32) -> Result<()> {
    let Some(mut command) = available(pipeline())? else {
        return Ok(());
    };
    let Some(mut broker) = available(BrokerProcess::start())? else {
        return Ok(());
    };
    command.arg(broker.bootstrap());
    let limit = Duration::from_secs(120 + 60 * u64::from(kills));
    let mut program = Program::start(command, limit)?;
    let mut random = seed();
    for _ in 0..kills {
        // A transaction after each start, then a moment that nobody chose.
        program
            .wait_for_line("# committed")
            .with_context(|| broker.log_tail())?;
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        std::thread::sleep(Duration::from_micros(random >> 46));
        broker.kill9()?;
        broker.restart()?;
    }
    program
        .wait_for_line("# committed")
        .with_context(|| broker.log_tail())?;
    let result = program.finish().with_context(|| broker.log_tail())?;
    let result = result.replace(' ', "");
    assert_eq!(result, FLAWLESS, "{}", broker.log_tail());
    broker.terminate()
}

/// Makes of each row a test with three kills, and one with twenty that is run by hand.
macro_rules! pipelines {
    ($($quick:ident, $long:ident: $pipeline:expr;)*) => {$(
        #[test]
        fn $quick() -> Result<()> {
            kill_and_restart($pipeline, 3)
        }

        #[test]
        #[ignore = "takes minutes: run it with `cargo test -p compat-tests --test exactly_once -- --ignored`"]
        fn $long() -> Result<()> {
            kill_and_restart($pipeline, 20)
        }
    )*};
}

pipelines! {
    librdkafka_copies_exactly_once_through_three_kills, librdkafka_copies_exactly_once_through_twenty_kills: BY_LIBRDKAFKA;
    franz_go_copies_exactly_once_through_three_kills, franz_go_copies_exactly_once_through_twenty_kills: BY_FRANZ_GO;
    java_copies_exactly_once_through_three_kills, java_copies_exactly_once_through_twenty_kills: BY_JAVA;
    aiokafka_copies_exactly_once_through_three_kills, aiokafka_copies_exactly_once_through_twenty_kills: BY_AIOKAFKA;
}
