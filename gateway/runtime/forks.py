"""Keeps gRPC out of the children that are started beside it.

gRPC registers handlers for fork(2), for programs that go on using it in the child. Processes of
cameras are started by fork and exec, so there is nothing to hand over; what the handlers do in the
child in between aborted it now and then (seen with grpcio 1.85.1: a check in its epoll loop fails,
and the camera has to be started a second time).
"""

from __future__ import annotations

import os


def without_grpc() -> None:
    """Switch the handlers off; before grpc is imported, later it changes nothing."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
