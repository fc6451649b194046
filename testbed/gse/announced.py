"""From a job's announced flows to requests for placement. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from testbed.errors import InputError, Problem
from testbed.gse.fractions import ExpectedLoad
from testbed.gse.policy import flow_text
from testbed.model.ranks import Flow
from testbed.model.topology import Topology


def announcement_problems(
    topology: Topology, job: str, flows: Sequence[Flow], owners: Mapping[tuple[str, str, int, int, int], str]
) -> list[Problem]:
    """Return what is wrong with an announcement; ``owners`` says which job has announced which flow already."""
    where = f"announcement of job {job}"
    problems = [] if flows else [Problem("announces no flows", where, "an empty list", "at least one flow")]
    seen = set()
    for flow in flows:
        for name, address in (("source", flow.src_ip), ("destination", flow.dst_ip)):
            if topology.host_by_ip(address) is None:
                problems.append(Problem(f"{name} is no host of this fabric", where, address, "an address of a host"))
        if flow.demand_bytes < 0:
            problems.append(Problem("negative demand", where, f"{flow.demand_bytes} B", ">= 0 bytes"))
        if flow.key in seen:
            problems.append(Problem("flow announced twice", where, flow_text(flow), "each flow once"))
        owner = owners.get(flow.key)
        if owner is not None and owner != job:
            problems.append(
                Problem("flow belongs to another job", where, f"{flow_text(flow)} of {owner}", "a free flow")
            )
        seen.add(flow.key)
    return problems


def check_announcement(
    topology: Topology, job: str, flows: Sequence[Flow], owners: Mapping[tuple[str, str, int, int, int], str]
) -> None:
    """Raise InputError with everything that is wrong with an announcement."""
    problems = announcement_problems(topology, job, flows, owners)
    if problems:
        raise InputError(problems)


def flow_owners(jobs: Mapping[str, Sequence[Flow]]) -> dict[tuple[str, str, int, int, int], str]:
    """Return which job has announced which flow."""
    return {flow.key: job for job, flows in jobs.items() for flow in flows}


def check_known(job: str, jobs: Mapping[str, Sequence[Flow]]) -> None:
    """Raise InputError when no such job is announced."""
    if job not in jobs:
        known = ", ".join(sorted(jobs)) or "no job is announced"
        raise InputError(Problem("unknown job", "withdraw", job, known))


def expected_fractions(topology: Topology, flows: Sequence[Flow]) -> list[ExpectedLoad]:
    """Return for each flow the fraction of a leaf-spine link it can be expected to want while it sends.

    A host's link is shared by its flows in proportion to their demands, at the sending and at the receiving
    end; the tighter end counts. Flows without a stated demand count as the mean of the others (all unknown: equal).
    """
    known = [flow.demand_bytes for flow in flows if flow.demand_bytes > 0]
    typical = sum(known) / len(known) if known else 1.0
    demands = [flow.demand_bytes or typical for flow in flows]
    sent: dict[str, float] = defaultdict(float)
    received: dict[str, float] = defaultdict(float)
    for flow, demand in zip(flows, demands, strict=True):
        sent[flow.src_ip] += demand
        received[flow.dst_ip] += demand
    ratio = topology.fabric.host_link_mbps / topology.fabric.uplink_mbps
    return [
        ExpectedLoad(min(1.0, ratio * demand / max(sent[flow.src_ip], received[flow.dst_ip])))
        for flow, demand in zip(flows, demands, strict=True)
    ]
