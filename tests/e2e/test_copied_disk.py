"""Two boxes of one identity, of one disk, and a backup that is restored: real processes, with TLS.

The device counts how often it is read, so each value is one read of one of the boxes: none may be
missing at the receiver, or there twice, whichever box it came from and whatever log it was under.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.watched import Watched, stop_when_sent
from tests.e2e.world import PLANTGATE, free_port, until

pytestmark = pytest.mark.e2e
BOOT_ID = "/proc/sys/kernel/random/boot_id"


@pytest.mark.timeout(600)
def test_a_copied_disk_and_a_restored_backup_lose_and_double_nothing(tmp_path: Path) -> None:
    with Watched(tmp_path) as world:
        port = free_port()
        world.start_modbus(port, 2)
        world.write_device(port, "n0,holding,0,u32,,5")
        world.start_receiver()
        first = world.start_gateway()
        delivered(world, 20)
        ends = stop_when_sent(world, first)
        copy, backup = tmp_path / "copy", tmp_path / "backup"
        for target in (copy, backup):
            shutil.copytree(world.data, target)

        first = world.start_gateway()
        delivered(world, 20)
        second = start_elsewhere(world, copy)
        until(lambda: "second_box" in faults(world), what="two boxes are noticed")
        until(lambda: forks(world), what="one took a new log")
        delivered(world, 40)
        ends += stop_when_sent(world, second, lambda: start_elsewhere(world, copy))
        ends += stop_when_sent(world, first)
        assert signed(world, world.data)
        assert signed(world, copy)

        shutil.rmtree(world.data)
        shutil.copytree(backup, world.data)
        restored = world.start_gateway()
        forked = forks(world)
        until(lambda: forks(world) > forked, what="it took a new log, too")
        delivered(world, 20)
        ends += stop_when_sent(world, restored)
        assert signed(world, world.data)

        values = sorted(int(row.value) for row in world.query("--point", "gds/n0") if row.value)
        assert len(values) == len(set(values)), "nothing twice"
        assert values[-1] - values[0] + 1 - len(values) <= ends, "at most a read at each end"
        raised = [row for row in world.alarms() if row["state"] == "unacknowledged_active"]
        assert [row["source"] for row in raised] == ["gds/n0"], "all boxes know that it stands"
        assert {"log_behind", "new_log", "second_box"} <= faults(world)
        assert not {"bad_signature", "conflict", "chain"} & faults(world)


def start_elsewhere(world: Watched, data: Path) -> subprocess.Popen[bytes]:
    """The same gateway on another disk and, by its boot id, on another box."""
    site, boot = world.folder / "second.toml", world.folder / "boot_id"
    text = world.site.read_text(encoding="utf-8").replace(str(world.data), str(data))
    text = text.replace(f"127.0.0.1:{world.metrics_port}", f"127.0.0.1:{free_port()}")
    site.write_text(text, encoding="utf-8")
    boot.write_text(f"{uuid.uuid4()}\n", encoding="ascii")
    script = f'mount --bind {boot} {BOOT_ID} && exec "$@"'
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    inside = ["unshare", *user, "--mount", "sh", "-c", script, "sh"]
    return world.start("gateway", [*inside, *PLANTGATE, "run", str(site)])


def delivered(world: Watched, more: int) -> None:
    """Wait until so many more records of telemetry are at the receiver."""
    query = "SELECT count(*) FROM records WHERE (id >> 40) % 4 = 2"
    there = asked(world, query)[0][0]
    until(lambda: asked(world, query)[0][0] >= there + more, what="values come")


def faults(world: Watched) -> set[str]:
    """Kinds of what the receiver found wrong."""
    return {kind for (kind,) in asked(world, "SELECT kind FROM faults")}


def forks(world: Watched) -> int:
    """How often a gateway said that it took a new log id because of what the receiver had."""
    return sum(one["kind"] == "uplink.log_forked" for one in world.notices("events"))


def asked(world: Watched, query: str) -> list[tuple[Any, ...]]:
    """Rows of the receiver's store, beside it."""
    address = f"{(world.store / 'receiver.db').as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=10)) as store:
        return store.execute(query).fetchall()


def signed(world: Watched, data: Path) -> bool:
    """Tell whether each stream is as it was written, and alarms are signed by the gateway's key."""
    certificate = str(world.folder / "certs" / "gateway.pem")
    told = world.plantgate("buffer", "verify", str(data), "--certificate", certificate, "--json")
    found = {one["stream"]: one for one in map(json.loads, told.stdout.splitlines())}
    return all(one["ok"] for one in found.values()) and found["telemetry"]["signatures"] > 0
