"""How well the machine kept up with runs: what checks of pace and loss looked at, beside the limits they judge by.

A verdict says whether a limit was passed, these tables how far from it a run was. What was not measured is a dash, and
so is what cannot be known of a run: the rate of links for which no frame waited, the delay of probes that agents carry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from testbed.fidelity.delays import allowed_ms
from testbed.fidelity.pace import foreign_cores, lateness_of_samples
from testbed.fidelity.verdict import THRESHOLDS
from testbed.views.cells import NOT_MEASURED, Grid
from testbed.views.comparison import Comparison, Entry, left_out_text
from testbed.views.quantities import (
    EXPLAINED_MS,
    LINK_RATES,
    LOOKUPS,
    RATIO,
    STALL_S,
    STEAL,
    SWITCH_WAIT,
    UNEXPLAINED_MS,
)

TITLE: Final = "How well the machine kept up"
NEVER: Final = "never"
CPU: Final = ("details", "cpu")
NOTES: Final = (
    "median of a scheme's runs that are not INVALID, in brackets the worst of them; limits are those of checks that "
    "judge each run (docs/results-format.md); -: not measured, or nothing to be known by it",
    "links: of those that frames waited for long enough; probes: not where agents carry them, nor with faults, delay, "
    "loss or strict bands",
)


@dataclass(frozen=True, slots=True)
class Pace:
    """One thing a check looked at, in its unit; ``check``: whose limits stand beside it, None: nobody's.

    ``worst`` of several runs. ``header`` of its column in tables of sweeps, where it has one. ``is_agents``: left out
    where no run has it, for then there are none.
    """

    label: str
    value: Callable[[Entry], float | None]
    text: Callable[[float], str]
    check: str | None = None
    worst: Callable[[Sequence[float]], float] = max
    header: str = ""
    is_agents: bool = False


def percent(share: float) -> str:
    """Return a share as these tables show it."""
    return f"{share * 100:.3g}%"


def milliseconds(seconds: float) -> str:
    """Return seconds as these tables show them, in ms."""
    return plain(seconds * 1000)


def plain(value: float) -> str:
    """Return a number to three digits, none of them lost before the point."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _rate_off(entry: Entry) -> float | None:
    ratio = entry.number(*RATIO)
    return None if ratio is None else abs(ratio - 1)


def _told(entry: Entry) -> float | None:
    return _share(entry.number(*LINK_RATES, "told"), entry.number(*LINK_RATES, "links"))


def _asked(entry: Entry) -> float | None:
    return _share(entry.number(*LOOKUPS, "missed"), _looked_up(entry))


def _lost(entry: Entry) -> float | None:
    return _share(entry.number(*LOOKUPS, "lost"), _looked_up(entry))


def _looked_up(entry: Entry) -> float | None:
    hit, missed = (entry.number(*LOOKUPS, name) for name in ("hit", "missed"))
    return None if hit is None or missed is None else hit + missed


def _unexplained_s(entry: Entry) -> float | None:
    value_ms = entry.number(*UNEXPLAINED_MS)
    return None if value_ms is None else value_ms / 1000


def _unexplained_of_allowed(entry: Entry) -> float | None:
    value_ms, explained_ms = (entry.number(*keys) for keys in (UNEXPLAINED_MS, EXPLAINED_MS))
    if value_ms is None or explained_ms is None:
        return None
    return value_ms / allowed_ms(entry.run.scenario.fabric, explained_ms)


def _number(*keys: str) -> Callable[[Entry], float | None]:
    return lambda entry: entry.number(*keys)


def _busy_cores(entry: Entry) -> float | None:
    idle = entry.number(*CPU, "machine", "idle_fraction")
    return None if idle is None else 1 - idle


def _foreign_cores(entry: Entry) -> float | None:
    """Return what programs outside the run used; 0 where that is less than can be told."""
    busy = entry.numbers(*CPU, "machine", "busy_fractions")
    running = [entry.number(*CPU, "roles", role, "run_cores") for role in entry.names(*CPU, "roles")]
    switching: tuple[float, ...] | None = ()
    network = entry.run.manifest.get("network")
    if isinstance(network, Mapping) and network.get("datapath") == "kernel":
        switching = entry.numbers(*CPU, "machine", "interrupt_fractions")
    known = [cores for cores in running if cores is not None]
    if busy is None or switching is None or not known or len(known) < len(running):
        return None
    return max(foreign_cores(busy, switching, known), 0.0)


def _samples_late(entry: Entry) -> float | None:
    told = (event for event in entry.run.manifest["events"] if event["event"] == "sampler_stopped")
    return lateness_of_samples(told, entry.run.scenario.measure.sample_interval_s)


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


