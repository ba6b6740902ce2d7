"""A member of a group that writes the partitions it has after each poll, until its standard input ends.

usage: second_member.py BOOTSTRAP TOPIC GROUP ASSIGNOR_MODULE ASSIGNOR
"""

import importlib
import select
import sys

from kafka import KafkaConsumer

bootstrap, topic, group, module, assignor = sys.argv[1:]
consumer = KafkaConsumer(
    topic,
    bootstrap_servers=bootstrap,
    group_id=group,
    enable_auto_commit=False,
    heartbeat_interval_ms=300,
    partition_assignment_strategy=[getattr(importlib.import_module(module), assignor)],
)
while not select.select([sys.stdin], [], [], 0)[0]:
    consumer.poll(timeout_ms=500)
    print(sorted(partition.partition for partition in consumer.assignment()))
consumer.close()
