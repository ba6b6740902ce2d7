"""Members join, leave and die while events flow.

usage: rebalance_under_traffic.py BOOTSTRAP
"""

import sys
import threading
import time
from collections import defaultdict

from kafka import KafkaProducer, TopicPartition

from members import Member, wait_stable
from support import PATIENT, committed_offsets, create_topic, end_offsets, result, until

TOPIC, GROUP, PARTITIONS = "user_logins", "shifting", 6
bootstrap = sys.argv[1]
create_topic(bootstrap, TOPIC, PARTITIONS)
all_partitions = [(TOPIC, number) for number in range(PARTITIONS)]

stop = threading.Event()
acknowledged = set()  # (partition, offset)


def write_events():
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        **PATIENT
    )
    futures = []
    number = 0
    while not stop.is_set():
        futures.append(producer.send(TOPIC, str(number).encode(), partition=number % PARTITIONS))
        number += 1
        time.sleep(0.004)
    for future in futures:
        metadata = future.get(timeout=60)
        acknowledged.add(((metadata.topic, metadata.partition), metadata.offset))
    producer.close()


members = {}


def join(*names):
    for name in names:
        members[name] = Member(bootstrap, GROUP, [TOPIC], name)


def stable(names):
    wait_stable([members[name] for name in names], all_partitions)


writer = threading.Thread(target=write_events, daemon=True)
writer.start()
join("a", "b")
stable("ab")
join("c")
stable("abc")
members["a"].leave()
stable("bc")
members["c"].die()
stable("b")
join("d", "e")
stable("bde")
members["b"].die()
members["d"].leave()
stable("e")

stop.set()
writer.join()


def everything_read():
    return acknowledged <= {read[:2] for member in members.values() for read in list(member.reads)}


try:
    until(everything_read, "every acknowledged event is read", seconds=30)
except SystemExit as error:
    print(error, file=sys.stderr)
members["e"].leave()

owners = defaultdict(set)
for member in members.values():
    for generation, owned in member.assignments:
        for partition in owned:
            owners[generation, partition].add(member.name)

readers = defaultdict(list)
out_of_order = 0
for member in members.values():
    last = {}
    for partition, offset, generation in member.reads:
        readers[partition, offset].append(member)
        # Within a generation a member reads each partition without a gap.
        if last.get((partition, generation), offset - 1) != offset - 1:
            out_of_order += 1
        last[partition, generation] = offset

topic_partitions = [TopicPartition(*partition) for partition in all_partitions]
result(
    committed_everything=committed_offsets(bootstrap, GROUP, topic_partitions) == end_offsets(bootstrap, topic_partitions),
    lost=len(acknowledged - set(readers)),
    out_of_order=out_of_order,
    partitions_with_two_owners=sum(len(names) > 1 for names in owners.values()),
    # An event may be read again only because a member died before it had committed.
    read_again_without_a_death=sum(
        len(who) > 1 + sum(member.killed for member in who) for who in readers.values()
    ),
)
