"""usage: capabilities_of_confluent_kafka.py BOOTSTRAP"""

import sys
import time

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from capabilities import all_public_calls, capability, unique, until

bootstrap = sys.argv[1]
version = confluent_kafka.version()  # 2.0.2 gives a pair
version = tuple(int(part) for part in (version if isinstance(version, str) else version[0]).split("."))
NOW = int(time.time() * 1000) - 60000  # old records are deleted
base = {"bootstrap.servers": bootstrap}
admin = AdminClient(base)


def done(futures):
    """What each of the futures gave, in a dictionary as librdkafka's admin gives them."""
    if not isinstance(futures, dict):
        return futures.result(timeout=30)
    return {key: future.result(timeout=30) for key, future in futures.items()}


def refused(call, *codes):
    """The call fails with one of these errors."""
    try:
        done(call())
    except KafkaException as error:
        assert error.args[0].code() in codes, error
    else:
        raise AssertionError("not refused")


def new_topic(name, partitions=2, **config):
    topic = unique(name)
    done(admin.create_topics([NewTopic(topic, partitions, 1, config=config)]))
    wait_for(topic, partitions)
    return topic


def wait_for(topic, partitions):
    """Kafka's controller answers before its broker knows the topic."""

    def is_known():
        known = admin.list_topics(topic, 10).topics[topic].partitions.values()
        return len(known) == partitions and all(partition.leader >= 0 for partition in known)

    until(is_known, "the topic has leaders")


def produce(topic, records, **config):
    """Sends (partition, key, value, headers, timestamp) and gives what was delivered."""
    errors, delivered = [], []

    def report(error, message):
        (errors if error else delivered).append(error or message)

    producer = Producer({**base, "linger.ms": 5, **config})
    for partition, key, value, headers, timestamp in records:
        producer.produce(topic, key=key, value=value, partition=partition, headers=headers, timestamp=timestamp, on_delivery=report)
    assert producer.flush(30) == 0 and not errors, errors
    return delivered


def plain(count, partitions=2, prefix="value"):
    return [(number % partitions, b"key-%d" % number, ("%s-%d" % (prefix, number)).encode() * 10, [], 0) for number in range(count)]


def consumer_of(group=None, **config):
    if config.get("group.protocol") != "consumer":
        config = {"heartbeat.interval.ms": 300, **config}
    return Consumer({
        **base,
        "group.id": group or unique("group"),
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "fetch.wait.max.ms": 50,
        **config,
    })


def take(consumer, count, seconds=30):
    """As many messages."""
    messages, deadline = [], time.monotonic() + seconds
    while len(messages) < count and time.monotonic() < deadline:
        for message in consumer.consume(count - len(messages), 0.2):
            if message.error():
                raise KafkaException(message.error())
            messages.append(message)
    assert len(messages) == count, "%d of %d" % (len(messages), count)
    return messages


def read_all(topic, count, **config):
    consumer = consumer_of(**config)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(len(admin.list_topics(topic, 10).topics[topic].partitions))])
    messages = take(consumer, count)
    consumer.close()
    return messages


def values(messages):
    return sorted(message.value() for message in messages)


# --- produce and consume

for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:

    @capability("produce " + codec)
    def _():
        topic, records = new_topic("codec"), plain(100)
        produce(topic, records, **{"compression.type": codec})
        assert values(read_all(topic, 100)) == sorted(value for _, _, value, _, _ in records)


@capability("produce idempotent")
def _():
    topic = new_topic("idempotent")
    produce(topic, plain(50), **{"enable.idempotence": True})
    assert len(read_all(topic, 50)) == 50


for acks in ["0", "1"]:

    @capability("produce acks=" + acks)
    def _():
        topic = new_topic("acks")
        produce(topic, plain(2))
        produce(topic, plain(10), acks=acks)
        assert len(read_all(topic, 12)) == 12


