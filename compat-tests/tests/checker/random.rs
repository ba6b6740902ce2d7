//! Thousands of histories of a model broker: nothing is found in a good one's, and every fault of a broken one's.

use anyhow::{Context as _, Result};
use compat_tests::checker::{Kind, check};
use compat_tests::toolchain::seed;

use crate::model;

const HISTORIES: u64 = 300;
const STEPS: u32 = 600;

#[test]
fn nothing_is_found_in_what_a_good_broker_does() {
    let first = seed();
    for seed in first..first + HISTORIES {
        let (history, _) = model::run(seed, STEPS, None);
        let findings = check(&history);
        assert_eq!(findings, [], "SEED={seed}");
    }
}

#[test]
fn a_broker_is_caught_that_is_broken_in_any_way() {
    let first = seed();
    for kind in Kind::ALL {
        let mut caught = 0;
        for seed in first..first + HISTORIES / 10 {
            let (history, sins) = model::run(seed, STEPS, Some(kind));
            let findings = check(&history);
            let is_caught = findings.iter().any(|finding| finding.kind == kind);
            caught += u64::from(is_caught);
            assert!(sins > 0 || findings.is_empty(), "SEED={seed}: {findings:?}");
        }
        // A transaction's end or a reader's position may hide a fault.
        println!("{kind:?}: {caught} of {}", HISTORIES / 10);
        assert!(caught > 0, "SEED={first}: {kind:?} is never caught");
    }
}

/// Ten times the history takes about ten times as long; a hundred times would be quadratic.
#[test]
fn the_time_is_linear_in_the_history() -> Result<()> {
    let time = |steps| -> Result<u64> {
        let (history, _) = model::run(1, steps, None);
        let mut best = u64::MAX;
        for _ in 0..3 {
            let began = thread_time_ns()?;
            assert_eq!(check(&history), []);
            best = best.min(thread_time_ns()? - began);
        }
        Ok(best)
    };
    let (short, long) = (time(4_000)?, time(40_000)?);
    assert!(
        long < short * 40,
        "{short} ns for 4,000 steps, {long} ns for 40,000"
    );
    Ok(())
}

/// Nanoseconds that this thread has had a CPU for: other processes do not count.
fn thread_time_ns() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let on_cpu = stat.split(' ').next().context("it has three numbers")?;
    Ok(on_cpu.parse()?)
}
