"""Stored runs put side by side: grouped by question and scheme, INVALID ones set aside, expectations added.

What tables and figures show is decided here; how it looks is theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from testbed import __version__
from testbed.collectives.operation import ProgramOperation
from testbed.errors import Problem, ResultsError, printable
from testbed.evaluation.records import LEAST_S
from testbed.inference.speedup import Speedup, paired_speedup
from testbed.model.oracle import ALIKE_FRACTION, Expectation, scenario_expectation
from testbed.model.question import question_of
from testbed.model.scenario import Scenario, WorkloadKind
from testbed.results.checks import VERDICTS as VERDICTS  # part of what this module tells
from testbed.results.checks import checked_number, number_in
from testbed.results.listing import FailedRun, failed_runs, list_runs
from testbed.results.run import Run
from testbed.results.sets import commit_of
from testbed.results.summary import summary_of
from testbed.training.job import training_text
from testbed.units import bytes_to_text
from testbed.views.cross import cross_words
from testbed.views.predicted import Modelled, modelled

VALID, INVALID = "VALID", "INVALID"
MAX_REASON_CHARACTERS = 1000
MAX_PLACE_CHARACTERS = 80
MAX_NAMED = 4  # commits, places, runs
ANEW = f"numbers and verdicts made anew by gse-testbed {__version__}, not those stored with the runs"
# What one iteration of a workload is called, and what its flows belong to.
OPERATION_NAMES: dict[ProgramOperation, str] = {
    "allreduce": "all-reduce",
    "reduce_scatter": "reduce-scatter",
    "all_gather": "all-gather",
    "broadcast": "broadcast",
    "all_to_all": "all-to-all",
    "sendrecv": "send/receive",
}
ITERATION_NAMES: dict[WorkloadKind, str] = {
    "allreduce_ring": "all-reduce",
    "all_to_all": "all-to-all",
    "incast": "incast",
    "permutation": "permutation",
    "collective": "collective",
    "training": "training iteration",
}


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and range of one quantity over runs."""

    mean: float
    smallest: float
    largest: float

    @property
    def only(self) -> float | None:
        """The one value all have; None where they differ."""
        return self.mean if self.smallest == self.largest else None


