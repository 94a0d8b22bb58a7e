"""The one door to onnxruntime: nothing about this machine leaves it, and nothing is written.

Builds of onnxruntime for Linux (1.31.1, looked at with strace) keep a device id and a queue of
usage events in $HOME/.cache/Microsoft and look their maker's host up as soon as a network is
loaded. ORT_DISABLE_TELEMETRY, read when the library is loaded, ends all of it. So nobody else
imports onnxruntime before this module (tests/vision/test_ort.py).
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime  # after the variable
from onnxruntime import (  # type: ignore[attr-defined]  # its __init__ exports them without __all__
    GraphOptimizationLevel,
    InferenceSession,
    SessionOptions,
    get_available_providers,
)

VERSION: str = onnxruntime.__version__

__all__ = [
    "VERSION",
    "GraphOptimizationLevel",
    "InferenceSession",
    "SessionOptions",
    "get_available_providers",
]
