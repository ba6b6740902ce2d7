//! Producer ids and transactions.

use super::{ApiSpec, api};
use crate::access::Access::Named;
use crate::api_spec::ApiClass::Transaction;
use crate::guard::field::*;

#[rustfmt::skip] // one line for an API, then the fields of its requests
pub(super) static APIS: &[ApiSpec] = &[
    api(22, "InitProducerId", (0, 5), 2, Transaction, Named).body(&[
        string("transactional_id").nullable(),
        int32("transaction_timeout_ms"),
        int64("producer_id").since(3),
        int16("producer_epoch").since(3),
    ]),
    api(24, "AddPartitionsToTxn", (0, 5), 3, Transaction, Named).body(&[
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
    ]),
    api(25, "AddOffsetsToTxn", (0, 4), 3, Transaction, Named).body(&[
        string("transactional_id"),
        int64("producer_id"),
        int16("producer_epoch"),
        string("group_id"),
    ]),
    api(26, "EndTxn", (0, 5), 3, Transaction, Named).body(&[
        string("transactional_id"),
        int64("producer_id"),
        int16("producer_epoch"),
        boolean("committed"),
    ]),
    api(27, "WriteTxnMarkers", (1, 2), 1, Transaction, Named).body(&[array("markers").of(&[
        int64("producer_id"),
        int16("producer_epoch"),
        boolean("transaction_result"),
        array("topics").of(&[string("name"), int32_array("partition_indexes")]),
        int32("coordinator_epoch"),
        int8("transaction_version").since(2),
    ])]),
    api(28, "TxnOffsetCommit", (0, 6), 3, Transaction, Named).body(&[
        string("transactional_id"),
        string("group_id"),
        int64("producer_id"),
        int16("producer_epoch"),
        int32("generation_id_or_member_epoch").since(3),
        string("member_id").since(3),
        string("group_instance_id").since(3).nullable(),
        array("topics").of(&[
            string("name").until(5),
            uuid("topic_id").since(6),
            array("partitions").of(&[
                int32("partition_index"),
                int64("committed_offset"),
                int32("committed_leader_epoch").since(2),
                string("committed_metadata").nullable(),
            ]),
        ]),
    ]),
    api(61, "DescribeProducers", (0, 0), 0, Transaction, Named).body(&[array("topics").of(&[string("name"), int32_array("partition_indexes")])]),
    api(65, "DescribeTransactions", (0, 0), 0, Transaction, Named).body(&[string_array("transactional_ids")]),
    api(66, "ListTransactions", (0, 2), 0, Transaction, Named).body(&[
        string_array("state_filters"),
        int64_array("producer_id_filters"),
        int64("duration_filter").since(1),
        string("transactional_id_pattern").since(2).nullable(),
    ]),
];
