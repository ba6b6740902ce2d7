"""Logs in, sends records for some seconds, and reads one back: BOOTSTRAP MECHANISM USER PASSWORD TOPIC SECONDS.

With TLS_CA in the environment it encrypts, and shows TLS_CERT; mechanism NONE logs in with no more than that.
"""

import os
import sys
import time

import kafka
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError

bootstrap, mechanism, user, password, topic, seconds = sys.argv[1:]
is_encrypted = "TLS_CA" in os.environ
settings = {"bootstrap_servers": bootstrap}
if mechanism == "NONE":
    settings["security_protocol"] = "SSL"
else:
    settings |= {
        "security_protocol": "SASL_SSL" if is_encrypted else "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": user,
        "sasl_plain_password": password,
    }
if is_encrypted:
    settings["ssl_cafile"] = os.environ["TLS_CA"]
if "TLS_CERT" in os.environ:
    settings["ssl_certfile"] = os.environ["TLS_CERT"]
    # Version 2 wants the key by its own name, too.
    settings["ssl_keyfile"] = os.environ["TLS_CERT"]
# Version 3 tries again and again to find a broker that lets it in.
if not kafka.__version__.startswith("2."):
    settings["bootstrap_timeout_ms"] = 3000
try:
    # Version 2 cannot log in again, and connects anew.
    producer = KafkaProducer(max_block_ms=8000, retries=3, **settings)
    until = time.monotonic() + float(seconds)
    while True:
        producer.send(topic, b"value").get(timeout=8)
        if time.monotonic() >= until:
            break
        time.sleep(0.3)
    consumer = KafkaConsumer(
        topic, auto_offset_reset="earliest", consumer_timeout_ms=8000, **settings
    )
    print("read", next(consumer).value.decode())
except (KafkaError, StopIteration, OSError) as error:
    print("refused", repr(error))
