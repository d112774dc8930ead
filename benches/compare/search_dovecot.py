#!/usr/bin/env python3
"""Processor time of IMAP searches, ours and Dovecot's, in turn in one run. See benches/README.md.

Needs a release build of the example server, and the Debian packages dovecot-imapd and dovecot-core. Both servers run in
a temporary folder, on free loopback ports, with configurations made here; both are ended by their process ids. Dovecot
has no full-text plugin; its caches are warm, and so is our index.
"""

import argparse
import base64
import grp
import hashlib
import hmac
import os
import pathlib
import pwd
import random
import re
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

from pop3_dovecot import PASSWORD, ROOT, USER, processor_time

SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is")]


def corpus(number: int, octets: int) -> bytes:
    """A message of words that sound alike; one in a hundred speaks of an armadillo."""
    words = random.Random(number)
    word = lambda: "".join(words.choices(SYLLABLES, k=words.randint(1, 4)))
    subject = f"{word()} {word()} number {number}"
    head = (
        f"From: {word().title()} <{word()}@example.org>\r\nTo: Bob <bob@example.org>\r\nSubject: {subject}\r\n"
        f"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{number}@example.org>\r\n\r\n"
    )
    lines, size = [], 0
    while size < octets:
        line = " ".join(word() for _ in range(9))
        lines.append(line)
        size += len(line) + 2
    if number % 100 == 0:
        lines.insert(len(lines) // 2, "an armadillo")
    return (head + "\r\n".join(lines) + "\r\n").encode()


class Client:
    """One session with the mailbox selected."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.recv(1 << 16)
        self.count = 0
        self.login()
        self.ask("SELECT INBOX")

    def login(self) -> None:
        """SCRAM-SHA-256: without TLS no server takes the password itself."""
        first = f"n={USER},r={base64.b64encode(os.urandom(18)).decode()}"
        start = base64.b64encode(f"n,,{first}".encode()).decode()
        self.socket.sendall(f"t0 AUTHENTICATE SCRAM-SHA-256 {start}\r\n".encode())
        reply = base64.b64decode(self.socket.recv(1 << 16)[2:]).decode()
        said = dict(part.split("=", 1) for part in reply.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), base64.b64decode(said["s"]), int(said["i"]))
        last = f"c={base64.b64encode(b'n,,').decode()},r={said['r']}"
        client = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client).digest(), f"{first},{reply},{last}".encode(), "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client, signature))).decode()
        self.socket.sendall(base64.b64encode(f"{last},p={proof}".encode()) + b"\r\n")
        answer = self.socket.recv(1 << 16)
        if answer.startswith(b"+"):
            self.socket.sendall(b"\r\n")
            answer = self.socket.recv(1 << 16)
        if b"t0 OK" not in answer:
            raise RuntimeError(answer)

    def ask(self, line: str) -> bytes:
        self.count += 1
        tag = f"t{self.count}"
        self.socket.sendall(f"{tag} {line}\r\n".encode())
        answer = b""
        while not (answer.endswith(b"\r\n") and answer[:-2].rsplit(b"\r\n", 1)[-1].startswith(tag.encode() + b" ")):
            piece = self.socket.recv(1 << 18)
            if not piece:
                raise EOFError(answer)
            answer += piece
        if b"%s OK" % tag.encode() not in answer:
            raise RuntimeError(answer[-500:])
        return answer

    def search(self, keys: str) -> int:
        """How many messages are found."""
        answer = self.ask(f"UID SEARCH {keys}")
        found = re.search(rb"\* SEARCH([0-9 ]*)", answer)
        return len(found[1].split()) if found else 0


class Ours:
    name = "ours"

    def __init__(self, folder: pathlib.Path, program: str, maildir: pathlib.Path):
        folder.mkdir()
        (folder / "mailserver.toml").write_text(
            'hostname = "mail.example.org"\ndomains = ["example.org"]\ndata_dir = "data"\n[listen]\nimap = "127.0.0.1:0"\n'
        )
        run = lambda *words, text="": subprocess.run(
            [program, *words], cwd=folder, input=text, text=True, check=True, capture_output=True
        )
        run("user", "add", USER, "--password-stdin", text=PASSWORD + "\n")
        run("import", USER, str(maildir))
        self.folder = folder
        log = open(folder / "log", "w")
        self.child = subprocess.Popen([program], cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        for line in self.child.stdout:
            if found := re.match(r"listening imap 127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
            if line == "ready\n":
                break

    def indexed(self) -> bool:
        """Whether the index has come as far as every account."""
        rows = []
        for name, query in (("mail", "SELECT id, at FROM account"), ("search", "SELECT id, upto FROM account")):
            found = list(self.folder.rglob(f"{name}.sqlite"))
            if not found:
                return False
            with sqlite3.connect(f"file:{found[0]}?mode=ro", uri=True, timeout=30) as database:
                try:
                    rows.append(set(database.execute(query)))
                except sqlite3.OperationalError:
                    return False
        return rows[0] == rows[1]


class Dovecot:
    name = "dovecot"

    def __init__(self, folder: pathlib.Path, program: str, maildir: pathlib.Path, kind: str):
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
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = scram-sha-256
default_login_user = {login}
default_internal_user = {internal}
default_internal_group = {grp.getgrgid(pwd.getpwnam(internal).pw_gid).gr_name}
first_valid_uid = 1
mail_location = {"sdbox:~/sdbox" if kind == "sdbox" else "maildir:~/Maildir"}
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
service imap-login {{
  inet_listener imap {{
    port = {self.port}
  }}
  inet_listener imaps {{
    port = 0
  }}
  service_count = 0
  process_min_avail = 1
{chroot}}}
service imap {{
  service_count = 100
}}
""")
        if kind == "sdbox":
            subprocess.run(
                ["doveadm", "-c", str(folder / "conf"), "-o", "mail_location=sdbox:~/sdbox", "import", "-u", USER,
                 "maildir:~/Maildir", "", "ALL"],
                check=True, capture_output=True,
            )
        self.child = subprocess.Popen([program, "-F", "-c", str(folder / "conf")], stderr=subprocess.PIPE, text=True)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                if self.child.poll() is not None:
                    raise RuntimeError(self.child.stderr.read())
                time.sleep(0.1)


