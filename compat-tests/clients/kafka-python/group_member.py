"""One member of a group: it commits now and then, and always before its partitions are taken away.

It writes what it is given and what it reads as lines of JSON; SIGTERM makes it leave in good order.

usage: group_member.py BOOTSTRAP GROUP TOPIC[,TOPIC] NAME ASSIGNOR
"""

import json
import signal
import sys

import kafka
from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import KafkaError

from support import PROMPT, poll

ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}
COMMIT_EVERY = 40

bootstrap, group, topics, name, assignor = sys.argv[1:]


def say(**facts):
    print(json.dumps(facts), flush=True)


class Member:
    def __init__(self):
        self.leaving = False
        self.uncommitted = 0
        self.consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=group,
            client_id=name,
            partition_assignment_strategy=[ASSIGNORS[assignor]],
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=3000,
            heartbeat_interval_ms=300,
            **PROMPT
        )
        self.consumer.subscribe(topics.split(","), listener=Listener(self))

    def assigned(self, partitions):
        # Neither version has a public way to ask for the generation while it is being assigned.
        generation = self.consumer._coordinator._generation.generation_id
        say(assigned=sorted(map(list, partitions)), generation=generation)

    def revoked(self, partitions):
        say(revoked=sorted(map(list, partitions)))

    def commit(self):
        if not self.uncommitted:
            return
        try:
            self.consumer.commit()
            self.uncommitted = 0
        except KafkaError as error:
            say(commit_failed=repr(error))

    def run(self):
        while not self.leaving:
            for partition, batch in poll(self.consumer, timeout_ms=3000).items():
                say(topic=partition.topic, partition=partition.partition, read=[record.offset for record in batch])
                self.uncommitted += len(batch)
            if self.uncommitted >= COMMIT_EVERY:
                self.commit()
        self.commit()
        self.consumer.close(autocommit=False)

    def leave(self, *_):
        self.leaving = True


if kafka.__version__ == "2.0.2":

    class Listener(ConsumerRebalanceListener):
        def __init__(self, member):
            self.member = member

        def on_partitions_revoked(self, revoked):
            self.member.commit()
            self.member.revoked(revoked)

        def on_partitions_assigned(self, assigned):
            self.member.assigned(assigned)

else:

    # 3.x calls the listener from its I/O thread, where nothing may block.
    class Listener(kafka.AsyncConsumerRebalanceListener):
        def __init__(self, member):
            self.member = member

        async def on_partitions_revoked(self, revoked):
            if self.member.uncommitted:
                try:
                    await self.member.consumer.commit_async()
                    self.member.uncommitted = 0
                except KafkaError as error:
                    say(commit_failed=repr(error))
            self.member.revoked(revoked)

        async def on_partitions_assigned(self, assigned):
            self.member.assigned(assigned)


member = Member()
signal.signal(signal.SIGTERM, member.leave)
member.run()
say(left=True)
