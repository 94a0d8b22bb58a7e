"""[notify], [[notifier]]: who hears of alarms and by what, checked against the site.

Guarantees: the roster and the templates are read and every mistake is told with its row; secrets
stand in files; nothing goes in clear text beyond this machine unless `insecure = true`; a notifier
whose address is that of a device, be it host and port or a serial port, is refused: nothing is ever
sent over a control bus. A site without [notify] imports nothing of gateway/notify.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from drivers.broker import broker_doubt
from drivers.host_form import Host
from drivers.loopback import is_loopback
from drivers.wording import shown, suggestion
from gateway.config.files import check_secret
from gateway.config.model import Name, Section
from gateway.config.problems import Report
from gateway.config.sections import section
from gateway.config.site import Device
from gateway.config.toml_lines import TomlPath
from gateway.duty.policy import CallPolicy
from gateway.duty.roster import Roster, RosterError, parse_roster
from gateway.duty.words import TemplateError, Words, parse_templates, shipped_words

S = 10**9
MAX_BYTES = 1 << 20
Wait = Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)]
Patience = Annotated[float, Field(ge=0.1, le=60, allow_inf_nan=False)]
Language = Literal["zh", "en", "both"]
SECRETS = ("url_file", "hmac_file", "bearer_file", "password_file")
FILES = ("ca", "certificate", "key", "file")
INTAKES = ("intake_http", "intake_mqtt", "intake_folder")
"""Drivers that are no control bus: a broker of the site may serve both ways."""


class NotifyConfig(Section):
    """[notify].

    roster: duty roster (gateway/duty/roster.py).  enterprise_name: what messages call the
    enterprise; its code unless given.  templates: words of the site's own (gateway/duty/
    templates.toml).  priority: alarms of this priority and above call.  wait_s: until the next step
    is told, by priority 1 to 4.  Other keys: gateway/duty/policy.py.
    """

    roster: Path
    enterprise_name: str = Field(default="", max_length=100)
    templates: Path | None = None
    priority: int = Field(default=3, ge=1, le=4)
    wait_s: tuple[Wait, Wait, Wait, Wait] = (60.0, 120.0, 300.0, 600.0)
    rounds: int = Field(default=3, ge=1, le=100)
    attempts: int = Field(default=5, ge=1, le=100)
    flood_through: int = Field(default=1, ge=0, le=4)
    flood_through_most: int = Field(default=20, ge=0, le=1000)
    flood_digest_s: Wait = 300.0
    tell_return: bool = True
    tell_tests: bool = False

    def policy(self) -> CallPolicy:
        """Give the desk's own form."""
        first, second, third, fourth = (round(wait * S) for wait in self.wait_s)
        return CallPolicy(
            priority=self.priority,
            wait_ns=(first, second, third, fourth),
            rounds=self.rounds,
            attempts=self.attempts,
            through=self.flood_through,
            through_most=self.flood_through_most,
            digest_ns=round(self.flood_digest_s * S),
            tell_return=self.tell_return,
            tell_tests=self.tell_tests,
        )


class WebhookNotifier(Section):
    """[[notifier]] type = "webhook": one HTTP POST a message.

    url, or url_file where the address itself is a secret.  ca: of the server's certificate, the
    system's own unless given.  hmac_file: key of a signature (gateway/notify/webhook.py);
    bearer_file: token.  format: json, or the body that wecom 企业微信 or dingtalk 钉钉 robots take.
    """

    name: Name
    type: Literal["webhook"]
    url: str = Field(default="", max_length=2048)
    url_file: Path | None = None
    ca: Path | None = None
    hmac_file: Path | None = None
    bearer_file: Path | None = None
    format: Literal["json", "wecom", "dingtalk"] = "json"
    language: Language = "zh"
    timeout_s: Patience = 10.0
    insecure: bool = False

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.url) == (self.url_file is not None):
            raise ValueError("needs url, or url_file with the address in one line, and not both")
        if self.url:
            said = url_doubt(self.url, insecure=self.insecure)
            if said:
                raise ValueError(said)
        if self.hmac_file is not None and self.bearer_file is not None:
            raise ValueError("hmac_file and bearer_file exclude each other")
        return self

    def addresses(self) -> Iterator[tuple[str, int]]:
        """Host and port that messages go to."""
        url = self.url or _one_line(self.url_file)
        parts = urlsplit(url)
        if parts.hostname:
            yield parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


