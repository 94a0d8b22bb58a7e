"""MQTT: connects, publishes one message at QoS 1, waits for the broker's word, disconnects.

Guarantees: delivered means the broker's PUBACK; TLS is verified where `ca` is given; a connection
lives for one message, so that a dead one is never mistaken for a live one. The payload is JSON as
that of the webhook (webhook.py).
"""

from __future__ import annotations

import asyncio
import json
import ssl

from gateway.config.notify import MqttNotifier
from gateway.duty.words import Message
from gateway.notify import mqtt_frames as frames
from gateway.notify.contract import NotifyError, TimedOutError
from gateway.notify.secret import read_secret


class Mqtt:
    """One [[notifier]] of type mqtt."""

    def __init__(self, config: MqttNotifier) -> None:
        self._config = config

    async def send(self, message: Message) -> None:
        """Deliver a message; see contract.py."""
        config = self._config
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(config.timeout_s):
                reader, writer = await asyncio.open_connection(
                    config.host, config.port, ssl=self._tls(), limit=frames.MOST_BYTES
                )
                await self._exchange(reader, writer, message)
        except TimeoutError as error:
            raise TimedOutError(f"no answer within {config.timeout_s:g} s") from error
        except frames.FrameError as error:
            raise NotifyError(str(error)) from error
        except asyncio.IncompleteReadError as error:
            raise NotifyError("the broker closed the connection") from error
        except ssl.SSLCertVerificationError as error:
            raise NotifyError("the broker's certificate is not trusted") from error
        except OSError as error:
            said = error.strerror or type(error).__name__
            raise NotifyError(f"cannot be reached: {said}") from error
        finally:
            if writer is not None:
                writer.transport.abort()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: Message
    ) -> None:
        config = self._config
        password = read_secret(config.password_file) if config.password_file is not None else None
        name = (
            config.client_id or f"plantgate-{config.name}"[:23].encode("ascii", "replace").decode()
        )
        login = frames.Login(name, config.user, password)
        writer.write(frames.connect(login, keep_alive_s=2 * round(config.timeout_s) + 1))
        frames.check_connack(*await _answer(reader))
        topic = config.topic.replace("{kind}", message.kind)
        topic = topic.replace("{person}", _level(message.person))
        writer.write(frames.publish(topic, self._payload(message)))
        frames.check_puback(*await _answer(reader))
        writer.write(frames.disconnect())
        await writer.drain()

    def _payload(self, message: Message) -> bytes:
        body = {
            "id": message.id, "kind": message.kind, "person": message.person,
            "contact": message.contact, "text": message.text(self._config.language),
            "zh": message.zh, "en": message.en, **message.fields,
        }  # fmt: skip
        return json.dumps(body, ensure_ascii=False).encode()

    def _tls(self) -> ssl.SSLContext | None:
        config = self._config
        if config.ca is None:
            return None
        context = ssl.create_default_context(cafile=config.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if config.certificate is not None:
            context.load_cert_chain(config.certificate, config.key)
        return context


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind = (await reader.readexactly(1))[0]
    digits = b""
    while (size := frames.length(digits)) is None:
        digits += await reader.readexactly(1)
    if size > frames.MOST_BYTES:
        raise frames.FrameError("the broker sent a frame that is too long")
    return kind, await reader.readexactly(size)


def _level(person: str) -> str:
    """A name as one level of a topic."""
    return "".join("_" if char in "/+#\0" else char for char in person)
