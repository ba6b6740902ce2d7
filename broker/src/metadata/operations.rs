//! What a client may do (KIP-430), of what there is to be done.
//!
//! Bit n stands for Kafka's `AclOperation` with code n.

use protocol_shim::access::Operation::{
    self, Alter, AlterConfigs, ClusterAction, Create, Delete, Describe, DescribeConfigs,
    IdempotentWrite, Read, Write,
};

/// Not asked for.
pub(crate) const OPERATIONS_OMITTED: i32 = i32::MIN;

pub(crate) const TOPIC_OPERATIONS: i32 = bits(&[
    Read,
    Write,
    Create,
    Delete,
    Alter,
    Describe,
    DescribeConfigs,
    AlterConfigs,
]);

pub(crate) const CLUSTER_OPERATIONS: i32 = bits(&[
    Create,
    Alter,
    Describe,
    ClusterAction,
    DescribeConfigs,
    AlterConfigs,
    IdempotentWrite,
]);

pub(crate) const GROUP_OPERATIONS: i32 =
    bits(&[Read, Delete, Describe, DescribeConfigs, AlterConfigs]);

const fn bits(operations: &[Operation]) -> i32 {
    let (mut bits, mut at) = (0, 0);
    while at < operations.len() {
        bits |= operations[at].bit();
        at += 1;
    }
    bits
}
