#!/usr/bin/env python3
"""SMTP as Postfix's own tools measure it, ours and Postfix's, in turn in one run. See benches/README.md.

    benches/compare/smtp_postfix.py [--messages N] [--rounds N]

Two races under `smtp-source`: a server that discards everything beside `smtp-sink`; and mail taken until it is durable, by
the example server beside Postfix. Needs the Debian package postfix, root (Postfix starts as root), strace for the syncs,
and release builds: `cargo build --release -p mailserver` and
`cargo build --release -p benches --features servers --bin smtp-discard`. All servers run in a temporary folder, on free
loopback ports, with configurations made here, and are ended by their process ids.
"""

import argparse
import os
import pathlib
import pwd
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICK = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until_it_listens(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nothing listens on port {port}")


def processes(root: int) -> dict[int, int]:
    """Ticks of a process and all below it, those of ended children included."""
    rows = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = pathlib.Path("/proc", name, "stat").read_text()
        except OSError:
            continue
        fields = text[text.rindex(")") + 2 :].split()
        rows[int(name)] = (int(fields[1]), sum(int(field) for field in fields[11:15]))
    ours, grown = {root}, True
    while grown:
        more = {pid for pid, (parent, _) in rows.items() if parent in ours} - ours
        ours |= more
        grown = bool(more)
    return {pid: rows[pid][1] for pid in ours if pid in rows}


def processor_time(root: int) -> float:
    return sum(processes(root).values()) / TICK


def source(port: int, sessions: int, messages: int, octets: int, keep: bool, to: str) -> float:
    """Seconds that smtp-source takes. With `keep`, a session carries many messages."""
    command = ["smtp-source", "-s", str(sessions), "-m", str(messages), "-l", str(octets)]
    command += ["-d"] * keep + ["-f", "from@source.example", "-t", to, f"inet:127.0.0.1:{port}"]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    took = time.monotonic() - start
    if done.returncode:
        sys.exit(f"{command}: {done.stderr}")
    return took


class Server:
    """One of the contestants."""

    def __init__(self, name: str, root: int, port: int, process=None, end=None):
        self.name, self.root, self.port, self.process, self.end = name, root, port, process, end
        self.rates, self.costs = [], []

    def measure(self, sessions: int, messages: int, octets: int, keep: bool, to: str) -> None:
        before = processor_time(self.root)
        took = source(self.port, sessions, messages, octets, keep, to)
        self.rates.append(messages / took)
        self.costs.append((processor_time(self.root) - before) / messages)

    def stop(self) -> None:
        if self.end:
            self.end()
        if self.process:
            self.process.terminate()
            self.process.wait(30)


def started(name: str, command: list[str], port: int, **options) -> Server:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    until_it_listens(port)
    return Server(name, process.pid, port, process)


def discard(arguments) -> list[Server]:
    ports = free_port(), free_port()
    ours = started("ours, discard", [str(arguments.discard), f"127.0.0.1:{ports[0]}"], ports[0])
    sink = started("smtp-sink", ["smtp-sink", "-u", "nobody", f"inet:127.0.0.1:{ports[1]}", "1000"], ports[1])
    return [ours, sink]


def mailserver(arguments, folder: pathlib.Path) -> Server:
    port = free_port()
    folder.mkdir()
    (folder / "mailserver.toml").write_text(
        f'hostname = "here.example"\ndomains = ["here.example"]\ndata_dir = "data"\n'
        f'[listen]\nsmtp = "127.0.0.1:{port}"\n[authentication]\nverify = false\n'
        f"[limits]\nconnections = 10000\nconnections_per_address = 10000\n"
    )
    add = [str(arguments.mailserver), "user", "add", "to@here.example", "--password-stdin"]
    subprocess.run(add, cwd=folder, input=b"secret of to\n", check=True, stdout=subprocess.DEVNULL)
    return started("ours, embedded store", [str(arguments.mailserver)], port, cwd=folder)


def postfix(folder: pathlib.Path) -> Server:
    """A Postfix of its own: configuration, queue and data in the folder; mail goes into a Maildir."""
    port = free_port()
    config, queue, data, mail = (folder / name for name in ("etc", "spool", "lib", "mail"))
    for path in (config, queue, data, mail):
        path.mkdir(parents=True)
    owner = pwd.getpwnam("postfix")
    os.chown(data, owner.pw_uid, owner.pw_gid)
    os.chown(mail, owner.pw_uid, owner.pw_gid)
    for path in [folder, *folder.parents]:
        if path.stat().st_uid == os.getuid() and str(path).startswith(tempfile.gettempdir() + "/"):
            path.chmod(0o755)
    system = pathlib.Path("/etc/postfix")
    for name in ("postfix-files", "postfix-script", "post-install", "dynamicmaps.cf"):
        if (system / name).exists():
            shutil.copy(system / name, config / name)
    (config / "main.cf").write_text(
        f"compatibility_level = 3.6\nqueue_directory = {queue}\ndata_directory = {data}\ncommand_directory = /usr/sbin\n"
        f"daemon_directory = /usr/lib/postfix/sbin\nmail_owner = postfix\nsetgid_group = postdrop\n"
        f"myhostname = here.example\nmydestination =\nmynetworks = 127.0.0.0/8\ninet_interfaces = 127.0.0.1\n"
        f"inet_protocols = ipv4\nvirtual_mailbox_domains = here.example\nvirtual_mailbox_base = {mail}\n"
        f"virtual_mailbox_maps = static:to/\nvirtual_uid_maps = static:{owner.pw_uid}\n"
        f"virtual_gid_maps = static:{owner.pw_gid}\nvirtual_minimum_uid = 1\ndefault_process_limit = 100\n"
        f"smtpd_client_connection_count_limit = 0\nsmtpd_client_connection_rate_limit = 0\nalias_maps =\n"
        f"alias_database =\nlocal_recipient_maps =\nmaillog_file =\nsmtpd_peername_lookup = no\n"
        f"smtpd_recipient_restrictions = permit_mynetworks, reject\nsmtp_dns_support_level = disabled\n"
    )
    rows = (pathlib.Path("/etc/postfix/master.cf").read_text() if (system / "master.cf").exists() else
            pathlib.Path("/usr/share/postfix/master.cf.dist").read_text()).splitlines()
    kept = [row for row in rows if not re.match(r"smtp\s+inet", row) and not re.match(r"postlog\s", row)]
    kept = [re.sub(r"^(\S+\s+\S+\s+\S+\s+\S+\s+)y(\s)", r"\1n\2", row) for row in kept]
    (config / "master.cf").write_text("\n".join([f"127.0.0.1:{port} inet n - n - 100 smtpd", *kept]) + "\n")
    command = ["postfix", "-c", str(config)]
    subprocess.run([*command, "start"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until_it_listens(port)
    root = int((queue / "pid/master.pid").read_text())

    def end() -> None:
        subprocess.run([*command, "stop"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    return Server("Postfix", root, port, end=end)


def syncs(server: Server, messages: int) -> float | None:
    """Syncs for each message, counted by strace."""
    if not shutil.which("strace"):
        return None
    calls = "fsync,fdatasync,sync_file_range,msync"
    with tempfile.NamedTemporaryFile("r") as out:
        command = ["strace", "-f", "-qq", "-e", f"trace={calls}", "-o", out.name]
        command += [word for pid in processes(server.root) for word in ("-p", str(pid))]
        tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(1)
        source(server.port, 50, messages, 4096, True, "to@here.example")
        tracer.terminate()
        tracer.wait(30)
        found = sum(1 for line in out.read().splitlines() if re.search(r"sync\w*\(", line) and "resumed" not in line)
    return found / messages


def table(title: str, servers: list[Server]) -> None:
    ours, theirs = servers
    print(f"\n| {title} | messages/s | times theirs | CPU/message | of theirs |\n|---|---|---|---|---|")
    for server in servers:
        rate = statistics.median(server.rates)
        times = statistics.median(mine / other for mine, other in zip(server.rates, theirs.rates))
        cost = statistics.median(server.costs)
        share = cost / max(statistics.median(theirs.costs), 1e-9)
        print(f"| {server.name} | {rate:.0f} | {times:.2f} | {cost * 1e6:.0f} us | {share:.2f} |")


def race(servers: list[Server], rounds: int, **load) -> None:
    for server in servers:
        server.measure(**{**load, "messages": max(load["messages"] // 10, 1)})
        server.rates.clear()
        server.costs.clear()
    for turn in range(rounds):
        for server in servers if turn % 2 == 0 else reversed(servers):
            server.measure(**load)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mailserver", type=pathlib.Path, default=ROOT / "target/release/mailserver")
    parser.add_argument("--discard", type=pathlib.Path, default=ROOT / "target/release/smtp-discard")
    parser.add_argument("--race", choices=["discard", "durable"], help="one of them only")
    arguments = parser.parse_args()
    for needed in ("smtp-source", "smtp-sink", "postfix"):
        if not shutil.which(needed):
            sys.exit(f"{needed} is missing: install the Debian package postfix")
    for binary, race_of in ((arguments.discard, "discard"), (arguments.mailserver, "durable")):
        if arguments.race in (None, race_of) and not binary.exists():
            sys.exit(f"{binary} is missing: build it for release")
    with tempfile.TemporaryDirectory() as folder:
        running: list[Server] = []
        try:
            if arguments.race != "durable":
                running = discard(arguments)
                load = {"sessions": 20, "octets": 5120, "to": "to@here.example"}
                race(running, arguments.rounds, messages=arguments.messages * 5, keep=True, **load)
                table("discard, 5 kB, 20 sessions, kept open", running)
                while running:
                    running.pop().stop()
            if arguments.race != "discard":
                running.append(mailserver(arguments, pathlib.Path(folder, "ours")))
                running.append(postfix(pathlib.Path(folder, "postfix")))
                load = {"sessions": 50, "octets": 4096, "to": "to@here.example"}
                race(running, arguments.rounds, messages=arguments.messages, keep=True, **load)
                table("durable, 4 kB, 50 connections, kept open", running)
                for server in running:
                    count = syncs(server, 500)
                    print(f"{server.name}: {'strace is missing' if count is None else f'{count:.2f} syncs/message'}")
        finally:
            for server in running:
                server.stop()


if __name__ == "__main__":
    main()
