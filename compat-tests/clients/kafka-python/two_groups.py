"""Two groups read the same topic, each at its own pace and with its own offsets.

usage: two_groups.py BOOTSTRAP
"""

import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from support import PATIENT, PROMPT, committed_offsets, create_topic, result

TOPIC = "user_logins"
PARTITION = TopicPartition(TOPIC, 0)
bootstrap = sys.argv[1]
create_topic(bootstrap, TOPIC, 1)
producer = KafkaProducer(bootstrap_servers=bootstrap, **PATIENT)


def write(first, last):
    for number in range(first, last):
        producer.send(TOPIC, str(number).encode())
    producer.flush()


def read(group, count):
    """The next `count` events of the group, committed."""
    consumer = KafkaConsumer(
        TOPIC,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_records=count,
        **PROMPT
    )
    numbers = []
    while len(numbers) < count:
        for batch in consumer.poll(timeout_ms=60000, max_records=count - len(numbers)).values():
            numbers.extend(int(message.value) for message in batch)
    consumer.commit()
    consumer.close()
    return numbers


write(0, 100)
counters_first = read("counters", 100)
auditors_first = read("auditors", 40)
committed = {group: committed_offsets(bootstrap, group, [PARTITION])[PARTITION] for group in ("counters", "auditors")}
write(100, 150)
counters_then = read("counters", 50)
auditors_then = read("auditors", 110)
producer.close()

result(
    committed=committed,
    counters=counters_first + counters_then == list(range(150)),
    counters_second_start=counters_then[0],
    auditors=auditors_first + auditors_then == list(range(150)),
    auditors_second_start=auditors_then[0],
)
