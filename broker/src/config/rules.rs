//! How the broker's settings have to fit together: Kafka's `KafkaConfig.validateValues`, `GroupCoordinatorConfig` and
//! the like, for the keys that Ottla knows. They hold for the file and for every change while the broker runs.

use super::connections::{OVERRIDES, parse_overrides};

/// What is in force for a key; `None` is Kafka's null.
pub(super) type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Two settings that contradict each other, or a value that passed the check of its row and cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// The key to look at.
    pub key: &'static str,
    pub what: String,
}

/// How two settings of groups have to compare, as Kafka's `GroupCoordinatorConfig` says it; the classic session
/// timeouts are checked here alone.
#[rustfmt::skip] // a table: one row per rule
const GROUP_LIMITS: &[(&str, Comparison, &str)] = {
    use Comparison::{AtLeast, AtMost, LessThan};
    &[
        ("group.max.session.timeout.ms", AtLeast, "group.min.session.timeout.ms"),
        ("group.consumer.max.heartbeat.interval.ms", AtLeast, "group.consumer.min.heartbeat.interval.ms"),
        ("group.consumer.heartbeat.interval.ms", AtLeast, "group.consumer.min.heartbeat.interval.ms"),
        ("group.consumer.heartbeat.interval.ms", AtMost, "group.consumer.max.heartbeat.interval.ms"),
        ("group.consumer.max.session.timeout.ms", AtLeast, "group.consumer.min.session.timeout.ms"),
        ("group.consumer.session.timeout.ms", AtLeast, "group.consumer.min.session.timeout.ms"),
        ("group.consumer.session.timeout.ms", AtMost, "group.consumer.max.session.timeout.ms"),
        ("group.consumer.heartbeat.interval.ms", LessThan, "group.consumer.session.timeout.ms"),
        ("group.consumer.max.assignment.interval.ms", AtLeast, "group.consumer.min.assignment.interval.ms"),
        ("group.consumer.assignment.interval.ms", AtLeast, "group.consumer.min.assignment.interval.ms"),
        ("group.consumer.assignment.interval.ms", AtMost, "group.consumer.max.assignment.interval.ms"),
        ("group.share.assignment.interval.ms", AtLeast, "group.share.min.assignment.interval.ms"),
        ("group.share.assignment.interval.ms", AtMost, "group.share.max.assignment.interval.ms"),
        ("group.streams.assignment.interval.ms", AtLeast, "group.streams.min.assignment.interval.ms"),
        ("group.streams.assignment.interval.ms", AtMost, "group.streams.max.assignment.interval.ms"),
    ]
};

#[derive(Clone, Copy)]
enum Comparison {
    AtLeast,
    AtMost,
    LessThan,
}

/// Holds the settings against each other. Each value has passed its row.
pub(super) fn check_together(value: &Lookup<'_>) -> Result<(), Misfit> {
    let number = |key: &str| -> Option<i64> { value(key)?.trim().parse().ok() };
    let refuse = |key: &'static str, what: String| Err(Misfit { key, what });
    for key in [
        "log.retention.ms",
        "log.retention.minutes",
        "log.retention.hours",
    ] {
        if number(key) == Some(0) {
            let what = "must be unlimited (-1) or at least 1".to_owned();
            return refuse(key, what);
        }
    }
    for (key, least) in [("log.roll.ms", 1), ("log.roll.jitter.ms", 0)] {
        if number(key).is_some_and(|number| number < least) {
            return refuse(key, format!("Value must be at least {least}"));
        }
    }
    let threads = number("log.cleaner.threads").unwrap_or(1);
    if threads == 0 {
        return refuse("log.cleaner.threads", "Value must be at least 1".to_owned());
    }
    const KEY: &str = "log.cleaner.dedupe.buffer.size";
    if number(KEY).is_some_and(|bytes| bytes / threads <= 1 << 20) {
        return refuse(KEY, "must be more than 1 MiB per cleaner thread".to_owned());
    }
    let overrides = parse_overrides(&value(OVERRIDES).unwrap_or_default());
    let overrides = overrides.map_err(|what| Misfit {
        key: OVERRIDES,
        what,
    })?;
    if number("max.connections.per.ip") == Some(0) && overrides.is_empty() {
        let what = "can be 0 only with max.connections.per.ip.overrides".to_owned();
        return refuse("max.connections.per.ip", what);
    }
    for &(key, comparison, other) in GROUP_LIMITS {
        let (Some(one), Some(two)) = (number(key), number(other)) else {
            continue;
        };
        let (holds, words) = match comparison {
            Comparison::AtLeast => (one >= two, "greater than or equal to"),
            Comparison::AtMost => (one <= two, "less than or equal to"),
            Comparison::LessThan => (one < two, "less than"),
        };
        if !holds {
            return refuse(key, format!("{key} must be {words} {other}"));
        }
    }
    Ok(())
}
