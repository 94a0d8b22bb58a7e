"""[alarms]: what a site decided about its alarms; see gateway/rules/desk_policy.py."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.config.model import Name, Section
from gateway.rules.desk_policy import DeskPolicy, FirstOut, Suppression

Pattern = Annotated[str, Field(min_length=1, max_length=256)]
Patterns = Annotated[tuple[Pattern, ...], Field(min_length=1, max_length=1000)]


class FirstOutConfig(Section):
    """[[alarms.first_out]]: of these alarms the first one is told apart 首出."""

    name: Name
    alarms: Patterns


class SuppressConfig(Section):
    """[[alarms.suppress]]: while an alarm of `cause` stands, `alarms` are suppressed by design."""

    cause: str = Field(min_length=1, max_length=256)
    alarms: Patterns
    reason: str = Field(min_length=1, max_length=512)


class AlarmsConfig(Section):
    """[alarms].

    latch: alarms that stay until they are reset, as "source:condition" with * and ?; a pattern
    without a colon means every condition.  most_aside_minutes: longest shelf or outage of an alarm.
    """

    latch: tuple[Pattern, ...] = Field(default=(), max_length=1000)
    most_aside_minutes: int = Field(default=480, ge=1, le=43_200)
    first_out: tuple[FirstOutConfig, ...] = Field(default=(), max_length=1000)
    suppress: tuple[SuppressConfig, ...] = Field(default=(), max_length=1000)

    def policy(self) -> DeskPolicy:
        """Give the rules' own form."""
        return DeskPolicy(
            latching=self.latch,
            groups=tuple(FirstOut(one.name, one.alarms) for one in self.first_out),
            suppressions=tuple(
                Suppression(one.cause, one.alarms, one.reason) for one in self.suppress
            ),
            most_aside_ns=self.most_aside_minutes * 60 * 10**9,
        )
