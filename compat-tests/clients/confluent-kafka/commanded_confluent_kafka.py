"""confluent-kafka, which is librdkafka, does what it is told. usage: commanded_confluent_kafka.py BOOTSTRAP"""

import sys
import time

from confluent_kafka import OFFSET_STORED, Consumer, KafkaException, Producer, TopicPartition

from commanded import Refused, obey

COMMON = {
    "bootstrap.servers": sys.argv[1],
    # Longer than any pause: by the old protocol, the end of a transaction that arrives late and twice ends the next one.
    "socket.timeout.ms": 16000,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 500,
}


def places(partitions):
    return [[p.topic, p.partition, p.offset if p.offset >= 0 else None] for p in partitions]


class Client:
    def __init__(self):
        self.made = self.consuming = None
        self.events = []

    def producer(self, transactional_id, timeout_ms):
        config = COMMON | {"enable.idempotence": True, "linger.ms": 2, "message.timeout.ms": 20000}
        if transactional_id is not None:
            config |= {"transactional.id": transactional_id, "transaction.timeout.ms": timeout_ms}
            config["message.timeout.ms"] = timeout_ms
        self.made = Producer(config)
        if transactional_id is not None:
            self.made.init_transactions(30)

    def begin(self):
        self.made.begin_transaction()

    def send(self, records):
        acks = ["no answer"] * len(records)

        def delivered(index):
            def callback(error, message):
                acks[index] = str(error) if error is not None else message.offset()

            return callback

        for index, (topic, partition, value) in enumerate(records):
            self.made.produce(topic, str(value).encode(), partition=partition, on_delivery=delivered(index))
        self.made.flush(30)
        return {"acks": acks}

    def send_offsets(self, offsets):
        next_ones = [TopicPartition(*place) for place in offsets]
        self._in_transaction(self.made.send_offsets_to_transaction, next_ones, self.consuming.consumer_group_metadata(), 20)

    def commit(self):
        self._in_transaction(self.made.commit_transaction, 20)

    def abort(self):
        self._in_transaction(self.made.abort_transaction, 20)

    def _in_transaction(self, call, *arguments):
        for _ in range(3):
            try:
                return call(*arguments)
            except KafkaException as exception:
                (error,) = exception.args
                if not error.retriable():
                    raise Refused(error, error.txn_requires_abort()) from None
        raise Refused("no answer")

    def consumer(self, group, protocol, committed, topic, partitions):
        if self.consuming is not None:
            self.consuming.close()
        self.events = []
        config = COMMON | {
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "fetch.wait.max.ms": 50,
        }
        if protocol == "consumer":
            config["group.protocol"] = "consumer"
        else:
            config |= {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "partition.assignment.strategy": "range"}
        self.consuming = Consumer(config)
        if topic is not None:
            self.consuming.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked)
        elif partitions is not None:
            self.consuming.assign([TopicPartition(*place, OFFSET_STORED) for place in partitions])

    def _assigned(self, consumer, partitions):
        self.events.append(["assigned", places(partitions)])

    def _revoked(self, consumer, partitions):
        # It joins the next generation at once, whose offsets it could commit. What was read before is another member's now.
        self.events.append(["assigned", []])

    def assign(self, positions):
        self.consuming.assign([TopicPartition(*place) for place in positions])

    def poll(self, count, ms):
        deadline = time.monotonic() + ms / 1000
        read = 0
        while read < count and (left := deadline - time.monotonic()) > 0:
            message = self.consuming.poll(min(left, 0.05) if read else left)
            if message is None:
                if read:
                    break
            elif message.error() is None:
                self.events.append(["record", message.topic(), message.partition(), message.offset(), int(message.value())])
                read += 1
        events, self.events = self.events, []
        return {"events": events}

    def commit_offsets(self, offsets):
        self.consuming.commit(offsets=[TopicPartition(*place) for place in offsets], asynchronous=False)


obey(Client())
