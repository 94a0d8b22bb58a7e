"""Hot reload: a changed site file is applied to the running gateway, or refused whole.

Guarantees:

- The files are read and judged whole before anything is touched. A mistake, a change that needs a
  restart, a file that changes while it is read, or a catalogue that cannot be stored: one event
  config.rejected, log lines, and everything goes on as it was.
- A source whose driver, configuration and addresses are the same goes on: same driver object, same
  connection, same batches. Scale, limits and units change in the pipeline alone, between two
  batches; standing alarms keep their ids.
- The new catalogue is durable before a batch is stored under it. Ids are never reused.
- Changed and removed sources have ended before the pipeline changes over; new ones start after.
- Reading and planning run in a thread, beside the flow; of the site only its fingerprint is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from buffer.contract import NotStoredError
from buffer.store import Buffer
from drivers.contract import Driver
from gateway.config.diff import Difference, Fingerprint, compare
from gateway.config.problems import ConfigError, ConfigProblem
from gateway.config.site import Site
from gateway.config.snapshot import Snapshot, previous_folder, take
from gateway.model.catalogue import Catalogue, encode_ids
from gateway.normalise.scale import Normaliser
from gateway.observe.log import logger
from gateway.pipeline import Pipeline
from gateway.rules.judge import Judge
from gateway.runtime.memory import settle
from gateway.sources.build import (
    POINT_IDS_STATE,
    make_ids,
    make_judge,
    open_cameras,
    open_devices,
    open_recordings,
    rule_notes,
)
from gateway.sources.camera_groups import CameraGroups
from gateway.sources.running import RunningSources

_LOG = logger("app")


class RestartNeededError(Exception):
    """The change is right, but part of it needs a restart. Holds the sections' names."""

    def __init__(self, sections: tuple[str, ...]) -> None:
        self.sections = sections
        listed = ", ".join(f"[{section}]" for section in sections)
        super().__init__(
            f"A change of {listed} needs a restart, so nothing was applied: restart the gateway,"
            " or take that change back and send SIGHUP again."
        )


@dataclass(frozen=True, slots=True)
class _Next:
    """A site that can be applied: all that is made before anything is touched."""

    site: Site
    snapshot: Snapshot
    fingerprint: Fingerprint
    difference: Difference
    catalogue: Catalogue
    ids: dict[str, int]
    normaliser: Normaliser
    judge: Judge
    devices: dict[str, Driver]


class Reloader:
    """Applies the site again whenever `again` is set. Made while the first site is still held."""

    def __init__(
        self,
        site: Site,
        load: Callable[[], Site],
        again: asyncio.Event,
        buffer: Buffer,
        pipeline: Pipeline,
        groups: CameraGroups,
    ) -> None:
        self._path = site.path
        self._data_dir = site.gateway.data_dir
        self._running = Fingerprint.of(site)
        self._load = load
        self._again = again
        self._buffer = buffer
        self._pipeline = pipeline
        self._groups = groups
        self._clock = groups.clock
        self.applied: Callable[[Site], None] = _nobody
        _keep(take(site.path), self._data_dir)

    async def run(self, sources: RunningSources) -> None:
        """Reload whenever it is asked for, until cancelled."""
        while True:
            await self._again.wait()
            self._again.clear()
            await self._reload(sources)
            settle()

    async def _reload(self, sources: RunningSources) -> None:
        known = self._buffer.state(POINT_IDS_STATE)
        try:
            following = await asyncio.to_thread(self._prepare, known)
            if following.catalogue.hash != self._pipeline.catalogue.hash:
                state = {POINT_IDS_STATE: encode_ids(following.ids)}
                await self._pipeline.announce_next(following.catalogue, state)
        except ConfigError as error:
            for problem in error.problems:
                _LOG.error("the changed configuration is wrong", problem=str(problem))
            count = len(error.problems)
            text = (
                f"The changed configuration was refused: {error.problems[0]}"
                + (f" (and {count - 1} more)" if count > 1 else "")
                + ". The gateway goes on with the one it has."
            )
            self._reject(text, count)
        except (RestartNeededError, NotStoredError, ValueError) as error:
            self._reject(f"The changed configuration was not applied. {error}", 1)
        else:
            await self._apply(following, sources)

    def _prepare(self, known_ids: bytes) -> _Next:
        """Read and plan, in a thread. Raises ConfigError, RestartNeededError, or ValueError."""
        before = take(self._path)
        site = self._load()
        if take(self._path) != before:
            text = "changed while it was being read: send SIGHUP again once all files are written"
            raise ConfigError([ConfigProblem(str(self._path), 0, "", text)])
        fingerprint = Fingerprint.of(site)
        difference = compare(self._running, fingerprint)
        if difference.restart:
            raise RestartNeededError(difference.restart)
        ids = make_ids(site, known_ids)
        devices = open_devices(site, ids, self._clock, difference.starting)
        catalogue = Catalogue.of(site.points(ids))
        return _Next(
            site,
            before,
            fingerprint,
            difference,
            catalogue,
            ids,
            Normaliser(catalogue.points),
            make_judge(site, catalogue, {}),
            devices,
        )

    async def _apply(self, following: _Next, sources: RunningSources) -> None:
        difference, catalogue, judge = following.difference, following.catalogue, following.judge
        await sources.end(difference.ending)
        self._pipeline.renew(catalogue.without_points(), following.normaliser, judge)
        if following.site.notify is not None and self._pipeline.listener is not None:
            self._pipeline.listener.renew(following.site.notify.roster)
        sources.start(following.devices)
        cameras = open_cameras(following.site, catalogue, judge, self._groups, difference.starting)
        sources.start(cameras)
        recorded = self._pipeline.recorded
        sources.start(open_recordings(following.site, catalogue, recorded, self._clock,
                                      difference.starting))  # fmt: skip
        self._running = following.fingerprint
        self.applied(following.site)
        self._say_applied(following)
        for kind, text, attributes in rule_notes(following.site):
            self._pipeline.note(kind, "rules", text, attributes)
        await asyncio.to_thread(_keep, following.snapshot, self._data_dir)

    def _say_applied(self, following: _Next) -> None:
        difference = following.difference
        counts = {
            name: str(len(getattr(difference, name)))
            for name in ("added", "removed", "changed", "unchanged")
        }
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        text = f"The changed configuration is applied. Devices and cameras: {said}."
        digest = following.snapshot.digest
        attributes = {**counts, "points": str(following.catalogue.count), "sha256": digest}
        self._pipeline.note("config.applied", "gateway", text, attributes)
        _LOG.info(text, **attributes, to_roll_back=f"copy {previous_folder(self._data_dir)}/* to"
                  f" {self._path.absolute().parent}, then send SIGHUP")  # fmt: skip

    def _reject(self, text: str, problems: int) -> None:
        _LOG.error(text)
        self._pipeline.note("config.rejected", "gateway", text, {"problems": str(problems)})


def _keep(snapshot: Snapshot, data_dir: Path) -> None:
    """Keep the files for a way back; a disk that takes none is no reason to stop."""
    try:
        snapshot.keep(data_dir)
    except OSError as error:
        _LOG.warning("the configuration cannot be kept for a way back", error=str(error))


def _nobody(_site: Site) -> None:
    """Until somebody wants to know of a site that was applied."""