PACES: Final = (
    Pace("worst link's rate, off its nominal one", _rate_off, percent, "link_rate", header="link\noff"),
    Pace("  links whose rate is known, of all", _told, percent, worst=min),
    Pace(
        "longest pause of a link that frames waited for, ms",
        _number(*STALL_S),
        milliseconds,
        "link_stall",
        header="pause\nms",
    ),
    Pace("packets without a rule (upcalls), of all looked up", _asked, percent),
    Pace("  lost, for no switch answered", _lost, percent, "upcalls_lost", header="upcalls\nlost"),
    Pace(
        "packets cores dropped (softnet), of this run or of others",
        _number("details", "softnet", "dropped"),
        plain,
        "softnet_drops",
    ),
    Pace("probes' delay beyond what queues explain, p50, ms", _unexplained_s, milliseconds),
    Pace("  over what is allowed of it", _unexplained_of_allowed, plain, "probe_delay", header="probes\nshare"),
    Pace(
        "switching thread, waiting for a core",
        _number(*SWITCH_WAIT),
        percent,
        "switch_wait",
        header="switch\nwait",
    ),
    Pace("  running", _number(*CPU, "switch_thread", "run_fraction"), percent, "switch_core"),
    Pace(
        "agents, waiting for a core, of their ready time",
        _number("agents_wait_fraction"),
        percent,
        "agents_wait",
        header="agents\nwait",
        is_agents=True,
    ),
    Pace(
        "  their timers late, p99, ms",
        _number("agents", "timers_late_ms", "p99"),
        plain,
        is_agents=True,
    ),
    Pace(
        "busiest agent's thread, running",
        _number(*CPU, "agent_thread", "run_fraction"),
        percent,
        "agent_core",
        is_agents=True,
    ),
    Pace("rank that waited most for a core", _number(*CPU, "waiting_rank", "wait_fraction"), percent, "rank_wait"),
    Pace("busiest rank's thread, running", _number(*CPU, "rank_thread", "run_fraction"), percent, "rank_core"),
    Pace("all cores, busy", _busy_cores, percent, "busy_cores"),
    Pace(
        "time a hypervisor took (steal)",
        _number(*STEAL),
        percent,
        "steal",
        header="steal",
    ),
    Pace("cores used by programs outside the run", _foreign_cores, plain, "foreign_load"),
    Pace("samples late (p99), of their interval", _samples_late, percent, "sampler_lateness"),
)
SWEPT: Final = tuple(pace for pace in PACES if pace.header)


def kept_up_grid(comparison: Comparison) -> Grid:
    """Return one line for each thing that checks look at: the runs of each scheme, and the limits."""
    shown = shown_of(PACES, comparison.entries)
    left_out = left_out_text(comparison)
    return Grid(
        title=TITLE,
        headers=("", *comparison.schemes, "SUSPECT above", "INVALID above"),
        rows=tuple(
            (pace.label, *(_cell(pace, comparison.of(scheme)) for scheme in comparison.schemes), *_limits(pace))
            for pace in shown
        ),
        notes=(*NOTES, *([left_out] if left_out else [])),
    )


def shown_of(paces: Sequence[Pace], entries: Sequence[Entry]) -> list[Pace]:
    """Return those that runs may have: without agents nothing of these."""
    return [pace for pace in paces if not pace.is_agents or any(pace.value(entry) is not None for entry in entries)]


def worst_text(pace: Pace, entries: Sequence[Entry]) -> str:
    """Return the worst of runs; a dash where none has it."""
    found = [value for entry in entries if (value := pace.value(entry)) is not None]
    return pace.text(pace.worst(found)) if found else NOT_MEASURED


def limits_text(paces: Sequence[Pace]) -> str:
    """Return the limits of tables whose columns are these, in a line."""
    told = (f"{' '.join(pace.header.split())} {', '.join(_limits(pace))}" for pace in paces if pace.check is not None)
    return f"SUSPECT, INVALID above: {'; '.join(told)}"


def _cell(pace: Pace, entries: Sequence[Entry]) -> str:
    """Return the median of runs and the worst of them, and how many have it where others have not."""
    found = [value for entry in entries if (value := pace.value(entry)) is not None]
    if not found:
        return NOT_MEASURED
    middle, worst = pace.text(median(found)), pace.text(pace.worst(found))
    text = middle if middle == worst else f"{middle} ({worst})"
    return text if len(found) == len(entries) else f"{text} in {len(found)} of {len(entries)} runs"


def _limits(pace: Pace) -> tuple[str, str]:
    """Return the limits of its check as the values are shown; nothing where no check asks."""
    if pace.check is None:
        return "", ""
    threshold = THRESHOLDS[pace.check]
    suspect, invalid = (
        NEVER if limit is None else pace.text(limit) for limit in (threshold.suspect, threshold.invalid)
    )
    return suspect, invalid