class MqttNotifier(Section):
    """[[notifier]] type = "mqtt": one message of QoS 1, told once the broker has it.

    topic: may hold {kind} and {person}.  ca, certificate, key: TLS; insecure: clear text.
    """

    name: Name
    type: Literal["mqtt"]
    host: Host = Field(min_length=1, max_length=255)
    port: int = Field(default=8883, ge=1, le=65_535)
    topic: str = Field(min_length=1, max_length=256)
    client_id: str = Field(default="", max_length=64, pattern=r"^[\x21-\x7e]*$")
    user: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False
    language: Language = "zh"
    timeout_s: Patience = 10.0

    @field_validator("topic")
    @classmethod
    def _topic(cls, value: str) -> str:
        plain = value.replace("{kind}", "").replace("{person}", "")
        if any(char in plain for char in "+#{}\0"):
            raise ValueError("must be a topic without + and #; it may hold {kind} and {person}")
        return value

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if said := broker_doubt(self):
            raise ValueError(said)
        return self

    def addresses(self) -> Iterator[tuple[str, int]]:
        """Host and port that messages go to."""
        yield self.host, self.port


class SoundNotifier(Section):
    """[[notifier]] type = "sound": a tone on this machine, by a command that ends with 0.

    command: {file} stands for the tone (WAV), {text} for the words; aplay unless given.  device:
    ALSA device of aplay.  file: a WAV of the site's own instead of the tone.
    """

    name: Name
    type: Literal["sound"]
    command: tuple[str, ...] = Field(default=(), max_length=32)
    device: str = Field(default="default", max_length=64)
    file: Path | None = None
    language: Language = "zh"
    timeout_s: Patience = 30.0

    def addresses(self) -> Iterator[tuple[str, int]]:
        """Serial ports among the words of the command."""
        yield from ((word, 0) for word in (*self.command, self.device) if word.startswith("/dev/"))


Notifier = WebhookNotifier | MqttNotifier | SoundNotifier
TYPES = ("webhook", "mqtt", "sound")


@dataclass(frozen=True, slots=True)
class NotifyParts:
    """Everything that telling people needs."""

    config: NotifyConfig
    notifiers: tuple[Notifier, ...]
    roster: Roster
    words: Words


def notify_parts(
    config: NotifyConfig,
    notifiers: Sequence[tuple[TomlPath, Notifier]],
    devices: Iterable[Device],
    report: Report,
    now_ns: int,
) -> NotifyParts:
    """Check everything against the site; what is wrong is reported."""
    buses = dict(_buses(devices))
    for path, one in notifiers:
        _check_notifier(one, path, buses, report)
    roster = _roster(config.roster, [one.name for _, one in notifiers], report)
    gap = roster.uncovered(now_ns) if roster.shifts else None
    if gap is not None:
        where = f"position {gap[0]}" if gap[0] != "*" else "alarms of no position"
        report.warn(("notify", "roster"), f"nobody is on duty for {where} at"
                    f" {gap[1]:%Y-%m-%d %H:%M} 该时段无人值守")  # fmt: skip
    for name in sorted({one.name for _, one in notifiers} - roster.notifiers()):
        if roster.shifts:
            report.warn(("notify", "roster"), f"no row names the notifier {shown(name)}")
    words = shipped_words()
    if config.templates is not None:
        text = _read(config.templates, ("notify", "templates"), report)
        try:
            words = parse_templates(text.decode("utf-8-sig"), config.templates.name, words)
        except (TemplateError, UnicodeDecodeError) as error:
            report.wrong(("notify", "templates"), str(error))
    return NotifyParts(config, tuple(one for _, one in notifiers), roster, words)


def notifier(table: object, path: TomlPath, folder: Path, report: Report) -> Notifier | None:
    """Validate a [[notifier]] by its type; None, reported, where it is wrong."""
    said = table.get("type") if isinstance(table, dict) else None
    match said:
        case "webhook":
            return section(WebhookNotifier, table, path, folder, report)
        case "mqtt":
            return section(MqttNotifier, table, path, folder, report)
        case "sound":
            return section(SoundNotifier, table, path, folder, report)
        case _:
            pass
    advice = suggestion(str(said), TYPES) if said else "it is webhook, mqtt or sound"
    report.wrong((*path, "type"), f"no notifier is of type {shown(said)}; {advice}")
    return None


