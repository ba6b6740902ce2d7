"""Writes what a cluster has to make room for, and reads what has to be there afterwards.

usage: upkeep.py write BOOTSTRAP
       upkeep.py read BOOTSTRAP RACK
"""

import json
import random
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

KEPT, SHORT, COMPACTED, GONE = "kept", "short", "compacted", "gone"
PARTITIONS, RECORDS, KEYS, ROUNDS = 2, 200, 5, 60
what, bootstrap = sys.argv[1:3]


def value(number):
    """3,000 bytes that nobody can make shorter, the same for the same number."""
    return b"%d " % number + random.Random(number).randbytes(3000)


def done(futures):
    for future in futures.values():
        future.result(timeout=60)


def write():
    admin = AdminClient({"bootstrap.servers": bootstrap})
    compact = {"cleanup.policy": "compact", "max.compaction.lag.ms": "1000"}
    done(
        admin.create_topics(
            [
                NewTopic(KEPT, PARTITIONS, 1),
                NewTopic(SHORT, 1, 1, config={"retention.ms": "1000"}),
                NewTopic(COMPACTED, 1, 1, config=compact),
                NewTopic(GONE, 1, 1),
            ]
        )
    )
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0})

    def send(*args, **kwargs):
        failed = []
        report = lambda error, _: error and failed.append(str(error))
        producer.produce(*args, on_delivery=report, **kwargs)
        if producer.flush(60) or failed:
            raise SystemExit("not delivered: %s" % failed)

    # First, for what is deleted may share an object with what is not, of which enough is needed for it to stay.
    for number in range(RECORDS):
        send(GONE, value(number))
    done(admin.delete_topics([GONE]))
    for number in range(RECORDS):
        send(KEPT, value(number), partition=number % PARTITIONS)
    for number in range(ROUNDS):
        send(SHORT, b"%d" % number)
        for key in range(KEYS):
            producer.produce(COMPACTED, b"%d" % number, key=b"%d" % key)
    producer.flush(60)
    return {}


def read_all(consumer, topic, partitions):
    """Offset and record, by partition, from the beginnings to the ends as they are now; and the beginnings."""
    assigned = [TopicPartition(topic, partition) for partition in range(partitions)]
    ends = {p.partition: consumer.get_watermark_offsets(p, timeout=30) for p in assigned}
    begin = [TopicPartition(topic, p, low) for p, (low, high) in ends.items() if low < high]
    positions = {p.partition: p.offset for p in begin}
    consumer.assign(begin)
    found = []
    deadline = time.monotonic() + 60
    while any(position < ends[p][1] for p, position in positions.items()):
        if time.monotonic() > deadline:
            raise SystemExit("%s: reads stop at %s of %s" % (topic, positions, ends))
        for message in consumer.consume(1000, timeout=0.2):
            if message.error():
                raise SystemExit(str(message.error()))
            found.append((message.partition(), message.offset(), message.key(), message.value()))
        positions = {p.partition: max(p.offset, positions[p.partition]) for p in consumer.position(begin)}
    return found, ends


def read():
    # A reader that is told that its offset is not there any more is to say so.
    config = {"group.id": "checker", "auto.offset.reset": "error", "enable.auto.commit": False}
    consumer = Consumer({"bootstrap.servers": bootstrap, "client.rack": sys.argv[3], **config})
    kept, _ = read_all(consumer, KEPT, PARTITIONS)
    expected = [(n % PARTITIONS, n // PARTITIONS, None, value(n)) for n in range(RECORDS)]
    compacted, _ = read_all(consumer, COMPACTED, 1)
    latest = {key: value for _, _, key, value in compacted}
    short, ends = read_all(consumer, SHORT, 1)
    consumer.close()
    return {
        "kept": sorted(kept) == sorted(expected),
        "latest": latest == {b"%d" % key: b"%d" % (ROUNDS - 1) for key in range(KEYS)},
        "compacted": len(compacted),
        "short": len(short),
        "begins": ends[0][0],
    }


print(json.dumps(write() if what == "write" else read(), sort_keys=True))
