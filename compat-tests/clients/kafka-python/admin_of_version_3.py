"""The admin client's calls that kafka-python has since 3.0; told when this is imported."""

import kafka
from kafka import KafkaConsumer, TopicPartition, errors
from kafka.admin import (
    AbortTransactionSpec,
    AlterConfigOp,
    ConfigResource,
    ConfigResourceType,
    MemberToRemove,
    OffsetSpec,
    OffsetTimestamp,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from capabilities import capability, unique, until
from client import FIRST, NOW, SECOND, TOPIC, admin, bootstrap, new_topic, offset_and_metadata, plain, produce, reading, refused

GROUP = unique("administered")
member = reading(GROUP)
member.commit()


def closed_group():
    group = unique("closed")
    consumer = reading(group)
    consumer.commit()
    consumer.close()
    return group


def offsets_of(group):
    return {partition: found.offset for partition, found in admin.list_group_offsets(group)[group].items()}


@capability("admin list_groups")
def _():
    assert GROUP in str(admin.list_groups()) and GROUP in str(admin.list_groups(states_filter=["Stable"]))


@capability("admin describe_groups")
def _():
    found = admin.describe_groups([GROUP])[GROUP]
    assert (found["group_state"], len(found["members"])) == ("Stable", 1), found


@capability("admin list_group_offsets of all partitions")
def _():
    assert offsets_of(GROUP) == {FIRST: 10, SECOND: 10}


@capability("admin list_group_offsets")
def _():
    found = admin.list_group_offsets({GROUP: [FIRST]})[GROUP]
    assert {partition: committed.offset for partition, committed in found.items()} == {FIRST: 10}


@capability("admin alter_group_offsets")
def _():
    group = closed_group()
    assert admin.alter_group_offsets(group, {FIRST: offset_and_metadata(3)}) == {FIRST: errors.NoError}
    assert offsets_of(group) == {FIRST: 3, SECOND: 10}


@capability("admin reset_group_offsets")
def _():
    group = closed_group()
    admin.reset_group_offsets(group, {FIRST: OffsetSpec.EARLIEST, SECOND: OffsetTimestamp(NOW + 5)})
    assert offsets_of(group) == {FIRST: 0, SECOND: 2}


@capability("admin delete_group_offsets")
def _():
    group = closed_group()
    assert admin.delete_group_offsets(group, [FIRST]) == {FIRST: errors.NoError}
    assert offsets_of(group) == {SECOND: 10}


@capability("admin remove_group_members")
def _():
    group = unique("static")
    consumer = reading(group, group_instance_id="one")
    admin.remove_group_members(group, [MemberToRemove(group_instance_id="one")])
    assert admin.describe_groups([group])[group]["members"] == []
    consumer.close()


@capability("admin delete_groups")
def _():
    group = closed_group()
    assert admin.delete_groups([group]) == {group: "OK"} and group not in str(admin.list_groups())


@capability("admin list_partition_offsets")
def _():
    found = admin.list_partition_offsets({FIRST: OffsetSpec.EARLIEST, SECOND: OffsetSpec.LATEST})
    assert (found[FIRST].offset, found[SECOND].offset) == (0, 10)
    found = admin.list_partition_offsets({FIRST: OffsetSpec.MAX_TIMESTAMP, SECOND: NOW + 5})
    assert (found[FIRST].offset, found[SECOND].offset) == (9, 2)


@capability("admin describe_topic_partitions")
def _():
    found = admin.describe_topic_partitions([TOPIC])["topics"]
    assert [(topic["name"], len(topic["partitions"])) for topic in found] == [(TOPIC, 2)]


@capability("admin wait_for_topics")
def _():
    admin.wait_for_topics([TOPIC])


@capability("admin describe_log_dirs of some partitions")
def _():
    assert TOPIC in str(admin.describe_log_dirs({TOPIC: [0]}))


@capability("admin elect_leaders of all")
def _():
    assert admin.elect_leaders(0, raise_errors=False)


@capability("admin elect_leaders")
def _():
    assert "error_code=84" in str(admin.elect_leaders(0, {TOPIC: [0]}))


@capability("admin list_partition_reassignments of all")
def _():
    assert admin.list_partition_reassignments() == {}


@capability("admin list_partition_reassignments")
def _():
    assert admin.list_partition_reassignments([FIRST]) == {}


@capability("admin alter_partition_reassignments")
def _():
    [topic] = admin.describe_topics([TOPIC])
    [replicas] = [partition["replica_nodes"] for partition in topic["partitions"] if partition["partition_index"] == 0]
    assert admin.alter_partition_reassignments({FIRST: replicas}) == {FIRST: None}
    assert admin.alter_partition_reassignments({FIRST: None}) == {FIRST: errors.NoReassignmentInProgressError}


@capability("admin alter_replica_log_dirs")
def _():
    [error] = admin.alter_replica_log_dirs({(TOPIC, 0, 1): "/no/such/directory"}).values()
    assert error is errors.LogDirNotFoundError, error


# --- configurations


def value_of(kind, name, key):
    [configs] = admin.describe_configs([ConfigResource(kind, name)], config_filter="all")[kind.name.lower()].values()
    return configs[key]["value"]


@capability("admin list_config_resources of all")
def _():
    found = admin.list_config_resources()
    brokers = [str(number + 1) for number in range(len(bootstrap.split(",")))]
    assert TOPIC in found["topic"] and sorted(found["broker"]) == brokers, found


@capability("admin describe_configs of a group")
def _():
    assert value_of(ConfigResourceType.GROUP, unique("group"), "consumer.session.timeout.ms")


@capability("admin describe_configs with synonyms")
def _():
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, TOPIC)], include_synonyms=True, config_filter="all")
    assert "log.retention.ms" not in found["topic"][TOPIC] and found["topic"][TOPIC]["retention.bytes"]["synonyms"]


