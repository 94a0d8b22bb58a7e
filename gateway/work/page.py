"""The work record as one readable page, Chinese and English, printable. Pure.

Guarantees: one HTML file that loads nothing; everything from outside is escaped; A4 prints without
cutting a row. A PDF is made by the browser's own print.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from gateway.work.permit import KIND_ZH, Kind, Level, read_time
from gateway.work.words import local

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 14px/1.5 "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", system-ui, sans-serif;
  color: #1b1f24; max-width: 1000px; margin: 0 auto; padding: 24px; }
header { display: flex; justify-content: space-between; gap: 24px; align-items: flex-start;
  border-bottom: 3px solid #1b1f24; padding-bottom: 12px; }
h1 { font-size: 24px; margin: 0; }
h1 small { font-size: 14px; font-weight: normal; color: #59636e; display: block; }
h2 { font-size: 16px; margin: 28px 0 8px; border-left: 4px solid #0b5cad; padding-left: 8px; }
h2 span { font-weight: normal; color: #59636e; }
.verdict { text-align: right; white-space: nowrap; }
.verdict b { font-size: 20px; display: block; }
.bad { color: #b42318; } .good { color: #1a7f37; } .dim { color: #59636e; }
table { width: 100%; border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: 5px 8px;
  border-bottom: 1px solid #d8dee4; }
th { font-weight: 600; color: #59636e; font-size: 12px; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.time { white-space: nowrap; font-variant-numeric: tabular-nums; }
tr { break-inside: avoid; }
dl { display: grid; grid-template-columns: repeat(2, 150px 1fr); gap: 4px 12px; margin: 0; }
dt { color: #59636e; } dd { margin: 0; overflow-wrap: anywhere; }
code { font: 12px ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.tag { display: inline-block; padding: 0 6px; border-radius: 3px; background: #fdecea;
  color: #b42318; font-size: 12px; }
.quiet { background: #eaeef2; color: #59636e; }
footer { margin-top: 32px; padding-top: 8px; border-top: 1px solid #d8dee4; color: #59636e;
  font-size: 12px; }
@media (max-width: 700px) { dl { grid-template-columns: 130px 1fr; } header { display: block; }
  .verdict { text-align: left; margin-top: 8px; } .wide { overflow-x: auto; } }
@page { size: A4; margin: 14mm; }
@media print { body { padding: 0; font-size: 11px; } h2 { break-after: avoid; } }
"""

_LABELS = {
    "ticket_no": ("作业票号", "ticket"), "work": ("作业类型", "work"), "level": ("级别", "grade"),
    "status": ("系统状态", "status"), "place": ("地点", "place"), "area": ("区域", "area"),
    "hazard": ("重大危险源", "major hazard"), "company": ("企业", "company"),
    "content": ("作业内容", "content"), "guardian": ("监护人", "guardian"),
    "worker": ("作业人", "worker"), "contractor_name": ("承包商", "contractor"),
    "related_tickets": ("关联作业票", "related"), "risks": ("风险辨识", "risks"),
    "camera": ("移动摄像机", "camera"), "detectors": ("便携检测仪", "detectors"),
    "height_m": ("作业高度 m", "height"), "load_t": ("吊物质量 t", "load"),
    "depth_m": ("挖掘深度 m", "depth"), "pipe": ("管道", "pipe"),
    "plan_start": ("计划开始", "planned from"), "plan_end": ("计划结束", "planned to"),
    "actual_start": ("实际开始", "started"), "actual_end": ("实际结束", "ended"),
    "source_system": ("来源系统", "system"),
}  # fmt: skip

_NUMBERS = ("最小 least", "最大 most", "平均 mean", "最后 last", "数量 values", "分钟 min")
_TIMES = ("plan_start", "plan_end", "actual_start", "actual_end")


def page(record: Mapping[str, Any]) -> str:
    """Write the page of a record (record.py)."""
    count = len(record["violations"])
    verdict = (
        f'<b class="bad">{count} 项违规 violation{"s" if count != 1 else ""}</b>'
        if count
        else '<b class="good">无违规 no violation</b>'
    )
    complete = "记录完整 complete" if record["complete"] else "证据未齐 evidence missing"
    title = f"{record['work_zh']}作业记录"
    body = "".join(
        (
            f"<header><h1>{escape(title)} {escape(record['ticket'])}<small>Work record,"
            f" {escape(record['work'].replace('_', ' '))}, revision {record['revision']}</small>"
            "</h1>"
            f'<div class="verdict">{verdict}<span class="dim">{complete}</span></div></header>',
            _summary(record),
            _violations(record),
            _table("气体分析", "Gas analyses", ("取样时间 sampled", "气体 gas", "结果 result",
                   "地点 place", "分析人 analyst"), _analyses(record)),
            _table("监测数值", "Measured while at work", ("点位 point", "最小 least", "最大 most",
                   "平均 mean", "最后 last", "数量 values"), _values(record)),
            _table("中断", "Breaks", ("起 from", "止 to", "分钟 min"), (
                _row(_time(b["from"]), _time(b["to"]), _number(b["minutes"]))
                for b in record["breaks"])),
            _table("录像中断", "Gaps of the recording", ("摄像机 camera", "起 from", "止 to",
                   "原因 why"), (
                _row(_text(g["camera"] or "–"), _time(g["from"]), _time(g["to"]), _text(g["why"]))
                for g in record["recording_gaps"])),
            _table("过程", "Timeline", ("时间 time", "", "内容 what"), (
                _row(_time(e["time"]), f'<td><span class="tag {_tone(e["kind"])}">'
                     f'{escape(e["kind"])}</span></td>',
                     f'<td>{escape(e["zh"])}<br><span class="dim">{escape(e["en"])}</span></td>')
                for e in record["timeline"])),
        )
    )  # fmt: skip
    footer = (
        f"<footer>plantgate, made {escape(record['made'])} (UTC+8). The file is named by SHA-256"
        " in the gateway's hash-chained log; evidence is named by SHA-256. 本记录由网关自动生成,"
        "以SHA-256编号存入防篡改日志。</footer>"
    )
    return (
        f'<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport"'
        f' content="width=device-width, initial-scale=1"><title>{escape(title)}'
        f" {escape(record['ticket'])}</title><style>{_STYLE}</style></head><body>{body}{footer}"
        "</body></html>"
    )


