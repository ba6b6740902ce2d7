"""Runs the services of a compose file, each by the command that its container would run."""

import shlex
import sys
import time

import yaml
from container import COMMAND_OF_THE_IMAGE, Container, a_record_comes_back, fresh_image

with open(sys.argv[1]) as file:
    services = yaml.safe_load(file)["services"]

fresh_image()
with open("/etc/hosts", "a") as hosts:
    print("127.0.0.1 broker kafka", file=hosts)


def words(value):
    return shlex.split(value) if isinstance(value, str) else list(value or [])


def command_of(service):
    return words(service.get("entrypoint")) + words(service.get("command")) or COMMAND_OF_THE_IMAGE


def environment_of(service):
    return {key: str(value) for key, value in service.get("environment", {}).items()}


broker, init = services["kafka"], services["init-kafka"]
with Container(command_of(broker), environment_of(broker)) as container:
    check = broker["healthcheck"]
    kind, *test = check["test"]
    assert kind == "CMD-SHELL"
    for attempt in range(check["retries"]):
        code, said = container.run(["/bin/sh", "-c", *test])
        if code == 0:
            break
        assert container.process.poll() is None, "the broker has ended"
        time.sleep(float(check["interval"].rstrip("s")))
    else:
        raise AssertionError(f"it never was healthy: {said}")

    assert init["depends_on"]["kafka"]["condition"] == "service_healthy"
    with Container(command_of(init), environment_of(init)) as init_container:
        said, _ = init_container.process.communicate(timeout=60)
        said = said.decode()
        assert init_container.process.returncode == 0, said
        lines = said.splitlines()
        assert "Created topic orders." in lines, said
        assert lines[-2:] == ["orders", "orders.compacted"], said

    a_record_comes_back("localhost:9092", "orders")
    code, said = container.run(["/opt/kafka/bin/kafka-topics.sh", "--bootstrap-server", "localhost:9092", "--describe", "--topic", "orders"])
    assert code == 0 and "PartitionCount: 6" in said, said
    assert container.stop() == 0, container.log
print("done")
