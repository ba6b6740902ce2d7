//! What answers are said to take, and what they do.

use kafka_protocol::messages::{
    consumer_group_describe_response as consumer, delete_groups_response as delete,
    describe_groups_response as describe, offset_fetch_response as fetch,
};

use crate::allowance::STRUCT_BYTES;
use crate::group::prices::FETCHED_PARTITION_BYTES;
use crate::group::reply::*;

#[test]
fn a_price_covers_the_reply_the_wire_struct_and_its_fixed_bytes() {
    let fixed_bytes = 32;
    let partition =
        size_of::<FetchedPartition>() + size_of::<fetch::OffsetFetchResponsePartitions>();
    assert!(partition + fixed_bytes <= FETCHED_PARTITION_BYTES);
    for pair in [
        size_of::<FetchedGroup>() + size_of::<fetch::OffsetFetchResponseGroup>(),
        size_of::<FetchedTopic>() + size_of::<fetch::OffsetFetchResponseTopics>(),
        size_of::<NamedPartitions>() + size_of::<consumer::TopicPartitions>(),
        size_of::<DeletedGroup>() + size_of::<delete::DeletableGroupResult>(),
    ] {
        assert!(pair + fixed_bytes <= STRUCT_BYTES, "{pair}");
    }
    for pair in [
        size_of::<DescribedGroup>() + size_of::<describe::DescribedGroup>(),
        size_of::<DescribedMember>() + size_of::<describe::DescribedGroupMember>(),
        size_of::<DescribedConsumerGroup>() + size_of::<consumer::DescribedGroup>(),
        size_of::<DescribedConsumer>() + size_of::<consumer::Member>(),
    ] {
        assert!(pair + 2 * fixed_bytes <= 3 * STRUCT_BYTES, "{pair}");
    }
}
