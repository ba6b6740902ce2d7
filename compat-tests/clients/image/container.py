"""Runs what a container of the image would run, without Docker: on a copy of the machine, as the image's user, in its directory."""

import os
import re
import select
import shutil
import signal
import subprocess
import time

SOURCE = os.environ["SOURCE"]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/kafka/bin"
IMAGE_ENVIRONMENT = {"PATH": PATH, "HOME": "/home/appuser", "OTTLA_KAFKA_ENV": "true"}
COMMAND_OF_THE_IMAGE = ["/etc/kafka/docker/run"]
LIMIT_SECONDS = 60


def fresh_image():
    """The files as they are when a container starts."""
    for made in ["/etc/kafka", "/etc/confluent", "/opt/kafka", "/var/lib/kafka", "/mnt/shared", "/home/appuser"]:
        shutil.rmtree(made, ignore_errors=True)
    os.makedirs("/home/appuser")
    os.chown("/home/appuser", 1000, 1000)
    shutil.copy(os.environ["BINARY"], "/usr/bin/ottla")
    subprocess.run([f"{SOURCE}/packaging/image/install", "/"], check=True)


class Container:
    """A running command, with what it has written."""

    def __init__(self, command, environment):
        self.environment = {**IMAGE_ENVIRONMENT, **environment}
        self.process = subprocess.Popen(
            command,
            env=self.environment,
            cwd="/home/appuser",
            user=1000,
            group=1000,
            extra_groups=[0],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.log = ""

    def wait_for_log(self, pattern):
        """Reads lines until one matches, as testcontainers does."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not any(re.search(pattern, line) for line in self.log.splitlines()):
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise AssertionError(f"no line {pattern!r} after {LIMIT_SECONDS} s:\n{self.log}")
            read = os.read(self.process.stdout.fileno(), 1 << 16).decode(errors="replace")
            if not read:
                raise AssertionError(f"it has ended ({self.process.wait()}) without a line {pattern!r}:\n{self.log}")
            self.log += read

    def run(self, command):
        """A command in the container, such as `docker exec` runs: its exit code and output."""
        done = subprocess.run(
            command,
            env=self.environment,
            cwd="/home/appuser",
            user=1000,
            group=1000,
            extra_groups=[0],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LIMIT_SECONDS,
        )
        return done.returncode, done.stdout.decode(errors="replace")

    def stop(self):
        """As `docker stop`: SIGTERM for the first process."""
        self.process.terminate()
        rest, _ = self.process.communicate(timeout=LIMIT_SECONDS)
        self.log += rest.decode(errors="replace")
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process.stdout.close()
        # What it has started is this process's to wait for, which is the first one here: its ports are free then.
        while True:
            try:
                os.waitpid(-self.process.pid, 0)
            except ChildProcessError:
                return


def a_record_comes_back(bootstrap, topic="topic", **security):
    from kafka import KafkaConsumer, KafkaProducer

    producer = KafkaProducer(bootstrap_servers=bootstrap, **security)
    producer.send(topic, b"value").get(timeout=20)
    producer.close()
    consumer = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=20_000, **security
    )
    assert next(consumer).value == b"value"
    consumer.close()
