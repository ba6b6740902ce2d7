//! When a segment ends.

use std::collections::BTreeSet;

use super::open_files::OpenFiles;
use super::*;
use crate::env::wakeup::Wakeup;

/// A segment of its own log, with one batch of time 0 in it.
fn begun(log: &str) -> OpenSegment {
    let open_files = OpenFiles::new(10, Arc::new(Wakeup::default()));
    let dir = LogPath::new(PathBuf::from(log), &open_files);
    let mut open = OpenSegment::new(Segment::new(dir, 0, 0), 0);
    open.append(&batch(0, 0), 4096);
    open
}

fn batch(last_offset: i64, max_timestamp: i64) -> Incoming {
    Incoming {
        last_offset,
        max_timestamp,
        bytes: 100,
    }
}

/// How long the segment waits before a batch begins another.
fn waits_ms(open: &OpenSegment, config: &LogConfig) -> i64 {
    let rolls = |waited_ms| open.must_roll(config, &batch(1, waited_ms), 0);
    let (mut stays_ms, mut rolls_ms) = (-1, config.segment_ms + 1);
    assert!(rolls(rolls_ms));
    while rolls_ms - stays_ms > 1 {
        let middle_ms = (stays_ms + rolls_ms) / 2;
        match rolls(middle_ms) {
            true => rolls_ms = middle_ms,
            false => stays_ms = middle_ms,
        }
    }
    stays_ms
}

#[test]
fn each_segment_ends_up_to_the_jitter_sooner_than_its_time_and_always_after_the_same() {
    for (segment_ms, segment_jitter_ms) in [
        (10_000, 0),
        (10_000, 1),
        (10_000, 4_000),
        (10_000, i64::MAX),
    ] {
        let config = LogConfig {
            segment_ms,
            segment_jitter_ms,
            ..LogConfig::default()
        };
        let waits = |log: i32| waits_ms(&begun(&format!("/data/topic-{log}")), &config);
        let all: Vec<i64> = (0..200).map(waits).collect();
        assert_eq!(all, (0..200).map(waits).collect::<Vec<_>>());
        let soonest_ms = segment_ms - (segment_jitter_ms.min(segment_ms) - 1).max(0);
        let range = soonest_ms..=segment_ms;
        assert!(
            all.iter().all(|waits_ms| range.contains(waits_ms)),
            "{all:?}"
        );
        let different = all.iter().collect::<BTreeSet<_>>().len();
        match segment_jitter_ms {
            0 | 1 => assert_eq!(different, 1),
            _ => assert!(different > 150, "{different} different times of 200 logs"),
        }
    }
}