SEARCHES = [
    # What is asked, and how often in a round by us and by Dovecot: a round lasts long enough for the clock's ticks.
    ("BODY, none match", 'BODY "nosuchword"', 200, 1),
    ("BODY, 1 in 100", 'BODY "armadillo"', 50, 1),
    ("BODY, 2 letters", 'BODY "qx"', 1, 1),
    ("TEXT, none match", 'TEXT "nosuchword"', 200, 1),
    ("SUBJECT, none match", 'SUBJECT "nosuchword"', 200, 10),
    ("SUBJECT, some", 'SUBJECT "number 77"', 100, 10),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default=str(ROOT / "target/release/mailserver"))
    parser.add_argument("--dovecot", default=shutil.which("dovecot") or "/usr/sbin/dovecot")
    parser.add_argument("--kind", choices=("maildir", "sdbox"), default="maildir", help="how Dovecot keeps its mail")
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--octets", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where the temporary folder lies; /dev/shm leaves the disk out of it")
    parser.add_argument("--goals", action="store_true", help="fail when BODY is not 5 times and SUBJECT 3 times as fast")
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
            octets = corpus(number, options.octets)
            (maildir / "cur" / f"{1_700_000_000 + number}.{number}.host,S={len(octets)}:2,").write_bytes(octets)
        servers, missed = [], []
        try:
            servers.append(Ours(folder / "ours", options.server, maildir))
            servers.append(Dovecot(folder / "dovecot", options.dovecot, maildir, options.kind))
            begun, before = time.monotonic(), 0.0
            while not servers[0].indexed():
                if time.monotonic() - begun > 600:
                    sys.exit("the index does not come along")
                time.sleep(0.2)
            spent = processor_time(servers[0].child.pid) - before
            size = sum(path.stat().st_size for path in servers[0].folder.rglob("search.sqlite"))
            print(
                f"{options.messages} messages of {options.octets} octets; indexed in {spent:.2f} s of processor time, "
                f"{spent / options.messages * 1e6:.0f} us a message, {size / options.messages:.0f} octets a message"
            )
            for row in SEARCHES:
                ratio = race(servers, options, *row)
                goal = 5 if row[0].startswith("BODY, none") else 3 if row[0].startswith("SUBJECT") else 0
                if ratio < goal:
                    missed.append(row[0])
        finally:
            for server in servers:
                server.child.terminate()
                server.child.wait()
        if options.goals and missed:
            sys.exit(f"below the goal: {', '.join(missed)}")


def race(servers: list, options: argparse.Namespace, name: str, keys: str, *repeats: int) -> float:
    clients = [Client(server.port) for server in servers]
    # The first time fills Dovecot's caches; both must find the same.
    found = {client.search(keys) for client in clients}
    if len(found) != 1:
        raise RuntimeError(f"{keys} finds {found}")
    costs, walls = [[] for _ in servers], [[] for _ in servers]
    for _ in range(options.rounds):
        for at, (server, client, count) in enumerate(zip(servers, clients, repeats)):
            before, begun = processor_time(server.child.pid), time.monotonic()
            for _ in range(count):
                client.search(keys)
            walls[at].append((time.monotonic() - begun) / count)
            costs[at].append((processor_time(server.child.pid) - before) / count)
    ours, theirs = (statistics.median(cost) for cost in costs)
    print(f"{name}, {found.pop()} found: ", end="")
    for server, cost, wall in zip(servers, costs, walls):
        print(f"{server.name} {statistics.median(cost) * 1e3:.2f} ms ({statistics.median(wall) * 1e3:.1f} on the wall), ", end="")
    ratio = theirs / ours if ours else float("inf")
    print(f"{ratio:.1f} times", flush=True)
    return ratio


if __name__ == "__main__":
    main()
