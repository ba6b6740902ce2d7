"""A group that is behind: all of one partition is read, a part of another, nothing of an empty third.

It stays a member until its standard input ends, so that a tool can look at it.

usage: lag.py BOOTSTRAP
"""

import sys
import threading

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from support import PATIENT, PROMPT, create_topic, progress, result, until

TOPIC = "user_logins"
bootstrap = sys.argv[1]
create_topic(bootstrap, TOPIC, 3)
producer = KafkaProducer(bootstrap_servers=bootstrap, **PATIENT)
for partition, count in ((0, 10), (1, 20)):
    for number in range(count):
        producer.send(TOPIC, str(number).encode(), partition=partition)
producer.close()

consumer = KafkaConsumer(
    TOPIC,
    bootstrap_servers=bootstrap,
    group_id="laggards",
    client_id="laggard",
    auto_offset_reset="earliest",
    enable_auto_commit=False,
    **PROMPT
)
until(lambda: consumer.poll(timeout_ms=5000) or len(consumer.assignment()) == 3, "three partitions")
consumer.commit(
    {
        TopicPartition(TOPIC, 0): OffsetAndMetadata(10, ""),
        TopicPartition(TOPIC, 1): OffsetAndMetadata(4, "half way"),
    }
)
progress("ready " + consumer._coordinator._generation.member_id)

ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
while not ended.is_set():
    consumer.poll(timeout_ms=200)
consumer.close(autocommit=False)
result(done=True)
