"""Scaling down to the testbed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_jobs import UNIT, Drawn, jobs

from testbed.fields import Mistakes
from testbed.training.build import build, build_stages
from testbed.training.gain import CASES
from testbed.training.groups import GROUPS, Group
from testbed.training.hardware import A100, Hardware
from testbed.training.iteration import Communicate, Compute, Iteration
from testbed.training.layout import Layout
from testbed.training.presets import LLAMA2_13B, MIXTRAL_8X7B
from testbed.training.rehearsal import Job, execute
from testbed.training.scale import Emulation, Kind, Native, emulated_seconds, scale
from testbed.training.timeline import SecondsOf, play
from testbed.units import GIB

REDUCTION = Kind("allreduce", "dp")
MESSAGE = Kind("message", "pp")


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
    assert found.bytes_factors == {REDUCTION: pytest.approx(8e6 / 26_031_728_640)}
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
    assert found.bytes_factors == {REDUCTION: pytest.approx(0.25)}
    assert [op.size_bytes for op in found.iterations[0].communications] == [20_000, 20_000]
    assert found.seconds_factor == pytest.approx(1 / 16)
    assert found.iterations[0].compute_s == pytest.approx(10 / 16)
    assert found.native.rho == pytest.approx(1.6)
    assert not found.iterations[0].communications[0].blocking


def test_what_stays_inside_a_node_stays_as_it_is() -> None:
    iteration = Iteration(reductions(80_000).ops, (Communicate("forward", "allreduce", "tp", 4000),))
    found = scale([iteration], native(), emulation(hosts=4, sent_bytes=60_000))
    assert found.iterations[0].local == iteration.local
    assert found.emulated.sent_bytes == pytest.approx(60_000)


def message(operation: str, size_bytes: int) -> Communicate:
    peer = "next" if operation == "send" else "previous"
    return Communicate("forward", operation, "pp", size_bytes, peer=peer)  # type: ignore[arg-type]


def test_stages_of_a_pipeline_share_the_factors_of_the_one_that_sends_most() -> None:
    first = Iteration((Compute("forward", 3), message("send", 20_000), *reductions(40_000, compute_s=0).ops[1:]))
    last = reductions(40_000, compute_s=5)
    # natively 60,000 and 40,000 s; 8 hosts, 4 a stage: of 40,000 bytes a third are to be sent in the message and two
    # thirds in the reduction, 1.5 times its size
    found = scale([first, last], native(), emulation(hosts=8, sent_bytes=40_000))
    assert (found.stage, found.emulated.ranks) == (0, 4)
    assert found.bytes_factors == {MESSAGE: pytest.approx(2 / 3), REDUCTION: pytest.approx(4 / 9)}
    assert [op.size_bytes for op in found.iterations[0].communications] == [13_332, 17_776]
    assert [op.size_bytes for op in found.iterations[1].communications] == [17_776]
    assert found.iterations[1].compute_s / found.iterations[0].compute_s == pytest.approx(5 / 3)
    assert found.native.rho == pytest.approx(20_000) == pytest.approx(found.emulated.rho)


# -- the mix ---------------------------------------------------------------------------------------------------


def shares(iteration: Iteration, seconds_of: SecondsOf) -> dict[Group, float]:
    """Fraction of the communication time of each kind of groups."""
    found = {group: sum(seconds_of(op) for op in iteration.communications if op.group == group) for group in GROUPS}
    return {group: seconds / sum(found.values()) for group, seconds in found.items() if seconds}


def test_a_pipeline_beside_data_parallelism_keeps_its_share() -> None:
    """Eight ranks of a node hand on activations through its NIC, and reduce gradients in one ring.

    With one factor for all bytes the 9.9% of the pipeline were 1.4%.
    """
    layout = Layout(pipeline=2, data=16, global_batch=128, nics_per_node=1)
    hardware = Hardware(accelerator=A100, mfu=0.45, nic_mbps=200_000)
    stages, before = build_stages(LLAMA2_13B, layout, hardware), Native.of(layout, hardware)
    asked = emulation(sent_bytes=60_000_000)
    natively = {"pp": pytest.approx(0.0991, abs=5e-5), "dp": pytest.approx(0.9009, abs=5e-5)}
    assert shares(stages[0], before.seconds_of) == natively
    assert shares(stages[0], emulated_seconds(asked, 8))["pp"] == pytest.approx(0.0145, abs=5e-5)  # sizes unscaled
    found = scale(stages, before, asked)
    for iteration in found.iterations:
        assert shares(iteration, emulated_seconds(asked, 8)) == natively
    assert (found.native.share("pp"), found.emulated.share("pp")) == (natively["pp"], natively["pp"])


def test_all_to_alls_of_experts_keep_their_share() -> None:
    layout = Layout(data=16, expert=8, global_batch=16, gpus_per_node=4, nics_per_node=4)
    hardware = Hardware(accelerator=A100, mfu=0.45, nic_mbps=200_000)
    stages, before = build_stages(MIXTRAL_8X7B, layout, hardware), Native.of(layout, hardware)
    asked = emulation(sent_bytes=200_000_000)
    found = scale(stages, before, asked)
    assert shares(stages[0], before.seconds_of) == pytest.approx(
        shares(found.iterations[0], emulated_seconds(asked, 16)), rel=1e-3
    )
    assert set(found.bytes_factors) == {
        Kind("all_to_all", "ep"), Kind("allreduce", "dp"), Kind("allreduce", "dp_ep")
    }  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(jobs(), st.sampled_from([2, 3, 8]), st.floats(0.01, 1000))
def test_every_kind_of_groups_keeps_its_share_and_everything_takes_the_same_multiple(
    job: Drawn, group_hosts: int, nic_mbps: float
) -> None:
    hosts = group_hosts * job.layout.pipeline
    before = Native.of(job.layout, UNIT.model_copy(update={"nic_mbps": nic_mbps}))
    asked = emulation(hosts=hosts, link_mbps=100_000, sent_bytes=500_000_000, mtu_bytes=576)
    try:
        found = scale(job.stages, before, asked)
    except Mistakes as error:
        wrong = str(error)  # nothing on the fabric, or a kind that is next to nothing beside the others
        assert "no operation uses the fabric" in wrong or "less than a frame" in wrong or "3600 s" in wrong
        return
    after = emulated_seconds(asked, group_hosts)
    for native_stage, stage in zip(job.stages, found.iterations, strict=True):
        if native_stage.communications:
            assert shares(stage, after) == pytest.approx(shares(native_stage, before.seconds_of), rel=1e-3, abs=1e-6)
        assert stage.compute_s == pytest.approx(found.seconds_factor * native_stage.compute_s)
        assert play(stage, after).duration_s == pytest.approx(
            found.seconds_factor * play(native_stage, before.seconds_of).duration_s, rel=1e-3
        )
    assert found.emulated.rho == pytest.approx(found.native.rho, rel=1e-9)
    assert found.emulated.sent_bytes == pytest.approx(asked.sent_bytes, rel=1e-3)
    # all ranks together, natively and as hosts, whose messages still agree
    natively = execute(Job.of(job.layout, job.stages), before.seconds_of)
    emulated = execute(Job.emulated(found.iterations, hosts), after)
    assert emulated.duration_s == pytest.approx(found.seconds_factor * natively.duration_s, rel=1e-3)


@pytest.mark.parametrize("hosts", [2, 4])
def test_collectives_of_several_stages_are_refused(hosts: int) -> None:
    """AICB's initialisation of a pipeline has some; the groups of hosts are within a stage."""
    stage = Iteration((Compute("f", 1), Communicate("init", "allreduce", "pp", 80_000)))
    with pytest.raises(Mistakes) as caught:
        scale([stage, stage], native(), emulation(hosts=hosts))
    assert caught.value.mistakes == [
        "2 allreduce (pp), the first in stage 0 of 80000 bytes: hosts have no groups of several stages; expected "
        "messages alone in pp"
    ]