def url_doubt(url: str, *, insecure: bool) -> str:
    """Say why a webhook's address is not accepted, or nothing."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"url is no address: {error}"
    if parts.scheme not in {"http", "https"} or not host or parts.fragment:
        return f"url must be https://HOST/PATH, not {shown(url)}"
    if parts.username or parts.password:
        return "url holds a name or password: put them into url_file or bearer_file"
    if parts.scheme == "http" and not insecure and not is_loopback(host):
        return (f"{host} would be spoken to in clear text: use https, or insecure = true where the"
                " site accepts that")  # fmt: skip
    return ""


def _check_files(one: Notifier, path: TomlPath, report: Report) -> None:
    for key in (*SECRETS, *FILES):
        file = getattr(one, key, None)
        if file is None:
            continue
        if key in SECRETS:
            check_secret(file, (*path, key), report)
        elif not file.is_file():
            report.wrong((*path, key), f"there is no file {file}")


def _check_notifier(
    one: Notifier, path: TomlPath, buses: Mapping[tuple[str, int], Device], report: Report
) -> None:
    _check_files(one, path, report)
    if getattr(one, "insecure", False):
        report.warn((*path, "insecure"), "insecure = true: anybody on the way reads along")
    if isinstance(one, WebhookNotifier) and one.url_file is not None and one.url_file.is_file():
        said = url_doubt(_one_line(one.url_file), insecure=one.insecure)
        if said:
            report.wrong((*path, "url_file"), "the address in it is wrong: https://HOST/PATH is"
                         " needed")  # fmt: skip  # the address itself may be a secret
    for host, port in one.addresses():
        device = buses.get((_plain(host), port))
        if device is None:
            continue
        where = f"{host}:{port}" if port else host
        said = f"{where} is the address of device {device.name}"
        if device.driver.name in INTAKES:
            report.warn(path, f"{said}: messages go to a system that the gateway reads")
        else:
            report.wrong(path, f"{said}: nothing is ever sent over a control bus 禁止使用控制总线")


def _buses(devices: Iterable[Device]) -> Iterator[tuple[tuple[str, int], Device]]:
    """Addresses of devices: host and port, or serial port and 0."""
    for device in devices:
        for address in _addresses(device.config.model_dump(mode="json")):
            yield address, device


def _addresses(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    host, port = config.get("host"), config.get("port")
    if isinstance(host, str) and host and isinstance(port, int):
        yield _plain(host), port
    texts = [text for value in config.values() for text in _texts(value)]
    for text in texts:
        if text.startswith("/dev/"):
            yield _plain(text), 0
        address = urlsplit(text if "://" in text else f"//{text}")
        try:
            if address.hostname and address.port:
                yield _plain(address.hostname), address.port
        except ValueError:
            continue


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (text for text in value if isinstance(text, str))


def _plain(host: str) -> str:
    """One spelling of a host or a serial port: links are followed, names of loopback are one."""
    if host.startswith("/dev/"):
        return str(Path(host).resolve())
    return "loopback" if is_loopback(host) else host.lower().rstrip(".")


def _roster(path: Path, names: Sequence[str], report: Report) -> Roster:
    raw = _read(path, ("notify", "roster"), report)
    try:
        return parse_roster(raw, names) if raw else Roster()
    except RosterError as error:
        for problem in error.problems:
            if problem.row:
                said = f"第{problem.row}行: {problem.message}"
                report.wrong_cell(str(path), problem.row, problem.column, said)
            else:
                report.wrong(("notify", "roster"), f"{path.name}: {problem.message}")
        return Roster()


def _read(path: Path, at: TomlPath, report: Report) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        report.wrong(at, f"{path.name} cannot be read: {error.strerror}")
        return b""
    if len(raw) > MAX_BYTES:
        report.wrong(at, f"{path.name} is larger than 1 MB")
        return b""
    if not raw:
        report.wrong(at, f"{path.name} is empty 文件为空")
    return raw


def _one_line(path: Path | None) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() if path is not None else ""
    except (OSError, UnicodeDecodeError):
        return ""
