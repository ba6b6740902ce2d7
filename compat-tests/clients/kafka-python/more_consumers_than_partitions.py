"""Four consumers share two partitions: two get nothing, until one of the others leaves.

usage: more_consumers_than_partitions.py BOOTSTRAP
"""

import sys
import threading

from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient

from support import PATIENT, PROMPT, create_topic, poll, result, stable_members, until

TOPIC = "user_logins"
bootstrap = sys.argv[1]
create_topic(bootstrap, TOPIC, 2)


class Worker(threading.Thread):
    """One consumer; a consumer belongs to one thread, so that thread closes it too."""

    def __init__(self):
        super().__init__(daemon=True)
        self.received = []
        self.owned = set()
        self.leave = threading.Event()
        self.start()

    def run(self):
        consumer = KafkaConsumer(
            TOPIC,
            bootstrap_servers=bootstrap,
            group_id="crowded",
            auto_offset_reset="earliest",
            heartbeat_interval_ms=300,
            **PROMPT
        )
        while not self.leave.is_set():
            for batch in poll(consumer, timeout_ms=2000).values():
                self.received.extend((message.partition, message.offset) for message in batch)
            self.owned = {partition.partition for partition in consumer.assignment()}
        consumer.close()
        self.owned = set()


def settled(workers):
    """Every partition has exactly one owner, every owner exactly one partition."""
    owned = [partition for worker in workers for partition in worker.owned]
    return sorted(owned) == [0, 1] and all(len(worker.owned) <= 1 for worker in workers)


def received():
    return sorted(record for worker in workers for record in worker.received)


def write(count):
    for number in range(count):
        producer.send(TOPIC, b"login", partition=number % 2)
    producer.flush()


producer = KafkaProducer(bootstrap_servers=bootstrap, **PATIENT)
workers = [Worker() for _ in range(4)]

admin = KafkaAdminClient(bootstrap_servers=bootstrap)
until(lambda: stable_members(admin, "crowded") == 4 and settled(workers), "four members, two owners")
admin.close()
idle = [worker for worker in workers if not worker.owned]
busy = [worker for worker in workers if worker.owned]
write(100)
until(lambda: len(received()) >= 100, "the first hundred")
received_by_idle = sum(len(worker.received) for worker in idle)

busy[0].leave.set()
busy[0].join()
remaining = [worker for worker in workers if worker is not busy[0]]
until(lambda: settled(remaining), "an idle consumer takes over")
took_over = sum(bool(worker.owned) for worker in idle)
write(100)
until(lambda: len(received()) >= 200, "the second hundred")
for worker in workers:
    worker.leave.set()
for worker in workers:
    worker.join()

records = received()
result(
    idle=len(idle),
    received_by_idle=received_by_idle,
    took_over=took_over,
    processed=len(records),
    distinct=len(set(records)),
)
