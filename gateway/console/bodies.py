"""What browsers and integrators send: one body a command, as the control socket names its fields.

The person is never among them: the server puts in who is signed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(max_length=512)]
Named = Annotated[str, Field(min_length=1, max_length=256)]
Minutes = Annotated[float, Field(ge=0, le=366 * 24 * 60, allow_inf_nan=False)]
Scalar = str | int | float | bool | None
Fields = Annotated[dict[str, Scalar | list[Scalar]], Field(max_length=100)]


class Body(BaseModel):
    """Base of all: unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SignIn(Body):
    """A name and its password."""

    user: Annotated[str, Field(max_length=64)]
    password: Annotated[str, Field(max_length=256)]


class Token(Body):
    """A wall display's token."""

    token: Annotated[str, Field(max_length=128)]


class AlarmCommand(Body):
    """What a person does with one alarm; reason and minutes where it is put aside.

    alarm_id: the alarm that the person saw; refused where it has been raised anew since.
    """

    verb: Literal["ack", "reset", "shelve", "unshelve", "remove", "restore"]
    source: Named
    condition: Text = ""
    alarm_id: Annotated[str, Field(pattern=r"^([0-9a-f]{32})?$")] = ""
    reason: Text = ""
    minutes: Minutes = 0.0


class HandlingAct(Body):
    """One step of the handling of an alarm 消警."""

    alarm: Named
    action: Named
    note: Text = ""


class DeclareBegin(Body):
    """A test or an outage 停用检修."""

    kind: Literal["span_gas", "calibration", "maintenance"]
    scope: Literal["point", "device", "place"]
    name: Named
    minutes: Annotated[float, Field(gt=0, le=366 * 24 * 60, allow_inf_nan=False)]
    after_minutes: Minutes = 0.0
    reason: Named


class DeclareEnd(Body):
    """The early end of a declaration."""

    id: Named


class PermitEnter(Body):
    """A permit 作业票, in the fields of the record `permit` (drivers/intake)."""

    permit: Fields


class PermitChange(Body):
    """A permit moves on."""

    ticket: Named
    verb: Literal["approve", "start", "suspend", "resume", "end", "close", "cancel"]
    reason: Text = ""


class PermitGas(Body):
    """A gas analysis 气体分析, in the fields of the record `gas_analysis`."""

    analysis: Fields


BODIES: Mapping[str, type[Body]] = {
    "alarm.command": AlarmCommand,
    "handling.act": HandlingAct,
    "declare.begin": DeclareBegin,
    "declare.end": DeclareEnd,
    "permit.enter": PermitEnter,
    "permit.change": PermitChange,
    "permit.gas": PermitGas,
}


def request_of(ask: str, body: Body, person: str) -> dict[str, Any]:
    """Make the control socket's request: in the person's name."""
    named = {"operator": person, "person": person, "by": person}
    return {**body.model_dump(mode="json"), **named, "ask": ask}


class Problem(Body):
    """Why something was refused: one sentence."""

    error: str
