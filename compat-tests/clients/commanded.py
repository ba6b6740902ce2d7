"""A client that does what it is told: a command a line in, an answer a line out, both JSON.

compat_tests::workload says what the commands are. A client's class has a method for each of them.
"""

import json
import sys


class Refused(Exception):
    """The client's answer is an error. `abort`: the transaction is not committed, and can be aborted."""

    def __init__(self, error, abort=False):
        super().__init__(str(error))
        self.abort = abort


def obey(client):
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(client, command.pop("do"))(**command)
        except Refused as refused:
            answer = {"error": str(refused), "abort": refused.abort}
        except Exception as error:  # whatever a library throws is an answer that is not known
            answer = {"error": repr(error)}
        print(json.dumps({} if answer is None else answer), flush=True)
