"""What the run cost the machine: run time and waiting of its threads, idle time of its cores. Pure.

Verdicts rest on schedstat (nanoseconds per thread). /proc/stat counts ticks and is coarse, but is the only
one that sees what other programs on the machine took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from testbed.evaluation.during import During
from testbed.evaluation.metrics import measured, windows
from testbed.evaluation.records import CpuRow, RunRecord, ThreadRow
from testbed.evaluation.series import Series, Window, collect, total

SWITCH_ROLE = "vswitchd"
AGENT_ROLE = "gsp"
RANK_ROLE = "rank"
_INTERRUPT = ("irq_s", "softirq_s")
_BUSY = ("user_s", "system_s", *_INTERRUPT, "steal_s")
_IDLE = ("idle_s", "iowait_s")
_STATES = (*_BUSY, *_IDLE)
STEP_BACK = 0.01  # of what a core was busy: by more its idle time does not step back, it was counted anew


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleUsage:
    """CPU of all threads of a role, in cores (1.0: one core all the time): running, and waiting for a core."""

    run_cores: float
    wait_cores: float

    @property
    def wait_share(self) -> float | None:
        """Share of the time its threads were ready that they waited; None: they never were."""
        ready = self.run_cores + self.wait_cores
        return self.wait_cores / ready if ready else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadUsage:
    """One thread: fractions of the time it ran and waited for a core."""

    name: str
    run_fraction: float
    wait_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineUsage:
    """The machine's cores: busy fraction of each (interrupt work too), idle and stolen fraction of all together."""

    busy_fractions: tuple[float, ...]
    interrupt_fractions: tuple[float, ...]
    idle_fraction: float
    steal_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """CPU while what was measured went on; None: not sampled, or no thread does that (``switch_thread``: the kernel).

    ``agent_thread`` and ``rank_thread`` are those of all agents and ranks that ran most; ``waiting_rank`` is the rank's
    that waited most.
    """

    roles: dict[str, RoleUsage]
    switch_thread: ThreadUsage | None
    machine: MachineUsage | None
    agent_thread: ThreadUsage | None
    rank_thread: ThreadUsage | None
    waiting_rank: ThreadUsage | None


def usage(run: RunRecord) -> Usage:
    """Compute what the run cost over its measured iterations."""
    return usage_during(run, windows(measured(run.tables.iterations)))


def usage_during(run: RunRecord, during: Sequence[Window]) -> Usage:
    """Compute what the run cost in some windows."""
    during = During.of(during)
    return Usage(
        roles=role_usage(run.tables.threads, during),
        # The kernel's datapath works in interrupts, on whichever core a frame is sent or a queue's timer fires.
        switch_thread=None if run.switched_by_kernel else busiest_thread(run.tables.threads, during, SWITCH_ROLE),
        machine=machine_usage(run.tables.cpu, during),
        agent_thread=busiest_thread(run.tables.threads, during, AGENT_ROLE),
        rank_thread=busiest_thread(run.tables.threads, during, RANK_ROLE),
        waiting_rank=busiest_thread(run.tables.threads, during, RANK_ROLE, by="wait_s"),
    )


def role_usage(threads: Sequence[ThreadRow], during: Sequence[Window]) -> dict[str, RoleUsage]:
    """Return role -> usage, sorted by role. A thread that came or went counts for the time it was seen."""
    seconds = sum(end - start for start, end in during)
    if not seconds:
        return {}
    inside, roles = During.of(during), {(row.pid, row.tid): row.role for row in threads}
    running, waiting = _thread_series(threads, "run_s"), _thread_series(threads, "wait_s")
    members: dict[str, list[tuple[int, int]]] = {}
    for key, role in roles.items():
        members.setdefault(role, []).append(key)
    return {
        role: RoleUsage(
            run_cores=sum(running[key].clamped(inside) for key in members[role]) / seconds,
            wait_cores=sum(waiting[key].clamped(inside) for key in members[role]) / seconds,
        )
        for role in sorted(members)
    }


def busiest_thread(
    threads: Sequence[ThreadRow], during: Sequence[Window], role: str, *, by: Literal["run_s", "wait_s"] = "run_s"
) -> ThreadUsage | None:
    """Return the thread of ``role`` that ran most, which fills its core first, or that waited most."""
    seconds = sum(end - start for start, end in during)
    own = [row for row in threads if row.role == role]
    names = {(row.pid, row.tid): row.name for row in own}
    if not names or not seconds:
        return None
    inside, running, waiting = During.of(during), _thread_series(own, "run_s"), _thread_series(own, "wait_s")
    most = running if by == "run_s" else waiting
    busiest = max(names, key=lambda key: most[key].clamped(inside))
    return ThreadUsage(
        name=names[busiest],
        run_fraction=running[busiest].clamped(inside) / seconds,
        wait_fraction=waiting[busiest].clamped(inside) / seconds,
    )


def machine_usage(cpu: Sequence[CpuRow], during: Sequence[Window]) -> MachineUsage | None:
    """Return how busy the cores were, None when the samples do not cover ``during``, or a core was counted anew."""
    inside = During.of(during)
    spent = {state: _core_seconds(cpu, inside, state) for state in _STATES}
    cores = sorted({row.core for row in cpu})
    everything = total(value for state in _STATES for value in spent[state].values())
    if not cores or not everything:
        return None
    seconds = {state: {core: value or 0.0 for core, value in spent[state].items()} for state in _STATES}
    for core in cores:
        idle, busy = (sum(seconds[state][core] for state in states) for states in (_IDLE, _BUSY))
        if idle < -STEP_BACK * busy:
            return None

    def fraction(core: int, states: Sequence[str]) -> float:
        whole = sum(seconds[state][core] for state in _STATES)
        return sum(seconds[state][core] for state in states) / whole if whole else 0.0

    return MachineUsage(
        busy_fractions=tuple(fraction(core, _BUSY) for core in cores),
        interrupt_fractions=tuple(fraction(core, _INTERRUPT) for core in cores),
        idle_fraction=max(sum(seconds[state][core] for state in _IDLE for core in cores) / everything, 0.0),
        steal_fraction=sum(seconds["steal_s"].values()) / everything,
    )


def _core_seconds(cpu: Sequence[CpuRow], during: During, state: str) -> dict[int, float | None]:
    """Return core -> seconds in a state, None where it was counted anew.

    Idle time is no mere counter: the kernel's iowait is known to step back a little.
    """
    series = collect(
        cpu, key=lambda row: row.core, t_s=lambda row: row.t_s, value=lambda row: float(getattr(row, state))
    )
    steps_back = state in _IDLE
    return {core: one.change_over(during) if steps_back else one.increase_over(during) for core, one in series.items()}


def _thread_series(threads: Sequence[ThreadRow], column: str) -> dict[tuple[int, int], Series]:
    return collect(
        threads,
        key=lambda row: (row.pid, row.tid),
        t_s=lambda row: row.t_s,
        value=lambda row: float(getattr(row, column)),
    )
