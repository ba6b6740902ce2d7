"""Logs in, sends records for some seconds, and reads one back: BOOTSTRAP MECHANISM USER PASSWORD TOPIC SECONDS."""

import asyncio
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

bootstrap, mechanism, user, password, topic, seconds = sys.argv[1:]
settings = {
    "bootstrap_servers": bootstrap,
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_mechanism": mechanism,
    "sasl_plain_username": user,
    "sasl_plain_password": password,
}


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