def test_a_stage_that_only_receives_sends_nothing_and_is_scaled_with_the_others() -> None:
    first, last = (Iteration((Compute("f", 2), message(operation, 50_000))) for operation in ("send", "recv"))
    found = scale([first, last], Native(sent_seconds, 1, 1), emulation(hosts=2, sent_bytes=20_000))
    assert [stage.communications[0].size_bytes for stage in found.iterations] == [20_000, 20_000]
    assert found.iterations[1].compute_s == pytest.approx(2 * found.seconds_factor)


def test_a_stage_without_communication_is_scaled_with_the_others() -> None:
    found = scale([Iteration((Compute("f", 2),)), reductions(80_000)], native(), emulation(hosts=4, sent_bytes=40_000))
    assert (found.stage, found.iterations[0].communications) == (1, ())
    assert found.iterations[0].compute_s == pytest.approx(2 * found.seconds_factor)


def test_communication_alone_is_scaled_and_has_no_rho() -> None:
    found = scale([reductions(80_000, compute_s=0)], native(), emulation(hosts=4, sent_bytes=60_000))
    assert found.iterations[0].communications[0].size_bytes == 40_000
    assert (found.native.rho, found.emulated.rho) == (math.inf, math.inf)


def sent_seconds(op: Communicate) -> float:
    return 0.0 if op.operation == "recv" or op.group == "tp" else float(op.size_bytes)


def test_what_natively_takes_no_time_is_said_with_its_place() -> None:
    """There is no size that would take a multiple of nothing."""
    stages = [
        Iteration((Compute("f", 1), *reductions(80_000).ops)),
        Iteration((Compute("f", 1), *[Communicate("f", "allreduce", "tp", 4000)] * 2, message("recv", 2000))),
    ]
    with pytest.raises(Mistakes) as caught:
        scale(stages, Native(sent_seconds, 4, 1), emulation())
    assert caught.value.mistakes == [
        "2 allreduce (tp), the first in stage 1 of 4000 bytes: natively no NIC sends for it; expected it in local",
        "1 recv (pp), the first in stage 1 of 2000 bytes: no stage sends; expected the sends, too, or these in local",
    ]


# -- rho -------------------------------------------------------------------------------------------------------


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
        "no computation in stage 1, 2; expected some, as in the others, or none in any",
    ]
    with pytest.raises(Mistakes, match="expected at least two a stage"):
        scale([reductions(100_000)] * 2, native(), emulation(hosts=2))
    with pytest.raises(Mistakes, match="no iterations"):
        scale([], native(), emulation())
