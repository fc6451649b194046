"""The compiled data plane: it is what the sources say, and agents run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gse_runs import ENV, PROJECT

from testbed.agent.compiled import folder
from testbed.agent.compiling import ensure_compiled

pytestmark = pytest.mark.beside


@pytest.fixture(scope="module", autouse=True)
def compiled() -> Path:
    said: list[str] = []
    ensure_compiled(said.append)
    assert folder().is_dir(), said
    return folder()


# These make a bound smaller than it is, to reach it; a compiled constant is what it was.
OF_THE_SOURCES = (
    "tests/unit/test_gse_dataplane_units.py::test_flowlet_table_forgets_the_oldest_flow_when_it_is_full",
    "tests/unit/test_gse_dataplane_losses.py::test_queues_beyond_the_bound_are_refused_and_counted_and_the_others_go_on",
)


def test_every_property_of_the_core_holds_for_the_compiled_modules() -> None:
    tests = sorted(str(path) for path in (PROJECT / "tests" / "unit").glob("test_gse_dataplane_*.py"))
    left_out = [f"--deselect={name}" for name in OF_THE_SOURCES]
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *left_out, *tests]
    env = {**os.environ, "GSE_TEST_COMPILED": "1"}
    done = subprocess.run(argv, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert len(tests) >= 8
    assert f"{len(OF_THE_SOURCES)} deselected" in done.stdout, done.stdout[-300:]  # they are still there


def test_the_modules_are_machine_code_and_what_is_asked_to_be_interpreted_is_not(compiled: Path) -> None:
    code = "from testbed.agent.compiled import use; print(use()); from testbed.gse.dataplane import edge, wire; "
    code += "print(edge.__file__); print(wire.__file__)"
    for asked, kind, place in ((None, "compiled", compiled), ("1", "interpreted", PROJECT)):
        env = ENV if asked is None else {**ENV, "GSE_INTERPRET": asked}
        out = subprocess.check_output([sys.executable, "-c", code], env=env, text=True).splitlines()
        assert out[0] == kind
        assert all(Path(name).is_relative_to(place) for name in out[1:]), out
        assert all(name.endswith(".py") == (asked is not None) for name in out[1:]), out
