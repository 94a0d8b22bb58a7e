"""The pages' files: words in both languages, no way for markup to enter, nothing of a network."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from drivers.contract import QUALITY_WORDS, SERVER_WORDS
from gateway.duty.words import shipped_words
from gateway.model.alarm import AlarmState
from gateway.notify.trouble import CONDITION as NOTIFIER_FAILED
from gateway.rules.condition_spec import Kind as AlarmKind
from gateway.rules.declarations import DeclarationKind
from gateway.rules.gas import FAULT, INHIBITED, LEFT_IN_TEST, OVER_RANGE, UNDER_RANGE
from gateway.rules.headcount import KINDS
from gateway.rules.limit_table import CONDITIONS
from gateway.rules.not_judged import CONDITION
from gateway.rules.risk import EnterpriseGrade
from gateway.work.almanac import Reason
from gateway.work.life import Action, Handling, State
from gateway.work.permit import Kind, Level
from vision.health import View

ROOT = Path(__file__).resolve().parents[3]
STATIC = ROOT / "gateway" / "console" / "static"
SCRIPTS = sorted(STATIC.glob("*.js"))
WORDS = {
    name: json.loads((STATIC / f"{name}.json").read_text(encoding="utf-8")) for name in ("zh", "en")
}
FOUND = re.compile(r'Finding\(\s*f?"(?:\{how\.prefix\})?_?([a-z_]+)"')


def test_both_languages_have_the_same_words_with_the_same_gaps() -> None:
    assert WORDS["zh"].keys() == WORDS["en"].keys()
    for key, chinese in WORDS["zh"].items():
        english = WORDS["en"][key]
        assert chinese.strip(), key
        assert english.strip(), key
        gaps = re.compile(r"\{\w+\}")
        assert sorted(gaps.findall(chinese)) == sorted(gaps.findall(english)), key
        assert not re.search(r"[\u4e00-\u9fff]", english), key


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_word_that_a_script_uses_is_there(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    for key in re.findall(r'\bt\(\s*"([^"]+)"', text):
        assert key in WORDS["zh"], key
    for prefix in re.findall(r"\bt\(\s*`([\w.]+)\$\{", text):
        assert any(key.startswith(prefix) for key in WORDS["zh"]), prefix
    for group in re.findall(r'\bword\(\s*"(\w+)"', text):
        assert any(key.startswith(f"{group}.") for key in WORDS["zh"]), group
    for key in re.findall(r'"((?:alarms|values|work|declare|system|field)\.\w+)"', text):
        assert key in WORDS["zh"], key


def test_every_word_of_the_gateway_is_said_in_both_languages() -> None:
    work = {code for path in (ROOT / "gateway" / "work").glob("check_*.py")
            for code in FOUND.findall(path.read_text(encoding="utf-8"))}  # fmt: skip
    assert len(work) > 20
    conditions = {
        *CONDITIONS, *(condition for condition, _ in KINDS.values()), FAULT, INHIBITED, OVER_RANGE,
        UNDER_RANGE, LEFT_IN_TEST, CONDITION, NOTIFIER_FAILED,
        *(kind.value for kind in AlarmKind), "major_hazard_candidate", "over_count",
        "count_disagreement", "gathering",
        *(code for code in work if "_" in code or code == "wind"),
    }  # fmt: skip
    needed = [
        *(f"condition.{one}" for one in conditions),
        *(f"state.{one.name.lower()}" for one in AlarmState),
        *(f"quality.{one}" for one in {**QUALITY_WORDS, **SERVER_WORDS}.values()),
        *(f"handling.{one.value}" for one in Handling),
        *(f"handling.do_{one.value}" for one in Action if one is not Action.PUSH),
        *(f"permit.{one.value}" for one in State),
        *(f"work.{one.value}" for one in Kind),
        *(f"level.{one.word}" for one in Level),
        *(f"special.{one.value}" for one in Reason),
        *(f"grade.{one.value}" for one in EnterpriseGrade),
        *(f"declaration.{one.value}" for one in DeclarationKind),
        *(f"view.{one.value}" for one in View if one is not View.CLEAR),
        *(f"priority.{one}" for one in (1, 2, 3, 4)),
    ]
    assert [key for key in needed if key not in WORDS["zh"]] == []


def test_every_sentence_that_is_translated_is_said_somewhere() -> None:
    code = " ".join(
        path.read_text(encoding="utf-8")
        for part in ("console", "control", "rules", "work", "sources")
        for path in (ROOT / "gateway" / part).glob("*.py")
    )
    code = re.sub(r'"\s+f?"', "", code)  # what stands on several lines
    said = json.loads((STATIC / "said.json").read_text(encoding="utf-8"))
    gap = re.compile(r"\{\w+\}")
    for english, chinese in said.items():
        assert re.search(r"[\u4e00-\u9fff]", chinese), english
        assert set(gap.findall(chinese)) <= set(gap.findall(english)), english
        parts = [re.escape(part) for part in gap.split(english)]
        assert re.search(r"\{[^{}]+\}".join(parts), code), english


def test_messages_to_people_name_in_chinese_what_the_pages_name() -> None:
    said = {key.removeprefix("condition.") for key in WORDS["zh"] if key.startswith("condition.")}
    words = shipped_words()
    assert words.conditions["zh"].keys() == said
    assert all(f"unit.{unit}" in WORDS["zh"] for unit in words.units["zh"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_text_never_becomes_markup_or_script(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    ways = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
            "new Function", "srcdoc", "javascript:", "DOMParser", "createContextual")  # fmt: skip
    assert [way for way in ways if way in text] == []


def test_nothing_comes_from_a_network_and_nothing_is_inline() -> None:
    for path in sorted(STATIC.iterdir()):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[^\s\"'`)]+", text)) <= {"http://www.w3.org/2000/svg"}
        assert "@import" not in text
    shell = (STATIC / "app.html").read_text(encoding="utf-8")
    assert re.findall(r"<script[^>]*>", shell) == ['<script type="module" src="/static/app.js">']
    assert not re.search(r"<style|\sstyle=|\son\w+=", shell)