@capability("produce to a topic that is created by it")
def _():
    topic = unique("automatic")
    produce(topic, [(-1, b"k", b"v", [], 0)])
    assert values(read_all(topic, 1)) == [b"v"]


@capability("headers")
def _():
    topic, headers = new_topic("headers"), [("a", b"1"), ("a", b"2"), ("null", None), ("empty", b"")]
    produce(topic, [(0, b"k", b"v", headers, 0)])
    assert read_all(topic, 1)[0].headers() == headers


@capability("tombstones")
def _():
    topic = new_topic("tombstones", **{"cleanup.policy": "compact"})
    produce(topic, [(0, b"k", b"v", [], 0), (0, b"k", None, [], 0), (0, b"k", b"", [], 0)])
    assert [message.value() for message in read_all(topic, 3)] == [b"v", None, b""]


@capability("empty and null keys")
def _():
    topic = new_topic("keys")
    produce(topic, [(0, None, b"a", [], 0), (0, b"", b"b", [], 0)])
    assert [message.key() for message in read_all(topic, 2)] == [None, b""]


@capability("large messages")
def _():
    topic, value = new_topic("large", **{"max.message.bytes": "5000000"}), bytes(range(256)) * 16384
    produce(topic, [(0, b"k", value, [], 0)], **{"message.max.bytes": 5000000})
    assert read_all(topic, 1)[0].value() == value


@capability("a message that is too large is refused")
def _():
    topic = new_topic("large", **{"max.message.bytes": "1000"})
    try:
        produce(topic, [(0, b"k", b"v" * 2000, [], 0)])
    except AssertionError as error:
        assert error.args[0][0].code() == KafkaError.MSG_SIZE_TOO_LARGE, error
    else:
        raise AssertionError("accepted")


@capability("timestamps: of the producer")
def _():
    topic = new_topic("timestamps")
    produce(topic, [(0, b"k", b"v", [], NOW)])
    assert read_all(topic, 1)[0].timestamp() == (confluent_kafka.TIMESTAMP_CREATE_TIME, NOW)


@capability("timestamps: of the log")
def _():
    topic = new_topic("timestamps", **{"message.timestamp.type": "LogAppendTime"})
    produce(topic, [(0, b"k", b"v", [], NOW)])
    kind, timestamp = read_all(topic, 1)[0].timestamp()
    assert kind == confluent_kafka.TIMESTAMP_LOG_APPEND_TIME and abs(timestamp - time.time() * 1000) < 600000


produced = [(number % 2, b"key-%d" % number, b"value-%d" % number, [], NOW + number) for number in range(20)]
TOPIC = new_topic("confluent")
produce(TOPIC, produced)


@capability("seek")
def _():
    consumer = consumer_of()
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    take(consumer, 10)
    consumer.seek(TopicPartition(TOPIC, 0, 7))
    assert [message.offset() for message in take(consumer, 3)] == [7, 8, 9]
    consumer.close()


@capability("seek to the beginning and the end")
def _():
    consumer = consumer_of()
    consumer.assign([TopicPartition(TOPIC, 0, confluent_kafka.OFFSET_END)])
    until(lambda: consumer.consume(1, 0.1) == [], "nothing behind the end")
    consumer.seek(TopicPartition(TOPIC, 0, confluent_kafka.OFFSET_BEGINNING))
    assert take(consumer, 1)[0].offset() == 0
    consumer.close()


@capability("pause and resume")
def _():
    consumer = consumer_of()
    consumer.assign([TopicPartition(TOPIC, 0, 0), TopicPartition(TOPIC, 1, 0)])
    consumer.pause([TopicPartition(TOPIC, 1)])
    assert {message.partition() for message in take(consumer, 10)} == {0}
    consumer.resume([TopicPartition(TOPIC, 1)])
    assert {message.partition() for message in take(consumer, 10)} == {1}
    consumer.close()


