"""A detector in onnxruntime: one file, checked against its manifest, one thread.

Guarantees:

- A model that does not fit its manifest gives a ModelError whose message is one clear sentence.
- A network that gives NaN gives a NoNumbersError, which ends the camera's process with that
  sentence: where nothing was computed nobody was found, and that is no count of 0.
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

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vision.decoders import Placing, decoder_of
from vision.frames import Image
from vision.manifest import Model, ModelError
from vision.ort import InferenceSession, SessionOptions, get_available_providers
from vision.postprocess import Detections
from vision.preprocess import Letterbox, Preprocessor
from vision.sharing import Network, Shared

MOST_AT_ONCE = 16
"""Crops of one run of the network."""

STEP = 32
"""Sides of an input of any size are multiples of the coarsest stride."""


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """People in one picture, and the network's features by name."""

    people: Detections
    features: Mapping[str, npt.NDArray[np.float32]]


class NoNumbersError(RuntimeError):
    """A network gave NaN for a picture: its file, its runtime or the machine is broken."""


PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cuda": "CUDAExecutionProvider",
}
PACKAGES = {PROVIDERS["openvino"]: "onnxruntime-openvino", PROVIDERS["cuda"]: "onnxruntime-gpu"}
"""What a machine needs in place of onnxruntime."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """How networks run.

    threads: per network.  provider: an execution provider of onnxruntime.  shared: with whom.

    One thread and the CPU are best unless measured otherwise (`plantgate vision bench`); another
    provider needs its own build of onnxruntime on the machine.
    """

    threads: int = 1
    provider: str = "CPUExecutionProvider"
    shared: Shared | None = None


def session(model: Model, runtime: Runtime | None = None) -> Network:
    """A session that does not spin, one for all where they are shared; raises ModelError."""
    runtime = runtime or Runtime()
    if runtime.shared is None:
        return _loaded(model, runtime)
    key = (model.manifest.sha256, runtime.threads, runtime.provider)
    return runtime.shared.network(key, lambda: _loaded(model, runtime))


def missing_provider(provider: str) -> str:
    """Say in one sentence that onnxruntime has no such provider here; empty if it has."""
    there = get_available_providers()
    if provider in there:
        return ""
    return (
        f"onnxruntime has no {provider} on this machine, it has {', '.join(there)}:"
        f" install {PACKAGES.get(provider, 'a build with it')} in place of onnxruntime,"
        ' or leave provider = "cpu".'
    )


def _loaded(model: Model, runtime: Runtime) -> Network:
    if missing := missing_provider(runtime.provider):
        raise ModelError(missing)
    options = SessionOptions()
    options.intra_op_num_threads = runtime.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        with _as_file(model.content) as path:
            own = {"num_of_threads": str(runtime.threads)}  # OpenVINO heeds no session option
            settings = [own if runtime.provider == PROVIDERS["openvino"] else {}]
            return InferenceSession(
                path, options, providers=[runtime.provider], provider_options=settings
            )
    except Exception as error:
        raise ModelError(
            f"onnxruntime refuses the model {model.manifest.name}: {error}."
        ) from error


class Detector:
    """Finds people in a frame. Not safe for two threads at a time."""

    def __init__(self, model: Model, runtime: Runtime | None = None) -> None:
        manifest = model.manifest
        if manifest.input is None or manifest.decoder is None:
            raise ModelError(
                f"The model {manifest.name} finds nothing: its task is {manifest.task}."
            )
        self.sha256 = manifest.sha256
        self._name = manifest.name
        given = manifest.input
        self.side = given.side
        self._decoder = decoder_of(manifest.decoder, given.side)
        self._session = session(model, runtime)
        self._input = self._session.get_inputs()[0].name
        box = Letterbox(given.colour == "rgb", given.letterbox.startswith("cent"), given.pad)
        sizes = self._session.get_inputs()[0].shape[2:]
        if not (box.centre or any(isinstance(one, int) for one in sizes)):
            box = replace(box, step=STEP)  # any size will do: no time is spent on padding
        self._preprocessor = Preprocessor(given.side, given.mean, given.deviation, box)
        outputs = self._session.get_outputs()
        self._features = [out.name for out in outputs if out.name.startswith("feature_")]
        mine = [out for out in outputs if out.name not in self._features]
        self._outputs = [out.name for out in mine]
        mismatch = self._decoder.check([out.shape for out in mine])
        if mismatch:
            raise ModelError(f"The model {manifest.name} cannot be used: {mismatch}.")

    def twin(self) -> Detector:
        """Another for pictures of another size, on the same network; not at the same time."""
        other = copy.copy(self)
        other._preprocessor = self._preprocessor.twin()  # noqa: SLF001 - of its own class
        return other

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that this model shares with others (`see`)."""
        return tuple(self._features)

    @property
    def input(self) -> str:
        """Name of the network's input."""
        return str(self._input)

    def prepared(self, image: Image) -> npt.NDArray[np.float32]:
        """What the network is shown of a picture, a copy."""
        return self._preprocessor.feed(image).copy()

    def infer(self, tensor: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """Run the network alone; for measuring what it costs."""
        return self._run(self._outputs, tensor)

    def see(self, image: Image, threshold: float) -> Sight:
        """People of at least `threshold`, and the features they were found by."""
        tensor = self._preprocessor.feed(image)
        wanted = [*self._outputs, *self._features]
        found = self._run(wanted, tensor)
        height, width = image.shape[:2]
        split = len(self._outputs)
        people = self._decoder.feed(found[:split], threshold, self._placing(), width, height)
        features = dict(zip(self._features, found[split:], strict=True))
        return Sight(people, features)

    def normalised(self, crops: Sequence[Image]) -> npt.NDArray[np.float32]:
        """float32[n, 3, h, w] of crops of one size, as this network would be shown them."""
        return self._preprocessor.crops(crops)

    def describe(self, crops: Sequence[Image]) -> dict[str, npt.NDArray[np.float32]]:
        """Features by name of crops of one size, sides a multiple of 64, one row a crop.

        At most MOST_AT_ONCE go through the network together, so memory does not grow with a crowd.
        """
        found: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in self._features}
        for start in range(0, len(crops), MOST_AT_ONCE):
            tensor = self._preprocessor.crops(crops[start : start + MOST_AT_ONCE])
            for name, feature in zip(
                self._features,
                self._session.run(self._features, {self._input: tensor}),
                strict=True,
            ):
                found[name].append(np.asarray(feature, np.float32))
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def feed(self, image: Image, threshold: float) -> Detections:
        """People of at least `threshold` in the frame, in frame pixels."""
        tensor = self._preprocessor.feed(image)
        height, width = image.shape[:2]
        return self._decoder.feed(self.infer(tensor), threshold, self._placing(), width, height)

    def look(self, image: Image, threshold: float) -> tuple[Detections, npt.NDArray[np.uint8]]:
        """People, and the scaled grey picture, valid until the next, to judge the view by."""
        found = self.feed(image, threshold)
        return found, self.pixels

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """The scaled grey picture of the newest frame, valid until the next."""
        return self._preprocessor.grey

    def _run(
        self, wanted: Sequence[str], tensor: npt.NDArray[np.float32]
    ) -> list[npt.NDArray[np.float32]]:
        """Outputs by name; raises NoNumbersError."""
        outputs = self._session.run(list(wanted), {self._input: tensor})
        found = [np.asarray(out, np.float32) for out in outputs]
        if any(np.isnan(out).any() for out in found[: len(self._outputs)]):
            raise NoNumbersError(
                f"the network {self._name} gives no numbers (NaN) for a picture: its file, its"
                " provider or this machine is broken"
            )
        return found

    def _placing(self) -> Placing:
        left, top = self._preprocessor.corner
        height, width = self._preprocessor.sides
        return Placing(self._preprocessor.scale, left, top, width, height)


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
