"""Starts the image as testcontainers' modules do: their environment, their command, the script that they copy in when they know the
port, and the line that they wait for. As the modules were in summer 2026; the old ones of Java and Python begin with a ZooKeeper."""

import json
import os
import subprocess
import sys
import time
from textwrap import dedent

from container import Container, a_record_comes_back, fresh_image

# What all modules set, more or less.
COMMON = {
    "KAFKA_INTER_BROKER_LISTENER_NAME": "BROKER",
    "KAFKA_BROKER_ID": "1",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_LOG_FLUSH_INTERVAL_MESSAGES": "9223372036854775807",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
}


def kraft(external, internal, host="0.0.0.0", voter="localhost", **further):
    return {
        **COMMON,
        "KAFKA_LISTENERS": f"PLAINTEXT://{host}:{external},BROKER://{host}:{internal},CONTROLLER://{host}:9094",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_NODE_ID": "1",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@{voter}:9094",
        **further,
    }


def zookeeper(**further):
    return {
        **COMMON,
        "KAFKA_LISTENERS": "PLAINTEXT://0.0.0.0:9093,BROKER://0.0.0.0:9092",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        **further,
    }


# With a listener for those who log in; the user comes with the format.
KEYSTORE = "/etc/kafka/secrets/server.keystore.pfx"
SECURE = {
    "KAFKA_LISTENERS": "SECURE://0.0.0.0:9096,PLAINTEXT://0.0.0.0:9093,BROKER://0.0.0.0:9092,CONTROLLER://0.0.0.0:9094",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT",
    "KAFKA_SSL_PROTOCOL": "TLSv1.2",
    "KAFKA_SSL_KEYSTORE_LOCATION": KEYSTORE,
    "KAFKA_SSL_KEYSTORE_PASSWORD": "serverKeystorePassword",
    "KAFKA_SSL_KEYSTORE_TYPE": "PKCS12",
    "KAFKA_SASL_ENABLED_MECHANISMS": "SCRAM-SHA-512",
    "KAFKA_LISTENER_NAME_SECURE_SCRAM-SHA-512_SASL_JAAS_CONFIG": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
}


def make_keystore():
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", "/tmp/key.pem", "-out", "/tmp/certificate.pem"],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    subprocess.run(
        ["openssl", "pkcs12", "-export", "-inkey", "/tmp/key.pem", "-in", "/tmp/certificate.pem", "-out", KEYSTORE,
         "-passout", "pass:serverKeystorePassword"],
        check=True,
    )  # fmt: skip
    os.chmod(KEYSTORE, 0o644)


def waiting(script, run=None):
    return ["-c", f"while [ ! -f {script} ]; do sleep 0.1; done; {run or script}"]


STARTER = "/tmp/testcontainers_start.sh"
CLUSTER = "4L6g3nShT-eMCtK--X86sw"
WITH_ZOOKEEPER = """
    echo 'clientPort=2181' > zookeeper.properties
    echo 'dataDir=/var/lib/zookeeper/data' >> zookeeper.properties
    echo 'dataLogDir=/var/lib/zookeeper/log' >> zookeeper.properties
    zookeeper-server-start zookeeper.properties &
    """

