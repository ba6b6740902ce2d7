"""One consumer iterates over `user_logins` and counts the successful logins.

usage: count_successful_logins.py BOOTSTRAP EVENTS [PACE_MS]
"""

import json
import sys
import threading
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from support import PATIENT, PROMPT, committed_offsets, iterate, progress, result

TOPIC = "user_logins"
GROUP = "my-consumer-group"

bootstrap, events = sys.argv[1], int(sys.argv[2])
pace = float(sys.argv[3]) / 1000 if len(sys.argv) > 3 else 0

producer = KafkaProducer(
    bootstrap_servers=bootstrap,
    value_serializer=lambda event: json.dumps(event).encode(),
    **PATIENT
)


def login(number):
    status = "failure" if number % 3 == 0 else "success"
    return {"user": "user-%d" % number, "status": status}


def write_logins():
    futures = []
    for number in range(1, events):
        futures.append(producer.send(TOPIC, login(number)))
        time.sleep(pace)
    for future in futures:
        future.get(timeout=60)


# The topic does not exist yet: the first event creates it.
producer.send(TOPIC, login(0)).get(timeout=60)
writer = threading.Thread(target=write_logins)
writer.start()

consumer = KafkaConsumer(
    TOPIC,
    bootstrap_servers=bootstrap,
    group_id=GROUP,
    auto_offset_reset="earliest",
    auto_commit_interval_ms=200,
    value_deserializer=lambda value: json.loads(value.decode()),
    consumer_timeout_ms=60000,
    **PROMPT
)

status_of = {}
read = set()
for message in iterate(consumer):
    read.add((message.partition, message.offset))
    status_of[message.value["user"]] = message.value["status"]
    if len(status_of) % 50 == 0:
        progress("counted %d" % len(status_of))
    if len(status_of) == events:
        writer.join()
        partition = TopicPartition(TOPIC, message.partition)
        end = consumer.end_offsets([partition])[partition]
        if message.offset + 1 == end:
            break
consumer.close()
producer.close()

result(
    events=len(status_of),
    successes=sum(status == "success" for status in status_of.values()),
    records_read=len(read),
    end_offset=end,
    committed=committed_offsets(bootstrap, GROUP, [partition])[partition],
)
