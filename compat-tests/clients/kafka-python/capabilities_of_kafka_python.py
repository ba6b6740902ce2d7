"""usage: capabilities_of_kafka_python.py BOOTSTRAP"""

import json
import os
import re
import subprocess
import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition, errors
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ConfigResource,
    ConfigResourceType,
    KafkaAdminClient,
    NewPartitions,
    NewTopic,
    ResourcePattern,
    ResourceType,
)
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from capabilities import all_public_calls, capability, unique, until
from client import (
    FIRST,
    NOW,
    SECOND,
    TOPIC,
    admin,
    assigned,
    bootstrap,
    committed,
    consumer_of,
    create,
    has,
    new_topic,
    observer,
    offset_and_metadata,
    plain,
    produce,
    read_all,
    reading,
    refused,
    take,
    topics,
    version,
)

# --- produce and consume

for codec in [None, "gzip", "snappy", "lz4", "zstd"]:
    if codec == "zstd" and version < (2,):
        continue

    @capability("produce %s" % (codec or "none"))
    def _():
        topic, records = new_topic("codec"), plain(100)
        produce(topic, records, compression_type=codec)
        assert sorted(message.value for message in read_all(topic, 100)) == sorted(value for _, _, value, _, _ in records)


if version >= (2, 1):

    @capability("produce idempotent")
    def _():
        topic = new_topic("idempotent")
        produce(topic, plain(50), enable_idempotence=True)
        assert len(read_all(topic, 50)) == 50


not_idempotent = {"enable_idempotence": False} if version >= (3,) else {}
# 2.3 says that it has sent records with acks=0, and sends none.
for acks in [1, "all"] if (2, 1) <= version < (3,) else [0, 1, "all"]:

    @capability("produce acks=%s" % acks)
    def _():
        topic = new_topic("acks")
        produce(topic, plain(2))
        # With acks=0 it is closed when the records have arrived: close() does not wait until they are sent.
        producer = KafkaProducer(bootstrap_servers=bootstrap, acks=acks, **not_idempotent)
        for partition, key, value, _, _ in plain(10):
            producer.send(topic, key=key, value=value, partition=partition)
        producer.flush()
        assert len(read_all(topic, 12)) == 12
        producer.close()


@capability("produce to a topic that is created by it")
def _():
    topic = unique("automatic")
    produce(topic, [(None, b"k", b"v", [], None)])
    assert [message.value for message in read_all(topic, 1, 1)] == [b"v"]


@capability("producer partitions_for")
def _():
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    assert producer.partitions_for(new_topic("partitions", 3)) == {0, 1, 2}
    producer.close()


@capability("headers")
def _():
    topic, headers = new_topic("headers"), [("a", b"1"), ("a", b"2"), ("empty", b"")]
    produce(topic, [(0, b"k", b"v", headers, None)])
    assert list(read_all(topic, 1)[0].headers) == headers


@capability("tombstones")
def _():
    topic = new_topic("tombstones", **{"cleanup.policy": "compact"})
    produce(topic, [(0, b"k", b"v", [], None), (0, b"k", None, [], None), (0, b"k", b"", [], None)])
    assert [message.value for message in read_all(topic, 3)] == [b"v", None, b""]


@capability("empty and null keys")
def _():
    topic = new_topic("keys")
    produce(topic, [(0, None, b"a", [], None), (0, b"", b"b", [], None)])
    assert [message.key for message in read_all(topic, 2)] == [None, b""]


@capability("large messages")
def _():
    topic, value = new_topic("large", **{"max.message.bytes": "5000000"}), bytes(range(256)) * 16384
    produce(topic, [(0, b"k", value, [], None)], max_request_size=5000000)
    assert read_all(topic, 1)[0].value == value


@capability("a message that is too large is refused")
def _():
    topic = new_topic("large", **{"max.message.bytes": "1000"})
    refused(lambda: produce(topic, [(0, b"k", b"v" * 2000, [], None)]), errors.MessageSizeTooLargeError)


@capability("timestamps: of the producer")
def _():
    topic = new_topic("timestamps")
    produce(topic, [(0, b"k", b"v", [], NOW)])
    message = read_all(topic, 1)[0]
    assert (message.timestamp_type, message.timestamp) == (0, NOW)