# name: environment, command, script, its text, the line that is waited for, the port of clients
MODULES = {
    "Java, KafkaContainer": (
        kraft(9092, 9093, CLUSTER_ID=CLUSTER),
        ["sh", *waiting(STARTER)],
        STARTER,
        """\
        #!/bin/bash
        export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://localhost:9092,BROKER://vm:9093
        /etc/kafka/docker/run
        """,
        r".*Transitioning from RECOVERY to RUNNING.*",
        9092,
    ),
    "Java, ConfluentKafkaContainer": (
        kraft(9092, 9093, CLUSTER_ID=CLUSTER),
        ["sh", *waiting(STARTER)],
        STARTER,
        """\
        #!/bin/bash
        export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://localhost:9092,BROKER://vm:9093
        /etc/confluent/docker/run
        """,
        r".*Transitioning from RECOVERY to RUNNING.*",
        9092,
    ),
    "Java, the old one": (
        zookeeper(KAFKA_ZOOKEEPER_CONNECT="localhost:2181"),
        ["sh", *waiting(STARTER)],
        STARTER,
        """\
        #!/bin/bash
        export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://localhost:9093,BROKER://vm:9092
        echo '' > /etc/confluent/docker/ensure
        """
        + WITH_ZOOKEEPER
        + """
        /etc/confluent/docker/run
        """,
        r".*\[KafkaServer id=\d+\] started.*",
        9093,
    ),
    "Java, the old one with KRaft": (
        kraft(9093, 9092, CLUSTER_ID=CLUSTER),
        ["sh", *waiting(STARTER)],
        STARTER,
        f"""\
        #!/bin/bash
        export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://localhost:9093,BROKER://vm:9092
        echo '' > /etc/confluent/docker/ensure
        sed -i '/KAFKA_ZOOKEEPER_CONNECT/d' /etc/confluent/docker/configure
        echo 'kafka-storage format --ignore-formatted -t "{CLUSTER}" -c /etc/kafka/kafka.properties' >> /etc/confluent/docker/configure
        /etc/confluent/docker/run
        """,
        r".*Transitioning from RECOVERY to RUNNING.*",
        9093,
    ),
    "Go": (
        kraft(
            9093,
            9092,
            KAFKA_REST_BOOTSTRAP_SERVERS="PLAINTEXT://0.0.0.0:9093,BROKER://0.0.0.0:9092,CONTROLLER://0.0.0.0:9094",
        ),
        ["sh", *waiting("/usr/sbin/testcontainers_start.sh", "bash /usr/sbin/testcontainers_start.sh")],
        "/usr/sbin/testcontainers_start.sh",
        """\
        #!/bin/bash
        source /etc/confluent/docker/bash-config
        export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://localhost:9093,BROKER://vm:9092
        echo Starting Kafka KRaft mode
        sed -i '/KAFKA_ZOOKEEPER_CONNECT/d' /etc/confluent/docker/configure
        echo 'kafka-storage format --ignore-formatted -t "$(kafka-storage random-uuid)" -c /etc/kafka/kafka.properties' >> /etc/confluent/docker/configure
        echo '' > /etc/confluent/docker/ensure
        /etc/confluent/docker/configure
        /etc/confluent/docker/launch
        """,
        r".*Transitioning from RECOVERY to RUNNING.*",
        9093,
    ),
    "Python": (
        zookeeper(),
        ["sh", *waiting("/tc-start.sh", "sh /tc-start.sh")],
        "/tc-start.sh",
        "#!/bin/bash\n"
        + WITH_ZOOKEEPER
        + """
        export KAFKA_ZOOKEEPER_CONNECT='localhost:2181'
        export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://localhost:9093,BROKER://$(hostname -i):9092
        . /etc/confluent/docker/bash-config
        /etc/confluent/docker/configure
        /etc/confluent/docker/launch
        """,
        r".*\[KafkaServer id=\d+\] started.*",
        9093,
    ),
    "Python with KRaft": (
        kraft(9093, 9092, CLUSTER_ID="MkU3OEVBNTcwNTJENDM2Qk", KAFKA_LOG_FLUSH_INTERVAL_MESSAGES="10000000"),
        ["sh", *waiting("/tc-start.sh", "sh /tc-start.sh")],
        "/tc-start.sh",
        """\
        #!/bin/bash
        sed -i '/KAFKA_ZOOKEEPER_CONNECT/d' /etc/confluent/docker/configure
        echo 'kafka-storage format --ignore-formatted -t MkU3OEVBNTcwNTJENDM2Qk -c /etc/kafka/kafka.properties' >> /etc/confluent/docker/configure
        export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://localhost:9093,BROKER://$(hostname -i):9092
        . /etc/confluent/docker/bash-config
        /etc/confluent/docker/configure
        /etc/confluent/docker/launch
        """,
        r".*Kafka Server started.*",
        9093,
    ),
    "Node.js": (
        kraft(
            9093,
            9092,
            CLUSTER_ID=CLUSTER,
            KAFKA_CONFLUENT_SUPPORT_METRICS_ENABLE="false",
            KAFKA_ADVERTISED_LISTENERS="BROKER://localhost:9092",
        ),
        ["sh", "-c", f"echo 'Waiting for script...'; while [ ! -f {STARTER} ]; do sleep 0.1; done; {STARTER}"],
        STARTER,
        """\
        #!/bin/bash
        export KAFKA_ADVERTISED_LISTENERS=BROKER://vm:9092,PLAINTEXT://localhost:9093
        /etc/confluent/docker/run
        """,
        r"Transitioning from RECOVERY to RUNNING",
        9093,
    ),
    "Node.js with SASL_SSL": (
        {**kraft(9093, 9092, CLUSTER_ID=CLUSTER), **SECURE},
        ["sh", *waiting(STARTER)],
        STARTER,
        f"""\
        #!/bin/bash
        export KAFKA_ADVERTISED_LISTENERS=BROKER://vm:9092,PLAINTEXT://localhost:9093,SECURE://localhost:9096
        echo 'kafka-storage format --ignore-formatted -t "{CLUSTER}" -c /etc/kafka/kafka.properties --add-scram "SCRAM-SHA-512=[name=app-user,password=userPassword]"' >> /etc/confluent/docker/configure
        /etc/confluent/docker/run
        """,
        r"Transitioning from RECOVERY to RUNNING",
        9093,
    ),
    ".NET": (
        kraft(9092, 9093, host="", CLUSTER_ID=CLUSTER),
        ["/bin/sh", *waiting("/testcontainers.sh")],
        "/testcontainers.sh",
        """\
        #!/bin/bash
        export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://127.0.0.1:9092,BROKER://127.0.0.1:9093,
        exec /etc/kafka/docker/run
        """,
        r".*Transitioning from RECOVERY to RUNNING.*",
        9092,
    ),
    ".NET, Confluent's image": (
        {**kraft(9092, 9093, host="", CLUSTER_ID=CLUSTER), "KAFKA_ZOOKEEPER_CONNECT": "localhost:2181"},
        ["/bin/sh", *waiting("/testcontainers.sh")],
        "/testcontainers.sh",
        """\
        #!/bin/bash
        echo '' > /etc/confluent/docker/ensure
        """
        + WITH_ZOOKEEPER
        + """
        export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://127.0.0.1:9092,BROKER://127.0.0.1:9093,
        exec /etc/confluent/docker/run
        """,
        r"\[KafkaServer id=\d+\] started",
        9092,
    ),
    "Rust": (
        kraft(
            9092,
            9093,
            CLUSTER_ID="5L6g3nShT-eMCtK--X86sw",
            KAFKA_ADVERTISED_LISTENERS="PLAINTEXT://localhost:9092,BROKER://localhost:9092",
        ),
        ["bash", *waiting("/opt/kafka/testcontainers_start.sh", "chmod 755 /opt/kafka/testcontainers_start.sh && /opt/kafka/testcontainers_start.sh")],
        "/opt/kafka/testcontainers_start.sh",
        """\
        #!/usr/bin/env bash
        export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://127.0.0.1:9092,BROKER://localhost:9093
        /etc/kafka/docker/run
        """,
        r"Kafka Server started",
        9092,
    ),
}


