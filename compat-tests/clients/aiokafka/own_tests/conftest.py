"""Stands in for the file of this name among aiokafka's own tests, which starts Kafka in a container: a broker is there already.

Left out is what wants no broker, and tickets of Kerberos, which are tried elsewhere.
"""

import asyncio
import gc
import os
import pathlib
import subprocess

import pytest

HOST, PORT = os.environ["BOOTSTRAP"].split(":")
# The last one talks to no broker, and fails on a machine that is busy for twenty ms.
LEFT_OUT = {
    "test_sasl_plaintext_gssapi",
    "test_admin_client_sasl_plaintext_gssapi",
    "test_coordinator__heartbeat_routine",
}


def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if "setup_test_class" in item.fixturenames and item.name not in LEFT_OUT]


def ottla(*words, **environment):
    command = [os.environ["OTTLA_BIN"], *words, "--bootstrap", f"{HOST}:{PORT}"]
    subprocess.run(command, env={**os.environ, **environment}, check=True)


class Acls:
    def __init__(self):
        self.added = []

    def list_acl(self):
        ottla("acls", "list")

    def add_acl(self, operation, allow_principal=None, deny_principal=None, **resource):
        ((kind, name),) = resource.items()
        kind = kind.replace("_", "-")
        entry = ["--principal", f"User:{allow_principal or deny_principal}", "--operation", operation.lower()]
        entry += ["--resource", "cluster" if kind == "cluster" else f"{kind}:{name}"]
        ottla("acls", "add", *entry, *(["--deny"] if deny_principal else []))
        self.added.append([*entry, "--deny=true" if deny_principal else "--deny=false"])

    def cleanup(self):
        for entry in self.added:
            ottla("acls", "remove", *entry)
        self.added.clear()


class Users:
    def add_scram_user(self, name, password):
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            ottla("users", "add", name, "--mechanism", mechanism, **{f"OTTLA_PASSWORD_{name.upper()}": password})


def pytest_runtest_teardown():
    # What a test has left open is a warning in this test then, not in another.
    gc.collect()


@pytest.fixture(scope="class")
def loop():
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture(scope="class")
def setup_test_class(request, loop):
    test = request.cls
    test.loop = loop
    test.kafka_version = os.environ["KAFKA_VERSION"]
    test.kafka_host, test.kafka_port = HOST, int(PORT)
    test.hosts = [f"{HOST}:{PORT}"]
    test.kafka_ssl_port = int(os.environ["SSL_PORT"])
    test.kafka_sasl_plain_port = int(os.environ["SASL_PORT"])
    test.ssl_folder = pathlib.Path("tests/ssl_cert")
    test.acl_manager = Acls()
    test.kafka_config = Users()


@pytest.fixture(scope="class")
def setup_test_class_serverless(request, loop):
    request.cls.loop = loop
