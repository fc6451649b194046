"""The leaf-spine topology and GSOS for Mininet, also for the stock ``mn`` command.

    sudo mn --custom testbed/mn.py --topo leafspine,leaves=4,spines=4,hosts_per_leaf=4 --arp \\
            --controller gsos,scheme=gse1 --test pingall

``--arp`` is needed because the fabric forwards by address and floods nothing. The ``gsos`` controller
starts this project's own for the topology built last (``scheme`` ecmp or gse1, ``seed`` a number); a kernel
without Open vSwitch needs ``--switch ovs,datapath=user``. Stock links are not shaped unless ``--link tc``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

# mn executes this file by its name, without __file__ and without knowing the project or its packages.
_PROJECT = Path(sys._getframe().f_code.co_filename).resolve().parent.parent
if str(_PROJECT) not in sys.path:
    _site = _PROJECT / f".venv/lib/python3.{sys.version_info[1]}/site-packages"
    sys.path[:0] = [str(path) for path in (_PROJECT, _site) if path.is_dir()]

from mininet import net  # noqa: E402
from mininet.node import Controller, Node  # noqa: E402

from testbed.errors import ControllerError, Problem, ScenarioError  # noqa: E402
from testbed.fabric.controller import SOCKET_POLL_S, gsos_env, require_ready, write_plan  # noqa: E402
from testbed.fabric.leafspine import LeafSpineTopo  # noqa: E402
from testbed.fabric.northbound import Northbound  # noqa: E402
from testbed.model.scheme_spec import SCHEMES, GsosSpec  # noqa: E402
from testbed.model.schemes import SETTINGS  # noqa: E402

START_WITHIN_S: Final = 60.0
READY_WITHIN_S: Final = 60.0
STOP_WITHIN_S: Final = 5.0


class GsosController(Controller):  # type: ignore[misc]
    """GSOS as a process of its own, for the ``LeafSpineTopo`` built last; it ends with Mininet, whichever way."""

    def __init__(self, name: str, *, scheme: str = "ecmp", seed: int = 1, **params: Any) -> None:
        without_agents = [name for name in SCHEMES if SETTINGS[name].attachment == "none"]  # mn starts no agents
        if scheme not in without_agents:
            expected = f"one of {', '.join(without_agents)} (the others need GSP agents: see gse cli)"
            raise ScenarioError(Problem("unknown scheme", "--controller gsos", scheme, expected))
        if LeafSpineTopo.latest is None:
            raise ScenarioError(
                Problem("GSOS knows one kind of fabric", "--controller gsos", "another --topo", "--topo leafspine")
            )
        self.scheme = scheme
        self.seed = int(seed)
        self._topology = LeafSpineTopo.latest
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(name, **params)

    def checkListening(self) -> None:  # noqa: N802 (Mininet's name)
        """Do nothing: GSOS itself refuses a port that is taken, and says so without telnet."""

    def start(self) -> None:
        """Start GSOS and return when it serves. Raises ControllerError with its own words when it does not."""
        self._folder = tempfile.TemporaryDirectory(prefix="gse-mn-")
        folder = Path(self._folder.name)
        plan, log, self._northbound = folder / "plan.json", folder / "gsos.log", folder / "gsos.sock"
        write_plan(
            plan,
            self._topology,
            scheme=self.scheme,
            seed=self.seed,
            settings=GsosSpec(),
            northbound=self._northbound,
            openflow_port=self.port,
        )
        python = _PROJECT / ".venv/bin/python"
        argv = [str(python) if python.exists() else sys.executable, "-m", "apps", "gsos", "--plan", str(plan)]
        with open(log, "wb") as log_file:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                env=gsos_env(plan),
                cwd=_PROJECT,  # -m looks in the current directory first: never in a user's
                start_new_session=True,  # Ctrl-C belongs to the prompt
            )
        deadline_s = time.monotonic() + START_WITHIN_S
        while not self._northbound.exists():
            with suppress(subprocess.TimeoutExpired):
                status = self._process.wait(SOCKET_POLL_S)
                raise ControllerError(f"GSOS ended with status {status}: {log.read_text()[-2000:].strip()}")
            if time.monotonic() > deadline_s:
                raise ControllerError(f"GSOS does not serve after {START_WITHIN_S:g} s: {log.read_text()[-2000:]}")

    def wait_ready(self) -> None:
        """Return when every switch has confirmed its rules. Raises ControllerError when they do not in time."""
        gsos = Northbound(self._northbound)
        status = gsos.call("wait_ready", answer_within_s=READY_WITHIN_S + 5, timeout_s=READY_WITHIN_S)
        gsos.close()
        require_ready(status, READY_WITHIN_S)

    def stop(self, *args: Any, **kwargs: Any) -> None:
        """Stop GSOS and Mininet's shell for it."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
            self._folder.cleanup()
        Node.stop(self, *args, **kwargs)


class Mininet(net.Mininet):  # type: ignore[misc]
    """What ``mn`` builds, because a --custom file may replace any class of it: waiting includes the rules.

    Mininet takes a switch for ready when it has a connection, some 20 ms before it can forward.
    """

    def waitConnected(self, timeout: float | None = None, delay: float = 0.5) -> bool:  # noqa: N802 (Mininet's name)
        """Wait for the switches as Mininet does, then for GSOS; return whether all are connected."""
        connected = bool(super().waitConnected(timeout, delay))
        for controller in self.controllers:
            if connected and isinstance(controller, GsosController):
                controller.wait_ready()
        return connected


topos = {"leafspine": LeafSpineTopo}
controllers = {"gsos": GsosController}
