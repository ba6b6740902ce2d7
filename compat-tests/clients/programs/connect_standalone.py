"""Kafka Connect, standalone, with the file source and sink.  usage: connect_standalone.py BOOTSTRAP"""

import json
import sys

from confluent_kafka.admin import AdminClient

from capabilities import capability, unique, until
from workers import START_SECONDS, Java, answers, folder, free_port, http, properties, read, write

bootstrap = sys.argv[1]
admin = AdminClient({"bootstrap.servers": bootstrap})
rest = "http://127.0.0.1:%d" % free_port()
source, target, lenient = folder / "source.txt", folder / "target.txt", folder / "lenient.txt"
topic, numbers, dead = unique("lines"), unique("numbers"), unique("dead")
lines = ["line %d" % number for number in range(200)]

worker_file = properties(
    "worker.properties",
    bootstrap__servers=bootstrap,
    key__converter="org.apache.kafka.connect.storage.StringConverter",
    value__converter="org.apache.kafka.connect.storage.StringConverter",
    offset__storage__file__filename=folder / "offsets",
    offset__flush__interval__ms=500,
    listeners=rest,
    # The dead letters go to a topic of one copy.
    plugin__discovery="service_load",
)
connectors = [
    properties(
        "source.properties",
        name="source",
        connector__class="org.apache.kafka.connect.file.FileStreamSourceConnector",
        file=source,
        topic=topic,
        topic__creation__default__replication__factor=1,
        topic__creation__default__partitions=1,
        topic__creation__default__compression__type="lz4",
    ),
    properties(
        "sink.properties",
        name="sink",
        connector__class="org.apache.kafka.connect.file.FileStreamSinkConnector",
        file=target,
        topics=topic,
    ),
    properties(
        "lenient.properties",
        name="lenient",
        connector__class="org.apache.kafka.connect.file.FileStreamSinkConnector",
        file=lenient,
        topics=numbers,
        value__converter="org.apache.kafka.connect.json.JsonConverter",
        value__converter__schemas__enable="false",
        errors__tolerance="all",
        errors__deadletterqueue__topic__name=dead,
        errors__deadletterqueue__topic__replication__factor=1,
        errors__deadletterqueue__context__headers__enable="true",
    ),
]


def start():
    worker = Java("org.apache.kafka.connect.cli.ConnectStandalone", worker_file, *connectors, name="worker")

    def runs():
        worker.ensure_running()
        if not answers(rest + "/connectors/lenient/status"):
            return False
        states = [http("GET", rest + "/connectors/%s/status" % name)[1] for name in ("source", "sink", "lenient")]
        return all(state["tasks"] and state["tasks"][0]["state"] == "RUNNING" for state in states)

    until(runs, "the worker runs its connectors", START_SECONDS)
    return worker


def append(new):
    with open(source, "a") as file:
        file.writelines(line + "\n" for line in new)


def target_is(expected):
    until(lambda: target.exists() and target.read_text().splitlines() == expected, "the sink has written all lines")


append(lines)
write(bootstrap, numbers, [(None, json.dumps({"number": number})) for number in range(5)])
worker = start()


@capability("a file becomes a topic")
def _():
    assert [message.value().decode() for message in read(bootstrap, topic, 200)] == lines


@capability("the topic is created with the settings of the connector")
def _():
    assert len(admin.list_topics(topic, timeout=30).topics[topic].partitions) == 1
    from confluent_kafka.admin import ConfigResource

    resource = ConfigResource("TOPIC", topic)
    found = admin.describe_configs([resource])[resource].result(30)
    assert found["compression.type"].value == "lz4", found["compression.type"]


@capability("a topic becomes a file")
def _():
    target_is(lines)


@capability("what is appended follows")
def _():
    lines.extend("appended %d" % number for number in range(50))
    append(lines[-50:])
    target_is(lines)


@capability("what cannot be converted goes to a topic of dead letters")
def _():
    write(bootstrap, numbers, [(b"key", b"not JSON"), (None, b'{"number": 5}')])
    until(lambda: lenient.exists() and len(lenient.read_text().splitlines()) == 6, "the sink goes on behind it")
    [letter] = read(bootstrap, dead, 1)
    headers = dict(letter.headers())
    assert (letter.key(), letter.value()) == (b"key", b"not JSON")
    assert headers["__connect.errors.topic"] == numbers.encode(), headers


@capability("stopped and started, it goes on where it was")
def _():
    global worker
    worker.stop()
    lines.extend("later %d" % number for number in range(50))
    append(lines[-50:])
    worker = start()
    target_is(lines)
    assert [message.value().decode() for message in read(bootstrap, topic, 300)] == lines


@capability("the sink's group is committed")
def _():
    from confluent_kafka import ConsumerGroupTopicPartitions

    def committed():
        [future] = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("connect-sink")]).values()
        return [(found.topic, found.offset) for found in future.result(30).topic_partitions] == [(topic, 300)]

    until(committed, "the offset behind the last line")


worker.stop()
