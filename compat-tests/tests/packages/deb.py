"""Installs the package, looks at what it brings, runs what its unit runs, and removes it. As root on a copy of the machine."""

import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import urllib.request


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"{command}: {done.returncode}\n{said}"
    return said


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


run("dpkg", "--no-triggers", "--install", sys.argv[1])
version = run("dpkg-query", "--show", "--showformat=${Version}", "ottla")
assert run("ottla", "--version").split() == ["ottla", version], version
user = pwd.getpwnam("ottla")
assert user.pw_shell == "/usr/sbin/nologin" and user.pw_uid < 1000, user
files = run("dpkg-query", "--listfiles", "ottla").splitlines()
for file in files:
    status = os.stat(file)
    assert (status.st_uid, status.st_gid) == (0, 0) and not status.st_mode & 0o022, file
assert mode("/usr/bin/ottla") == 0o755

# The manual is one that man can show, and shells take the completions.
page = run("sh", "-c", "zcat /usr/share/man/man1/ottla.1.gz | groff -man -Tutf8 -ww -P-c -P-b -P-u")
assert "OTTLA(1)" in page.upper() and "--data-dir" in page and "warning" not in page, page
run("bash", "-c", "source /usr/share/bash-completion/completions/ottla && complete -p ottla")
for completions in ["/usr/share/zsh/vendor-completions/_ottla", "/usr/share/fish/vendor_completions.d/ottla.fish"]:
    assert "data-dir" in open(completions).read(), completions

unit = "/usr/lib/systemd/system/ottla.service"
lines = dict(line.split("=", 1) for line in open(unit) if "=" in line and not line.startswith("#"))
lines = {key: value.strip() for key, value in lines.items()}
if shutil.which("systemd-analyze"):
    said = run("systemd-analyze", "verify", "--man=no", unit)
    assert "ottla" not in said, said

# What systemd does for Type=notify, StateDirectory and User.
os.mkdir("/var/lib/" + lines["StateDirectory"], int(lines["StateDirectoryMode"], 8))
os.chown("/var/lib/" + lines["StateDirectory"], user.pw_uid, user.pw_gid)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
    told.bind("/tmp/notify")
    os.chmod("/tmp/notify", 0o777)
    told.settimeout(60)
    service = subprocess.Popen(
        lines["ExecStart"].split(),
        env={"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": "/tmp/notify"},
        user=lines["User"],
        group=lines["Group"],
        extra_groups=[],
        cwd="/",
    )
    said = []
    while not any("READY=1" in each for each in said):
        said.append(told.recv(4096).decode())
    socket.create_connection(("localhost", 9092), 10).close()
    metrics = urllib.request.urlopen("http://127.0.0.1:9404/metrics", timeout=10).read().decode()
    assert "ottla_" in metrics, metrics
    service.terminate()
    while not any("STOPPING=1" in each for each in said):
        said.append(told.recv(4096).decode())
    assert service.wait(60) == 0
assert os.stat("/var/lib/ottla/data").st_uid == user.pw_uid and mode("/var/lib/ottla/data") == 0o700

# What was changed survives a new version; a purge leaves the data alone.
with open("/etc/ottla/server.properties", "a") as properties:
    properties.write("num.partitions=3\n")
run("dpkg", "--no-triggers", "--force-confold", "--install", sys.argv[1])
assert "num.partitions=3" in open("/etc/ottla/server.properties").read()
run("dpkg", "--no-triggers", "--purge", "ottla")
left = [file for file in files if not os.path.isdir(file) and os.path.exists(file)]
assert left == [], left
assert os.path.isdir("/var/lib/ottla/data")
print("done")
