"""What people type who never saw TOML, and the sentence that they get."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.load import ConfigError, load
from gateway.config.toml_advice import advice, foreign_signs

SAID = {
    "name = “gds-1”": 'holds “ ” of a Chinese input method 全角符号: type " instead',
    'name = "gds-1”': 'holds ” of a Chinese input method 全角符号: type " instead',
    "port ＝ 15021": "holds ＝ of a Chinese input method 全角符号: type = instead",
    "polygon = [[0.1，0.2]，[0.3，0.4]]":
        "holds ， of a Chinese input method 全角符号: type , instead",
    "unit = １": "holds １ of a Chinese input method 全角符号: type 1 instead",
    "【gateway】": "holds 【 】 of a Chinese input method 全角符号: type [ ] instead",
    "unit\u3000= 1": "holds a blank that is none (U+3000 全角空格): type a plain one",
    "unit = 1  // 站号": "a comment begins with #, not with //",
    'points = "点表\\气体.csv"':
        "a backslash in double quotes is special: write / in paths, or put '...' around it",
    "[[device]": "write [[device]]",
    "[gateway": "write [gateway]",
    "unit: 1": "write unit = 1, with = and not with a colon",
    'host: "10.0.0.1:502"  # x': 'write host = "10.0.0.1:502", with = and not with a colon',
    "unit = 1,": "a line does not end with ',': take it away",
    'name = "a";': "a line does not end with ';': take it away",
    "host = 127.0.0.1": 'texts go in quotes: host = "127.0.0.1"',
    "driver = modbus  # 驱动": 'texts go in quotes: driver = "modbus"',
    "insecure = True": "write insecure = true",
    "insecure = 是": "write insecure = true",
    "code = None": "there is no None in TOML: leave the line out where there is no value",
    "unit = 01": "a number has no leading zero: write unit = 1",
    "offset = -007.5": "a number has no leading zero: write offset = -7.5",
    "poll_ms = 1000ms": "a number stands without its unit: poll_ms = 1000",
    "站号 = 1": "names of keys are English, 站号 is none: Chinese stands in quotes only",
}  # fmt: skip


@pytest.mark.parametrize("line", SAID)
def test_a_line_that_is_no_toml_gets_advice(line: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(line)
    assert advice(line) == SAID[line]


@pytest.mark.parametrize(
    "line",
    ['name = "泵区，东“侧”"', "name = '全角（）'  # 注释：全角，", 'a = "b" c', "x = [1, 2", ""],
)
def test_what_is_in_quotes_and_comments_is_left_alone(line: str) -> None:
    assert advice(line) == ""


@given(st.text())
def test_any_line_gets_one_line_or_nothing(line: str) -> None:
    for said in (advice(line), foreign_signs(line)):
        assert "\n" not in said.replace(line, "")


def _said(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


def test_every_line_with_full_width_signs_is_named_at_once(tmp_path: Path) -> None:
    site = tmp_path / "站点.toml"
    site.write_text('[gateway]\nid = “a”\nname = "好，"\ndata_dir ＝ "d"\n# ，\n', encoding="utf-8")
    signs = "of a Chinese input method 全角符号: type"
    assert _said(site) == [
        f'2: is no TOML: holds “ ” {signs} " instead',
        f"4: is no TOML: holds ＝ {signs} = instead",
    ]


def test_a_key_given_twice_is_told_as_that(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[gateway]\nid = "a"\nid = "C:\\\\d"\n', encoding="utf-8")
    assert _said(site) == ["3: is no TOML: this key was given before"]


@pytest.mark.parametrize(
    ("encoding", "line", "named"),
    [
        ("gbk", 2, "GBK (ANSI of Notepad 记事本)"),
        ("utf-16", 1, "UTF-16 (Unicode of Notepad 记事本)"),
    ],
)
def test_what_windows_writes_is_named(encoding: str, line: int, named: str, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_bytes('[gateway]\ndata_dir = "数据"\n'.encode(encoding))
    assert _said(site) == [f"{line}: is not UTF-8 text from here on but {named}: save it as UTF-8"]
