"""Reads a secret from its file for every use."""

from __future__ import annotations

from pathlib import Path

from gateway.notify.contract import NotifyError


def read_secret(path: Path | None) -> str:
    """One line of a file; raises NotifyError that names the file and not what it holds."""
    if path is None:
        raise NotifyError("no file is named")
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NotifyError(f"{path.name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise NotifyError(f"{path.name} is not UTF-8 text") from None
    if not text or "\n" in text:
        raise NotifyError(f"{path.name} must hold one line")
    return text
