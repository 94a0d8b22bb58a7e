"""A real PostgreSQL 15 on loopback, as user postgres where the tests run as root.

`apt-get install --no-install-recommends postgresql-15` brings the programs; the cluster that the
package makes is not touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.e2e.world import PATIENCE_S, free_port
from tests.waiting import ended

_PROGRAMS = "/usr/lib/postgresql/15/bin:/usr/lib/postgresql/16/bin:/usr/lib/postgresql/17/bin"


def require() -> None:
    """Skip, or fail where CI=true, if PostgreSQL is missing; says what to install."""
    if _program("initdb") is None:
        message = "initdb missing; apt-get install postgresql-15"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


class Postgres:
    """One server with a data directory of its own; stop and start it as often as needed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="plantgate-pg-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self._run("initdb", "--pgdata", str(self.folder / "data"), "--auth", "trust",
                  "--username", "postgres", "--encoding", "UTF8", "--locale", "C.UTF-8",
                  "--no-sync")  # fmt: skip

    @property
    def address(self) -> str:
        """Address of the server's own database."""
        return self.address_of("postgres")

    def address_of(self, database: str) -> str:
        """Address of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start in the foreground and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*as_postgres(), str(_program("postgres")), "-D", str(self.folder / "data"),
                 "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
                 "-c", f"unix_socket_directories={self.folder}", "-c", "shared_buffers=32MB",
                 "-c", "max_connections=60"],
                stdout=log, stderr=log, cwd="/",
            )  # fmt: skip
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                psycopg.connect(self.address, connect_timeout=5).close()
            except psycopg.OperationalError:
                code, said = self._process.poll(), (self.folder / "log").read_text()[-3000:]
                assert code is None, f"PostgreSQL ended with exit code {code}: {said}"
                assert time.monotonic() < deadline, f"PostgreSQL does not answer: {said}"
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop fast (SIGINT), or at once without a checkpoint (SIGQUIT)."""
        if self._process is not None:
            pid = int((self.folder / "data/postmaster.pid").read_text().split()[0])
            os.kill(pid, how)
            self._process.wait(timeout=60)
            self._process = None

    def kill(self) -> None:
        """SIGKILL the server, as a power cut ends it; `start` recovers it.

        Its children end themselves when they see it; before that, it cannot be started again.
        """
        pid = int((self.folder / "data/postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        self.stop(signal.SIGKILL)
        left = [child for child in children if not ended(int(child), PATIENCE_S)]
        assert not left, f"processes of PostgreSQL outlive it: {left}"

    def database(self) -> str:
        """Make an empty database; returns its address."""
        name = f"t{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.address, autocommit=True) as db:
            db.execute(
                sql.SQL("CREATE DATABASE {} STRATEGY file_copy").format(sql.Identifier(name))
            )
        return self.address_of(name)

    def drop(self, address: str) -> None:
        """Drop a database, whoever is connected."""
        name = address.rpartition("/")[2]
        with psycopg.connect(self.address, autocommit=True) as db:
            db.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def close(self) -> None:
        """Stop and remove everything."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*as_postgres(), str(_program(program)), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/")


def as_postgres() -> list[str]:
    """Start of a command that runs as user postgres; nothing where the tests are not root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{_PROGRAMS}:{os.environ.get('PATH', '')}")
