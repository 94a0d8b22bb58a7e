"""The person model in onnxruntime: one file, checked against its manifest, one thread.

Guarantees:

- A model whose SHA-256 is not the manifest's never runs; a missing or unfit one gives a
  ModelError whose message is one clear sentence.
- One intra-operation thread and no spinning: on a loaded machine two spinning threads fell to half
  the speed at twice the CPU (measured on the gateway's kind of hardware).
- onnxruntime reads the very bytes that were checked, and the file is not kept in memory beside the
  network that was made of it.

Tried and left out, against 32 ms of CPU a run: without the CPU arena 41 ms for 28 MB less (page
faults); an arena that grows only by what is asked, subnormals set to zero and no pre-packed weights
change nothing. The weights are converted from 16 to 32 bits once, at load: no Cast is left in the
profile of a run.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnxruntime import (  # type: ignore[attr-defined]  # its __init__ exports them without __all__
    InferenceSession,
    SessionOptions,
)
from pydantic import ConfigDict, Field, ValidationError

from vision.config import StrictModel
from vision.frames import Image
from vision.postprocess import Decoder, Detections, Head
from vision.preprocess import Preprocessor


class ModelError(Exception):
    """The model cannot be used; the message is one sentence for a person."""


class _Input(StrictModel):
    side: int = Field(ge=32, le=2048, multiple_of=32)
    colour: str = Field(pattern="^bgr$")
    letterbox: str
    mean: list[float] = Field(min_length=3, max_length=3)
    deviation: list[float] = Field(min_length=3, max_length=3)


class _Decoder(StrictModel):
    kind: str = Field(pattern="^nanodet$")
    strides: list[int] = Field(min_length=1)
    bins: int = Field(ge=2, le=64)
    classes: int = Field(ge=1)
    wanted: int = Field(ge=0)


class Manifest(StrictModel):
    """What stands beside a model file: how to feed it, how to read it, where it is from."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    licence: str
    source: str
    input: _Input
    decoder: _Decoder


@dataclass(frozen=True, slots=True)
class Model:
    """A model file that has been checked: its bytes and its manifest."""

    content: bytes
    manifest: Manifest


def read_model(path: Path) -> Model:
    """Read and check a model; raises ModelError."""
    beside = path.with_suffix(".toml")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"The model {path} cannot be read: {error.strerror}.") from error
    try:
        manifest = Manifest.model_validate(tomllib.loads(beside.read_text(encoding="utf-8")))
    except OSError as error:
        raise ModelError(
            f"The model {path.name} needs its manifest {beside}: {error.strerror}."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"The manifest {beside} is not valid TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"The manifest {beside} is wrong at {place}: {first['msg']}.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.sha256:
        raise ModelError(
            f"The model {path} has SHA-256 {found[:16]}…, its manifest says"
            f" {manifest.sha256[:16]}…: the file is damaged or another one."
        )
    return Model(content, manifest)


class Detector:
    """Finds people in a frame. Not safe for two threads at a time."""

    def __init__(self, model: Model) -> None:
        options = SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        manifest = model.manifest
        self.sha256 = manifest.sha256
        self._preprocessor = Preprocessor(
            manifest.input.side, manifest.input.mean, manifest.input.deviation
        )
        self._decoder = Decoder(
            Head(
                side=manifest.input.side,
                strides=tuple(manifest.decoder.strides),
                bins=manifest.decoder.bins,
                classes=manifest.decoder.classes,
                wanted=manifest.decoder.wanted,
            )
        )
        try:
            with _as_file(model.content) as path:
                self._session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(f"onnxruntime refuses the model {manifest.name}: {error}.") from error
        self._input = self._session.get_inputs()[0].name
        mismatch = self._decoder.check([out.shape for out in self._session.get_outputs()])
        if mismatch:
            raise ModelError(f"The model {manifest.name} cannot be used: {mismatch}.")

    def infer(self, tensor: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """Run the network alone; for measuring what it costs."""
        return [
            np.asarray(out, np.float32) for out in self._session.run(None, {self._input: tensor})
        ]

    def feed(self, image: Image, threshold: float) -> Detections:
        """People of at least `threshold` in the frame, in frame pixels."""
        tensor = self._preprocessor.feed(image)
        height, width = image.shape[:2]
        return self._decoder.feed(
            self.infer(tensor), threshold, self._preprocessor.scale, width, height
        )

    def look(self, image: Image, threshold: float) -> tuple[Detections, npt.NDArray[np.uint8]]:
        """People, and the scaled grey picture, valid until the next, to judge the view by."""
        found = self.feed(image, threshold)
        return found, self._preprocessor.grey


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Path of an anonymous file: a session made of bytes would keep them for its whole life."""
    descriptor = os.memfd_create("model", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
