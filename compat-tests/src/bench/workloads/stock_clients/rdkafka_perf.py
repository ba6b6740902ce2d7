"""Loads a broker with librdkafka: rdkafka_perf.py produce|consume BOOTSTRAP TOPIC RECORDS RECORD_BYTES

With TLS_CA, the file of the authorities that it trusts, it encrypts. Prints figures as `name value` lines. What Python does for each record is one call into librdkafka for a
produced one, and a thousandth of a call for a consumed one; all the protocol is done by librdkafka's threads.
"""

import os
import sys
import time

from confluent_kafka import Consumer, OFFSET_BEGINNING, Producer, TopicPartition

# Every so many records are asked for their latency: a callback for each would measure Python.
SAMPLE = 100
PATIENCE_S = 60
TLS = {"security.protocol": "ssl", "ssl.ca.location": os.environ["TLS_CA"]} if "TLS_CA" in os.environ else {}


def produce(bootstrap, topic, records, record_bytes):
    latencies = []

    def delivered(error, message):
        if error is not None:
            sys.exit(f"not delivered: {error}")
        latencies.append(message.latency())

    producer = Producer(TLS | {
        "bootstrap.servers": bootstrap,
        "acks": "all",
        "enable.idempotence": True,
        "batch.size": 65536,
        "linger.ms": 5,
        "queue.buffering.max.messages": 100_000,
    })
    noise = (b"%08x" % (i * 2654435761 & 0xFFFFFFFF) for i in range(record_bytes // 8))
    value = b"".join(noise)
    start = time.monotonic()
    for index in range(records):
        on_delivery = delivered if index % SAMPLE == 0 else None
        while True:
            try:
                producer.produce(topic, value, partition=index // 64 % 12, on_delivery=on_delivery)
                break
            except BufferError:
                producer.poll(0.01)
        if index % 1000 == 0:
            producer.poll(0)
    if producer.flush(PATIENCE_S) > 0:
        sys.exit("not everything was delivered")
    took = time.monotonic() - start
    latencies.sort()
    print("MB/s", records * len(value) / 1e6 / took)
    print("p50", 1e3 * latencies[len(latencies) // 2])
    print("p99", 1e3 * latencies[len(latencies) * 99 // 100])


def consume(bootstrap, topic, records, record_bytes):
    consumer = Consumer(TLS | {
        "bootstrap.servers": bootstrap,
        "group.id": "rdkafka-perf",
        "enable.auto.commit": False,
        "check.crcs": True,
    })
    consumer.assign([TopicPartition(topic, index, OFFSET_BEGINNING) for index in range(12)])
    start = last = time.monotonic()
    count = 0
    while count < records:
        messages = consumer.consume(1000, 1.0)
        for message in messages:
            if message.error() is not None:
                sys.exit(str(message.error()))
        count += len(messages)
        now = time.monotonic()
        if messages:
            last = now
        elif now - last > PATIENCE_S:
            sys.exit(f"{count} of {records} records have come")
    took = time.monotonic() - start
    consumer.close()
    print("MB/s", records * record_bytes / 1e6 / took)


if __name__ == "__main__":
    mode, bootstrap, topic, records, record_bytes = sys.argv[1:]
    run = {"produce": produce, "consume": consume}[mode]
    run(bootstrap, topic, int(records), int(record_bytes))
