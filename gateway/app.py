"""Composition root: the only file that knows every part, and the order of start and stop.

Start: buffer (repaired if need be), catalogue, rules, metrics, uplinks, sources. Stop, on SIGTERM:
sources first, then the pipeline, then the uplinks get DRAIN_S to send what is committed, then the
buffer is flushed and closed. A failing source never reaches this file: `supervise` holds it.
Parts that are not configured are not imported.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from buffer.store import Buffer
from drivers.contract import DeviceError, Driver
from gateway.model.catalogue import Catalogue, assign_ids, decode_ids, encode_ids
from gateway.model.event import gap_event
from gateway.observe.health import Health
from gateway.observe.http import ObserveServer
from gateway.observe.log import logger
from gateway.observe.metrics import Metrics
from gateway.observe.parts import buffer_statistics
from gateway.pipeline import Pipeline
from gateway.rules.judge import Judge
from gateway.runtime.backoff import FullJitter
from gateway.runtime.clock import SystemClock, boot_id
from gateway.runtime.supervise import supervise
from gateway.sources.build import open_sources

if TYPE_CHECKING:
    from gateway.config.load import Site
    from gateway.uplink.client import Uplink

SOFTWARE = f"plantgate/{version('plantgate')}"
ALARM_ID_BYTES = 16
BACKOFF_BASE_MS = 500
BACKOFF_CAP_MS = 10_000
DRAIN_S = 3.0
DRAIN_LOOK_NS = 20_000_000
POINT_IDS_STATE = "point_ids"
_LOG = logger("app")


async def run(site: Site, stop: asyncio.Event) -> None:
    """Run one site until `stop` is set. Raises BufferPathError if the data directory fails."""
    clock = SystemClock()
    buffer = Buffer.open(
        site.gateway.data_dir,
        site.buffer.to_config(),
        clock=clock,
        boot_id=boot_id(),
        encode_gap=gap_event,
    )
    async with buffer:
        catalogue, ids = _catalogue(buffer, site)
        judge = _judge(buffer, site, catalogue)
        pipeline = Pipeline(buffer, catalogue, judge, clock)
        if catalogue.hash in buffer.catalogue_records():
            buffer.set_catalogue(catalogue.hash)
        else:
            await pipeline.announce({POINT_IDS_STATE: encode_ids(ids)})
        pipeline.begin()
        metrics, health = Metrics(), Health()
        metrics.register("flow", pipeline.statistics)
        metrics.register("buffer", partial(buffer_statistics, buffer))
        health.register("buffer", buffer.health, vital=True)
        sources = open_sources(site, catalogue, judge, clock)
        uplinks = _uplinks(site, buffer, pipeline, clock)
        for name, source in sources.items():
            metrics.register(f"source_{name}", source.statistics)
        for name, uplink in uplinks.items():
            metrics.register(f"uplink_{name}", uplink.statistics)
            health.register(f"uplink_{name}", uplink.health)
        async with ObserveServer(site.metrics.host, site.metrics.port, metrics, health) as observe:
            _LOG.info("running", site=str(site.path), points=len(catalogue.points),
                      metrics=f"http://{observe.address}/metrics")  # fmt: skip
            await _run_parts(sources, pipeline, uplinks, clock, stop)


async def _run_parts(
    sources: dict[str, Driver],
    pipeline: Pipeline,
    uplinks: dict[str, Uplink],
    clock: SystemClock,
    stop: asyncio.Event,
) -> None:
    async with asyncio.TaskGroup() as back:
        sending = [
            back.create_task(_supervised(f"uplink {name}", uplink.run, pipeline, clock))
            for name, uplink in uplinks.items()
        ]
        judging = back.create_task(pipeline.run())
        async with asyncio.TaskGroup() as front:
            reading = [
                front.create_task(
                    _supervised(name, partial(source.run, pipeline.accept), pipeline, clock)
                )
                for name, source in sources.items()
            ]
            await stop.wait()
            for task in reading:
                task.cancel()
        judging.cancel()
        await _drain(uplinks, clock)
        for task in sending:
            task.cancel()


async def _supervised(
    name: str, run_once: Callable[[], Awaitable[None]], pipeline: Pipeline, clock: SystemClock
) -> None:
    def report(source_name: str, error: Exception, delay_ms: float) -> None:
        expected = isinstance(error, DeviceError)
        _LOG.warning("part failed", name=source_name, error=str(error),
                     again_in_ms=round(delay_ms), exc_info=None if expected else error)  # fmt: skip
        pipeline.note("part.failed", source_name, str(error), {"expected": str(expected).lower()})

    await supervise(
        name,
        run_once,
        clock=clock,
        backoff=FullJitter(BACKOFF_BASE_MS, BACKOFF_CAP_MS, random.SystemRandom()),
        on_failure=report,
        expected=(DeviceError,),
    )


async def _drain(uplinks: dict[str, Uplink], clock: SystemClock) -> None:
    """Give the uplinks a moment to send what is committed; what is left stays in the buffer."""
    try:
        async with asyncio.timeout(DRAIN_S):
            while any(u.statistics()["backlog_records"] for u in uplinks.values()):
                await clock.sleep_until(clock.monotonic_ns() + DRAIN_LOOK_NS)
    except TimeoutError:
        _LOG.info("stopped with a backlog; it stays in the buffer")


def _catalogue(buffer: Buffer, site: Site) -> tuple[Catalogue, dict[str, int]]:
    """Give ids to the points: those that the log knows keep theirs."""
    ids = assign_ids(decode_ids(buffer.state(POINT_IDS_STATE)), site.point_names())
    return Catalogue.of(site.points(ids)), ids


def _judge(buffer: Buffer, site: Site, catalogue: Catalogue) -> Judge:
    zones = [f"{camera.name}/{zone.name}" for camera in site.cameras for zone in camera.zones]
    return Judge(
        catalogue.points,
        zones,
        new_id=partial(secrets.token_bytes, ALARM_ID_BYTES),
        state=buffer.state,
    )


def _uplinks(
    site: Site, buffer: Buffer, pipeline: Pipeline, clock: SystemClock
) -> dict[str, Uplink]:
    if not site.uplinks:
        return {}
    from gateway.uplink.client import GatewayIdentity, Uplink

    identity = GatewayIdentity(
        gateway_id=site.gateway.id,
        enterprise=site.gateway.enterprise,
        software=SOFTWARE,
        boot_id=boot_id(),
    )
    return {
        uplink.name: Uplink(
            uplink,
            log=buffer,
            clock=clock,
            identity=identity,
            events=pipeline.note_uplink,
            rng=random.SystemRandom(),
        )
        for uplink in site.uplinks
    }
