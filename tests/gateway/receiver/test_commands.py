"""plantgate receive and cert as a person or a script runs them."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from buffer.contract import Stream
from gateway.cli.main import COMMANDS, main
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.wire_gateway import Chain, WireGateway
from tests.gateway.receiver.telemetry import Telemetry, batch
from tests.gateway.receiver.test_service import evidence, part

ROOT = Path(__file__).resolve().parents[3]


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(item) for item in arguments])


@contextlib.contextmanager
def receive(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A receiver as a process of its own, and the address that it printed."""
    command = [sys.executable, "-m", "gateway.cli.main", "receive", "--listen", "127.0.0.1:0",
               "--store", str(folder), *(arguments or ("--insecure",))]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("receiving on 127.0.0.1:"), line
            assert line.endswith(f", store {folder}\n")
            yield process, line.split(",")[0].removeprefix("receiving on ")
        finally:
            process.kill()


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    made = Telemetry()
    records = [made.record(batch([1], np.array([float(n)]), source_ms=n)) for n in range(3000)]
    acknowledged: set[int] = set()
    held: set[int] = set()
    for life in range(3):
        with receive(tmp_path) as (process, target):
            async with WireGateway(target) as gateway:
                ranges = {item.stream: item.ranges for item in gateway.welcome.acknowledged}
                held = {
                    n
                    for item in ranges[wire.STREAM_TELEMETRY]
                    for n in range(item.start, item.stop)
                }
                assert held >= acknowledged
                await gateway.push(Stream.EVENT, made.event())
                await gateway.acknowledged(1)
                middle = life * 1000 + 500
                for start in range(life * 1000, middle, 20):
                    await gateway.push(Stream.TELEMETRY, *records[start : start + 20])
                while len(acknowledged) < life * 500 + 200:
                    acknowledged |= await gateway.acknowledged(1)
                for start in range(middle, middle + 500, 20):  # of these nothing is heard any more
                    await gateway.push(Stream.TELEMETRY, *records[start : start + 20])
                process.kill()
                process.wait()
    with receive(tmp_path) as (process, target):
        async with WireGateway(target) as gateway:
            await gateway.push(Stream.TELEMETRY, *records)
            await gateway.acknowledged(len(records))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    result = invoke("query", "--store", tmp_path)
    values = [line.split(",")[3] for line in result.stdout.splitlines()[1:]]
    assert values == [f"{n}.0" for n in range(3000)]  # each once, in order
    assert len(acknowledged) < 3000  # the kills did come in mid-stream


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_cleanly_with_a_gateway_connected(
    tmp_path: Path, number: signal.Signals
) -> None:
    with receive(tmp_path) as (process, target):
        async with WireGateway(target) as gateway:
            process.send_signal(number)
            await gateway.ended()
        assert process.wait(60) == 0


async def test_a_reload_with_nothing_to_read_again_ends_nothing(tmp_path: Path) -> None:
    with receive(tmp_path) as (process, target):
        async with WireGateway(target) as gateway:
            process.send_signal(signal.SIGHUP)
            made = Telemetry()
            await gateway.push(Stream.EVENT, made.event())
            assert await gateway.acknowledged(1) == {1}
        assert process.poll() is None


