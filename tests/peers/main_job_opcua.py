"""The node-opcua server of tests/peers/opcua as a device, and what it held at every moment."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.fakes.opcua_certificates import make_application

FOLDER = Path(__file__).resolve().parent / "opcua"
NAMESPACE = "urn:plantgate:peer"
USER, PASSWORD = "reader", "secret 密码"
PERIOD_MS = 50
TYPES = {
    "Double": "float", "Float": "float", "Int16": "int", "UInt32": "uint", "Int64": "int",
    "UInt64": "uint", "Boolean": "bool", "String": "text",
}  # fmt: skip
"""Variables of the server, and the column type that keeps every bit of each."""

WORDS = {0x0000: "good", 0x4090: "uncertain:stale", 0x808C: "bad:sensor_fault"}
"""Good, UncertainLastUsableValue and BadSensorFailure (OPC 10000-6 annex A.2) in query's words."""


@dataclass(frozen=True, slots=True)
class Held:
    """A value that a variable had from `time_ms` (since 1970 UTC) on."""

    time_ms: int
    value: str
    quality: str


def missing() -> str:
    """Say what to install, or nothing; installs the npm packages if npm is here."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return "Node.js 18 or later with npm"
    done = subprocess.run(
        [FOLDER.parent / "install_opcua.sh"], check=False, capture_output=True, text=True
    )
    return "" if done.returncode == 0 else f"node-opcua: {done.stderr[-300:]}"


def prepare(folder: Path, port: int) -> list[str]:
    """Write certificates and trust on both sides; gives the command that starts the server."""
    server = make_application(folder, "server", uri="urn:plantgate:peer:server")
    client = make_application(folder, "client")
    trusted = folder / "pki" / "trusted" / "certs"
    trusted.mkdir(parents=True)
    shutil.copy(client.certificate, trusted)
    pem = folder / "server.crt"
    certificate = x509.load_der_x509_certificate(server.certificate.read_bytes())
    pem.write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "password").write_text(PASSWORD + "\n", encoding="utf-8")
    options = {
        "port": port, "folder": str(folder), "certificate": str(pem), "key": str(server.key),
        "uri": "urn:plantgate:peer:server", "period": PERIOD_MS, "items": 0, "user": USER,
        "password": PASSWORD, "perCall": 100,
    }  # fmt: skip
    return ["node", str(FOLDER / "server.js"), json.dumps(options)]


def held(folder: Path) -> dict[str, list[Held]]:
    """Everything that each variable held until now, in order."""
    found: dict[str, list[Held]] = {name: [] for name in TYPES}
    text = (folder / "held.jsonl").read_text(encoding="utf-8")
    for line in text[: text.rfind("\n") + 1].splitlines():
        row = json.loads(line)
        quality = WORDS[row["status"] >> 16]
        found[row["name"]].append(Held(row["source_ms"], row["value"], quality))
    return found


def same(name: str, printed: str, value: str, quality: str) -> bool:
    """Tell whether query printed what the server held; a bad value prints as nothing."""
    if quality.startswith("bad"):
        return not printed
    if name == "Boolean":
        return float(printed) == (value == "true")
    if name in {"Double", "Float"}:
        return float(printed) == float(value)
    return printed == value
