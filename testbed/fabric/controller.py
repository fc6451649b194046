"""Start GSOS as a process of its own and wait until it controls the fabric."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed.errors import ControllerError
from testbed.fabric.northbound import Northbound
from testbed.model.scheme_spec import GsosSpec
from testbed.model.topology import Topology
from testbed.system.process import Child
from testbed.system.supervisor import Supervisor

OPENFLOW_PORT = 6653
SOCKET_POLL_S = 0.01
MOST_NAMED = 8  # switches, or refusals, in a message
SOCKET = Path("/run/gse/gsos.sock")
PROJECT = Path(__file__).resolve().parents[2]


def start_gsos(
    supervisor: Supervisor,
    topology: Topology,
    *,
    scheme: str,
    seed: int,
    settings: GsosSpec,
    raw_dir: Path,
) -> tuple[Child, Northbound]:
    """Start GSOS; it listens on loopback of this capsule only. Call ``wait_ready`` before trusting the fabric."""
    plan = raw_dir / "gsos-plan.json"
    write_plan(plan, topology, scheme=scheme, seed=seed, settings=settings, northbound=SOCKET)
    child = supervisor.start(
        "gsos",
        gsos_argv(plan),
        env=gsos_env(plan),
        log_path=raw_dir / "gsos.log",
    )
    return child, Northbound(SOCKET)


def write_plan(
    path: Path,
    topology: Topology,
    *,
    scheme: str,
    seed: int,
    settings: GsosSpec,
    northbound: Path,
    openflow_port: int = OPENFLOW_PORT,
) -> None:
    """Write what GSOS is told at its start (read by apps.plan); it will listen on loopback only."""
    path.write_text(
        json.dumps(
            {
                "topology": topology.to_json(),
                "scheme": scheme,
                "seed": seed,
                "gsos": settings.model_dump(mode="json"),
                "openflow_port": openflow_port,
                "openflow_listen": "127.0.0.1",
                "northbound": str(northbound),
            },
            indent=1,
        )
    )


def gsos_argv(plan: Path) -> list[str]:
    """Return GSOS's command line: os-ken, or Ryu's own launcher when GSE_RYU_PYTHON names its Python."""
    ryu_python = os.environ.get("GSE_RYU_PYTHON")
    if ryu_python:
        listen = ["--ofp-tcp-listen-port", str(OPENFLOW_PORT), "--ofp-listen-host", "127.0.0.1"]
        return [ryu_python, "-m", "apps.ryu_manager", "apps/gsos.py", *listen]
    return [sys.executable, "-m", "apps", "gsos", "--plan", str(plan)]


def gsos_env(plan: Path) -> dict[str, str]:
    """Return the environment GSOS runs in."""
    return {**os.environ, "PYTHONPATH": str(PROJECT), "GSE_GSOS_PLAN": str(plan)}


def wait_ready(supervisor: Supervisor, gsos: Northbound, *, timeout_s: float = 30.0) -> None:
    """Return when every switch is connected and has confirmed its rules.

    Raises ControllerError when GSOS dies or is not ready in time.
    """
    _await_socket(supervisor, timeout_s)
    status = gsos.call("wait_ready", answer_within_s=timeout_s + 5, timeout_s=timeout_s)
    require_ready(status, timeout_s)


def require_ready(status: Mapping[str, Any], timeout_s: float) -> None:
    """Raise ControllerError with what a switch has refused, or which are missing, unless GSOS says it is ready."""
    if status["ready"]:
        return
    refused, missing = status["switch_errors"], status["not_ready"]
    if refused:  # GSOS does not wait for anything then
        raise ControllerError(f"GSOS is not ready, a switch refused its rules: {_first(refused)}")
    raise ControllerError(f"GSOS is not ready after {timeout_s:g} s, without control of {_first(missing)}")


def _first(words: Sequence[str]) -> str:
    more = f" and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
    return ", ".join(words[:MOST_NAMED]) + more


def _await_socket(supervisor: Supervisor, timeout_s: float) -> None:
    """Wait for the northbound socket; a timer looks for it, because nobody announces a file."""

    def look_again() -> None:
        if not SOCKET.exists():
            supervisor.call_at(time.monotonic() + SOCKET_POLL_S, look_again)

    look_again()
    supervisor.run_until(SOCKET.exists, timeout_s, "GSOS to open its northbound socket")
