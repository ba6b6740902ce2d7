"""What a user's tests look like."""

import json
import os

import pytest
from kafka import KafkaConsumer, KafkaProducer


@pytest.mark.parametrize("topic", ["a", "b"])
def test_a_record_comes_back(ottla, topic):
    producer = KafkaProducer(bootstrap_servers=ottla.bootstrap)
    producer.send(topic, b"value").get(timeout=20)
    producer.close()
    consumer = KafkaConsumer(
        topic, bootstrap_servers=ottla.bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=20_000
    )
    assert next(consumer).value == b"value"
    assert len(consumer.partitions_for_topic(topic)) == 3, "ottla_config is in force"
    consumer.close()


def test_which_broker_it_is(ottla, ottla_bootstrap):
    assert ottla.bootstrap == ottla_bootstrap
    told = {"worker": os.environ.get("PYTEST_XDIST_WORKER", "alone"), "pid": ottla.pid}
    with open(os.environ["TOLD"], "a") as file:
        print(json.dumps(told), file=file)
