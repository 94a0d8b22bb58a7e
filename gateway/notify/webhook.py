"""Webhook: one HTTP POST a message; delivered once the server answers 2xx.

Guarantees: TLS is verified; no redirect is followed, no proxy of the environment used; the answer
is read up to MOST_ANSWER bytes; no secret (address, token, key) is in what is raised. Secrets are
read for every message, so that a renewed one needs no restart.

Headers beside the content type:

    Idempotency-Key: ID                       the same for every attempt of a message
    X-Plantgate-Timestamp: SECONDS            since 1970 UTC
    X-Plantgate-Signature: sha256=HEX         with hmac_file: HMAC-SHA256 of "TIMESTAMP.BODY"
    Authorization: Bearer TOKEN               with bearer_file

Body with format = "json": id, kind, person, contact, text (in the notifier's language), zh, en, and
all fields of gateway/duty/words.py. With "wecom" and "dingtalk" what those robots take; they answer
200 also when they refuse, so that `errcode` decides (their public documentation; hmac_file is then
DingTalk's signing secret 加签).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from drivers.contract import Clock
from gateway.config.notify import WebhookNotifier, url_doubt
from gateway.duty.words import Message
from gateway.notify.contract import NotifyError, TimedOutError
from gateway.notify.secret import read_secret

MOST_ANSWER = 64 << 10
_ROBOTS = ("wecom", "dingtalk")


class Webhook:
    """One [[notifier]] of type webhook."""

    def __init__(self, config: WebhookNotifier, clock: Clock) -> None:
        self._config = config
        self._clock = clock

    async def send(self, message: Message) -> None:
        """Deliver a message; see contract.py."""
        config = self._config
        url = config.url or read_secret(config.url_file)
        if url_doubt(url, insecure=config.insecure):
            raise NotifyError("the address in url_file is wrong: https://HOST/PATH is needed")
        content = json.dumps(self._body(message), ensure_ascii=False).encode()
        headers, query = self._signed(content)
        headers |= {"Content-Type": "application/json; charset=utf-8",
                    "Idempotency-Key": message.id}  # fmt: skip
        if query:
            url += ("&" if "?" in url else "?") + query
        try:
            timeout = aiohttp.ClientTimeout(total=config.timeout_s)
            connector = aiohttp.TCPConnector(ssl=self._tls(), limit=1)
            async with (
                aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
                session.post(url, data=content, headers=headers, allow_redirects=False) as answer,
            ):
                said = await answer.content.read(MOST_ANSWER)
                status = answer.status
        except TimeoutError as error:
            raise TimedOutError(f"no answer within {config.timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NotifyError(_plain(error)) from error
        if not 200 <= status < 300:
            raise NotifyError(f"the server answered {status}")
        if config.format in _ROBOTS:
            _judge(said)

    def _body(self, message: Message) -> Mapping[str, Any]:
        text = message.text(self._config.language)
        phone = [message.contact] if message.contact else []
        match self._config.format:
            case "wecom":
                return {"msgtype": "text",
                        "text": {"content": text, "mentioned_mobile_list": phone}}  # fmt: skip
            case "dingtalk":
                return {"msgtype": "text", "text": {"content": text}, "at": {"atMobiles": phone}}
            case "json":
                return {
                    "id": message.id, "kind": message.kind, "person": message.person,
                    "contact": message.contact, "text": text, "zh": message.zh, "en": message.en,
                    **message.fields,
                }  # fmt: skip

    def _signed(self, content: bytes) -> tuple[dict[str, str], str]:
        """Headers and query that say who we are."""
        config, wall_ns = self._config, self._clock.wall_ns()
        seconds = str(wall_ns // 1_000_000_000)
        headers = {"X-Plantgate-Timestamp": seconds}
        if config.bearer_file is not None:
            return headers | {"Authorization": f"Bearer {read_secret(config.bearer_file)}"}, ""
        if config.hmac_file is None:
            return headers, ""
        key = read_secret(config.hmac_file)
        if config.format == "dingtalk":
            stamp = str(wall_ns // 1_000_000)
            digest = hmac.digest(key.encode(), f"{stamp}\n{key}".encode(), hashlib.sha256)
            return headers, f"timestamp={stamp}&sign={quote(base64.b64encode(digest), safe='')}"
        signature = hmac.new(key.encode(), f"{seconds}.".encode() + content, hashlib.sha256)
        return headers | {"X-Plantgate-Signature": f"sha256={signature.hexdigest()}"}, ""

    def _tls(self) -> ssl.SSLContext:
        ca: Path | None = self._config.ca
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def _judge(said: bytes) -> None:
    try:
        answer = json.loads(said)
        code = answer["errcode"]
    except (ValueError, KeyError, TypeError) as error:
        raise NotifyError("the robot's answer has no errcode") from error
    if code != 0:
        words = str(answer.get("errmsg", ""))[:100]
        raise NotifyError(f"the robot refused it: {code} {words}")


def _plain(error: Exception) -> str:
    """Words without the address, which may be a secret."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "the server's certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot be reached: {error.os_error.strerror or type(error.os_error).__name__}"
    return f"failed: {type(error).__name__}"
