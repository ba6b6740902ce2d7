//! Two transcripts side by side, and the differences that are meant.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, ensure};

use super::Exchange;

/// A difference that is meant. `*` in a pattern stands for any text.
#[derive(Debug)]
pub struct Deliberate {
    /// Pattern of scenario, request and field: `metadata: Metadata v* unknown topic: topics[*].error_code`.
    pub at: &'static str,
    pub kafka: &'static str,
    pub ottla: &'static str,
    pub why: &'static str,
}

/// One value that the two brokers do not have in common.
#[derive(Debug)]
pub struct Difference {
    pub at: String,
    pub kafka: String,
    pub ottla: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, kafka, ottla } = self;
        write!(f, "{at}\n    kafka: {kafka}\n    ottla: {ottla}")
    }
}

impl Deliberate {
    /// A row of a table of them.
    pub const fn new(
        at: &'static str,
        kafka: &'static str,
        ottla: &'static str,
        why: &'static str,
    ) -> Self {
        Self {
            at,
            kafka,
            ottla,
            why,
        }
    }

    fn covers(&self, difference: &Difference) -> bool {
        matches(self.at, &difference.at)
            && matches(self.kafka, &difference.kafka)
            && matches(self.ottla, &difference.ottla)
    }
}

/// What of a comparison is not as it should be.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Differences that nobody meant.
    pub unexpected: Vec<Difference>,
    /// Meant differences that are not there: remove them from the table.
    pub outdated: Vec<&'static Deliberate>,
}

/// Holds the differences against the table of those that are meant.
fn judge(differences: Vec<Difference>, meant: &'static [Deliberate]) -> Verdict {
    let mut used = vec![false; meant.len()];
    let mut unexpected = Vec::new();
    for difference in differences {
        match meant
            .iter()
            .position(|deliberate| deliberate.covers(&difference))
        {
            Some(index) => used[index] = true,
            None => unexpected.push(difference),
        }
    }
    let outdated = meant
        .iter()
        .zip(used)
        .filter(|(_, used)| !used)
        .map(|(meant, _)| meant)
        .collect();
    Verdict {
        unexpected,
        outdated,
    }
}

/// Holds the differences from one Kafka against what is meant of one Ottla, and, if it is so many brokers, of several. What is
/// meant of one and is not there is for the run with one to tell.
pub fn judge_of(
    brokers: usize,
    differences: Vec<Difference>,
    meant: &'static [Deliberate],
    of_several: &'static [Deliberate],
) -> Verdict {
    let of_one = judge(differences, meant);
    match brokers {
        1 => of_one,
        _ => judge(of_one.unexpected, of_several),
    }
}

/// Lists whose order says nothing: Kafka's comes from a hash map.
const UNORDERED: &[&str] = &[
    "ApiVersions api_keys",
    "Metadata topics",
    "CreateTopics topics",
    "CreateTopics topics[*].configs",
    "DeleteTopics responses",
    "CreatePartitions results",
    "DescribeConfigs results[*].configs",
    "Produce responses",
    "Produce responses[*].partition_responses",
    "Fetch responses",
    "Fetch responses[*].partitions",
    "ListOffsets topics",
    "ListOffsets topics[*].partitions",
    "OffsetForLeaderEpoch topics",
    "DeleteRecords topics[*].partitions",
    "OffsetCommit topics",
    "OffsetCommit topics[*].partitions",
    "OffsetDelete topics",
    "JoinGroup members",
    "DescribeGroups groups[*].members",
    "ConsumerGroupDescribe groups[*].members",
    "ListGroups groups",
    "DeleteGroups results",
    "DescribeLogDirs results[*].topics[*].partitions",
];

/// Texts for people; whether there is one is compared, its words are not.
const TEXTS: &[&str] = &[
    "error_message",
    "batch_index_error_message",
    "documentation",
];

