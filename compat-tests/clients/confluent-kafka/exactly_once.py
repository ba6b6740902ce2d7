"""Numbers go from topic to topic in transactions while the broker is killed again and again.

One producer writes numbers to "in". A member of a group copies them to "out", each some of them and their offsets in one
transaction. That goes on until the standard input ends; then "out" is read as a reader of committed records sees it.

usage: exactly_once.py BOOTSTRAP
"""

import json
import os
import queue
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 4
bootstrap = sys.argv[1]
base = {"bootstrap.servers": bootstrap, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200}

admin = AdminClient(base)
created = admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in ("in", "out")])
for future in created.values():
    future.result(timeout=60)
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()


def generate():
    """Writes numbers until the end; gives how many."""
    failed = []
    producer = Producer({**base, "enable.idempotence": True, "linger.ms": 2, "message.timeout.ms": 120000})
    number = 0
    while not ended.is_set():
        producer.produce("in", b"%d" % number, partition=number % PARTITIONS, on_delivery=lambda error, _: error and failed.append(error))
        number += 1
        producer.poll(0)
        if number % 10 == 0:
            time.sleep(0.01)
    if producer.flush(120) != 0 or failed:
        raise SystemExit("not everything was delivered: %s" % failed[:3])
    return number


class Pipeline:
    """A consumer and a producer that are made anew after every error: what was begun is aborted then, and read again."""

    def __init__(self):
        self.is_stuck = False
        self.is_revoked = False
        self.producer = Producer({**base, "transactional.id": "pipeline", "transaction.timeout.ms": 30000, "message.timeout.ms": 20000})
        self.producer.init_transactions(60)
        self.consumer = Consumer({
            **base,
            "group.id": "pipeline",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500,
            "fetch.wait.max.ms": 50,
        })
        self.consumer.subscribe(["in"], on_revoke=self.revoked)

    def revoked(self, consumer, partitions):
        self.is_revoked = True

    def step(self):
        """Copies some numbers; gives how many.

        librdkafka may never come back from sending offsets while its coordinator is away, whatever time it is given (issue 5456
        of its repository): a step that takes too long is left alone, and the next producer of this name fences it.
        """
        outcome = queue.SimpleQueue()

        def copy():
            try:
                outcome.put(self.copy())
            except KafkaException as error:
                outcome.put(error)

        threading.Thread(target=copy, daemon=True).start()
        try:
            found = outcome.get(timeout=20)
        except queue.Empty:
            self.is_stuck = True
            raise KafkaException("no answer") from None
        if isinstance(found, KafkaException):
            raise found
        return found

    def copy(self):
        self.is_revoked = False
        messages = [message for message in self.consumer.consume(100, 0.1) if not message.error()]
        if self.is_revoked:
            # It is a member again at once, and could commit what it reads again.
            raise KafkaException("a rebalance came between")
        if not messages:
            return 0
        self.producer.begin_transaction()
        for message in messages:
            self.producer.produce("out", message.value(), partition=message.partition())
        ends = {message.partition(): message.offset() + 1 for message in messages}
        offsets = [TopicPartition("in", partition, offset) for partition, offset in ends.items()]
        self.producer.send_offsets_to_transaction(offsets, self.consumer.consumer_group_metadata(), 30)
        while True:
            try:
                self.producer.commit_transaction(30)
                return len(messages)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise

    def close(self):
        self.consumer.close()
        if not self.is_stuck:
            self.producer.purge()


def pipe(is_done):
    pipeline, committed = None, 0
    while not is_done(committed):
        try:
            pipeline = pipeline or Pipeline()
            count = pipeline.step()
            committed += count
            if count:
                print("# committed %d" % committed, flush=True)
        except KafkaException as error:
            print("%s" % error, file=sys.stderr)
            if pipeline:
                pipeline.close()
            pipeline = None
    pipeline.close()


def read(count):
    """All numbers of "out", each with how often it is there."""
    consumer = Consumer({**base, "group.id": "checker", "isolation.level": "read_committed"})
    partitions = [TopicPartition("out", partition, 0) for partition in range(PARTITIONS)]
    consumer.assign(partitions)
    found, last, unordered, deadline = {}, {}, 0, time.monotonic() + 60
    quiet_since = time.monotonic()
    while time.monotonic() < deadline and (len(found) < count or time.monotonic() - quiet_since < 2):
        for message in consumer.consume(1000, 0.2):
            if message.error():
                continue
            number = int(message.value())
            found[number] = found.get(number, 0) + 1
            unordered += last.get(message.partition(), -1) > number
            last[message.partition()] = number
            quiet_since = time.monotonic()
    consumer.close()
    return found, unordered


generated = []
generator = threading.Thread(target=lambda: generated.append(generate()))
generator.start()
# An answer to a commit may be lost for good with its producer: its numbers are counted by their offsets then.
observer = Consumer({**base, "group.id": "pipeline", "enable.auto.commit": False})


def all_committed(_):
    if not generated:
        if ended.is_set() and not generator.is_alive():
            raise SystemExit("the generator has failed")
        return False
    try:
        found = observer.committed([TopicPartition("in", partition) for partition in range(PARTITIONS)], 5)
    except KafkaException:
        return False
    return sum(max(partition.offset, 0) for partition in found) == generated[0]


pipe(all_committed)
found, unordered = read(generated[0])
result = {
    "lost": sum(number not in found for number in range(generated[0])),
    "twice": sum(times > 1 for times in found.values()),
    "invented": sum(number >= generated[0] for number in found),
    "unordered": unordered,
}
print(json.dumps(result, sort_keys=True))
sys.stdout.flush()
os._exit(0)  # a step that is stuck would keep its client from being destroyed
