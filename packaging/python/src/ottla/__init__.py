"""A broker for tests: starts in milliseconds, on a free port, and leaves nothing behind."""

import os
import re
import select
import shutil
import subprocess
import sysconfig
import tempfile
import time

__all__ = ["Broker", "find_binary"]


def find_binary():
    """The path of the broker's program: `OTTLA_BIN`, or what was installed with this package, or one on the PATH."""
    given = os.environ.get("OTTLA_BIN")
    if given:
        return given
    schemes = [sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user")]
    for scheme in schemes:
        path = os.path.join(sysconfig.get_path("scripts", scheme), "ottla")
        if os.access(path, os.X_OK):
            return path
    found = shutil.which("ottla")
    if found:
        return found
    raise FileNotFoundError("the program ottla is neither beside this package nor on the PATH; OTTLA_BIN may name it")


class Broker:
    """A broker of its own, for `with`, or with `start()` and `stop()`.

    `config` are Kafka's server properties, `args` further arguments of the command line. The broker stops with the
    process that has started it, however that ends.
    """

    def __init__(self, config=None, *, args=(), timeout=30.0):
        self._config = dict(config or {})
        self._args = list(args)
        self._timeout = timeout
        self._process = None
        self._log = None
        self._bootstrap = None

    @property
    def bootstrap(self):
        """Where clients connect: `host:port`."""
        if self._bootstrap is None:
            raise RuntimeError("the broker has not been started")
        return self._bootstrap

    @property
    def pid(self):
        """The process that serves."""
        return self._process.pid

    def log(self, since=0):
        """What the broker has logged, from the byte `since` on."""
        if self._log is None:
            return ""
        with open(self._log.name, "rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    def log_size(self):
        """How many bytes it has logged."""
        return os.path.getsize(self._log.name) if self._log else 0

    def start(self):
        if self._process is not None:
            raise RuntimeError("the broker has been started already")
        overrides = [f"--override={key}={_text(value)}" for key, value in self._config.items()]
        command = [find_binary(), "--ephemeral", "--listen", "127.0.0.1:0", "--stop-with-stdin"]
        self._log = tempfile.NamedTemporaryFile(prefix="ottla-", suffix=".log")
        self._process = subprocess.Popen(
            [*command, *overrides, *self._args],
            # It ends when the other end of this pipe is closed, which the system does when this process is gone.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # Ctrl-C ends the tests first, and they end the broker.
            start_new_session=True,
        )
        try:
            line = self._first_line().decode()
            told = re.search(r"clients connect to ([^;]+);", line)
            if not told:
                raise RuntimeError(f"the broker does not say where clients connect: {line}")
            self._bootstrap = told[1].replace(" ", "")
        except BaseException:
            self.stop()
            raise
        return self

    def _first_line(self):
        """The line with which it says that it serves."""
        deadline = time.monotonic() + self._timeout
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise TimeoutError(f"the broker was not ready after {self._timeout} s; it logged:\n{self.log()}")
            read = os.read(self._process.stdout.fileno(), 4096)
            if not read:
                code = self._process.wait()
                raise RuntimeError(f"the broker did not start (exit code {code}); it logged:\n{self.log()}")
            line += read
        return line

    def stop(self):
        """Stops it and removes its data; a broker that is stopped can be started anew."""
        process, log = self._process, self._log
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=self._timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdin.close()
        process.stdout.close()
        log.close()
        self._process = self._log = self._bootstrap = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def _text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)
