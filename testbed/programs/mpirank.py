"""One rank of an MPI job: started by Open MPI's daemon in the rank's host, starts the user's command there.

    python -I mpirank.py CONFIG

Sends the command's output where the testbed listens, tells it on the control pipe how the command began, as which
process it runs and how it ended, and ends as it did. A program of its own, of the standard library alone: -I keeps the
user's PYTHON* variables away from it, and for the command. CONFIG (JSON): ``control``, ``cwd``, ``ranks``: for each
``argv``, ``environment``, ``stdout``, ``stderr``, ``host``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

# What polls while it waits must not keep switches from their work. Where the kernel groups processes by session a
# process's own priority counts within its session only, and the session's is that of LEAST_NICE (measured without: the
# switching thread waited 77% of its ready time).
LEAST_NICE = 19
PREFIX = ("setpriv", "--pdeathsig", "KILL", "chrt", "--idle", "0")
MPI_VARIABLES = ("OMPI_", "PMIX_", "PRTE_")  # what the daemon has set for this rank


def main(config_path: str) -> int:
    """Run the command of this rank and return its exit status, as a shell counts signals."""
    with open(config_path, encoding="utf-8") as file:
        config = json.load(file)
    rank = int(os.environ["OMPI_COMM_WORLD_RANK"])
    mine = config["ranks"][rank]
    control = os.open(config["control"], os.O_WRONLY | os.O_CLOEXEC)
    tell(control, event="started", rank=rank, pid=os.getpid(), host=socket.gethostname())
    from_mpi = {name: value for name, value in os.environ.items() if name.startswith(MPI_VARIABLES)}
    try:
        with open(mine["stdout"], "wb", buffering=0) as out, open(mine["stderr"], "wb", buffering=0) as err:
            command = subprocess.Popen(
                [*PREFIX, *mine["argv"]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=config["cwd"],
                env={**mine["environment"], **from_mpi},
                start_new_session=True,
            )
    except OSError as error:
        tell(control, event="ended", rank=rank, status=None, message=str(error))
        return 127
    with contextlib.suppress(OSError), open(f"/proc/{command.pid}/autogroup", "w", encoding="ascii") as session:
        session.write(str(LEAST_NICE))

    def pass_on(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(command.pid, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    tell(control, event="running", rank=rank, pid=command.pid)
    status = command.wait()
    tell(control, event="ended", rank=rank, status=status)
    return status if status >= 0 else 128 - status


def tell(control: int, **event: Any) -> None:
    """Write one line; short enough for a pipe to keep it in one piece."""
    os.write(control, json.dumps(event).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
