"""The processes of the judge, its directory, and its questions to databases. Nothing of it is left over at the end."""

import glob
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager

HOST = "127.0.0.1"
SUPERUSER = "postgres"

# Nothing takes longer unless it hangs. A failover takes 20 s, the shortest that Patroni allows.
PATIENCE_S = 90
PROMPT_S = 0.2


class Unreachable(Exception):
    """A database does not answer."""


class Place:
    """A directory of the judge's own, and the account that the servers run under."""

    def __init__(self, directory, account):
        self.directory = directory
        self.account = account
        self.children = []
        unpacked = os.path.join(directory, "debian")
        self.environment = {
            "HOME": directory,
            "LC_ALL": "C.UTF-8",
            "PATH": f"{unpacked}/usr/bin:{os.environ['PATH']}",
            "PYTHONPATH": f"{unpacked}/usr/lib/python3/dist-packages",
            "LD_LIBRARY_PATH": ":".join(glob.glob(f"{unpacked}/usr/lib/*-linux-gnu")),
        }
        self.binaries = newest_postgres(unpacked)

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def make(self, name):
        """A directory that the servers may write to."""
        path = self.path(name)
        os.mkdir(path, 0o700)
        if self.account:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)
        return path

    def postgres(self, program):
        return os.path.join(self.binaries, program)

    def as_account(self):
        """The options that start a process as the account of the servers."""
        options = {"cwd": self.directory, "env": self.environment, "stdin": subprocess.DEVNULL}
        if self.account:
            options |= {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        return options

    def start(self, name, command, **options):
        """A process with a log of its own, and a process group, too."""
        with open(self.path(f"{name}.log"), "ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **options)
        self.children.append(process)
        return process

    def run(self, command):
        """Runs a program of the servers to its end."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": PATIENCE_S}
        done = subprocess.run(command, **self.as_account(), **options, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}"
        return done.stdout

    def log(self, name):
        with open(self.path(f"{name}.log"), encoding="utf-8", errors="replace") as log:
            return log.read()

    def clear(self):
        """Kills what was started here, and what that started: servers name the directory in their commands."""
        for process in self.children:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        while pids := [pid for pid in processes() if self.directory in command_of(pid)]:
            send(signal.SIGKILL, [child for pid in pids for child in with_children(pid)])
            time.sleep(PROMPT_S)
        shutil.rmtree(self.directory)


@contextmanager
def place():
    """A place that is cleared however the judge ends, except by SIGKILL."""

    def stop(number, _frame):
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    account = server_account()
    directory = tempfile.mkdtemp(prefix="meter-sync-patroni-")
    try:
        if account:
            os.chown(directory, account.pw_uid, account.pw_gid)
        # The account may have no access to where this file is.
        if os.path.isdir("debian"):
            shutil.copytree("debian", os.path.join(directory, "debian"), symlinks=True)
        here = Place(directory, account)
    except BaseException:
        shutil.rmtree(directory)
        raise
    try:
        yield here
    except BaseException:
        for log in sorted(glob.glob(here.path("*.log"))):
            with open(log, encoding="utf-8", errors="replace") as lines:
                print(f"-- the end of {os.path.basename(log)}", *lines.read().splitlines()[-25:], sep="\n  ")
        raise
    finally:
        here.clear()


def server_account():
    """Postgres refuses to run as root; another account is found. `None` if we are not root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise SystemExit("as root, the patroni judge needs the account postgres or nobody for its servers")


def newest_postgres(unpacked):
    found = [path for root in ("/", unpacked) for path in glob.glob(os.path.join(root, "usr/lib/postgresql/*/bin/postgres"))]
    if not found:
        raise SystemExit("install PostgreSQL (Debian: postgresql) to run the patroni judge")
    newest = max(found, key=lambda path: int(path.split("/")[-3]))
    return os.path.dirname(newest)


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]


def command_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as command:
            return command.read()
    except OSError:
        return ""


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return int(stat.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


def with_children(pid):
    return [pid] + [child for child in processes() if parent_of(child) == pid]


def send(number, pids):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def free_port():
    with socket.socket() as free:
        free.bind((HOST, 0))
        return free.getsockname()[1]


def url_of(ports, database, attrs=None):
    hosts = ",".join(f"{HOST}:{port}" for port in ports)
    wanted = f"?target_session_attrs={attrs}" if attrs else ""
    return f"postgres://{SUPERUSER}@{hosts}/{database}{wanted}"


def psql(url):
    return ["psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "--dbname", url]


def ask(url, sql):
    """The first column of what a statement gives, as text."""
    environment = os.environ | {"PGCONNECT_TIMEOUT": "5"}
    done = subprocess.run(
        [*psql(url), "-c", sql], env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    if done.returncode == 2 or "terminating connection" in done.stderr or "shutting down" in done.stderr:
        raise Unreachable(done.stderr)
    assert done.returncode == 0, f"{sql}: {done.stderr}"
    return done.stdout.strip()


def rows(url, sql):
    return json.loads(ask(url, f"select coalesce(json_agg(row_), '[]') from ({sql}) row_"))


def until(what, condition, patience_s=PATIENCE_S):
    """Waits until the condition gives something true, and gives that and how long it took."""
    start = time.monotonic()
    seen = None
    while time.monotonic() - start < patience_s:
        try:
            if seen := condition():
                return seen, time.monotonic() - start
        except Unreachable as error:
            seen = error
        time.sleep(PROMPT_S)
    raise AssertionError(f"not within {patience_s} s: {what} ({seen!r})")