@capability("timestamps: of the log")
def _():
    topic = new_topic("timestamps", **{"message.timestamp.type": "LogAppendTime"})
    produce(topic, [(0, b"k", b"v", [], NOW)])
    message = read_all(topic, 1)[0]
    assert message.timestamp_type == 1 and abs(message.timestamp - time.time() * 1000) < 600000


@capability("seek")
def _():
    consumer = assigned(FIRST)
    take(consumer, 10)
    consumer.seek(FIRST, 7)
    assert [message.offset for message in take(consumer, 3)] == [7, 8, 9]
    consumer.close()


@capability("seek to the beginning and the end")
def _():
    consumer = assigned(FIRST)
    consumer.seek_to_end()
    assert consumer.position(FIRST) == 10
    consumer.seek_to_beginning()
    assert consumer.position(FIRST) == 0 and take(consumer, 1)[0].offset == 0
    consumer.close()


@capability("pause and resume")
def _():
    consumer = assigned(FIRST, SECOND)
    consumer.pause(SECOND)
    assert {message.partition for message in take(consumer, 10)} == {0} and consumer.paused() == {SECOND}
    consumer.resume(SECOND)
    assert {message.partition for message in take(consumer, 10)} == {1}
    consumer.close()


@capability("offsets for times")
def _():
    found = observer.offsets_for_times({FIRST: NOW + 5, SECOND: NOW + 1000000})
    assert found[FIRST][:2] == (3, NOW + 6) and found[SECOND] is None, found


@capability("consumer beginning_offsets")
def _():
    assert observer.beginning_offsets([FIRST, SECOND]) == {FIRST: 0, SECOND: 0}


@capability("consumer end_offsets")
def _():
    assert observer.end_offsets([FIRST, SECOND]) == {FIRST: 10, SECOND: 10}


@capability("consumer topics of all")
def _():
    assert TOPIC in topics()


@capability("consumer partitions_for_topic")
def _():
    assert observer.partitions_for_topic(TOPIC) == {0, 1}


@capability("consumer highwater")
def _():
    consumer = assigned(FIRST)
    take(consumer, 10)
    assert consumer.highwater(FIRST) == 10
    consumer.close()


# --- groups


