"""Lets Patroni switch over and fail over beneath the real program, and says what was seen."""

import itertools
import threading
import time
from contextlib import contextmanager

from clusters import Cluster, Etcd, Node, Server
from processes import ask, place, rows, until
from sites import (
    HELD, LOCAL, METERS, METERS_OF_7, METERS_OF_ALL, REMOTE, SHARED_LOCAL, Program, check_log, held_runs, in_words, log,
    wait_until_equal, wait_until_quiet,
)  # fmt: skip

BEAT_S = 0.2


steps = itertools.count(1)


def say(text):
    print(f"{next(steps)}. {text}", flush=True)


def changes(cluster, database, action):
    url = cluster.leader().url(database)
    return int(ask(url, f"select count(*) from meter_sync.meter_sync_change where action = '{action}'"))


@contextmanager
def changing(remote):
    """Meters of all tenants change on the remote, again and again."""
    done = threading.Event()
    beats = []

    def beat():
        while not done.wait(BEAT_S):
            number = len(beats)
            ask(remote, f"update meter set name = 'Meter ' || id || ' at {number}' where id % 10 = {number % 10}")
            beats.append(number)

    writer = threading.Thread(target=beat)
    writer.start()
    try:
        yield beats
    finally:
        done.set()
        writer.join()


class Site:
    """A remote without a standby, and a cluster as the local side."""

    def __init__(self, here, etcd):
        self.here = here
        self.remote = Server(here, "remote").url("postgres")
        ask(self.remote, REMOTE)
        self.cluster = Cluster(here, "local", etcd, 3)

    def make(self, database, schema):
        ask(self.cluster.leader().url("postgres"), f"create database {database}")
        ask(self.on_leader(database), schema)
        self.cluster.catch_up()

    def on_leader(self, database):
        return self.cluster.leader().url(database)

    def program(self, name, database, settings=()):
        local = self.cluster.url(database, "read-write")
        return Program(self.here, name, self.remote, local, settings)


def first_load(site):
    site.make("site", LOCAL)
    program = site.program("serve", "site")
    took = wait_until_equal(site.on_leader("site"), site.remote)
    wait_until_quiet(site.on_leader("site"))
    local = site.on_leader("site")
    meters = len(rows(local, METERS))
    assert changes(site.cluster, "site", "insert") == meters == 100
    runs = check_log(local)
    ask(local, "insert into meter_reading (meter_id, value) values ('1', 4.5)")
    ask(local, HELD)
    say(f"first load through {site.cluster.leader().name}: {meters} meters in {took:.1f} s; the log: {in_words(runs)}")
    return program


def switchover(site, program):
    old = site.cluster.leader()
    with changing(site.remote) as beats:
        until("some runs write", lambda: len(check_log(site.on_leader("site"))) > 3)
        start = time.monotonic()
        new = site.cluster.switch_over()
        took = time.monotonic() - start
        before = len(log(new.url("site")))
        until("runs go on", lambda: len(log(new.url("site"))) > before + 2)
    converged = wait_until_equal(new.url("site"), site.remote)
    wait_until_quiet(new.url("site"))
    # Nothing is lost in a switchover, so the program and the log have seen the same runs.
    for outcome in ("succeeded", "no_change"):
        counts = lambda: [program.runs(outcome), sum(run["outcome"] == outcome for run in log(new.url("site")))]
        until(f"the program counts what the log says of {outcome}", lambda: len(set(counts())) == 1, 10)
    runs = check_log(new.url("site"))
    site.cluster.is_whole()
    assert old.is_standby() and not new.is_standby()
    say(
        f"switchover from {old.name} to {new.name} by Patroni during {len(beats)} changes of the remote: took {took:.1f} s, "
        f"equal {converged:.1f} s after the last change; the log: {in_words(runs)}",
    )


def killed_in_mid_apply(site):
    cluster, old = site.cluster, site.cluster.leader()
    updates = changes(cluster, "site", "update")
    with held_runs(old.url("site"), 1) as wait_for_run:
        ask(site.remote, "update meter set name = name || '!' where id <= 10")
        wait_for_run()
        cluster.catch_up()
        before = log(old.url("site"))
        assert before[-1]["outcome"] is None, before[-1]
        start = time.monotonic()
        new, promoted = cluster.fail_over()
    local = new.url("site")
    wait_until_equal(local, site.remote)
    converged = time.monotonic() - start
    wait_until_quiet(local)
    runs = check_log(local)
    assert runs[: len(before) - 1] == before[:-1], "earlier runs are as they were"
    lost = runs[len(before) - 1]
    assert lost["id"] == before[-1]["id"] and lost["outcome"] in ("failed", "interrupted"), lost
    again = [run for run in runs[len(before) :] if run["outcome"] == "succeeded"]
    assert [run["changed"] for run in again] == [10], again
    assert changes(cluster, "site", "update") == updates + 10
    readings = ask(local, "select string_agg(meter_id || '=' || value, ',') from meter_reading")
    assert readings == "1=4.5", readings
    say(
        f"{old.name} killed in mid-apply: {new.name} promoted after {promoted:.1f} s, equal after {converged:.1f} s; "
        f"the run in flight is {lost['outcome']}, then {in_words(runs[len(before):])}; readings kept",
    )
    return old


