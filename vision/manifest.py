"""What stands beside a model file: how to feed it, how to read it, where it is from.

Guarantees:

- A model whose SHA-256 is not the manifest's never runs; a missing or unfit one gives a
  ModelError whose message is one clear sentence.
- A detector's manifest says everything about its input and output, so that a site's own model
  (bring your own: flame, smoke, smoking, phone) needs a file and no code.

| task      | what comes in           | what comes out                                          |
|-----------|-------------------------|---------------------------------------------------------|
| `detect`  | the letterboxed picture | boxes of `labels`, read by the decoder of [decoder]     |
| `heads`   | the letterboxed picture | maps of heads (vision/heads.py)                         |
| `item`    | features of crops, heat | probabilities: worn, missing, cannot tell (no head)     |
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from vision.strict import StrictModel

MODELS = Path(__file__).resolve().parent / "models"


class ModelError(Exception):
    """The model cannot be used; the message is one sentence for a person."""


class Input(StrictModel):
    """Of a detector or a head finder. side: width and height of the square, in pixels.

    Of a head finder: the longer side at most; its picture is never enlarged.

    colour: order of the channels.  mean, deviation: per channel in that order, of values 0 to 255.
    letterbox: `top-left` or `centre`; `pad`: grey level of the rest.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    side: int = Field(ge=32, le=2048, multiple_of=32)
    colour: Literal["bgr", "rgb"]
    letterbox: str
    pad: int = Field(default=0, ge=0, le=255)
    mean: list[float] = Field(min_length=3, max_length=3)
    deviation: list[float] = Field(min_length=3, max_length=3)


class DecoderPlan(StrictModel):
    """How a detector's outputs are read (vision/decoders.py says what each kind expects).

    wanted: the class that is found; `labels` instead for several.  overlap: of suppression.
    """

    kind: Literal["nanodet", "yolox", "yolov5", "yolov8", "yolov10", "detr"]
    strides: list[int] = Field(default=[8, 16, 32], min_length=1)
    bins: int = Field(default=8, ge=2, le=64)
    classes: int = Field(ge=1)
    wanted: int = Field(default=0, ge=0)
    overlap: float = Field(default=0.5, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _has_the_class(self) -> Self:
        if self.wanted >= self.classes:
            raise ValueError(f"wanted is class {self.wanted} of {self.classes}, counted from 0")
        return self


class ItemPlan(StrictModel):
    """How a classifier of protective equipment is used.

    sure_at: probability of worn and missing together from which it says anything.  worn_at,
    missing_at: share of that from which it says so; in between it cannot tell.
    smallest_px: longer side of the head (of the torso) below which it is not asked.
    """

    name: Literal["helmet", "workwear"]
    sure_at: float = Field(default=0.5, ge=0.0, le=1.0)
    worn_at: float = Field(ge=0.0, le=1.0)
    missing_at: float = Field(ge=0.0, le=1.0)
    smallest_px: float = Field(ge=0.0)


class HeadsPlan(StrictModel):
    """How the head finder is used.

    look, look_alone: heat from which something on a person, or anywhere, is looked at again by the
    helmet classifier.  beside, alone: how sure that look must be of a head on a person, and of one
    without.  weak_person: score of a person who counts once a head of `weak_beside` is found.
    heat_counts: how much the heat adds to how sure that look is (`vision.ppe.weighed`).
    """

    look: float = Field(default=0.05, ge=0.0, le=1.0)
    look_alone: float = Field(default=0.2, ge=0.0, le=1.0)
    beside: float = Field(ge=0.0, le=1.0)
    weak_beside: float = Field(default=0.6, ge=0.0, le=1.0)
    alone: float = Field(ge=0.0, le=1.0)
    weak_person: float = Field(ge=0.0, le=1.0)
    heat_counts: float = Field(default=0.0, ge=0.0, le=10.0)


class Manifest(StrictModel):
    """The manifest. Keys it does not know (accuracy, notes) are for people."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    name: str
    task: Literal["detect", "heads", "item"] = "detect"
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    licence: str
    source: str
    finds: str = "person"
    input: Annotated[Input | None, Field()] = None
    decoder: DecoderPlan | None = None
    heads: HeadsPlan | None = None
    item: ItemPlan | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed: dict[str, tuple[Any, ...]] = {
            "detect": (self.input, self.decoder),
            "heads": (self.heads,),
            "item": (self.item,),
        }
        if any(part is None for part in needed[self.task]):
            sections = {"detect": "[input] and [decoder]", "heads": "[heads]", "item": "[item]"}
            raise ValueError(f"a model of task {self.task} needs {sections[self.task]}")
        return self


@dataclass(frozen=True, slots=True)
class Model:
    """A model file that has been checked: its bytes and its manifest."""

    content: bytes
    manifest: Manifest


def read_manifest(path: Path) -> Manifest:
    """Read the manifest beside a model; raises ModelError."""
    beside = path.with_suffix(".toml")
    try:
        return Manifest.model_validate(tomllib.loads(beside.read_text(encoding="utf-8")))
    except OSError as error:
        raise ModelError(
            f"The model {path.name} needs its manifest {beside}: {error.strerror}."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"The manifest {beside} is not valid TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "top level"
        raise ModelError(f"The manifest {beside} is wrong at {place}: {first['msg']}.") from error


def read_model(path: Path) -> Model:
    """Read and check a model; raises ModelError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"The model {path} cannot be read: {error.strerror}.") from error
    manifest = read_manifest(path)
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.sha256:
        raise ModelError(
            f"The model {path} has SHA-256 {found[:16]}…, its manifest says"
            f" {manifest.sha256[:16]}…: the file is damaged or another one."
        )
    return Model(content, manifest)


__all__ = ["MODELS", "Manifest", "Model", "ModelError", "read_manifest", "read_model"]
