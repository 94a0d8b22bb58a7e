"""Three PostgreSQL servers under Patroni, with three etcd, on loopback.

`tests/peers/install_cluster.sh` brings the programs. Replication is synchronous: a commit that was
answered is on two servers.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import psycopg

from tests.e2e.world import free_ports, until
from tests.peers.postgres import as_postgres

_SERVERS = 3
_CONFIG = """
scope: province
name: p{number}
restapi: {{listen: "127.0.0.1:{rest}", connect_address: "127.0.0.1:{rest}"}}
etcd3: {{hosts: [{etcd}]}}
bootstrap:
  dcs:
    ttl: 10
    loop_wait: 2
    retry_timeout: 4
    maximum_lag_on_failover: 1048576
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      parameters: {{max_connections: 40, shared_buffers: 32MB, wal_log_hints: "on"}}
  initdb: [encoding: UTF8, locale: C.UTF-8, auth-host: trust, auth-local: trust]
  pg_hba: [local all all trust, host all all 127.0.0.1/32 trust,
           host replication all 127.0.0.1/32 trust]
postgresql:
  listen: "127.0.0.1:{port}"
  connect_address: "127.0.0.1:{port}"
  data_dir: {folder}/data{number}
  bin_dir: /usr/lib/postgresql/15/bin
  pgpass: {folder}/pgpass{number}
  authentication:
    superuser: {{username: postgres, password: none}}
    replication: {{username: replicator, password: none}}
    rewind: {{username: postgres, password: none}}
  parameters: {{unix_socket_directories: {folder}}}
"""


class Patroni:
    """The cluster; `kill_leader` and `start` as often as needed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="plantgate-pt-"))
        ports = free_ports(4 * _SERVERS)
        self._ports, self._rest = ports[:3], ports[3:6]
        self._clients, self._peers = ports[6:9], ports[9:12]
        self._etcd: list[subprocess.Popen[bytes]] = []
        self._nodes: list[subprocess.Popen[bytes] | None] = [None] * _SERVERS
        etcd = ", ".join(f'"127.0.0.1:{port}"' for port in self._clients)
        for number in range(_SERVERS):
            text = _CONFIG.format(
                number=number,
                rest=self._rest[number],
                port=self._ports[number],
                etcd=etcd,
                folder=self.folder,
            )
            (self.folder / f"p{number}.yml").write_text(text, encoding="utf-8")
        for path in (self.folder, *self.folder.iterdir()):
            if os.geteuid() == 0:
                shutil.chown(path, "postgres", "postgres")

    @property
    def address(self) -> str:
        """All servers; a client finds the one that may be written to."""
        places = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"postgresql://postgres@{places}/postgres?target_session_attrs=read-write"

    def begin(self) -> None:
        """Start everything and wait for a leader with a synchronous standby."""
        names = ",".join(f"e{n}=http://127.0.0.1:{port}" for n, port in enumerate(self._peers))
        for number in range(_SERVERS):
            client = f"http://127.0.0.1:{self._clients[number]}"
            peer = f"http://127.0.0.1:{self._peers[number]}"
            command = [
                "etcd", "--name", f"e{number}", "--data-dir", str(self.folder / f"etcd{number}"),
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", names, "--initial-cluster-state", "new",
                "--initial-cluster-token", self.folder.name, "--logger", "zap",
            ]  # fmt: skip
            self._etcd.append(self._run(command, f"etcd{number}.log"))
        for number in range(_SERVERS):
            self.start(number)
        until(self._is_whole, limit_s=180, what=f"a whole cluster; see {self.folder}")

    def start(self, number: int) -> None:
        """Start one server again."""
        command = [*as_postgres(), "patroni", str(self.folder / f"p{number}.yml")]
        self._nodes[number] = self._run(command, f"p{number}.log")

    def leader(self) -> int | None:
        """Number of the server that leads; None while there is none."""
        for member in self._members():
            if member.get("role") == "leader" and member.get("state") == "running":
                return int(str(member["name"])[1:])
        return None

    def kill_leader(self) -> int:
        """SIGKILL the leading Patroni and its PostgreSQL; returns its number."""
        number = until(self._leads, limit_s=120, what="a leader to kill") - 1
        process = self._nodes[number]
        assert process is not None
        postmaster = int((self.folder / f"data{number}/postmaster.pid").read_text().split()[0])
        for pid in (process.pid, postmaster):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(timeout=60)
        self._nodes[number] = None
        return number

    def close(self) -> None:
        """Stop and remove everything."""
        for process in self._nodes:
            if process is not None:
                process.terminate()
        for process in self._nodes:
            if process is not None:
                process.wait(timeout=60)
        for process in self._etcd:
            process.kill()
            process.wait(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _leads(self) -> int:
        number = self.leader()
        return 0 if number is None or not self._is_whole(standbys=1) else number + 1

    def _is_whole(self, standbys: int = 2) -> bool:
        roles = [str(one.get("role")) for one in self._members() if one.get("state") in
                 {"running", "streaming"}]  # fmt: skip
        if "leader" not in roles or "sync_standby" not in roles or len(roles) < 1 + standbys:
            return False
        try:
            psycopg.connect(self.address, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _members(self) -> list[dict[str, object]]:
        for port in self._rest:
            try:
                url = f"http://127.0.0.1:{port}/cluster"
                with urllib.request.urlopen(url, timeout=5) as answer:
                    members: list[dict[str, object]] = json.load(answer)["members"]
                    return members
            except (urllib.error.URLError, OSError, KeyError, ValueError):
                continue
        return []

    def _run(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as file:
            return subprocess.Popen(command, stdout=file, stderr=file, cwd="/")
