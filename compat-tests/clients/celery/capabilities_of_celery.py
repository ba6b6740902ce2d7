"""Celery over confluent-kafka: tasks go through a topic to a worker.  usage: capabilities_of_celery.py BOOTSTRAP"""

import atexit
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from capabilities import capability, until

os.environ["BOOTSTRAP"] = sys.argv[1]
temporary = tempfile.TemporaryDirectory(prefix="ottla-celery-", ignore_cleanup_errors=True)
results = Path(temporary.name)
os.environ["RESULTS"] = str(results)
sys.path.insert(0, str(Path(__file__).parent))
import tasks

options = ["--pool=solo", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=INFO"]


def start():
    with open(results / "worker.log", "ab") as log:
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", *options]
        return subprocess.Popen(command, cwd=Path(__file__).parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def done():
    path = results / "done.txt"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


@capability("a task is taken before there is a worker")
def _():
    global first
    first = tasks.add.delay(1000, 1)


worker = start()
atexit.register(lambda: worker.kill())


@capability("a worker runs it")
def _():
    assert first.get(timeout=80) == 1001


@capability("many tasks run, each once and in order")
def _():
    sent = [tasks.add.delay(number, 2) for number in range(50)]
    assert [task.get(timeout=80) for task in sent] == [number + 2 for number in range(50)]
    assert done() == [1000, *range(50)]


@capability("a task is tried again")
def _():
    assert tasks.third_time.delay().get(timeout=80) == 2


@capability("a worker that is started again goes on behind what was done")
def _():
    global worker
    worker.send_signal(signal.SIGTERM)
    worker.wait(60)
    sent = [tasks.add.delay(number, 3) for number in range(100, 110)]
    worker = start()
    assert [task.get(timeout=80) for task in sent] == [number + 3 for number in range(100, 110)]
    assert done() == [1000, *range(50), *range(100, 110)]