def share(group, assignor):
    topic, config = new_topic("shared", 4), {"partition_assignment_strategy": [assignor]}
    produce(topic, plain(40, 4))
    # A process of its own: some assignors keep their state in the class.
    member = [sys.executable, os.path.join(os.path.dirname(__file__), "second_member.py"), bootstrap, topic, group]
    process = subprocess.Popen(member + [assignor.__module__, assignor.__name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    os.set_blocking(process.stdout.fileno(), False)
    consumer = consumer_of(group, **config)
    consumer.subscribe([topic])
    seen, other = set(), [[]]

    def poll():
        for messages in consumer.poll(timeout_ms=500).values():
            seen.update((message.partition, message.offset) for message in messages)
        for line in process.stdout.readlines():
            other[0] = [TopicPartition(topic, number) for number in json.loads(line)]
        return len(consumer.assignment())

    everything = {TopicPartition(topic, number) for number in range(4)}
    until(lambda: poll() == 2 and len(other[0]) == 2 and consumer.assignment() | set(other[0]) == everything, "two each")
    process.stdin.close()
    until(lambda: poll() == 4 and process.poll() == 0, "all for the one that is left")
    until(lambda: poll() and len(seen) == 40, "every message")
    consumer.close()


assignors = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor}
if version >= (2, 1):  # that of 2.0 cannot write its own user data in Python 3
    from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

    assignors["sticky"] = StickyPartitionAssignor
if version >= (3,):
    from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

    assignors["cooperative-sticky"] = CooperativeStickyAssignor
for name, assignor in assignors.items():

    @capability("group " + name)
    def _():
        share(unique("group"), assignor)


if "group_instance_id" in KafkaConsumer.DEFAULT_CONFIG:

    @capability("group of static members")
    def _():
        group = unique("static")
        for _ in range(2):
            consumer = consumer_of(group, group_instance_id="one")
            consumer.subscribe([TOPIC])
            take(consumer, 20)
            consumer.close()


@capability("subscribe by pattern")
def _():
    prefix = unique("pattern")
    names = [prefix + "-a", prefix + "-b"]
    for name in names:
        create(name, 1)
        produce(name, plain(5, 1))
    consumer = consumer_of(unique("group"), metadata_max_age_ms=500)
    consumer.subscribe(pattern="^%s-.*" % re.escape(prefix))
    assert {message.topic for message in take(consumer, 10)} == set(names)
    consumer.commit()
    # A topic that comes later is found, too.
    create(prefix + "-c", 1)
    produce(prefix + "-c", plain(5, 1))
    assert {message.topic for message in take(consumer, 5)} == {prefix + "-c"}
    consumer.close()


# --- commits


@capability("commit synchronous")
def _():
    group = unique("commit")
    consumer = reading(group)
    consumer.commit()
    consumer.close()
    assert [committed(group, partition) for partition in (FIRST, SECOND)] == [10, 10]


@capability("commit asynchronous")
def _():
    group, reports = unique("commit"), []
    consumer = reading(group)
    consumer.commit_async(callback=lambda offsets, result: reports.append(result))
    until(lambda: consumer.poll(timeout_ms=50) or reports, "a report")
    assert not isinstance(reports[0], Exception), reports
    consumer.close()
    assert committed(group) == 10


@capability("commit of offsets")
def _():
    group = unique("commit")
    consumer = reading(group)
    consumer.commit({FIRST: offset_and_metadata(3), SECOND: offset_and_metadata(4)})
    consumer.close()
    assert [committed(group, partition) for partition in (FIRST, SECOND)] == [3, 4]


if version >= (2,):

    @capability("commit with metadata")
    def _():
        group = unique("commit")
        consumer = reading(group)
        consumer.commit({FIRST: offset_and_metadata(3, "mine \u00e9")})
        consumer.close()
        assert committed(group, metadata=True).metadata == "mine \u00e9"


@capability("commit without joining")
def _():
    group = unique("commit")
    consumer = assigned(FIRST, group=group)
    consumer.commit({FIRST: offset_and_metadata(6)})
    consumer.close()
    assert committed(group) == 6


@capability("commit automatic")
def _():
    group = unique("commit")
    consumer = reading(group, enable_auto_commit=True, auto_commit_interval_ms=100)
    until(lambda: consumer.poll(timeout_ms=50) or committed(group) == 10, "committed")
    consumer.close()


@capability("a group goes on where it has committed")
def _():
    group = unique("commit")
    consumer = reading(group)
    consumer.commit({FIRST: offset_and_metadata(8), SECOND: offset_and_metadata(9)})
    consumer.close()
    consumer = consumer_of(group)
    consumer.subscribe([TOPIC])
    assert sorted((message.partition, message.offset) for message in take(consumer, 3)) == [(0, 8), (0, 9), (1, 9)]
    consumer.close()


# --- transactions

if hasattr(KafkaProducer, "init_transactions"):

    def transactional(name=None, **config):
        producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id=name or unique("transaction"), max_block_ms=10000, **config)
        producer.init_transactions()
        return producer

    @capability("transaction committed")
    def _():
        topic, producer = new_topic("transaction"), transactional()
        producer.begin_transaction()
        producer.send(topic, b"v", partition=0)
        producer.commit_transaction()
        producer.close()
        assert [message.value for message in read_all(topic, 1, isolation_level="read_committed")] == [b"v"]

    @capability("transaction aborted")
    def _():
        topic, producer = new_topic("transaction"), transactional()
        for value, end in [(b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)]:
            producer.begin_transaction()
            producer.send(topic, value, partition=0).get(30)
            end()
        producer.close()
        assert [message.value for message in read_all(topic, 1, isolation_level="read_committed")] == [b"committed"]

    @capability("transaction with offsets")
    def _():
        group, producer = unique("group"), transactional()
        consumer = reading(group)
        producer.begin_transaction()
        metadata = consumer.group_metadata() if hasattr(consumer, "group_metadata") else group
        producer.send_offsets_to_transaction({FIRST: offset_and_metadata(5)}, metadata)
        producer.commit_transaction()
        producer.close()
        consumer.close()
        assert committed(group) == 5

    @capability("transaction read-process-write")
    def _():
        topic, group, producer = new_topic("transaction"), unique("group"), transactional()
        consumer = consumer_of(group)
        consumer.subscribe([TOPIC])
        messages = take(consumer, 20)
        for prefix, end, offset in [(b"aborted ", producer.abort_transaction, None), (b"committed ", producer.commit_transaction, 10)]:
            producer.begin_transaction()
            for message in messages:
                producer.send(topic, prefix + message.value, partition=message.partition)
            metadata = consumer.group_metadata() if hasattr(consumer, "group_metadata") else group
            positions = {partition: offset_and_metadata(consumer.position(partition)) for partition in (FIRST, SECOND)}
            producer.send_offsets_to_transaction(positions, metadata)
            producer.flush()
            end()
            assert [committed(group, partition) for partition in (FIRST, SECOND)] == [offset] * 2
        producer.close()
        consumer.close()
        processed = sorted(b"committed " + message.value for message in messages)
        read = read_all(topic, 20, isolation_level="read_committed")
        assert sorted(message.value for message in read) == processed

    @capability("transaction of a zombie refused")
    def _():
        topic, name = new_topic("transaction"), unique("transaction")
        zombie = transactional(name)
        zombie.begin_transaction()
        zombie.send(topic, b"zombie", partition=0).get(30)
        successor = transactional(name)
        successor.begin_transaction()
        successor.send(topic, b"committed", partition=0)
        successor.commit_transaction()
        successor.close()
        refused(zombie.commit_transaction, errors.KafkaError)
        zombie.close()
        assert [message.value for message in read_all(topic, 1, isolation_level="read_committed")] == [b"committed"]

    @capability("transaction timed out")
    def _():
        topic, producer = new_topic("transaction"), transactional(transaction_timeout_ms=1000)
        producer.begin_transaction()
        producer.send(topic, b"late", partition=0).get(30)
        produce(topic, [(0, None, b"behind it", [], None)])
        assert [message.value for message in read_all(topic, 1, isolation_level="read_committed")] == [b"behind it"]
        refused(producer.commit_transaction, errors.KafkaError)
        producer.close()


