"""Devices with a shipped profile, simulated at rest: the driver finds nothing wrong with them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from drivers.contract import Batch, SourceEvent, quality_word
from drivers.modbus.profile_files import load as load_profile
from drivers.modbus.profile_files import names
from drivers.sim.rehearsal import Ports, Rehearsal
from gateway.cli.sim_site import Where, translate
from gateway.config.load import load
from gateway.runtime.clock import SystemClock

SITE = """
[gateway]
id = "SD-1"
enterprise = "91350100M000100Y43"
data_dir = "data"
[[device]]
name = "gds"
driver = "modbus"
host = "127.0.0.1"
port = 1
poll_ms = 50
timeout_ms = 20000
profile = "{name}"
"""


def site_text(name: str) -> str:
    """A site with this profile, and what the profile asks the site for."""
    profile = load_profile(name)
    text = SITE.format(name=name)
    units = profile.units_of("value")
    if not any(register.unit for register in profile.registers if register.tag == "value"):
        text += f'gas_unit = "{units[0] if units else "%LEL"}"\n'
    if any(register.decimals == "ask" for register in profile.registers):
        text += "decimals = 1\n"
    return text


@pytest.mark.parametrize("name", names())
async def test_a_device_at_rest_is_good(name: str, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(site_text(name), encoding="utf-8")
    site = load(tmp_path / "site.toml")
    (device,) = site.devices
    found = translate(site, Where(anywhere=True))
    stop, listening, enough = asyncio.Event(), asyncio.Event(), asyncio.Event()
    ports: dict[str, int] = {}
    batches: list[Batch] = []

    def ready(where: Ports) -> None:
        ports.update(where.by_device)
        listening.set()

    async def emit(item: Batch | SourceEvent) -> asyncio.Future[object]:
        if isinstance(item, Batch):
            batches.append(item)
            if len(batches) > 8:
                enough.set()
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async with asyncio.TaskGroup() as tasks, asyncio.timeout(120):
        tasks.create_task(Rehearsal(found.devices, [], 1).run(stop, ready))
        await listening.wait()
        config: Any = device.config.model_copy(update={"port": ports["gds"]})
        ids = {point: at for at, point in enumerate(device.names(), start=1)}
        driver = device.driver.open("gds", config, device.driver_points(ids), SystemClock())
        reading = tasks.create_task(driver.run(emit))
        await enough.wait()
        reading.cancel()
        stop.set()
    tags = {number: point for point, number in ids.items()}
    said = {
        (tags[int(point)], quality_word(int(quality)))
        for batch in batches[-4:]
        for point, quality in zip(batch.points, batch.quality, strict=True)
    }
    assert {entry for entry in said if not entry[1].startswith("good")} == set()
    assert {entry[0] for entry in said} == set(ids)
