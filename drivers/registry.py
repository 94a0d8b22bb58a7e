"""Finds drivers/<name>: a driver is a sub-package that exports DRIVER (drivers/contract.py).

drivers/sim is the simulated plant, which stands on the other side of the wire, and no driver;
nor is drivers/intake, what the intakes of site systems share.

Only the named driver is imported, so parts that are not configured cost nothing.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import drivers
from drivers.contract import DriverType

_NO_DRIVERS = frozenset({"intake", "sim"})


class UnknownDriverError(LookupError):
    """No such folder under drivers/, or it exports no DRIVER."""


def names() -> list[str]:
    """Names of the driver folders, sorted."""
    return sorted(
        m.name
        for m in pkgutil.iter_modules(drivers.__path__)
        if m.ispkg and m.name not in _NO_DRIVERS
    )


def find(name: str) -> DriverType[Any, Any]:
    """Return the driver called `name`; raises UnknownDriverError naming those that exist."""
    known = names()
    if name not in known:
        raise UnknownDriverError(f"no driver called {name!r}; there are: {', '.join(known)}")
    found = getattr(importlib.import_module(f"drivers.{name}"), "DRIVER", None)
    if not isinstance(found, DriverType):
        raise UnknownDriverError(f"drivers/{name} exports no DRIVER")
    return found
