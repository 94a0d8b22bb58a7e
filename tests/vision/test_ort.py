"""No word of this machine leaves it by way of onnxruntime, and it writes nothing at home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_architecture import FILES, ROOT, imports, relative
from vision.config import DEFAULT_MODEL

LOAD = (
    "import {module}, sys\n"
    "from pathlib import Path\n"
    "from vision.detector import Detector\n"
    "from vision.manifest import read_model\n"
    "Detector(read_model(Path(sys.argv[1])))\n"
)


@pytest.mark.parametrize("module", ["vision.detector", "vision.train.quantise"])
def test_a_loaded_network_leaves_nothing_in_the_home_directory(module: str, tmp_path: Path) -> None:
    around = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_"))}
    subprocess.run(
        [sys.executable, "-c", LOAD.format(module=module), str(DEFAULT_MODEL)],
        check=True, cwd=ROOT, env={**around, "HOME": str(tmp_path)}, timeout=240,
    )  # fmt: skip
    assert list(tmp_path.rglob("*")) == []


def test_onnxruntime_has_one_door() -> None:
    for path in FILES:
        if any(name.partition(".")[0] == "onnxruntime" for name in imports(path)):
            before = path.read_text(encoding="utf-8").split("from onnxruntime")[0]
            door = path.name == "ort.py" or "from vision.ort import" in before
            assert door, f"{relative(path)} takes onnxruntime from elsewhere than vision/ort.py"
