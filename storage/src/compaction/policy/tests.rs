use super::*;

const NOW_MS: i64 = 10_000_000;

/// Ten closed segments of 100 offsets and 1000 bytes each; the newer, the later.
fn segments() -> Vec<SegmentSummary> {
    (0..10)
        .map(|at| SegmentSummary {
            base_offset: at * 100,
            size_bytes: 1_000,
            offset_index_bytes: 80,
            time_index_bytes: 120,
            largest_timestamp: NOW_MS - 1_000 + at * 100 + 99,
            first_batch_timestamp: NOW_MS - 1_000 + at * 100,
        })
        .collect()
}

const BOUNDS: LogBounds = LogBounds {
    log_start_offset: 0,
    last_stable_offset: 1_050,
    log_end_offset: 1_050,
    active_base_offset: 1_000,
};

fn plan(bounds: LogBounds, checkpoint: Option<i64>, config: &LogConfig) -> LogToClean {
    LogToClean::new(&bounds, &segments(), checkpoint, config, NOW_MS)
}

#[test]
fn a_log_never_cleaned_is_dirty_up_to_the_active_segment() {
    let config = LogConfig::default();
    let plan = plan(BOUNDS, None, &config);
    let expected = LogToClean {
        first_dirty_offset: 0,
        first_uncleanable_offset: 1_000,
        clean_bytes: 0,
        cleanable_bytes: 10_000,
        overdue_ms: 0,
        reset_checkpoint: false,
    };
    assert_eq!(plan, expected);
    assert!(plan.is_due(&config));
}

#[test]
fn the_dirty_ratio_has_to_be_exceeded_and_not_just_reached() {
    for (checkpoint, ratio, due) in [(400, 0.6, true), (500, 0.5, false), (1_000, 0.0, false)] {
        let config = LogConfig::default();
        let plan = plan(BOUNDS, Some(checkpoint), &config);
        assert_eq!(plan.dirty_ratio(), ratio);
        assert_eq!(plan.is_due(&config), due);
    }
    // A segment that is dirty in part counts on both sides, as in Kafka.
    let plan = plan(BOUNDS, Some(450), &LogConfig::default());
    assert_eq!((plan.clean_bytes, plan.cleanable_bytes), (5_000, 6_000));
}

#[test]
fn nothing_at_or_above_the_last_stable_offset_is_cleaned_and_only_whole_segments_are() {
    for (last_stable_offset, first_uncleanable_offset) in [
        (0, 0),
        (99, 0),
        (100, 100),
        (555, 500),
        (999, 900),
        (1_049, 1_000),
    ] {
        let bounds = LogBounds {
            last_stable_offset,
            ..BOUNDS
        };
        let plan = plan(bounds, None, &LogConfig::default());
        assert_eq!(plan.first_uncleanable_offset, first_uncleanable_offset);
        assert_eq!(plan.cleanable_bytes as i64, first_uncleanable_offset * 10);
    }
    // Neither is it when more than that has been cleaned before: there is just nothing to do.
    let bounds = LogBounds {
        last_stable_offset: 150,
        ..BOUNDS
    };
    let plan = plan(bounds, Some(520), &LogConfig::default());
    assert_eq!(
        (plan.first_dirty_offset, plan.first_uncleanable_offset),
        (520, 500)
    );
    assert_eq!(plan.cleanable_bytes, 0);
}

#[test]
fn segments_with_a_record_younger_than_the_minimum_lag_are_left_alone() {
    for (min_compaction_lag_ms, first_uncleanable_offset) in [
        (0, 1_000),
        (1, 1_000),
        (2, 900),
        (500, 500),
        (502, 400),
        (5_000, 0),
    ] {
        let config = LogConfig {
            min_compaction_lag_ms,
            ..LogConfig::default()
        };
        let plan = plan(BOUNDS, None, &config);
        assert_eq!(
            plan.first_uncleanable_offset, first_uncleanable_offset,
            "{min_compaction_lag_ms}"
        );
    }
}

