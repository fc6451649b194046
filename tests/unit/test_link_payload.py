"""What counters of links say of the workload: against its formula on made-up runs, with GSE's own bytes taken off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.collectives.collective import NAMES
from testbed.evaluation.metrics import measure
from testbed.evaluation.payload import gse_bytes, host_payload, worst_excess
from testbed.evaluation.records import RunRecord
from testbed.gse.dataplane.wire import MIN_FRAME_BYTES, OVERHEAD_BYTES
from tests.unit.synthetic_runs import healthy, scenario_of, with_rows


def with_agents(run: RunRecord, scheme: str, *, data: int, control: int) -> RunRecord:
    said = {"event": "agents", "t_s": 9.0, "data_out": data, "control_out": control}
    return replace(run, scheme=scheme, events=(*run.events, said))


@pytest.mark.parametrize("name", [name for name in NAMES if "/" in name])
@pytest.mark.parametrize("placement", ["cross_leaf", "leaf_local"])
def test_every_host_is_brought_what_its_rank_receives(name: str, placement: str) -> None:
    work = {"kind": "collective", "collective": name, "placement": placement, "size_bytes": 300_004}
    run = healthy(scenario_of(workload=work))
    found = {one.host: one for one in host_payload(run)}
    for one in found.values():
        assert one.counted_bytes == pytest.approx(one.expected_bytes, rel=0.001)
    collective = run.scenario.collective
    assert collective is not None
    received = [0] * 4
    for transfer in collective.program(4, 300_004).transfers:
        received[transfer.dst] += 2 * (transfer.end_byte - transfer.start_byte)  # two iterations
    assert sorted(one.expected_bytes for one in found.values()) == sorted(size for size in received if size)
    worst = worst_excess(run, measure(run))
    assert worst is not None and worst[1] < 0.001


def test_a_link_that_was_not_sampled_says_nothing() -> None:
    run = healthy(scenario_of())
    rows = [row for row in run.tables.links if row.intf != "l1-eth1"]
    assert worst_excess(with_rows(run, links=rows), measure(run)) is None


def test_agents_of_hosts_count_frames_that_no_uplink_sees() -> None:
    """In a ring filled leaf by leaf on 2x2x2 two of four hops cross."""
    overhead = 66
    local = healthy(scenario_of(workload={"placement": "leaf_local"}))
    of_hosts = with_agents(local, "gse2-e2e", data=1000, control=300)
    assert gse_bytes(of_hosts, 600) == 500 * OVERHEAD_BYTES + 100 * (MIN_FRAME_BYTES - overhead)
    of_leaves = with_agents(local, "gse2-n2n", data=500, control=300)
    assert gse_bytes(of_leaves, 600) == gse_bytes(of_hosts, 600)
    crossing = with_agents(healthy(scenario_of()), "gse2-e2e", data=500, control=300)
    assert gse_bytes(crossing, 600) == gse_bytes(of_hosts, 600)
    assert gse_bytes(with_agents(local, "ecmp-agents", data=500, control=0), 600) == 0
    assert gse_bytes(local, 600) == 0