@capability("offsets for times")
def _():
    consumer = consumer_of()
    asked = [TopicPartition(TOPIC, 0, NOW + 5), TopicPartition(TOPIC, 1, NOW + 1000000)]
    assert [found.offset for found in consumer.offsets_for_times(asked, 10)] == [3, confluent_kafka.OFFSET_END]
    consumer.close()


@capability("consumer get_watermark_offsets")
def _():
    consumer = consumer_of()
    assert consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), 10) == (0, 10)
    consumer.close()


for client, name in [(admin, "admin"), (Producer(base), "producer"), (consumer_of(), "consumer")]:

    @capability(name + " list_topics of all")
    def _():
        listed = client.list_topics(timeout=10)
        assert len(listed.topics[TOPIC].partitions) == 2 and listed.brokers, listed.topics
        assert listed.controller_id in listed.brokers and listed.cluster_id

    @capability(name + " list_topics of one")
    def _():
        assert list(client.list_topics(TOPIC, timeout=10).topics) == [TOPIC]


# --- groups


def share(group, assignor, **config):
    """Two members share a topic's partitions; the first takes all when the second has gone."""
    topic = new_topic("shared", 4)
    produce(topic, plain(40, 4))
    if assignor:
        config["partition.assignment.strategy"] = assignor
    first, second = (consumer_of(group, **config) for _ in range(2))
    seen = []

    def poll(*members):
        for member in members:
            for message in member.consume(10, 0.05):
                assert not message.error(), message.error()
                seen.append(message)

    for member in (first, second):
        member.subscribe([topic])
    until(lambda: poll(first, second) or [len(first.assignment()), len(second.assignment())] == [2, 2], "two each")
    assert not {(p.topic, p.partition) for p in first.assignment()} & {(p.topic, p.partition) for p in second.assignment()}
    second.close()
    until(lambda: poll(first) or len(first.assignment()) == 4, "all for the one that is left")
    until(lambda: poll(first) or len({(message.partition(), message.offset()) for message in seen}) == 40, "every message")
    first.close()


for assignor in ["range", "roundrobin", "cooperative-sticky"]:

    @capability("group " + assignor)
    def _():
        share(unique("group"), assignor)


@capability("group of static members")
def _():
    topic, group = new_topic("static"), unique("static")
    config = {"group.instance.id": "one", "session.timeout.ms": 10000}
    for _ in range(2):
        consumer = consumer_of(group, **config)
        consumer.subscribe([topic])
        until(lambda: consumer.consume(1, 0.05) or len(consumer.assignment()) == 2, "assigned")
        consumer.close()
        described = done(admin.describe_consumer_groups([group]))[group] if hasattr(admin, "describe_consumer_groups") else None
        assert described is None or [member.group_instance_id for member in described.members] == ["one"]


if version >= (2, 4):

    for assignor in ["range", "uniform"]:

        @capability("group of KIP-848, " + assignor)
        def _():
            share(unique("group"), None, **{"group.protocol": "consumer", "group.remote.assignor": assignor})


kinds = [("", {})] + ([(", KIP-848", {"group.protocol": "consumer"})] if version >= (2, 11) else [])
for suffix, config in kinds:

    @capability("subscribe by pattern" + suffix)
    def _():
        prefix = unique("pattern")
        topics = [prefix + "-a", prefix + "-b"]
        done(admin.create_topics([NewTopic(topic, 1, 1) for topic in topics]))
        for topic in topics:
            produce(topic, plain(5, 1))
        consumer = consumer_of(**config)
        consumer.subscribe(["^%s-.*" % prefix])
        assert {message.topic() for message in take(consumer, 10)} == set(topics)
        # A topic that comes later is found, too.
        later = prefix + "-c"
        done(admin.create_topics([NewTopic(later, 1, 1)]))
        produce(later, plain(5, 1))
        consumer.close()
        consumer = consumer_of(**config)
        consumer.subscribe(["^%s-.*" % prefix])
        assert len(take(consumer, 15)) == 15
        consumer.close()


# --- commits


