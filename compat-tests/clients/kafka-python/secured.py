"""Sends a record to "t" and reads one back, with the settings that a secured broker has written: kafka-python.json."""

import json
import sys

from kafka import KafkaConsumer, KafkaProducer

with open(sys.argv[1]) as file:
    settings = json.load(file)
producer = KafkaProducer(**settings)
producer.send("t", b"from python").get(timeout=20)
consumer = KafkaConsumer("t", auto_offset_reset="earliest", consumer_timeout_ms=20000, **settings)
print("read", next(consumer).value.decode())
