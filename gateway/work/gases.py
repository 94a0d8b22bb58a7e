"""Gases: lower explosive limits, exposure limits, and what a reading means on either scale.

Guarantees: %vol and %LEL are turned into each other only for a gas that the table knows; anything
else is refused with a sentence, never guessed (GB 30871-2022 5.3.2 is in %vol, detectors read
%LEL).
Where sources of a gas's LEL differ, `lel_least` picks the pass limit and `lel_most` converts: both
err on the strict side.

Pure. The table is gases.toml, or a site's own file of the same form.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Any

from drivers.wording import shown

MOLAR_VOLUME_L = 24.45
"""Litres a mole of gas takes at 25 °C and 101.325 kPa, as ppm and mg/m3 are commonly converted."""

OXYGEN = "oxygen"
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_KEYS = {"name", "aliases", "lel", "molar_g", "oel_mg_m3"}


class GasError(ValueError):
    """The gas table is wrong, or a reading cannot be judged; one clear sentence."""


@dataclass(frozen=True, slots=True)
class Gas:
    """One gas. lel_least, lel_most: %vol, NaN for a gas that does not burn.

    zh: its Chinese name, else its name.  molar_g: g/mol, NaN if unknown.  oel_mg_m3: exposure
    limit, NaN if none.
    """

    name: str
    zh: str
    lel_least: float = math.nan
    lel_most: float = math.nan
    molar_g: float = math.nan
    oel_mg_m3: float = math.nan

    @property
    def combustible(self) -> bool:
        """Tell whether the table has an LEL."""
        return not math.isnan(self.lel_least)

    def vol_percent(self, value: float, unit: str) -> float:
        """Turn a reading into %vol. Raises GasError where that needs what is not known."""
        match unit:
            case "%vol":
                return value
            case "ppm":
                return value / 10_000
            case "%LEL" if self.combustible:
                return value / 100 * self.lel_most
            case "mg/m3" if not math.isnan(self.molar_g):
                return value * MOLAR_VOLUME_L / self.molar_g / 10_000
        raise GasError(f"{value:g} {unit} of {self.name} cannot be turned into %vol")

    def oel_percent(self, value: float, unit: str) -> float:
        """Turn a reading into per cent of the exposure limit. Raises GasError likewise."""
        if math.isnan(self.oel_mg_m3):
            raise GasError(f"no exposure limit of {self.name} is in the gas table")
        if unit == "mg/m3":
            return value / self.oel_mg_m3 * 100
        if math.isnan(self.molar_g):
            raise GasError(f"the molar mass of {self.name} is not in the gas table")
        ppm = self.vol_percent(value, unit) * 10_000
        return ppm * self.molar_g / MOLAR_VOLUME_L / self.oel_mg_m3 * 100


class GasTable:
    """All gases that can be judged, by any of their names."""

    def __init__(self, gases: Iterable[tuple[Gas, tuple[str, ...]]]) -> None:
        """Take gases with their other names; raises GasError where two share one."""
        self._by_name: dict[str, Gas] = {}
        for gas, aliases in gases:
            for name in (gas.name, *aliases):
                earlier = self._by_name.setdefault(_folded(name), gas)
                if earlier != gas:
                    raise GasError(f"two gases are called {shown(name)}")

    def find(self, name: str) -> Gas:
        """Find a gas by name, formula or Chinese name; raises GasError for an unknown one."""
        gas = self._by_name.get(_folded(name))
        if gas is None:
            raise GasError(
                f"gas {shown(name)} is not in the gas table, so neither its LEL nor its limit is"
                " known: it is not judged"
            )
        return gas

    def names(self) -> list[str]:
        """Names of all gases, each once."""
        return sorted({gas.name for gas in self._by_name.values()})


def shipped_gases() -> GasTable:
    """The table of this package."""
    text = (resources.files("gateway.work") / "gases.toml").read_text("utf-8")
    return parse_gases(text, "gases.toml")


def parse_gases(text: str, name: str) -> GasTable:
    """Read a gas table; `name` is its file, for messages. Raises GasError."""
    try:
        raw = tomllib.loads(text)
    except ValueError as error:
        raise GasError(f"{name}: is no TOML: {error}") from error
    listed = raw.get("gas")
    if not isinstance(listed, list) or not listed:
        raise GasError(f"{name}: holds no [[gas]]")
    return GasTable(_gas(row, f"{name}: gas {number}") for number, row in enumerate(listed, 1))


def _gas(raw: Any, where: str) -> tuple[Gas, tuple[str, ...]]:  # noqa: ANN401 - a TOML table
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str) or not raw["name"]:
        raise GasError(f"{where}: needs a name")
    where = f"{where} ({raw['name']})"
    for key in raw:
        if key not in _KEYS:
            raise GasError(
                f"{where}: unknown key {shown(key)}; known are {', '.join(sorted(_KEYS))}"
            )
    aliases = raw.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise GasError(f"{where}: aliases must be a list of texts")
    lel = raw.get("lel", {})
    if not isinstance(lel, dict):
        raise GasError(f"{where}: lel must be a table such as {{ standard = 4.4 }}")
    values = [_positive(value, f"{where}: lel.{source}") for source, value in lel.items()]
    if any(value >= 100 for value in values):
        raise GasError(f"{where}: an LEL is below 100 %vol")
    return (
        Gas(
            name=raw["name"],
            zh=next((alias for alias in aliases if _CHINESE.search(alias)), raw["name"]),
            lel_least=min(values, default=math.nan),
            lel_most=max(values, default=math.nan),
            molar_g=_optional(raw, "molar_g", where),
            oel_mg_m3=_optional(raw, "oel_mg_m3", where),
        ),
        tuple(aliases),
    )


def _optional(raw: dict[str, Any], key: str, where: str) -> float:
    return _positive(raw[key], f"{where}: {key}") if key in raw else math.nan


def _positive(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise GasError(f"{where} must be a number above 0, not {value!r}")
    return float(value)


def _folded(name: str) -> str:
    return name.strip().lower().replace("_", " ").replace("₂", "2").replace("₃", "3")
