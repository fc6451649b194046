"""Start GSOS under os-ken: ``python -m apps gsos --plan FILE``. Logs to stderr; ends on SIGTERM."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from pathlib import Path

from apps.compat import RUNTIME, AppManager, cfg
from apps.plan import PLAN_VARIABLE, Plan, read_plan
from testbed.errors import ControllerError, TestbedError

log = logging.getLogger("apps")


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped; return the exit status of a start that failed."""
    parser = argparse.ArgumentParser(prog="python -m apps", description=__doc__)
    parser.add_argument("app", choices=["gsos"])
    parser.add_argument("--plan", required=True, type=Path, help="JSON file, see docs/gsos.md")
    parser.add_argument("--verbose", action="store_true", help="also log every flow placed")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    logging.getLogger("os_ken").setLevel(logging.WARNING)
    try:
        plan = read_plan(options.plan)
        _require_free_port(plan)
        os.environ[PLAN_VARIABLE] = str(options.plan)
        _run(plan)
    except TestbedError as error:
        print(f"gsos: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _run(plan: Plan) -> None:
    if RUNTIME != "os-ken":
        raise ControllerError("this Python has Ryu, not os-ken: start GSOS with python -m apps.ryu_manager")
    address = ["--ofp-listen-host", plan.openflow_listen, "--ofp-tcp-listen-port", str(plan.openflow_port)]
    cfg.CONF(args=address, project="gsos", default_config_files=[])
    AppManager.run_apps(["apps.gsos"])


def _require_free_port(plan: Plan) -> None:
    """Raise ControllerError when the OpenFlow port is taken: os-ken would only log it and go on without switches."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((plan.openflow_listen, plan.openflow_port))
        except OSError as error:
            where = f"{plan.openflow_listen}:{plan.openflow_port}"
            raise ControllerError(f"OpenFlow address {where} cannot be used: {error}") from None


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)  # the framework's threads are no daemons: a plain exit would wait for them for ever
