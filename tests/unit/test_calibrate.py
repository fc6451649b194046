from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import NetworkError
from testbed.evaluation.records import CalibrationRow
from testbed.measurement import calibrate
from testbed.measurement.calibrate import MOST_AT_ONCE, batches
from testbed.model.fabric_spec import FabricSpec
from testbed.model.topology import Direction, Topology

FRAME = 9014
DEFAULT = Topology(FabricSpec())


def test_default_fabric_is_calibrated_at_once() -> None:
    # 64 directions x 1.25e6 / 9014 = 8875 frames/s
    assert [len(batch) for batch in batches(DEFAULT.directions, FRAME, 10_000)] == [64]
    # 5000 / 138.67 = 36.06
    assert [len(batch) for batch in batches(DEFAULT.directions, FRAME, 5_000)] == [36, 28]


@given(
    leaves=st.integers(1, 8),
    spines=st.integers(1, 8),
    hosts=st.integers(1, 8),
    host_rate=st.floats(1, 1000),
    uplink_rate=st.floats(1, 1000),
    budget=st.floats(100, 100_000),
)
def test_batches_keep_order_and_budget(
    leaves: int, spines: int, hosts: int, host_rate: float, uplink_rate: float, budget: float
) -> None:
    fabric = FabricSpec(
        leaves=leaves, spines=spines, hosts_per_leaf=hosts, host_rate_mbps=host_rate, uplink_rate_mbps=uplink_rate
    )
    directions = Topology(fabric).directions
    cut = batches(directions, FRAME, budget)
    assert [direction for batch in cut for direction in batch] == list(directions)
    for batch in cut:
        assert 1 <= len(batch) <= MOST_AT_ONCE
        frames_per_s = sum(direction.rate_mbps * 1e6 / 8 / FRAME for direction in batch)
        assert len(batch) == 1 or frames_per_s <= budget * (1 + 1e-9)


@pytest.mark.parametrize(
    ("fabric", "expected"),
    [
        ({}, 62_500),  # 1.25e6 B/s x 0.05 s
        ({"link_rate_mbps": 1.0}, 3 * 9014),  # 0.05 s are less than a frame
        ({"link_rate_mbps": 1000.0}, 262_144 - 9014),  # all the queue takes
        ({"ecn_threshold_bytes": 30_000}, 30_000 - 9014),  # beyond it frames are marked or dropped
        ({"queue_bytes": 18_028}, 9014),  # a queue of two frames
        ({"delay_ms": 100.0}, 62_500 + 125_000),  # and what is in the delay line: 1.25e6 x 0.1
    ],
)
def test_as_much_waits_as_bridges_a_stall_without_loss(fabric: dict[str, float], expected: int) -> None:
    topology = Topology(FabricSpec(**fabric))  # type: ignore[arg-type]
    assert calibrate._target_bytes(topology, topology.directions[0], FRAME) == expected


@dataclass
class QueueDouble:
    """A queue whose measurements are scripted."""

    direction: Direction
    error_fraction: float | None

    @property
    def known(self) -> bool:
        return self.error_fraction is not None

    def row(self) -> CalibrationRow:
        if self.error_fraction is None:
            raise NetworkError("not known")
        rate = self.direction.rate_mbps
        return CalibrationRow(
            direction=self.direction.name,
            configured_mbps=rate,
            measured_mbps=rate * (1 + self.error_fraction),
            error_fraction=self.error_fraction,
        )


class Bench:
    """Replaces what needs a network; ``script`` yields the error of each queue in the order they are measured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, script: list[float | None]) -> None:
        self.script: Iterator[float | None] = iter(script)
        self.sizes: list[int] = []
        monkeypatch.setattr(
            calibrate, "_queue", lambda _topology, direction, _nodes: QueueDouble(direction, next(self.script))
        )
        monkeypatch.setattr(calibrate, "_saturate", lambda queues: self.sizes.append(len(queues)))
        monkeypatch.setattr(calibrate, "_await_empty", lambda queues: None)

    def measure(self, directions: int) -> list[float]:
        rows = calibrate._measure(DEFAULT, DEFAULT.directions[:directions], None)  # type: ignore[arg-type]
        assert [row.direction for row in rows] == [direction.name for direction in DEFAULT.directions[:directions]]
        return [row.error_fraction for row in rows]


def test_good_batch_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, [0.001, -0.019])
    assert bench.measure(2) == [0.001, -0.019]
    assert bench.sizes == [2]


def test_one_bad_moment_of_the_machine_is_outvoted(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, [-0.05, -0.04, 0.001, 0.002, -0.001, 0.003])
    assert bench.measure(2) == [-0.001, 0.002]
    assert bench.sizes == [2, 2, 2]


def test_wrong_rate_stays_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Bench(monkeypatch, [-0.2, 0.0, -0.21, 0.0, -0.19, 0.0]).measure(2) == [-0.2, 0.0]


def test_batch_too_large_for_the_machine_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, [0.0, None, 0.0, 0.001, 0.002, 0.003])
    assert bench.measure(3) == [0.001, 0.002, 0.003]
    assert bench.sizes == [3, 1, 2]


def test_single_queue_that_cannot_be_measured_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NetworkError, match="not known"):
        Bench(monkeypatch, [None]).measure(1)
