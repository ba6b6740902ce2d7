"""What KafkaAdminClient says of groups with a member and without, and does to them; 3.0.12 and later.

Writes a transcript: what was asked, and what came back.

usage: group_admin.py BOOTSTRAP
"""

import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, MemberToRemove, OffsetSpec, OffsetTimestamp
from kafka.structs import OffsetAndMetadata

from support import PROMPT, create_topic, until

TOPIC, YEAR_2020_MS = "orders-of-kafka-python", 1577836800000
ORDERS = [TopicPartition(TOPIC, number) for number in range(2)]
NO_SUCH = TopicPartition("no-such-topic", 0)
bootstrap = sys.argv[1]
admin = KafkaAdminClient(bootstrap_servers=bootstrap)
ids = {}  # member id -> the client's name


def ask(what, asked):
    try:
        result = asked()
    except Exception as error:
        result = "%s %s" % (type(error).__name__, error)
    print("> %s\n%s" % (what, shown(result)), flush=True)


def shown(value):
    """The same for equal values: no member ids, everything in order, an error by its name."""
    if isinstance(value, dict):
        return "{%s}" % ", ".join(sorted("%s: %s" % (shown(k), shown(v)) for k, v in value.items()))
    if isinstance(value, (list, set)):
        return "[%s]" % ", ".join(sorted(map(shown, value)))
    if isinstance(value, type):
        return value.__name__
    text = str(value)
    for member_id, name in ids.items():
        text = text.replace(member_id, name)
    return text


def joined(group, instance=None):
    """A consumer that owns both partitions, of a group that is stable; its heartbeats go on by themselves."""
    settings = {"group_id": group, "client_id": group, "enable_auto_commit": False, **PROMPT}
    if instance is not None:
        settings["group_instance_id"] = instance
    consumer = KafkaConsumer(TOPIC, bootstrap_servers=bootstrap, **settings)

    def settled():
        consumer.poll(timeout_ms=2000)
        return len(consumer.assignment()) == 2 and state(group) == "Stable"

    until(settled, "%s is stable" % group)
    for member in admin.describe_groups([group])[group]["members"]:
        ids[member["member_id"]] = "member of " + group
    return consumer


def state(group):
    return admin.describe_groups([group])[group]["group_state"]


def committed(group, *offsets):
    return {partition: OffsetAndMetadata(offset, "by hand", 0) for partition, offset in zip(ORDERS, offsets)}


create_topic(bootstrap, TOPIC, 2)
producer = KafkaProducer(bootstrap_servers=bootstrap)
for number in range(10):
    producer.send(TOPIC, b"some value", partition=number % 2, timestamp_ms=YEAR_2020_MS + number)
producer.close()

live = joined("live")
live.commit(committed("live", 3))
empty = joined("empty")
empty.commit(committed("empty", 1, 2))
empty.close()
groups = ["live", "empty", "simple", "unknown"]

ask("alter simple", lambda: admin.alter_group_offsets("simple", committed("simple", 4, 5)))
ask("list", lambda: admin.list_groups())
ask("list stable", lambda: admin.list_groups(states_filter=["Stable"]))
ask("list empty", lambda: admin.list_groups(states_filter=["Empty"]))
ask("list classic", lambda: admin.list_groups(types_filter=["classic"]))
ask("list consumer", lambda: admin.list_groups(types_filter=["consumer"]))
for group in groups:
    ask("describe " + group, lambda: admin.describe_groups([group]))
ask("offsets of all", lambda: admin.list_group_offsets(groups))
ask("offsets of some", lambda: admin.list_group_offsets({"empty": [ORDERS[1], NO_SUCH], "simple": None}))
for group in ("live", "empty"):
    ask("alter " + group, lambda: admin.alter_group_offsets(group, {**committed(group, 4, 5), NO_SUCH: OffsetAndMetadata(1, "", None)}))
    ask("offsets", lambda: admin.list_group_offsets(group))
    for target in (OffsetSpec.EARLIEST, OffsetSpec.LATEST, OffsetTimestamp(YEAR_2020_MS + 5), 2, 100):
        ask("reset %s to %s" % (group, target), lambda: admin.reset_group_offsets(group, {partition: target for partition in ORDERS}))
    ask("offsets", lambda: admin.list_group_offsets(group))
    ask("delete offsets of " + group, lambda: admin.delete_group_offsets(group, [ORDERS[0], NO_SUCH]))
    ask("offsets", lambda: admin.list_group_offsets(group))
ask("delete offsets of unknown", lambda: admin.delete_group_offsets("unknown", ORDERS))
ask("remove a stranger", lambda: admin.remove_group_members("live", [MemberToRemove(group_instance_id="stranger")]))
ask("remove from unknown", lambda: admin.remove_group_members("unknown", [MemberToRemove(member_id="stranger")]))
ask("delete", lambda: admin.delete_groups(groups))
live.close()
ask("delete", lambda: admin.delete_groups(["live"]))

# A static member that closes stays in its group, until it is removed.
joined("static", "kept").close(autocommit=False)
ask("list", lambda: admin.list_groups())
ask("remove", lambda: admin.remove_group_members("static", [MemberToRemove(group_instance_id="kept", reason="done")]))
ask("describe", lambda: admin.describe_groups(["static"]))
ask("delete", lambda: admin.delete_groups(["static"]))
ask("list", lambda: admin.list_groups())
print("end")
