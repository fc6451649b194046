"""Notice the end of a process while the main thread waits for something else, like a program that asks the dead."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from testbed.errors import NetworkError


@contextmanager
def raised_by_end_of(pids: Mapping[str, int]) -> Iterator[None]:
    """Raise NetworkError in the body as soon as one of the processes (name -> PID) ends, whatever the body waits for.

    For the main thread only, and not within itself: it uses SIGUSR1. Raises ProcessLookupError when one has gone
    already and was reaped.
    """
    names = {os.pidfd_open(pid): name for name, pid in pids.items()}
    over_read, over_write = os.pipe()
    main_thread = threading.get_ident()
    ended: list[str] = []

    def watch() -> None:
        readable, _, _ = select.select([*names, over_read], [], [])
        ended.extend(names[fd] for fd in readable if fd in names)
        if ended:
            signal.pthread_kill(main_thread, signal.SIGUSR1)  # to this thread: it interrupts what blocks it

    def tell(_number: int, _frame: object) -> None:
        raise NetworkError(f"{' and '.join(ended)} ended meanwhile")

    before = signal.signal(signal.SIGUSR1, tell)
    thread = threading.Thread(target=watch, name="vigil", daemon=True)
    thread.start()
    try:
        try:
            yield
        finally:
            os.write(over_write, b".")
            thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
        for fd in (*names, over_read, over_write):
            os.close(fd)
