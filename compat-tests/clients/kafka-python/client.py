"""What the programs on kafka-python's capabilities share; for each of its versions."""

import sys
import time

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.structs import OffsetAndMetadata

from capabilities import unique, until

bootstrap = sys.argv[1]
version = tuple(int(part) for part in kafka.__version__.split("."))
admin = KafkaAdminClient(bootstrap_servers=bootstrap)
observer = KafkaConsumer(bootstrap_servers=bootstrap)
PROMPT = {"heartbeat_interval_ms": 300, "session_timeout_ms": 10000, "fetch_max_wait_ms": 50}


def has(method):
    return hasattr(admin, method)


def offset_and_metadata(offset, metadata=""):
    """It has a leader epoch since 2.1."""
    return OffsetAndMetadata(*([offset, metadata, -1][: len(OffsetAndMetadata._fields)]))


def refused(call, *kinds):
    try:
        found = call()
    except kinds:
        return
    raise AssertionError("not refused: %s" % (found,))


def topics():
    """All topics of a client that has just been started."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    try:
        return consumer.topics()
    finally:
        consumer.close()


def new_topic(name, partitions=2, **config):
    topic = unique(name)
    create(topic, partitions, **config)
    return topic


def create(topic, partitions, **config):
    admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=config)])
    until(lambda: len(observer.partitions_for_topic(topic) or observer.topics() and ()) == partitions, "the topic is known")
    # Kafka tells who leads a partition before it leads it, and producers of old versions give up at once. This asks until it does.
    observer.end_offsets([TopicPartition(topic, partition) for partition in range(partitions)])


def produce(topic, records, **config):
    """Sends (partition, key, value, headers, timestamp)."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, **config)
    sent = [
        producer.send(topic, key=key, value=value, partition=partition, headers=headers, timestamp_ms=timestamp)
        for partition, key, value, headers, timestamp in records
    ]
    try:
        return [future.get(timeout=30) for future in sent]
    finally:
        producer.close()


def plain(count, partitions=2):
    return [(number % partitions, b"key-%d" % number, b"value-%d" % number * 10, [], None) for number in range(count)]


def consumer_of(group=None, **config):
    config = {"auto_offset_reset": "earliest", "enable_auto_commit": False, **PROMPT, **config}
    return KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, **config)


def take(consumer, count):
    """As many messages. A poll() of 3.0 that ends while its consumer rejoins stops it for good: polls are not short."""
    messages = []
    deadline = time.monotonic() + 30
    while len(messages) < count and time.monotonic() < deadline:
        for found in consumer.poll(timeout_ms=2000, max_records=count - len(messages)).values():
            messages.extend(found)
    assert len(messages) == count, "%d of %d" % (len(messages), count)
    return messages


def read_all(topic, count, partitions=2, **config):
    consumer = consumer_of(**config)
    consumer.assign([TopicPartition(topic, partition) for partition in range(partitions)])
    messages = take(consumer, count)
    consumer.close()
    return messages


NOW = int(time.time() * 1000) - 60000  # old records are deleted
TOPIC = new_topic("kafka-python")
FIRST, SECOND = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)
produce(TOPIC, [(number % 2, b"key-%d" % number, b"value-%d" % number, [], NOW + number) for number in range(20)])


def assigned(*partitions, **config):
    consumer = consumer_of(**config)
    consumer.assign(list(partitions))
    return consumer


def reading(group, **config):
    consumer = consumer_of(group, **config)
    consumer.subscribe([TOPIC])
    take(consumer, 20)
    return consumer


def committed(group, partition=FIRST, **kwargs):
    consumer = consumer_of(group)
    try:
        return consumer.committed(partition, **kwargs)
    finally:
        consumer.close()
