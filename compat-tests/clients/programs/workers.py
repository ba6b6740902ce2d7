"""What the programs share that start others beside the broker, and the client with which they look at it."""

import atexit
import json
import os
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from capabilities import until

# A virtual machine on a busy computer takes its time.
START_SECONDS = 200
temporary = tempfile.TemporaryDirectory(prefix="ottla-programs-", ignore_cleanup_errors=True)
folder = Path(temporary.name)
running = []


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def properties(file, /, **settings):
    """A file of properties; __ in a name is a dot."""
    path = folder / file
    path.write_text("".join("%s=%s\n" % (key.replace("__", "."), value) for key, value in settings.items()))
    return str(path)


class Process:
    """A program that runs beside the broker until it is stopped, at the latest with the test."""

    def __init__(self, command, name):
        self.log = folder / (name + ".log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
        running.append(self)

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(60)
        running.remove(self)

    def ensure_running(self):
        if self.process.poll() is not None:
            raise RuntimeError("it has ended with %s\n%s" % (self.process.returncode, self.tail()))

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])


class Java(Process):
    def __init__(self, main, *args, name):
        jvm = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", os.environ["CLASS_PATH"]]
        super().__init__([*jvm, main, *args], name)


def http(method, url, body=None):
    """The status and the answer's JSON, or its text."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    try:
        return status, json.loads(text) if text else None
    except ValueError:
        return status, text.decode()


def answers(url):
    try:
        return http("GET", url)[0] == 200
    except OSError:
        return False


def write(bootstrap, topic, records, **settings):
    """(key, value), (key, value, headers) or with a timestamp in ms behind; all to their own partition by key."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, **settings})
    failed = []
    for key, value, *more in records:
        headers = more[0] if more else []
        stamp = {"timestamp": more[1]} if len(more) > 1 else {}
        producer.produce(topic, value, key, headers=headers, on_delivery=lambda error, _: error and failed.append(error), **stamp)
    assert producer.flush(60) == 0 and not failed, failed


def read(bootstrap, topic, count, partitions=1, seconds=60):
    """The first records of a topic, of all its partitions, as they come; not one more is there a moment later."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "not used", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        found = []

        def polled():
            message = consumer.poll(0.2)
            if message is not None and not message.error():
                found.append(message)
            return len(found) >= count

        until(polled, "%d records in %s" % (count, topic), seconds)
        extra = consumer.poll(0.5)
        assert extra is None, extra.value()
        return found
    finally:
        consumer.close()


def stop_all():
    for process in list(running):
        process.process.kill()
        process.process.wait()


atexit.register(stop_all)
