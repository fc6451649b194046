"""The largest backlog that was sampled, by kind of link."""

from __future__ import annotations

from dataclasses import replace

from synthetic_runs import healthy, scenario_of, with_rows

from testbed.evaluation.queues import largest_backlogs


def test_largest_backlog_is_that_of_measured_iterations_and_of_its_kind_of_link() -> None:
    run = healthy(scenario_of())
    topology = run.topology
    during = [(row.start_s, row.end_s) for row in run.tables.iterations if not row.warmup]
    intf = {
        kind: next(one.src.intf for one in topology.directions if one.kind == kind) for kind in ("uplink", "host_rx")
    }

    def backlog(name: str, t_s: float) -> int:
        inside = any(start <= t_s <= end for start, end in during)
        if name == intf["host_rx"]:
            return 7000 if inside else 90_000  # more before and after does not count
        return 3000 if name == intf["uplink"] and inside else 100

    rows = tuple(replace(row, backlog_bytes=backlog(row.intf, row.t_s)) for row in run.tables.queues)
    assert largest_backlogs(with_rows(run, queues=rows)) == {"uplink": 3000, "downlink": 100, "host_rx": 7000}


def test_queues_that_were_not_sampled_have_no_backlog() -> None:
    run = healthy(scenario_of())
    gone = next(one.src.intf for one in run.topology.directions if one.kind == "downlink")
    rows = tuple(row for row in run.tables.queues if row.intf != gone)
    found = largest_backlogs(with_rows(run, queues=rows))
    assert found["downlink"] is None
    assert found["uplink"] is not None
    assert set(largest_backlogs(with_rows(run, queues=())).values()) == {None}