def committed(group, partition=0, topic=TOPIC):
    consumer = consumer_of(group)
    found = consumer.committed([TopicPartition(topic, partition)], 10)[0]
    consumer.close()
    return found


def reading(group, **config):
    consumer = consumer_of(group, **config)
    consumer.subscribe([TOPIC])
    return consumer, take(consumer, 20)


@capability("commit synchronous")
def _():
    group = unique("commit")
    consumer, _ = reading(group)
    assert sorted((found.partition, found.offset) for found in consumer.commit(asynchronous=False)) == [(0, 10), (1, 10)]
    consumer.close()
    assert committed(group).offset == 10


@capability("commit asynchronous")
def _():
    group, reports = unique("commit"), []
    consumer, _ = reading(group, on_commit=lambda error, partitions: reports.append(error))
    consumer.commit()
    until(lambda: consumer.poll(0.05) or reports, "a report")
    assert reports == [None]
    consumer.close()
    assert committed(group).offset == 10


@capability("commit of one message")
def _():
    group = unique("commit")
    consumer, messages = reading(group)
    consumer.commit(message=next(message for message in messages if message.partition() == 0 and message.offset() == 4), asynchronous=False)
    consumer.close()
    assert committed(group).offset == 5


@capability("commit of offsets")
def _():
    group = unique("commit")
    consumer, _ = reading(group)
    consumer.commit(offsets=[TopicPartition(TOPIC, 0, 3), TopicPartition(TOPIC, 1, 4)], asynchronous=False)
    consumer.close()
    assert [committed(group, partition).offset for partition in (0, 1)] == [3, 4]


if version >= (2, 3):

    @capability("commit with metadata")
    def _():
        group = unique("commit")
        consumer, _ = reading(group)
        consumer.commit(offsets=[TopicPartition(TOPIC, 0, 3, "mine \u00e9")], asynchronous=False)
        consumer.close()
        assert committed(group).metadata == "mine \u00e9"


@capability("commit without joining")
def _():
    group = unique("commit")
    consumer = consumer_of(group)
    consumer.commit(offsets=[TopicPartition(TOPIC, 0, 6)], asynchronous=False)
    consumer.close()
    assert committed(group).offset == 6


@capability("commit automatic")
def _():
    group = unique("commit")
    consumer, _ = reading(group, **{"enable.auto.commit": True, "auto.commit.interval.ms": 100})
    until(lambda: consumer.poll(0.05) or committed(group).offset == 10, "committed")
    consumer.close()


@capability("commit of stored offsets")
def _():
    group = unique("commit")
    consumer, messages = reading(group, **{"enable.auto.commit": True, "enable.auto.offset.store": False})
    consumer.store_offsets(offsets=[TopicPartition(TOPIC, 0, 2)])
    consumer.close()
    assert committed(group).offset == 2


@capability("a group goes on where it has committed")
def _():
    group = unique("commit")
    consumer, _ = reading(group)
    consumer.commit(offsets=[TopicPartition(TOPIC, 0, 8), TopicPartition(TOPIC, 1, 9)], asynchronous=False)
    consumer.close()
    consumer = consumer_of(group)
    consumer.subscribe([TOPIC])
    assert sorted((message.partition(), message.offset()) for message in take(consumer, 3)) == [(0, 8), (0, 9), (1, 9)]
    consumer.close()


# --- transactions


def transactional(name=None, **config):
    producer = Producer({**base, "transactional.id": name or unique("transaction"), **config})
    producer.init_transactions(10)
    return producer


@capability("transaction committed")
def _():
    topic, producer = new_topic("transaction"), transactional()
    producer.begin_transaction()
    producer.produce(topic, b"v", partition=0)
    producer.commit_transaction(10)
    assert values(read_all(topic, 1, **{"isolation.level": "read_committed"})) == [b"v"]


