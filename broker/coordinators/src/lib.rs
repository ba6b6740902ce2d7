//! Coordinators as pure state machines.
//!
//! [`machine`] says what a coordinator is and how its owner drives it. [`group`] is the coordinator of groups and their
//! committed offsets, [`txn`] that of transactions. Whatever needs time, files, the network or randomness is in the broker,
//! around these machines.

pub mod allowance;
pub mod batch_size;
mod codec;
pub mod group;
mod id;
pub mod machine;
pub mod pattern;
#[cfg(test)]
mod seed;
mod timer;
pub mod txn;

/// The partition of a coordinator's topic that serves a key, such as the id of a group. Every Kafka client and tool
/// computes the same.
pub fn partition_for(key: &str, partition_count: i32) -> i32 {
    let hash = key.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    // As Kafka's Utils.abs, which takes the one hash without a positive counterpart for 0.
    hash.checked_abs().unwrap_or(0) % partition_count.max(1)
}
