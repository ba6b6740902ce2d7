"""Kafka Connect, distributed, with the file source and sink.  usage: connect_distributed.py BOOTSTRAP"""

import signal
import sys

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource

from capabilities import capability, unique, until
from workers import START_SECONDS, Java, answers, folder, free_port, http, properties, read

bootstrap = sys.argv[1]
admin = AdminClient({"bootstrap.servers": bootstrap})
source, target = folder / "source.txt", folder / "target.txt"
topic, cluster = unique("lines"), unique("connect")
lines = ["line %d" % number for number in range(200)]
storage = {name: "%s-%s" % (cluster, name) for name in ("config", "offset", "status")}


class Worker:
    def __init__(self, number):
        self.rest = "http://127.0.0.1:%d" % free_port()
        self.file = properties(
            "worker-%d.properties" % number,
            bootstrap__servers=bootstrap,
            group__id=cluster,
            key__converter="org.apache.kafka.connect.storage.StringConverter",
            value__converter="org.apache.kafka.connect.storage.StringConverter",
            **{name + "__storage__topic": topic for name, topic in storage.items()},
            **{name + "__storage__replication__factor": 1 for name in storage},
            offset__storage__partitions=3,
            status__storage__partitions=2,
            offset__flush__interval__ms=500,
            heartbeat__interval__ms=500,
            session__timeout__ms=6000,
            consumer__heartbeat__interval__ms=500,
            consumer__session__timeout__ms=6000,
            scheduled__rebalance__max__delay__ms=1000,
            listeners=self.rest,
            plugin__discovery="service_load",
        )
        self.number = number
        self.start()

    def start(self):
        self.process = Java("org.apache.kafka.connect.cli.ConnectDistributed", self.file, name="worker-%d" % self.number)

        def runs():
            self.process.ensure_running()
            return answers(self.rest + "/connectors")

        until(runs, "the worker answers", START_SECONDS)

    def ask(self, method, path, body=None, expected=(200, 201, 202, 204)):
        # 409: the workers share out what is to do, ask again.
        answer = until(lambda: (lambda found: found if found[0] != 409 else None)(http(method, self.rest + path, body)), path)
        assert answer[0] in expected, answer
        return answer[1]


def states(worker, name):
    """Of the connector and its tasks."""
    status, found = http("GET", worker.rest + "/connectors/%s/status" % name)
    return [found["connector"]["state"], *(task["state"] for task in found["tasks"])] if status == 200 else []


def becomes(worker, name, *expected):
    until(lambda: states(worker, name) == list(expected), "%s is %s" % (name, expected))


def append(new):
    new = list(new)
    lines.extend(new)
    with open(source, "a") as file:
        file.writelines(line + "\n" for line in new)


def target_is(expected):
    until(lambda: target.exists() and target.read_text().splitlines() == expected, "the sink has written all lines")


def group(name):
    """Its protocol, state and number of members."""
    try:
        found = admin.list_groups(name, timeout=30)
    except KafkaException as error:
        # Kafka has it while it makes the topic of the offsets.
        assert error.args[0].code() == KafkaError.COORDINATOR_LOAD_IN_PROGRESS, error
        return None
    return (found[0].protocol_type, found[0].state, len(found[0].members)) if found else None


source.write_text("".join(line + "\n" for line in lines))
first = Worker(1)


@capability("a worker alone is its group's leader")
def _():
    assert first.ask("GET", "/connectors") == []
    until(lambda: group(cluster) == ("connect", "Stable", 1), "the group of one worker")


@capability("its three topics are compacted")
def _():
    resources = [ConfigResource("TOPIC", name) for name in storage.values()]
    for found in admin.describe_configs(resources).values():
        assert found.result(30)["cleanup.policy"].value == "compact"
    topics = admin.list_topics(timeout=30).topics
    assert [len(topics[storage[name]].partitions) for name in ("config", "offset", "status")] == [1, 3, 2]


