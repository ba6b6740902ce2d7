//! Where Ottla answers differently, and why.

use compat_tests::scenario::comparison::Deliberate;

/// Every difference that is meant; `*` stands for any text.
///
/// Per row: scenario, request and field; what Kafka says; what Ottla says; why.
#[rustfmt::skip] // a table: one row per difference
pub static TABLE: &[Deliberate] = &[
    // What is not there yet.
    row("api versions: ApiVersions v* known*: api_keys.(order)", "*", "",
        "an API that is not served is not announced"),
    row("api versions: ApiVersions v* known*: *_features.(order)", "*", "group.version",
        "no feature is announced before it works"),
    row("api versions: ApiVersions v* known*: supported_features.(order)", "*", "",
        "no feature is announced before it works"),
    row("api versions: ApiVersions v* known*: finalized_features_epoch", "<some>", "0",
        "no feature is announced before it works"),

    row("transactions: DescribeProducers v0 some: *.error_message", "None", "*",
        "every error has a text"),
    row("replicas: DescribeQuorum v* metadata: *.log_end_offset", "*", "*", "logs of different length"),
    row("replicas: DescribeQuorum v* metadata: *.high_watermark", "*", "*", "logs of different length"),
    row("replicas: DescribeQuorum v* metadata: *.leader_epoch", "*", "0", "nobody has ever been elected"),
    row("replicas: DescribeQuorum v* metadata: *_timestamp", "*", "*", "the time of the answer"),
    row("replicas: DescribeQuorum v2 metadata: nodes[1].listeners.(order)", "CONTROLLER", "PLAINTEXT",
        "one listener, no controller's"),

    // Metadata.
    row("metadata creates topics: Metadata v* unknown: topics[metadata-created-*", "*", "*",
        "the topic is there when the answer leaves; Kafka's client has to ask again"),
    row("metadata creates topics: Metadata v12 colliding names: topics[metadata.created_9]*", "*", "*",
        "the topic is there when the answer leaves; Kafka's client has to ask again"),
    row("metadata creates topics: Metadata v12 colliding names: topics[metadata_created.9].error_code",
        "3 UNKNOWN_TOPIC_OR_PARTITION", "17 INVALID_TOPIC_EXCEPTION",
        "the answer is final: Kafka would say UNKNOWN_TOPIC_OR_PARTITION for ever"),
    row("metadata of some topics: Metadata v* before its time: *", "*", "*",
        "only the topic is answered with INVALID_REQUEST; Kafka leaves the brokers out, too"),
    row("metadata of some topics: Metadata v* by id and by name: topics.(order)", "", "metadata-d",
        "both are answered; Kafka passes over the names where there is an id"),
    row("metadata of some topics: Metadata v* neither id nor name: *", "*", "*",
        "no topic has this id; Kafka fails with UNKNOWN_SERVER_ERROR"),

    // Topics and their configs.
    row("create topics: CreateTopics v2 colliding in one request: topics[x_y].*", "*", "*",
        "names that collide are refused within a request, too; Kafka creates both"),
    row("create topics: CreateTopics v* colliding in one request: topics[x_y].error_code",
        "36 TOPIC_ALREADY_EXISTS", "17 INVALID_TOPIC_EXCEPTION",
        "the topic does not exist, see above"),
    row("delete topics: DeleteTopics v6 by id and by name: responses.(order)", "delete-f-6", "#0 #1",
        "the first mention deletes, the second finds nothing; Kafka refuses both"),
    row("create partitions: CreatePartitions v* *: results[*].error_message", "None", "*",
        "every error has a text"),
    row("*: DescribeConfigs v* *: results[*].configs.(order)", "", "ottla.durability",
        "a topic config of our own"),
    row("describe configs: DescribeConfigs v* group: *.configs[streams.assignor.name].*", "*", "*",
        "there are no streams groups to assign"),
    row("describe configs: DescribeConfigs v* logger: *.read_only", "false", "true",
        "the level is set when the broker starts"),
    row("incremental alter configs: IncrementalAlterConfigs v* bad operation: *.error_code",
        "-1 UNKNOWN_SERVER_ERROR", "42 INVALID_REQUEST", "the request is at fault, not the server"),
    row("incremental alter configs: IncrementalAlterConfigs v* bad operation: *.error_message", "None", "*",
        "every error has a text"),

    // The broker's own configs.
    row("describe broker configs: * broker: *.configs.(order)",
        "", "ottla.accept.any.replication.factor ottla.disk.reserve.bytes ottla.durability ottla.max.partitions ottla.max.topics ottla.metrics.listen ottla.open.files.max ottla.record.validation ottla.wal.ring.bytes",
        "configs of our own"),
    row("describe broker configs: * broker: *.configs[*listener*].*", "*", "*",
        "one listener, no controller's; listeners do not change while the broker runs"),
    row("describe broker configs: * broker: *.configs[controller.quorum.bootstrap.servers].*", "*", "*",
        "there is no quorum"),
    row("describe broker configs: * broker: *.configs[process.roles].*", "4", "5",
        "Kafka must be told, Ottla has no other roles"),
    row("describe broker configs: * broker: *.configs[node.id].*", "4", "5",
        "Kafka must be told, Ottla has a default"),
    row("describe broker configs: * broker: *.configs[broker.id].*", "*", "*",
        "the old name of node.id, which Kafka sets along with it"),
    row("describe broker configs: * broker: *.configs[log.dir].*", "/tmp/kafka-logs", "ottla-data",
        "what is acknowledged is not kept in /tmp by default"),
    row("describe broker configs: * broker: *.configs[group.initial.rebalance.delay.ms].synonyms[#1].value", "3000", "0",
        "a new group is ready at once by default"),

    // What may be changed of them.
    row("broker configs edited: *AlterConfigs v* process.roles: *.error_code", "-1 UNKNOWN_SERVER_ERROR", "42 INVALID_REQUEST",
        "the request is at fault, not the server"),
    row("broker configs edited: *AlterConfigs v* process.roles: *.error_message", "None", "*", "every error has a text"),
    row("broker configs edited: *AlterConfigs v* controller.listener.names: *.error_code", "-1 UNKNOWN_SERVER_ERROR", "42 INVALID_REQUEST",
        "the request is at fault, not the server"),
    row("broker configs edited: *AlterConfigs v* controller.listener.names: *.error_message", "None", "*", "every error has a text"),
    row("broker configs*: *AlterConfigs v* * *sasl.*.error_code", "0 NONE", "42 INVALID_REQUEST",
        "what protects or takes part in it is refused until it is there"),
    row("broker configs*: *AlterConfigs v* * *sasl.*.error_message", "None", "*",
        "what protects or takes part in it is refused until it is there"),
    row("broker configs*: *AlterConfigs v* * *ssl.*.error_code", "0 NONE", "42 INVALID_REQUEST",
        "what protects or takes part in it is refused until it is there"),
    row("broker configs*: *AlterConfigs v* * *ssl.*.error_message", "None", "*",
        "what protects or takes part in it is refused until it is there"),
    row("broker configs*: *AlterConfigs v* * *max.connection.creation.rate*.error_code", "0 NONE", "42 INVALID_REQUEST",
        "what protects or takes part in it is refused until it is there"),
    row("broker configs*: *AlterConfigs v* * *max.connection.creation.rate*.error_message", "None", "*",
        "what protects or takes part in it is refused until it is there"),
    row("broker configs*: *AlterConfigs v* * *config.providers*.error_code", "0 NONE", "42 INVALID_REQUEST",
        "what protects or takes part in it is refused until it is there"),
    row("broker configs*: *AlterConfigs v* * *config.providers*.error_message", "None", "*",
        "what protects or takes part in it is refused until it is there"),

    // Produce.
    row("produce: Produce v* nothing: responses.(order)", "", "*",
        "a topic without partitions is answered"),
    row("produce invalid batches: Produce v* codec that it is not: *.error_code",
        "-1 UNKNOWN_SERVER_ERROR", "87 INVALID_RECORD",
        "records that do not decompress are the producer's fault, not the server's"),
    row("produce compressed batches: Produce v* *.error_code",
        "-1 UNKNOWN_SERVER_ERROR", "87 INVALID_RECORD",
        "records that do not decompress, or cannot be kept as they are, are the producer's fault, not the server's"),
    row("produce compressed batches: Produce v* *: a record * it is: *", "0*", "*",
        "no consumer can read it; Kafka looks at the fields of a record and not at its length"),
    row("produce compressed batches: Produce v* zstd, *: the beginning of a second stream behind: *", "0*", "*",
        "a stream that is cut off is refused behind another one, too"),
    row("produce invalid batches: Produce v* unknown codec: *.error_code",
        "-1 UNKNOWN_SERVER_ERROR", "76 UNSUPPORTED_COMPRESSION_TYPE", "there is an error for it"),
    row("produce*: Produce v* *.error_message", "None", "*",
        "every error has a text"),
    row("produce*: Produce v* *.log_start_offset", "-1", "0",
        "told with every INVALID_RECORD; Kafka checks some rules before it looks for the partition"),
    row("produce idempotently: Produce v* *.log_append_time_ms", "<some>", "-1",
        "the topic has CreateTime; Kafka tells the batch's own timestamp with a duplicate"),
    row("produce idempotently: Produce v* negative epoch: *.error_code",
        "47 INVALID_PRODUCER_EPOCH", "87 INVALID_RECORD", "no producer has a negative epoch"),

    // Fetch, ListOffsets and what belongs to them.
    row("fetch*: Fetch v* *.aborted_transactions", "(absent)", "None",
        "where nothing is read nothing was aborted: null and an empty list mean the same"),
    row("fetch*: Fetch v* *.aborted_transactions.(order)", "", "(absent)",
        "where nothing is read nothing was aborted: null and an empty list mean the same"),
    row("fetch: Fetch v* isolation level 7: *", "*", "*",
        "no client sends it; read as uncommitted, where Kafka fails with UNKNOWN_SERVER_ERROR"),
    row("fetch: Fetch v* as a*follower: *", "*", "*",
        "a single node has no followers: who reads as one is read to"),
    row("fetch limits: Fetch v* batches less one byte: *.records", "*", "*",
        "only whole batches leave; Kafka cuts the last one off, for the client to throw away"),
    row("fetch limits: Fetch v* -1*: *", "*", "*",
        "a negative limit means none at all; Kafka fails with UNKNOWN_SERVER_ERROR"),
    row("fetch sessions: Fetch v* begin with nothing: session_id", "<session *>", "0",
        "a session without partitions is not kept"),
    row("list offsets: ListOffsets v* leader epoch -2: *", "*", "*",
        "any negative epoch means none"),
    row("offset for leader epoch: OffsetForLeaderEpoch v* *epoch -2: *", "*", "*",
        "any negative epoch means none"),
    row("*: * no partitions: *.(order)", "", "*",
        "a topic without partitions is answered"),

    // Groups.
    row("find coordinator: FindCoordinator v* *error_message", "*", "None",
        "no error, no message; Kafka says NONE or nothing"),

    // Groups with members of both protocols.
    row("migration*: JoinGroup v* *: member_id", "*", "<uuid *>",
        "the id that a new classic member gets in a consumer group has the form of all other ids; Kafka's is in base64"),
    row("migration both ways: OffsetFetch v9 null: groups[both-ways].error_code",
        "-1 UNKNOWN_SERVER_ERROR", "25 UNKNOWN_MEMBER_ID",
        "an epoch without a member is nobody's; Kafka fails on the null"),

    // Every API and version.
    row("sweep: Metadata v* null topics.name: *", "*", "*",
        "no topic has this id; Kafka fails with UNKNOWN_SERVER_ERROR"),
];

const fn row(
    at: &'static str,
    kafka: &'static str,
    ottla: &'static str,
    why: &'static str,
) -> Deliberate {
    Deliberate {
        at,
        kafka,
        ottla,
        why,
    }
}
