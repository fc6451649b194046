"""How a recording ends; whole ones, in a fabric, are tested in tests/integration."""

from __future__ import annotations

import subprocess
import threading

import pytest

from testbed.system import recording


@pytest.mark.parametrize(
    "command",
    [
        "trap '' TERM; exec yes",  # as tcpdump, whose every write waits again for room once it was told to end
        "exec yes",
        "exec sleep 60",
        "true",
    ],
)
def test_it_ends_although_nobody_reads_what_it_writes(command: str) -> None:
    """``gse capture l1 | head``: the pipe is full by then."""
    process = subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE)
    assert process.stdout is not None
    if "yes" in command:
        assert process.stdout.read(1) == b"y"  # it runs, and will have filled the pipe in no time
    ending = threading.Thread(target=recording._end, args=(process,), daemon=True)
    ending.start()
    ending.join(timeout=20)
    try:
        assert not ending.is_alive()
        assert process.returncode is not None
    finally:
        process.kill()
