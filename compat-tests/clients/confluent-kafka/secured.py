"""Writes transactions to partitions that all brokers of a cluster lead, and reads what was committed.

usage: secured.py BOOTSTRAP KEY=VALUE...

Brokers ask each other about them, by the listener that is for it: whoever has a partition and whoever has the transaction are
not the same, as a rule.
"""

import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC, PARTITIONS, TRANSACTIONS = "secured", 24, 6
security = dict(pair.split("=", 1) for pair in sys.argv[2:])
common = {"bootstrap.servers": sys.argv[1], **security}

admin = AdminClient(common)
admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(timeout=60)
for number in range(TRANSACTIONS):
    producer = Producer({**common, "transactional.id": f"id-{number}"})
    producer.init_transactions(60)
    producer.begin_transaction()
    for partition in range(PARTITIONS):
        producer.produce(TOPIC, b"%d" % number, partition=partition)
    if number % 2:
        producer.abort_transaction(60)
    else:
        producer.commit_transaction(60)

consumer = Consumer(
    {**common, "group.id": "readers", "auto.offset.reset": "earliest", "enable.partition.eof": True}
)
consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
seen, ends = [], 0
while ends < PARTITIONS:
    message = consumer.poll(60)
    assert message is not None, "nothing comes"
    if message.error():
        ends += 1
    else:
        seen.append((message.partition(), int(message.value())))
brokers = consumer.list_topics(TOPIC, timeout=60)
leaders = {partition.leader for partition in brokers.topics[TOPIC].partitions.values()}
expected = [(p, n) for p in range(PARTITIONS) for n in range(0, TRANSACTIONS, 2)]
assert sorted(seen) == expected, sorted(seen)
assert leaders == {1, 2, 3}, leaders
print("served")
