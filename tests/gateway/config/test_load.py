"""Site: what loading a right site gives; no bytes whatever end in anything but ConfigError."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from buffer.policy import BufferConfig
from drivers.contract import Clock, DriverType, ValueKind
from drivers.loopback import is_loopback
from drivers.registry import find
from gateway.config.capacity import forecast, shortfall
from gateway.config.load import ConfigError, Site, load
from gateway.config.model import BufferSettings, enterprise_doubt, split_address
from gateway.config.toml_lines import line_of, locate
from gateway.model.catalogue import Catalogue, assign_ids
from vision.tags import camera_tags

CASES = Path(__file__).parent / "cases"
FindDriver = Callable[[str], DriverType[Any, Any]]

SITE = """
[gateway]
id = "SD-1"
enterprise = "91370800XXXXXXXXXX"
data_dir = "data"

[[device]]
name = "gds-1"
driver = "fake"
host = "127.0.0.1"
trust = "pki"
points = "points.csv"

[[camera]]
name = "east"
source = "rtsp://127.0.0.1/1"
[[camera.zone]]
name = "hot-work"
polygon = [[0.1, 0.2], [0.9, 0.2], [0.9, 0.9]]
"""
TABLE = """name,address,type,unit,high,deadband,priority,scale
AT-1,4,f32,%LEL,25,1,2,0.1
T,6,text,,,,,
"""


@pytest.fixture
def site(tmp_path: Path, find_driver: FindDriver, clock: Clock) -> Site:
    (tmp_path / "site.toml").write_text(SITE, encoding="utf-8")
    (tmp_path / "points.csv").write_text(TABLE, encoding="utf-8")
    return load(tmp_path / "site.toml", find_driver=find_driver, clock=clock)


def test_points_carry_what_the_table_says(site: Site) -> None:
    names = site.point_names()
    assert names == ["gds-1/AT-1", "gds-1/T", "east/hot-work.headcount", "east/analysed_fps"]

    ids = assign_ids({"gone/X": 7}, names)
    first, text, headcount, rate = site.points(ids)

    assert [p.id for p in (first, text, headcount, rate)] == [8, 9, 10, 11]
    assert (first.name, first.unit, first.scale, first.priority) == ("gds-1/AT-1", "%LEL", 0.1, 2)
    assert (first.limits.high, first.limits.deadband, first.limits.low) == (25.0, 1.0, None)
    assert (first.kind, text.kind) == (ValueKind.FLOAT, ValueKind.TEXT)
    assert (headcount.unit, rate.unit) == ("persons", "1/s")
    assert len(Catalogue.of(site.points(ids)).points) == 4


def test_driver_points_name_their_row(site: Site) -> None:
    (device,) = site.devices
    points = device.driver_points({"gds-1/AT-1": 1, "gds-1/T": 2})
    assert [(p.id, p.tag, p.row, p.address.address) for p in points] == [
        (1, "AT-1", 2, 4),
        (2, "T", 3, 6),
    ]


def test_paths_are_relative_to_the_site_file(site: Site, tmp_path: Path) -> None:
    assert site.gateway.data_dir == tmp_path / "data"
    assert not site.gateway.data_dir.exists()
    assert getattr(site.devices[0].config, "trust", None) == tmp_path / "pki"
    assert site.folder == tmp_path


def test_camera_tags_are_those_that_the_source_emits(site: Site) -> None:
    from gateway.sources import camera as source

    assert camera_tags(site.cameras[0]) == source.camera_tags(site.cameras[0])


def test_buffer_settings_default_to_the_buffers_own() -> None:
    assert BufferSettings().to_config() == BufferConfig()


def test_retention_is_judged_against_the_quota(site: Site, tmp_path: Path, find_driver: FindDriver,
                                               clock: Clock) -> None:  # fmt: skip
    assert forecast(site).values_per_s == 4.0  # two polled, two of a camera: each 1 s
    assert shortfall(site, forecast(site)) == (None, None)

    def with_quota(gigabytes: str) -> Site:
        text = f"{SITE}\n[buffer]\ntelemetry_quota_gb = {gigabytes}\n"
        (tmp_path / "other.toml").write_text(text, encoding="utf-8")
        return load(tmp_path / "other.toml", find_driver=find_driver, clock=clock)

    small = with_quota("0.001")
    problem, _ = shortfall(small, forecast(small))
    assert problem is not None
    assert "give at least" in problem.message
    tight = with_quota("0.01")
    problem, doubt = shortfall(tight, forecast(tight))
    assert problem is None
    assert doubt is not None


@pytest.mark.parametrize(
    ("address", "parts"),
    [("a:1", ("a", 1)), ("[::1]:50051", ("::1", 50051)), ("127.0.0.1:0", ("127.0.0.1", 0))],
)
def test_addresses_split(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize(
    "address", ["", "a", ":1", "a:", "::1:5", "a:70000", "a:-1", "a b:1", "a:１"]
)
def test_bad_addresses_do_not(address: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|brackets"):
        split_address(address)


def test_loopback() -> None:
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.9.9.9", "::1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "localhost.example", "10.0.0.1", ""]))  # noqa: S104  # judged, not bound


def test_enterprise_code_check_digit() -> None:
    # A code often printed to explain the check digit of GB 32100-2015.
    good = "91350100M000100Y43"
    assert enterprise_doubt(good) == ""
    assert "check digit" in enterprise_doubt("91350100M000100Y44")
    assert "does not use" in enterprise_doubt("9135010OM000100Y43")


def test_sample_passes_but_for_its_paths(tmp_path: Path, clock: Clock) -> None:
    import gateway.config

    sample = Path(gateway.config.__file__).with_name("sample.toml").read_text(encoding="utf-8")
    (tmp_path / "sample.toml").write_text(sample, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "sample.toml", find_driver=find, clock=clock)
    assert [problem.key for problem in caught.value.problems] == [
        "device.gds-1.points",
        "uplink.province.ca",
        "uplink.province.certificate",
        "uplink.province.key",
    ]
    commented = [
        line for line in sample.splitlines()
        if line.startswith("# ") and (" = " in line or line.startswith("# ["))
    ]  # fmt: skip
    (tmp_path / "all.toml").write_text(
        "\n".join(
            line.removeprefix("# ") if line in commented else line for line in sample.splitlines()
        ),
        encoding="utf-8",
    )
    (tmp_path / "roster.csv").write_text("step,person,notifier\n1,a,sms\n", encoding="utf-8")
    with pytest.raises(ConfigError) as all_keys:
        load(tmp_path / "all.toml", find_driver=find, clock=clock)
    assert [one.key for one in all_keys.value.problems] == [
        *(problem.key for problem in caught.value.problems),
        "console.certificate",
        "console.key",
    ]


@pytest.mark.parametrize("path", ["nowhere.toml", ".", "a\0b", "/dev/zero"])
def test_a_path_that_is_no_file_is_one_line(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / path)
    assert len(caught.value.problems) == 1


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
@example(b"a = " + b"[" * 5000)
@example(b"a = " + b"9" * 5000)
@example(b"a = 2020-99-99")
@example(b"[gateway]\nid = nan\ndata_dir = inf\n")
def test_no_bytes_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "site.toml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError):
        load(path)


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(str(k))} = {_toml(v)}" for k, v in value.items()) + "}"
    escaped = "".join(f"\\U{ord(char):08x}" for char in str(value))
    return f'"{escaped}"'


@given(
    section=st.sampled_from(
        [
            "gateway",
            "device",
            "camera",
            "uplink",
            "hazard",
            "equipment",
            "buffer",
            "metrics",
            "log",
            "place",
        ]
    ),
    key=st.sampled_from(
        [
            "name",
            "id",
            "data_dir",
            "driver",
            "points",
            "host",
            "polygon",
            "zone",
            "source",
            "target",
            "ca",
            "insecure",
            "listen",
            "level",
            "code",
            "x",
        ]
    ),
    many=st.booleans(),
    value=_JUNK,
)
def test_any_value_under_any_key_is_a_clear_line(
    tmp_path_factory: pytest.TempPathFactory, section: str, key: str, many: bool, value: object
) -> None:
    heading = f"[[{section}]]" if many else f"[{section}]"
    path = tmp_path_factory.mktemp("junk") / "site.toml"
    path.write_text(f"{heading}\n{key} = {_toml(value)}\n", encoding="utf-8")
    try:
        load(path)
    except ConfigError as error:
        lines = [str(problem) for problem in error.problems]
        assert lines
        assert not any("\n" in line for line in lines)
        assert len(set(lines)) == len(lines)


_NAMES = st.sampled_from(["a", "b-1", '"c.d"', "'e f'", '"\\u0067"'])
_VALUES = st.sampled_from(
    [
        "1",
        '"x # y"',
        "'z'",
        '"""a\n[b]\nc = 1"""',
        "'''\nq = \"\n'''",
        "[1, # n\n [2, 3],\n]",
        "{m = 1}",
    ]
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["[{}]", "[[{}]]", "[t.{}]", "[[t.{}]]"]),
            _NAMES,
            st.lists(st.tuples(_NAMES, _VALUES), max_size=3),
        ),
        max_size=6,
    )
)
def test_every_key_that_tomllib_finds_has_its_line(
    tables: list[tuple[str, str, list[tuple[str, str]]]],
) -> None:
    text = ""
    for number, (form, name, keys) in enumerate(tables):
        text += f"# comment [x]\n{form.format(name)}\n"
        text += "".join(
            f"  k{number}-{i}.{key} = {value} # tail\n" for i, (key, value) in enumerate(keys)
        )
    try:
        held = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # a table given twice
    lines = locate(text)
    written = text.split("\n")

    def walk(value: object, path: tuple[str | int, ...]) -> None:
        entries = (
            value.items() if isinstance(value, Mapping)
            else enumerate(value) if isinstance(value, list) else ()
        )  # fmt: skip
        for key, inner in entries:
            line = line_of(lines, (*path, key))
            assert line > 0
            if isinstance(key, str) and key.startswith("k"):
                assert written[line - 1].strip().startswith(f"{key}.")
            walk(inner, (*path, key))

    walk(held, ())


def test_a_driver_that_remembers_gets_a_folder_in_the_data_directory(tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text("name,area,address,type\na,holding,0,u16\n")
    device = 'driver = "modbus"\nhost = "127.0.0.1"\npoints = "points.csv"\n'
    (tmp_path / "site.toml").write_text(
        '[gateway]\nid = "g"\nenterprise = "91370800MA3C000000"\ndata_dir = "data"\n'
        f'[[device]]\nname = "own"\nstate_dir = "elsewhere"\nport = 1\n{device}'
        f'[[device]]\nname = "given"\nport = 2\n{device}'
    )
    own, given = (
        one.config.model_dump()["state_dir"] for one in load(tmp_path / "site.toml").devices
    )
    assert own == tmp_path / "elsewhere"
    assert given == tmp_path / "data" / "devices"