# --- admin, what all versions have


@capability("admin create_topics")
def _():
    topic = new_topic("created", 3)
    refused(lambda: admin.create_topics([NewTopic(topic, 1, 1)]), errors.TopicAlreadyExistsError)


@capability("admin create_topics validated only")
def _():
    topic = unique("not-created")
    admin.create_topics([NewTopic(topic, 3, 1)], validate_only=True)
    assert topic not in topics()


@capability("admin delete_topics")
def _():
    topic = new_topic("deleted")
    admin.delete_topics([topic])
    until(lambda: topic not in topics(), "gone")


@capability("admin create_partitions")
def _():
    topic = new_topic("grown")
    admin.create_partitions({topic: NewPartitions(5)})
    until(lambda: observer.topics() and len(observer.partitions_for_topic(topic)) == 5, "five partitions")


def configs_of(kind, name, **kwargs):
    """Key and value; the shape of the answer is another one in each version."""
    found = admin.describe_configs([ConfigResource(kind, name)], **kwargs)
    if isinstance(found, dict):  # 3.0
        [configs] = [configs for by_name in found.values() for configs in by_name.values()]
        return {key: config["value"] for key, config in configs.items()}
    responses = found if isinstance(found, list) else [found]
    return {entry[0]: entry[1] for response in responses for resource in response.resources for entry in resource[4]}


everything = {"config_filter": "all"} if version >= (3,) else {}


@capability("admin describe_configs of a topic")
def _():
    topic = new_topic("configured", **{"retention.ms": "123456"})
    assert configs_of(ConfigResourceType.TOPIC, topic, **everything)["retention.ms"] == "123456"


@capability("admin describe_configs of a broker")
def _():
    assert configs_of(ConfigResourceType.BROKER, "1", **everything)["log.retention.hours"] == "168"


