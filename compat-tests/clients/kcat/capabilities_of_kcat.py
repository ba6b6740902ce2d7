"""usage: capabilities_of_kcat.py BOOTSTRAP"""

import json
import subprocess
import sys
import time

from capabilities import capability, unique

bootstrap = sys.argv[1]
NOW = int(time.time() * 1000)


def kcat(*args, given=""):
    found = subprocess.run(["kcat", "-b", bootstrap, *args], input=given, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    return found.stdout


def read(topic, *args):
    return kcat("-C", "-q", "-e", "-t", topic, "-o", "beginning", *args)


for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:

    @capability("produce " + codec)
    def _():
        topic, lines = unique("codec"), "".join("%s-%d\n" % (codec * 20, number) for number in range(50))
        kcat("-P", "-t", topic, "-p", "0", "-z", codec, given=lines)
        assert read(topic) == lines


@capability("produce idempotent")
def _():
    topic = unique("idempotent")
    kcat("-P", "-t", topic, "-X", "enable.idempotence=true", given="a\nb\n")
    assert read(topic) == "a\nb\n"


@capability("headers")
def _():
    topic = unique("headers")
    kcat("-P", "-t", topic, "-H", "a=1", "-H", "b=2", given="v\n")
    assert read(topic, "-f", "%h %s\n") == "a=1,b=2 v\n"


@capability("tombstones")
def _():
    topic = unique("tombstones")
    kcat("-P", "-t", topic, "-K", ":", "-Z", given="k:v\nk:\n")
    assert read(topic, "-f", "%k %S\n") == "k 1\nk -1\n"


@capability("empty and null keys")
def _():
    topic = unique("keys")
    kcat("-P", "-t", topic, given="a\n")
    kcat("-P", "-t", topic, "-k", "", given="b\n")
    assert read(topic, "-f", "%K %s\n").split("\n")[0] == "-1 a"


@capability("seek")
def _():
    topic = unique("seek")
    kcat("-P", "-t", topic, given="".join("%d\n" % number for number in range(10)))
    assert kcat("-C", "-q", "-e", "-t", topic, "-o", "7") == "7\n8\n9\n"
    assert kcat("-C", "-q", "-e", "-t", topic, "-o", "-2") == "8\n9\n"


@capability("consume from a time")
def _():
    topic = unique("times")
    kcat("-P", "-t", topic, given="a\nb\n")
    assert kcat("-C", "-q", "-e", "-t", topic, "-o", "s@%d" % NOW) == "a\nb\n"


@capability("offsets for times")
def _():
    topic = unique("times")
    kcat("-P", "-t", topic, "-p", "0", given="a\nb\n")
    assert "offset 0" in kcat("-Q", "-t", "%s:0:%d" % (topic, NOW)), topic


@capability("group range")
def _():
    topic = unique("group")
    kcat("-P", "-t", topic, given="a\nb\n")
    assert kcat("-q", "-c", "2", "-X", "auto.offset.reset=earliest", "-G", unique("group"), topic) == "a\nb\n"


@capability("list topics of all")
def _():
    topic = unique("listed")
    kcat("-P", "-t", topic, given="a\n")
    assert 'topic "%s" with 1 partitions' % topic in kcat("-L")
    assert topic in {found["topic"] for found in json.loads(kcat("-L", "-J"))["topics"]}


@capability("list topics of one")
def _():
    topic = unique("listed")
    kcat("-P", "-t", topic, given="a\n")
    assert 'topic "%s" with 1 partitions' % topic in kcat("-L", "-t", topic)
