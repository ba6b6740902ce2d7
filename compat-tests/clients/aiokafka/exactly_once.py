"""Numbers go from topic to topic in transactions while the broker is killed again and again; as that of confluent-kafka.

usage: exactly_once.py BOOTSTRAP
"""

import asyncio
import json
import sys
import threading
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

PARTITIONS = 4
bootstrap = sys.argv[1]
base = {"bootstrap_servers": bootstrap, "retry_backoff_ms": 20}
ended = threading.Event()


async def generate():
    """Writes numbers until the end; gives how many."""
    producer = AIOKafkaProducer(**base, enable_idempotence=True, linger_ms=2)
    await producer.start()
    sent, number = [], 0
    while not ended.is_set():
        sent.append(await producer.send("in", b"%d" % number, partition=number % PARTITIONS))
        number += 1
        if number % 10 == 0:
            await asyncio.sleep(0.01)
    await asyncio.wait_for(asyncio.gather(*sent), 120)
    await producer.stop()
    return number


class Pipeline:
    """A consumer and a producer that are made anew after every error: what was begun is aborted then, and read again."""

    async def start(self):
        self.producer = AIOKafkaProducer(**base, transactional_id="pipeline", transaction_timeout_ms=30000, request_timeout_ms=10000)
        self.consumer = AIOKafkaConsumer(
            "in",
            **base,
            group_id="pipeline",
            enable_auto_commit=False,
            # It overlooks the error of a coordinator that moves, and takes it for no offset: it is not to begin anew then.
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=6000,
            heartbeat_interval_ms=500,
            fetch_max_wait_ms=50,
        )
        await self.producer.start()
        await self.consumer.start()

    async def step(self):
        """Copies some numbers; gives how many."""
        found = await self.consumer.getmany(timeout_ms=100, max_records=100)
        if not found:
            return 0
        async with self.producer.transaction():
            for partition, messages in found.items():
                for message in messages:
                    await self.producer.send("out", message.value, partition=partition.partition)
            ends = {partition: messages[-1].offset + 1 for partition, messages in found.items()}
            await self.producer.send_offsets_to_transaction(ends, "pipeline")
        return sum(len(messages) for messages in found.values())

    async def close(self):
        for client in (self.producer, self.consumer):
            try:
                await asyncio.wait_for(client.stop(), 5)
            except (KafkaError, asyncio.TimeoutError) as error:
                print("closing: %r" % error, file=sys.stderr)


async def pipe(generated):
    observer = AIOKafkaConsumer(**base, group_id="pipeline", enable_auto_commit=False)
    await observer.start()
    observer.assign([TopicPartition("in", partition) for partition in range(PARTITIONS)])
    await observer.commit({TopicPartition("in", partition): 0 for partition in range(PARTITIONS)})
    observer.unsubscribe()
    pipeline, committed = None, 0
    while not await all_committed(observer, generated):
        try:
            if pipeline is None:
                pipeline = Pipeline()
                await asyncio.wait_for(pipeline.start(), 60)
            count = await asyncio.wait_for(pipeline.step(), 30)
            committed += count
            if count:
                print("# committed %d" % committed, flush=True)
        except (KafkaError, asyncio.TimeoutError) as error:
            print("%r" % error, file=sys.stderr)
            await pipeline.close()
            pipeline = None
    await pipeline.close()
    await observer.stop()


async def all_committed(observer, generated):
    """An answer to a commit may be lost for good with its producer: its numbers are counted by their offsets."""
    if not generated.done():
        return False
    try:
        offsets = [await asyncio.wait_for(observer.committed(TopicPartition("in", partition)), 5) for partition in range(PARTITIONS)]
    except (KafkaError, asyncio.TimeoutError):
        return False
    return sum(offset or 0 for offset in offsets) == generated.result()


async def read(count):
    """All numbers of "out", each with how often it is there."""
    consumer = AIOKafkaConsumer(**base, isolation_level="read_committed", auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition("out", partition) for partition in range(PARTITIONS)])
    found, last, unordered, deadline = {}, {}, 0, time.monotonic() + 60
    quiet_since = time.monotonic()
    while time.monotonic() < deadline and (len(found) < count or time.monotonic() - quiet_since < 2):
        for messages in (await consumer.getmany(timeout_ms=200)).values():
            for message in messages:
                number = int(message.value)
                found[number] = found.get(number, 0) + 1
                unordered += last.get(message.partition, -1) > number
                last[message.partition] = number
                quiet_since = time.monotonic()
    await consumer.stop()
    return found, unordered


async def main():
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in ("in", "out")])
    await admin.close()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    generated = asyncio.ensure_future(generate())
    await pipe(generated)
    count = generated.result()
    found, unordered = await read(count)
    result = {
        "lost": sum(number not in found for number in range(count)),
        "twice": sum(times > 1 for times in found.values()),
        "invented": sum(number >= count for number in found),
        "unordered": unordered,
    }
    print(json.dumps(result, sort_keys=True))


asyncio.run(main())
