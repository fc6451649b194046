"""``ip`` and ``tc`` with many settings at once, also by a program that has been started before they are known."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from typing import Final

from testbed.errors import CommandError, NetworkError
from testbed.system.command import run

LONGEST_S: Final = 120.0


def ip_batch(lines: Iterable[str]) -> None:
    """Let ``ip`` make settings, in order. Raises NetworkError saying what it refused."""
    _batch("ip", lines)


def tc_batch(lines: Iterable[str]) -> None:
    """Let ``tc`` make settings, in order. Raises NetworkError saying what it refused."""
    _batch("tc", lines)


def _batch(tool: str, lines: Iterable[str]) -> None:
    try:
        run([tool, "-batch", "-"], stdin="\n".join(lines) + "\n", timeout_s=LONGEST_S)
    except CommandError as error:
        raise NetworkError(f"{tool} refused a setting: {error.stderr.strip()}") from None


class Ready:
    """A program that waits for its input, so that a fault takes place when it is told and not some ms later.

    Starting one takes 5 to 15 ms beside a running collective. It ends with its input, or with the capsule.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        """Raises NetworkError when there is no such program."""
        self._name = argv[0]
        try:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
        except OSError as error:
            raise NetworkError(f"cannot start {self._name}: {error}") from None

    def finish(self, lines: Iterable[str]) -> None:
        """Give it its input and wait for its end. Raises NetworkError saying what it refused."""
        try:
            _out, said = self._process.communicate("\n".join(lines) + "\n", timeout=LONGEST_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            self._process.kill()
            self._process.communicate()
            raise NetworkError(f"{self._name} did not take its input: {error}") from None
        if self._process.returncode:
            raise NetworkError(f"{self._name} refused a setting: {said.strip()}")
