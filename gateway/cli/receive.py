"""`plantgate receive`: run a receiver until SIGTERM or Ctrl-C.

Exit 0 after a clean stop (everything received is committed), 2 for a mistake in the options, the
certificates, the address or the store.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drivers.loopback import is_loopback

if TYPE_CHECKING:
    from gateway.receiver.contract import Store
    from gateway.receiver.enrolment import Enrolment
    from gateway.receiver.gate import Gate
    from gateway.receiver.quota import Quota
    from gateway.receiver.service import Receiver, Tls

EXAMPLE = """\b
Example:
  plantgate cert demo certs
  plantgate receive --listen 0.0.0.0:50051 --store received \\
      --ca certs/ca.pem --certificate certs/receiver.pem --key certs/receiver.key
  plantgate receive --listen 0.0.0.0:50051 --files /srv/evidence \\
      --store "postgresql://plant@db1,db2,db3/plant?target_session_attrs=read-write" \\
      --ca certs/ca.pem --certificate certs/receiver.pem --key certs/receiver.key
  plantgate receive ... --journal "nats://n1:4222,n2:4222,n3:4222/PLANTGATE"   # and: consume
"""


class OptionError(Exception):
    """A mistake of the user's; the text says which and what would be right."""


@dataclass(frozen=True)
class Ready:
    """The one line that says the receiver is ready."""

    store: str
    as_json: bool

    def say(self, listen: str) -> None:
        """Print it."""
        if self.as_json:
            print(json.dumps({"listen": listen, "store": self.store}), flush=True)
        else:
            print(f"receiving on {listen}, store {self.store}", flush=True)


@click.command(
    "receive", epilog=EXAMPLE, context_settings={"auto_envvar_prefix": "PLANTGATE_RECEIVE"}
)
@click.option("--listen", required=True, metavar="ADDR", help="host:port; port 0 lets it choose.")
@click.option("--store", required=True, metavar="DIR|URL",
              help="Folder of the store, made if it is not there; or postgresql://...")  # fmt: skip
@click.option("--journal", metavar="URL",
              help="nats://HOST:PORT,.../STREAM: publish to JetStream and acknowledge then;"
              " `plantgate consume` moves it into the store.")  # fmt: skip
@click.option("--files", metavar="DIR", type=click.Path(path_type=Path),
              help="Folder of evidence files; DIR/evidence of a store in a folder.")  # fmt: skip
@click.option("--ca", metavar="FILE", type=click.Path(path_type=Path),
              help="PEM of the CA that signs gateways.")  # fmt: skip
@click.option("--certificate", metavar="FILE", type=click.Path(path_type=Path),
              help="PEM of the receiver's certificate.")  # fmt: skip
@click.option("--key", metavar="FILE", type=click.Path(path_type=Path),
              help="PEM of its key, without a passphrase.")  # fmt: skip
@click.option("--enrolment", metavar="FILE", type=click.Path(path_type=Path),
              help="CSV of the gateways that may speak (gateway, enterprise, certificate_sha256,"
              " bytes_per_s, bytes_per_day, records_per_s); SIGHUP reads it again.")  # fmt: skip
@click.option("--bytes-per-s", default=0, show_default="no limit",
              help="Telemetry and evidence of each gateway.")  # fmt: skip
@click.option("--bytes-per-day", default=0, show_default="no limit",
              help="Telemetry and evidence of each gateway, a UTC day.")  # fmt: skip
@click.option("--records-per-s", default=0, show_default="no limit",
              help="Alarms and events of each gateway.")  # fmt: skip
@click.option("--trusted-proxy", "proxies", metavar="NAME", multiple=True,
              help="DNS name in the certificate of a proxy in front, which checks gateways'"
              " certificates and passes them on (nginx, Envoy); may be repeated.")  # fmt: skip
