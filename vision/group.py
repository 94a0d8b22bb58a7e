"""The process of several cameras: `python -m vision.group --fd N`, the sockets coming over one.

Guarantees:

- Each camera has a thread for reading, one for all else, and a socket of its own that speaks as in
  vision/worker.py: to the gateway it looks like a process of its own. Cameras come and go while the
  others go on.
- Networks are loaded once and run in turns, one for each core (vision/sharing.py).
- A camera that fails (a model that cannot be used, readers that hang) ends alone. Beyond the budget
  of memory, and when readers of MOST_HANGING cameras hang in native code, the process ends,
  because threads cannot be: all are started again.
- The process ends when the gateway closes the socket. A crash in native code costs this group only.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
from collections.abc import Callable

from vision.events import ProtocolError
from vision.link import Link
from vision.sharing import HangsError, OverBudgetError, Shared
from vision.worker import attend, prepare

MOST_HANGING = 3
FAILED = 1


class Group:
    """The cameras of this process.

    work: serves one camera until it ends.  leave: ends the process, and does not come back.
    """

    def __init__(
        self,
        work: Callable[[Link, Shared], None],
        leave: Callable[[int], None],
    ) -> None:
        self._work, self._leave = work, leave
        self._shared = Shared()
        self._hanging = 0

    def add(self, descriptor: int) -> None:
        """Attend a camera whose gateway talks over `descriptor`, in a thread."""
        threading.Thread(
            target=self.attend, args=(Link(descriptor),), name="camera", daemon=True
        ).start()

    def attend(self, link: Link) -> None:
        """Serve a camera, and judge what its end means for the others."""
        try:
            self._work(link, self._shared)
        except OverBudgetError:
            self._leave(FAILED)
        except HangsError:
            self._hanging += 1
            if self._hanging >= MOST_HANGING:
                self._leave(FAILED)
        except (ProtocolError, RuntimeError, SystemExit):
            return  # it was said; the others go on
        finally:
            link.close()


def end(code: int) -> None:
    """End the process at once: a reader may hang in native code, and would hold an exit back."""
    sys.stderr.flush()
    os._exit(code)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(prog="vision.group", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="inherited socket")
    control = socket.socket(fileno=parser.parse_args(arguments).fd)
    prepare()
    group = Group(attend, end)
    while True:
        said, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        for descriptor in descriptors:
            group.add(descriptor)
        if not said:
            return


if __name__ == "__main__":
    main()
    end(0)
