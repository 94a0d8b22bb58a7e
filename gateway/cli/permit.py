"""`plantgate permit`: special-work permits 作业票 of a gateway that runs here.

Every command names a person and leaves an audit event. Exit 0; 1 if no gateway answers or it
refuses; 2 for a mistake in the options.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gateway.cli.group import Group
from gateway.cli.output import AS_JSON, counted, print_json
from gateway.cli.running import DATA_DIR, answered

_KINDS = ("hot_work", "confined_space", "blind_plate", "height", "lifting", "temporary_power",
          "earth", "road_closing", "plugging", "tank_cleaning", "water_draining",
          "unplanned_maintenance")  # fmt: skip
_OPERATOR = click.option(
    "--operator", default=getpass.getuser, help="Who does it; else your login."
)
_VERBS = {
    "approve": "Say that a permit was approved.",
    "start": "Say that the work begins.",
    "suspend": "Say that the work is interrupted.",
    "resume": "Say that the work goes on.",
    "end": "Say that the work is over; its record is made.",
    "close": "Close a permit after acceptance.",
    "cancel": "Cancel a permit.",
}


@click.group("permit", cls=Group, epilog="\b\nExample:\n  plantgate permit list data")
def command() -> None:
    """List, enter and end special-work permits 作业票 of a running gateway."""


@command.command("list", epilog="\b\nExample:\n  plantgate permit list data --json")
@DATA_DIR
@AS_JSON
def listed(data_dir: Path, as_json: bool) -> None:
    """List permits with state, grade as judged, and violations."""
    answer = answered(data_dir, {"ask": "permit.list"})
    if as_json:
        print_json(answer)
        return
    for row in answer["permits"]:
        level = f" {row['level']}" if row["level"] else ""
        print(
            f"{row['ticket_no']}  {row['work']}{level}  {row['area']}  {row['state']}"
            f"  started {row['started']}  ended {row['ended']}"
            f"  violations {row['violations']}, standing {row['standing']}"
        )
        _explain(row)
    print(counted(len(answer["permits"]), "permit"))


@command.command(
    "enter",
    epilog="\b\nExample:\n  plantgate permit enter data DH-17 --work hot_work --level first \\\n"
    "      --area pump-yard --from 2026-05-01T08:00+08:00 --to 2026-05-01T16:00+08:00 \\\n"
    "      --guardian 张伟 --operator 王芳",
)
@DATA_DIR
@click.argument("ticket")
@click.option("--work", type=click.Choice(_KINDS), required=True, metavar="KIND",
              help=f"Kind of work 作业类型: {', '.join(_KINDS)}.")  # fmt: skip
@click.option("--level", default="", help="Grade 级别: special, first, second (or 特级 …).")
@click.option("--area", default="", help="A [[permit_area]] of the site file, or one of its names.")
@click.option("--from", "plan_start", default="", help="Planned start, ISO 8601 with offset.")
@click.option("--to", "plan_end", default="", help="Planned end, ISO 8601 with offset.")
@click.option("--content", default="", help="What is done 作业内容.")
@click.option("--guardian", default="", help="Guardian 监护人.")
@click.option("--guardian-card", default="", help="The guardian's positioning card 定位卡.")
@click.option("--worker", default="", help="Who works 作业人.")
@click.option("--camera", default="", help="Code of the mobile camera 布控球.")
@click.option("--detectors", default="", help="Codes of the portable detectors, with commas.")
@click.option("--related", "related_tickets", default="", help="Permits that this one knows of.")
@click.option("--height-m", type=float, default=None, help="Height of the work, m 作业高度.")
@click.option("--height-factors", is_flag=True, help="One of the class B factors B类因素 applies.")
@click.option("--communication", is_flag=True, help="People can talk to each other 通讯联络.")
@click.option("--load-t", type=float, default=None, help="Load that is lifted, t 吊物质量.")
@click.option("--depth-m", type=float, default=None, help="Depth of digging, m 挖掘深度.")
@click.option("--pipe", default="", help="Pipe of a blind plate 盲板所在管道.")
@click.option("--upgraded", is_flag=True, help="The grade was raised already 已升级管理.")
@click.option("--status", default="approved", help="received or approved (the default).")
@_OPERATOR
def enter(data_dir: Path, ticket: str, operator: str, **fields: Any) -> None:  # noqa: ANN401 - click's
    """Enter a permit, or what changed in one."""
    given = {
        k: value for k, value in fields.items() if value not in {"", None} and value is not False
    }
    permit = {"ticket_no": ticket, **given}
    _moved(
        data_dir,
        answered(data_dir, {"ask": "permit.enter", "permit": permit, "operator": operator}),
    )


@command.command(
    "gas",
    epilog="\b\nExample:\n  plantgate permit gas data DH-17 --gas methane --value 0.1 \\\n"
    "      --unit %vol --sampled 2026-05-01T07:45+08:00 --place 泵出口 --operator 李娜",
)
@DATA_DIR
@click.argument("ticket")
@click.option("--gas", required=True, help="Name, formula or Chinese name.")
@click.option("--value", type=float, required=True, help="What was found.")
@click.option("--unit", type=click.Choice(("%vol", "%LEL", "ppm", "mg/m3")), required=True)
@click.option("--sampled", "time", default="", help="When, ISO 8601 with offset; else now.")
@click.option("--place", default="", help="Where the sample was taken.")
@click.option("--distance-m", type=float, default=None, help="From the point of the work, m.")
@_OPERATOR
def gas(data_dir: Path, ticket: str, operator: str, **fields: Any) -> None:  # noqa: ANN401 - click's
    """Enter a gas analysis 气体分析 of a permit."""
    given = {name: value for name, value in fields.items() if value not in {"", None}}
    analysis = {"permit": ticket, "analyst": operator, **given}
    _moved(
        data_dir,
        answered(data_dir, {"ask": "permit.gas", "analysis": analysis, "operator": operator}),
    )


def _verb(name: str, words: str) -> None:
    def run(data_dir: Path, ticket: str, operator: str, reason: str) -> None:
        request = {"ask": "permit.change", "verb": name, "ticket": ticket, "operator": operator,
                   "reason": reason}  # fmt: skip
        _moved(data_dir, answered(data_dir, request))

    run.__doc__ = words
    decorated: Any = run
    for option in (
        click.option("--reason", default="", help="Why; it goes on record."),
        _OPERATOR,
        click.argument("ticket"),
        DATA_DIR,
    ):
        decorated = option(decorated)
    example = f"\b\nExample:\n  plantgate permit {name} data DH-17 --operator 王芳"
    command.command(name, epilog=example)(decorated)


for _name, _words in _VERBS.items():
    _verb(_name, _words)


def _moved(data_dir: Path, answer: Mapping[str, Any]) -> None:
    """Say how the permit stands now, and what is wrong with it."""
    print(f"{answer['ticket']}: {answer['state']}")
    for row in answered(data_dir, {"ask": "permit.list"})["permits"]:
        if row["ticket_no"] == answer["ticket"]:
            _explain(row)


def _explain(row: Mapping[str, Any]) -> None:
    """What an operator has to know beside the state: a place nobody watches, what stands."""
    over = row["counted"] in {"ended", "closed"}
    if not row.get("watched", True) and not over:
        name = row["area"] or row["place"] or "no area"
        print(f"  ! not watched 不受监视: no [[permit_area]] of the site file is called {name}:"
              " gas, people and pictures there are not watched 区域未配置")  # fmt: skip
    for one in row["now_violated"]:
        if one.get("ending"):
            continue
        stop = "STOP 停止作业: " if one["stop"] else ""
        print(f"  ! {stop}{one['en']} {one['zh']}")
