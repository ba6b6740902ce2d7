"""Create a topic, produce with each compression, consume in a group, commit, describe.

usage: smoke.py BOOTSTRAP
"""

import asyncio
import json
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

TOPIC, GROUP = "smoke", "smokers"
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]
bootstrap = sys.argv[1]


async def main():
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 2, 1)])

    for codec in CODECS:
        # aiokafka does not default to idempotence; the last codec is produced with it.
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, compression_type=codec, enable_idempotence=codec == CODECS[-1]
        )
        await producer.start()
        for number in range(20):
            value = ("%s-%d " % (codec, number) * 20).encode()
            headers = [("codec", str(codec).encode())]
            await producer.send(TOPIC, value, key=str(codec).encode(), partition=number % 2, headers=headers)
        await producer.stop()

    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=bootstrap,
        group_id=GROUP,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    seen = []
    while len(seen) < 100:
        for batch in (await consumer.getmany(timeout_ms=30000)).values():
            for message in batch:
                kept = message.headers == (("codec", message.key),)
                seen.append((message.value.decode().split()[0], kept))
    await consumer.commit()

    (description,) = await admin.describe_consumer_groups([GROUP])
    group = description.groups[0]
    partitions = [TopicPartition(TOPIC, number) for number in range(2)]
    committed = [await consumer.committed(partition) for partition in partitions]
    ends = await consumer.end_offsets(partitions)
    listed = await admin.list_consumer_groups()
    await consumer.stop()
    await admin.close()

    expected = {"%s-%d" % (codec, number) for codec in CODECS for number in range(20)}
    print(
        json.dumps(
            {
                "all_there": {number for number, _ in seen} == expected and len(seen) == 100,
                "headers_kept": all(kept for _, kept in seen),
                "state": group[2],
                "members": len(group[5]),
                "committed": committed,
                "groups": [name for name, *_ in listed],
                "ends": [ends[partition] for partition in partitions],
            },
            sort_keys=True,
        )
    )


asyncio.run(main())
