"""Works that no store takes, found among others: what is wrong with one gateway's harms it alone.

Guarantees: of works that failed together as unstorable, each that can be stored is, in a commit of
its own; of records that come together, likewise. What is left is refused with the store's reason,
so that its gateway sets it aside and goes on. A store that fails otherwise fails them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.observe.log import logger
from gateway.receiver.check import Fault
from gateway.receiver.contract import (
    Entries,
    Outcome,
    Store,
    Stored,
    StoreFailedError,
    UnstorableError,
    Work,
)


def apply_apart(
    store: Store, works: Sequence[Work], now_ns: int
) -> list[Outcome | StoreFailedError]:
    """Do each work in a commit of its own; an error in the place of one that cannot be done.

    Blocking. Raises StoreFailedError where the store fails for another reason than a work.
    """
    return [_one(store, work, now_ns) for work in works]


def _one(store: Store, work: Work, now_ns: int) -> Outcome | StoreFailedError:
    try:
        [outcome] = store.apply([work], now_ns)
    except UnstorableError as error:
        logger("receiver").error("store.refused", work=type(work).__name__, reason=str(error))
        if not isinstance(work, Entries):
            return error
        return _records(store, work, error, now_ns)
    return outcome


def _records(store: Store, work: Entries, error: UnstorableError, now_ns: int) -> Outcome:
    """Store one record at a time. What they define goes first, or not at all."""
    told = Stored()
    bare = replace(work, catalogues=(), attachments=(), faults=())
    parts = [replace(bare, entries=(), catalogues=work.catalogues),
             replace(bare, entries=(), attachments=work.attachments),
             *(replace(bare, entries=[entry]) for entry in work.entries)]  # fmt: skip
    faults = list(work.faults)
    for part in parts:
        try:
            [outcome] = store.apply([part], now_ns)
        except UnstorableError as why:
            text = f"the store does not take it: {why}"
            faults += [Fault(one.sequence, "damaged", one.hash, text) for one in part.entries]
            continue
        if not isinstance(outcome, Stored):
            raise TypeError("an outcome of Entries is a Stored") from error
        told.acknowledged.update(outcome.acknowledged)
        told.needed += [name for name in outcome.needed if name not in told.needed]
        told.refused += outcome.refused
    [noted] = store.apply([replace(bare, entries=(), faults=faults)], now_ns) if faults else [told]
    if isinstance(noted, Stored) and noted is not told:
        told.refused += noted.refused
    return told
