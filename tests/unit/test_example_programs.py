"""The programs in scenarios/programs, with made-up libraries and tools: what is wrong is not taken for right."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

PROGRAMS = Path(__file__).resolve().parents[2] / "scenarios" / "programs"


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"example_{name}", PROGRAMS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- MPI ----------------------------------------------------------------------------------------------


def communicator(allreduce: Callable[[np.ndarray, np.ndarray], None]) -> SimpleNamespace:
    """Return what looks like rank 0 of two to a program; ``allreduce(array, result)`` is what its Allreduce does."""
    return SimpleNamespace(
        Get_rank=lambda: 0,
        Get_size=lambda: 2,
        Barrier=lambda: None,
        Allreduce=lambda array, result, op: allreduce(array, result),
        allreduce=lambda value, op: value,
    )


def mpi_status(monkeypatch: pytest.MonkeyPatch, allreduce: Callable[[np.ndarray, np.ndarray], None]) -> int:
    clock = itertools.count()
    mpi4py = ModuleType("mpi4py")
    mpi4py.MPI = SimpleNamespace(  # type: ignore[attr-defined]
        COMM_WORLD=communicator(allreduce), Wtime=lambda: float(next(clock)), SUM="sum", MAX="max"
    )
    monkeypatch.setitem(sys.modules, "mpi4py", mpi4py)
    monkeypatch.setattr(sys, "argv", ["mpi_allreduce.py", "--size-bytes", "4096", "--iterations", "3"])
    return int(load("mpi_allreduce").main())


def add(array: np.ndarray, result: np.ndarray) -> None:
    result[:] = array + (array + 1)  # rank 1 has one more everywhere


def test_sums_by_mpi_are_right_when_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mpi_status(monkeypatch, add) == 0
    said = json.loads(capsys.readouterr().out)
    # 4096 bytes in the second that the clock counts; of two ranks busbw is algbw
    assert (said["wrong"], said["ranks"], said["time_s"]) == (0, 2, 1.0)
    assert said["busbw_mbps"] == said["algbw_mbps"] == pytest.approx(4096 * 8 / 1e6)


def test_an_allreduce_that_did_nothing_is_not_right_because_the_one_before_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = itertools.count()

    def add_once(array: np.ndarray, result: np.ndarray) -> None:
        if not next(calls):
            add(array, result)

    assert mpi_status(monkeypatch, add_once) == 1
    assert json.loads(capsys.readouterr().out)["wrong"] == 3 * 1024


# --- iperf3 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("statuses", "good"), [((0, 0), True), ((0, 1), False), ((0, -9), False), ((-11, -9), False)])
def test_a_server_that_was_killed_is_no_success(
    monkeypatch: pytest.MonkeyPatch, statuses: tuple[int, int], good: bool
) -> None:
    program, ends = load("iperf3_pairs"), iter(statuses)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr(sys, "argv", ["iperf3_pairs.py"])
    started = SimpleNamespace(Popen=lambda argv: SimpleNamespace(wait=lambda: next(ends)))
    monkeypatch.setattr(program, "subprocess", started)
    assert (program.main() == 0) is good
