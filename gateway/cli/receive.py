"""`plantgate receive`: run a receiver until SIGTERM or Ctrl-C.

Exit 0 after a clean stop (everything received is committed), 2 for a mistake in the options, the
certificates, the address or the store.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gateway.receiver.service import Tls
    from gateway.receiver.store import Store

EXAMPLE = """\b
Example:
  plantgate cert demo certs
  plantgate receive --listen 0.0.0.0:50051 --store received \\
      --ca certs/ca.pem --certificate certs/receiver.pem --key certs/receiver.key
"""


class OptionError(Exception):
    """A mistake of the user's; the text says which and what would be right."""


@click.command("receive", epilog=EXAMPLE)
@click.option("--listen", required=True, metavar="ADDR", help="host:port; port 0 lets it choose.")
@click.option("--store", required=True, metavar="DIR", type=click.Path(path_type=Path),
              help="Folder of the store; made if it is not there.")  # fmt: skip
@click.option("--ca", metavar="FILE", type=click.Path(path_type=Path),
              help="PEM of the CA that signs gateways.")  # fmt: skip
@click.option("--certificate", metavar="FILE", type=click.Path(path_type=Path),
              help="PEM of the receiver's certificate.")  # fmt: skip
@click.option("--key", metavar="FILE", type=click.Path(path_type=Path),
              help="PEM of its key, without a passphrase.")  # fmt: skip
@click.option("--insecure", is_flag=True, help="No TLS; for loopback addresses only.")
@click.option("--json", "as_json", is_flag=True, help="Print the ready line as JSON.")
def command(
    listen: str,
    store: Path,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    *,
    insecure: bool,
    as_json: bool,
) -> None:
    """Receive from gateways and store what they send.

    Prints one line when it is ready: receiving on ADDR, store DIR.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C core would print lines of its own
    from gateway.observe.log import configure
    from gateway.receiver.service import AddressError
    from gateway.receiver.store import Store, StorePathError
    from gateway.runtime.loop import loop_factory

    configure()
    try:
        host, port = _address(listen)
        tls = _tls(ca, certificate, key, insecure=insecure, host=host)
        opened = Store.open(store)
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(_serve(opened, store, (host, port), tls, as_json=as_json))
        finally:
            opened.close()
    except (OptionError, StorePathError, AddressError) as error:
        print(f"plantgate receive: {error}", file=sys.stderr)
        sys.exit(2)


async def _serve(
    store: Store, folder: Path, address: tuple[str, int], tls: Tls | None, *, as_json: bool
) -> None:
    from gateway.receiver.evidence import EvidenceFiles
    from gateway.receiver.service import Receiver
    from gateway.runtime.clock import SystemClock

    receiver = Receiver(store, EvidenceFiles(folder / "evidence"), SystemClock(), tls)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, receiver.stop)
    host, port = address
    port = await receiver.start(_join(host, port))
    if as_json:
        print(json.dumps({"listen": _join(host, port), "store": str(folder)}), flush=True)
    else:
        print(f"receiving on {_join(host, port)}, store {folder}", flush=True)
    await receiver.run()


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
        if not _is_loopback(host):
            raise OptionError(f"--insecure is for loopback only, and {host} is not; give --ca, "
                              "--certificate and --key")  # fmt: skip
        return None
    if missing := [name for name in files if name not in given]:
        raise OptionError(f"{', '.join(missing)} missing (or --insecure, for loopback only)")
    return _check_tls({name: _read(name, path) for name, path in given.items()}, given)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
