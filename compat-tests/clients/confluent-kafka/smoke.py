"""Create a topic, produce with each compression, consume in a group, commit, describe.

usage: smoke.py BOOTSTRAP
"""

import json
import sys

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC, GROUP = "smoke", "smokers"
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
bootstrap = sys.argv[1]

admin = AdminClient({"bootstrap.servers": bootstrap})
for future in admin.create_topics([NewTopic(TOPIC, 2, 1)]).values():
    future.result(timeout=30)

errors = []
for codec in CODECS:
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "enable.idempotence": True})
    for number in range(20):
        producer.produce(
            TOPIC,
            key=codec,
            value="%s-%d " % (codec, number) * 20,
            headers={"codec": codec},
            partition=number % 2,
            on_delivery=lambda error, _: error and errors.append(str(error)),
        )
    if producer.flush(30) or errors:
        raise SystemExit("not delivered: %r" % errors)

settings = {"bootstrap.servers": bootstrap, "group.id": GROUP, "auto.offset.reset": "earliest", "enable.auto.commit": False}
consumer = Consumer(settings)
consumer.subscribe([TOPIC])
seen = []
while len(seen) < 100:
    for message in consumer.consume(100, timeout=30):
        if message.error():
            raise SystemExit(str(message.error()))
        number = message.value().decode().split()[0]
        seen.append((number, message.headers() == [("codec", message.key())]))
consumer.commit(asynchronous=False)

description = admin.describe_consumer_groups([GROUP])[GROUP].result(timeout=30)
committed = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(GROUP)])[GROUP].result(timeout=30)
listed = admin.list_consumer_groups().result(timeout=30).valid
watermarks = [consumer.get_watermark_offsets(TopicPartition(TOPIC, p)) for p in range(2)]
consumer.close()

expected = {"%s-%d" % (codec, number) for codec in CODECS for number in range(20)}
print(
    json.dumps(
        {
            "all_there": {number for number, _ in seen} == expected and len(seen) == 100,
            "headers_kept": all(kept for _, kept in seen),
            "state": description.state.name,
            "members": len(description.members),
            "committed": sorted(p.offset for p in committed.topic_partitions),
            "groups": [group.group_id for group in listed],
            "watermarks": watermarks,
        },
        sort_keys=True,
    )
)
