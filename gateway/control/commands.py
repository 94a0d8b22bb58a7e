"""All commands of one gateway, by what is asked. Parts that are not configured are not imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.contract import Clock
from gateway.control.alarms import handlers
from gateway.control.cameras import Eyes, camera_handlers
from gateway.control.risk import risk_handlers
from gateway.control.server import Handler
from gateway.pipeline import Pipeline

if TYPE_CHECKING:
    from gateway.workflow import WorkFlow


def commands(
    pipeline: Pipeline, work: WorkFlow | None, clock: Clock, eyes: Eyes | None = None
) -> dict[str, Handler]:
    """Make the handlers of alarms, of their handling 消警, and of permits where work is watched."""
    found = {
        **handlers(pipeline, clock),
        **risk_handlers(pipeline),
        **(camera_handlers(pipeline, eyes) if eyes is not None else {}),
    }
    if work is not None:
        from gateway.control.handling import handling_handlers

        found |= handling_handlers(pipeline, work, clock)
    if work is not None and work.monitor is not None:
        from gateway.control.permits import PermitDesk

        found |= PermitDesk(pipeline, work.monitor, clock).handlers()
    return found
