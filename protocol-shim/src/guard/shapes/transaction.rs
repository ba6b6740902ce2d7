//! Producer ids and transactions.

use crate::guard::field::*;

/// InitProducerId (22), versions 0-5.
pub(crate) const INIT_PRODUCER_ID: Shape = &[
    string("transactional_id").nullable(),
    int32("transaction_timeout_ms"),
    int64("producer_id").since(3),
    int16("producer_epoch").since(3),
];

/// AddPartitionsToTxn (24), versions 0-5.
pub(crate) const ADD_PARTITIONS_TO_TXN: Shape = &[
    array("transactions").since(4).of(&[
        string("transactional_id"),
        int64("producer_id"),
        int16("producer_epoch"),
        boolean("verify_only"),
        array("topics").of(&[string("name"), int32_array("partitions")]),
    ]),
    string("v3_and_below_transactional_id").until(3),
    int64("v3_and_below_producer_id").until(3),
    int16("v3_and_below_producer_epoch").until(3),
    array("v3_and_below_topics")
        .until(3)
        .of(&[string("name"), int32_array("partitions")]),
];

/// AddOffsetsToTxn (25), versions 0-4.
pub(crate) const ADD_OFFSETS_TO_TXN: Shape = &[
    string("transactional_id"),
    int64("producer_id"),
    int16("producer_epoch"),
    string("group_id"),
];

/// EndTxn (26), versions 0-5.
pub(crate) const END_TXN: Shape = &[
    string("transactional_id"),
    int64("producer_id"),
    int16("producer_epoch"),
    boolean("committed"),
];

/// WriteTxnMarkers (27), versions 1-1.
pub(crate) const WRITE_TXN_MARKERS: Shape = &[array("markers").of(&[
    int64("producer_id"),
    int16("producer_epoch"),
    boolean("transaction_result"),
    array("topics").of(&[string("name"), int32_array("partition_indexes")]),
    int32("coordinator_epoch"),
])];

/// TxnOffsetCommit (28), versions 0-5.
pub(crate) const TXN_OFFSET_COMMIT: Shape = &[
    string("transactional_id"),
    string("group_id"),
    int64("producer_id"),
    int16("producer_epoch"),
    int32("generation_id").since(3),
    string("member_id").since(3),
    string("group_instance_id").since(3).nullable(),
    array("topics").of(&[
        string("name"),
        array("partitions").of(&[
            int32("partition_index"),
            int64("committed_offset"),
            int32("committed_leader_epoch").since(2),
            string("committed_metadata").nullable(),
        ]),
    ]),
];

/// DescribeProducers (61), versions 0-0.
pub(crate) const DESCRIBE_PRODUCERS: Shape =
    &[array("topics").of(&[string("name"), int32_array("partition_indexes")])];

/// DescribeTransactions (65), versions 0-0.
pub(crate) const DESCRIBE_TRANSACTIONS: Shape = &[string_array("transactional_ids")];

/// ListTransactions (66), versions 0-2.
pub(crate) const LIST_TRANSACTIONS: Shape = &[
    string_array("state_filters"),
    int64_array("producer_id_filters"),
    int64("duration_filter").since(1),
    string("transactional_id_pattern").since(2).nullable(),
];
