"""Debezium, on Connect: the rows of PostgreSQL become records.  usage: debezium.py POSTGRES_BIN BOOTSTRAP"""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from capabilities import capability, until
from workers import START_SECONDS, Java, Process, answers, folder, free_port, http, properties, read

programs, bootstrap = Path(sys.argv[1]), sys.argv[2]
rest, port = "http://127.0.0.1:%d" % free_port(), free_port()
topic = "shop.public.customers"
# PostgreSQL refuses to run as root.
user = "postgres" if os.getuid() == 0 else None
temporary = tempfile.TemporaryDirectory(prefix="ottla-postgres-", ignore_cleanup_errors=True)
data = Path(temporary.name)
if user:
    shutil.chown(data, user)


class Postgres(Process):
    def __init__(self):
        initdb = [programs / "initdb", "-D", data / "data", "-U", "postgres", "-A", "trust", "--no-locale", "-E", "UTF8"]
        subprocess.run(initdb, cwd=data, user=user, check=True, stdout=subprocess.DEVNULL)
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "wal_level": "logical"}
        options = [option for name, value in settings.items() for option in ("-c", "%s=%s" % (name, value))]
        # Without root's folder as its own.
        command = ["setpriv", "--reuid", user, "--regid", str(pwd.getpwnam(user).pw_gid), "--clear-groups"] if user else []
        super().__init__([*command, programs / "postgres", "-D", data / "data", *options], "postgres")
        until(lambda: sql("select 1", check=False) == "1", "PostgreSQL answers", START_SECONDS)


def sql(text, check=True):
    command = [programs / "psql", "-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, cwd=data)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout.strip()


worker_file = properties(
    "worker.properties",
    bootstrap__servers=bootstrap,
    key__converter="org.apache.kafka.connect.json.JsonConverter",
    key__converter__schemas__enable="false",
    value__converter="org.apache.kafka.connect.json.JsonConverter",
    value__converter__schemas__enable="false",
    offset__storage__file__filename=folder / "offsets",
    offset__flush__interval__ms=500,
    listeners=rest,
    plugin__discovery="service_load",
)
connector = properties(
    "shop.properties",
    name="shop",
    connector__class="io.debezium.connector.postgresql.PostgresConnector",
    plugin__name="pgoutput",
    database__hostname="127.0.0.1",
    database__port=port,
    database__user="postgres",
    database__password="not asked for",
    database__dbname="postgres",
    topic__prefix="shop",
    table__include__list="public.customers",
    publication__autocreate__mode="filtered",
)


def start():
    worker = Java("org.apache.kafka.connect.cli.ConnectStandalone", worker_file, connector, name="worker")

    def runs():
        worker.ensure_running()
        if not answers(rest + "/connectors/shop/status"):
            return False
        tasks = http("GET", rest + "/connectors/shop/status")[1]["tasks"]
        return tasks and tasks[0]["state"] == "RUNNING"

    until(runs, "the connector runs", START_SECONDS)
    return worker


def changes(count):
    """Operation, and what the row is then; a tombstone is None."""
    found = []
    for message in read(bootstrap, topic, count):
        value = message.value() and json.loads(message.value())
        found.append(value and (value["op"], value["after"] and value["after"]["name"]))
    return found


postgres = Postgres()
sql("create table customers (id int primary key, name text not null)")
sql("alter table customers replica identity full")
sql("insert into customers values (1, 'Anna'), (2, 'Bela'), (3, 'Češka')")
worker = start()
snapshot = [("r", "Anna"), ("r", "Bela"), ("r", "Češka")]
changed = [("c", "Dora"), ("u", "Doris"), ("d", None), None]
later = [("c", "row %d" % number) for number in range(100, 120)]


@capability("rows that are there are read")
def _():
    assert changes(3) == snapshot


@capability("inserts, updates and deletes follow, and a tombstone")
def _():
    sql("insert into customers values (4, 'Dora')")
    sql("update customers set name = 'Doris' where id = 4")
    sql("delete from customers where id = 4")
    assert changes(7) == snapshot + changed


@capability("started again, it misses no change")
def _():
    global worker
    worker.stop()
    sql("insert into customers select number, 'row ' || number from generate_series(100, 119) number")
    worker = start()
    found = changes(27)
    assert found == snapshot + changed + later, found


worker.stop()
postgres.stop()