def _summary(record: Mapping[str, Any]) -> str:
    pairs = [
        (*_LABELS[name], _shown(name, value, record["work"]))
        for name, value in record["permit"].items()
        if name in _LABELS
    ]
    special = ", ".join(record["special_time"])
    judged = _grade(record["level_judged"]) + (f" ({special})" if special else "")
    pairs += [
        ("判定级别", "judged as", judged or "–"),
        ("开始/结束", "from / to", f"{record['started']} / {record['ended']}"),
        ("状态", "state", f"{record['state_zh']} {record['state']}"),
    ]
    rows = "".join(
        f'<dt>{escape(zh)} <span class="dim">{escape(en)}</span></dt><dd>{escape(text)}</dd>'
        for zh, en, text in pairs
    )
    return f"<h2>作业票 <span>Permit</span></h2><dl>{rows}</dl>"


def _shown(name: str, value: object, work: str) -> str:
    """A field of the permit for people: times local, kind and grade of hot work in Chinese too."""
    if name in _TIMES:
        return local(read_time(value))
    text = str(value)
    if name == "work":
        return next((f"{zh} {text}" for kind, zh in KIND_ZH.items() if kind.value == text), text)
    return _grade(text) if name == "level" and work == Kind.HOT_WORK.value else text


def _grade(word: str) -> str:
    return next((f"{level.zh} {word}" for level in Level if level.word == word), word)


def _violations(record: Mapping[str, Any]) -> str:
    rows = []
    for found in record["violations"]:
        hashes = "".join(
            f"<div><code>{escape(e['sha256'][:16])}</code> "
            f'<span class="dim">{escape(e["media_type"])}</span></div>'
            for e in found["evidence"]
        )
        stop = '<span class="tag">建议停工 stop</span> ' if found["stop_recommended"] else ""
        rows.append(
            _row(
                f'<td class="time">{escape(found["raised"])}<br>'
                f'<span class="dim">{escape(found["returned"])}</span></td>',
                f'<td>{stop}{escape(found["zh"])}<br><span class="dim">{escape(found["en"])}</span>'
                f"{_later(found)}</td>",
                f"<td>{escape(found['citation'])}<br><code>{escape(found['rule'])}</code></td>",
                f"<td>{hashes or '–'}</td>",
            )
        )
    heads = ("起/止 from, to", "违规 violation", "依据 clause", "证据 evidence")
    return _table("违规", "Violations", heads, rows)


def _later(found: Mapping[str, Any]) -> str:
    """Reasons that were told while a violation stood, each with its time."""
    return "".join(
        f'<div>{escape(e["time"])} {escape(e["zh"])} <span class="dim">{escape(e["en"])}</span>'
        "</div>"
        for e in found["later"]
    )


def _analyses(record: Mapping[str, Any]) -> Iterable[str]:
    for a in record["analyses"]:
        yield _row(_time(a["time"]), _text(a["gas"]), _text(f"{a['value']:g} {a['unit']}"),
                   _text(a["place"] or "–"), _text(a["analyst"] or "–"))  # fmt: skip


def _values(record: Mapping[str, Any]) -> Iterable[str]:
    for name, span in record["values"].items():
        numbers = (span["least"], span["most"], span["mean"], span["last"], span["count"])
        yield _row(_text(name), *(_number(number) for number in numbers))


def _table(zh: str, en: str, heads: Iterable[str], rows: Iterable[str]) -> str:
    body = "".join(rows)
    title = f"<h2>{zh} <span>{en}</span></h2>"
    if not body:
        return f'{title}<p class="dim">无 none</p>'
    head = "".join(
        f"<th{' class=number' if text in _NUMBERS else ''}>{escape(text)}</th>" for text in heads
    )
    return (
        f'{title}<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(*cells: str) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _text(text: str) -> str:
    return f"<td>{escape(text)}</td>"


def _time(text: str) -> str:
    return f'<td class="time">{escape(text)}</td>'


def _number(value: float | None) -> str:
    return f'<td class="number">{"–" if value is None else f"{value:.6g}"}</td>'


def _tone(kind: str) -> str:
    return "" if kind in {"alarm", "stop"} else "quiet"