@click.option("--insecure", is_flag=True, help="No TLS; for loopback addresses only.")
@click.option("--json", "as_json", is_flag=True, help="Print the ready line as JSON.")
def command(
    listen: str,
    store: str,
    journal: str | None,
    files: Path | None,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    enrolment: Path | None,
    proxies: tuple[str, ...],
    *,
    insecure: bool,
    as_json: bool,
    **quota: int,
) -> None:
    """Receive from gateways and store what they send.

    Prints one line when it is ready: receiving on ADDR, store DIR. Each option may be given as an
    environment variable instead: --store as PLANTGATE_RECEIVE_STORE.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C core would print lines of its own
    from gateway.observe.log import configure
    from gateway.receiver.contract import StorePathError
    from gateway.receiver.quota import Quota
    from gateway.receiver.service import AddressError
    from gateway.receiver.stores import is_postgres, open_journal, open_store, shown
    from gateway.runtime.loop import loop_factory

    configure()
    try:
        host, port = _address(listen)
        tls = _tls(ca, certificate, key, insecure=insecure, host=host)
        door = Door(enrolment, Quota(**quota))
        gate = door.open()
        tls = _trusting(tls, proxies)
        folder = _files(files, store)
        greetings = None
        if journal is None:
            opened = open_store(store)
        else:
            opened, greetings = open_journal(journal, store)
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                ready = Ready(shown(store), as_json=as_json)
                control = folder if is_postgres(store) else Path(store)
                parts = Parts(opened, greetings, folder, tls, gate, control)
                runner.run(_serve(parts, (host, port), door, ready))
        finally:
            if greetings is not None:
                greetings.close()
            opened.close()
    except (OptionError, StorePathError, AddressError) as error:
        print(f"plantgate receive: {error}", file=sys.stderr)
        sys.exit(2)


@dataclass(frozen=True)
class Parts:
    """What a receiver is made of; greetings: what answers Hellos in front of a journal."""

    store: Store
    greetings: Store | None
    files: Path
    tls: Tls | None
    gate: Gate
    control: Path  # where `plantgate request` finds the socket


@dataclass(frozen=True)
class Door:
    """The enrolment list as it lies in its file, and the quota of those that have none there."""

    path: Path | None
    quota: Quota

    def open(self) -> Gate:
        """Read the list; raises OptionError with every mistake in it."""
        from gateway.receiver.gate import Gate

        return Gate(self.read() if self.path else None, self.quota)

    def read(self) -> Enrolment:
        """Read the list; raises OptionError with every mistake in it."""
        from gateway.receiver.enrolment import EnrolmentError, read_enrolment

        path = self.path or Path()
        try:
            return read_enrolment(path.read_text("utf-8"), self.quota)
        except OSError as error:
            raise OptionError(f"--enrolment {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise OptionError(f"--enrolment {path} is no UTF-8 text") from None
        except EnrolmentError as error:
            lines = str(error).splitlines()
            raise OptionError("\n".join(f"--enrolment {path}, {line}" for line in lines)) from None


def _read_again(door: Door, receiver: Receiver) -> None:
    from gateway.observe.log import logger

    if door.path is None:  # a reload must not end what reads nothing again
        logger("receiver").info("enrolment.none")
        return
    try:
        receiver.enrol(door.read())
        logger("receiver").info("enrolment.read")
    except OptionError as error:
        logger("receiver").error("enrolment.unchanged", reason=str(error))


async def _serve(parts: Parts, address: tuple[str, int], door: Door, ready: Ready) -> None:
    from gateway.control.server import ControlServer
    from gateway.receiver.evidence import EvidenceFiles
    from gateway.receiver.service import Receiver
    from gateway.runtime.clock import SystemClock

    files = EvidenceFiles(parts.files)
    receiver = Receiver(parts.store, files, SystemClock(), parts.tls, parts.gate,
                        parts.greetings)  # fmt: skip
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, receiver.stop)
    loop.add_signal_handler(signal.SIGHUP, _read_again, door, receiver)
    host, port = address
    port = await receiver.start(_join(host, port))
    async with ControlServer(parts.control, {"request": receiver.requests.ask}):
        ready.say(_join(host, port))
        await receiver.run()


def _files(files: Path | None, store: str) -> Path:
    from gateway.receiver.stores import is_postgres

    if is_postgres(store):
        if files is None:
            raise OptionError(
                "--files DIR is missing: a store in PostgreSQL keeps no evidence files"
            )
    else:
        files = files or Path(store) / "evidence"
    return files


def _address(listen: str) -> tuple[str, int]:
    host, separator, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise OptionError(f"--listen {listen!r} is no host:port, for example 0.0.0.0:50051")
    return host, int(port)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tls(
    ca: Path | None, certificate: Path | None, key: Path | None, *, insecure: bool, host: str
) -> Tls | None:
    files = {"--ca": ca, "--certificate": certificate, "--key": key}
    given = {name: path for name, path in files.items() if path is not None}
    if insecure:
        if given:
            raise OptionError(f"--insecure and {', '.join(given)} exclude each other")
        if not is_loopback(host):
            raise OptionError(f"--insecure is for loopback only, and {host} is not; give --ca, "
                              "--certificate and --key")  # fmt: skip
        return None
    if missing := [name for name in files if name not in given]:
        raise OptionError(f"{', '.join(missing)} missing (or --insecure, for loopback only)")
    return _check_tls({name: _read(name, path) for name, path in given.items()}, given)


def _trusting(tls: Tls | None, proxies: tuple[str, ...]) -> Tls | None:
    if tls is not None:
        return replace(tls, proxies=frozenset(proxies))
    if proxies:
        raise OptionError("--insecure and --trusted-proxy exclude each other")
    return None


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OptionError(f"{option} {path}: {error.strerror}") from None


def _check_tls(contents: dict[str, bytes], paths: dict[str, Path]) -> Tls:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from gateway.receiver.service import Tls
    from gateway.runtime.clock import SystemClock

    for option in ("--ca", "--certificate"):
        try:
            certificate = x509.load_pem_x509_certificates(contents[option])[0]
        except ValueError:
            raise OptionError(f"{option} {paths[option]} holds no PEM certificate") from None
        now_s = SystemClock().wall_ns() / 1e9
        first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not first.timestamp() <= now_s <= last.timestamp():
            raise OptionError(f"{option} {paths[option]} is valid from {first} to {last} only")
    try:
        key = load_pem_private_key(contents["--key"], None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        text = f"--key {paths['--key']} holds no PEM key without a passphrase"
        raise OptionError(text) from None
    if key.public_key() != certificate.public_key():
        raise OptionError(f"--key {paths['--key']} does not fit {paths['--certificate']}")
    return Tls(contents["--ca"], contents["--certificate"], contents["--key"])
