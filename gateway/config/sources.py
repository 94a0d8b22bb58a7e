"""Loads [[device]] with its point table and [[camera]] with its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic import BaseModel, ConfigDict, Field

from drivers.contract import DriverPoint, DriverType, Problem, StrictModel, ValueKind
from drivers.point_table import PointRow, PointRows, TableError, read
from drivers.registry import UnknownDriverError
from gateway.config.checks import Declared, check_rows
from gateway.config.files import check_pair, check_secret, warn_readable
from gateway.config.model import Name
from gateway.config.problems import Report
from gateway.config.sections import section
from gateway.config.site import Device
from gateway.config.toml_lines import TomlPath

if TYPE_CHECKING:
    from vision.config import CameraConfig

FindDriver = Callable[[str], DriverType[Any, Any]]

WARNING = "warning: "
"""A driver's Problem whose message starts so is a warning and does not stop the gateway."""


class _DeviceHead(BaseModel):
    """Keys of [[device]] that belong to the gateway; all others are the driver's.

    points: file of the point table, CSV or XLSX.  sheet: which one of a workbook; without it the
    first visible one that has headings of a point table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Name
    driver: str = Field(min_length=1)
    points: str = Field(min_length=1)
    sheet: str = Field(default="", max_length=31)  # Excel's own limit


class _OwnDeviceHead(_DeviceHead):
    """The same where the driver's keys bring points: a device profile 设备模板, an intake."""

    points: str = Field(default="", min_length=1)


_HEAD = tuple(_DeviceHead.model_fields)


class _OwnPoints(Protocol):
    """Driver's keys that may bring points of their own.

    own_table: where these come from, for people: "its profile".
    """

    own_table: str

    @classmethod
    def own_row(cls, keys: Mapping[str, object]) -> type[StrictModel] | None:
        """Model of a row in a table beside own points; None where these keys bring none."""
        ...

    def own_rows(
        self, rows: Sequence[PointRow[Any]]
    ) -> tuple[Sequence[PointRow[Any]], Sequence[Problem]]:
        """All points, with what the table says, and what is wrong (row 0: in the device)."""
        ...


def device(
    table: object,
    path: TomlPath,
    folder: Path,
    report: Report,
    find_driver: FindDriver,
    declared: Declared,
    now_ns: int,
) -> Device | None:
    """Load one [[device]]; None when it is wrong, after reporting every mistake."""
    if not isinstance(table, dict):
        report.wrong(path, "must be a table: write [[device]] on a line of its own, keys below")
        return None
    before = len(report.problems)
    head = {key: table[key] for key in _HEAD if key in table}
    own = {key: value for key, value in table.items() if key not in head}
    driver = _driver(table.get("driver"), path, report, find_driver)
    own_row = _own_row(driver, own)
    entry = section(_OwnDeviceHead if own_row else _DeviceHead, head, path, folder, report)
    if driver is None:
        return None
    config = section(driver.config, own, path, folder, report, beside=_HEAD)
    name, points = table.get("name"), table.get("points")
    if points is None and own_row is not None:
        points = ""
    elif not isinstance(points, str) or not points:
        return None
    rows: Sequence[PointRow[Any]] = ()
    if points:
        sheet = entry.sheet if entry else ""
        rows = _rows(points, sheet, path, folder, report, own_row or driver.address)
    if own_row is not None:
        if config is None:
            return None
        rows, problems = cast("_OwnPoints", config).own_rows(rows)
        _say(points, path, problems, report)
    kept = rows if isinstance(rows, PointRows) else PointRows(rows)
    rows = tuple(rows)  # made once for all checks, and dropped
    _text_limits(points, rows, driver, report)
    check_rows(points, rows, declared, report)
    if config is not None:
        _check_secrets(config, path, report, now_ns)
        _driver_check(points, path, driver, config, rows, report)
    if entry is None or config is None or len(report.problems) > before:
        return None
    origin = points or cast("_OwnPoints", config).own_table
    return Device(str(name), driver, config, kept, origin)


