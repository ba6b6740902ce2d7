"""What the scenarios need besides kafka-python: bounded waits, topics, and the report for the test."""

import json
import time

from kafka import KafkaConsumer
from kafka.admin import KafkaAdminClient, NewPartitions, NewTopic
from kafka.errors import KafkaError

# Clients notice new partitions, and a broker that has come back, within about half a second.
PROMPT = {"metadata_max_age_ms": 500, "reconnect_backoff_ms": 50, "reconnect_backoff_max_ms": 500}

# A producer that gives up nothing and keeps the order. 2.0.2 does not try again by default, and has no
# idempotence: only with one request in flight does what is sent again stay in its place.
PATIENT = {"acks": "all", "retries": 1000, "max_in_flight_requests_per_connection": 1, **PROMPT}


def progress(text):
    """A line for the test to wait for."""
    print("# " + text, flush=True)


def result(**facts):
    """The last line: what happened. The test, not the program, says what should have."""
    print(json.dumps(facts, sort_keys=True), flush=True)


def until(condition, what, seconds=90):
    """Waits until `condition` holds; the end of the program if it does not come to hold."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("waited %d s in vain: %s" % (seconds, what))
        time.sleep(0.02)


def poll(consumer, **arguments):
    """`poll`, also while no broker answers: 3.0.12 raises then, 2.0.2 waits. The next call connects again.

    Give it seconds while a group may be joining: where a `poll` of 3.0.12 ends in the moment in which the
    group settles, the consumer can lose its assignment for good, and sends no heartbeat any more.
    """
    try:
        return consumer.poll(**arguments)
    except KafkaError as error:
        if not error.retriable:
            raise
        time.sleep(0.05)
        return {}


def iterate(consumer):
    """`for message in consumer`, also across a restart of the broker, for the same reason."""
    while True:
        try:
            yield next(consumer)
        except StopIteration:
            return
        except KafkaError as error:
            if not error.retriable:
                raise
            time.sleep(0.05)


def create_topic(bootstrap, name, partitions):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=1)])
    admin.close()


def grow_topic(bootstrap, name, partitions):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_partitions({name: NewPartitions(total_count=partitions)})
    admin.close()


def stable_members(admin, group):
    """How many members the group has once it is stable; 0 while it rebalances."""
    try:
        if hasattr(admin, "describe_groups"):  # 3.x
            description = admin.describe_groups([group])[group]
            return len(description["members"]) if description["group_state"] == "Stable" else 0
        (description,) = admin.describe_consumer_groups([group])
        return len(description.members) if description.state == "Stable" else 0
    except KafkaError:
        return 0  # the group's coordinator is not there yet


def end_offsets(bootstrap, partitions):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    ends = consumer.end_offsets(partitions)
    consumer.close()
    return ends


def committed_offsets(bootstrap, group, partitions):
    """What the group would start from, asked by somebody who does not join it."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    committed = {partition: consumer.committed(partition) for partition in partitions}
    consumer.close()
    return committed