@capability("transaction aborted")
def _():
    topic, producer = new_topic("transaction"), transactional()
    for value, end in [(b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)]:
        producer.begin_transaction()
        producer.produce(topic, value, partition=0)
        producer.flush(30)
        end(10)
    assert values(read_all(topic, 1, **{"isolation.level": "read_committed"})) == [b"committed"]


@capability("transaction with offsets")
def _():
    group, producer = unique("group"), transactional()
    consumer, _ = reading(group)
    producer.begin_transaction()
    producer.send_offsets_to_transaction([TopicPartition(TOPIC, 0, 5)], consumer.consumer_group_metadata(), 30)
    producer.commit_transaction(10)
    consumer.close()
    assert committed(group).offset == 5


@capability("transaction read-process-write")
def _():
    topic, group, producer = new_topic("transaction"), unique("group"), transactional()
    consumer, messages = reading(group)
    for prefix, end, offset in [(b"aborted ", producer.abort_transaction, -1001), (b"committed ", producer.commit_transaction, 10)]:
        producer.begin_transaction()
        for message in messages:
            producer.produce(topic, prefix + message.value(), partition=message.partition())
        producer.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 30)
        producer.flush(30)
        end(10)
        assert [committed(group, partition).offset for partition in (0, 1)] == [offset] * 2
    consumer.close()
    processed = sorted(b"committed " + message.value() for message in messages)
    assert values(read_all(topic, 20, **{"isolation.level": "read_committed"})) == processed


def refused_by_client(call):
    try:
        call()
    except KafkaException as error:
        return error.args[0]
    raise AssertionError("not refused")


@capability("transaction of a zombie refused")
def _():
    topic, name = new_topic("transaction"), unique("transaction")
    zombie = transactional(name)
    zombie.begin_transaction()
    zombie.produce(topic, b"zombie", partition=0)
    zombie.flush(30)
    successor = transactional(name)
    successor.begin_transaction()
    successor.produce(topic, b"committed", partition=0)
    successor.commit_transaction(10)
    assert refused_by_client(lambda: zombie.commit_transaction(10)).fatal()
    assert values(read_all(topic, 1, **{"isolation.level": "read_committed"})) == [b"committed"]


@capability("transaction timed out")
def _():
    topic, producer = new_topic("transaction"), transactional(**{"transaction.timeout.ms": 1000})
    producer.begin_transaction()
    producer.produce(topic, b"late", partition=0)
    producer.flush(30)
    produce(topic, [(0, None, b"behind it", [], 0)])
    assert values(read_all(topic, 1, **{"isolation.level": "read_committed"})) == [b"behind it"]
    refused_by_client(lambda: producer.commit_transaction(10))


# --- admin


@capability("admin create_topics")
def _():
    topic = new_topic("created", 3, **{"retention.ms": "123456"})
    assert len(admin.list_topics(topic, 10).topics[topic].partitions) == 3
    refused(lambda: admin.create_topics([NewTopic(topic, 1, 1)]), KafkaError.TOPIC_ALREADY_EXISTS)


@capability("admin create_topics validated only")
def _():
    topic = unique("not-created")
    done(admin.create_topics([NewTopic(topic, 3, 1)], validate_only=True))
    assert topic not in admin.list_topics(timeout=10).topics


@capability("admin delete_topics")
def _():
    topic = new_topic("deleted")
    done(admin.delete_topics([topic]))
    until(lambda: topic not in admin.list_topics(timeout=10).topics, "gone")


@capability("admin create_partitions")
def _():
    topic = new_topic("grown")
    done(admin.create_partitions([NewPartitions(topic, 5)]))
    until(lambda: len(admin.list_topics(topic, 10).topics[topic].partitions) == 5, "five partitions")


def configs_of(kind, name):
    resource = ConfigResource(kind, name)
    return done(admin.describe_configs([resource]))[resource]


@capability("admin describe_configs of a topic")
def _():
    assert configs_of(ConfigResource.Type.TOPIC, new_topic("configured", **{"retention.ms": "123456"}))["retention.ms"].value == "123456"


