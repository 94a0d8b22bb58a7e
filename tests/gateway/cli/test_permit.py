"""`plantgate permit`: whoever enters a permit sees what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from gateway.cli.main import main
from tests.fakes.beside import beside
from tests.fakes.control_gateway import ControlGateway


def _row(ticket: str, *, watched: bool, **more: Any) -> dict[str, Any]:
    return {
        "ticket_no": ticket, "work": "hot_work", "level": "first", "area": "泵房", "place": "",
        "state": "active", "counted": "active", "started": "–", "ended": "–", "violations": 1,
        "standing": 1, "watched": watched, "now_violated": [], **more,
    }  # fmt: skip


def _run(folder: Path, rows: list[dict[str, Any]], *arguments: str) -> Result:
    def make() -> ControlGateway:
        gateway = ControlGateway(folder)
        gateway.answers["permit.list"] = {"permits": rows}
        gateway.answers["permit.change"] = {"ticket": "DH-17", "state": "active"}
        return gateway

    with beside(make):
        command, *rest = arguments
        return CliRunner().invoke(main, ["permit", command, str(folder), *rest])


VIOLATED = [
    {"stop": True, "en": "no gas was analysed before the start", "zh": "作业前未进行气体分析"}
]


def test_a_place_that_nobody_watches_and_what_stands_are_said(tmp_path: Path) -> None:
    rows = [_row("DH-17", watched=False, now_violated=VIOLATED), _row("DH-18", watched=True)]
    listed = _run(tmp_path, rows, "list")
    started = _run(tmp_path, rows, "start", "DH-17", "--operator", "王芳")
    assert listed.exit_code == started.exit_code == 0
    lines = listed.output.splitlines()
    assert lines[1].startswith(
        "  ! not watched 不受监视: no [[permit_area]] of the site file is called 泵房"
    )
    assert (
        lines[2] == "  ! STOP 停止作业: no gas was analysed before the start 作业前未进行气体分析"
    )
    assert lines[3].startswith("DH-18")
    assert lines[4] == "2 permits"
    assert started.output.splitlines()[0] == "DH-17: active"
    assert started.output.splitlines()[1:] == lines[1:3]


def test_a_permit_that_is_over_is_not_complained_about(tmp_path: Path) -> None:
    rows = [_row("DH-17", watched=False, counted="closed", state="closed")]
    assert "not watched" not in _run(tmp_path, rows, "list").output
