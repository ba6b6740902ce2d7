"""usage: capabilities_of_quix.py BOOTSTRAP"""

import sys
import tempfile

from quixstreams import Application

from capabilities import capability, unique

bootstrap = sys.argv[1]


def application(group=None, **config):
    return Application(
        broker_address=bootstrap,
        consumer_group=group or unique("quix"),
        auto_offset_reset="earliest",
        state_dir=tempfile.mkdtemp(),
        loglevel="ERROR",
        consumer_extra_config={"fetch.wait.max.ms": 50},
        **config,
    )


def produce(app, topic, count):
    with app.get_producer() as producer:
        for number in range(count):
            message = topic.serialize(key="key-%d" % (number % 2), value={"number": number})
            producer.produce(topic=topic.name, key=message.key, value=message.value)


def read(topic, count):
    app = application()
    seen = []
    app.dataframe(app.topic(topic, value_deserializer="json")).update(seen.append)
    app.run(count=count, timeout=30)
    assert len(seen) == count, seen
    return seen


@capability("produce and consume")
def _():
    app = application()
    topic = app.topic(unique("plain"), value_serializer="json")
    produce(app, topic, 20)
    assert [value["number"] for value in read(topic.name, 20)] == list(range(20))


@capability("a stream from topic to topic")
def _():
    app = application()
    source, target = (app.topic(unique(name), value_serializer="json", value_deserializer="json") for name in ("source", "target"))
    produce(app, source, 10)
    app.dataframe(source).apply(lambda value: {"number": value["number"] * 2}).to_topic(target)
    app.run(count=10, timeout=30)
    assert sorted(value["number"] for value in read(target.name, 10)) == list(range(0, 20, 2))


@capability("a stream with state, and its changelog")
def _():
    app = application()
    source = app.topic(unique("state"), value_serializer="json", value_deserializer="json")
    produce(app, source, 10)
    totals = []

    def count(value, state):
        total = state.get("total", 0) + 1
        state.set("total", total)
        return total

    app.dataframe(source).apply(count, stateful=True).update(totals.append)
    app.run(count=10, timeout=30)
    assert sorted(totals) == sorted([1, 2, 3, 4, 5] * 2), totals


@capability("a stream goes on where it has committed")
def _():
    group, name, seen = unique("quix"), unique("resumed"), []
    for _ in range(2):
        app = application(group)
        topic = app.topic(name, value_serializer="json", value_deserializer="json")
        produce(app, topic, 5)
        app.dataframe(topic).update(lambda value: seen.append(value["number"]))
        app.run(count=5, timeout=30)
    assert seen == [0, 1, 2, 3, 4] * 2, seen
