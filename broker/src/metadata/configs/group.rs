//! Checks the settings of a group: each by itself, against each other and against the broker's (Kafka's `GroupConfig`).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::Overrides;
use crate::config::BrokerConfig;
use crate::config::def::list;
use crate::config::resource::GROUP_CONFIGS;
use crate::metadata::error::MetadataError;

/// The assignors of streams groups.
const STREAMS_ASSIGNORS: &[&str] = &["sticky"];

/// Checks all settings that a group will have.
pub(super) fn check_group_settings(
    node: &BrokerConfig,
    new: &Overrides,
) -> Result<(), MetadataError> {
    let invalid = |what: String| Err(MetadataError::InvalidConfig(what));
    for (key, value) in new {
        let Some(row) = GROUP_CONFIGS.iter().find(|row| row.name == key) else {
            return invalid(format!("Unknown group config name: {key}"));
        };
        row.check(value)
            .map_err(|error| MetadataError::InvalidConfig(error.to_string()))?;
        check_bounds(node, key, value.trim())?;
        let value = value.trim();
        match key.as_str() {
            "share.auto.offset.reset" if !is_offset_reset(value) => {
                return invalid(format!(
                    "Invalid value {value} for configuration {key}: must be earliest, latest or by_duration:PnDTnHnMn.nS that is not negative"
                ));
            }
            "streams.assignor.name" if !STREAMS_ASSIGNORS.contains(&value) => {
                let registered = STREAMS_ASSIGNORS.join(", ");
                return invalid(format!(
                    "{key} '{value}' is not a registered task assignor. Registered assignors are: [{registered}]."
                ));
            }
            "streams.rack.aware.assignment.tags" => {
                let mut seen = BTreeSet::new();
                if !list(value).all(|tag| seen.insert(tag)) {
                    return invalid(format!("{key} must not contain duplicate tag keys."));
                }
            }
            "errors.deadletterqueue.topic.name" if value.starts_with("__") => {
                return invalid(format!("{key}: DLQ topic name must not start with '__'"));
            }
            _ => {}
        }
    }
    ["consumer", "share", "streams"]
        .into_iter()
        .try_for_each(|group_type| check_session(node, group_type, new))
}

/// `consumer.session.timeout.ms` lies between `group.consumer.min.session.timeout.ms` and the like with `max`.
fn check_bounds(node: &BrokerConfig, key: &str, value: &str) -> Result<(), MetadataError> {
    let (Some((group_type, rest)), Ok(value)) = (key.split_once('.'), value.parse::<i64>()) else {
        return Ok(());
    };
    let rest = rest.strip_prefix("num.").unwrap_or(rest);
    let settings = &node.settings;
    let bound = |which: &str| -> Option<i64> {
        let bound = settings.get(&format!("group.{group_type}.{which}.{rest}"));
        bound?.trim().parse().ok()
    };
    let (min, max) = (bound("min"), bound("max"));
    if min.is_none_or(|min| value >= min) && max.is_none_or(|max| value <= max) {
        return Ok(());
    }
    let must = match (min, max) {
        (Some(min), Some(max)) => format!("be in the range {min} to {max} inclusive."),
        (Some(min), None) => format!("be greater than or equal to {min}"),
        (None, max) => format!("be less than or equal to {}", max.unwrap_or(i64::MAX)),
    };
    Err(MetadataError::InvalidConfig(format!("{key} must {must}")))
}

/// A session lasts longer than the time between two heartbeats; what the group does not set is the broker's.
fn check_session(
    node: &BrokerConfig,
    group_type: &str,
    new: &Overrides,
) -> Result<(), MetadataError> {
    let [session, heartbeat] =
        ["session.timeout.ms", "heartbeat.interval.ms"].map(|rest| format!("{group_type}.{rest}"));
    if !new.contains_key(&session) && !new.contains_key(&heartbeat) {
        return Ok(());
    }
    let in_force = |key: &String| -> Option<i64> {
        let of_broker = node.settings.get(&format!("group.{key}"));
        let value = new.get(key).map(String::as_str).or(of_broker);
        value?.trim().parse().ok()
    };
    match (in_force(&session), in_force(&heartbeat)) {
        (Some(session_ms), Some(heartbeat_ms)) if session_ms <= heartbeat_ms => Err(
            MetadataError::InvalidConfig(format!("{session} must be greater than {heartbeat}")),
        ),
        _ => Ok(()),
    }
}

/// `earliest`, `latest` or `by_duration:` and a duration as Java reads it, which is not negative (KIP-932).
fn is_offset_reset(value: &str) -> bool {
    let Some(duration) = value.strip_prefix("by_duration:") else {
        return value == "earliest" || value == "latest";
    };
    static DURATION: LazyLock<Regex> = LazyLock::new(|| {
        let number = "([-+]?[0-9]+)";
        let seconds = r"([-+]?[0-9]+)(?:[.,]([0-9]{0,9}))?S";
        let time = format!("T(?:{number}H)?(?:{number}M)?(?:{seconds})?");
        let pattern = format!("^(?i)([-+]?)P(?:{number}D)?({time})?$");
        Regex::new(&pattern).expect("a constant that the tests compile")
    });
    let Some(parts) = DURATION.captures(duration) else {
        return false;
    };
    let part = |at: usize| parts.get(at).map(|part| part.as_str());
    let number = |at: usize| match part(at) {
        None => Some(0),
        Some(digits) => digits.parse::<i128>().ok(),
    };
    let is_empty = [2, 4, 5, 6].into_iter().all(|at| part(at).is_none());
    let ends_with_t = part(3).is_some_and(|time| time.len() == 1);
    let (Some(days), Some(hours), Some(minutes), Some(seconds)) =
        (number(2), number(4), number(5), number(6))
    else {
        return false;
    };
    let fraction = part(7).is_some_and(|digits| digits.contains(|digit| digit != '0'));
    let is_below_zero = part(6).is_some_and(|seconds| seconds.starts_with('-'));
    let whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
    // Twice, so that a half is whole.
    let mut sign = 2 * whole;
    if fraction {
        sign += if is_below_zero { -1 } else { 1 };
    }
    if part(1) == Some("-") {
        sign = -sign;
    }
    !is_empty && !ends_with_t && sign >= 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Kafka 4.4.0 said to each.
    #[test]
    fn offset_resets_are_those_that_java_reads() {
        for valid in [
            "latest",
            "earliest",
            "by_duration:PT0S",
            "by_duration:P1D",
            "by_duration:P1DT2H3M4.5S",
            "by_duration:pt1h",
            "by_duration:+PT1H",
            "by_duration:PT1H30M",
            "by_duration:P-1DT48H",
            "by_duration:PT1,5S",
        ] {
            assert!(is_offset_reset(valid), "{valid}");
        }
        for invalid in [
            "",
            "Latest",
            "none",
            "by_duration:",
            "by_duration:x",
            "by_duration:P",
            "by_duration:PT",
            "by_duration:P1DT",
            "by_duration:P1Y",
            "by_duration: PT1H",
            "BY_DURATION:PT1H",
            "by_duration:PT-1H",
            "by_duration:-PT1H",
            "by_duration:PT1.5H",
            "by_duration:PT1M1H",
            "by_duration:PT-0.5S",
        ] {
            assert!(!is_offset_reset(invalid), "{invalid}");
        }
    }
}
