//! Tail read: four consumers read what was just produced, as fast as they can.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::cold_fetch::{fetch, measure};
use super::produce::bulk_load;
use super::{Workload, window};
use crate::bench::admin::{self, Topic};
use crate::bench::contender::{Contender, KAFKA, OTTLA, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::probe;

/// Less than Ottla keeps of the ends of its logs.
const TAIL_BYTES: u64 = 48 << 20;
/// How often something else is produced: a log that nobody writes to is let go after a while.
const STIR_INTERVAL: Duration = Duration::from_millis(500);

pub(super) fn workload() -> Workload {
    Workload {
        name: "tail-read",
        about: "Four consumers, three of 12 partitions each, read the 48 MiB that were produced last, again and \
                again, as fast as they can: both brokers have them in memory. `from disk` is what storage gave \
                the broker's process meanwhile, in percent of what was fetched.",
        contenders: vec![OTTLA, KAFKA],
        targets: vec![
            Target::absolute(&OTTLA, "CPU per GB", Limit::AtMost(0.45)),
            Target::ratio("CPU per GB", &OTTLA, &KAFKA, Limit::AtMost(0.5)),
        ],
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let tail = Topic::bench(12);
    let other = Topic {
        name: "other".to_owned(),
        partitions: 1,
    };
    let broker = contender.start()?;
    admin::create_topics(broker.address(), &[tail.clone(), other.clone()])?;
    let ends = bulk_load(vec![tail.clone()])
        .fill(broker.address(), TAIL_BYTES)?
        .swap_remove(0);
    let window = window(settings);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let stirring = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                probe::produce(broker.address(), &other)?;
                thread::sleep(STIR_INTERVAL);
            }
            Ok(())
        });
        let measured = (|| {
            while Instant::now() < window.from {
                fetch(&broker, &tail, &ends)?;
            }
            measure(&broker, || {
                let mut bytes = 0;
                while Instant::now() < window.until {
                    bytes += fetch(&broker, &tail, &ends)?;
                }
                Ok(bytes)
            })
        })();
        done.store(true, Ordering::Relaxed);
        let stirred: Result<()> = stirring
            .join()
            .map_err(|_| anyhow!("the producer panicked"))?;
        stirred.and(measured)
    })
}
