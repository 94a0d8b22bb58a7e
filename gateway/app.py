"""Composition root: the only file that knows every part, and the order of start and stop.

Start: buffer (repaired if need be), catalogue, rules, metrics, uplinks, sources. Stop, on SIGTERM:
sources first, then the pipeline, then the uplinks get DRAIN_S to send what is committed, then the
buffer is flushed and closed. A failing source never reaches this file: `supervise` holds it.
Meanwhile `again` applies the site anew (sources/reload.py). What is not configured is not imported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from buffer.store import Buffer
from drivers.contract import Clock, Driver
from gateway.control.answers import control_server
from gateway.model.catalogue import Catalogue, encode_ids
from gateway.normalise.scale import Normaliser
from gateway.observe.health import Health
from gateway.observe.listen import listening
from gateway.observe.log import logger
from gateway.observe.metrics import Metrics
from gateway.observe.parts import buffer_statistics
from gateway.pipeline import Pipeline
from gateway.rules.judge import DESK_STATE
from gateway.runtime.clock import SystemClock, boot_id
from gateway.runtime.forks import without_grpc
from gateway.runtime.memory import one_arena, settle
from gateway.sources.album import Album
from gateway.sources.build import (
    POINT_IDS_STATE,
    make_duty,
    make_ids,
    make_judge,
    make_work,
    open_cameras,
    open_devices,
    open_recordings,
    start_notes,
)
from gateway.sources.camera_groups import CameraGroups
from gateway.sources.file_keeper import FileKeeper
from gateway.sources.keep import Part, end, keep_running
from gateway.sources.opening import Opening, opening
from gateway.sources.reload import Reloader
from gateway.sources.running import RunningSources
from gateway.sources.timekeeper import Timekeeper
from gateway.uplink.drain import drain

if TYPE_CHECKING:
    from gateway.config.load import Site
    from gateway.uplink.client import Uplink
    from gateway.workflow import WorkFlow

SOFTWARE = f"plantgate/{version('plantgate')}"
SYSTEM_CLOCK = SystemClock()
_LOG = logger("app")


@dataclass(frozen=True, slots=True)
class Parts:
    """What runs, made from a site; the site itself is dropped once they exist."""

    pipeline: Pipeline
    sources: dict[str, Driver]
    uplinks: dict[str, Uplink]
    reloader: Reloader
    work: WorkFlow | None
    timekeeper: Timekeeper
    album: Album
    files: FileKeeper
    beside: dict[str, Part]


async def run(
    load: Callable[[], Site],
    stop: asyncio.Event,
    again: asyncio.Event,
    clock: SystemClock = SYSTEM_CLOCK,
) -> None:
    """Run the site that `load` gives until `stop` is set; apply it anew when `again` is.

    Raises what `load` raises, BufferPathError if the data directory fails, NotStoredError if it
    takes no record, and ListenError if the address of metrics cannot be had.
    """
    one_arena()
    without_grpc()
    opened: Opening | None = opening(load(), load, clock, stop)
    while opened is not None:
        opened = await opened.used(partial(_run_log, again=again, clock=clock))


async def _run_log(opened: Opening, again: asyncio.Event, clock: SystemClock) -> Opening | None:
    """Run a site on one log; gives what to run on then, None to stop."""
    site, buffer, health = opened.taken(), opened.buffer, Health()
    async with buffer:
        await opened.begin(site)
        parts = await _build(
            site, buffer, clock, health, partial(Reloader, site, opened.load, again)
        )
        opened.attend(parts.pipeline.note, parts.beside)
        metrics, where = _observed(buffer, parts, health), (site.metrics.host, site.metrics.port)
        control = control_server(site, buffer, parts, (metrics, health, SOFTWARE), clock)
        del site  # validated rows of 100,000 points are half of the memory
        settle()
        async with listening(*where, metrics, health) as observe, control:
            _LOG.info("running", metrics=f"http://{observe.address}/metrics")
            await _run_parts(parts, metrics, clock, opened)
        await opened.ending()
    return await opened.following()


async def _build(
    site: Site,
    buffer: Buffer,
    clock: SystemClock,
    health: Health,
    reloader: Callable[[Buffer, Pipeline, CameraGroups], Reloader],
) -> Parts:
    """Make every part; the catalogue is durable before any source runs."""
    ids, groups = make_ids(site, buffer.state(POINT_IDS_STATE)), CameraGroups(clock)
    sources = open_devices(site, ids, clock)  # before what is dropped: it would hold its memory
    catalogue = Catalogue.of(site.points(ids))
    judge = make_judge(site, catalogue, buffer.states(DESK_STATE))
    sources |= open_cameras(site, catalogue, judge, groups)
    work, work_lost = make_work(site, catalogue, buffer.state, clock)
    scales, bare = Normaliser(catalogue.points), catalogue.without_points()
    pipeline = Pipeline(buffer, bare, scales, judge, clock, work)
    sources |= open_recordings(site, catalogue, pipeline.recorded, clock)
    if catalogue.hash in buffer.catalogue_records():
        buffer.set_catalogue(catalogue.hash)
    else:
        await pipeline.announce({POINT_IDS_STATE: encode_ids(ids)})
    duty = make_duty(site, buffer, pipeline, clock)
    buffer.add_repair_listener(pipeline.repaired)
    await pipeline.begin()
    for kind, source, text, attributes in start_notes(site, buffer.notes, work_lost):
        pipeline.note(kind, source, text, attributes)
    timekeeper = Timekeeper(boot_id(), clock, buffer, pipeline.note)
    album, files = Album(pipeline), FileKeeper(buffer, clock, pipeline.note)
    uplinks = _uplinks(site, buffer, pipeline, health, (timekeeper, album))
    again = reloader(buffer, pipeline, groups)
    beside: dict[str, Part] = {} if duty is None else {"notify": duty}
    if site.console is not None:
        from gateway.console.process import ConsoleProcess

        console = ConsoleProcess(site.console, site.gateway.data_dir, pipeline.note, clock)
        beside["console"] = console
    return Parts(pipeline, sources, uplinks, again, work, timekeeper, album, files, beside)


def _observed(buffer: Buffer, parts: Parts, health: Health) -> Metrics:
    metrics = Metrics()
    metrics.register("flow", parts.pipeline.statistics)
    metrics.register("buffer", partial(buffer_statistics, buffer))
    metrics.register("clock", parts.timekeeper.statistics)
    health.register("buffer", buffer.health, vital=True)
    uplinks = {f"uplink_{name}": uplink for name, uplink in parts.uplinks.items()}
    for name, part in {**parts.beside, **uplinks}.items():
        metrics.register(name, part.statistics)
        health.register(name, part.health)
    return metrics


async def _run_parts(parts: Parts, metrics: Metrics, clock: Clock, opened: Opening) -> None:
    pipeline, uplinks = parts.pipeline, parts.uplinks
    async with asyncio.TaskGroup() as back:
        keep = partial(keep_running, note=pipeline.note, clock=clock)
        named = {f"uplink {name}": one for name, one in uplinks.items()} | parts.beside
        sending = [back.create_task(keep(name, one.run)) for name, one in named.items()]
        watching = [back.create_task(pipeline.run()), back.create_task(parts.timekeeper.run())]
        watching.append(back.create_task(keep("files", parts.files.run)))
        async with asyncio.TaskGroup() as front:
            running = RunningSources(front, pipeline, metrics, clock)
            pipeline.capture, parts.album.cameras = running.capture, running
            running.start(parts.sources)
            applying = front.create_task(keep("reload", partial(parts.reloader.run, running)))
            await opened.until()
            await end([applying])
            await running.end()
        for task in watching:
            task.cancel()
        await drain(pipeline.settled, [one.statistics for one in uplinks.values()], clock)
        await end(sending)


def _uplinks(
    site: Site, buffer: Buffer, pipeline: Pipeline, health: Health, own: tuple[Timekeeper, Album]
) -> dict[str, Uplink]:
    if not site.uplinks:
        return {}
    from gateway.uplink.build import Around, make_uplinks

    around = Around(SOFTWARE, own[0].clock, own[0].heard, own[1])
    return make_uplinks(site, buffer, pipeline, health, around)
