//! What the checker calls by numbers, and the broker by names.

use serde_json::{Value as Json, json};

use crate::bench::admin::Topic;

/// Written by everybody, read by everybody, and by the groups that process.
pub(super) const INPUTS: &str = "inputs";
/// What those make of it; others write here, too.
pub(super) const OUTPUTS: &str = "outputs";
/// Of each topic.
pub(super) const PARTITIONS: u32 = 3;
/// Of both topics.
pub(super) const ALL_PARTITIONS: u32 = 2 * PARTITIONS;

/// Both topics, to be created.
pub(super) fn topics() -> [Topic; 2] {
    [INPUTS, OUTPUTS].map(|name| Topic {
        name: name.to_owned(),
        partitions: PARTITIONS as i32,
    })
}

/// `[topic, index]` of a partition, and what else a command says of it.
pub(super) fn place(partition: u32, more: Option<i64>) -> Json {
    let topic = if partition < PARTITIONS {
        INPUTS
    } else {
        OUTPUTS
    };
    let index = partition % PARTITIONS;
    match more {
        Some(more) => json!([topic, index, more]),
        None => json!([topic, index]),
    }
}

/// The number of a partition.
pub(super) fn number(topic: &str, index: i64) -> Option<u32> {
    let index = u32::try_from(index).ok()?;
    let first = match topic {
        INPUTS => 0,
        OUTPUTS => PARTITIONS,
        _ => return None,
    };
    (index < PARTITIONS).then_some(first + index)
}
