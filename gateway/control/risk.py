"""What `plantgate risk` asks: grade, risk of units, and who is reported to more closely."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.control.server import Answer, Handler
from gateway.pipeline import Pipeline


def risk_handlers(pipeline: Pipeline) -> dict[str, Handler]:
    """Make the handler."""

    def shown(_request: Mapping[str, Any]) -> Answer:
        view = pipeline.risk.view
        return {
            "enterprise_grade": view.grade.value if view.grade is not None else None,
            "grade_words": view.grade.words if view.grade is not None else "",
            "unit_risks": {unit: level.value for unit, level in view.units.items()},
            "unit_words": {unit: level.words for unit, level in view.units.items()},
            "reported_more_closely": pipeline.risk.raised(),
        }

    return {"risk.show": shown}
