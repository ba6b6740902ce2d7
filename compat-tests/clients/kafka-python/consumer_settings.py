"""What one setting of a consumer does.

usage: consumer_settings.py BOOTSTRAP group_id|earliest|latest|none|enable_auto_commit|max_poll_records|max_poll_interval_ms
"""

import sys
import threading

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from support import PATIENT, PROMPT, committed_offsets, create_topic, result, until

TOPIC = "user_logins"
PARTITION = TopicPartition(TOPIC, 0)
bootstrap, setting = sys.argv[1:]
create_topic(bootstrap, TOPIC, 1)
producer = KafkaProducer(bootstrap_servers=bootstrap, **PATIENT)


def write(count):
    for number in range(count):
        producer.send(TOPIC, str(number).encode())
    producer.flush()


def consumer(**settings):
    return KafkaConsumer(TOPIC, bootstrap_servers=bootstrap, heartbeat_interval_ms=300, **{**PROMPT, **settings})


def read(source, count):
    """Polls until `count` records are there; all that came with the last poll are given."""
    records = []

    def enough():
        for batch in source.poll(timeout_ms=3000).values():
            records.extend(batch)
        return len(records) >= count

    until(enough, "%d records" % count)
    return records


def committed(group):
    return committed_offsets(bootstrap, group, [PARTITION])[PARTITION]


def group_id():
    write(10)
    alone = consumer(group_id=None, auto_offset_reset="earliest")
    first = len(read(alone, 10))
    try:
        alone.commit()
        refused = False
    except (AssertionError, KafkaError):
        refused = True
    alone.close()
    again = consumer(group_id=None, auto_offset_reset="earliest")
    second = len(read(again, 10))
    again.close()
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    listed = admin.list_consumer_groups() if hasattr(admin, "list_consumer_groups") else admin.list_groups()
    result(read=first, read_again=second, commit_refused=refused, groups=[str(group) for group in listed])


def auto_offset_reset():
    write(10)
    reader = consumer(group_id="new", auto_offset_reset=setting)
    if setting == "none":
        try:
            read(reader, 1)
            result(error=None)
        except KafkaError as error:
            result(error=type(error).__name__)
        return
    if setting == "latest":
        # Where it starts is decided before anything else is written.
        until(lambda: reader.poll(timeout_ms=3000) or reader.assignment(), "an assignment")
        reader.position(PARTITION)
        write(10)
    records = read(reader, 10)
    reader.close()
    result(first_offset=records[0].offset, read=len(records))


def enable_auto_commit():
    write(10)
    enabled = consumer(group_id="enabled", auto_offset_reset="earliest", auto_commit_interval_ms=200)
    read(enabled, 10)
    disabled = consumer(group_id="disabled", auto_offset_reset="earliest", enable_auto_commit=False)
    read(disabled, 10)

    def committed_while_open():
        enabled.poll(timeout_ms=100)
        disabled.poll(timeout_ms=100)
        return committed("enabled") == 10

    until(committed_while_open, "a commit nobody asked for")
    open_value = committed("enabled")
    enabled.close()
    disabled.close()
    result(enabled_while_open=open_value, enabled=committed("enabled"), disabled=committed("disabled"))


def max_poll_records():
    write(100)
    reader = consumer(group_id="sipping", auto_offset_reset="earliest", max_poll_records=7)
    batches = []

    def sip():
        batches.append([r.offset for batch in reader.poll(timeout_ms=3000).values() for r in batch])
        return sum(map(len, batches)) >= 100

    until(sip, "a hundred records")
    reader.close()
    offsets = [offset for batch in batches for offset in batch]
    result(read=len(offsets), largest_batch=max(map(len, batches)), in_order=offsets == list(range(100)))


def max_poll_interval_ms():
    write(10)
    settings = dict(
        group_id="working",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=2000,
        max_poll_interval_ms=3000,
    )
    slow = consumer(**settings)
    by_slow = len(read(slow, 10))

    # While the slow one works on its batch for too long, another gets its partition and its records.
    taken = []
    over = threading.Event()

    def take_over():
        other = consumer(**settings)
        while not over.is_set():
            for batch in other.poll(timeout_ms=2000).values():
                taken.extend(batch)
        other.close()

    thread = threading.Thread(target=take_over, daemon=True)
    thread.start()
    until(lambda: len(taken) == 10, "the other has taken over")
    try:
        slow.commit()
        error = None
    except KafkaError as failure:
        error = type(failure).__name__
    over.set()
    thread.join()
    result(read_by_the_slow=by_slow, taken_over=len(taken), commit_of_the_slow=error)


{
    "group_id": group_id,
    "earliest": auto_offset_reset,
    "latest": auto_offset_reset,
    "none": auto_offset_reset,
    "enable_auto_commit": enable_auto_commit,
    "max_poll_records": max_poll_records,
    "max_poll_interval_ms": max_poll_interval_ms,
}[setting]()
producer.close()
