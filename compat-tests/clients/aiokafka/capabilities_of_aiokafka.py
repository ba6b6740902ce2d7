"""usage: capabilities_of_aiokafka.py BOOTSTRAP"""

import asyncio
import contextlib
import re
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced

from capabilities import all_public_calls, capability, unique

bootstrap = sys.argv[1]
NOW = int(time.time() * 1000) - 60000  # old records are deleted
TOPIC = unique("aiokafka")  # of 2 partitions with 10 records each, one every millisecond from NOW on, in turn
FIRST, SECOND = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


@contextlib.asynccontextmanager
async def running(client, start, stop):
    await getattr(client, start)()
    try:
        yield client
    finally:
        await getattr(client, stop)()


def admin_client():
    return running(AIOKafkaAdminClient(bootstrap_servers=bootstrap), "start", "close")


def producer_of(**config):
    return running(AIOKafkaProducer(bootstrap_servers=bootstrap, **config), "start", "stop")


def consumer_of(*topics, group=None, **config):
    config = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "heartbeat_interval_ms": 300, "fetch_max_wait_ms": 50, **config}
    return running(AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, group_id=group, **config), "start", "stop")


async def until(condition, what):
    deadline = time.monotonic() + 30
    while not await condition():
        if time.monotonic() > deadline:
            raise TimeoutError("not in 30 s: %s" % what)
        await asyncio.sleep(0.02)


async def new_topic(name, partitions=1, **config):
    topic = name if name == TOPIC else unique(name)
    async with admin_client() as admin:
        await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=config)])

        async def is_known():
            [found] = await admin.describe_topics([topic])
            return len(found["partitions"]) == partitions

        await until(is_known, "the topic is known")
    return topic


async def produce(topic, records, **config):
    """Sends (partition, key, value, headers, timestamp)."""
    async with producer_of(linger_ms=5, **config) as producer:
        sent = [
            await producer.send(topic, value, key=key, partition=partition, headers=headers, timestamp_ms=timestamp)
            for partition, key, value, headers, timestamp in records
        ]
        return [await future for future in sent]


def plain(count, partitions=1):
    return [(number % partitions, b"key-%d" % number, b"value-%d" % number * 10, [], None) for number in range(count)]


async def take(consumer, count):
    messages, deadline = [], time.monotonic() + 30
    while len(messages) < count and time.monotonic() < deadline:
        for found in (await consumer.getmany(timeout_ms=200, max_records=count - len(messages))).values():
            messages.extend(found)
    assert len(messages) == count, "%d of %d" % (len(messages), count)
    return messages


async def read_all(topic, count, **config):
    async with consumer_of(**config) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        return await take(consumer, count)


async def committed(group, partition=FIRST):
    async with consumer_of(group=group) as consumer:
        return await consumer.committed(partition)


@contextlib.asynccontextmanager
async def reading(group, **config):
    async with consumer_of(TOPIC, group=group, **config) as consumer:
        await take(consumer, 20)
        yield consumer


async def closed_group():
    group = unique("closed")
    async with reading(group) as consumer:
        await consumer.commit()
    return group


async def prepare():
    await new_topic(TOPIC, 2)
    await produce(TOPIC, [(number % 2, b"key", b"value-%d" % number, [], NOW + number) for number in range(20)])


asyncio.run(prepare())


# --- produce and consume

for codec in [None, "gzip", "snappy", "lz4", "zstd"]:

    @capability("produce %s" % (codec or "none"))
    async def _():
        topic, records = await new_topic("codec"), plain(100)
        await produce(topic, records, compression_type=codec)
        assert [message.value for message in await read_all(topic, 100)] == [value for _, _, value, _, _ in records]


@capability("produce idempotent")
async def _():
    topic = await new_topic("idempotent")
    await produce(topic, plain(10), enable_idempotence=True)
    await read_all(topic, 10)


for acks in [0, 1]:

    @capability("produce acks=%s" % acks)
    async def _():
        topic = await new_topic("acks")
        await produce(topic, plain(1))
        await produce(topic, plain(10), acks=acks)
        await read_all(topic, 11)


@capability("produce a batch")
async def _():
    topic = await new_topic("batch")
    async with producer_of() as producer:
        batch = producer.create_batch()
        for number in range(5):
            batch.append(key=None, value=b"v", timestamp=None)
        await (await producer.send_batch(batch, topic, partition=0))
    await read_all(topic, 5)


@capability("produce to a topic that is created by it")
async def _():
    topic = unique("automatic")
    await produce(topic, [(None, b"k", b"v", [], None)])
    await read_all(topic, 1)


