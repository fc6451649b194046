"""A report before it is a page: for each question its answer in figures, words and tables; reads runs' tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from testbed.results.run import Run
from testbed.views.cells import Grid
from testbed.views.comparison import (
    VERDICTS,
    Comparison,
    Entry,
    compare,
    describe,
    failed_text,
    left_out_text,
    origin_texts,
)
from testbed.views.kept_up import kept_up_grid
from testbed.views.native import native_grids, native_sweep_grid
from testbed.views.report.charts import Bars, Lines
from testbed.views.report.fabric_map import FabricMap, fabric_map
from testbed.views.report.figures import bar_figures, line_figures, without_figure
from testbed.views.report.settings import (
    provenance_grids,
    reproduction,
    scenario_json,
    settings_grids,
    sweep_reproduction,
)
from testbed.views.report.sweep_figures import sweep_answers, sweep_lines
from testbed.views.sweep import SweepResults
from testbed.views.sweep_table import machine_grid, sweep_grids
from testbed.views.tables import run_grid, scheme_grid
from testbed.views.words import reason_texts, spread_text, unjudged_text

NO_DOUBT: Final = "no run gave a reason for doubt"


@dataclass(frozen=True, slots=True)
class Section:
    """One question, or one sweep, with all that is to be said of it. Texts are as they came; the page escapes them."""

    name: str
    question: str
    expectation: str
    emulated: str
    answers: tuple[str, ...]
    counts: dict[str, int]
    verdicts: Grid
    kept_up: Grid
    schemes: tuple[str, ...]
    bars: tuple[Bars, ...]
    fabric: FabricMap | None
    lines: tuple[Lines, ...]
    tables: tuple[Grid, ...]
    settings: tuple[Grid, Grid]
    provenance: tuple[Grid, Grid]
    commands: str
    command_notes: tuple[str, ...]
    scenario_text: str
    without_figure: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All sections, and from what code the page was made."""

    sections: tuple[Section, ...]

    @property
    def title(self) -> str:
        """What the page is called."""
        return ", ".join(dict.fromkeys(section.name for section in self.sections))


def report(
    runs: Sequence[Run], sweeps: Sequence[SweepResults], *, allow_invalid: bool, native_gbps: float | None = None
) -> Report:
    """Return the report of stored runs and of sweeps with theirs. Raises ResultsError when one cannot be used.

    ``native_gbps``: what a host link stands for, for tables of such links beside the others.
    """
    compared = compare(runs, allow_invalid=allow_invalid) if runs else ()
    complete = compare(runs, allow_invalid=True) if runs else ()
    native: list[tuple[Grid, ...]] = [()] * len(compared)
    if native_gbps is not None and runs:
        native = [(one,) for one in native_grids(runs, native_gbps)]
    questions = [_question(*parts) for parts in zip(compared, complete, native, strict=True)]
    return Report((*questions, *(_sweep(results, native_gbps) for results in sweeps)))


def _question(comparison: Comparison, complete: Comparison, native: tuple[Grid, ...]) -> Section:
    """Return what is said of one question; ``complete`` has INVALID runs too; ``native``: its table in other units."""
    scenario, entries = comparison.scenario, complete.entries
    commands, notes = reproduction(complete, entries)
    bars = bar_figures(comparison) if comparison.entries else []
    return Section(
        name=scenario.name,
        question=scenario.question,
        expectation=scenario.expectation,
        emulated=f"{scenario.name}: {describe(scenario)}",
        answers=tuple(answers(comparison, bars)),
        counts=complete.verdict_counts(),
        verdicts=verdict_grid(complete, entries),
        kept_up=kept_up_grid(comparison if comparison.entries else complete),
        schemes=complete.schemes,
        bars=tuple(bars),
        fabric=fabric_map(comparison) if comparison.entries else None,
        lines=tuple(line_figures(comparison)) if comparison.entries else (),
        tables=(*((scheme_grid(comparison),) if comparison.entries else ()), run_grid(complete), *native),
        settings=settings_grids(scenario),
        provenance=provenance_grids(entries, comparison.scenario_hash),
        commands=commands,
        command_notes=tuple(notes),
        scenario_text=scenario_json(scenario),
        without_figure=without_figure(scenario),
    )


