"""Make the uplinks of a site; nothing connects yet."""

from __future__ import annotations

import random
from collections.abc import Mapping

from buffer.store import Buffer
from gateway.config.site import Site
from gateway.observe.health import Health
from gateway.observe.log import logger
from gateway.pipeline import Pipeline
from gateway.runtime.clock import SystemClock, boot_id
from gateway.uplink.client import GatewayIdentity, Uplink

_LOG = logger("app")


def make_uplinks(
    site: Site, buffer: Buffer, pipeline: Pipeline, health: Health, software: str
) -> dict[str, Uplink]:
    """One for each [[uplink]], by name; what happens to its link becomes an event."""

    def note(kind: str, text: str, attributes: Mapping[str, str]) -> None:
        (_LOG.info if kind == "link.up" else _LOG.warning)(text, kind=kind)
        pipeline.note_uplink(kind, text, attributes)

    identity = GatewayIdentity(
        gateway_id=site.gateway.id,
        enterprise=site.gateway.enterprise,
        software=software,
        boot_id=boot_id(),
    )
    return {
        uplink.name: Uplink(
            uplink,
            log=buffer,
            clock=SystemClock(),
            identity=identity,
            events=note,
            rng=random.SystemRandom(),
            health=lambda: health.report().state.value,
        )
        for uplink in site.uplinks
    }
