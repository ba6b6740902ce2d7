//! How worlds differ, and how one of them is run.
#![allow(dead_code)]

use storage::log::Durability;
use storage::testing::scheduler;
use storage::testing::sim_disk::Fault;

use super::{Ending, World};

/// What all worlds of a kind have in common; the rest is their seeds'.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub ending: Ending,
    pub deletes_topics: bool,
    pub durability: Durability,
}

impl Variant {
    pub fn new(ending: Ending, deletes_topics: bool, durability: Durability) -> Self {
        Self {
            ending,
            deletes_topics,
            durability,
        }
    }

    /// Every one there is.
    pub fn all() -> Vec<Self> {
        let endings = [Ending::PowerCut, Ending::Kill, Ending::Either];
        let durabilities = [Durability::Strict, Durability::Os];
        let kinds = endings
            .into_iter()
            .flat_map(|ending| durabilities.map(|durability| (ending, durability)));
        kinds
            .flat_map(|(ending, durability)| {
                [false, true].map(|deletes| Self::new(ending, deletes, durability))
            })
            .collect()
    }
}

/// How one world went.
pub struct Run {
    pub ends: u64,
    /// What it did to its disk, and what it noted.
    pub history: u64,
    pub trace: Vec<String>,
}

/// Runs one world from its first start to its last check.
///
/// # Errors
/// What went wrong, and what came before.
pub fn run(seed: u64, variant: Variant, lies: &[(&str, Fault)]) -> Result<Run, String> {
    let Variant {
        ending,
        deletes_topics,
        durability,
    } = variant;
    let mut world = World::new(seed, ending, deletes_topics, durability);
    for (part, fault) in lies {
        world.disk.fault(part, *fault, u32::MAX);
    }
    let ran = scheduler::run(seed, || async {
        match world.run().await {
            Ok(()) => Ok(Run {
                ends: world.ends,
                history: world.disk.history(),
                trace: std::mem::take(&mut world.trace),
            }),
            Err(what) => {
                let report = world.report(&what);
                // What has gone wrong may also keep the engine from closing.
                std::mem::forget(world);
                Err(report)
            }
        }
    });
    ran.map_err(|what| format!("OTTLA_SIM_SEED={seed} {what}"))
}
