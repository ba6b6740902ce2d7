"""kafka-python does what it is told. usage: commanded_kafka_python.py BOOTSTRAP"""

import sys

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from commanded import Refused, obey

# The timeout is longer than any pause: by the old protocol, the end of a transaction that arrives late and twice ends the next one.
COMMON = {"bootstrap_servers": sys.argv[1], "request_timeout_ms": 16000, "reconnect_backoff_ms": 20, "reconnect_backoff_max_ms": 500}


class Client(ConsumerRebalanceListener):
    def __init__(self):
        self.made = self.consuming = None
        self.events = []

    def producer(self, transactional_id, timeout_ms):
        if self.made is not None:
            self.made.close(timeout=0)
        config = COMMON | {"enable_idempotence": True, "linger_ms": 2, "delivery_timeout_ms": 20000, "max_block_ms": 20000}
        if transactional_id is not None:
            config |= {"transactional_id": transactional_id, "transaction_timeout_ms": timeout_ms}
        self.made = KafkaProducer(**config)
        if transactional_id is not None:
            self.made.init_transactions()

    def begin(self):
        self.made.begin_transaction()

    def send(self, records):
        def sent(topic, partition, value):
            try:
                return self.made.send(topic, str(value).encode(), partition=partition)
            except KafkaError as error:
                return error

        def ack(future):
            if isinstance(future, KafkaError):
                return repr(future)
            try:
                return future.get(timeout=30).offset
            except KafkaError as error:
                return repr(error)

        return {"acks": [ack(future) for future in [sent(*record) for record in records]]}

    def send_offsets(self, offsets):
        self._in_transaction(self.made.send_offsets_to_transaction, self._offsets(offsets), self.consuming.group_metadata())

    def commit(self):
        self._in_transaction(self.made.commit_transaction)

    def abort(self):
        self._in_transaction(self.made.abort_transaction)

    def _in_transaction(self, call, *arguments):
        call(*arguments)

    @staticmethod
    def _offsets(offsets):
        return {TopicPartition(topic, partition): OffsetAndMetadata(offset, "", -1) for topic, partition, offset in offsets}

    def consumer(self, group, protocol, committed, topic, partitions):
        if self.consuming is not None:
            self.consuming.close()
        self.events = []
        self.consuming = KafkaConsumer(
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed" if committed else "read_uncommitted",
            fetch_max_wait_ms=50,
            session_timeout_ms=6000,
            heartbeat_interval_ms=500,
            **COMMON,
        )
        if topic is not None:
            self.consuming.subscribe([topic], listener=self)
        elif partitions is not None:
            self.consuming.assign([TopicPartition(*place) for place in partitions])

    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, assigned):
        self.events.append(["assigned", [[p.topic, p.partition, None] for p in assigned]])

    def assign(self, positions):
        self.consuming.assign([TopicPartition(topic, partition) for topic, partition, _ in positions])
        for topic, partition, offset in positions:
            self.consuming.seek(TopicPartition(topic, partition), offset)

    def poll(self, count, ms):
        for messages in self.consuming.poll(timeout_ms=ms, max_records=count).values():
            for message in messages:
                self.events.append(["record", message.topic, message.partition, message.offset, int(message.value)])
        events, self.events = self.events, []
        return {"events": events}

    def commit_offsets(self, offsets):
        self.consuming.commit(self._offsets(offsets))


obey(Client())
