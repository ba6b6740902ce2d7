"""For the tests across clients; usage: as that of confluent-kafka."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from across_records import CODECS, RECORDS, line, stopped

what, bootstrap, *rest = sys.argv[1:]


async def main():
    if what == "write":
        prefix, base_ms = rest[0], int(rest[1])
        for codec in CODECS:
            producer = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=None if codec == "none" else codec, linger_ms=50)
            await producer.start()
            for index, (key, value, headers) in enumerate(RECORDS):
                await producer.send("%s-%s" % (prefix, codec), value, key, 0, base_ms + index, headers)
            await producer.stop()
    elif what == "read":
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        consumer.assign([TopicPartition(topic, 0) for topic in rest])
        for _ in range(len(rest) * len(RECORDS)):
            message = await consumer.getone()
            line(message.topic, message.offset, message.timestamp, message.key, message.value, message.headers)
        await consumer.stop()
    else:
        topic, group, _ = rest
        config = {"partition_assignment_strategy": [RangePartitionAssignor], "heartbeat_interval_ms": 300}
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, **config)
        await consumer.start()
        while not stopped():
            await consumer.getmany(timeout_ms=50)
        await consumer.stop()
    print("end")


asyncio.run(main())
