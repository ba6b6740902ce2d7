"""Three consumers of one group in one process share a topic that grew while the first was reading it.

Each polls in turn, the batches are merged, and offsets are committed by hand. A second run with 0
events must find nothing left to do.

usage: count_logins_in_a_group.py BOOTSTRAP EVENTS [PACE_MS]
"""

import json
import sys
import threading
import time

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from support import (
    PATIENT,
    PROMPT,
    committed_offsets,
    create_topic,
    end_offsets,
    grow_topic,
    poll,
    progress,
    result,
    until,
)

TOPIC = "user_logins"
GROUP = "user_logins_counters"
PARTITIONS = [TopicPartition(TOPIC, number) for number in range(3)]

bootstrap, events = sys.argv[1], int(sys.argv[2])
pace = float(sys.argv[3]) / 1000 if len(sys.argv) > 3 else 0

if events:
    create_topic(bootstrap, TOPIC, 1)

consumers = []
merged = {}  # (partition, offset) -> user: a record that is read again counts once
positions = {}
stop = threading.Event()
errors = []


def poll_once(consumer):
    for partition, batch in poll(consumer, timeout_ms=1000, max_records=10).items():
        for message in batch:
            merged[partition.partition, message.offset] = message.value["user"]
    for partition in consumer.assignment():
        positions[partition] = consumer.position(partition)
    try:
        consumer.commit()
    except KafkaError as error:
        # The group is rebalancing, or the broker is away: whoever owns the partition next reads it again.
        progress("commit failed: %r" % error)


def poll_in_turn(mine):
    try:
        while not stop.is_set():
            for consumer in list(mine):
                poll_once(consumer)
    except BaseException as error:
        errors.append(error)
        raise


def healthy(condition):
    if errors:
        raise SystemExit("a consumer failed: %r" % errors[0])
    return condition


threads = []
shares = []  # for each thread, the consumers that it polls in turn


def add_consumer():
    consumer = KafkaConsumer(
        TOPIC,
        bootstrap_servers=bootstrap,
        group_id=GROUP,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        heartbeat_interval_ms=500,
        value_deserializer=lambda value: json.loads(value.decode()),
        **PROMPT
    )
    consumers.append(consumer)
    if shares and kafka.__version__ != "2.0.2":
        shares[0].append(consumer)
        return
    # 2.0.2 blocks inside poll() until all members have joined: there each consumer needs a thread.
    shares.append([consumer])
    threads.append(threading.Thread(target=poll_in_turn, args=(shares[-1],), daemon=True))
    threads[-1].start()


def users_seen():
    return len(set(list(merged.values())))


add_consumer()
if events:
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        value_serializer=lambda event: json.dumps(event).encode(),
        **PATIENT
    )

    def write_logins(numbers, partitions):
        futures = []
        for number in numbers:
            login = {"user": "user-%d" % number, "status": "success"}
            futures.append(producer.send(TOPIC, login, partition=number % partitions))
            time.sleep(pace)
        for future in futures:
            future.get(timeout=60)

    first = events // 3
    write_logins(range(first), 1)
    until(lambda: healthy(users_seen() == first), "the events of the one partition")
    progress("growing")
    grow_topic(bootstrap, TOPIC, 3)
    until(lambda: len(producer.partitions_for(TOPIC)) == 3, "the producer sees the new partitions")
    until(lambda: healthy(len(consumers[0].assignment()) == 3), "the consumer gets the new partitions")
    # Only now the others: 3.0.12 loses the assignment of a leader that has noticed the new partitions
    # by itself, when the rebalance ends while another consumer has its turn.
    add_consumer()
    add_consumer()
    until(
        lambda: healthy(sorted(len(consumer.assignment()) for consumer in consumers) == [1, 1, 1]),
        "one partition for each consumer",
    )
    progress("grown")
    write_logins(range(first, events), 3)
    producer.close()
else:
    add_consumer()
    add_consumer()

ends = end_offsets(bootstrap, PARTITIONS)
until(lambda: healthy(all(positions.get(tp) == ends[tp] for tp in PARTITIONS)), "everything is read")
until(
    lambda: healthy(committed_offsets(bootstrap, GROUP, PARTITIONS) == ends),
    "everything is committed",
)
stop.set()
for thread in threads:
    thread.join()
for consumer in consumers:
    consumer.close(autocommit=False)

result(processed_users=users_seen(), processed_records=len(merged), end_offsets=sum(ends.values()))
