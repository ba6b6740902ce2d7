"""An idempotent producer writes numbered records while the broker is killed again and again.

It goes on until its standard input ends, says what was acknowledged, reads everything back, and
counts what is lost, stored twice, out of order, or not where the acknowledgement said.

usage: crash.py BOOTSTRAP
"""

import json
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC, PARTITIONS = "crash", 4
bootstrap = sys.argv[1]


def created(admin):
    (future,) = admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)]).values()
    future.result(timeout=60)


created(AdminClient({"bootstrap.servers": bootstrap}))
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()

acknowledged = {}  # number -> (partition, offset)
failed = []


def delivered(number):
    def callback(error, message):
        if error is not None:
            failed.append((number, str(error)))
            return
        acknowledged[number] = (message.partition(), message.offset())
        if len(acknowledged) % 500 == 0:
            print("# acknowledged %d" % len(acknowledged), flush=True)

    return callback


producer = Producer(
    {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "linger.ms": 2,
        "message.timeout.ms": 120000,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 200,
    }
)
number = 0
while not stop.is_set():
    value = json.dumps({"number": number}).encode()
    try:
        producer.produce(TOPIC, value, partition=number % PARTITIONS, on_delivery=delivered(number))
    except BufferError:  # the queue is full while no broker answers
        producer.poll(0.1)
        continue
    number += 1
    producer.poll(0)
    if number % 20 == 0:
        time.sleep(0.005)
if producer.flush(120) != 0:
    raise SystemExit("the producer could not deliver everything")

consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "checker", "enable.partition.eof": False})
partitions = [TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)]
try:
    ends = {p.partition: consumer.get_watermark_offsets(p, timeout=30)[1] for p in partitions}
except KafkaException:
    topic = consumer.list_topics(TOPIC, timeout=30).topics[TOPIC]
    print("# the topic now: %s, leaders %s" % (topic.error, {id: partition.leader for id, partition in topic.partitions.items()}))
    raise
consumer.assign(partitions)
stored = {partition: [] for partition in range(PARTITIONS)}  # (offset, number)
deadline = time.monotonic() + 60
while any(not stored[p] or stored[p][-1][0] + 1 < end for p, end in ends.items() if end):
    if time.monotonic() > deadline:
        raise SystemExit("could not read everything back")
    for message in consumer.consume(1000, timeout=0.5):
        if message.error():
            raise SystemExit(str(message.error()))
        stored[message.partition()].append((message.offset(), json.loads(message.value())["number"]))
consumer.close()

where = {}
twice = 0
for partition, records in stored.items():
    for offset, value in records:
        twice += value in where
        where[value] = (partition, offset)
print(
    json.dumps(
        {
            "failed": len(failed),
            "lost": sum(value not in where for value in acknowledged),
            "misplaced": sum(where.get(value, place) != place for value, place in acknowledged.items()),
            "stored_twice": twice,
            "unordered": sum([n for _, n in records] != sorted(n for _, n in records) for records in stored.values()),
            "offsets_with_gaps": sum([o for o, _ in records] != list(range(len(records))) for records in stored.values()),
            "unacknowledged": len(set(where) - set(acknowledged)),
        },
        sort_keys=True,
    )
)
