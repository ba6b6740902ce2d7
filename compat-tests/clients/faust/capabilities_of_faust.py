"""Faust: a stream, and a table with its changelog.  usage: capabilities_of_faust.py BOOTSTRAP

The application itself is the same file: capabilities_of_faust.py worker BOOTSTRAP APPLICATION FOLDER
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path


def application(bootstrap, name, folder):
    import faust

    app = faust.App(
        name,
        broker="kafka://" + bootstrap,
        store="memory://",
        datadir=folder,
        topic_partitions=2,
        topic_replication_factor=1,
        broker_commit_interval=0.5,
        broker_heartbeat_interval=0.5,
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

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import TopicPartition

from capabilities import capability, unique

bootstrap = sys.argv[1]
temporary = tempfile.TemporaryDirectory(prefix="ottla-faust-", ignore_cleanup_errors=True)
name, folder = unique("faust"), temporary.name
words, doubled, counts = (name + suffix for suffix in ("-words", "-doubled", "-counts"))


def start():
    with open(Path(folder) / "worker.log", "ab") as log:
        command = [sys.executable, __file__, "worker", bootstrap, name, folder]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


async def create():
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 2, 1) for topic in (words, doubled, counts)])
    await admin.close()


async def write(*texts):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    for text in texts:
        await producer.send_and_wait(words, json.dumps(text).encode(), key=text.encode())
    await producer.stop()


async def read(topic, count):
    """The first records of a topic, in order of key."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition(topic, partition) for partition in range(2)])
    found = []
    while len(found) < count:
        message = await asyncio.wait_for(consumer.getone(), 80)
        found.append((message.key.decode(), json.loads(message.value)))
    await consumer.stop()
    return sorted(found, key=lambda record: record[0])


asyncio.run(create())
worker = start()
atexit.register(lambda: worker.kill())


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


@capability("started again, it reads its table from the changelog and goes on")
async def _():
    global worker
    worker.send_signal(signal.SIGTERM)
    worker.wait(60)
    worker = start()
    await write("a", "c")
    assert await read(counts, 5) == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1)]
