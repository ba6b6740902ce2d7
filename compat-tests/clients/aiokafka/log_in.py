"""Logs in, sends records for some seconds, and reads one back: BOOTSTRAP MECHANISM USER PASSWORD TOPIC SECONDS.

With TLS_CA in the environment it encrypts, and shows TLS_CERT; mechanism NONE logs in with no more than that.
"""

import asyncio
import os
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.helpers import create_ssl_context

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
    shown = os.environ.get("TLS_CERT")
    settings["ssl_context"] = create_ssl_context(cafile=os.environ["TLS_CA"], certfile=shown)


async def main():
    producer = AIOKafkaProducer(**settings)
    try:
        await producer.start()
        until = time.monotonic() + float(seconds)
        while True:
            await producer.send_and_wait(topic, b"value")
            if time.monotonic() >= until:
                break
            await asyncio.sleep(0.3)
        consumer = AIOKafkaConsumer(topic, auto_offset_reset="earliest", **settings)
        await consumer.start()
        try:
            message = await asyncio.wait_for(consumer.getone(), 10)
            print("read", message.value.decode())
        finally:
            await consumer.stop()
    except KafkaError as error:
        print("refused", repr(error))
    finally:
        await producer.stop()


asyncio.run(main())