@capability("producer partitions_for")
async def _():
    async with producer_of() as producer:
        assert await producer.partitions_for(TOPIC) == {0, 1}


@capability("headers")
async def _():
    topic, headers = await new_topic("headers"), [("a", b"1"), ("a", b"2"), ("null", None), ("empty", b"")]
    await produce(topic, [(0, b"k", b"v", headers, None)])
    assert list((await read_all(topic, 1))[0].headers) == headers


@capability("tombstones")
async def _():
    topic = await new_topic("tombstones", **{"cleanup.policy": "compact"})
    await produce(topic, [(0, b"k", value, [], None) for value in (b"v", None, b"")])
    assert [message.value for message in await read_all(topic, 3)] == [b"v", None, b""]


@capability("empty and null keys")
async def _():
    topic = await new_topic("keys")
    await produce(topic, [(0, key, b"v", [], None) for key in (None, b"")])
    assert [message.key for message in await read_all(topic, 2)] == [None, b""]


@capability("large messages")
async def _():
    topic, value = await new_topic("large", **{"max.message.bytes": "5000000"}), bytes(range(256)) * 16384
    await produce(topic, [(0, b"k", value, [], None)], max_request_size=5000000)
    assert (await read_all(topic, 1))[0].value == value


@capability("a message that is too large is refused")
async def _():
    topic = await new_topic("large", **{"max.message.bytes": "1000"})
    try:
        await produce(topic, [(0, b"k", b"v" * 2000, [], None)])
    except MessageSizeTooLargeError:
        return
    raise AssertionError("accepted")


@capability("timestamps: of the producer")
async def _():
    topic = await new_topic("timestamps")
    await produce(topic, [(0, b"k", b"v", [], NOW)])
    [message] = await read_all(topic, 1)
    assert (message.timestamp_type, message.timestamp) == (0, NOW)


@capability("timestamps: of the log")
async def _():
    topic = await new_topic("timestamps", **{"message.timestamp.type": "LogAppendTime"})
    await produce(topic, [(0, b"k", b"v", [], NOW)])
    [message] = await read_all(topic, 1)
    assert message.timestamp_type == 1 and message.timestamp > NOW


@capability("seek")
async def _():
    async with consumer_of() as consumer:
        consumer.assign([FIRST])
        await take(consumer, 10)
        consumer.seek(FIRST, 7)
        assert [message.offset for message in await take(consumer, 3)] == [7, 8, 9]


@capability("seek to the beginning and the end")
async def _():
    async with consumer_of() as consumer:
        consumer.assign([FIRST])
        await consumer.seek_to_end()
        assert await consumer.position(FIRST) == 10
        await consumer.seek_to_beginning()
        assert (await take(consumer, 10))[0].offset == 0


@capability("pause and resume")
async def _():
    async with consumer_of() as consumer:
        consumer.assign([FIRST, SECOND])
        consumer.pause(SECOND)
        assert {message.partition for message in await take(consumer, 10)} == {0}
        consumer.resume(SECOND)
        assert {message.partition for message in await take(consumer, 10)} == {1}


@capability("offsets for times")
async def _():
    async with consumer_of() as consumer:
        found = await consumer.offsets_for_times({FIRST: NOW + 5, SECOND: NOW + 1000000})
        assert found[FIRST][:2] == (3, NOW + 6) and found[SECOND] is None, found


@capability("consumer beginning_offsets and end_offsets")
async def _():
    async with consumer_of() as consumer:
        assert await consumer.beginning_offsets([FIRST, SECOND]) == {FIRST: 0, SECOND: 0}
        assert await consumer.end_offsets([FIRST, SECOND]) == {FIRST: 10, SECOND: 10}


@capability("consumer topics of all")
async def _():
    async with consumer_of() as consumer:
        assert TOPIC in await consumer.topics()


# --- groups

# The sticky assignor keeps its state in the class: two members in one program would be one to it.
for name, assignor in [("range", RangePartitionAssignor), ("roundrobin", RoundRobinPartitionAssignor)]:

    @capability("group " + name)
    async def _():
        topic, group = await new_topic("shared", 4), unique("group")
        await produce(topic, plain(40, 4))
        config = {"group": group, "partition_assignment_strategy": [assignor]}
        seen = set()
        async with consumer_of(topic, **config) as first:

            async def poll():
                for messages in (await first.getmany(timeout_ms=20)).values():
                    seen.update((message.partition, message.offset) for message in messages)
                return len(first.assignment())

            async with consumer_of(topic, **config) as second:

                async def two_each():
                    return await poll() == 2 and len(second.assignment()) == 2 and not first.assignment() & second.assignment()

                await until(two_each, "two each")

            async def all_and_everything():
                return await poll() == 4 and len(seen) == 40

            await until(all_and_everything, "all for the one that is left")


