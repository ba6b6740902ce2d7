"""MirrorMaker 2, from one broker to another.  usage: mirror_maker.py SOURCE TARGET"""

import sys
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, AlterConfigOpType, NewPartitions, NewTopic

from capabilities import capability, until
from workers import START_SECONDS, Java, properties, read, write

source, target = sys.argv[1:]
at_source, at_target = (AdminClient({"bootstrap.servers": bootstrap}) for bootstrap in (source, target))
base_ms = int(time.time() * 1000) - 60_000
records = [(b"key-%d" % number, b"value-%d" % number, [("number", b"%d" % number)], base_ms + number) for number in range(100)]

# Small intervals; the rest is as it comes. The groups' checkpoints go with them.
every_second = {
    name + "__interval__seconds": 1
    for name in ("refresh__topics", "refresh__groups", "sync__topic__configs", "emit__checkpoints", "emit__heartbeats", "sync__group__offsets")
}
settings = {"A->B." + name: value for name, value in every_second.items()}
settings.update({"A->B.enabled": "true", "A->B.topics": "orders, later", "A->B.groups": "readers", "A->B.sync.group.offsets.enabled": "true"})
settings.update({"A.bootstrap.servers": source, "B.bootstrap.servers": target, "B->A.enabled": "false"})
factors = ("", "checkpoints.topic.", "heartbeats.topic.", "offset-syncs.topic.", "offset.storage.", "status.storage.", "config.storage.")
settings.update({name + "replication.factor": 1 for name in factors})
settings.update({"offset.lag.max": 0, "A.consumer.auto.offset.reset": "earliest"})


def partitions(admin, topic):
    found = admin.list_topics(timeout=30).topics.get(topic)
    return len(found.partitions) if found else 0


def config(admin, topic):
    resource = ConfigResource("TOPIC", topic)
    return {name: entry.value for name, entry in admin.describe_configs([resource])[resource].result(30).items()}


def create(topic, **settings):
    new = NewTopic(topic, 2, 1, config={name.replace("_", "."): value for name, value in settings.items()})
    at_source.create_topics([new])[topic].result(30)
    until(lambda: partitions(at_source, topic) == 2, "the topic is there")


create("orders", cleanup_policy="compact", retention_ms="86400000")
create("unwanted")
write(source, "unwanted", records[:1])
write(source, "orders", records)
maker = Java("org.apache.kafka.connect.mirror.MirrorMaker", properties("mm2.properties", clusters="A,B", **settings), name="mirror-maker")


def runs():
    maker.ensure_running()
    return partitions(at_target, "A.orders")


until(runs, "the mirror has begun", START_SECONDS)


def same(topic, count):
    def tell(message):
        return message.partition(), message.key(), message.value(), message.headers(), message.timestamp()

    before, after = (sorted(map(tell, read(bootstrap, name, count, partitions=2))) for bootstrap, name in ((source, topic), (target, "A." + topic)))
    assert before == after, [pair for pair in zip(before, after) if pair[0] != pair[1]][:3]


@capability("records come with partition, key, headers and timestamp")
def _():
    same("orders", 100)


@capability("the topic's settings come, too")
def _():
    until(lambda: config(at_target, "A.orders")["retention.ms"] == "86400000", "the settings are there")
    assert config(at_target, "A.orders")["cleanup.policy"] == "compact"


@capability("a setting that changes follows")
def _():
    entry = ConfigEntry("retention.ms", "172800000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource("TOPIC", "orders", incremental_configs=[entry])
    at_source.incremental_alter_configs([resource])[resource].result(30)
    until(lambda: config(at_target, "A.orders")["retention.ms"] == "172800000", "the setting has followed")


@capability("what is written later follows")
def _():
    write(source, "orders", records)
    same("orders", 200)


@capability("a topic that comes later is found")
def _():
    create("later")
    write(source, "later", records)
    until(lambda: partitions(at_target, "A.later") == 2, "the topic is mirrored")
    same("later", 100)


@capability("new partitions follow")
def _():
    at_source.create_partitions([NewPartitions("later", 3)])["later"].result(30)
    until(lambda: partitions(at_target, "A.later") == 3, "the third partition")


@capability("other topics stay")
def _():
    names = set(at_target.list_topics(timeout=30).topics)
    assert {"A.orders", "A.later", "heartbeats"} <= names and not any("unwanted" in name for name in names), names


@capability("offsets of a group are translated")
def _():
    reader = Consumer({"bootstrap.servers": source, "group.id": "readers", "enable.auto.commit": False})
    ends = [reader.get_watermark_offsets(TopicPartition("orders", number), timeout=30)[1] for number in range(2)]
    reader.commit(offsets=[TopicPartition("orders", number, end) for number, end in enumerate(ends)], asynchronous=False)
    reader.close()

    def followed():
        [future] = at_target.list_consumer_group_offsets([ConsumerGroupTopicPartitions("readers")]).values()
        found = {(one.topic, one.partition): one.offset for one in future.result(30).topic_partitions}
        # At most as far as at the source: nothing may be left out.
        offsets = [found.get(("A.orders", number), 0) for number in range(2)]
        assert all(offset <= end for offset, end in zip(offsets, ends)), (offsets, ends)
        return all(offset > 0 for offset in offsets)

    until(followed, "the group is at the target")


@capability("heartbeats and checkpoints are told")
def _():
    until(lambda: partitions(at_target, "heartbeats") and partitions(at_target, "A.checkpoints.internal"), "their topics")


maker.stop()
