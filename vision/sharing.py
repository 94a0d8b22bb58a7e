"""What the cameras of one process share: networks, turns at running them, and a budget of memory.

Guarantees:

- A model is loaded once, whatever the number of cameras that use it.
- As many networks run at a time as there are cores for, MOST_AT_A_TIME at most, and cameras get
  their turns in the order in which they came: none starves, and memory does not grow with the
  number that want to look at the same moment (36 MB for each that runs, measured).
- The process may use as much memory as the most generous of its cameras allows, and EACH_MB for
  every further one.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

EACH_MB = 100
"""Pictures, clip and decoder of a further camera: vision/README.md says what was measured."""


MOST_AT_A_TIME = 4


class HangsError(RuntimeError):
    """Readers of a camera hang in native code, one after the other."""


class OverBudgetError(RuntimeError):
    """The process uses more memory than its cameras allow."""


class Network(Protocol):
    """What is used of onnxruntime.InferenceSession."""

    def run(self, output_names: Any, input_feed: Any) -> Sequence[Any]:  # noqa: ANN401 - onnxruntime's own
        """Outputs by name (None: all) of the inputs by name."""
        ...

    def get_inputs(self) -> Sequence[Any]:
        """Describe the inputs."""
        ...

    def get_outputs(self) -> Sequence[Any]:
        """Describe the outputs."""
        ...


class Turns:
    """`places` at a time, handed on in the order in which they were asked for."""

    def __init__(self, places: int) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._free = places

    def __enter__(self) -> None:
        with self._guard:
            if self._free:
                self._free -= 1
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()  # given back by whoever has the turn before

    def __exit__(self, *_: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


class _InTurn:
    """A network that waits for its turn."""

    def __init__(self, network: Network, turns: Turns) -> None:
        self._network = network
        self._turns = turns

    def run(self, output_names: Any, input_feed: Any) -> Sequence[Any]:  # noqa: ANN401 - onnxruntime's own
        with self._turns:
            return self._network.run(output_names, input_feed)

    def get_inputs(self) -> Sequence[Any]:
        return self._network.get_inputs()

    def get_outputs(self) -> Sequence[Any]:
        return self._network.get_outputs()


class Shared:
    """Of one process. Safe for several threads.

    places: networks that run at a time; as the cores that the process may use, unless given.
    """

    def __init__(self, places: int | None = None) -> None:
        cores = len(os.sched_getaffinity(0))
        self._turns = Turns(min(MOST_AT_A_TIME, cores) if places is None else places)
        self._guard = threading.Lock()
        self._networks: dict[tuple[str, int, str], Network] = {}
        self._budgets: dict[int, int] = {}
        self._members = 0

    def network(self, key: tuple[str, int, str], load: Callable[[], Network]) -> Network:
        """The network of a key (SHA-256 of its file, threads, provider), loaded by the first."""
        with self._guard:
            if key not in self._networks:
                self._networks[key] = _InTurn(load(), self._turns)
            return self._networks[key]

    def join(self, memory_mb: int) -> int:
        """Add a camera that allows the process so much; returns a number to leave by."""
        with self._guard:
            self._members += 1
            self._budgets[self._members] = memory_mb
            return self._members

    def leave(self, member: int) -> None:
        """Take a camera's allowance away."""
        with self._guard:
            self._budgets.pop(member, None)

    def memory_mb(self) -> int:
        """What the process may use now."""
        return allowed_mb(self._budgets)


def allowed_mb(budgets: Mapping[int, int]) -> int:
    """Memory that these cameras may use together."""
    each = list(budgets.values())
    return max(each, default=0) + EACH_MB * max(0, len(each) - 1)


__all__ = ["HangsError", "Network", "OverBudgetError", "Shared", "Turns", "allowed_mb"]
