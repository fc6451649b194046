"""Lines of a run's process, taken as they come, however slowly whoever shows them is.

A reader of ours that stops reading (Ctrl-S, a pager) stops us at the next line we print. The run must not wait for
that: its supervisor would write into a full pipe, and faults and time-outs would come late. So a thread takes its
lines, and those that are for showing only are left out while too many of them wait.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import IO, Final

MOST_WAITING: Final = 20_000  # lines for showing only


def taken(lines: IO[str], only_shown: Callable[[str], bool], left_out: Callable[[int], str]) -> Iterator[str]:
    """Yield ``lines`` of a pipe, which are taken at once, until its end; it is closed then.

    What went wrong when they were read is raised here. Lines that are ``only_shown`` are left out while
    ``MOST_WAITING`` wait; the line ``left_out`` makes of how many stands where they were.
    """
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    failed: list[Exception] = []

    def take() -> None:
        lost = 0
        try:
            for line in lines:
                if only_shown(line) and waiting.qsize() >= MOST_WAITING:
                    lost += 1
                    continue
                if lost:
                    waiting.put(left_out(lost))
                    lost = 0
                waiting.put(line)
            if lost:
                waiting.put(left_out(lost))
        except Exception as error:
            failed.append(error)
        finally:
            waiting.put(None)
            lines.close()  # here: to close it where others read waits for them

    threading.Thread(target=take, name="events", daemon=True).start()
    while (line := waiting.get()) is not None:
        yield line
    if failed:
        raise failed[0]
