"""Every command explains itself with an example; a slip of the keyboard is one line and exit 2."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from gateway.cli.main import COMMANDS, main


def _paths(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield (*before, name)
        if isinstance(found, click.Group):
            yield from _paths(found, (*before, name))


PATHS = list(_paths(main))


def test_all_commands_are_listed_with_a_line_each() -> None:
    said = CliRunner().invoke(main, ["--help"]).output
    for name, words in COMMANDS.items():
        assert f"  {name} " in said
        assert words.split()[0] in said


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_shows_an_example_of_this_very_command(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    example = result.output.split("Example")[-1]
    assert f"plantgate {' '.join(path)}" in example
    assert all(len(line) <= 100 for line in result.output.splitlines())
    said = [line for line in result.output.splitlines() if not line.startswith("Usage")]
    assert [line for line in said if line.endswith("...")] == [], "cut off"


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["--nonsense"], *([*path, "--nonsense"] for path in PATHS)],
    ids=" ".join,
)  # fmt: skip
def test_an_unknown_command_or_option_is_named(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "nonsense" in result.output.splitlines()[-1]
    assert "Traceback" not in result.output


@pytest.mark.parametrize("path", [path for path in PATHS if path in {("run",), ("check",)}])
def test_a_missing_argument_is_named(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, list(path))
    assert result.exit_code == 2
    assert "Missing argument 'SITE'" in result.output


def test_the_version_is_the_distributions() -> None:
    assert CliRunner().invoke(main, ["--version"]).output.startswith("plantgate, version 0.")