@capability("admin describe_configs of a broker")
def _():
    broker = str(admin.list_topics(timeout=10).controller_id)
    assert configs_of(ConfigResource.Type.BROKER, broker)["log.retention.hours"].value == "168"


@capability("admin alter_configs")
def _():
    topic = new_topic("altered")
    done(admin.alter_configs([ConfigResource(ConfigResource.Type.TOPIC, topic, set_config={"retention.ms": "5000"})]))
    until(lambda: configs_of(ConfigResource.Type.TOPIC, topic)["retention.ms"].value == "5000", "altered")


@capability("admin list_groups")
def _():
    group = unique("listed")
    consumer, _ = reading(group)
    assert group in {found.id for found in admin.list_groups(timeout=10)}
    assert [(found.id, found.state, len(found.members)) for found in admin.list_groups(group, timeout=10)] == [(group, "Stable", 1)]
    consumer.close()


group = unique("administered")
member, _ = reading(group)


@capability("admin list_consumer_groups")
def _():
    assert group in {found.group_id for found in done(admin.list_consumer_groups()).valid}
    stable = done(admin.list_consumer_groups(states={confluent_kafka.ConsumerGroupState.STABLE}))
    assert group in {found.group_id for found in stable.valid} and not stable.errors


@capability("admin describe_consumer_groups")
def _():
    described = done(admin.describe_consumer_groups([group]))[group]
    assert described.state == confluent_kafka.ConsumerGroupState.STABLE and described.partition_assignor == "range"
    assert [len(found.assignment.topic_partitions) for found in described.members] == [2]


member.close()


def group_offsets(*partitions):
    return confluent_kafka.ConsumerGroupTopicPartitions(group, [TopicPartition(TOPIC, *p) for p in partitions] or None)


@capability("admin alter_consumer_group_offsets")
def _():
    altered = done(admin.alter_consumer_group_offsets([group_offsets((0, 7), (1, 8))]))[group]
    assert not any(found.error for found in altered.topic_partitions)
    assert committed(group).offset == 7


@capability("admin list_consumer_group_offsets")
def _():
    found = done(admin.list_consumer_group_offsets([group_offsets((0,))]))[group]
    assert [p.offset for p in found.topic_partitions] == [7]


@capability("admin list_consumer_group_offsets of all partitions")
def _():
    found = done(admin.list_consumer_group_offsets([group_offsets()]))[group]
    assert sorted((p.partition, p.offset) for p in found.topic_partitions) == [(0, 7), (1, 8)]


@capability("admin delete_consumer_groups")
def _():
    done(admin.delete_consumer_groups([group]))
    assert group not in {found.group_id for found in done(admin.list_consumer_groups()).valid}


ANY_ACL = AclBindingFilter(
    ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
)
ACL = AclBinding(
    ResourceType.TOPIC, TOPIC, ResourcePatternType.LITERAL, "User:ann", "*", AclOperation.READ, AclPermissionType.ALLOW
)
SECURITY_DISABLED = KafkaError.SECURITY_DISABLED


@capability("admin describe_acls without an authorizer")
def _():
    assert done(admin.describe_acls(ANY_ACL)) == []  # librdkafka does not pass the error on


@capability("admin create_acls without an authorizer")
def _():
    refused(lambda: admin.create_acls([ACL]), SECURITY_DISABLED)


@capability("admin delete_acls without an authorizer")
def _():
    refused(lambda: admin.delete_acls([ANY_ACL]), SECURITY_DISABLED)


