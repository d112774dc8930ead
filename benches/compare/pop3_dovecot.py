#!/usr/bin/env python3
"""Processor time of a POP3 session, ours and Dovecot's, in turn in one run. See benches/README.md.

Needs a release build of the example server, and the Debian packages dovecot-pop3d and dovecot-core. Both servers run in
a temporary folder, on free loopback ports, with configurations made here; both are ended by their process ids.
"""

import argparse
import base64
import grp
import hashlib
import hmac
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
USER, PASSWORD = "ann@example.org", "secret of ann"
TICK = os.sysconf("SC_CLK_TCK")


def message(number: int, octets: int) -> bytes:
    head = (
        f"From: Ann <ann@example.org>\r\nTo: Bob <bob@example.org>\r\nSubject: message {number}\r\n"
        f"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{number}@example.org>\r\n\r\n"
    )
    lines = [f"{line:06} ".encode() + b"x" * 69 for line in range(octets // 78)]
    return head.encode() + b"\r\n".join(lines) + b"\r\n"


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


class Client:
    """One session. SCRAM-SHA-256, so that neither server hashes a password: one stored key is looked up and compared."""

    salted: dict[tuple[bytes, int], bytes] = {}

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held = b""
        self.status()

    def line(self) -> bytes:
        while (end := self.held.find(b"\n")) < 0:
            self.more()
        line, self.held = self.held[: end + 1], self.held[end + 1 :]
        return line

    def more(self) -> None:
        piece = self.socket.recv(1 << 18)
        if not piece:
            raise EOFError(self.held)
        self.held += piece

    def status(self) -> bytes:
        line = self.line()
        if not line.startswith(b"+"):
            raise RuntimeError(line)
        return line

    def body(self) -> int:
        """A multi-line response behind its status: its octets."""
        while not (self.held.startswith(b".\r\n") or (end := self.held.find(b"\r\n.\r\n")) >= 0):
            self.more()
        length = 3 if self.held.startswith(b".\r\n") else end + 5
        self.held = self.held[length:]
        return length

    def ask(self, line: str) -> bytes:
        self.socket.sendall(line.encode() + b"\r\n")
        return self.status()

    def login(self) -> None:
        first = f"n={USER},r={base64.b64encode(os.urandom(18)).decode()}"
        text = base64.b64encode(f"n,,{first}".encode()).decode()
        reply = base64.b64decode(self.ask(f"AUTH SCRAM-SHA-256 {text}")[2:]).decode()
        said = dict(part.split("=", 1) for part in reply.split(","))
        salt, rounds = base64.b64decode(said["s"]), int(said["i"])
        key = (salt, rounds)
        if key not in self.salted:
            self.salted[key] = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, rounds)
        last = f"c={base64.b64encode(b'n,,').decode()},r={said['r']}"
        client = hmac.digest(self.salted[key], b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client).digest(), f"{first},{reply},{last}".encode(), "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client, signature))).decode()
        self.ask(base64.b64encode(f"{last},p={proof}".encode()).decode())
        self.ask("")

    def session(self, messages: int, octets: int, pipelined: bool) -> None:
        self.login()
        for listing in ("LIST", "UIDL"):
            self.ask(listing)
            self.body()
        if pipelined:
            self.socket.sendall(b"".join(b"RETR %d\r\n" % number for number in range(1, messages + 1)))
        for number in range(1, messages + 1):
            if pipelined:
                self.status()
            else:
                self.ask(f"RETR {number}")
            if self.body() < octets * 9 // 10:
                raise RuntimeError("a message is too short")
        self.ask("QUIT")
        self.socket.close()


class Ours:
    name = "ours"

    def __init__(self, folder: pathlib.Path, program: str, maildir: pathlib.Path):
        folder.mkdir()
        (folder / "mailserver.toml").write_text(
            'hostname = "mail.example.org"\ndomains = ["example.org"]\ndata_dir = "data"\n[listen]\npop3 = "127.0.0.1:0"\n'
        )
        run = lambda *words, text="": subprocess.run(
            [program, *words], cwd=folder, input=text, text=True, check=True, capture_output=True
        )
        run("user", "add", USER, "--password-stdin", text=PASSWORD + "\n")
        run("import", USER, str(maildir))
        log = open(folder / "log", "w")
        self.child = subprocess.Popen([program], cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        for line in self.child.stdout:
            if found := re.match(r"listening pop3 127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
            if line == "ready\n":
                break


class Dovecot:
    name = "dovecot"

    def __init__(self, folder: pathlib.Path, program: str, maildir: pathlib.Path):
        # Started by root it gives its rights away, as it does in real life; otherwise everything is the caller's.
        me = pwd.getpwuid(os.getuid()).pw_name
        root = os.getuid() == 0
        login, internal, mail = ("dovenull", "dovecot", "nobody") if root else (me, me, me)
        group = grp.getgrgid(pwd.getpwnam(mail).pw_gid).gr_name
        folder.mkdir(mode=0o755)
        home = folder / "mail"
        shutil.copytree(maildir, home / "Maildir")
        if root:
            for path in [home, *home.rglob("*")]:
                shutil.chown(path, mail, group)
        pw = subprocess.run(
            ["doveadm", "-c", "/dev/null", "pw", "-s", "SCRAM-SHA-256", "-p", PASSWORD], text=True, capture_output=True
        )
        if not pw.stdout.startswith("{SCRAM-SHA-256}"):
            raise RuntimeError(pw.stderr)
        (folder / "users").write_text(f"{USER}:{pw.stdout.strip()}\n")
        os.chmod(folder / "users", 0o644)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        chroot = "" if root else "  chroot =\n"
        (folder / "conf").write_text(f"""
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = pop3
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = scram-sha-256
default_login_user = {login}
default_internal_user = {internal}
default_internal_group = {grp.getgrgid(pwd.getpwnam(internal).pw_gid).gr_name}
first_valid_uid = 1
mail_location = maildir:~/Maildir
mail_max_userip_connections = 1000
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = uid={mail} gid={group} home={home}
}}
service anvil {{
{chroot}}}
service pop3-login {{
  inet_listener pop3 {{
    port = {self.port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
  # The faster of its two ways: processes that serve many connections.
  service_count = 0
  process_min_avail = 2
{chroot}}}
service pop3 {{
  service_count = 100
}}
""")
        self.child = subprocess.Popen([program, "-F", "-c", str(folder / "conf")], stderr=subprocess.PIPE, text=True)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                if self.child.poll() is not None:
                    raise RuntimeError(self.child.stderr.read())
                time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default=str(ROOT / "target/release/mailserver"))
    parser.add_argument("--dovecot", default=shutil.which("dovecot") or "/usr/sbin/dovecot")
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--octets", type=int, default=10_000)
    parser.add_argument("--sessions", type=int, default=20, help="sessions of a server in a round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", help="where the temporary folder lies; /dev/shm leaves the disk out of it")
    parser.add_argument("--at-most", type=float, help="fail when a ratio is above this")
    options = parser.parse_args()
    for program in (options.server, options.dovecot):
        if not os.path.exists(program):
            sys.exit(f"{program} is missing")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        os.chmod(folder, 0o755)
        folder = pathlib.Path(folder)
        maildir = folder / "Maildir"
        for part in ("cur", "new", "tmp"):
            (maildir / part).mkdir(parents=True)
        for number in range(1, options.messages + 1):
            octets = message(number, options.octets)
            (maildir / "cur" / f"{1_700_000_000 + number}.{number}.host,S={len(octets)}:2,").write_bytes(octets)
        servers = []
        try:
            for kind, program in ((Ours, options.server), (Dovecot, options.dovecot)):
                servers.append(kind(folder / kind.name, program, maildir))
            worst = 0.0
            for pipelined in (False, True):
                worst = max(worst, race(servers, options, pipelined))
        finally:
            for server in servers:
                server.child.terminate()
                server.child.wait()
        if options.at_most is not None and worst > options.at_most:
            sys.exit(f"the ratio is above {options.at_most}")


def race(servers: list, options: argparse.Namespace, pipelined: bool) -> float:
    for server in servers:
        for _ in range(3):
            Client(server.port).session(options.messages, options.octets, pipelined)
    costs = {server.name: [] for server in servers}
    walls = {server.name: [] for server in servers}
    for _ in range(options.rounds):
        for server in servers:
            before, begun = processor_time(server.child.pid), time.monotonic()
            for _ in range(options.sessions):
                Client(server.port).session(options.messages, options.octets, pipelined)
            walls[server.name].append((time.monotonic() - begun) / options.sessions)
            costs[server.name].append((processor_time(server.child.pid) - before) / options.sessions)
    ratio = statistics.median(ours / theirs for ours, theirs in zip(costs["ours"], costs["dovecot"]))
    way = "pipelined" if pipelined else "one RETR at a time"
    print(f"{options.messages} messages of {options.octets} octets, {way}: ", end="")
    for name, cost in costs.items():
        print(f"{name} {statistics.median(cost) * 1e3:.2f} ms ({statistics.median(walls[name]) * 1e3:.1f} on the wall), ", end="")
    print(f"ratio {ratio:.2f}", flush=True)
    return ratio


if __name__ == "__main__":
    main()