#[test]
fn a_record_dirty_for_longer_than_the_maximum_lag_makes_the_log_due() {
    for (max_compaction_lag_ms, overdue_ms) in
        [(99, 1), (100, 0), (50, 50), (0, 100), (i64::MAX, 0)]
    {
        let config = LogConfig {
            max_compaction_lag_ms,
            ..LogConfig::default()
        };
        let plan = plan(BOUNDS, Some(900), &config);
        assert_eq!(plan.overdue_ms, overdue_ms);
        assert_eq!(plan.is_due(&config), overdue_ms > 0);
    }
    // Of a segment without timestamps nothing is known, so nothing is overdue.
    let mut segments = segments();
    segments
        .iter_mut()
        .for_each(|s| s.first_batch_timestamp = -1);
    let config = LogConfig {
        max_compaction_lag_ms: 0,
        ..LogConfig::default()
    };
    let plan = LogToClean::new(&BOUNDS, &segments, Some(0), &config, NOW_MS);
    assert_eq!(plan.overdue_ms, 0);
}

#[test]
fn a_checkpoint_outside_of_the_log_is_reset_to_its_start() {
    let bounds = LogBounds {
        log_start_offset: 120,
        ..BOUNDS
    };
    for (checkpoint, first_dirty_offset, reset) in [
        (None, 120, false),
        (Some(119), 120, true),
        (Some(120), 120, false),
        (Some(1_050), 1_050, false),
        (Some(1_051), 120, true),
    ] {
        let plan = plan(bounds, checkpoint, &LogConfig::default());
        assert_eq!(
            (plan.first_dirty_offset, plan.reset_checkpoint),
            (first_dirty_offset, reset)
        );
    }
}

#[test]
fn an_empty_log_is_not_due_and_the_dirtiest_is_first() {
    let bounds = LogBounds {
        log_start_offset: 0,
        last_stable_offset: 0,
        log_end_offset: 0,
        active_base_offset: 0,
    };
    let config = LogConfig {
        min_cleanable_dirty_ratio: 0.0,
        max_compaction_lag_ms: 0,
        ..LogConfig::default()
    };
    let empty = LogToClean::new(&bounds, &[], None, &config, NOW_MS);
    assert!(!empty.is_due(&config));
    let candidates =
        [500, 100, 900].map(|checkpoint| (checkpoint, plan(BOUNDS, Some(checkpoint), &config)));
    assert_eq!(filthiest(candidates).map(|(log, _)| log), Some(100));
    assert_eq!(filthiest::<()>([]), None);
}

#[test]
fn segments_are_grouped_within_the_limits_of_one_segment() {
    let lens = |segments: &[SegmentSummary], config: &LogConfig, end: i64| {
        let mut rest = segments;
        let mut lens = Vec::new();
        while !rest.is_empty() {
            let len = group_len(rest, config, end);
            lens.push(len);
            rest = &rest[len..];
        }
        lens
    };
    let config = |segment_bytes, segment_index_bytes| LogConfig {
        segment_bytes,
        segment_index_bytes,
        ..LogConfig::default()
    };
    let ten = segments();
    assert_eq!(lens(&ten, &config(10_000, 10_000), 1_000), [10]);
    assert_eq!(lens(&ten, &config(3_999, 10_000), 1_000), [3, 3, 3, 1]);
    assert_eq!(lens(&ten, &config(1, 10_000), 1_000), [1; 10]);
    // The time index is the larger one.
    assert_eq!(lens(&ten, &config(10_000, 480), 1_000), [4, 4, 2]);

    // Offsets in a segment are relative to its base, in 31 bits.
    let far = |base_offset, size_bytes| SegmentSummary {
        base_offset,
        size_bytes,
        ..ten[0]
    };
    let limit = i64::from(i32::MAX);
    let config = config(10_000, 10_000);
    let two = [far(0, 1), far(10, 1)];
    assert_eq!(lens(&two, &config, limit + 1), [2]);
    assert_eq!(lens(&two, &config, limit + 2), [1, 1]);
    let three = [far(0, 1), far(10, 1), far(limit + 2, 1)];
    assert_eq!(lens(&three, &config, limit + 5), [1, 2]);
    // An empty segment has no offsets that could be too far away.
    assert_eq!(lens(&[far(0, 1), far(10, 0)], &config, i64::MAX), [2]);
}