def verdict_grid(comparison: Comparison, entries: Sequence[Entry]) -> Grid:
    """Return how many runs of each scheme got which verdict; why those that are not VALID did not, below."""
    counts = {scheme: comparison.verdict_counts(scheme) for scheme in comparison.schemes}
    rows = tuple((scheme, *(str(own.get(verdict, 0)) for verdict in VERDICTS)) for scheme, own in counts.items())
    unjudged = unjudged_text(entries)
    notes = [*(reason_texts(entries) or [NO_DOUBT]), *([unjudged] if unjudged else [])]
    return Grid("How many runs got which verdict", ("scheme", *VERDICTS), rows, tuple(notes))


def answers(comparison: Comparison, bars: Sequence[Bars]) -> list[str]:
    """Return what was found, one sentence each, with the numbers."""
    failed = failed_text(comparison)
    if not comparison.entries:
        said = ["There is no usable run: every one is INVALID. The reasons are below."]
        return [*said, *([_sentence(failed)] if failed else [])]
    said = [sentence for scheme in comparison.schemes if (sentence := _scheme_sentence(comparison, bars, scheme))]
    notes = (*origin_texts(comparison.entries), left_out_text(comparison), failed)
    return [*said, *(_sentence(note) for note in notes if note)]


def _scheme_sentence(comparison: Comparison, bars: Sequence[Bars], scheme: str) -> str:
    key = bars[0] if bars else None
    bar = next((bar for bar in key.bars if bar.scheme == scheme), None) if key else None
    if key is None or bar is None:
        return ""
    parts = [f"{scheme}: {spread_text(bar.spread, key.digits, key.unit)}"]
    if key.key == "efficiency":
        parts[0] += " of the physical limit"
        if bar.expected is not None:
            parts.append(f"hashing is expected to reach {bar.expected.low:.3f} to {bar.expected.high:.3f}")
    else:
        parts[0] += f" ({key.title.lower()})"
    ratio = comparison.speedup(scheme)
    if ratio is not None and scheme != comparison.schemes[0]:
        low, high = ratio.told
        what = "95% interval " if ratio.is_interval_told else ""
        spread = "" if ratio.pairs == 1 else f"{what}{low:.2f}..{high:.2f}, "
        pairs = f"{spread}{ratio.pairs} pair{'s' if ratio.pairs > 1 else ''} of runs"
        parts.append(f"{ratio.mean:.2f} times as fast as {comparison.schemes[0]} ({pairs})")
    return "; ".join(parts) + "."


def _sweep(results: SweepResults, native_gbps: float | None) -> Section:
    stored, sweep = results.stored, results.stored.sweep
    scenario = sweep.points[0]
    entries = [member.entry for member in results.members if member.entry is not None]
    commands, notes = sweep_reproduction(stored, entries)
    grids, machine = sweep_grids(results), machine_grid(results)
    rows = tuple(
        (group.text, group.scheme, ", ".join(f"{count} {state}" for state, count in group.counts().items()))
        for group in results.groups
    )
    lines = sweep_lines(results, grids[0])
    return Section(
        name=f"{scenario.name} over {sweep.field}",
        question=scenario.question,
        expectation=scenario.expectation,
        emulated=results.heading,
        answers=(*(() if lines is None else sweep_answers(results)), *(_sentence(note) for note in results.notes())),
        counts=results.counts(),
        verdicts=Grid("How the runs ended", (sweep.field, "scheme", "runs"), rows, grids[-1].notes, labels=3),
        kept_up=machine,
        schemes=sweep.schemes,
        bars=(),
        fabric=None,
        lines=() if lines is None else (lines,),
        tables=(
            *(grid for grid in grids if grid != machine),
            *(() if native_gbps is None else (native_sweep_grid(results, native_gbps),)),
        ),
        settings=settings_grids(scenario),
        provenance=provenance_grids(entries, "of each value its own"),
        commands=commands,
        command_notes=tuple(notes),
        scenario_text=scenario_json(scenario),
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