@capability("group of static members")
async def _():
    group = unique("static")
    for _ in range(2):
        async with reading(group, group_instance_id="one"):
            pass


@capability("subscribe by pattern")
async def _():
    prefix = unique("pattern")
    for end in ("-a", "-b"):
        await produce(prefix + end, plain(5))
    async with consumer_of(group=unique("group"), metadata_max_age_ms=500) as consumer:
        consumer.subscribe(pattern="^%s-.*" % re.escape(prefix))
        await take(consumer, 10)
        await consumer.commit()
        # A topic that comes later is found, too.
        await produce(prefix + "-c", plain(5))
        await take(consumer, 5)


# --- commits


@capability("commit synchronous")
async def _():
    group = await closed_group()
    assert [await committed(group, partition) for partition in (FIRST, SECOND)] == [10, 10]


@capability("commit of offsets")
async def _():
    group = unique("commit")
    async with reading(group) as consumer:
        await consumer.commit({FIRST: 3, SECOND: 4})
    assert [await committed(group, partition) for partition in (FIRST, SECOND)] == [3, 4]


@capability("commit with metadata")
async def _():
    group = unique("commit")
    async with reading(group) as consumer:
        await consumer.commit({FIRST: (3, "mine \u00e9")})
    async with admin_client() as admin:
        assert (await admin.list_consumer_group_offsets(group))[FIRST].metadata == "mine \u00e9"


@capability("commit without joining")
async def _():
    group = unique("commit")
    async with consumer_of(group=group) as consumer:
        consumer.assign([FIRST])
        await consumer.commit({FIRST: 6})
    assert await committed(group) == 6


@capability("commit automatic")
async def _():
    group = unique("commit")
    async with reading(group, enable_auto_commit=True, auto_commit_interval_ms=100):

        async def is_committed():
            return await committed(group) == 10

        await until(is_committed, "committed")


@capability("a group goes on where it has committed")
async def _():
    group = unique("commit")
    async with reading(group) as consumer:
        await consumer.commit({FIRST: 8, SECOND: 9})
    async with consumer_of(TOPIC, group=group) as consumer:
        assert sorted((message.partition, message.offset) for message in await take(consumer, 3)) == [(0, 8), (0, 9), (1, 9)]


# --- transactions


def transactional(name=None, **config):
    return producer_of(transactional_id=name or unique("transaction"), **config)


@capability("transaction committed")
async def _():
    topic = await new_topic("transaction")
    async with asyncio.timeout(20), transactional() as producer, producer.transaction():
        await producer.send_and_wait(topic, b"v", partition=0)
    await read_all(topic, 1, isolation_level="read_committed")


@capability("transaction aborted")
async def _():
    topic = await new_topic("transaction")
    async with asyncio.timeout(20), transactional() as producer:
        for value, end in [(b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)]:
            await producer.begin_transaction()
            await producer.send_and_wait(topic, value, partition=0)
            await end()
    [message] = await read_all(topic, 1, isolation_level="read_committed")
    assert message.value == b"committed"


@capability("transaction with offsets")
async def _():
    group = await closed_group()
    async with asyncio.timeout(20), transactional() as producer, producer.transaction():
        await producer.send_offsets_to_transaction({FIRST: 5}, group)
    assert await committed(group) == 5


@capability("transaction read-process-write")
async def _():
    topic, group = await new_topic("transaction", 2), unique("group")
    async with asyncio.timeout(60), consumer_of(TOPIC, group=group) as consumer, transactional() as producer:
        messages = await take(consumer, 20)
        for prefix, end, offset in [(b"aborted ", producer.abort_transaction, None), (b"committed ", producer.commit_transaction, 10)]:
            await producer.begin_transaction()
            for message in messages:
                await producer.send(topic, prefix + message.value, partition=message.partition)
            await producer.send_offsets_to_transaction({partition: await consumer.position(partition) for partition in (FIRST, SECOND)}, group)
            await producer.flush()
            await end()
            assert [await committed(group, partition) for partition in (FIRST, SECOND)] == [offset] * 2
    processed = sorted(b"committed " + message.value for message in messages if message.partition == 0)
    read = await read_all(topic, 10, isolation_level="read_committed")
    assert sorted(message.value for message in read) == processed


async def refused(call):
    try:
        await call
    except KafkaError as error:
        return error
    raise AssertionError("not refused")