def camera(table: object, path: TomlPath, folder: Path, report: Report) -> CameraConfig | None:
    """Load one [[camera]]; None when it is wrong, after reporting every mistake."""
    from vision.config import CameraConfig

    found = section(CameraConfig, table, path, folder, report)
    if found is None:
        return None
    resolved = found.resolved(folder)
    before = len(report.problems)
    if resolved.is_file and not Path(resolved.source).exists():
        report.wrong((*path, "source"), f"there is no video file or folder {found.source}")
    if resolved.password_file:
        check_secret(Path(resolved.password_file), (*path, "password_file"), report)
    if not resolved.model_path.is_file():
        report.wrong(
            (*path, "model"),
            f"missing model: there is no file {found.model_path};"
            " leave the key out for the person model that is shipped",
        )
    for number, one in enumerate(resolved.detectors):
        if not Path(one.model).is_file():
            where = (*path, "detector", number, "model")
            report.wrong(where, f"there is no file {found.detectors[number].model}")
    for text in found.warnings():
        report.warn(path, text)
    return resolved if len(report.problems) == before else None


def _driver(
    name: object, path: TomlPath, report: Report, find_driver: FindDriver
) -> DriverType[Any, Any] | None:
    if not isinstance(name, str) or not name:
        return None  # reported with the other keys of the device
    try:
        return find_driver(name)
    except UnknownDriverError as error:
        report.wrong((*path, "driver"), str(error))
    except ImportError as error:
        report.wrong((*path, "driver"), f"driver {name} needs a library that is missing: {error}")
    return None


def _rows(
    points: str,
    sheet: str,
    path: TomlPath,
    folder: Path,
    report: Report,
    address: type[StrictModel],
) -> Sequence[PointRow[Any]]:
    try:
        table = read(folder / points, address, sheet=sheet)
    except TableError as error:
        if error.row:
            report.wrong_cell(points, error.row, "", str(error))
        else:
            report.wrong((*path, "points"), f"{points}: {error}")
        return ()
    report.name_cells(points, table.place)
    for note in table.notes:
        report.warn((*path, "points"), f"{points}: {note}")
    for problem in table.problems:
        report.wrong_cell(points, problem.row, problem.column, problem.message)
    return table.rows


def _own_row(
    driver: DriverType[Any, Any] | None, keys: Mapping[str, object]
) -> type[StrictModel] | None:
    """Model of a table's row where the driver's keys bring points; None where they do not."""
    if driver is None or not hasattr(driver.config, "own_row"):
        return None
    return cast("type[_OwnPoints]", driver.config).own_row(keys)


def _text_limits(
    points: str, rows: Sequence[PointRow[Any]], driver: DriverType[Any, Any], report: Report
) -> None:
    for row in rows:
        if driver.kind(row.address) is not ValueKind.TEXT:
            continue
        for column in ("low_low", "low", "high", "high_high"):
            if getattr(row.settings, column) is not None:
                report.wrong_cell(points, row.row, column, "a text value has no limits")


def _check_secrets(config: StrictModel, path: TomlPath, report: Report, now_ns: int) -> None:
    """Check a driver's secrets, where it has them by these names."""
    certificate, key = getattr(config, "certificate", None), getattr(config, "key", None)
    if isinstance(certificate, Path) and isinstance(key, Path):
        check_pair(certificate, key, path, report, now_ns)
    password = getattr(config, "password_file", None)
    if isinstance(password, Path):  # what it holds is the driver's to judge
        warn_readable(password, (*path, "password_file"), report)


def _driver_check(
    points: str,
    path: TomlPath,
    driver: DriverType[Any, Any],
    config: StrictModel,
    rows: Sequence[PointRow[Any]],
    report: Report,
) -> None:
    """Let the driver judge what needs more than one row; ids are only for this check."""
    numbered = [
        DriverPoint(number, row.tag, row.address, row.row)
        for number, row in enumerate(rows, start=1)
    ]
    # That there are no points was said, with the reason, by the table.
    said = [p for p in driver.check(config, numbered) if rows or p.row or p.column != "points"]
    _say(points, path, said, report)


def _say(points: str, path: TomlPath, problems: Sequence[Problem], report: Report) -> None:
    """Report a driver's Problems at their cells or keys."""
    for problem in problems:
        message = problem.message.removeprefix(WARNING)
        mild = message != problem.message
        if problem.row:
            add_cell = report.warn_cell if mild else report.wrong_cell
            add_cell(points, problem.row, problem.column, message)
            continue
        where = (*path, problem.column) if problem.column else path
        if mild:
            report.warn(where, message)
        elif not (problem.column and report.has(where)):  # said once already, by _check_secrets
            report.wrong(where, message)