@capability("admin alter_configs")
def _():
    topic = new_topic("altered")
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "5000"})])
    until(lambda: configs_of(ConfigResourceType.TOPIC, topic, **everything)["retention.ms"] == "5000", "altered")


ANY_ACL = ACLFilter("User:ann", "*", ACLOperation.ANY, ACLPermissionType.ANY, ResourcePattern(ResourceType.TOPIC, TOPIC))
ONE_ACL = ACL("User:ann", "*", ACLOperation.READ, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, TOPIC))


def security_disabled(call):
    """kafka-python raises the error, or hands it over."""
    try:
        found = call()
    except errors.SecurityDisabledError:
        return
    assert "SecurityDisabledError" in str(found) or "[Error 54]" in str(found), found


@capability("admin describe_acls without an authorizer")
def _():
    security_disabled(lambda: admin.describe_acls(ANY_ACL))


@capability("admin create_acls without an authorizer")
def _():
    security_disabled(lambda: admin.create_acls([ONE_ACL]))


@capability("admin delete_acls without an authorizer")
def _():
    security_disabled(lambda: admin.delete_acls([ANY_ACL]))


if has("list_topics"):

    @capability("admin list_topics of all")
    def _():
        assert TOPIC in admin.list_topics()

    @capability("admin describe_topics of all")
    def _():
        assert [len(found["partitions"]) for found in admin.describe_topics() if found.get("topic", found.get("name")) == TOPIC] == [2]

    @capability("admin describe_topics of one")
    def _():
        assert [len(found["partitions"]) for found in admin.describe_topics([TOPIC])] == [2]

    @capability("admin describe_cluster")
    def _():
        found = admin.describe_cluster()
        assert found["cluster_id"] and len(found["brokers"]) == len(bootstrap.split(",")), found


# --- admin of groups

GROUP = unique("administered")
member = reading(GROUP)
member.commit()

if has("list_consumer_groups"):

    @capability("admin list_consumer_groups")
    def _():
        assert (GROUP, "consumer") in admin.list_consumer_groups()

    @capability("admin describe_consumer_groups")
    def _():
        [found] = admin.describe_consumer_groups([GROUP])
        assert (found[2], len(found[5])) == ("Stable", 1), found

    @capability("admin list_consumer_group_offsets of all partitions")
    def _():
        assert {p: found.offset for p, found in admin.list_consumer_group_offsets(GROUP).items()} == {FIRST: 10, SECOND: 10}

    @capability("admin list_consumer_group_offsets")
    def _():
        assert {p: found.offset for p, found in admin.list_consumer_group_offsets(GROUP, partitions=[FIRST]).items()} == {FIRST: 10}


if has("delete_consumer_groups"):

    @capability("admin delete_consumer_groups")
    def _():
        consumer = reading(unique("deleted"))
        consumer.commit()
        consumer.close()
        group = consumer.config["group_id"]
        [(deleted, error)] = admin.delete_consumer_groups([group])
        assert (deleted, error) == (group, errors.NoError) and group not in str(admin.list_consumer_groups())


if has("delete_records"):

    @capability("admin delete_records")
    def _():
        topic = new_topic("shortened")
        produce(topic, plain(20))
        partition = TopicPartition(topic, 0)
        admin.delete_records({partition: 4})
        assert observer.beginning_offsets([partition]) == {partition: 4}

    if version >= (3,):

        @capability("admin describe_log_dirs of all")
        def _():
            assert TOPIC in str(admin.describe_log_dirs())


if has("perform_leader_election"):

    @capability("admin perform_leader_election of all")
    def _():
        assert admin.perform_leader_election(0).error_code == 0

    @capability("admin perform_leader_election")
    def _():
        assert "error_code=84" in str(admin.perform_leader_election(0, {TOPIC: [0]}))


if version >= (3,):
    import admin_of_version_3  # noqa: F401: tells its capabilities when it is imported

member.close()
not_to_try = ["close", "send_request", "send_requests"]
if version < (3,):
    not_to_try.append("describe_log_dirs")  # in a version that Kafka 4 does not speak
if version >= (3,):
    not_to_try.append("api_versions")  # trips over the APIs of Kafka 4.4 that it does not know
all_public_calls("admin", KafkaAdminClient, leaving_out=not_to_try)
