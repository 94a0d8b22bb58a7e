"""SIGHUP applies a changed site: what changed restarts, all else never notices; a mistake, nothing.

That a device was left alone is told by its connection (the gateway's own port of it stays) and by
its counter: each read counts one up, so a read that is lost or done twice is a gap at the receiver.
"""

from __future__ import annotations

import contextlib
import hashlib
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.watched import Watched, stop_clean
from tests.e2e.world import free_ports, until

pytestmark = pytest.mark.e2e


class Plant(Watched):
    """Two Modbus devices, each with a table NAME.csv under name,area,address,type,high."""

    def __enter__(self) -> Plant:
        super().__enter__()
        return self

    def write_table(self, name: str, *rows: str) -> None:
        lines = ("name,area,address,type,high", *rows, "")
        (self.folder / f"{name}.csv").write_text("\n".join(lines), encoding="utf-8")

    def write_devices(self, **ports: int) -> None:
        self.write_site(
            "".join(
                f'[[device]]\nname = "{name}"\ndriver = "modbus"\nhost = "127.0.0.1"\n'
                f"port = {port}\nunit = 1\npoll_ms = 100\ntimeout_ms = 20000\n"
                f'points = "{name}.csv"\n'
                for name, port in ports.items()
            )
        )

    def reload(self, gateway: subprocess.Popen[bytes], kind: str, count: int = 1) -> str:
        """Send SIGHUP and wait for the count-th event of a kind; gives its text."""
        gateway.send_signal(signal.SIGHUP)
        until(lambda: len(self.said(kind)) == count, what=f"{count} {kind}")
        return self.said(kind)[-1]

    def said(self, kind: str) -> list[str]:
        return [event["text"] for event in self.notices("events") if event["kind"] == kind]

    def count(self, point: str) -> int:
        return sum(row.point == point for row in self.query() if row.quality == "good")

    def wait_for_more(self, point: str, more: int = 5) -> None:
        begin = self.count(point)
        until(lambda: self.count(point) >= begin + more, what=f"{point} goes on")


def connections(gateway: subprocess.Popen[bytes], port: int) -> set[int]:
    """The gateway's own ports of its connections to a port."""
    sockets = set()
    for link in Path(f"/proc/{gateway.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            sockets.add(str(link.readlink()))
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    fields = [line.split() for line in lines]  # proc(5): local, remote, state 01, ... inode
    return {
        int(field[1].partition(":")[2], 16)
        for field in fields
        if field[2].endswith(f":{port:04X}") and field[3] == "01"
        and f"socket:[{field[9]}]" in sockets
    }  # fmt: skip


def test_a_changed_table_restarts_its_device_alone_and_a_mistake_restarts_none(
    tmp_path: Path,
) -> None:
    with Plant(tmp_path) as world:
        left, right = free_ports(2)
        world.start_modbus(left, 8)
        world.start_modbus(right, 8)
        world.write_table("left", "n0,holding,0,u32,")
        world.write_table("right", "n0,holding,0,u32,")
        world.write_devices(left=left, right=right)
        world.start_receiver()
        gateway = world.start_gateway()
        until(
            lambda: world.count("left/n0") > 3 and world.count("right/n0") > 3,
            what="both devices are read",
        )
        before = connections(gateway, left), connections(gateway, right)
        assert [len(found) for found in before] == [1, 1]

        world.write_table("left", "n0,holding,0,u32,", "n1,holding,none,u32,", "n1,coil,-3,u99,")
        text = world.reload(gateway, "config.rejected")
        assert "left.csv" in text
        world.wait_for_more("left/n0")
        assert (connections(gateway, left), connections(gateway, right)) == before

        world.write_table("left", "n0,holding,0,u32,", "n1,holding,2,u32,")
        text = world.reload(gateway, "config.applied")
        assert "0 added, 0 removed, 1 changed, 1 unchanged" in text
        world.wait_for_more("left/n1")
        world.wait_for_more("right/n0")
        assert connections(gateway, right) == before[1]
        assert not connections(gateway, left) & before[0]

        stop_clean(world, gateway)
        good = [row for row in world.query() if row.quality == "good"]
        values = [row.value for row in good if row.point == "right/n0"]
        assert values == list(range(1, len(values) + 1))
        assert not [row for row in world.query() if row.quality != "good"]
        previous = world.data / "config" / "previous"
        assert (previous / "left.csv").read_text(encoding="utf-8").count("n1") == 0
        for line in (previous / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
            digest, _, name = line.partition("  ")
            assert hashlib.sha256((previous / name).read_bytes()).hexdigest() == digest


def test_limits_change_without_a_restart_and_devices_come_and_go(tmp_path: Path) -> None:
    with Plant(tmp_path) as world:
        left, right = free_ports(2)
        world.start_modbus(left, 8, mode="static")
        world.start_modbus(right, 8)
        world.write_table("left", "five,holding,5,u16,100")
        world.write_table("right", "n0,holding,0,u32,")
        world.write_devices(left=left)
        world.start_receiver()
        gateway = world.start_gateway()
        until(lambda: world.count("left/five") > 3, what="the device is read")
        before = connections(gateway, left)
        assert len(before) == 1
        assert not world.alarms()

        world.write_table("left", "five,holding,5,u16,3")
        world.reload(gateway, "config.applied")
        until(lambda: len(world.alarms()) == 1, what="the new limit raises an alarm")
        assert float(world.alarms()[0]["limit"]) == 3.0

        world.write_devices(left=left, right=right)
        world.reload(gateway, "config.applied", 2)
        world.wait_for_more("right/n0")
        assert connections(gateway, left) == before
        assert world.metric("flow_alarms_standing") == 1.0
        assert world.metric("source_requests", "right") > 0

        site = world.site.read_text(encoding="utf-8")
        world.site.write_text(site + '[log]\nlevel = "debug"\n', encoding="utf-8")
        assert "[log] needs a restart" in world.reload(gateway, "config.rejected")

        world.write_table("left", "five,holding,5,u16,")
        world.write_devices(left=left)
        world.reload(gateway, "config.applied", 3)
        until(
            lambda: world.metric("flow_alarms_standing") == 0.0,
            what="the alarm of the removed limit is returned",
        )
        assert connections(gateway, left) == before
        assert not connections(gateway, right)
        assert 'source_requests{name="right"' not in world.page("/metrics")[1]
        until(lambda: len(world.notices("alarms")) == 2, what="the return arrives")
        raised, returned = world.notices("alarms")
        assert raised["alarm_id"] == returned["alarm_id"]
        assert "its limit was removed" in str(world.notices("alarms"))
        stop_clean(world, gateway)
