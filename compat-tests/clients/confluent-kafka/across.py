"""For the tests across clients.

usage: across.py write BOOTSTRAP PREFIX BASE_MS  writes the records to PREFIX-CODEC, once for each codec
       across.py read BOOTSTRAP TOPIC...         writes a line for each record of these topics
       across.py member BOOTSTRAP TOPIC GROUP PROTOCOL  is a member of the group until standard input ends
"""

import sys

from confluent_kafka import Consumer, Producer, TopicPartition

from across_records import CODECS, RECORDS, line, stopped

what, bootstrap, *rest = sys.argv[1:]
base = {"bootstrap.servers": bootstrap}

if what == "write":
    prefix, base_ms = rest[0], int(rest[1])
    for codec in CODECS:
        producer = Producer({**base, "compression.type": codec, "linger.ms": 50})
        for index, (key, value, headers) in enumerate(RECORDS):
            producer.produce("%s-%s" % (prefix, codec), value, key, 0, timestamp=base_ms + index, headers=headers)
        assert producer.flush(30) == 0
elif what == "read":
    consumer = Consumer({**base, "group.id": "not used", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0) for topic in rest])
    for _ in range(len(rest) * len(RECORDS)):
        message = consumer.poll(30)
        line(message.topic(), message.offset(), message.timestamp()[1], message.key(), message.value(), message.headers() or [])
    consumer.close()
else:
    topic, group, protocol = rest
    config = {"group.protocol": protocol} if protocol == "consumer" else {"partition.assignment.strategy": "range", "heartbeat.interval.ms": 300}
    consumer = Consumer({**base, "group.id": group, **config})
    consumer.subscribe([topic])
    while not stopped():
        consumer.poll(0.05)
    consumer.close()
print("end")
