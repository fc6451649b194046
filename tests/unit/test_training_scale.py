"""Scaling down to the testbed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.model.fields import Mistakes
from testbed.training.build import build
from testbed.training.gain import CASES
from testbed.training.iteration import Communicate, Compute, Iteration
from testbed.training.scale import Emulation, Native, emulated_seconds, scale
from testbed.training.timeline import play
from testbed.units import GIB


def native(seconds_per_byte: float = 1.0) -> Native:
    return Native(lambda op: op.size_bytes * seconds_per_byte, ranks=64, nic_mbps=200_000)


def emulation(**fields: object) -> Emulation:
    return Emulation.model_validate({"hosts": 16, "link_mbps": 10, "sent_bytes": 15_000_000, **fields})


def reductions(*sizes: int, compute_s: float = 10.0) -> Iteration:
    ops = tuple(Communicate("backward", "allreduce", "dp", size, blocking=False) for size in sizes)
    return Iteration((Compute("backward", compute_s), *ops))


def test_llama2_13b_on_16_hosts_at_10_mbps() -> None:
    """The worked example of docs/workloads.md: A100s, one NIC of 200 Gbit/s a node, plain data parallelism."""
    case = CASES[1]
    found = scale([build(case.model, case.layout, case.hardware)], Native.of(case.layout, case.hardware), emulation())
    # native: 2 x 63/64 x 26.03 GB = 51.25 GB at 25 GB/s = 2.050 s, rho = 2.050 / 5.144
    assert found.native.sent_bytes == pytest.approx(51.25e9, rel=1e-4)
    assert found.native.communication_s == pytest.approx(2.050, abs=0.0005)
    assert found.native.rho == pytest.approx(0.3985, abs=0.0001)
    # emulated: arrays of 15 MB / (2 x 15/16) = 8 MB in 209 operations; 15 MB at 10 Mbit/s x 8948/9014 = 12.09 s
    assert found.bytes_factor == pytest.approx(8e6 / 26_031_728_640)
    assert len(found.iterations[0].communications) == 209
    assert sum(op.size_bytes for op in found.iterations[0].communications) == pytest.approx(8e6, rel=1e-4)
    assert found.emulated.largest_operation_bytes == 38_276
    assert found.emulated.sent_bytes == pytest.approx(15e6, rel=1e-4)
    assert found.emulated.communication_s == pytest.approx(12.0 * 9014 / 8948, rel=1e-4)
    assert found.seconds_factor == pytest.approx(5.897, abs=0.001)
    assert found.emulated.compute_s == pytest.approx(30.33, abs=0.01)
    assert found.emulated.rho == pytest.approx(found.native.rho, rel=1e-12)
    assert (found.native.ranks, found.emulated.ranks, found.emulated.rate_mbps) == (64, 16, 10)


def test_a_small_iteration_by_hand() -> None:
    # 4 hosts send 1.5 x 160,000 natively; asked for 60,000: a quarter. 60,000 B at 0.48 Mbit/s payload = 1 s; native 16
    # s
    asked = emulation(hosts=4, sent_bytes=60_000, link_mbps=0.48 * 9014 / 8948)
    found = scale([reductions(80_000, 80_000)], native(1e-4), asked)
    assert found.bytes_factor == 0.25
    assert [op.size_bytes for op in found.iterations[0].communications] == [20_000, 20_000]
    assert found.seconds_factor == pytest.approx(1 / 16)
    assert found.iterations[0].compute_s == pytest.approx(10 / 16)
    assert found.native.rho == pytest.approx(1.6)
    assert not found.iterations[0].communications[0].blocking


def test_what_stays_inside_a_node_is_scaled_and_still_not_sent() -> None:
    iteration = Iteration(reductions(80_000).ops, (Communicate("forward", "allreduce", "tp", 4000),))
    found = scale([iteration], native(), emulation(hosts=4, sent_bytes=60_000))
    assert found.iterations[0].local == (Communicate("forward", "allreduce", "tp", 2000),)
    assert found.emulated.sent_bytes == pytest.approx(60_000)


def test_stages_of_a_pipeline_share_the_factors_of_the_one_that_sends_most() -> None:
    send = Communicate("forward", "send", "pp", 20_000)
    first = Iteration((Compute("forward", 3), send, *reductions(40_000, compute_s=0).ops[1:]))
    last = reductions(40_000, compute_s=5)
    # 8 hosts, 4 a stage: 20,000 + 1.5 x 40,000 = 80,000 and 60,000 bytes; native 60,000 s with 3 s of computing
    found = scale([first, last], native(), emulation(hosts=8, sent_bytes=40_000))
    assert (found.stage, found.bytes_factor, found.emulated.ranks) == (0, 0.5, 4)
    assert [op.size_bytes for op in found.iterations[1].communications] == [20_000]
    assert found.iterations[1].compute_s / found.iterations[0].compute_s == pytest.approx(5 / 3)
    assert found.native.rho == pytest.approx(20_000) == pytest.approx(found.emulated.rho)


@given(
    st.lists(st.integers(100_000, 10_000_000), min_size=1, max_size=8),
    st.floats(1e-3, 1e3), st.integers(2, 64), st.floats(0.1, 1000), st.integers(1, 50),
)  # fmt: skip
def test_rho_survives_and_so_does_the_exposed_share(
    sizes: list[int], compute_s: float, hosts: int, link_mbps: float, megabytes: int
) -> None:
    iteration = reductions(*sizes, compute_s=compute_s)
    asked = emulation(hosts=hosts, link_mbps=link_mbps, sent_bytes=megabytes * 1_000_000, mtu_bytes=576)
    try:
        found = scale([iteration], native(1e-6), asked)
    except Mistakes:
        return  # too long, or too small
    assert found.emulated.rho == pytest.approx(found.native.rho, rel=1e-9)
    assert found.emulated.sent_bytes == pytest.approx(asked.sent_bytes, rel=0.01)
    before = play(iteration, native(1e-6).seconds_of)
    after = play(found.iterations[0], emulated_seconds(asked, hosts))
    assert after.exposed_share == pytest.approx(before.exposed_share, rel=0.01, abs=1e-9)


def test_sizes_are_whole_floats_at_least_one() -> None:
    norm = Communicate("optimizer", "broadcast", "dp", 1)
    found = scale([Iteration((*reductions(1, 999_998).ops, norm))], native(), emulation(sent_bytes=300_000))
    sizes = [op.size_bytes for op in found.iterations[0].communications]
    assert sizes == [4, 160_000, 4]  # a few bytes among many are no reason to refuse


def test_buckets_of_less_than_a_frame_are_refused_with_what_would_do() -> None:
    with pytest.raises(Mistakes) as caught:
        scale([reductions(*[1000] * 20)], native(), emulation(sent_bytes=15_000))
    # 15,000 / (20,000 x 1.875) = 0.4: 400 bytes each; 8948 / 400 x 15,000
    assert caught.value.mistakes == [
        "20 of 20 allreduce (dp) have less than a frame, 400 bytes the least; "
        "expected 8948: sent_bytes=335550, larger buckets or a smaller MTU"
    ]


def test_all_that_is_too_large_is_said_at_once() -> None:
    # 2 GiB sent of an array of 2 GiB / 1.875; at 4 Mbit/s x 8948/9014: 4327 s, and 10 native seconds are 0.04 more
    with pytest.raises(Mistakes) as caught:
        scale([reductions(1_000_000)], native(), emulation(sent_bytes=2 * GIB, link_mbps=4))
    assert caught.value.mistakes == [
        "allreduce (dp) of 1145324612 bytes; expected at most 1073741824: less sent_bytes",
        "an iteration of 4327 s; expected at most 3600 s: less sent_bytes",
    ]


def test_what_leaves_nothing_to_scale_is_said_at_once() -> None:
    silent = Iteration((Compute("forward", 1),))
    idle = Iteration(())
    with pytest.raises(Mistakes) as caught:
        scale([silent, idle, idle], native(), emulation())
    assert caught.value.mistakes == [
        "hosts=16 with 3 pipeline stages; expected a multiple of 3",
        "no operation uses the fabric; expected one (do all groups fit into a node?)",
        "no computation in stage 1, 2; expected some, or rho is not defined",
    ]
    with pytest.raises(Mistakes, match="expected at least two a stage"):
        scale([reductions(100_000)] * 2, native(), emulation(hosts=2))
    with pytest.raises(Mistakes, match="no iterations"):
        scale([], native(), emulation())
