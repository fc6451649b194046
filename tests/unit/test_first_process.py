"""What the first process of a run's capsule tells of it."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.errors import WorkloadError
from testbed.runs.first_process import told_at_once


def test_a_workload_that_fails_is_told_before_whatever_is_around_it_ends() -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    died = "rank 2 on h3 (pid 7) was killed by SIGKILL at t=1.000 s"
    with pytest.raises(WorkloadError), told_at_once(lambda event, **fields: told.append((event, fields))):
        raise WorkloadError(f"{died}\nalso: rank 1 on h2 (pid 6) failed at t=1.001 s")
    assert told == [("workload_failed", {"message": died})]


def test_what_is_not_the_workloads_failure_is_told_as_before() -> None:
    told: list[str] = []
    with pytest.raises(OSError), told_at_once(lambda event, **_fields: told.append(event)):
        raise OSError("disk full")
    assert told == []
