"""The bundle for a plant without internet: what is in it, and what install.sh makes of it.

The bundle here holds plantgate's own wheel and an empty lock: fetching 140 MB of others is for
`make bundle`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.receive import command as receive

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(480)  # two virtual environments, on a machine with other work


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of plantgate, built from what git knows, as of a checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked("."):
        if name.split("/")[0] in {"gateway", "drivers", "vision", "buffer"} or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(source))
    [made] = out.glob("plantgate-*.whl")
    return made


def tracked(*folders: str) -> list[str]:
    """Files of the working tree that belong to it."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def pip(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
        check=True, cwd=ROOT, timeout=300,
    )  # fmt: skip


def bundle_of(wheel: Path, folder: Path) -> Path:
    """A bundle as deploy/offline/bundle.sh lays it out."""
    (folder / "wheels").mkdir(parents=True)
    (folder / "share").mkdir()
    shutil.copy(wheel, folder / "wheels")
    (folder / "run.txt").write_text("", encoding="ascii")
    shutil.copy(ROOT / "gateway" / "config" / "sample.toml", folder / "share")
    for name in ("plantgate", "plantgate-receiver", "plantgate-consumer"):
        shutil.copy(ROOT / "deploy" / "systemd" / f"{name}.service", folder)
    shutil.copy(ROOT / "deploy" / "systemd" / "receiver.env", folder)
    shutil.copy(ROOT / "deploy" / "offline" / "install.sh", folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  ./{p.relative_to(folder)}\n"
            for p in files]  # fmt: skip
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="ascii")
    return folder


def install(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(bundle / "install.sh"), *arguments], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHON": sys.executable}, timeout=300, umask=0o077,
    )  # fmt: skip  # as hardened machines give root


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert sorted(set(tracked("gateway", "drivers", "vision", "buffer")) - held) == []


def test_installs_below_a_folder_renews_and_keeps_the_release_before(
    wheel: Path, tmp_path: Path
) -> None:
    root = tmp_path / "工控机 1"
    bundle = bundle_of(wheel, tmp_path / "安装包 1")
    first = install(bundle, "--root", str(root))
    assert first.returncode == 0, first.stderr
    current = root / "opt" / "plantgate" / "current"
    asked = [str(current / "bin" / "python"), "-c",
             "from importlib.metadata import version; print(version('plantgate'))"]  # fmt: skip
    shown = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert f"plantgate-{shown.stdout.strip()}-" in wheel.name
    for place in ("bin/plantgate", "bin", "lib", ".", "..", "../.."):
        mode = (current.resolve() / place).stat().st_mode
        assert mode & 0o005 == 0o005, f"the services' user cannot use {place}"
    assert (root / "etc" / "plantgate" / "sample.toml").is_file()
    assert (root / "etc" / "plantgate" / "receiver.env.sample").is_file()
    units = {path.name for path in (root / "etc" / "systemd" / "system").iterdir()}
    assert units == {f"plantgate{of}.service" for of in ("", "-receiver", "-consumer")}
    (root / "etc" / "plantgate" / "site.toml").write_text("mine", encoding="ascii")

    made = (current / "complete").stat().st_mtime_ns
    assert install(bundle, "--root", str(root)).returncode == 0
    assert (current / "complete").stat().st_mtime_ns == made, "a second run changes nothing"

    (bundle / "share" / "CHANGELOG.md").write_text("news", encoding="ascii")
    with (bundle / "SHA256SUMS").open("a", encoding="ascii") as sums:
        sums.write(f"{hashlib.sha256(b'news').hexdigest()}  ./share/CHANGELOG.md\n")
    before = current.resolve()
    assert install(bundle, "--root", str(root)).returncode == 0
    assert current.resolve() != before
    assert (before / "bin" / "plantgate").is_file(), "the way back stays"
    assert (root / "etc" / "plantgate" / "site.toml").read_text(encoding="ascii") == "mine"


def test_a_damaged_bundle_installs_nothing(wheel: Path, tmp_path: Path) -> None:
    bundle = bundle_of(wheel, tmp_path / "bundle")
    with (bundle / "wheels" / wheel.name).open("ab") as opened:
        opened.write(b"\0")
    ended = install(bundle, "--root", str(tmp_path / "root"))
    assert ended.returncode == 2
    assert "install: a file is damaged or missing" in ended.stderr
    assert not (tmp_path / "root" / "opt").exists()


def test_a_slip_of_the_keyboard_is_one_line(tmp_path: Path) -> None:
    ended = install(ROOT / "deploy" / "offline", "--rot")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "install: I know no '--rot'; use: install.sh [--root DIR]\n"


def test_the_unit_starts_what_install_puts_there() -> None:
    unit = (ROOT / "deploy" / "systemd" / "plantgate.service").read_text(encoding="utf-8")
    script = (ROOT / "deploy" / "offline" / "install.sh").read_text(encoding="utf-8")
    assert "ExecStart=/opt/plantgate/current/bin/plantgate run /etc/plantgate/site.toml" in unit
    for place in ("/opt/plantgate/current", "etc/plantgate", "etc/systemd/system"):
        assert place in script
    tried, switched = script.index("runuser -u plantgate"), script.index('ln -sfn "releases/')
    assert tried < switched, "a release that the services' user cannot run is never switched to"


def test_the_receiver_s_units_start_commands_that_take_what_the_sample_says(
    tmp_path: Path,
) -> None:
    for unit, command in (("receiver", "receive"), ("consumer", "consume")):
        text = (ROOT / "deploy" / "systemd" / f"plantgate-{unit}.service").read_text("utf-8")
        assert f"ExecStart=/opt/plantgate/current/bin/plantgate {command}\n" in text
        assert f"EnvironmentFile=/etc/plantgate/{unit}.env\n" in text
    sample = (ROOT / "deploy" / "systemd" / "receiver.env").read_text("utf-8")
    lines = [line.lstrip("#") for line in sample.splitlines() if "PLANTGATE_RECEIVE_" in line]
    said = dict(line.split("=", 1) for line in lines if "=" in line)
    known = {f"PLANTGATE_RECEIVE_{one.name.upper()}" for one in receive.params if one.name}
    assert len(said) > 8
    assert set(said) <= known
    said |= {"PLANTGATE_RECEIVE_CA": str(tmp_path / "none"), "PLANTGATE_RECEIVE_INSECURE": ""}
    told = CliRunner().invoke(receive, [], env=said)
    assert told.exit_code == 2
    assert f"plantgate receive: --ca {tmp_path / 'none'}: No such file" in told.output
