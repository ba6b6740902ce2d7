//! A compacted log with transactions on a disk that loses its power: what a reader that waits for commits makes
//! of it is what was committed, however much has been compacted.
//!
//! A seed decides everything. `OTTLA_SIM_SEED` runs one seed, `OTTLA_SIM_SEEDS` so many.

#![allow(clippy::unwrap_used)]

mod common;
mod sim_compaction_world;

use std::time::{Duration, Instant};

use common::{append, open_with, seeds, trusted};
use sim_compaction_world::{Outcome, World, config};
use storage::record::BatchBuilder;
use storage::testing::scheduler::{self, sleep};

fn run(seed: u64) -> Outcome {
    sim_compaction_world::run(seed).unwrap_or_else(|what| panic!("{what}"))
}

#[test]
fn what_was_committed_survives_compaction_and_power_cuts_and_nothing_else_does() {
    let (started, seeds) = (Instant::now(), seeds(60));
    let count = seeds.end - seeds.start;
    let cleaned = seeds.filter(|seed| run(*seed).0).count();
    eprintln!(
        "{cleaned} of {count} worlds compacted in {:?}",
        started.elapsed()
    );
    assert!(cleaned > 0 || count == 1, "nothing was compacted");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in seeds(10) {
        assert_eq!(run(seed), run(seed), "OTTLA_SIM_SEED={seed}");
    }
}

#[test]
fn a_closed_segment_is_compacted_although_no_other_follows() {
    for seed in seeds(60) {
        let ran = scheduler::run(seed, move || async move {
            let world = World::new(seed);
            let manager = world.start(None, true)?;
            let log = open_with(&manager, "topic", 0, config());
            let segment_bytes = config().segment_bytes;
            while log.size_bytes() <= segment_bytes {
                let mut builder = BatchBuilder::new();
                builder.append(1_000, Some(b"key"), Some(&[b'x'; 100]), &[]);
                let batch = trusted(builder.build().unwrap());
                append(&log, batch)
                    .await
                    .map_err(|error| error.to_string())?;
            }
            let is_cleaned = || manager.stats().is_some_and(|stats| stats.cleaner_runs > 0);
            for _ in 0..1_000 {
                if is_cleaned() {
                    break;
                }
                sleep(Duration::from_secs(1)).await;
            }
            let cleaned = is_cleaned();
            world.disk.kill();
            Ok(cleaned)
        });
        assert_eq!(ran, Ok(true), "OTTLA_SIM_SEED={seed}");
    }
}
