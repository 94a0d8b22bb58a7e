"""Turns one table of the site file into its model: paths joined, mistakes reported.

Values go through pydantic's JSON mode, which is strict about types yet takes a list for a tuple
and text for a path: TOML has neither tuples nor paths.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic.fields import FieldInfo

from gateway.config.problems import Report
from gateway.config.toml_lines import TomlPath

ModelT = TypeVar("ModelT", bound=BaseModel)


def section(
    model: type[ModelT],
    table: object,
    path: TomlPath,
    folder: Path,
    report: Report,
    beside: Sequence[str] = (),
) -> ModelT | None:
    """Validate a table; None when it is wrong, after reporting every mistake.

    folder: what relative paths are relative to.  beside: keys of the same table that are another
    model's, named in advice only.
    """
    if not isinstance(table, dict):
        heading = f"[[{path[0]}]]" if len(path) > 1 else f"[{path[0]}]"
        report.wrong(path, f"must be a table: write {heading} on a line of its own, keys below")
        return None

    def known(below: TomlPath) -> Iterable[str]:
        inside = _model_at(model, below)
        own = [_key(name, field) for name, field in inside.model_fields.items()] if inside else []
        return own if below else [*own, *beside]

    try:
        return model.model_validate_json(
            json.dumps(_with_paths_joined(model, table, folder), default=str)
        )
    except ValidationError as failure:
        report.invalid(path, failure, known)
    return None


def entries(raw: Mapping[str, Any], name: str, report: Report) -> list[tuple[TomlPath, Any]]:
    """List the [[name]] tables with their paths; a [name] table is reported."""
    found = raw.get(name, [])
    if isinstance(found, list):
        return [((name, index), entry) for index, entry in enumerate(found)]
    report.wrong((name,), f"write [[{name}]] with double brackets: there can be several")
    return []


def _with_paths_joined(
    model: type[BaseModel], table: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    joined = dict(table)
    for name, field in model.model_fields.items():
        key = _key(name, field)
        if _is_path(field.annotation) and isinstance(joined.get(key), str) and joined[key]:
            joined[key] = str(folder / joined[key])
    return joined


def _is_path(annotation: object) -> bool:
    return annotation is Path or any(_is_path(part) for part in get_args(annotation))


def _key(name: str, field: FieldInfo) -> str:
    """Name of a field as the site file writes it."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        alias = alias.choices[0]
    return alias if isinstance(alias, str) else name


def _model_at(model: type[BaseModel], below: TomlPath) -> type[BaseModel] | None:
    """Find the model of a nested table, to name its keys in advice."""
    current: type[BaseModel] | None = model
    for part in below:
        if current is None or isinstance(part, int):
            continue
        field = next((f for n, f in current.model_fields.items() if part in {n, _key(n, f)}), None)
        current = _nested(field.annotation) if field is not None else None
    return current


def _nested(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _nested(arg))), None)
