"""What has to be ready on this machine before a fabric is built. Not a command."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from testbed.agent.compiling import ensure_compiled
from testbed.errors import printable
from testbed.model.schemes import SETTINGS
from testbed.system.interrupts import interruptible
from testbed.system.preload import ensure_wakeups_library


def prepare_fabric(schemes: Iterable[str]) -> None:
    """See that switches find their library, and agents, if a scheme has any, their data plane compiled.

    What cannot be is said on stderr. Signals interrupt it, and end compilers that are at work.
    """

    def say(text: str) -> None:
        print(f"gse: {printable(text)}", file=sys.stderr, flush=True)

    with interruptible():
        ensure_wakeups_library(say)
        if any(SETTINGS[scheme].attachment != "none" for scheme in schemes):
            ensure_compiled(say)