@capability("admin alter_configs by operations")
def _():
    topic = new_topic("altered")
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {"cleanup.policy": (AlterConfigOp.APPEND, "compact")})
    admin.alter_configs([resource])
    until(lambda: value_of(ConfigResourceType.TOPIC, topic, "cleanup.policy") == "delete,compact", "altered")


@capability("admin alter_configs of a broker")
def _():
    resource = ConfigResource(ConfigResourceType.BROKER, "1", {"log.cleaner.backoff.ms": "14000"})
    admin.alter_configs([resource])
    until(lambda: value_of(ConfigResourceType.BROKER, "1", "log.cleaner.backoff.ms") == "14000", "altered")
    admin.reset_configs([resource])


@capability("admin reset_configs")
def _():
    topic = new_topic("reset", **{"retention.ms": "5000"})
    admin.reset_configs([ConfigResource(ConfigResourceType.TOPIC, topic, ["retention.ms"])])
    until(lambda: value_of(ConfigResourceType.TOPIC, topic, "retention.ms") == "604800000", "reset")


# --- the cluster


@capability("admin get_broker_version_data")
def _():
    assert admin.get_broker_version_data(1).api_versions


@capability("admin describe_features")
def _():
    assert admin.describe_features()["group.version"]["finalized"] == (1, 1)


@capability("admin update_features validated only")
def _():
    # Kafka has no feature of this name, and says so.
    refused(lambda: admin.update_features({"no.such.feature": 1}, validate_only=True), errors.InvalidUpdateVersionError)


@capability("admin describe_metadata_quorum")
def _():
    assert "__cluster_metadata" in str(admin.describe_metadata_quorum())


# --- users


@capability("admin describe_user_scram_credentials of all")
def _():
    assert isinstance(admin.describe_user_scram_credentials(), dict)


@capability("admin describe_user_scram_credentials of one")
def _():
    found = admin.describe_user_scram_credentials(["nobody"])["nobody"]
    assert found["error"] and not found["credential_infos"], found


@capability("admin alter_user_scram_credentials")
def _():
    user = unique("user")
    assert admin.alter_user_scram_credentials([UserScramCredentialUpsertion(user, "SCRAM-SHA-256", "secret")]) == {user: None}
    until(lambda: admin.describe_user_scram_credentials([user])[user]["credential_infos"], "the user is there")
    admin.alter_user_scram_credentials([UserScramCredentialDeletion(user, "SCRAM-SHA-256")])


# --- transactions


@capability("admin list_transactions of all")
def _():
    assert isinstance(admin.list_transactions(), dict)


@capability("admin find_hanging_transactions of all")
def _():
    assert admin.find_hanging_transactions() == []


@capability("admin describe_transactions")
def _():
    refused(lambda: admin.describe_transactions([unique("transaction")]), errors.TransactionalIdNotFoundError)


@capability("admin describe_producers")
def _():
    topic = new_topic("producers")
    produce(topic, plain(2), enable_idempotence=True)
    found = admin.describe_producers([TopicPartition(topic, 0)])
    assert "producer_id" in str(found), found


@capability("admin abort_transaction")
def _():
    # There is none to abort, and Kafka does not mind: it writes the marker.
    topic = new_topic("aborted")
    admin.abort_transaction(AbortTransactionSpec(TopicPartition(topic, 0), 1, 0))


member.close()
