"""What has to be ready on this machine before GSP agents are started."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from testbed.errors import printable
from testbed.model.schemes import SETTINGS
from testbed.system.compiling import ensure_compiled


def prepare_agents(schemes: Iterable[str]) -> None:
    """See that agents find their data plane compiled, if a scheme has any; what cannot be is said on stderr."""
    if any(SETTINGS[scheme].attachment != "none" for scheme in schemes):
        ensure_compiled(lambda text: print(f"gse: {printable(text)}", file=sys.stderr, flush=True))
