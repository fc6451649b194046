"""The numbers of a run that sweeps list and ``gse compare`` tests: name, words, where in summary.json, which way is up.

One table for both, so that a number has one name and is taken from one place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from testbed.evaluation.crossflows import ALL
from testbed.model.schemes import SETTINGS
from testbed.views.comparison import Entry

PROBES_PASS: Final = "probes pass the bulk"
PROBES_SHARE: Final = "probes share the bulk's queues"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number every run may have; ``key`` names it in JSON and options, ``keys`` is where a summary has it.

    ``is_compared``: not those that say what another one says (bandwidth: completion time) nor those a verdict judges,
    for every row more makes ``gse compare`` less sharp. ``told_by``: the quantity that says the same wherever two sets
    have the same ideal time. ``of``: what the number of a run is a number of, in words: those of something else are
    not alike, and their ratio is of what was counted, not of what happened.
    """

    key: str
    label: str
    keys: tuple[str, ...]
    more_is_better: bool = False
    is_count: bool = False
    is_compared: bool = True
    told_by: str | None = None
    of: Callable[[Entry], str] | None = None

    def number(self, entry: Entry) -> float | None:
        """Return what the run measured."""
        return entry.number(*self.keys)

    def basis(self, entry: Entry) -> str:
        """Return what that number is a number of; empty where all are alike."""
        return "" if self.of is None else self.of(entry)


def _iterations(entry: Entry) -> str:
    work = entry.run.scenario.workload
    several = f"{work.iterations} iteration{'' if work.iterations == 1 else 's'}"
    return several if work.mice_only_s is None else f"{several} of {work.mice_only_s:g} s"


def _sum(entry: Entry) -> str:
    """Say over how much a count is summed: twice the iterations have twice the drops."""
    return f"a sum over {_iterations(entry)}"


def _largest(entry: Entry) -> str:
    """Say of how many samples a number is the largest: of more it is larger."""
    return f"the largest of {_iterations(entry)}, sampled every {entry.run.scenario.measure.sample_interval_s:g} s"


def _place_of_probes(entry: Entry) -> str:
    """Say where probes wait: with grants in queues of their own, which no bulk is in; else behind the bulk.

    The scheme alone decides: nobody marks probes, so that ``fabric.priority_band`` does nothing to them.
    """
    return PROBES_PASS if SETTINGS[entry.scheme].grants else PROBES_SHARE