async def test_a_backup_that_is_put_back_asks_for_what_came_since(tmp_path: Path) -> None:
    store, copy = tmp_path / "store", tmp_path / "备份" / "1"
    chain, picture = Chain(Stream.EVIDENCE), b"jpeg" * 100
    made = Telemetry()
    records = [made.record(batch([1], np.array([float(n)]), source_ms=n)) for n in range(9)]
    with receive(store) as (_, target):
        async with WireGateway(target) as gateway:
            await gateway.push(Stream.EVENT, made.event())
            await gateway.push(Stream.EVIDENCE, evidence(picture, chain))
            await gateway.acknowledged(1)
            assert (await gateway.next()).evidence_need.offset == 0
            await gateway.send(part(picture, 0, len(picture)))
            await gateway.acknowledged(1)
            await gateway.push(Stream.TELEMETRY, *records[:4])
            await gateway.acknowledged(4)
            told = invoke("backup", "--store", store, copy)
            assert told.exit_code == 0, told.output
            assert told.output.endswith("1 evidence files\n")
            await gateway.push(Stream.TELEMETRY, *records[4:])
            await gateway.acknowledged(5)
    again = invoke("backup", "--store", store, copy)
    assert again.exit_code == 2
    assert "is not empty: name a new folder for each backup" in again.output
    store.rename(tmp_path / "broken")
    copy.rename(store)
    [file] = [one for one in (store / "evidence").rglob("*") if one.is_file()]
    assert file.read_bytes() == picture
    with receive(store) as (_, target):
        async with WireGateway(target) as gateway:
            ranges = {item.stream: item.ranges for item in gateway.welcome.acknowledged}
            [held] = ranges[wire.STREAM_TELEMETRY]
            assert (held.start, held.stop) == (1, 5)
            await gateway.push(Stream.TELEMETRY, *records)
            await gateway.acknowledged(9)
    result = invoke("query", "--store", store)
    values = [line.split(",")[3] for line in result.stdout.splitlines()[1:]]
    assert values == [f"{n}.0" for n in range(9)]


async def test_a_backup_is_its_owners_alone_and_misses_no_file_unsaid(tmp_path: Path) -> None:
    store, files = tmp_path / "store", tmp_path / "evidence"
    chain, picture, made = Chain(Stream.EVIDENCE), b"jpeg" * 100, Telemetry()
    with receive(store, "--insecure", "--files", str(files)) as (_, target):
        async with WireGateway(target) as gateway:
            await gateway.push(Stream.EVENT, made.event())
            await gateway.push(Stream.EVIDENCE, evidence(picture, chain))
            await gateway.acknowledged(1)
            assert (await gateway.next()).evidence_need.offset == 0
            await gateway.send(part(picture, 0, len(picture)))
            await gateway.acknowledged(1)
        lacking = invoke("backup", "--store", store, tmp_path / "1")
        assert lacking.exit_code == 2
        assert "name the folder that the receiver was given (--files DIR)" in lacking.output
        assert not (tmp_path / "1" / "receiver.db").exists(), "half a backup looks like none"
        umask = os.umask(0)
        try:
            whole = invoke("backup", "--store", store, "--files", files, tmp_path / "2")
        finally:
            os.umask(umask)
    assert whole.exit_code == 0, whole.output
    assert whole.output.endswith("1 evidence files\n")
    made_of = [tmp_path / "2", *(tmp_path / "2").rglob("*")]
    modes = {stat.S_IMODE(one.stat().st_mode) for one in made_of if one.is_dir()}
    assert modes == {0o700}
    assert stat.S_IMODE((tmp_path / "2" / "receiver.db").stat().st_mode) == 0o600


def test_a_backup_of_what_cannot_be_looked_at_is_one_sentence(tmp_path: Path) -> None:
    told = invoke("backup", "--store", tmp_path / ("x" * 300), tmp_path / "2")
    assert told.exit_code == 2
    assert told.output.startswith("plantgate backup: ")
    assert told.output.endswith("File name too long\n")