/// All differences of two runs of `scenario`.
///
/// # Errors
/// The runs took different ways: they are not the same requests.
pub fn differences(
    scenario: &str,
    kafka: &[Exchange],
    ottla: &[Exchange],
) -> Result<Vec<Difference>> {
    let labels =
        |run: &[Exchange]| -> Vec<String> { run.iter().map(|e| e.label.clone()).collect() };
    ensure!(
        labels(kafka) == labels(ottla),
        "{scenario}: not the same requests"
    );
    let mut differences = Vec::new();
    for (kafka, ottla) in kafka.iter().zip(ottla) {
        let api = kafka.label.split(' ').next().unwrap_or_default();
        let kafka_values: BTreeMap<_, _> = kafka.values.iter().cloned().collect();
        let ottla_values: BTreeMap<_, _> = ottla.values.iter().cloned().collect();
        let mut places: Vec<&String> = kafka_values.keys().chain(ottla_values.keys()).collect();
        places.sort();
        places.dedup();
        for place in places {
            if is_in_absent_element(place, &kafka_values)
                || is_in_absent_element(place, &ottla_values)
            {
                continue;
            }
            let absent = || "(absent)".to_owned();
            let kafka_value = kafka_values.get(place).cloned().unwrap_or_else(absent);
            let ottla_value = ottla_values.get(place).cloned().unwrap_or_else(absent);
            if kafka_value == ottla_value {
                continue;
            }
            let field = place.rsplit('.').next().unwrap_or_default();
            let is_text = TEXTS.contains(&field) && kafka_value != "None" && ottla_value != "None";
            if is_text && kafka_value != absent() && ottla_value != absent() {
                continue;
            }
            let (kafka_value, ottla_value) = if is_unordered(&format!("{api} {place}")) {
                in_one_only(&kafka_value, &ottla_value)
            } else {
                (kafka_value, ottla_value)
            };
            if kafka_value == ottla_value {
                continue;
            }
            differences.push(Difference {
                at: format!("{scenario}: {}: {place}", kafka.label),
                kafka: kafka_value,
                ottla: ottla_value,
            });
        }
    }
    Ok(differences)
}

/// Whether `place` is in an element of a list that is not there at all, which the list's order tells already.
fn is_in_absent_element(place: &str, values: &BTreeMap<String, String>) -> bool {
    let mut ends = place.match_indices("].").map(|(index, _)| index + 1);
    ends.any(|end| {
        let element = &place[..end];
        let first = values.range(element.to_owned()..).next();
        !first.is_some_and(|(place, _)| place.starts_with(element))
    })
}

fn is_unordered(order: &str) -> bool {
    let list = order.strip_suffix(".(order)").unwrap_or_default();
    UNORDERED.iter().any(|pattern| matches(pattern, list))
}

/// Of two lists in any order, what each has that the other has not.
fn in_one_only(one: &str, other: &str) -> (String, String) {
    let keys = |order: &str| -> Vec<String> { order.split(' ').map(str::to_owned).collect() };
    let (one, other) = (keys(one), keys(other));
    let without = |mut keys: Vec<String>, others: &[String]| {
        for other in others {
            if let Some(index) = keys.iter().position(|key| key == other) {
                keys.remove(index);
            }
        }
        keys.join(" ")
    };
    (without(one.clone(), &other), without(other, &one))
}

/// Whether `text` is of the form of `pattern`, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => match text.strip_prefix(start) {
            None => false,
            Some(text) => {
                let ends = text
                    .char_indices()
                    .map(|(index, _)| index)
                    .chain([text.len()]);
                ends.map(|end| &text[end..]).any(|text| matches(rest, text))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(at: &str) -> Difference {
        Difference {
            at: at.to_owned(),
            kafka: "1".to_owned(),
            ottla: "2".to_owned(),
        }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(
            matches("a*c", "abbc")
                && matches("a*c", "ac")
                && matches("*", "")
                && matches("a*", "a")
        );
        assert!(!matches("a*c", "abb") && !matches("a", "ab") && !matches("", "a"));
        assert!(matches("v*: x[*].y", "v10: x[0].z.x[1].y"));
    }

    #[test]
    fn what_nobody_meant_and_what_is_meant_and_not_there_are_both_told() {
        static MEANT: &[Deliberate] = &[
            Deliberate {
                at: "a *",
                kafka: "1",
                ottla: "*",
                why: "",
            },
            Deliberate {
                at: "b",
                kafka: "1",
                ottla: "3",
                why: "",
            },
        ];
        let verdict = judge(
            vec![difference("a 1"), difference("a 2"), difference("b")],
            MEANT,
        );
        let unexpected: Vec<&str> = verdict.unexpected.iter().map(|d| d.at.as_str()).collect();
        assert_eq!(unexpected, ["b"]);
        let outdated: Vec<&str> = verdict.outdated.iter().map(|meant| meant.at).collect();
        assert_eq!(outdated, ["b"]);
    }
}
