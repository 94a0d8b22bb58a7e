"""Everything that the control socket answers, put together: the one thing the app makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from drivers.contract import Clock
from gateway.control.cameras import Eyes
from gateway.control.commands import commands
from gateway.control.lookup import Lookup
from gateway.control.picture import PlantView, Seen
from gateway.control.pictures import Pictures
from gateway.control.server import ControlServer
from gateway.control.site_facts import SiteFacts
from gateway.control.sole import Sole
from gateway.control.tap import Tap
from gateway.control.watch import Watch
from gateway.observe.health import Health
from gateway.observe.metrics import Metrics
from gateway.pipeline import Pipeline

if TYPE_CHECKING:
    from buffer.store import Buffer
    from gateway.config.site import Site
    from gateway.workflow import WorkFlow


class Applies(Protocol):
    """Who applies a changed site (gateway/sources/reload.py)."""

    applied: Callable[[Site], None]


class Parts(Protocol):
    """What runs, as far as people may look at it."""

    @property
    def pipeline(self) -> Pipeline:
        """The flow."""
        ...

    @property
    def work(self) -> WorkFlow | None:
        """Special work, if it is watched."""
        ...

    @property
    def album(self) -> Eyes:
        """Pictures of the cameras that run."""
        ...

    @property
    def reloader(self) -> Applies:
        """Applies a changed site."""
        ...


def control_server(
    site: Site, buffer: Buffer, parts: Parts, observed: tuple[Metrics, Health, str], clock: Clock
) -> ControlServer:
    """Make the server of the local socket; observed: metrics, health, and the software's name."""
    metrics, health, software = observed
    pipeline, work, data_dir = parts.pipeline, parts.work, site.gateway.data_dir
    tap = Tap()
    buffer.add_listener(tap.heard)
    seen = Seen(pipeline, work, buffer, metrics, health, clock)
    view = PlantView(seen, SiteFacts.of(site, software), tap)

    def applied(changed: Site) -> None:
        view.facts = SiteFacts.of(changed, software)

    parts.reloader.applied = applied
    lookup = Lookup(view, pipeline, work, buffer, data_dir / "evidence")
    watch = Watch(view, clock, lookup.watch_values)
    answers = {
        **commands(pipeline, work, clock, parts.album),
        **watch.handlers(),
        **lookup.handlers(),
        **Pictures(parts.album.look, clock).handlers(),
    }

    def second(said: str) -> None:
        pipeline.note("gateway.second_here", "gateway", said, {})
        health.register("gateway_id", lambda: (not sole.taken(), said))

    sole = Sole(site.gateway.id, sorted({uplink.target for uplink in site.uplinks}), second)
    return ControlServer(data_dir, answers, sole)