def copy_in(container, name, path, text):
    """As the daemon does, so as root; the module of Rust has the container's user write it."""
    text = dedent(text) if text.startswith(" ") else "\n".join(line.strip() for line in text.splitlines()) + "\n"
    if name == "Rust":
        code, said = container.run(["sh", "-c", f"echo '{text}' > {path}"])
        assert code == 0, said
        return
    part = path + ".part"
    with open(part, "w") as file:
        file.write(text)
    os.chmod(part, 0o777)
    os.rename(part, path)


def start(name):
    environment, command, path, text, line, port = MODULES[name]
    fresh_image()
    is_secure = "KAFKA_SSL_PROTOCOL" in environment
    if is_secure:
        make_keystore()
    if os.path.exists(path):
        os.remove(path)
    with Container(command, environment) as container:
        copy_in(container, name, path, text)
        began = time.monotonic()
        container.wait_for_log(line)
        seconds = time.monotonic() - began
        a_record_comes_back(f"localhost:{port}")
        if is_secure:
            a_record_comes_back(
                "localhost:9096",
                "secured",
                security_protocol="SASL_SSL",
                ssl_cafile="/tmp/certificate.pem",
                sasl_mechanism="SCRAM-SHA-512",
                sasl_plain_username="app-user",
                sasl_plain_password="userPassword",
            )
        assert "meta.properties" in os.listdir("/var/lib/kafka/data/ottla-data"), container.log
        return seconds


seconds = {}
for module in MODULES:
    try:
        seconds[module] = round(start(module), 2)
    except Exception as error:
        error.add_note(f"as the module of {module} starts it")
        raise
json.dump(seconds, sys.stdout)
print()
