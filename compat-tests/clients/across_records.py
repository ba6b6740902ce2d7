"""What every client writes in the tests across clients, and how one that reads tells it."""

import select
import sys

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
RECORDS = [
    (None, b"a null key", []),
    (b"", b"an empty key", []),
    (b"key", None, []),
    (b"key", b"", []),
    ("k\u00e9y".encode(), b"headers " * 20, [("a", b"1"), ("a", b"2"), ("empty", b"")]),
]


def line(topic, offset, timestamp, key, value, headers):
    """Bytes in hexadecimal digits, null as null."""
    headers = ",".join("%s=%s" % (name, digits(value)) for name, value in headers)
    print(topic, offset, timestamp, digits(key), digits(value), "[%s]" % headers)


def digits(value):
    return "null" if value is None else "x" + bytes(value).hex()


def stopped():
    return bool(select.select([sys.stdin], [], [], 0)[0])
