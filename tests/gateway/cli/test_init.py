"""A site that is begun with `plantgate init` passes its check once it has certificates."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from gateway.cli.main import main

GATEWAY = "SD-370800-000456-01"


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_begun_site_passes_its_check_with_trial_certificates(tmp_path: Path) -> None:
    folder = tmp_path / "现场 1"
    begun = invoke("init", folder, "--gateway", GATEWAY)
    assert begun.exit_code == 0
    assert f"plantgate check {folder / 'site.toml'}" in begun.stdout
    lacking = invoke("check", folder / "site.toml")
    assert lacking.exit_code == 2
    assert "FAILED: 3 problems" in lacking.stdout, "the three files of the uplink"

    assert invoke("cert", "demo", folder / "certs", "--gateway", GATEWAY).exit_code == 0
    checked = invoke("check", folder / "site.toml")
    assert checked.exit_code == 0, checked.stdout
    assert "gds-1: modbus, 2 points from points/gds-1.csv, 2 with limits" in checked.stdout
    warnings = [line for line in checked.stdout.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "is a placeholder" in warnings[0]


def test_what_is_there_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text("mine", encoding="ascii")
    again = invoke("init", tmp_path)
    assert (again.exit_code, again.stdout) == (2, "")
    assert again.stderr == (
        f"plantgate init: {tmp_path / 'site.toml'} exists already: name another folder\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["site.toml"]


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = invoke("init", tmp_path / "file" / "site")
    assert ended.exit_code == 2
    assert ended.stderr.endswith("cannot be written: Not a directory\n")
