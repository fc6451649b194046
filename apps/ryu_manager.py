"""Start ``ryu-manager`` with a current eventlet: ``python -m apps.ryu_manager [apps/gsos.py] [ryu-manager's options]``.

Ryu 4.34 imports ``eventlet.wsgi.ALREADY_HANDLED``, which eventlet has dropped; nothing here uses it. GSOS's own
file is found from anywhere. The plan is named by the environment variable GSE_GSOS_PLAN.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

GSOS = Path(__file__).resolve().parent / "gsos.py"


def manager_arguments(arguments: list[str]) -> list[str]:
    """Return ryu-manager's arguments, with GSOS's file by its full path and added where no app is named."""
    found = [str(GSOS) if argument.endswith("apps/gsos.py") else argument for argument in arguments]
    return found if str(GSOS) in found else [str(GSOS), *found]


def main() -> None:
    """Run ryu-manager until it is stopped."""
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")  # known, and nothing to do about here
    import eventlet.wsgi  # type: ignore[import-untyped]

    if not hasattr(eventlet.wsgi, "ALREADY_HANDLED"):
        eventlet.wsgi.ALREADY_HANDLED = object()
    from ryu.cmd import manager

    manager.main(args=manager_arguments(sys.argv[1:]))


if __name__ == "__main__":
    main()