def test_it_serves_with_the_demo_certificates(tmp_path: Path) -> None:
    certs = tmp_path / "certs"
    assert invoke("cert", "demo", certs).exit_code == 0
    tls = ["--ca", certs / "ca.pem", "--certificate", certs / "receiver.pem",
           "--key", certs / "receiver.key"]  # fmt: skip
    with receive(tmp_path / "store", *map(str, tls)) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def expire(path: Path) -> None:
    """Write a certificate that was valid in 2001."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "old")])
    start = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=9))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(Encoding.PEM))


def test_mistakes_of_receive_end_with_two_and_one_line(tmp_path: Path) -> None:
    certs = tmp_path / "certs"
    invoke("cert", "demo", certs)
    (tmp_path / "text").write_text("no certificate")
    tls = {"--ca": certs / "ca.pem", "--certificate": certs / "receiver.pem",
           "--key": certs / "receiver.key"}  # fmt: skip

    def run(listen: str, store: Path, *more: str, **change: Path) -> Result:
        given = {**tls, **{f"--{name}": path for name, path in change.items()}}
        options = [item for pair in given.items() for item in pair] if not more else list(more)
        return invoke("receive", "--listen", listen, "--store", store, *options)

    store, local = tmp_path / "store", "127.0.0.1:0"
    expire(tmp_path / "old.pem")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "telemetry.db").touch()
    other = socket.create_server(("127.0.0.1", 0))
    taken = f"127.0.0.1:{other.getsockname()[1]}"
    mistakes = {
        "only": run(local, store, certificate=tmp_path / "old.pem"),
        "no host:port": run("50051", store),
        "127.0.0.1:99999": run("127.0.0.1:99999", store),
        "192.0.2.1:1: this machine has no such address":  # RFC 5737: nobody's address
        run("192.0.2.1:1", store),
        "another program listens there": run(taken, store),
        "is a gateway's data directory": run(local, tmp_path / "data"),
        "does not fit": run(local, store, key=certs / "gateway.key"),
        "no PEM certificate": run(local, store, ca=tmp_path / "text"),
        "no PEM key": run(local, store, key=tmp_path / "text"),
        "No such file": run(local, store, certificate=tmp_path / "absent"),
        "Is a directory": run(local, store, ca=tmp_path),
        "is a file: name a folder": run(local, tmp_path / "text"),
        "missing": run(local, store, "--ca", str(certs / "ca.pem")),
        "exclude each other": run(local, store, "--insecure", "--ca", str(certs / "ca.pem")),
        "loopback only": run("0.0.0.0:0", store, "--insecure"),
    }
    other.close()
    for says, result in mistakes.items():
        assert result.exit_code == 2, (says, result.output)
        assert says in result.stderr, (says, result.stderr)
        assert result.stderr.count("\n") == 1, result.stderr


def test_demo_certificates_are_what_they_say(tmp_path: Path) -> None:
    result = invoke("cert", "demo", tmp_path, "--gateway", "G-1")
    assert len(result.stdout.splitlines()) == 5
    ca, receiver, gateway = [
        x509.load_pem_x509_certificate((tmp_path / name).read_bytes())
        for name in ("ca.pem", "receiver.pem", "gateway.pem")
    ]
    for leaf in (receiver, gateway):
        leaf.verify_directly_issued_by(ca)
    names = gateway.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == ["urn:plantgate:gateway:G-1"]
    for name in ("receiver.key", "gateway.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    again = invoke("cert", "demo", tmp_path, "--gateway", "G-1")
    assert again.exit_code == 2
    assert "nothing is overwritten" in again.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert not (tmp_path / "ca.key").exists()


def test_opcua_certificate_has_what_the_standard_asks(tmp_path: Path) -> None:
    result = invoke("cert", "opcua", tmp_path, "--uri", "urn:plant:plantgate", "--host", "box")
    assert result.exit_code == 0, result.output
    made = x509.load_der_x509_certificate((tmp_path / "opcua.der").read_bytes())
    key = load_pem_private_key((tmp_path / "opcua.key").read_bytes(), None)
    assert made.public_key() == key.public_key()
    get = made.extensions.get_extension_for_class
    names = get(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:plant:plantgate"]
    assert names.get_values_for_type(x509.DNSName) == ["box"]
    usage = get(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.content_commitment
    assert usage.key_encipherment
    assert usage.data_encipherment
    assert set(get(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    }
    assert invoke("cert", "opcua", tmp_path, "--uri", "no uri").exit_code == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = invoke("cert", "demo", tmp_path / "file" / "certs")
    assert result.exit_code == 2
    assert "Not a directory" in result.stderr


@pytest.mark.parametrize("arguments", [["receive"], ["query"], ["cert"], ["cert", "demo"]])
def test_every_help_has_an_example(arguments: list[str]) -> None:
    result = invoke(*arguments, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.stdout


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from gateway.cli.main import main;"
        "r = CliRunner().invoke(main, ['--help']); assert r.exit_code == 0, r.output;"
        "print([m for m in ('numpy', 'grpc', 'google.protobuf', 'cv2') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
    listing = invoke("--help").stdout
    assert all(name in listing for name in COMMANDS)


def test_a_command_that_does_not_exist_is_a_mistake() -> None:
    result = invoke("no-such-command")
    assert result.exit_code == 2
    assert "No such command" in result.stderr
