//! Every simulated world there is, one of each kind after the other, with fresh seeds for `OTTLA_SIM_MINUTES`.

#![allow(clippy::unwrap_used, dead_code)]

mod common;
mod sim_compaction_world;
mod sim_transaction_world;
mod sim_world;

use std::time::{Duration, Instant};

use common::{minutes, seeds};
use sim_world::variants::{Variant, run};

const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Worlds of one kind.
struct Kind {
    name: String,
    run: Box<dyn Fn(u64) -> Result<u64, String>>,
    ends: u64,
    failed: Vec<u64>,
}

impl Kind {
    fn new(name: String, run: impl Fn(u64) -> Result<u64, String> + 'static) -> Self {
        Self {
            name,
            run: Box::new(run),
            ends: 0,
            failed: Vec::new(),
        }
    }
}

fn report(kinds: &[Kind], began: Instant) {
    eprintln!("after {} s:", began.elapsed().as_secs());
    for kind in kinds {
        eprintln!(
            "  {:>9} ends, failed {:?}: {}",
            kind.ends, kind.failed, kind.name
        );
    }
}

#[test]
#[ignore = "for as long as one likes: OTTLA_SIM_MINUTES"]
fn every_kind_of_world_holds() {
    let mut kinds: Vec<_> = Variant::all()
        .into_iter()
        .map(|variant| {
            let ran = move |seed| run(seed, variant, &[]).map(|ran| ran.ends);
            Kind::new(format!("{variant:?}"), ran)
        })
        .collect();
    kinds.push(Kind::new("transactions".to_owned(), |seed| {
        sim_transaction_world::run(seed).map(|outcome| u64::from(outcome.ends))
    }));
    kinds.push(Kind::new("compaction".to_owned(), |seed| {
        sim_compaction_world::run(seed).map(|_| sim_compaction_world::ENDS)
    }));
    let (began, mut reported) = (Instant::now(), Instant::now());
    for seed in seeds(u64::MAX >> 24) {
        for at in 0..kinds.len() {
            let kind = &mut kinds[at];
            match (kind.run)(seed) {
                Ok(ends) => kind.ends += ends,
                Err(what) => {
                    eprintln!("{}: {what}", kind.name);
                    kind.failed.push(seed);
                    if what.contains("panicked") {
                        // Nothing can be run in this process any more.
                        report(&kinds, began);
                        panic!("OTTLA_SIM_SEED={seed}");
                    }
                }
            }
        }
        if began.elapsed() >= minutes() {
            break;
        }
        if reported.elapsed() >= REPORT_INTERVAL {
            report(&kinds, began);
            reported = Instant::now();
        }
    }
    report(&kinds, began);
    assert!(kinds.iter().all(|kind| kind.failed.is_empty()));
}