def returns(site, old, database):
    """The old leader comes back as a standby, never takes a write, and has what the leader has."""
    cluster = site.cluster
    logged, start = len(old.log()), time.monotonic()
    old.start()

    def follows():
        assert old.is_standby(), f"{old.name} takes writes"
        return old.name in {node.name for node in cluster.standbys()}

    until(f"{old.name} answers", follows)
    cluster.is_whole()
    took = time.monotonic() - start
    ask(site.remote, "update meter set name = name || '+' where id = 20")
    local = site.on_leader(database)
    remote_meters = METERS_OF_7 if database == "site" else METERS_OF_ALL
    wait_until_equal(local, site.remote, remote_meters)
    until(f"{old.name} has the change", lambda: rows(old.url(database), METERS) == rows(local, METERS))
    cluster.catch_up()
    assert old.is_standby()
    changed = "select run_id, n, action, key, before, after from meter_sync.meter_sync_change order by run_id, n"
    assert rows(old.url(database), changed) == rows(local, changed)
    said = old.log()[logged:]
    way = "pg_rewind" if "running pg_rewind" in said else "a new base backup" if "bootstrap from leader" in said else "streaming"
    say(f"{old.name} is back as a standby after {took:.1f} s, by {way}; one more change arrived on both")


def loses_commits(site):
    cluster, old = site.cluster, site.cluster.leader()
    cluster.catch_up()
    updates = changes(cluster, "site", "update")
    cluster.freeze_streams()
    ask(site.remote, "update meter set name = name || '?' where id <= 5")
    wait_until_equal(old.url("site"), site.remote)
    wait_until_quiet(old.url("site"))
    lost = [run["id"] for run in check_log(old.url("site")) if run["outcome"] == "succeeded"][-1]
    start = time.monotonic()
    new, promoted = cluster.fail_over()
    local = new.url("site")
    wait_until_equal(local, site.remote)
    converged = time.monotonic() - start
    wait_until_quiet(local)
    runs = check_log(local)
    assert lost not in [run["id"] for run in runs], "the commit was not lost"
    assert changes(cluster, "site", "update") == updates + 5
    say(
        f"{old.name} killed with a run of 5 changes that no standby had: {new.name} promoted after {promoted:.1f} s, "
        f"the changes made again after {converged:.1f} s",
    )
    return old


def many_tenants(site):
    cluster = site.cluster
    site.make("many", SHARED_LOCAL)
    programs = [site.program(f"serve-many-{number}", "many", {"METER_SYNC_TENANTS": "all"}) for number in (1, 2)]
    wait_until_equal(site.on_leader("many"), site.remote, METERS_OF_ALL)
    ask(site.on_leader("many"), HELD)
    old = cluster.leader()
    with held_runs(old.url("many"), 3) as wait_for_runs:
        ask(site.remote, "update meter set name = name || '#' where id % 4 = 0")
        wait_for_runs()
        cluster.catch_up()
        before = check_log(old.url("many"))
        start = time.monotonic()
        new, promoted = cluster.fail_over()
    local = new.url("many")
    wait_until_equal(local, site.remote, METERS_OF_ALL)
    converged = time.monotonic() - start
    until("every run has ended", lambda: all(run["outcome"] for run in log(local)))
    runs = check_log(local)
    in_flight = {run["id"] for run in before if run["outcome"] is None}
    lost = [run for run in runs if run["id"] in in_flight]
    assert len(lost) == 3 and {run["outcome"] for run in lost} <= {"failed", "interrupted"}, lost
    again = [run for run in runs[len(before) :] if run["outcome"] == "succeeded"]
    assert sorted(run["tenant"] for run in again) == ["7", "8", "9"], again
    assert changes(cluster, "many", "update") == sum(run["changed"] for run in again) == 50
    say(
        f"3 tenants, 2 processes, {old.name} killed with a run of each tenant in mid-apply: {new.name} promoted after "
        f"{promoted:.1f} s, equal after {converged:.1f} s; the runs in flight: {in_words(lost)}; then {in_words(runs[len(before):])}",
    )
    return old, programs


