"""What the duty desk puts on record besides messages. Pure."""

from __future__ import annotations

from gateway.duty.call import Call
from gateway.duty.tell import ENDED, EXHAUSTED, NOBODY, Note


def nobody(call: Call) -> Note:
    """Nobody is on duty who could be told."""
    where = call.position or "the site"
    text = (
        f"{call.source}: nobody is on duty at {where} who could be told 无人值守; asked again until"
        " somebody is."
    )
    return Note(NOBODY, call.source, text, {"call": call.key, "position": call.position})


def exhausted(call: Call, rounds: int) -> Note:
    """Everybody was told as often as the policy says."""
    text = (
        f"{call.source}: all steps of the roster were told {rounds} times and nobody has"
        " acknowledged 无人确认."
    )
    return Note(EXHAUSTED, call.source, text, {"call": call.key, "position": call.position})


def ended(call: Call, why: str, told: str, withdrawn: int) -> Note:
    """Nobody else is told. told: names, withdrawn: messages that were not sent yet."""
    text = (
        f"{call.source}: nobody else is told, because it is {why}; told so far:"
        f" {told or 'nobody'}." + (f" {withdrawn} messages withdrawn." if withdrawn else "")
    )
    attributes = {"call": call.key, "why": why, "told": told, "withdrawn": str(withdrawn)}
    return Note(ENDED, call.source, text, attributes)
