"""`plantgate init DIR`: a folder to begin a site in, every key explained.

Guarantees: nothing that exists is touched; with trial certificates (`plantgate cert demo`) what was
written passes `plantgate check`. Exit 0; 2 where DIR holds a site file or cannot be written.
"""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

import click

SAMPLE_ID = "SD-370800-000123-01"
TABLE = """\
位号 name,区域 area,地址 address,类型 type,单位 unit,气体 gas,高报 high,高高报 high_high,描述
AT-101,input,0,f32,%LEL,CH4,20,40,泵区东侧可燃气体
AT-102,input,2,f32,%LEL,CH4,20,40,泵区西侧可燃气体
"""
"""Of the sample's device; GB/T 50493 takes at most 25 and 50 %LEL."""


@click.command("init", epilog="\b\nExample:\n  plantgate init site --gateway SD-370800-000456-01")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--gateway", default=SAMPLE_ID, show_default=True, help="Id of the gateway.")
def command(folder: Path, gateway: str) -> None:
    """Write a site file 站点文件 to fill in, and a point table 点表 for its device, into DIR."""
    site, table = folder / "site.toml", folder / "points" / "gds-1.csv"
    for path in (site, table):
        if path.exists():
            print(f"plantgate init: {path} exists already: name another folder", file=sys.stderr)
            sys.exit(2)
    sample = resources.files("gateway.config").joinpath("sample.toml").read_text(encoding="utf-8")
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        site.write_text(sample.replace(f'"{SAMPLE_ID}"', f'"{gateway}"'), encoding="utf-8")
        table.write_text(TABLE, encoding="utf-8-sig")  # with the mark that Excel needs
    except OSError as error:
        print(f"plantgate init: {folder} cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    print(f"wrote {site} and {table}. Next 下一步:")
    print(f"  plantgate cert demo {folder / 'certs'} --gateway {gateway}    # to try it, 60 days")
    print(f"  plantgate check {site}    # says what is missing or wrong, until nothing is")


__all__ = ["command"]