@capability("transaction of a zombie refused")
async def _():
    topic, name = await new_topic("transaction"), unique("transaction")
    async with asyncio.timeout(60):
        async with transactional(name) as zombie:
            await zombie.begin_transaction()
            await zombie.send_and_wait(topic, b"zombie", partition=0)
            async with transactional(name) as successor, successor.transaction():
                await successor.send_and_wait(topic, b"committed", partition=0)
            assert isinstance(await refused(zombie.commit_transaction()), ProducerFenced)
    [message] = await read_all(topic, 1, isolation_level="read_committed")
    assert message.value == b"committed"


@capability("transaction timed out")
async def _():
    topic = await new_topic("transaction")
    async with asyncio.timeout(60), transactional(transaction_timeout_ms=1000) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"late", partition=0)
        await produce(topic, [(0, None, b"behind it", [], None)])
        [message] = await read_all(topic, 1, isolation_level="read_committed")
        assert message.value == b"behind it"
        await refused(producer.commit_transaction())


# --- admin


def admin_capability(name):
    def run(function):
        @capability("admin " + name)
        async def _():
            async with admin_client() as admin:
                await function(admin)

    return run


@admin_capability("create_topics")
async def _(admin):
    await new_topic("created", 3)
    assert "36" in str(await admin.create_topics([NewTopic(TOPIC, 1, 1)]))


@admin_capability("list_topics of all")
async def _(admin):
    assert TOPIC in await admin.list_topics()


@admin_capability("describe_topics of all")
async def _(admin):
    assert [len(found["partitions"]) for found in await admin.describe_topics() if found["topic"] == TOPIC] == [2]


@admin_capability("describe_cluster")
async def _(admin):
    found = await admin.describe_cluster()
    assert len(found["brokers"]) == len(bootstrap.split(",")) and found["cluster_id"], found


@admin_capability("delete_topics")
async def _(admin):
    topic = await new_topic("deleted")
    await admin.delete_topics([topic])

    async def is_gone():
        return topic not in await admin.list_topics()

    await until(is_gone, "gone")


@admin_capability("create_partitions")
async def _(admin):
    topic = await new_topic("grown")
    await admin.create_partitions({topic: NewPartitions(5)})

    async def has_grown():
        return len((await admin.describe_topics([topic]))[0]["partitions"]) == 5

    await until(has_grown, "five partitions")


@admin_capability("delete_records")
async def _(admin):
    topic = await new_topic("shortened")
    await produce(topic, plain(10))
    partition = TopicPartition(topic, 0)
    assert await admin.delete_records({partition: RecordsToDelete(4)}) == {partition: 4}


async def config_of(admin, kind, name, key):
    [response] = await admin.describe_configs([ConfigResource(kind, name)])
    return {entry[0]: entry[1] for resource in response.resources for entry in resource[4]}[key]


@admin_capability("describe_configs of a topic")
async def _(admin):
    assert await config_of(admin, ConfigResourceType.TOPIC, TOPIC, "cleanup.policy") == "delete"


@admin_capability("describe_configs of a broker")
async def _(admin):
    assert await config_of(admin, ConfigResourceType.BROKER, "1", "log.retention.hours") == "168"


@admin_capability("alter_configs")
async def _(admin):
    topic = await new_topic("altered")
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "5000"})])

    async def is_altered():
        return await config_of(admin, ConfigResourceType.TOPIC, topic, "retention.ms") == "5000"

    await until(is_altered, "altered")


@admin_capability("list_consumer_groups")
async def _(admin):
    assert (await closed_group(), "consumer") in await admin.list_consumer_groups()


@admin_capability("describe_consumer_groups")
async def _(admin):
    group = unique("described")
    async with reading(group):
        [found] = await admin.describe_consumer_groups([group])
        assert "Stable" in str(found), found


@admin_capability("list_consumer_group_offsets of all partitions")
async def _(admin):
    found = await admin.list_consumer_group_offsets(await closed_group())
    assert {partition: committed.offset for partition, committed in found.items()} == {FIRST: 10, SECOND: 10}


@admin_capability("list_consumer_group_offsets")
async def _(admin):
    found = await admin.list_consumer_group_offsets(await closed_group(), partitions=[FIRST])
    assert {partition: committed.offset for partition, committed in found.items()} == {FIRST: 10}


@admin_capability("find_coordinator")
async def _(admin):
    assert await admin.find_coordinator(unique("group")) in range(1, len(bootstrap.split(",")) + 1)


all_public_calls("admin", AIOKafkaAdminClient, leaving_out=["start", "close"])