if version >= (2, 3):
    from confluent_kafka import IsolationLevel, TopicCollection
    from confluent_kafka.admin import (
        AlterConfigOpType,
        ConfigEntry,
        OffsetSpec,
        ScramCredentialInfo,
        ScramMechanism,
        UserScramCredentialDeletion,
        UserScramCredentialUpsertion,
    )

    def change(kind, name, key, value, operation=AlterConfigOpType.SET):
        entry = ConfigEntry(key, value, incremental_operation=operation)
        done(admin.incremental_alter_configs([ConfigResource(kind, name, incremental_configs=[entry])]))

    @capability("admin incremental_alter_configs of a topic")
    def _():
        topic, kind = new_topic("altered"), ConfigResource.Type.TOPIC
        change(kind, topic, "cleanup.policy", "compact", AlterConfigOpType.APPEND)
        until(lambda: configs_of(kind, topic)["cleanup.policy"].value == "delete,compact", "altered")
        change(kind, topic, "cleanup.policy", None, AlterConfigOpType.DELETE)
        until(lambda: configs_of(kind, topic)["cleanup.policy"].value == "delete", "back")

    @capability("admin incremental_alter_configs of a broker")
    def _():
        broker, kind = str(admin.list_topics(timeout=10).controller_id), ConfigResource.Type.BROKER
        change(kind, broker, "log.cleaner.backoff.ms", "14000")
        until(lambda: configs_of(kind, broker)["log.cleaner.backoff.ms"].value == "14000", "altered")
        change(kind, broker, "log.cleaner.backoff.ms", None, AlterConfigOpType.DELETE)

    @capability("admin describe_cluster")
    def _():
        described = done(admin.describe_cluster(include_authorized_operations=True))
        assert described.cluster_id and sorted("%s:%s" % (node.host, node.port) for node in described.nodes) == sorted(bootstrap.split(","))
        assert described.authorized_operations

    @capability("admin describe_topics")
    def _():
        described = done(admin.describe_topics(TopicCollection([TOPIC]), include_authorized_operations=True))[TOPIC]
        assert len(described.partitions) == 2 and described.topic_id and described.authorized_operations

    @capability("admin list_offsets")
    def _():
        first, last = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)
        asked = {first: OffsetSpec.earliest(), last: OffsetSpec.latest()}
        found = done(admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED))
        assert [found[p].offset for p in (first, last)] == [0, 10]
        found = done(admin.list_offsets({first: OffsetSpec.for_timestamp(NOW + 5), last: OffsetSpec.max_timestamp()}))
        assert [found[p].offset for p in (first, last)] == [3, 9]

    @capability("admin describe_user_scram_credentials of all")
    def _():
        assert isinstance(done(admin.describe_user_scram_credentials()), dict)

    @capability("admin describe_user_scram_credentials of one")
    def _():
        refused(lambda: admin.describe_user_scram_credentials(["nobody"]), KafkaError.RESOURCE_NOT_FOUND)

    @capability("admin alter_user_scram_credentials")
    def _():
        user, info = unique("user"), ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        done(admin.alter_user_scram_credentials([UserScramCredentialUpsertion(user, info, b"secret")]))
        until(lambda: user in done(admin.describe_user_scram_credentials()), "the user is there")
        done(admin.alter_user_scram_credentials([UserScramCredentialDeletion(user, ScramMechanism.SCRAM_SHA_256)]))


if version >= (2, 6):

    @capability("admin delete_records")
    def _():
        topic = new_topic("shortened")
        produce(topic, plain(20))
        found = done(admin.delete_records([TopicPartition(topic, 0, 4)]))
        assert [deleted.low_watermark for deleted in found.values()] == [4]

    @capability("admin elect_leaders")
    def _():
        found = done(admin.elect_leaders(confluent_kafka.ElectionType.PREFERRED, [TopicPartition(TOPIC, 0)]))
        assert [error and error.code() for error in found.values()] == [KafkaError.ELECTION_NOT_NEEDED]

    @capability("admin elect_leaders of all")
    def _():
        assert done(admin.elect_leaders(confluent_kafka.ElectionType.PREFERRED)) == {}


if version >= (2, 8) and hasattr(admin, "cluster_id"):

    @capability("admin cluster_id")
    def _():
        assert admin.cluster_id(10)


all_public_calls("admin", AdminClient, leaving_out=["poll", "set_sasl_credentials"])
