"""Health of the gateway: what each part says of itself, and one word for all.

| word | when |
|---|---|
| ok | every part is well |
| degraded | some part is not, but nothing vital |
| failed | a vital part is not well (nothing can be stored, say), or none is |

Asked on demand; a part whose check itself fails counts as not well. Pure but for the
checks themselves.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from dataclasses import dataclass

Check = Callable[[], tuple[bool, str]]
"""Returns whether all is well, and one sentence for a person."""


class State(enum.StrEnum):
    """One word for the whole gateway."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Report:
    """What every part said at one moment, in order of registration."""

    state: State
    parts: dict[str, tuple[bool, str]]

    def sentence(self) -> str:
        """Say the state and what is wrong, for a heartbeat: "degraded: uplink_province: down"."""
        wrong = [f"{name}: {text}" for name, (well, text) in self.parts.items() if not well]
        return self.state if not wrong else f"{self.state}: {'; '.join(wrong)}"

    def to_json(self) -> bytes:
        """Encode as {"state": "ok", "components": {name: {"ok": true, "text": "..."}}}."""
        components = {name: {"ok": well, "text": text} for name, (well, text) in self.parts.items()}
        body = {"state": self.state, "components": components}
        return json.dumps(body, ensure_ascii=False).encode()


class Health:
    """Collects the checks of all parts."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._vital: set[str] = set()

    def register(self, name: str, check: Check, *, vital: bool = False) -> None:
        """Add a part. Raises ValueError if the name is taken."""
        if name in self._checks:
            raise ValueError(f"health already has a part called {name!r}")
        self._checks[name] = check
        if vital:
            self._vital.add(name)

    def report(self) -> Report:
        """Ask every part now. Without parts the gateway is ok."""
        parts = {name: _ask(check) for name, check in self._checks.items()}
        wrong = {name for name, (well, _) in parts.items() if not well}
        if not wrong:
            return Report(State.OK, parts)
        failed = wrong & self._vital or len(wrong) == len(parts)
        return Report(State.FAILED if failed else State.DEGRADED, parts)


def _ask(check: Check) -> tuple[bool, str]:
    try:
        well, text = check()
    except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError,
            ValueError) as error:  # fmt: skip
        return False, f"its check failed: {type(error).__name__}: {error}"
    return bool(well), str(text)