@dataclass(frozen=True)
class Entry:
    """One run with its summary, checked as far as it is used."""

    run: Run
    summary: Mapping[str, Any]

    @property
    def scheme(self) -> str:
        """Name of the scheme."""
        return self.run.scheme

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.run.seed

    @property
    def verdict(self) -> str:
        """VALID, SUSPECT or INVALID."""
        verdict = self.summary.get("verdict")
        if verdict not in VERDICTS:
            raise self._wrong("verdict", verdict, f"one of {', '.join(VERDICTS)}")
        return str(verdict)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the verdict is not VALID."""
        reasons = self.summary.get("reasons")
        if not isinstance(reasons, list) or not all(isinstance(reason, str) for reason in reasons):
            raise self._wrong("reasons", reasons, "a list of texts")
        return tuple(printable(reason[:MAX_REASON_CHARACTERS]) for reason in reasons)

    @property
    def speed_is_unjudged(self) -> bool:
        """Whether no check would have noticed that the run was slow; False of older runs, which do not say."""
        return self.summary.get("speed_judged_by", "unsaid") is None

    def number(self, *keys: str) -> float | None:
        """Return a number of the summary, e.g. ``number("latency_ms", "p50")``; None when not measured.

        Raises ResultsError when it is something else.
        """
        return number_in(self.summary, keys, self._where)

    def numbers(self, *keys: str) -> tuple[float, ...] | None:
        """Return the numbers of a list of the summary; None when not measured.

        Raises ResultsError when they are something else.
        """
        values = self._at(keys)
        if values is None:
            return None
        if not isinstance(values, list | tuple):
            raise self._wrong(".".join(keys), values, "a list of numbers, or null")
        return tuple(checked_number(value, f"{self._where}: {'.'.join(keys)}") for value in values)

    def names(self, *keys: str) -> tuple[str, ...]:
        """Return the keys of what a summary has there; none where it has nothing of that kind."""
        found = self._at(keys)
        return tuple(found) if isinstance(found, Mapping) else ()

    def _at(self, keys: Sequence[str]) -> Any:
        """Return what the summary has there, unchecked; None: nothing."""
        value: Any = self.summary
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    @property
    def _where(self) -> str:
        return str(self.run.path / "summary.json")

    @property
    def tries(self) -> int:
        """How often it was made: again where others had disturbed the run before."""
        earlier = self.run.manifest.get("earlier_tries")
        return 1 + (len(earlier) if isinstance(earlier, list) else 0)

    @property
    def place(self) -> str:
        """Which switches forwarded, and on what machine; empty where the manifest does not say."""
        network, machine = (self.run.manifest.get(name) for name in ("network", "machine"))
        datapath = network.get("datapath") if isinstance(network, Mapping) else None
        cores, cpu = (machine.get(name) if isinstance(machine, Mapping) else None for name in ("cores", "cpu"))
        said = (datapath and f"{datapath} datapath", cores and f"{cores} cores", cpu)
        return printable(", ".join(str(part) for part in said if part)[:MAX_PLACE_CHARACTERS])

    def never_left(self, key: str) -> bool:
        """Whether a GSP used a broken path on, so that ``key``, a time until all had left it, is none at all."""
        return key in self.summary and self.number(key) is None

    def _wrong(self, where: str, got: object, expected: str) -> ResultsError:
        return ResultsError(
            Problem("not valid", f"{self.run.path / 'summary.json'}: {where}", repr(got)[:60], expected)
        )


@dataclass(frozen=True)
class Comparison:
    """All runs of one question. ``entries`` are used, ``left_out`` are INVALID and not; schemes in scenario order.

    ``other_repair``: the runs of the same question under the other ``gsos.repair``, where there are some to be used.
    ``failed``: runs of the same question that came to no end, so that nothing is known of how they would have done.
    """

    scenario: Scenario
    scenario_hash: str
    entries: tuple[Entry, ...]
    left_out: tuple[Entry, ...]
    other_repair: Comparison | None = None
    failed: tuple[FailedRun, ...] = ()

    @property
    def schemes(self) -> tuple[str, ...]:
        """Schemes with at least one run, used or not."""
        present = {entry.scheme for entry in (*self.entries, *self.left_out)}
        known = [scheme for scheme in self.scenario.schemes if scheme in present]
        return (*known, *sorted(present - set(known)))

    @property
    def waits_at_source(self) -> bool:
        """Whether frames wait in source queues in some of the runs, where probes pass them."""
        return any(entry.number("dgsq_wait_ms", "p50") is not None for entry in self.entries)

    def of(self, scheme: str) -> tuple[Entry, ...]:
        """Return the used runs of a scheme, by seed, then by age."""
        own = (entry for entry in self.entries if entry.scheme == scheme)
        return tuple(sorted(own, key=lambda entry: (entry.seed, entry.run.path.name)))

    def spread(self, scheme: str, *keys: str) -> Spread | None:
        """Return mean and range of a number over a scheme's runs, None when no run has it."""
        numbers = [number for entry in self.of(scheme) if (number := entry.number(*keys)) is not None]
        return Spread(fmean(numbers), min(numbers), max(numbers)) if numbers else None

    def limit(self, *keys: str) -> Spread | None:
        """Return a limit that runs have, None when none has it; with a range where it depends on the seed.

        It does where ranks or partners are drawn and cuts of the fabric decide, not hosts' links.
        """
        found = [number for entry in self.entries if (number := entry.number(*keys)) is not None]
        if not found:
            return None
        if max(found) <= min(found) * (1 + ALIKE_FRACTION):
            return Spread(found[0], found[0], found[0])
        return Spread(fmean(found), min(found), max(found))

    def speedup(self, scheme: str) -> Speedup | None:
        """Return how many times faster than the first scheme, paired by seed (the latest run of each)."""
        return paired_speedup(self._completions(self.schemes[0]), self._completions(scheme))

    def _completions(self, scheme: str) -> dict[int, float]:
        timed = ((entry.seed, entry.number("completion_s")) for entry in self.of(scheme))
        return {seed: seconds for seed, seconds in timed if seconds is not None and seconds >= LEAST_S}

    @cached_property
    def ecmp_expectation(self) -> Expectation | None:
        """What hashing leads to over as many seeds as ecmp has here; None without such runs or where no model holds.

        A seed hashes alike however often it is run.
        """
        seeds = len({entry.seed for entry in self.of("ecmp")})
        return scenario_expectation(self.scenario, runs=seeds) if seeds else None

    @cached_property
    def modelled(self) -> dict[str, Modelled]:
        """What the fluid model has for each scheme over its own seeds, where it has something (``predicted``)."""
        seeds = {scheme: sorted({entry.seed for entry in self.of(scheme)}) for scheme in self.schemes}
        found = {scheme: modelled(self.scenario, scheme, own) for scheme, own in seeds.items()}
        return {scheme: one for scheme, one in found.items() if one is not None}

    @property
    def fluid_efficiency(self) -> dict[str, float]:
        """The efficiency of it, the mean over seeds."""
        return {scheme: one.efficiency for scheme, one in self.modelled.items()}

    def representative(self, scheme: str) -> Entry | None:
        """Return the run with the median completion time (the lower one of two) of those in tables and bars."""
        timed = [(seconds, entry) for entry in self.of(scheme) if (seconds := entry.number("completion_s")) is not None]
        ordered = sorted(timed, key=lambda pair: pair[0])
        return ordered[(len(ordered) - 1) // 2][1] if ordered else None

    def verdict_counts(self, scheme: str | None = None) -> dict[str, int]:
        """Return verdict -> number of runs, left-out ones included; of one scheme or of all."""
        everything = (*self.entries, *self.left_out)
        counts = Counter(entry.verdict for entry in everything if scheme in (None, entry.scheme))
        return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}


