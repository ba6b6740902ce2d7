"""Stands in for the file of this name among kafka-python's own tests, which its package leaves out: a broker's process."""

import re
import subprocess
import tempfile
import time


class SpawnedService:
    def __init__(self, args, env):
        self.args, self.env = args, env
        self.log = tempfile.TemporaryFile()

    def start(self):
        self.process = subprocess.Popen(self.args, env=self.env, stdout=self.log, stderr=subprocess.STDOUT)

    def said(self):
        self.log.seek(0)
        return self.log.read().decode()

    def wait_for(self, pattern, timeout):
        # Theirs is five seconds for Kafka, which a busy machine may not keep.
        until = time.monotonic() + 120
        while not re.search(pattern, self.said()):
            if self.process.poll() is not None or time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def stop(self):
        self.process.terminate()
        self.process.wait(60)

    def dump_logs(self):
        print(self.said())


class ExternalService:
    """A broker that is there already: not in these tests."""
