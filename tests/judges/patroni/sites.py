"""The databases of a site, the program over them, and what must hold of its log."""

import json
import os
import re
import signal
import subprocess
from collections import Counter
from contextlib import contextmanager

from clusters import fetch
from processes import PATIENCE_S, ask, free_port, HOST, psql, rows, until

REMOTE = """
    create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme'), (8, 'Byte'), (9, 'Cole');
    create table meter (
        id bigint primary key, tenant_id bigint not null, name text, type text, serial_number text, ip inet,
        active boolean not null default true);
    insert into meter (id, tenant_id, name) select n, 7, 'Meter ' || n from generate_series(1, 50) n;
    insert into meter (id, tenant_id, name) select n, 7 + n % 3, 'Meter ' || n from generate_series(51, 200) n"""

# One tenant's meters, with text ids and readings of the site's own.
LOCAL = """
    create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme');
    create table meter (
        id varchar(40) primary key, name varchar(80), type text, serial_number text, ip varchar(45),
        active boolean not null default true, site_note text default 'ours');
    create table meter_reading (
        id bigint generated always as identity primary key,
        meter_id varchar(40) not null references meter, value double precision)"""

# All tenants' meters in one table.
SHARED_LOCAL = """
    create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme'), (8, 'Byte'), (9, 'Cole');
    create table meter (
        id bigint primary key, tenant_id bigint not null, name text, active boolean not null default true)"""

# A run that updates meters waits at the lock of the judge, which ends with the server.
HELD = """
    create function held() returns trigger language plpgsql as $$
    begin perform pg_advisory_xact_lock_shared(4711); return null; end $$;
    create trigger held before update on meter for each statement execute function held()"""
LOCK = "select pg_advisory_lock(4711);\n"
WAITING = "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711 and mode = 'ShareLock' and not granted"

METERS = "select id::integer, name from meter where active order by id::integer"
METERS_OF_ALL = METERS
METERS_OF_7 = "select id::integer, name from meter where active and tenant_id = 7 order by id"

CHANGED = "inserted + updated + deactivated + reactivated"
LOG = f"select id, tenant, outcome, warning, {CHANGED} as changed from meter_sync.meter_sync_log order by seq"
CHANGES = """
    select run_id, key, after from meter_sync.meter_sync_change c join meter_sync.meter_sync_log l on l.id = c.run_id
    order by l.seq, c.n"""


class Program:
    """`meter-sync serve` on a schedule of two seconds."""

    def __init__(self, place, name, remote_url, local_url, settings=()):
        self.place, self.name = place, name
        self.address = f"{HOST}:{free_port()}"
        environment = {
            "METER_SYNC_REMOTE_URL": remote_url,
            "METER_SYNC_LOCAL_URL": local_url,
            "METER_SYNC_SCHEDULE": "*/2 * * * * *",
            "METER_SYNC_JITTER": "0s",
            "METER_SYNC_LOCK_TIMEOUT": "60s",
            "METER_SYNC_STATEMENT_TIMEOUT": "15s",
            "METER_SYNC_LISTEN": self.address,
            **dict(settings),
        }
        command = [os.environ["METER_SYNC"], "serve"]
        self.process = place.start(name, command, env=environment, stdin=subprocess.DEVNULL)

    def runs(self, outcome):
        """How many runs ended so, as the program itself counts."""
        counted = re.findall(rf'^meter_sync_runs_total{{outcome="{outcome}".*}} (\d+)$', fetch(f"http://{self.address}/metrics"), re.M)
        return sum(map(int, counted))

    def stop(self):
        assert self.process.poll() is None, f"{self.name} ended by itself"
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_S) == 0, f"{self.name} ended with {self.process.returncode}"
        assert "panicked" not in self.place.log(self.name)


@contextmanager
def held_runs(url, runs):
    """Runs that update meters wait while this holds; `wait` returns when so many do."""
    with subprocess.Popen(psql(url), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True) as session:
        try:
            session.stdin.write(LOCK)
            session.stdin.flush()
            got = "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711 and mode = 'ExclusiveLock' and granted"
            until("the judge has its lock", lambda: ask(url, got) == "1")
            yield lambda: until(f"{runs} runs write", lambda: int(ask(url, WAITING)) == runs)
        finally:
            session.kill()


def log(url):
    return rows(url, LOG)


def outcomes(runs):
    return Counter(run["outcome"] or "in progress" for run in runs)


def in_words(runs):
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes(runs).items()))


def wait_until_equal(local, remote, remote_meters=METERS_OF_7):
    """Waits until both sides are equal, and gives how long that took."""
    return until("both sides are equal", lambda: rows(local, METERS) == rows(remote, remote_meters))[1]


def wait_until_quiet(local):
    """Waits until a run has found nothing to do."""
    done = lambda: ([run["outcome"] for run in log(local) if run["outcome"]] or [None])[-1]
    until("a run finds no change", lambda: done() == "no_change")


def check_log(url):
    """What the log says was changed is what was changed: counts, changes and meters agree."""
    # One statement, so that all three are of the same moment.
    parts = [f"(select coalesce(json_agg(row_), '[]') from ({part}) row_)" for part in (LOG, CHANGES, METERS)]
    runs, changes, meters = json.loads(ask(url, f"select json_build_array({', '.join(parts)})"))
    recorded = Counter(change["run_id"] for change in changes)
    for run in runs:
        assert run["changed"] == recorded[run["id"]], run
        assert (run["changed"] > 0) == (run["outcome"] == "succeeded"), run
        assert run["outcome"] in ("succeeded", "no_change", "failed", "interrupted", None), run
    names = {}
    for change in changes:
        key = json.dumps(change["key"])
        if "name" in change["after"]:
            names[key] = change["after"]["name"]
    assert sorted(names.values()) == sorted(meter["name"] for meter in meters), "the recorded changes do not give the meters"
    return runs
