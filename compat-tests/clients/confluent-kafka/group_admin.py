"""What AdminClient says of groups of both protocols, with a member and without, and does to them.

Writes a transcript: what was asked, and what came back.

usage: group_admin.py BOOTSTRAP
"""

import sys
import time

from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC, PROTOCOLS = "orders-of-confluent", ["classic", "consumer"]
bootstrap = sys.argv[1]
admin = AdminClient({"bootstrap.servers": bootstrap})
ids = {}  # member id -> the client's name


def ask(what, asked):
    """Writes the result of a future, or of each of several ones."""
    futures = asked()
    if not isinstance(futures, dict):
        futures = {"": futures}
    for name in sorted(futures):
        try:
            result = futures[name].result(timeout=30)
        except KafkaException as error:
            result = "%s %s" % (error.args[0].name(), error.args[0].str())
        print("> %s %s\n%s" % (what, name, show(result)), flush=True)


def show(result):
    if isinstance(result, ConsumerGroupTopicPartitions):
        partitions = sorted(result.topic_partitions, key=lambda p: (p.topic, p.partition))
        return [(p.topic, p.partition, p.offset, p.metadata, p.error and p.error.name()) for p in partitions]
    if hasattr(result, "valid"):
        groups = sorted(result.valid, key=lambda group: group.group_id)
        shown = [(g.group_id, g.is_simple_consumer_group, str(g.state), str(g.type)) for g in groups]
        return shown + [str(error) for error in result.errors]
    if hasattr(result, "members"):
        members = [
            (ids[m.member_id], m.client_id, m.host, m.group_instance_id, owned(m.assignment), owned(m.target_assignment))
            for m in result.members
        ]
        operations = sorted(operation.name for operation in result.authorized_operations or [])
        coordinator = "%s:%s" % (result.coordinator.host, result.coordinator.port) in bootstrap.split(",")
        return (
            result.is_simple_consumer_group,
            result.partition_assignor,
            str(result.state),
            str(result.type),
            coordinator,
            operations,
            members,
        )
    return result


def owned(assignment):
    return assignment and sorted((p.topic, p.partition) for p in assignment.topic_partitions)


def joined(protocol, group):
    """A consumer that owns both partitions, of a group that is stable. It goes on in librdkafka's threads."""
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "group.protocol": protocol,
        "client.id": group,
        "enable.auto.commit": False,
    }
    consumer = Consumer(settings)
    consumer.subscribe([TOPIC])
    deadline = time.monotonic() + 60
    while len(consumer.assignment()) < 2 or described(group).state != ConsumerGroupState.STABLE:
        if time.monotonic() > deadline:
            raise SystemExit("%s does not settle" % group)
        consumer.poll(0.05)
    ids[consumer.memberid()] = "member of " + group
    return consumer


def described(group):
    return admin.describe_consumer_groups([group])[group].result(timeout=30)


def offsets(group, *partitions):
    return ConsumerGroupTopicPartitions(group, [TopicPartition(*partition) for partition in partitions] or None)


for future in admin.create_topics([NewTopic(TOPIC, 2, 1)]).values():
    future.result(timeout=30)
producer = Producer({"bootstrap.servers": bootstrap})
for number in range(10):
    producer.produce(TOPIC, b"some value", partition=number % 2)
producer.flush(30)

live = []
for protocol in PROTOCOLS:
    consumer = joined(protocol, protocol + "-live")
    consumer.commit(offsets=[TopicPartition(TOPIC, 0, 3, "mine")], asynchronous=False)
    live.append(consumer)
    consumer = joined(protocol, protocol + "-empty")
    consumer.commit(offsets=[TopicPartition(TOPIC, 0, 1), TopicPartition(TOPIC, 1, 2)], asynchronous=False)
    consumer.close()
groups = [protocol + kind for protocol in PROTOCOLS for kind in ("-live", "-empty")]

ask("alter simple", lambda: admin.alter_consumer_group_offsets([offsets("simple", (TOPIC, 0, 0))]))
ask("list", lambda: admin.list_consumer_groups())
ask("list empty", lambda: admin.list_consumer_groups(states={ConsumerGroupState.EMPTY}))
ask("list stable", lambda: admin.list_consumer_groups(states={ConsumerGroupState.STABLE}))
ask("list classic", lambda: admin.list_consumer_groups(types={ConsumerGroupType.CLASSIC}))
ask("list consumer", lambda: admin.list_consumer_groups(types={ConsumerGroupType.CONSUMER}))
ask("describe", lambda: admin.describe_consumer_groups(groups + ["simple", "unknown"], include_authorized_operations=True))
for group in groups + ["simple", "unknown"]:
    ask("offsets", lambda: admin.list_consumer_group_offsets([offsets(group)]))
    ask("stable offsets", lambda: admin.list_consumer_group_offsets([offsets(group, (TOPIC, 1), (TOPIC, 9))], require_stable=True))
for group in groups:
    change = offsets(group, (TOPIC, 0, 4), (TOPIC, 1, 5), ("no-such-topic", 0, 6))
    ask("alter", lambda: admin.alter_consumer_group_offsets([change]))
    ask("offsets", lambda: admin.list_consumer_group_offsets([offsets(group)]))
ask("delete", lambda: admin.delete_consumer_groups(groups + ["simple", "unknown"]))
ask("list", lambda: admin.list_consumer_groups())
for consumer in live:
    consumer.close()
ask("delete", lambda: admin.delete_consumer_groups([protocol + "-live" for protocol in PROTOCOLS]))
ask("list", lambda: admin.list_consumer_groups())
print("end")
