"""etcd, clusters of Patroni, and a server without a standby."""

import json
import os
import signal
import urllib.error
import urllib.request

from processes import HOST, SUPERUSER, PATIENCE_S, Unreachable, ask, free_port, send, until, url_of, with_children

# The shortest times that Patroni takes.
TIMES = {"ttl": 20, "loop_wait": 2, "retry_timeout": 3}
TRUST = [f"host {database} all {HOST}/32 trust" for database in ("all", "replication")]


def fetch(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.read().decode()
    except (urllib.error.URLError, OSError) as error:
        raise Unreachable(error) from error


class Etcd:
    """etcd with one member."""

    def __init__(self, place):
        clients, peers = free_port(), free_port()
        self.address = f"{HOST}:{clients}"
        own, of_peers = f"http://{self.address}", f"http://{HOST}:{peers}"
        data = place.make("etcd")
        place.start(
            "etcd",
            ["etcd", "--name=one", f"--data-dir={data}", f"--listen-client-urls={own}", f"--advertise-client-urls={own}"]
            + [f"--listen-peer-urls={of_peers}", f"--initial-advertise-peer-urls={of_peers}", f"--initial-cluster=one={of_peers}"],
            **place.as_account(),
        )
        until("etcd answers", lambda: "true" in fetch(f"{own}/health"))


class Server:
    """A Postgres server without a standby."""

    def __init__(self, place, name):
        self.port = free_port()
        data = place.make(name)
        place.run([place.postgres("initdb"), "-D", data, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N"])
        options = {"listen_addresses": HOST, "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        flags = [part for name_, value in options.items() for part in ("-c", f"{name_}={value}")]
        place.start(name, [place.postgres("postgres"), "-D", data, *flags], **place.as_account())
        until(f"{name} answers", lambda: ask(self.url("postgres"), "select 1"))

    def url(self, database):
        return url_of([self.port], database)


class Node:
    """A server of a cluster, and the Patroni that starts and stops it."""

    def __init__(self, place, cluster, etcd, number):
        self.place = place
        self.name = f"{cluster}{number}"
        self.port, self.rest = free_port(), free_port()
        home = place.make(self.name)
        self.data = os.path.join(home, "data")
        self.settings = os.path.join(home, "patroni.yml")
        settings = {
            "scope": cluster,
            "name": self.name,
            "etcd3": {"hosts": etcd.address},
            "restapi": {"listen": f"{HOST}:{self.rest}", "connect_address": f"{HOST}:{self.rest}"},
            "bootstrap": {
                "dcs": {**TIMES, "postgresql": {"use_pg_rewind": True, "use_slots": True}},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, {"auth": "trust"}, "no-sync"],
            },
            "postgresql": {
                "listen": f"{HOST}:{self.port}",
                "connect_address": f"{HOST}:{self.port}",
                "data_dir": self.data,
                "bin_dir": place.binaries,
                "pgpass": os.path.join(home, "pgpass"),
                "pg_hba": TRUST,
                "authentication": {"superuser": {"username": SUPERUSER}, "replication": {"username": "replicator"}},
                "parameters": {"unix_socket_directories": home, "fsync": "off", "max_standby_streaming_delay": "100ms"},
            },
        }
        # JSON is YAML.
        with open(self.settings, "w", encoding="utf-8") as file:
            json.dump(settings, file)
        self.start()

    def start(self):
        self.patroni = self.place.start(self.name, ["patroni", self.settings], **self.place.as_account())
        self.is_up = True

    def url(self, database):
        return url_of([self.port], database)

    def is_standby(self):
        return ask(self.url("postgres"), "select pg_is_in_recovery()") == "t"

    def processes(self):
        """Patroni, Postgres and every session."""
        with open(os.path.join(self.data, "postmaster.pid"), encoding="utf-8") as file:
            postmaster = int(file.readline())
        return [self.patroni.pid, *with_children(postmaster)]

    def kill(self):
        """Its host is gone, with all connections."""
        send(signal.SIGKILL, self.processes())
        self.patroni.wait(PATIENCE_S)
        self.is_up = False

    def freeze(self):
        """Its host is paused: connections stay open, and nobody answers."""
        send(signal.SIGSTOP, self.processes())
        self.is_up = False

    def thaw(self):
        send(signal.SIGCONT, self.processes())
        self.is_up = True

    def log(self):
        return self.place.log(self.name)


class Cluster:
    """Nodes with asynchronous replication."""

    def __init__(self, place, name, etcd, size):
        self.place = place
        self.name = name
        self.nodes = [Node(place, name, etcd, 1)]
        until(f"{name} has a leader", self.leader_or_none)
        self.nodes += [Node(place, name, etcd, number) for number in range(2, size + 1)]
        self.is_whole()

    def members(self):
        """What Patroni says of each, by its name."""
        for node in self.nodes:
            if node.is_up:
                return {member["name"]: member for member in json.loads(fetch(f"http://{HOST}:{node.rest}/cluster"))["members"]}
        raise Unreachable("no Patroni runs")

    def leader_or_none(self, but=None):
        """The node that leads and takes writes, unless it is `but`."""
        for name, member in self.members().items():
            if member["role"] == "leader" and (but is None or name != but.name):
                node = next(node for node in self.nodes if node.name == name)
                return None if node.is_standby() else node
        return None

    def leader(self):
        return until(f"{self.name} has a leader", self.leader_or_none)[0]

    def standbys(self):
        leader = self.leader()
        return [node for node in self.nodes if node is not leader]

    def is_whole(self):
        """Waits until one node leads, and every node runs on its timeline."""

        def whole():
            members = self.members().values()
            run = all(member["state"] in ("running", "streaming") for member in members)
            timelines = {member.get("timeline") for member in members}
            leaders = [node for node in self.nodes if not node.is_standby()]
            return len(members) == len(self.nodes) and run and len(timelines) == len(leaders) == 1

        until(f"all of {self.name} run", whole)
        self.catch_up()

    def catch_up(self):
        """Waits until every standby has what the leader has now."""
        leader = self.leader()
        now = ask(leader.url("postgres"), "select pg_current_wal_lsn()")
        reached = f"select count(*) from pg_stat_replication where replay_lsn >= '{now}'"
        others = str(sum(node.is_up for node in self.nodes) - 1)
        until("the standbys have everything", lambda: ask(leader.url("postgres"), reached) == others)

    def freeze_streams(self):
        """What the leader commits from now on reaches no standby."""
        senders = ask(self.leader().url("postgres"), "select pid from pg_stat_replication").split()
        send(signal.SIGSTOP, map(int, senders))

    def switch_over(self):
        """Has Patroni make another node the leader."""
        old, new = self.leader(), self.standbys()[0]
        switchover = ["switchover", self.name, "--leader", old.name, "--candidate", new.name, "--force"]
        self.place.run(["patronictl", "-c", new.settings, *switchover])
        return until("the candidate leads", lambda: self.leader_or_none(but=old))[0]

    def fail_over(self, loss=Node.kill):
        """The leader's host is lost. Gives the new leader, and how long it took until it led."""
        old = self.leader()
        loss(old)
        return until("a standby is promoted", lambda: self.leader_or_none(but=old))

    def url(self, database, attrs):
        """All nodes are in the URL, the leader of now first."""
        nodes = [self.leader(), *self.standbys()]
        return url_of([node.port for node in nodes], database, attrs)
