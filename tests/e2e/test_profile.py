"""A detector known by its profile, from registers to receiver: its state, its alarm, its loss.

The device is a fake on a loop of its own thread; gateway and receiver are processes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.world import World, until
from tests.fakes.beside import beside
from tests.fakes.modbus_server import ModbusServer

WARM_UP, NORMAL = 2, 1


def _detector() -> ModbusServer:
    """A Sensepoint XCD at 20.9 %vol in warm-up, both of its alarm bits set."""
    server = ModbusServer(100)
    server.device.holding[:] = 0
    server.device.holding[2:4] = [0x41A7, 0x3333]
    server.device.holding[5:7] = [0x3, WARM_UP]
    server.device.holding[10] = 3
    return server


@pytest.mark.e2e
def test_state_becomes_quality_and_the_panel_alarm_is_the_alarm(tmp_path: Path) -> None:
    with beside(_detector) as server, World(tmp_path) as world:
        world.write_site(f"""
[[device]]
name = "gds-1"
driver = "modbus"
host = "127.0.0.1"
port = {server.port}
poll_ms = 100
timeout_ms = 4000
profile = "honeywell-sensepoint-xcd"
tags = "AT-001"
gas_unit = "%vol"
""")
        checked = world.plantgate("check", str(world.site)).stdout
        assert "from documents, not yet seen on a device" in checked
        assert "AT-001.alarm_2: holding 5 bit1" in checked
        world.start_receiver()
        world.start_gateway()
        rows = until(lambda: world.query("--point", "gds-1/AT-001"), what="values arrive")
        assert {row.quality for row in rows} == {"uncertain:warm_up"}
        assert rows[0].value == pytest.approx(20.9)
        assert world.alarms() == []  # both bits stand, in a state that is not for alarm

        server.device.holding[6] = NORMAL
        raised = until(world.alarms, what="the panel's alarm arrives")
        assert all("gds-1/AT-001.alarm_" in " ".join(row.values()) for row in raised)
        until(
            lambda: any(row.quality == "good" for row in world.query("--point", "gds-1/AT-001")),
            what="the value is good",
        )

        server.device.holding[5] = 0
        server.device.faults.silent = True
        lost = until(
            lambda: [row for row in world.alarms() if row["condition"] == "not_judged"],
            what="an alarm says that nobody can judge the panel's alarms",
        )
        assert (lost[0]["source"], lost[0]["quality"]) == ("gds-1", "bad:comm_failure")
        server.device.faults.silent = False
        until(
            lambda: [
                row
                for row in world.alarms()
                if row["condition"] == "not_judged" and row["state"] == "returned_unacknowledged"
            ],
            what="it returns with the detector",
        )
