"""Faust: a stream, and a table with its changelog.  usage: capabilities_of_faust.py BOOTSTRAP

The application itself is the same file: capabilities_of_faust.py worker BOOTSTRAP APPLICATION FOLDER
"""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def application(bootstrap, name, folder):
    import faust

    app = faust.App(
        name,
        broker="kafka://" + bootstrap.replace(",", ";"),
        store="memory://",
        datadir=folder,
        topic_partitions=2,
        topic_replication_factor=1,
        broker_commit_interval=0.5,
        broker_heartbeat_interval=0.5,
        broker_session_timeout=10.0,
        stream_wait_empty=False,
        web_enabled=False,
        value_serializer="json",
        key_serializer="raw",
    )
    words = app.topic(name + "-words", key_type=bytes, value_type=str)
    doubled = app.topic(name + "-doubled", key_type=bytes, value_type=str)
    counts = app.Table("counts", default=int, partitions=2, key_type=str, value_type=int)
    seen = app.topic(name + "-counts", key_type=bytes, value_type=int)

    @app.agent(words)
    async def double(stream):
        async for key, word in stream.items():
            await doubled.send(key=key, value=word * 2)

    @app.agent(words)
    async def count(stream):
        async for word in stream:
            counts[word] += 1
            await seen.send(key=word.encode(), value=counts[word])

    app.finalize()
    faust.Worker(app, loglevel="INFO").execute_from_commandline()


if sys.argv[1] == "worker":
    application(*sys.argv[2:])
    sys.exit()

import asyncio

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.structs import TopicPartition

from capabilities import capability, unique

bootstrap = sys.argv[1]
temporary = tempfile.TemporaryDirectory(prefix="ottla-faust-", ignore_cleanup_errors=True)
name = unique("faust")
words, doubled, counts = (name + suffix for suffix in ("-words", "-doubled", "-counts"))
workers = []


def start():
    """A worker with a folder of its own: each of them has its tables from the broker."""
    folder = tempfile.mkdtemp(dir=temporary.name)
    with open(Path(folder) / "worker.log", "ab") as log:
        command = [sys.executable, __file__, "worker", bootstrap, name, folder]
        workers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
    return workers[-1]


atexit.register(lambda: [worker.kill() for worker in workers])


@contextlib.asynccontextmanager
async def admin():
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def create(name):
    async with admin() as client:
        await client.create_topics([NewTopic(name + suffix, 2, 1) for suffix in ("-words", "-doubled", "-counts")])


async def write(*texts):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    for text in texts:
        await producer.send_and_wait(words, json.dumps(text).encode(), key=text.encode())
    await producer.stop()


async def messages(topic, count):
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, partition) for partition in range(2)])
        return [await asyncio.wait_for(consumer.getone(), 80) for _ in range(count)]
    finally:
        await consumer.stop()


async def read(topic, count):
    """The first records of a topic, in order of key."""
    found = [(message.key.decode(), json.loads(message.value)) for message in await messages(topic, count)]
    return sorted(found, key=lambda record: record[0])


@contextlib.asynccontextmanager
async def sender(**config):
    """An application that only sends."""
    app = faust.App(unique("sender"), broker="kafka://" + bootstrap.replace(",", ";"), key_serializer="raw", value_serializer="raw", web_enabled=False, **config)
    await app.maybe_start_producer()
    try:
        yield app
    finally:
        await app.producer.stop()


for codec in [None, "gzip", "snappy", "lz4", "zstd"]:

    @capability("produce %s" % (codec or "none"))
    async def _():
        async with sender(producer_compression_type=codec) as app:
            topic = app.topic(unique("codec"))
            await app.producer.create_topic(topic.get_topic_name(), 2, 1, ensure_created=True)
            for number in range(50):
                await topic.send(key=b"%d" % number, value=b"value" * 50)
            await app.producer.flush()
            found = await messages(topic.get_topic_name(), 50)
            assert {message.key for message in found} == {b"%d" % number for number in range(50)}


@capability("headers, tombstones and timestamps")
async def _():
    async with sender() as app:
        topic = app.topic(unique("records"))
        await app.producer.create_topic(topic.get_topic_name(), 2, 1, ensure_created=True)
        at = round(time.time()) - 60
        await (await topic.send(key=b"k", value=b"v", partition=1, timestamp=at, headers={"a": b"1", "empty": b""}))
        await (await topic.send(key=b"k", value=None, partition=1))
        first, second = await messages(topic.get_topic_name(), 2)
        assert (first.headers, first.timestamp, second.value) == ((("a", b"1"), ("empty", b"")), at * 1000, None), (first, second)


@capability("producer create_topic with its settings")
async def _():
    async with sender() as app, admin() as client:
        made = unique("made")
        await app.producer.create_topic(made, 3, 1, compacting=True, retention=60.0, config={"segment.ms": 5000}, ensure_created=True)
        [described] = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, made)])
        configs = {entry[0]: entry[1] for resource in described.resources for entry in resource[4]}
        assert [configs[key] for key in ("cleanup.policy", "retention.ms", "segment.ms")] == ["compact", "60000", "5000"], configs
        # That there is one already is no error for Faust.
        await app.producer.create_topic(made, 3, 1, ensure_created=True)


asyncio.run(create(name))
worker = start()


@capability("a stream from topic to topic")
async def _():
    await write("a", "b", "a")
    assert await read(doubled, 3) == [("a", "aa"), ("a", "aa"), ("b", "bb")]


@capability("a table counts")
async def _():
    assert await read(counts, 3) == [("a", 1), ("a", 2), ("b", 1)]


@capability("the table is in its changelog")
async def _():
    found = dict(await read(name + "-counts-changelog", 3))
    assert {json.loads(key): value for key, value in found.items()} == {"a": 2, "b": 1}, found
    async with admin() as client:
        [described] = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name + "-counts-changelog")])
        assert {entry[0]: entry[1] for resource in described.resources for entry in resource[4]}["cleanup.policy"] == "compact"


@capability("started again, it reads its table from the changelog and goes on")
async def _():
    global worker
    worker.send_signal(signal.SIGTERM)
    worker.wait(60)
    worker = start()
    await write("a", "c")
    assert await read(counts, 5) == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1)]


async def shares():
    """How many partitions of the words each worker has, once the group is stable."""
    async with admin() as client:
        [described] = await client.describe_consumer_groups([name])
        [(_, _, state, _, _, members, *_)] = described.groups
        if state != "Stable":
            return []
        assignments = [ConsumerProtocol.ASSIGNMENT.decode(member[4]).assignment for member in members]
        return sorted(len(partitions) for assignment in assignments for topic, partitions in assignment if topic == words)


@capability("another worker takes its share, and the rest when the first is killed")
async def _():
    second = start()
    while await shares() != [1, 1]:
        assert second.poll() is None
        await asyncio.sleep(0.1)
    worker.kill()
    while await shares() != [2]:
        assert second.poll() is None
        await asyncio.sleep(0.1)
    await write("a", "b", "d")
    # What the first had not committed is counted twice, so there may be more than eight.
    count, expected = 8, {"a": 4, "b": 2, "c": 1, "d": 1}
    while not expected.items() <= dict(await read(counts, count)).items():
        count += 1
