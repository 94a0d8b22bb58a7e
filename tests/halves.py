"""Runs all tests in two halves side by side, since they wait more than they compute.

    python -m tests.halves [options of pytest]

One half is what needs other programs (SLOW), the other all the rest, each in a pytest of its own
with the options given. The rest prints as it goes; the other half's words follow when both are
done. The exit code is not 0 if either half failed. What both halves may use at once (ports, network
namespaces, folders) is each test's own: a test that claims a fixed port belongs to SLOW.

A failure of the rest is a failure. In SLOW a program that is not ours may end, or get no core for
longer than its own time-outs allow, while both halves crowd the machine. So where at most
MAY_REPEAT of its tests failed they are run again when the machine is quiet, and each must hold
TIMES times of TIMES. What fails for a reason of its own fails again; what holds is named UNSTEADY
in the last line, below its first failure in full, and is a defect to be mended.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SLOW = ("tests/peers", "tests/e2e")
MAY_REPEAT = 2
TIMES = 3


def main(options: Sequence[str], slow: Sequence[str] = SLOW) -> int:
    """Run both; returns the exit code."""
    pytest = [sys.executable, "-m", "pytest", *options]
    rest = [*pytest, *(f"--ignore={folder}" for folder in slow)]
    with tempfile.TemporaryFile("w+") as words, tempfile.TemporaryDirectory() as memory:
        theirs = [*pytest, "-o", f"cache_dir={memory}", *slow]
        with subprocess.Popen(theirs, stdout=words, stderr=subprocess.STDOUT) as half:
            try:
                failed = subprocess.run(rest, check=False).returncode
            except BaseException:
                half.terminate()
                raise
            failed_slow = half.wait()
        words.seek(0)
        sys.stdout.write(words.read())
        sys.stdout.flush()
        if failed_slow == 1 and not failed:  # 1: tests failed, and nothing else is wrong
            failed_slow = _again(theirs, Path(memory))
    return failed or failed_slow


def _again(command: Sequence[str], memory: Path) -> int:
    """Run what failed again, by itself; returns the exit code."""
    last_failed = memory / "v/cache/lastfailed"
    names = list(json.loads(last_failed.read_text(encoding="utf-8")))
    if len(names) > MAY_REPEAT:
        return 1
    for _ in range(TIMES):
        last_failed.write_text(json.dumps(dict.fromkeys(names, True)), encoding="utf-8")
        if code := subprocess.run([*command, "--last-failed"], check=False).returncode:
            return code
    print(f"UNSTEADY: failed beside the other half, held {TIMES} of {TIMES} times alone:", *names)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