def entries_of(runs: Sequence[Run]) -> list[Entry]:
    """Return runs with their summaries, made now where none is stored.

    Raises ResultsError for runs of users' programs, and where a summary cannot be made.
    """
    strangers = [run for run in runs if run.program is not None]
    if strangers:
        got, expected = "a run of gse exec", "runs of gse run; what a program did is in summary.json and links.csv"
        raise ResultsError([Problem("no workload to compare", str(run.path), got, expected) for run in strangers])
    return [Entry(run, summary_of(run)) for run in runs]


def compare(runs: Sequence[Run], *, allow_invalid: bool) -> tuple[Comparison, ...]:
    """Group runs by question, in order of their first run. Raises ResultsError when a run cannot be used."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries_of(runs):
        groups.setdefault(entry.run.scenario_hash, []).append(entry)
    failed = _failed_beside(runs)
    found = tuple(
        _comparison(entries, allow_invalid, tuple(one for one in failed if one.scenario_hash == name))
        for name, entries in groups.items()
    )
    questions = [question_of(one.scenario, but=["gsos.repair"]) for one in found]
    return tuple(
        replace(
            one,
            other_repair=next(
                (o for o, q in zip(found, questions, strict=True) if o is not one and q == own and o.entries), None
            ),
        )
        for one, own in zip(found, questions, strict=True)
    )


def _failed_beside(runs: Sequence[Run]) -> tuple[FailedRun, ...]:
    """Return the failed runs of folders whose finished runs are all here: of some runs that were chosen there are none.

    Leaving out runs that did not come to their end would flatter. One that was made again is no loss, unless it was its
    workload that failed: that is a result.
    """
    given: dict[Path, set[str]] = {}
    for run in runs:
        given.setdefault(run.path.parent, set()).add(run.path.name)
    made = {(run.scenario_hash, run.scheme, run.seed) for run in runs}
    return tuple(
        one
        for folder, names in given.items()
        if {path.name for path in list_runs(folder.parent, folder.name).finished} <= names
        for one in failed_runs(folder)
        if one.verdict == INVALID or (one.scenario_hash, one.scheme, one.seed) not in made
    )


def _comparison(entries: Sequence[Entry], allow_invalid: bool, failed: tuple[FailedRun, ...]) -> Comparison:
    left_out = tuple(entry for entry in entries if entry.verdict == INVALID and not allow_invalid)
    used = tuple(entry for entry in entries if entry not in left_out)
    run = entries[0].run
    return Comparison(run.scenario, run.scenario_hash, used, left_out, failed=failed)


def iteration_name(scenario: Scenario) -> str:
    """Return what one iteration of the scenario's workload is called, e.g. ``all-reduce``."""
    collective = scenario.collective
    if scenario.workload.kind == "collective" and collective is not None:
        return f"{OPERATION_NAMES[collective.operation]} ({collective.algorithm.replace('_', ' ')})"
    return ITERATION_NAMES[scenario.workload.kind]


def describe(scenario: Scenario) -> str:
    """Return fabric and workload in one line, scale included: ``4x4x4 (leaves x spines x hosts per leaf), ...``."""
    fabric, work = scenario.fabric, scenario.workload
    rates = (
        f"{fabric.host_link_mbps:g} Mbit/s links"
        if fabric.host_link_mbps == fabric.uplink_mbps
        else f"host links {fabric.host_link_mbps:g} Mbit/s, uplinks {fabric.uplink_mbps:g} Mbit/s"
    )
    parallel = f", {fabric.links_per_pair} links per leaf-spine pair" if fabric.links_per_pair > 1 else ""
    what = [_bulk(scenario)] if work.mice_only_s is None else []
    if work.mice_interval_ms:
        alone = "" if what else " alone"
        mice = f"{bytes_to_text(work.mice_bytes)} every {work.mice_interval_ms:g} ms and host"
        marked = f", DSCP {work.mice_dscp}" if work.mice_dscp else ""
        what.append(f"small messages{alone} of {mice}{marked}")
    what += cross_words(scenario)
    return (
        f"{fabric.leaves}x{fabric.spines}x{fabric.hosts_per_leaf} leaves x spines x hosts per leaf{parallel}, {rates}, "
        f"MTU {fabric.mtu_bytes}; {', '.join(what)}"
        + ("; DSCP 32 and more served first" if fabric.priority_band else "")
        + ("; dead uplinks repaired by GSOS only" if scenario.gsos.repair == "controller" else "")
    )


