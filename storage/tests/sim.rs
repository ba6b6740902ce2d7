//! The engine on a disk that loses its power, again and again, held against what was acknowledged.
//!
//! A seed decides everything: what is appended, in which order the engine's threads go on, when the process ends, and
//! what the disk keeps. `OTTLA_SIM_SEED` runs one seed, `OTTLA_SIM_SEEDS` so many.

#![allow(clippy::unwrap_used)]

mod common;
mod sim_joint_world;
mod sim_transaction_world;
mod sim_world;

use std::time::{Duration, Instant};

use common::seeds;
use sim_world::Ending;
use sim_world::variants::{Variant, run};
use storage::log::Durability;
use storage::testing::sim_disk::{EVERYTHING, Fault};

fn run_all(ending: Ending, deletes_topics: bool, durability: Durability) {
    let variant = Variant::new(ending, deletes_topics, durability);
    let (started, mut worlds, mut ends) = (Instant::now(), 0, 0);
    for seed in seeds(60) {
        let ran = run(seed, variant, &[]);
        ends += ran.unwrap_or_else(|what| panic!("{what}")).ends;
        worlds += 1;
    }
    eprintln!("{ends} ends of {worlds} worlds in {:?}", started.elapsed());
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in seeds(10) {
        for (ending, durability) in [
            (Ending::PowerCut, Durability::Strict),
            (Ending::Kill, Durability::Os),
        ] {
            let ran = || {
                let ran = run(seed, Variant::new(ending, true, durability), &[]);
                ran.unwrap_or_else(|what| panic!("{what}"))
            };
            let (one, other) = (ran(), ran());
            assert_eq!(one.trace, other.trace, "OTTLA_SIM_SEED={seed}");
            assert_eq!(one.history, other.history, "OTTLA_SIM_SEED={seed}");
        }
    }
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    run_all(Ending::PowerCut, false, Durability::Strict);
}

#[test]
fn a_killed_process_leaves_everything_that_was_acknowledged() {
    run_all(Ending::Kill, false, Durability::Strict);
}

#[test]
fn a_deleted_topic_takes_nothing_with_it_and_stays_deleted() {
    run_all(Ending::PowerCut, true, Durability::Strict);
    run_all(Ending::Kill, true, Durability::Strict);
}

#[test]
fn what_a_killed_process_has_not_synced_is_not_relied_on_after_it() {
    for durability in [Durability::Strict, Durability::Os] {
        run_all(Ending::Either, false, durability);
        run_all(Ending::Either, true, durability);
    }
}

/// What the page cache had is lost, but what is left is a log: in order, without a gap, no batch twice.
#[test]
fn in_os_mode_a_power_cut_takes_the_end_of_a_log_and_nothing_else() {
    run_all(Ending::PowerCut, false, Durability::Os);
    run_all(Ending::PowerCut, true, Durability::Os);
}

#[test]
fn in_os_mode_a_killed_process_leaves_everything_that_was_acknowledged() {
    run_all(Ending::Kill, true, Durability::Os);
}

/// Panics unless the checker finds out about the lies in time.
fn must_be_found_out(ending: Ending, lies: &[(&str, Fault)]) {
    let started = Instant::now();
    let variant = Variant::new(ending, false, Durability::Strict);
    let mut worlds = 0;
    while started.elapsed() < Duration::from_secs(20) {
        if let Err(what) = run(worlds, variant, lies) {
            let what = what.lines().next().unwrap_or_default();
            eprintln!("found out after {:?}: {what}", started.elapsed());
            return;
        }
        worlds += 1;
    }
    panic!("{worlds} worlds have not noticed {lies:?}");
}

#[test]
fn writes_that_do_not_wait_for_the_disk_are_found_out() {
    must_be_found_out(Ending::PowerCut, &[("wal/ring-", Fault::IgnoreWriteSync)]);
}

#[test]
fn an_acknowledgement_before_the_write_is_found_out() {
    must_be_found_out(Ending::Kill, &[("wal/ring-", Fault::DelayWrites)]);
}

#[test]
fn a_checkpoint_that_is_not_synced_is_found_out() {
    must_be_found_out(Ending::PowerCut, &[("wal/checkpoint-", Fault::IgnoreSyncs)]);
}

#[test]
fn a_segment_that_is_not_synced_is_found_out() {
    must_be_found_out(Ending::PowerCut, &[(".log", Fault::IgnoreSyncs)]);
}

#[test]
fn a_file_system_that_is_not_synced_is_found_out() {
    must_be_found_out(Ending::PowerCut, &[(EVERYTHING, Fault::IgnoreSyncs)]);
}

#[test]
fn a_directory_that_is_not_synced_is_found_out() {
    must_be_found_out(Ending::PowerCut, &[("", Fault::IgnoreDirSyncs)]);
}

/// Whatever the logs promise otherwise, and whether their segments have been written or not.
#[test]
fn a_joint_append_is_in_all_of_its_logs_or_in_none_after_every_crash() {
    let (started, mut lost, mut kept) = (Instant::now(), 0, 0);
    let seeds = seeds(60);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let ran = sim_joint_world::run(seed);
        let outcome = ran.unwrap_or_else(|what| panic!("{what}"));
        lost += outcome.lost;
        kept += outcome.kept;
    }
    let took = started.elapsed();
    eprintln!("{lost} joint appends lost and {kept} kept of {count} worlds in {took:?}");
    let is_telling = lost > 0 && kept > 0;
    assert!(is_telling || count == 1, "no crash came at the right time");
}

#[test]
fn the_same_seed_is_the_same_run_of_joint_appends() {
    for seed in seeds(10) {
        let run = || sim_joint_world::run(seed).unwrap_or_else(|what| panic!("{what}"));
        assert_eq!(run(), run(), "OTTLA_SIM_SEED={seed}");
    }
}

/// The markers and the record of an end are there or none of them, and all that logs tell of transactions is as before.
#[test]
fn a_transaction_ends_in_all_of_its_logs_or_stays_open_in_all_after_every_crash() {
    let (started, mut lost, mut kept, mut ends) = (Instant::now(), 0, 0, 0);
    let seeds = seeds(20);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let ran = sim_transaction_world::run(seed);
        let outcome = ran.unwrap_or_else(|what| panic!("{what}"));
        lost += outcome.lost;
        kept += outcome.kept;
        ends += outcome.ends;
    }
    let took = started.elapsed();
    eprintln!(
        "of {ends} ends of transactions {lost} were lost and {kept} kept, in {count} worlds and {took:?}"
    );
    let is_telling = lost > 0 && kept > 0;
    assert!(is_telling || count == 1, "no crash came at the right time");
}

#[test]
fn the_same_seed_is_the_same_run_of_transactions() {
    for seed in seeds(3) {
        let run = || sim_transaction_world::run(seed).unwrap_or_else(|what| panic!("{what}"));
        assert_eq!(run(), run(), "OTTLA_SIM_SEED={seed}");
    }
}
