"""Without pytest: two brokers at once, a start that is refused, and a process that is killed."""

import json
import os
import signal
import sys
import time

import ottla


def plain():
    began = time.monotonic()
    with ottla.Broker({"num.partitions": 3}) as first:
        seconds = time.monotonic() - began
        with ottla.Broker() as second:
            assert first.bootstrap != second.bootstrap
            pids = [first.pid, second.pid]
    try:
        ottla.Broker({"num.partitions": "many"}).start()
        refused = ""
    except RuntimeError as error:
        refused = str(error)
    again = ottla.Broker()
    again.start()
    again.stop()
    again.start()
    again.stop()
    print(json.dumps({"start_seconds": seconds, "pids": pids, "refused": refused, "binary": ottla.find_binary()}))


def killed():
    broker = ottla.Broker().start()
    print(broker.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


{"plain": plain, "killed": killed}[sys.argv[1]]()
