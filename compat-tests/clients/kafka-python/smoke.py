"""Produce with each compression and read it all back.

usage: smoke.py BOOTSTRAP
"""

import sys

from kafka import KafkaConsumer, KafkaProducer

from support import PATIENT, create_topic, result

TOPIC = "smoke"
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]
bootstrap = sys.argv[1]
create_topic(bootstrap, TOPIC, 2)

for codec in CODECS:
    producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=codec, **PATIENT)
    for number in range(20):
        value = ("%s-%d " % (codec, number) * 20).encode()
        headers = [("codec", str(codec).encode())]
        producer.send(TOPIC, value, key=str(codec).encode(), partition=number % 2, headers=headers)
    producer.close()

consumer = KafkaConsumer(
    TOPIC, bootstrap_servers=bootstrap, group_id="smokers", auto_offset_reset="earliest", consumer_timeout_ms=30000
)
seen = []
for message in consumer:
    seen.append((message.value.decode().split()[0], message.headers == [("codec", message.key)]))
    if len(seen) == 100:
        break
consumer.close()
expected = {"%s-%d" % (codec, number) for codec in CODECS for number in range(20)}
result(all_there={number for number, _ in seen} == expected, headers_kept=all(kept for _, kept in seen))
