"""`plantgate demo`: a simulated plant, the gateway and a receiver on this machine, and what flows.

Guarantees: everything listens on loopback, on free ports; each part is a process of its own that
ends with the demo (Ctrl-C, SIGTERM, a closed terminal, --seconds, or the death of any of them), and
no second signal cuts that short; the demo's folder is a fresh temporary one unless --dir names one,
so nothing of a real site is touched.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from gateway.cli.demo_clip import cached_clip, fetch_clip
from gateway.cli.demo_terminal import Terminal
from gateway.cli.demo_view import Facts, Reading, parse_metrics, plain_line, screen
from gateway.config import users
from gateway.config.users import Role
from gateway.runtime.clock import SystemClock

GATEWAY_ID = "SD-370800-000123-01"
CONSOLE_USER = "demo"
MODBUS_POINTS = 1000
OPCUA_POINTS = 500
START_LIMIT_S = 45
STOP_LIMIT_S = 15
PAST_S = 60
STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
EXAMPLE = """\b
Examples:
  plantgate demo
  plantgate demo --camera rtsp://192.0.2.7/stream1
  plantgate demo --seconds 60 | grep values/s
"""


class DemoError(Exception):
    """A part did not start or ended by itself; the text says which and shows its last words."""


@dataclass(slots=True)
class Parts:
    """The demo's processes; `folder` holds a log of each."""

    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *arguments: str) -> None:
        """Start `python -m ARGUMENTS` with its output in NAME.log."""
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the demo, which stops them in order
            )

    def log(self, name: str) -> str:
        """Output of one part so far."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def check(self) -> None:
        """Raise DemoError if a part has ended."""
        for name, process in self.running.items():
            if process.poll() is not None:
                words = self.log(name).strip().splitlines()[-5:]
                raise DemoError(f"{name} ended with {process.returncode}:\n" + "\n".join(words))

    def wait_for(self, name: str, words: str) -> str:
        """Return the line of a part's output that begins with `words`."""
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            self.check()
            for line in self.log(name).splitlines():
                if line.startswith(words):
                    return line
            time.sleep(0.1)
        raise DemoError(f"{name} did not start within {START_LIMIT_S} s; see {self.folder}")

    def stop(self) -> None:
        """End all parts, gateway first, so that what it holds still reaches the receiver."""
        for name in ("gateway", "receiver", "plant"):
            process = self.running.get(name)
            if process is None:
                continue
            process.terminate()
            try:
                process.wait(timeout=STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@click.command("demo", epilog=EXAMPLE)
@click.option("--camera", help="File or rtsp:// address; without it, a clip of walking people.")
@click.option("--seconds", type=click.IntRange(min=1), help="Stop by itself after so long.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep certificates, stores and logs here; else in a temporary folder.",
)
@click.option("--fetch", is_flag=True, help="Only fetch the camera clip, then end.")
def command(camera: str | None, seconds: int | None, folder: Path | None, *, fetch: bool) -> None:
    """Run the main job on this machine: simulated plant, gateway, receiver, and what flows."""
    if fetch:
        print(fetch_clip()[1])
        return
    for number in STOP_SIGNALS:
        signal.signal(number, _interrupt)
    source, words = _camera(camera)
    print(words, flush=True)
    with _work_folder(folder) as work:
        parts = Parts(work)
        try:
            facts = _start(parts, source)
            _watch(parts, facts, seconds)
        except KeyboardInterrupt:
            _ignore_signals()
            with contextlib.suppress(OSError):  # the terminal may be gone
                print("stopping", flush=True)
        except DemoError as error:
            print(f"plantgate demo: {error}", file=sys.stderr)
            sys.exit(1)
        finally:
            _ignore_signals()  # a second Ctrl-C must not leave a part running
            parts.stop()
    with contextlib.suppress(OSError):
        print("stopped", flush=True)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _camera(wanted: str | None) -> tuple[str | None, str]:
    """Address of the camera, and one sentence about it."""
    if wanted is None:
        clip, words = fetch_clip() if cached_clip() is None else (cached_clip(), "")
        return (str(clip) if clip else None), words or f"camera: {clip}"
    if "://" not in wanted and not Path(wanted).is_file():
        print(f"plantgate demo: --camera: there is no file {wanted}", file=sys.stderr)
        sys.exit(2)
    return (wanted if "://" in wanted else str(Path(wanted).resolve())), f"camera: {wanted}"


@contextlib.contextmanager
def _work_folder(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        try:
            wanted.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            print(f"plantgate demo: --dir {wanted}: {error.strerror}", file=sys.stderr)
            sys.exit(2)
        yield wanted.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="plantgate-demo-") as folder:
        yield Path(folder)


def _start(parts: Parts, camera: str | None) -> Facts:
    """Start plant, receiver and gateway, in this order."""
    folder = parts.folder
    parts.start(
        "plant", "drivers.sim", "--modbus-port", "0", "--opcua-port", "0", "--tables", "points",
        "--points", str(MODBUS_POINTS), "--opcua-points", str(OPCUA_POINTS),
    )  # fmt: skip
    if not (folder / "certs").exists():
        certificates = [sys.executable, "-m", "gateway.cli.main", "cert", "demo", "certs",
                        "--gateway", GATEWAY_ID]  # fmt: skip
        subprocess.run(certificates, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    parts.start(
        "receiver", "gateway.cli.main", "receive", "--listen", "127.0.0.1:0", "--store", "store",
        "--ca", "certs/ca.pem", "--certificate", "certs/receiver.pem",
        "--key", "certs/receiver.key",
    )  # fmt: skip
    ready = dict(word.split("=") for word in parts.wait_for("plant", "ready").split()[1:])
    receiving = parts.wait_for("receiver", "receiving on ")
    target = receiving.removeprefix("receiving on ").partition(",")[0]
    metrics_port, console_port = _free_port(), _free_port()
    site = _site(ready["modbus"], ready["opcua"], target, metrics_port, camera)
    site += f'\n[console]\nlisten = "127.0.0.1:{console_port}"\ninsecure = true\n'
    (folder / "site.toml").write_text(site, encoding="utf-8")
    password = _console_user(folder / "data")
    parts.start("gateway", "gateway.cli.main", "run", "site.toml")
    console = f"http://127.0.0.1:{console_port}/  user {CONSOLE_USER}  password {password}"
    print(f"console 控制台: {console}", flush=True)
    return Facts(
        points=MODBUS_POINTS + OPCUA_POINTS,
        camera=camera or "none",
        metrics_url=f"http://127.0.0.1:{metrics_port}/metrics",
        store=str(folder / "store"),
        console=console,
    )


def _console_user(data: Path) -> str:
    """Give the console one user, with a password of this run; on this machine only."""
    data.mkdir(exist_ok=True)
    password = secrets.token_urlsafe(9)
    now_ns = SystemClock().wall_ns()
    if CONSOLE_USER in users.read(data).users:
        users.set_password(data, CONSOLE_USER, password, now_ns)
    else:
        users.add_user(data, CONSOLE_USER, Role.ISSUER, password, now_ns)
    return password


def _site(modbus: str, opcua: str, target: str, metrics_port: int, camera: str | None) -> str:
    """Write the demo's site file."""
    text = f"""
[gateway]
id = "{GATEWAY_ID}"
enterprise = "91370800MA3C000000"
data_dir = "data"

[metrics]
listen = "127.0.0.1:{metrics_port}"

[[device]]
name = "gds-1"
driver = "modbus"
host = "127.0.0.1"
port = {modbus}
unit = 1
poll_ms = 1000
points = "points/modbus.csv"

[[device]]
name = "dcs"
driver = "opcua"
endpoint = "opc.tcp://127.0.0.1:{opcua}/"
security = "None"
insecure = true
publish_ms = 500
points = "points/opcua.csv"

[[uplink]]
name = "province"
target = "{target.replace("127.0.0.1", "localhost")}"
ca = "certs/ca.pem"
certificate = "certs/gateway.pem"
key = "certs/gateway.key"
"""
    if camera is None:
        return text
    return f"""{text}
[[camera]]
name = "unit1-east"
source = {json.dumps(camera, ensure_ascii=False)}
analyse_fps = 2
[[camera.zone]]
name = "yard"
polygon = [[0.0, 0.15], [1.0, 0.15], [1.0, 1.0], [0.0, 1.0]]
max_people = 4
"""


def _watch(parts: Parts, facts: Facts, seconds: int | None) -> None:
    """Show what flows, once a second, until interrupted or `seconds` have passed."""
    began_ns = time.monotonic_ns()
    readings: deque[Reading] = deque(maxlen=PAST_S)
    with Terminal(sys.stdout) as terminal:
        while seconds is None or time.monotonic_ns() - began_ns < seconds * 1e9:
            parts.check()
            reading = _read(facts.metrics_url)
            before, past = (readings[-1], readings[0]) if readings else (None, None)
            if reading is None:
                if not readings and time.monotonic_ns() - began_ns > START_LIMIT_S * 1e9:
                    raise DemoError(f"the gateway says nothing; see {parts.folder}/gateway.log")
            elif terminal.live:
                terminal.draw(screen(reading, before, past, facts))
            elif before is not None:
                print(plain_line(reading, before, past), flush=True)
            if reading is not None and (reading.connected or readings):
                readings.append(reading)
            time.sleep(1.0)


def _read(url: str) -> Reading | None:
    """One look at the gateway's metrics; None while it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  own loopback address
            text = answer.read().decode()
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None
    found = parse_metrics(text)
    prefix = "plantgate_source_headcount_"

    def number(name: str, label: str = "") -> float:
        return found.get((f"plantgate_{name}", label), 0.0)

    return Reading(
        monotonic_ns=time.monotonic_ns(),
        values=number("flow_values"),
        bad_values=number("flow_bad_values"),
        alarms_raised=number("flow_alarms_raised"),
        alarms_standing=number("flow_alarms_standing"),
        headcount={
            f"{label}/{name.removeprefix(prefix)}": value
            for (name, label), value in found.items()
            if name.startswith(prefix)
        },
        sent_bytes=number("uplink_sent_bytes", "province"),
        backlog_records=number("uplink_backlog_records", "province"),
        connected=number("uplink_connected", "province") > 0,
        capacity_hours=number("buffer_capacity_hours_telemetry"),
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
