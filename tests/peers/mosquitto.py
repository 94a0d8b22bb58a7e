"""Eclipse mosquitto as a counterpart: TLS, password, persistence, its own log of every frame.

`apt-get install --no-install-recommends mosquitto` brings the broker and mosquitto_passwd.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiomqtt
import pytest

from tests.e2e.world import free_port
from tests.fakes.certificates import Authority
from tests.waiting import LONGEST_S, until

USER, PASSWORD = "plantgate", "correct horse battery"


def require() -> None:
    """Skip, or fail where CI=true, if mosquitto is missing; says what to install."""
    missing = [tool for tool in ("mosquitto", "mosquitto_passwd") if _tool(tool) is None]
    if missing:
        message = f"{', '.join(missing)} missing; apt-get install mosquitto"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


class Mosquitto:
    """One broker in `folder`; start and stop it as often as needed, what it keeps stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.authority = Authority(folder / "ca")
        self.log = folder / "mosquitto.log"
        self.password_file = folder / "password"
        self.password_file.write_text(PASSWORD + "\n", encoding="utf-8")
        self.password_file.chmod(0o600)
        pair = self.authority.issue("broker")
        users = folder / "users"
        command = [str(_tool("mosquitto_passwd")), "-b", "-c", str(users), USER, PASSWORD]
        subprocess.run(command, check=True, capture_output=True)
        (folder / "mosquitto.conf").write_text(
            f"""
listener {self.port} 127.0.0.1
cafile {self.authority.ca}
certfile {pair.certificate}
keyfile {pair.key}
allow_anonymous false
password_file {users}
persistence true
persistence_location {folder}/
log_dest file {self.log}
log_type all
{"user root" if os.geteuid() == 0 else ""}
""",
            encoding="utf-8",
        )
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start the broker and wait until it answers."""
        command = [str(_tool("mosquitto")), "-c", str(self.folder / "mosquitto.conf")]
        self._process = subprocess.Popen(  # noqa: ASYNC220  # a moment, in a test
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        async with asyncio.timeout(LONGEST_S):
            while not await self._answers():
                assert self._process.poll() is None, self.words()
                await asyncio.sleep(0.05)

    def stop(self) -> None:
        """Stop the broker; it writes down what it keeps."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=LONGEST_S)
            self._process = None

    def kill(self) -> None:
        """Kill the broker; what it had not written down is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=LONGEST_S)
        self._process = None

    def freeze(self) -> None:
        """Stop the broker's process where it is, connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def site_system(self) -> AsyncIterator[Callable[[str, bytes], Awaitable[None]]]:
        """A connection as a site system has one; what it gives publishes at QoS 1.

        It returns when the broker has the message.
        """
        async with aiomqtt.Client(
            "127.0.0.1", self.port, username=USER, password=PASSWORD, identifier="site-system",
            tls_context=ssl.create_default_context(cafile=str(self.authority.ca)),
            timeout=LONGEST_S,
        ) as client:  # fmt: skip

            async def publish(topic: str, payload: bytes) -> None:
                await client.publish(topic, payload, qos=1)

            yield publish

    async def publish(self, topic: str, *payloads: bytes) -> None:
        """Publish over a connection of its own; returns when the broker has all of it."""
        async with self.site_system() as publish:
            for payload in payloads:
                await publish(topic, payload)

    def words(self) -> str:
        """How the broker is, and what it said last."""
        code = None if self._process is None else self._process.poll()
        state = "runs or was stopped" if code is None else f"ended with exit code {code}"
        return f"mosquitto {state}; {self.log_text()[-2000:]}"

    def log_text(self) -> str:
        """What the broker has written down: every frame of every client."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    async def logged(self, text: str, times: int = 1) -> None:
        """Wait until the broker's log holds a text so many times."""
        try:
            await until(lambda: self.log_text().count(text) >= times)
        except AssertionError as error:
            raise AssertionError(f"{text!r} {times} times: {error}; {self.words()}") from None

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Mosquitto]:
    """One broker that serves; skips, or fails where CI=true, if mosquitto is missing."""
    require()
    broker = Mosquitto(folder)
    await broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def _tool(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