def _bulk(scenario: Scenario) -> str:
    work = scenario.workload
    if work.training is not None:
        flows = f"{work.flows_per_hop} flow{'s' if work.flows_per_hop > 1 else ''} per pair"
        return (
            f"training iteration, {printable(training_text(work.training))}; {scenario.ranks} ranks that ideally send "
            f"{bytes_to_text(work.size_bytes)} each, {work.placement}, {flows}"
        )
    jobs = f" in {work.jobs} jobs" if work.jobs > 1 else ""
    per = "hop" if work.in_step else "pair"
    flows = f"{work.flows_per_hop} flow{'s' if work.flows_per_hop > 1 else ''} per {per}"
    return (
        f"{iteration_name(scenario)} of {bytes_to_text(work.size_bytes)} over {scenario.ranks} ranks{jobs}, "
        f"{work.placement}, {flows}"
    )


def origin_texts(entries: Sequence[Entry]) -> list[str]:
    """Return what is to be said of where runs and numbers come from: nothing where all is of one place, as stored."""
    anew = any(entry.run.judged_anew for entry in entries)
    found = (commits_text(entries), places_text(entries), tries_text(entries), ANEW if anew else "")
    return [text for text in found if text]


def commits_text(entries: Iterable[Entry]) -> str:
    """Return of which states of the code the runs are, empty where it is one."""
    names = list(dict.fromkeys(commit_of(entry.run) for entry in entries))
    if len(names) < 2:
        return ""
    short = [printable(name[:7]) + ("-dirty" if name.endswith("-dirty") else "") for name in names[:MAX_NAMED]]
    shown = ", ".join([*short, *(["..."] if len(names) > MAX_NAMED else [])])
    return f"runs of {len(names)} commits ({shown}): what changed between these is among their differences"


def places_text(entries: Iterable[Entry]) -> str:
    """Return on which machines and datapaths the runs were made, empty where it was one."""
    places = list(dict.fromkeys(entry.place for entry in entries if entry.place))
    if len(places) < 2:
        return ""
    shown = "; ".join([*places[:MAX_NAMED], *(["..."] if len(places) > MAX_NAMED else [])])
    return (
        f"runs of {len(places)} machines or datapaths ({shown}): what these do differently is among their differences"
    )


def tries_text(entries: Sequence[Entry]) -> str:
    """Return how many runs are not their first try, empty where all are."""
    again = sum(entry.tries > 1 for entry in entries)
    if not again:
        return ""
    was, it = ("was", "it") if again == 1 else ("were", "them")
    return f"{again} of {len(entries)} runs {was} made again, for others had disturbed {it} (*.disturbed)"


def doubts_text(comparison: Comparison) -> str:
    """Return which of the runs that are used are not VALID, empty when all are."""
    used = [entry for scheme in comparison.schemes for entry in comparison.of(scheme)]
    doubted = [f"{entry.scheme} seed {entry.seed} ({entry.verdict})" for entry in used if entry.verdict != VALID]
    if not doubted:
        return ""
    more = [f"{len(doubted) - MAX_NAMED} more"] if len(doubted) > MAX_NAMED else []
    verb = "is" if len(doubted) == 1 else "are"
    return f"{len(doubted)} of these {len(used)} runs {verb} not VALID: {', '.join([*doubted[:MAX_NAMED], *more])}"


def failed_text(comparison: Comparison) -> str:
    """Return how many runs came to no end and why the first did not, empty when none."""
    if not comparison.failed:
        return ""
    first, number = comparison.failed[0], len(comparison.failed)
    why = next(iter(first.error[:MAX_REASON_CHARACTERS].splitlines()), "") or "no reason given"
    example = printable(f"{first.scheme} seed {first.seed}: {why}")
    what = "run has" if number == 1 else "runs have"
    return f"{number} failed {what} no numbers ({example}{', ...' if number > 1 else ''})"


def left_out_text(comparison: Comparison) -> str:
    """Return how many runs were left out and why, empty when none."""
    if not comparison.left_out:
        return ""
    first = comparison.left_out[0]
    why = first.reasons[0] if first.reasons else "no reason given"
    example = f"{first.scheme} seed {first.seed}: {why}"
    number = len(comparison.left_out)
    return f"{number} INVALID run{'s' if number > 1 else ''} left out ({example}{', ...' if number > 1 else ''})"
