"""`plantgate risk`: grade of the enterprise and risk of its units, as a running gateway knows them.

Exit 0; 1 if no gateway answers.
"""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.output import AS_JSON, print_json
from gateway.cli.running import DATA_DIR, answered


@click.command(
    "risk",
    epilog="\b\nExample:\n  plantgate risk data\n  plantgate risk data --json | jq .unit_risks",
)
@DATA_DIR
@AS_JSON
def command(data_dir: Path, as_json: bool) -> None:
    """Show the enterprise's grade 企业分级, the risk 风险等级 of its units, and what they raise."""
    answer = answered(data_dir, {"ask": "risk.show"})
    if as_json:
        print_json(answer)
        return
    print(f"Grade of the enterprise 企业分级: {answer['grade_words'] or 'not known'}")
    for unit, words in answer["unit_words"].items():
        print(f"  risk of {unit} 风险等级: {words}")
    raised = ", ".join(answer["reported_more_closely"]) or "nobody"
    print(f"Reported to more closely 加密上报: {raised}")
