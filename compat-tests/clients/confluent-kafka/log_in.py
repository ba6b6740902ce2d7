"""Logs in, sends records for some seconds, and reads one back: BOOTSTRAP MECHANISM USER PASSWORD TOPIC SECONDS.

With TLS_CA in the environment it encrypts, and shows TLS_CERT; mechanism NONE logs in with no more than that. The password of
OAUTHBEARER is a token.
"""

import os
import sys
import time

from confluent_kafka import Consumer, KafkaError, Producer

bootstrap, mechanism, user, password, topic, seconds = sys.argv[1:]
refusals = []


def refused(error):
    if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
        print("refused", error.str())
        sys.stdout.flush()
        refusals.append(error)


is_encrypted = "TLS_CA" in os.environ
settings = {"bootstrap.servers": bootstrap, "error_cb": refused, "log_level": 0}
if mechanism == "NONE":
    settings["security.protocol"] = "SSL"
else:
    settings |= {
        "security.protocol": "SASL_SSL" if is_encrypted else "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "sasl.username": user,
        "sasl.password": password,
    }
if mechanism == "OAUTHBEARER":
    settings["oauth_cb"] = lambda _: (password, time.time() + 300)
if is_encrypted:
    settings["ssl.ca.location"] = os.environ["TLS_CA"]
if "TLS_CERT" in os.environ:
    settings["ssl.certificate.location"] = os.environ["TLS_CERT"]
    settings["ssl.key.location"] = os.environ["TLS_CERT"]
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
    print("read", message.value().decode()) if message else print("refused", "nothing came")
    consumer.close()
else:
    producer.purge()
