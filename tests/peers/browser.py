"""A real browser (Debian's chromium, headless), spoken to over the pipe of its DevTools protocol.

`with Browser(folder) as browser: page = browser.open("http://127.0.0.1:8443/")`; a page evaluates
JavaScript, waits for an expression to be true, types, clicks and takes pictures. No driver and no
port: --remote-debugging-pipe takes and gives JSON that ends in NUL, on descriptors 3 and 4.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
PATIENCE_S = 90.0
"""For anything: a busy machine is slow."""


class Browser:
    """One process; `folder` holds its profile. Pages of one browser share cookies."""

    def __init__(self, folder: Path, size: tuple[int, int] = (1366, 768)) -> None:
        self._folder = folder
        self._size = size
        self._numbers = itertools.count(1)
        self._received = b""
        self._log = folder.parent / "chromium.log"
        self._answers: dict[int, dict[str, Any]] = {}
        self.complaints: list[str] = []  # errors of scripts, and what the content policy refused

    def __enter__(self) -> Browser:
        """Start it."""
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        width, height = self._size
        options = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-extensions", "--disable-background-networking",
            "--hide-scrollbars", "--lang=zh-CN", "--remote-debugging-pipe",
            f"--user-data-dir={self._folder}", f"--window-size={width},{height}", "about:blank",
        ]  # fmt: skip

        # The shell puts the two pipes where chromium looks for them.
        command = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", command, "bash", CHROMIUM, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                pass_fds=(to_read, to_write),
            )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """End it."""
        with contextlib.suppress(AssertionError, OSError):
            self.call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def open(self, address: str) -> Page:
        """Open a page and wait until it has loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        width, height = self._size
        page.resize(width, height)
        page.go(address)
        return page

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Ask the browser; AssertionError where it refuses or does not answer."""
        number = next(self._numbers)
        said = {"id": number, "method": method, "params": parameters}
        if session:
            said["sessionId"] = session
        os.write(self._to, json.dumps(said).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_S
        while number not in self._answers:
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"{method}: the browser does not answer: {self.words()}"
            self._take(left_s)
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer["result"])

    def words(self) -> str:
        """How it is, and what it said last."""
        code = self._process.poll()
        state = "it runs" if code is None else f"exit code {code}"
        return f"{state}; {self._log.read_text(errors='replace')[-2000:]}"

    def _take(self, within_s: float) -> None:
        ready, _, _ = select.select([self._from], [], [], within_s)
        if not ready:
            return
        part = os.read(self._from, 1 << 20)
        assert part, f"the browser has ended: {self.words()}"
        *whole, self._received = (self._received + part).split(b"\0")
        for message in whole:
            said = json.loads(message)
            if "id" in said:
                self._answers[said["id"]] = said
            else:
                self._note(said)

    def _note(self, said: dict[str, Any]) -> None:
        match said.get("method"):
            case "Runtime.exceptionThrown":
                details = said["params"]["exceptionDetails"]
                self.complaints.append(
                    str(details.get("exception", {}).get("description", details["text"]))
                )
            case "Log.entryAdded":
                entry = said["params"]["entry"]
                if entry["level"] == "error" and entry["source"] in {"security", "javascript"}:
                    self.complaints.append(entry["text"])
            case _:
                pass


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser about this page."""
        return self._browser.call(method, self._session, **parameters)

    def go(self, address: str) -> None:
        """Load an address."""
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def resize(self, width: int, height: int) -> None:
        """Give the page another size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)  # fmt: skip
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str, *, limit_s: float = PATIENCE_S) -> Any:
        """Wait until an expression is true; gives its value."""
        deadline = time.monotonic() + limit_s
        while True:
            tried = f"try {{ const v = {expression}; return v instanceof Node || v }} catch {{ }}"
            found = self.evaluate(f"(() => {{ {tried} }})()")
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {limit_s} s: {expression}\n{self.text}"
            time.sleep(0.1)

    @property
    def text(self) -> str:
        """What a person reads on the page."""
        return str(self.evaluate("document.body.innerText"))

    def until_text(self, *words: str, limit_s: float = PATIENCE_S) -> None:
        """Wait until the page shows all these words."""
        wanted = json.dumps(words)
        self.until(f"{wanted}.every((w) => document.body.innerText.includes(w))", limit_s=limit_s)

    def click(self, words: str, within: str = "button, a") -> None:
        """Click what a person sees under these words."""
        found = (
            f"[...document.querySelectorAll({json.dumps(within)})]"
            f".filter((e) => e.offsetParent !== null && !e.disabled)"
            f".find((e) => e.innerText.trim().includes({json.dumps(words)}))"
        )
        self.until(f"{found} !== undefined")
        self.evaluate(f"{found}.click()")

    def fill(self, **fields: str) -> None:
        """Give values to fields by their names."""
        for name, value in fields.items():
            field = f"document.querySelector('[name={name}]')"
            self.until(f"{field} !== null")
            self.evaluate(
                f"(() => {{ const f = {field}; f.value = {json.dumps(value)};"
                " f.dispatchEvent(new Event('input', {bubbles: true})); })()"
            )

    def keys(self, names: Sequence[str]) -> None:
        """Press keys: Tab, Enter, Escape."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27}
        for name in names:
            for kind in ("keyDown", "keyUp"):
                text = {"text": "\r"} if name == "Enter" and kind == "keyDown" else {}
                self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name,
                          windowsVirtualKeyCode=codes[name], **text)  # fmt: skip

    def picture(self, path: Path) -> None:
        """Save what is shown as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        """Close the tab."""
        self._browser.call("Target.closeTarget", targetId=self._target)
