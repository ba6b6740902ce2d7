"""For the tests across clients; usage: as that of confluent-kafka."""

import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.coordinator.assignors.range import RangePartitionAssignor

from across_records import CODECS, RECORDS, line, stopped

what, bootstrap, *rest = sys.argv[1:]

if what == "write":
    prefix, base_ms = rest[0], int(rest[1])
    for codec in CODECS:
        producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=None if codec == "none" else codec, linger_ms=50)
        for index, (key, value, headers) in enumerate(RECORDS):
            producer.send("%s-%s" % (prefix, codec), value, key, headers, 0, base_ms + index)
        producer.close()
elif what == "read":
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, 0) for topic in rest])
    for _ in range(len(rest) * len(RECORDS)):
        message = next(consumer)
        line(message.topic, message.offset, message.timestamp, message.key, message.value, message.headers)
    consumer.close()
else:
    topic, group, _ = rest
    config = {"partition_assignment_strategy": [RangePartitionAssignor], "heartbeat_interval_ms": 300}
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, **config)
    while not stopped():
        consumer.poll(timeout_ms=500)
    consumer.close()
print("end")
