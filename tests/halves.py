"""Runs all tests in two halves side by side, since they wait more than they compute.

    python -m tests.halves [options of pytest]

One half is what needs other programs (SLOW), the other all the rest, each in a pytest of its own
with the options given. The rest prints as it goes; the other half's words follow when both are
done. The exit code is not 0 if either half failed. What both halves may use at once (ports, network
namespaces, folders) is each test's own: a test that claims a fixed port belongs to SLOW.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence

SLOW = ("tests/peers", "tests/e2e")


def main(options: Sequence[str]) -> int:
    """Run both; returns the exit code."""
    pytest = [sys.executable, "-m", "pytest", *options]
    rest = [*pytest, *(f"--ignore={folder}" for folder in SLOW)]
    with tempfile.TemporaryFile("w+") as words:
        with subprocess.Popen([*pytest, *SLOW], stdout=words, stderr=subprocess.STDOUT) as slow:
            try:
                failed = subprocess.run(rest, check=False).returncode
            except BaseException:
                slow.terminate()
                raise
            failed = slow.wait() or failed
        words.seek(0)
        sys.stdout.write(words.read())
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
