"""What makes hosts look like machines to programs: names, addresses of names, a way from one to the other.

Inside a capsule only: everything is in its private /run, and its private mounts, and goes with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from testbed.model.topology import Topology
from testbed.programs.environment import Files, Place, hostfile_text, hosts_text
from testbed.system.command import run

FOLDER: Final = Path("/run/gse/programs")
# Open MPI's launcher calls this instead of ssh, with a host and one text for that host's shell, as ssh would hand over.
LAUNCHER: Final = """\
#!/bin/sh
host=$1
shift
exec nsenter --net={folder}/net/"$host" --uts={folder}/uts/"$host" -- /bin/sh -c "$*"
"""


def furnish(topology: Topology, everyone: Sequence[Place], pid_of: Callable[[str], int]) -> Files:
    """Give every rank's host a name and a door, and every program the same idea of who has which address."""
    for name in ("net", "uts", "scratch"):
        (FOLDER / name).mkdir(parents=True)
    for place in everyone:
        host = place.host.name
        net, uts = FOLDER / "net" / host, FOLDER / "uts" / host
        for path in (net, uts):
            path.touch()
        run(["mount", "--bind", f"/proc/{pid_of(host)}/ns/net", str(net)])
        run(["unshare", f"--uts={uts}", "hostname", host])
    _cover("/etc/hosts", hosts_text(topology))
    _cover("/etc/resolv.conf", "")  # no server: what is not in the list is unknown at once, not after a timeout
    hostfile, launcher = FOLDER / "hostfile", FOLDER / "enter"
    hostfile.write_text(hostfile_text(everyone))
    launcher.write_text(LAUNCHER.format(folder=FOLDER))
    launcher.chmod(0o755)
    return Files(hostfile=str(hostfile), launcher=str(launcher), scratch=str(FOLDER / "scratch"))


def enter_argv(host: str, cwd: str, argv: Sequence[str]) -> list[str]:
    """Return the command line that runs ``argv`` in a host that has been furnished."""
    return ["nsenter", f"--net={FOLDER}/net/{host}", f"--uts={FOLDER}/uts/{host}", f"--wd={cwd}", "--", *argv]


def _cover(path: str, text: str) -> None:
    """Let everybody in the capsule read ``text`` in place of a file; one that is not there is left so."""
    real = os.path.realpath(path)
    if not os.path.isfile(real):
        return
    own = FOLDER / Path(path).name
    own.write_text(text)
    run(["mount", "--bind", str(own), real])
