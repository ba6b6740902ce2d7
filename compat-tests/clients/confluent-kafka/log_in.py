"""Logs in, sends records for some seconds, and reads one back: BOOTSTRAP MECHANISM USER PASSWORD TOPIC SECONDS."""

import sys
import time

from confluent_kafka import Consumer, KafkaError, Producer

bootstrap, mechanism, user, password, topic, seconds = sys.argv[1:]
refusals = []


def refused(error):
    if error.code() == KafkaError._AUTHENTICATION:
        print("refused", error.str())
        sys.stdout.flush()
        refusals.append(error)


settings = {
    "bootstrap.servers": bootstrap,
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": mechanism,
    "sasl.username": user,
    "sasl.password": password,
    "error_cb": refused,
    "log_level": 0,
}
producer = Producer({**settings, "message.timeout.ms": 10000})
until = time.monotonic() + float(seconds)
while not refusals:
    producer.produce(topic, b"value")
    while producer.flush(0.1) and not refusals:
        pass
    if time.monotonic() >= until:
        break
    time.sleep(0.3)
if not refusals:
    consumer = Consumer({**settings, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    message = consumer.poll(20)
    print("read", message.value().decode())
    consumer.close()
else:
    producer.purge()
