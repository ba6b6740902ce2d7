"""One consumer reads three partitions: interleaved, but each in its own order.

usage: order_within_a_partition.py BOOTSTRAP EVENTS
"""

import sys

from kafka import KafkaConsumer, KafkaProducer

from support import PATIENT, PROMPT, create_topic, result

TOPIC = "user_logins"
bootstrap, events = sys.argv[1], int(sys.argv[2])
create_topic(bootstrap, TOPIC, 3)

producer = KafkaProducer(bootstrap_servers=bootstrap, **PATIENT)
for number in range(events):
    producer.send(TOPIC, str(number).encode(), partition=number % 3)
    if number % 30 == 29:
        producer.flush()  # many small batches, so that no fetch holds the whole of one partition
producer.close()

consumer = KafkaConsumer(
    TOPIC,
    bootstrap_servers=bootstrap,
    group_id="reader",
    auto_offset_reset="earliest",
    max_partition_fetch_bytes=200,
    consumer_timeout_ms=60000,
    **PROMPT
)
read = []
for message in consumer:
    read.append((message.partition, message.offset, int(message.value)))
    if len(read) == events:
        break
consumer.close()

in_order = 0
for partition in range(3):
    mine = [(offset, number) for owner, offset, number in read if owner == partition]
    in_order += mine == [(index, partition + 3 * index) for index in range(events // 3)]
turns = sum(before[0] != after[0] for before, after in zip(read, read[1:]))
result(events=len(read), partitions_in_order=in_order, interleaved=turns > 10)
