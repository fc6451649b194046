"""The GSP agents of one leaf as a process: ``python -m testbed.agent.gsp --config FILE``.

Says ``ready``; answers ``stats`` with every agent's counters; ``stop`` or the end of stdin ends it. The data plane is
taken compiled where it has been compiled (``compiled``), which has to be settled before any of it is imported.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from testbed.agent.compiled import use
from testbed.errors import TestbedError
from testbed.measurement.sidecar import emit, read_config
from testbed.system.pipes import LineReader


def main() -> int:
    """Run as a program; a failure is an event, too."""
    parser = argparse.ArgumentParser(prog="testbed.agent.gsp")
    parser.add_argument("--config", type=Path, required=True, help='JSON file: {"agents": [...]}, see Config')
    parser.add_argument(
        "--life",
        type=int,
        default=1,
        help="number of this process among those for the same agents, from 1 (default: 1)",
    )
    args = parser.parse_args()
    try:
        kind = use()
        from testbed.agent.loop import Loop, configs_of

        with Loop(read_config(args.config, configs_of), LineReader(sys.stdin.buffer), args.life) as loop:
            emit("ready", agents=[agent.name for agent in loop.agents], core=kind)
            loop.run()
            emit("stopped", **loop.stats())
    except (TestbedError, OSError, ValueError) as error:
        emit("error", message=f"gsp: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