GSP: Final = ("details", "cpu", "roles", "gsp", "run_cores")
SWITCHES: Final = ("details", "cpu", "roles", "vswitchd", "run_cores")
SWITCH_WAIT: Final = ("details", "cpu", "switch_thread", "wait_fraction")
STEAL: Final = ("details", "cpu", "machine", "steal_fraction")
LINK_RATES: Final = ("details", "link_rates")
RATIO: Final = (*LINK_RATES, "worst", "ratio")
STALL_S: Final = (*LINK_RATES, "longest_stall", "longest_stall_s")
LOOKUPS: Final = ("details", "lookups")
EXPLAINED_MS: Final = ("details", "probe_delay", "explained_high_p50_ms")
UNEXPLAINED_MS: Final = ("details", "probe_delay", "unexplained_p50_ms")
QUANTITIES: Final = (
    Quantity("completion_s", "completion time, s", ("completion_s",)),
    Quantity("first_job_s", "  of the first job, s", ("jobs", "first_s")),
    Quantity("efficiency", "efficiency", ("efficiency",), more_is_better=True, told_by="completion_s"),
    Quantity("algbw_mbps", "algbw, Mbit/s", ("algbw_mbps",), more_is_better=True, is_compared=False),
    Quantity("busbw_mbps", "busbw, Mbit/s", ("busbw_mbps",), more_is_better=True, is_compared=False),
    Quantity("wrong_elements", "wrong elements", ("wrong_elements",), is_count=True, is_compared=False),
    Quantity("host_bytes_off", "bytes off the formula, share", ("host_bytes_off",), is_compared=False),
    Quantity("fairness", "fairness of pairs (Jain)", ("fairness",), more_is_better=True),
    Quantity("receiver_utilization", "receiver's link used", ("receiver_utilization",), more_is_better=True),
    Quantity("uplink_max_over_mean", "uplinks, max/mean", ("uplink_max_over_mean",)),
    Quantity("exposed_share", "exposed communication, share", ("training", "exposed_share")),
    Quantity("latency_p50_ms", "latency p50, ms", ("latency_ms", "p50"), of=_place_of_probes),
    Quantity("latency_p99_ms", "latency p99, ms", ("latency_ms", "p99"), of=_place_of_probes),
    Quantity("mice_latency_p50_ms", "small messages p50, ms", ("mice_latency_ms", "p50")),
    Quantity("mice_latency_p99_ms", "small messages p99, ms", ("mice_latency_ms", "p99")),
    Quantity("flow_slowdown_p50", "slowdown of Poisson flows p50", ("flow_times", ALL, "slowdown_p50")),
    Quantity("flow_slowdown_p99", "slowdown of Poisson flows p99", ("flow_times", ALL, "slowdown_p99")),
    Quantity("host_queue_max_bytes", "largest queue to a host, bytes", ("queue_max_bytes", "host_rx"), of=_largest),
    Quantity("uplink_queue_max_bytes", "largest queue of an uplink, bytes", ("queue_max_bytes", "uplink"), of=_largest),
    Quantity(
        "downlink_queue_max_bytes", "largest queue of a downlink, bytes", ("queue_max_bytes", "downlink"), of=_largest
    ),
    Quantity("dropped_packets", "packets dropped", ("dropped_packets",), is_count=True, of=_sum),
    Quantity("retransmitted_segments", "segments resent", ("retransmitted_segments",), is_count=True, of=_sum),
    Quantity("out_of_order_packets", "packets out of order", ("out_of_order_packets",), is_count=True, of=_sum),
    Quantity("outage_ms", "outage, ms", ("outage_ms",)),
    Quantity("recovery_ms", "recovery, ms", ("recovery_ms",)),
    Quantity("local_recovery_ms", "  at the failure's own leaf, ms", ("local_recovery_ms",)),
    Quantity("dgsq_wait_p50_ms", "wait at its source p50, ms", ("dgsq_wait_ms", "p50")),
    Quantity("dgsq_wait_p99_ms", "wait at its source p99, ms", ("dgsq_wait_ms", "p99")),
    Quantity("agents_dropped", "frames dropped by agents", ("agents", "dropped"), is_count=True, of=_sum),
    Quantity(
        "agents_lost", "frames lost between agents", ("agents", "lost_in_fabric"), is_count=True, is_compared=False
    ),
    Quantity("agents_resent", "frames resent by agents", ("agents", "retransmitted"), is_count=True, of=_sum),
    Quantity("control_fraction", "control frames, share", ("control_fraction",)),
    Quantity("scheduling_fraction", "  without hellos, share", ("scheduling_fraction",), is_compared=False),
    Quantity("agent_cpu_us_per_frame", "agents, µs per host frame", ("agent_cpu_us_per_frame",)),
    Quantity("agent_cores", "agents' processors", GSP, is_compared=False),
    Quantity("switch_cores", "switches' processors", SWITCHES),
    # How well the machine kept up: verdicts judge it (testbed/views/kept_up.py has it beside the limits).
    Quantity("link_rate_ratio", "worst link's rate over its nominal", RATIO, is_compared=False),
    Quantity("link_stall_s", "longest pause of a link, s", STALL_S, is_compared=False),
    Quantity("upcalls", "packets without a rule", (*LOOKUPS, "missed"), is_count=True, is_compared=False),
    Quantity("upcalls_lost", "  lost by the switches", (*LOOKUPS, "lost"), is_count=True, is_compared=False),
    Quantity("probe_explained_p50_ms", "probes, explained p50, ms", EXPLAINED_MS, is_compared=False),
    Quantity("probe_unexplained_p50_ms", "probes, not explained p50, ms", UNEXPLAINED_MS, is_compared=False),
    Quantity("switch_wait_fraction", "switching thread waiting, share", SWITCH_WAIT, is_compared=False),
    Quantity("agents_wait_fraction", "agents waiting, of ready time", ("agents_wait_fraction",), is_compared=False),
    Quantity("steal_fraction", "stolen by a hypervisor, share", STEAL, is_compared=False),
)
COMPARED: Final = tuple(one for one in QUANTITIES if one.is_compared)
