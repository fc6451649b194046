"""What a host's TCP is set to."""

from __future__ import annotations

import pytest

from testbed.fabric.settings import host_sysctls
from testbed.model.delay import round_trip_s
from testbed.model.fabric_spec import FabricSpec
from testbed.units import MIB


def receive_buffer_bytes(fabric: FabricSpec) -> int:
    least, default, most = host_sysctls(fabric, marking=False)["net/ipv4/tcp_rmem"].split("\t")
    assert int(least) < int(default) == int(most)  # the window is the same for every connection, whatever its luck
    return int(default)


def test_window_holds_what_a_path_does_and_all_that_waits_in_a_queue() -> None:
    assert receive_buffer_bytes(FabricSpec()) == MIB  # half of it is offered: 0.42 s at 10 Mbit/s
    far = FabricSpec(link_rate_mbps=100, delay_ms=10)
    assert round_trip_s(far) == pytest.approx(8 * (0.010 + 9014 / 12.5e6) + 0.004)
    assert receive_buffer_bytes(far) == pytest.approx(4 * 12.5e6 * round_trip_s(far), rel=1e-6)


@pytest.mark.parametrize(
    ("marking", "threshold", "ecn"), [(False, None, "0"), (True, None, "1"), (False, 90_000, "1"), (True, 90_000, "1")]
)
def test_ecn_is_negotiated_where_something_marks(marking: bool, threshold: int | None, ecn: str) -> None:
    fabric = FabricSpec(ecn_threshold_bytes=threshold)
    assert host_sysctls(fabric, marking=marking)["net/ipv4/tcp_ecn"] == ecn
