"""`plantgate vision export --int8`: a detector computed in 8-bit integers, from one in floats.

Guarantees:

- Offline: reads the model, its manifest and the pictures; writes the model and its manifest.
- Convolutions become integers, but for the last before each output, whose small differences are
  what boxes and scores are made of; everything else stays as it was.
- Weights use 7 of the 8 bits, so that sums fit into 16 on processors without VNNI, where they would
  saturate otherwise (onnxruntime's documentation of quantisation: reduce_range).
- The same pictures give the same model.

The pictures say how large each activation becomes: some 50 of what cameras show, from several, are
enough. onnx is in the extra `train`.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx

from vision.ort import GraphOptimizationLevel, InferenceSession, SessionOptions

# isort: split
from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.quant_utils import QuantFormat, QuantType
from onnxruntime.quantization.quantize import quantize_static

from vision.detector import Detector
from vision.labels import LabelsError
from vision.manifest import Model

LEAST_PICTURES = 8
SUFFIX = "-int8"


class _Pictures(CalibrationDataReader):
    """Gives the network each picture as the detector would."""

    def __init__(self, paths: Sequence[Path], detector: Detector) -> None:
        self._tensors = _tensors(paths, detector)
        self._input = detector.input

    def get_next(self) -> dict[str, npt.NDArray[np.float32]]:
        """The next picture, nothing after the last."""
        tensor = next(self._tensors, None)
        return {} if tensor is None else {self._input: tensor}


def _tensors(paths: Sequence[Path], detector: Detector) -> Iterator[npt.NDArray[np.float32]]:
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise LabelsError(f"{path} is no picture that can be read.")
        yield detector.prepared(np.asarray(image, np.uint8))


def quantise(path: Path, model: Model, pictures: Sequence[Path], target: Path) -> Path:
    """Write `<name>-int8.onnx` and its manifest into `target`; returns the path of the model.

    Raises LabelsError for too few pictures, ModelError for a model that is no detector.
    """
    if len(pictures) < LEAST_PICTURES:
        raise LabelsError(
            f"{len(pictures)} pictures are too few to tell how large activations become:"
            f" give {LEAST_PICTURES} at least, better 50, of several cameras."
        )
    detector = Detector(model)
    written = target / f"{path.stem}{SUFFIX}.onnx"
    with tempfile.TemporaryDirectory(prefix="plantgate-int8-") as folder:
        folded = Path(folder) / "folded.onnx"
        _fold(path, folded)
        quantize_static(
            str(folded),
            str(written),
            _Pictures(pictures, detector),
            quant_format=QuantFormat.QOperator,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=_last(folded),
            calibrate_method=CalibrationMethod.MinMax,
        )
    manifest = path.with_suffix(".toml").read_text(encoding="utf-8")
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    written.with_suffix(".toml").write_text(_renamed(manifest, digest), encoding="utf-8")
    return written


def _fold(path: Path, target: Path) -> None:
    """Write the model with its constants computed: weights kept in 16 bits become 32."""
    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _last(path: Path) -> list[str]:
    """Names of the last convolutions before each output that is no inner feature."""
    graph = onnx.load(path).graph
    producer = {name: node for node in graph.node for name in node.output}
    names: set[str] = set()
    seen: set[str] = set()
    waiting = [out.name for out in graph.output if not out.name.startswith("feature_")]
    while waiting:
        name = waiting.pop()
        node = producer.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type == "Conv":
            names.add(node.name)
        else:
            waiting += node.input
    return sorted(names)


def _renamed(manifest: str, digest: str) -> str:
    """The manifest of the same model in integers."""
    manifest = re.sub(r'^name = "(.*)"', rf'name = "\1{SUFFIX}"', manifest, flags=re.M)
    manifest = re.sub(r'^source = "(.*)"', r'source = "\1; quantised"', manifest, flags=re.M)
    return re.sub(r'^sha256 = ".*"', f'sha256 = "{digest}"', manifest, flags=re.M)