def paused_in_mid_apply(site):
    cluster, old = site.cluster, site.cluster.leader()
    updates = changes(cluster, "site", "update")
    with held_runs(old.url("site"), 1) as wait_for_run:
        ask(site.remote, "update meter set name = name || '~' where id <= 10")
        wait_for_run()
        cluster.catch_up()
        before = log(old.url("site"))
        start = time.monotonic()
        new, promoted = cluster.fail_over(Node.freeze)
    local = new.url("site")
    wait_until_equal(local, site.remote)
    converged = time.monotonic() - start
    wait_until_quiet(local)
    start = time.monotonic()
    old.thaw()
    # Both take writes now, until Patroni demotes one. With etcd's API of version 3, Patroni 3.0.2 may give the lock back to the
    # old leader, and then rewinds the new one.
    cluster.is_whole()
    settled = time.monotonic() - start
    leader = cluster.leader()
    ask(site.remote, "update meter set name = name || '+' where id = 20")
    local = leader.url("site")
    wait_until_equal(local, site.remote)
    wait_until_quiet(local)
    cluster.catch_up()
    runs = check_log(local)
    assert all(rows(node.url("site"), METERS) == rows(local, METERS) for node in cluster.nodes)
    lost = runs[len(before) - 1]
    assert lost["id"] == before[-1]["id"] and lost["outcome"] in ("failed", "interrupted"), lost
    assert changes(cluster, "site", "update") == updates + 11
    say(
        f"{old.name} paused in mid-apply: {new.name} promoted after {promoted:.1f} s, equal after {converged:.1f} s; {old.name} goes "
        f"on, and {settled:.1f} s later {leader.name} leads, with each change once; the run in flight is {lost['outcome']}"
    )


def local_side(here, etcd):
    site = Site(here, etcd)
    program = first_load(site)
    switchover(site, program)
    returns(site, killed_in_mid_apply(site), "site")
    returns(site, loses_commits(site), "site")
    paused_in_mid_apply(site)
    program.stop()
    old, programs = many_tenants(site)
    returns(site, old, "many")
    for each in programs:
        each.stop()


def warnings(local):
    return [run["warning"] for run in log(local) if run["warning"]]


def remote_side(here, etcd):
    """One program reads the leader, as it stands first in the URL, and one a standby. The leader loses commits."""
    cluster, server = Cluster(here, "remote", etcd, 2), Server(here, "other")
    old = cluster.leader()
    ask(old.url("postgres"), REMOTE)
    cluster.catch_up()
    copies, programs = {}, []
    for attrs in ("any", "prefer-standby"):
        database = "reads_" + attrs.replace("-", "_")
        ask(server.url("postgres"), f"create database {database}")
        copies[attrs] = server.url(database)
        ask(copies[attrs], LOCAL)
        programs.append(Program(here, f"serve-{attrs}", cluster.url("postgres", attrs), copies[attrs]))

    def equal(node):
        for local in copies.values():
            wait_until_equal(local, node.url("postgres"))
            wait_until_quiet(local)

    equal(old)
    standby = cluster.standbys()[0]
    cluster.freeze_streams()
    for number in range(3):
        ask(old.url("postgres"), f"update meter set name = name || '?' where id = {number + 1}")
    wait_until_equal(copies["any"], old.url("postgres"))
    wait_until_quiet(copies["any"])
    assert rows(copies["prefer-standby"], METERS) == rows(standby.url("postgres"), METERS_OF_7)
    assert warnings(copies["any"]) == warnings(copies["prefer-standby"]) == []

    start = time.monotonic()
    new, promoted = cluster.fail_over()
    equal(new)
    converged = time.monotonic() - start
    # The standby is read as soon as the leader is gone, and shows what is lost before it is promoted.
    warned = [run for run in log(copies["any"]) if run["warning"]]
    assert [run["changed"] for run in warned] == [3], warned
    assert "as they were before the last sync" in warned[0]["warning"], warned
    assert warnings(copies["prefer-standby"]) == [], "it never saw what was lost"
    ask(new.url("postgres"), "update meter set name = name || '+' where id = 20")
    equal(new)
    say(
        f"the remote {old.name} killed with 3 commits that its standby lacked: {new.name} promoted after {promoted:.1f} s, equal "
        f"after {converged:.1f} s; prefer-standby never warns; any warns once: {warned[0]['warning']}"
    )

    start = time.monotonic()
    old.start()
    cluster.is_whole()
    took = time.monotonic() - start
    ask(new.url("postgres"), "update meter set name = name || '+' where id = 21")
    equal(new)
    runs = {attrs: check_log(local) for attrs, local in copies.items()}
    for program in programs:
        program.stop()
    assert len(warnings(copies["any"])) == 1 and warnings(copies["prefer-standby"]) == [], "nothing else was lost"
    seen = "; ".join(f"{attrs}: {in_words(of)}" for attrs, of in runs.items())
    say(f"{old.name} is back as a standby after {took:.1f} s; one more change arrived; the logs: {seen}")


def main():
    with place() as here:
        print(here.run([here.postgres("postgres"), "--version"]).strip(), here.run(["patroni", "--version"]).strip(), sep=", ")
        print(here.run(["etcd", "--version"]).splitlines()[0], flush=True)
        etcd = Etcd(here)
        local_side(here, etcd)
        remote_side(here, etcd)


main()