@capability("connectors are created, and a file goes through a topic to a file")
def _():
    settings = {"connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector", "file": str(source), "topic": topic}
    first.ask("POST", "/connectors", {"name": "source", "config": settings})
    settings = {"connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector", "file": str(target), "topics": topic}
    first.ask("POST", "/connectors", {"name": "sink", "config": settings})
    becomes(first, "source", "RUNNING", "RUNNING")
    becomes(first, "sink", "RUNNING", "RUNNING")
    target_is(lines)
    assert [message.value().decode() for message in read(bootstrap, topic, 200)] == lines


@capability("pause and resume")
def _():
    first.ask("PUT", "/connectors/sink/pause")
    becomes(first, "sink", "PAUSED", "PAUSED")
    append("while paused %d" % number for number in range(20))
    read(bootstrap, topic, 220)
    assert target.read_text().splitlines() == lines[:200]
    first.ask("PUT", "/connectors/sink/resume")
    target_is(lines)


@capability("offsets are told")
def _():
    def all_committed():
        [found] = first.ask("GET", "/connectors/sink/offsets")["offsets"]
        return found["offset"]["kafka_offset"] == 220

    until(all_committed, "the offset of the sink")
    until(lambda: first.ask("GET", "/connectors/source/offsets")["offsets"], "the offset of the source")
    [found] = first.ask("GET", "/connectors/source/offsets")["offsets"]
    assert found["offset"]["position"] == source.stat().st_size, found


@capability("offsets are altered")
def _():
    first.ask("PUT", "/connectors/sink/stop")
    becomes(first, "sink", "STOPPED")
    target.unlink()
    partition = {"kafka_topic": topic, "kafka_partition": 0}
    first.ask("PATCH", "/connectors/sink/offsets", {"offsets": [{"partition": partition, "offset": {"kafka_offset": 210}}]})
    first.ask("PUT", "/connectors/sink/resume")
    target_is(lines[210:])


@capability("offsets are reset")
def _():
    first.ask("PUT", "/connectors/sink/stop")
    becomes(first, "sink", "STOPPED")
    target.unlink()
    first.ask("DELETE", "/connectors/sink/offsets")
    first.ask("PUT", "/connectors/sink/resume")
    target_is(lines)


second = Worker(2)


@capability("a second worker takes its share, and all of it when the first is killed")
def _():
    def workers():
        # It answers before it has read what the first has written down.
        answers = [http("GET", second.rest + "/connectors/%s/status" % name) for name in ("source", "sink")]
        found = [status for code, status in answers if code == 200]
        return {one["worker_id"] for status in found for one in (status["connector"], *status["tasks"]) if one["state"] == "RUNNING"}

    until(lambda: len(workers()) == 2, "both work", 80)
    first.process.stop(signal.SIGKILL)
    until(lambda: len(workers()) == 1, "one works", 80)
    # What the sink wrote and had not committed yet is written again.
    append("without the first %d" % number for number in range(20))
    until(lambda: target.read_text().splitlines()[-20:] == lines[-20:], "the second goes on")
    second.process.stop()


@capability("started again, it knows its connectors and goes on")
def _():
    first.start()
    # It answers with what it has read of them so far.
    until(lambda: sorted(first.ask("GET", "/connectors")) == ["sink", "source"], "it has read of both")
    append("after the start %d" % number for number in range(20))
    until(lambda: target.read_text().splitlines()[-20:] == lines[-20:], "the sink goes on")
    found = [message.value().decode() for message in read(bootstrap, topic, len(lines))]
    assert found == lines, found[-100:]


@capability("a connector is deleted")
def _():
    first.ask("DELETE", "/connectors/sink")
    until(lambda: first.ask("GET", "/connectors") == ["source"], "it is gone")
    until(lambda: group("connect-sink") == ("consumer", "Empty", 0), "its group has no member")
    admin.delete_consumer_groups(["connect-sink"])["connect-sink"].result(30)


first.process.stop()
