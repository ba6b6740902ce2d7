"""What a client can do, one line of JSON each: {"capability": "produce gzip", "ok": true}, or with "ok": false and "error".

A program names each thing that its client can do, does it as a user would, and checks what came back:

    @capability("produce gzip")
    def _():
        ...  # or async def

CAPABILITY=text in the environment: only those whose names begin so.
"""

import asyncio
import inspect
import json
import os
import signal
import sys
import time
import traceback

LIMIT_SECONDS = 90
names = []


def capability(name):
    """Runs the function below it at once; where it raises, or does not come back, the capability has failed."""

    def run(function):
        names.append(name)
        if not name.startswith(os.environ.get("CAPABILITY", "")):
            return function
        line = {"capability": name, "ok": True}
        signal.alarm(LIMIT_SECONDS)
        began = time.monotonic()
        try:
            asyncio.run(function()) if inspect.iscoroutinefunction(function) else function()
        except Exception as error:
            line.update(ok=False, error="%s: %s" % (type(error).__name__, error))
            traceback.print_exc()
        finally:
            signal.alarm(0)
        print("%6.2f s %s" % (time.monotonic() - began, name), file=sys.stderr)
        print(json.dumps(line), flush=True)
        return function

    return run


def late(signum, frame):
    raise TimeoutError("no answer in %d s" % LIMIT_SECONDS)


def all_public_calls(area, *types, leaving_out=()):
    """The list is complete: every public method of the types has a capability "AREA method ...".

    leaving_out: methods that ask the broker nothing.
    """

    @capability(area + ": every public call is tried")
    def _():
        tried = {name.split()[1] for name in names if name.startswith(area + " ")}
        public = {
            name
            for kind in types
            for name, _ in inspect.getmembers(kind, callable)
            if not name.startswith("_") and name != "DEFAULT_CONFIG"
        }
        assert public - tried <= set(leaving_out), sorted(public - tried - set(leaving_out))


def unique(name):
    """A name that no other program takes that uses the same broker."""
    return "%s-%s" % (name, os.urandom(4).hex())


def until(condition, what, seconds=45):
    """Asks again until it is so, and gives what the condition gave."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError("not in %d s: %s" % (seconds, what))
        time.sleep(0.02)


signal.signal(signal.SIGALRM, late)
