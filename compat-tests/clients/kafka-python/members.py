"""Members of a group as processes of their own, so that one can die without a goodbye."""

import json
import os
import subprocess
import sys
import threading

from support import progress, until

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "group_member.py")


class Member:
    def __init__(self, bootstrap, group, topics, name, assignor="range"):
        self.name = name
        self.killed = False
        self.owned = set()
        self.generation = None
        self.assignments = []  # (generation, partitions)
        self.reads = []  # (partition, offset, generation), in the order of reading
        command = [sys.executable, "-u", PROGRAM, bootstrap, group, ",".join(topics), name, assignor]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.reader = threading.Thread(target=self.listen, daemon=True)
        self.reader.start()

    def listen(self):
        for line in self.process.stdout:
            event = json.loads(line)
            if "assigned" in event:
                self.generation = event["generation"]
                self.owned = {tuple(partition) for partition in event["assigned"]}
                self.assignments.append((self.generation, self.owned))
            elif "revoked" in event:
                self.generation, self.owned = None, set()
            elif "read" in event:
                partition = (event["topic"], event["partition"])
                self.reads.extend((partition, offset, self.generation) for offset in event["read"])

    def leave(self):
        """Says goodbye: the others need not wait for a time-out."""
        self.process.terminate()
        if self.process.wait(timeout=60) != 0:
            raise SystemExit("%s did not leave in good order" % self.name)
        self.reader.join()

    def die(self):
        self.killed = True
        self.process.kill()
        self.process.wait()
        self.reader.join()


def wait_stable(members, partitions):
    """Waits until these members, and no others, own all partitions between them in one generation."""

    def stable():
        for member in members:
            if member.process.poll() is not None:
                raise SystemExit("%s has ended: %s" % (member.name, member.process.returncode))
        generations = {member.generation for member in members}
        owned = [partition for member in members for partition in member.owned]
        return len(generations) == 1 and generations != {None} and sorted(owned) == sorted(partitions)

    names = ", ".join(member.name for member in members)
    until(stable, "a stable group of " + names)
    progress("stable: " + names)
