"""The figures of one question, from its runs to values and captions with the numbers in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isinf
from typing import Final

from testbed.evaluation.crossflows import ALL, arrival_percentile
from testbed.evaluation.records import MessageRow, ProbeRow
from testbed.evaluation.timeline import across, bin_edges, covered, marks, timeline
from testbed.model.oracle import Band, Expectation
from testbed.model.scenario import Scenario
from testbed.units import KIB
from testbed.views.cells import NOT_MEASURED, Grid, number_text
from testbed.views.comparison import Comparison, Entry, Spread, iteration_name
from testbed.views.drawn import (
    QUEUE_TIERS,
    began_s,
    distribution,
    flow_slowdowns,
    lasted_s,
    latencies_ms,
    link_rates_mbps,
    longest_queues,
    representatives,
)
from testbed.views.fault_lines import AFTER_S, BEFORE_S, lines_of
from testbed.views.predicted import MODEL, Modelled
from testbed.views.report.charts import Bar, Bars, Lines, Panel, Point, Series
from testbed.views.waits import waits_caption
from testbed.views.words import arrived_percentile, left_text, number, of_runs, scheme_texts, spread_text

MOST_STEPS: Final = 300  # of a curve; more are not told apart on a page
MOST_SAMPLES: Final = 400  # of a line over time; of more the largest of each bin is kept
TIER_DASHES: Final = {"uplink": "none", "downlink": "6 3", "host_rx": "2 2"}
REPAIR_DASHES: Final = {"local": "", "controller": "6 3"}
SINCE: Final = "time since measuring began (s)"


@dataclass(frozen=True, slots=True)
class BarQuantity:
    """A number of every run, as bars show it; not all of ``testbed.views.quantities`` have bars."""

    keys: tuple[str, ...]
    title: str
    unit: str
    digits: int
    limit: Callable[[Comparison], Spread | None] = lambda _comparison: None
    limit_name: str = "physical limit"
    limit_remark: str = ""
    expected: Callable[[Expectation], Band] | None = None
    modelled: Callable[[Modelled], float] | None = None


BESIDE_THE_BULK: Final = (
    BarQuantity(("mice_latency_ms", "p99"), "Latency of small messages, p99", "ms", 1),
    BarQuantity(("latency_ms", "p99"), "Latency of probes, p99", "ms", 1),
    BarQuantity(("dgsq_wait_ms", "p99"), "The bulk's wait at its source, p99", "ms", 0),
    BarQuantity(("flow_times", ALL, "slowdown_p50"), "Slowdown of Poisson flows, p50", "", 2),
    BarQuantity(("flow_times", ALL, "slowdown_p99"), "Slowdown of Poisson flows, p99", "", 1),
    BarQuantity(
        ("bursts", "median_s"),
        "Time of a burst, median",
        "s",
        2,
        lambda comparison: comparison.limit("bursts", "ideal_s"),
        "ideal",
        "bytes over the slowest cut",
    ),
)
# The first that runs have is the key figure.
BARS: Final = (
    BarQuantity(
        ("efficiency",),
        "Bus bandwidth as a share of the physical limit",
        "",
        3,
        lambda _comparison: Spread(1.0, 1.0, 1.0),
        expected=lambda found: found.efficiency,
        modelled=lambda found: found.efficiency,
    ),
    BarQuantity(
        ("completion_s",),
        "Completion time",
        "s",
        2,
        lambda comparison: comparison.limit("ideal_s"),
        limit_remark="ideal time",
        modelled=lambda found: found.completion_s,
    ),
    *BESIDE_THE_BULK,
)
TRAINING_BARS: Final = (
    BarQuantity(
        ("completion_s",),
        "Time of one training iteration",
        "s",
        2,
        lambda comparison: comparison.limit("ideal_s"),
        "ideal network",
    ),
    BarQuantity(
        ("training", "exposed_share"),
        "Exposed communication as a share of an iteration",
        "",
        3,
        lambda comparison: comparison.limit("training", "ideal_exposed_share"),
        "ideal network",
    ),
    BarQuantity(
        ("efficiency",),
        "Share of the speed on an ideal network",
        "",
        3,
        lambda _comparison: Spread(1.0, 1.0, 1.0),
        "ideal network",
    ),
    *BESIDE_THE_BULK,
)


def bar_figures(comparison: Comparison) -> list[Bars]:
    """Return a bar chart for every quantity the runs have, the key figure first."""
    training = comparison.scenario.workload.training is not None
    found = (_bars(comparison, quantity) for quantity in (TRAINING_BARS if training else BARS))
    return [bars for bars in found if bars is not None]


def _bars(comparison: Comparison, quantity: BarQuantity) -> Bars | None:
    expectation = comparison.ecmp_expectation if quantity.expected is not None else None
    expected = quantity.expected(expectation) if quantity.expected and expectation else None
    of_model = quantity.modelled
    models = {} if of_model is None else {scheme: of_model(one) for scheme, one in comparison.modelled.items()}
    bars = [
        Bar(
            scheme,
            spread,
            tuple(_points(comparison, scheme, quantity)),
            expected if scheme == "ecmp" else None,
            models.get(scheme),
        )
        for scheme in comparison.schemes
        if (spread := comparison.spread(scheme, *quantity.keys)) is not None
    ]
    if not bars:
        return None
    limit = quantity.limit(comparison)
    texts = {bar.scheme: spread_text(bar.spread, quantity.digits, quantity.unit) for bar in bars}
    return Bars(
        key="-".join(quantity.keys),
        title=quantity.title,
        unit=quantity.unit,
        digits=quantity.digits,
        bars=tuple(bars),
        limit=None if limit is None else limit.only,
        limit_name=quantity.limit_name,
        caption=" ".join(
            filter(
                None,
                (
                    f"{quantity.title}, mean over runs (smallest..largest): {scheme_texts(comparison, texts)}.",
                    _limit_text(quantity, limit),
                    _expected_text(expected),
                    _model_text(comparison, quantity, bars),
                    _points_text(bars),
                ),
            )
        ),
    )


def _limit_text(quantity: BarQuantity, limit: Spread | None) -> str:
    if limit is None:
        return ""
    unit = f" {quantity.unit}" if quantity.unit else ""
    remark = f" ({quantity.limit_remark})" if quantity.limit_remark else ""
    if limit.only is None:
        ends = f"{number(limit.smallest)} to {number(limit.largest)}{unit}"
        return f"The {quantity.limit_name}{remark} depends on the seed: {ends}."
    return f"Dashed line: {quantity.limit_name}{remark}, {number(limit.only)}{unit}."


def _expected_text(expected: Band | None) -> str:
    if expected is None:
        return ""
    return (
        f"Hatched: where the mean of ecmp over {expected.runs} seed{'s' if expected.runs > 1 else ''} is expected with "
        f"95% probability, {number_text(expected.low, 3)} to {number_text(expected.high, 3)} "
        f"(mean {number_text(expected.mean, 3)}, Monte Carlo)."
    )


def _model_text(comparison: Comparison, quantity: BarQuantity, bars: Sequence[Bar]) -> str:
    unit = f" {quantity.unit}" if quantity.unit else ""
    texts = {
        bar.scheme: f"{number_text(bar.modelled, quantity.digits)}{unit}" for bar in bars if bar.modelled is not None
    }
    if not texts:
        return ""
    return f"Open triangles: what the {MODEL} has for the same seeds: {scheme_texts(comparison, texts)}."


def _points_text(bars: Sequence[Bar]) -> str:
    runs = sum(len(bar.points) for bar in bars)
    valid = sum(point.verdict == "VALID" for bar in bars for point in bar.points)
    if runs == valid:
        return f"Points: {runs} single run{'s' if runs > 1 else ''}, all VALID."
    return f"Points: {runs} single runs, {valid} of them VALID (filled)."


def _points(comparison: Comparison, scheme: str, quantity: BarQuantity) -> list[Point]:
    unit = f" {quantity.unit}" if quantity.unit else ""
    return [
        Point(
            value,
            entry.seed,
            entry.verdict,
            f"{scheme} seed {entry.seed}: {value:.{quantity.digits}f}{unit}, {entry.verdict}",
        )
        for entry in comparison.of(scheme)
        if (value := entry.number(*quantity.keys)) is not None
    ]


def without_figure(scenario: Scenario) -> tuple[str, ...]:
    """Return what runs of a scenario have in tables only."""
    operations = "operations of training iterations" if scenario.workload.training is not None else ""
    replay = "replayed frames" if scenario.cross_traffic.replay is not None else ""
    return tuple(filter(None, (operations, replay)))


def line_figures(comparison: Comparison) -> list[Lines]:
    """Return every figure over time or over values that the runs have samples for."""
    found = (
        around_fault(comparison),
        uplinks(comparison),
        latencies(comparison, ProbeRow, "probes", "Latency of probes"),
        latencies(comparison, MessageRow, "messages", "Latency of small messages over TCP"),
        slower_flows(comparison),
        queues(comparison),
    )
    return [lines for lines in found if lines is not None]


def latencies(
    comparison: Comparison, row_type: type[ProbeRow] | type[MessageRow], noun: str, title: str
) -> Lines | None:
    """Return the distribution of one-way latency per scheme, all its runs together; what was lost never arrives."""
    series, rows, texts = [], [], {}
    for scheme in comparison.schemes:
        sent, arrived_ms = latencies_ms(comparison.of(scheme), row_type)
        if not arrived_ms:
            continue
        x, y = distribution(sent, arrived_ms, MOST_STEPS)
        series.append(Series(scheme, scheme, tuple(x), tuple(y), step=True))
        middle, p90, p99 = (number_text(arrived_percentile(arrived_ms, percent), 1) for percent in (50, 90, 99))
        lost = sent - len(arrived_ms)
        rows.append((scheme, str(sent), str(lost), middle, p90, p99, number_text(arrived_ms[-1], 1)))
        texts[scheme] = f"{middle} / {p99} ms of {sent}" + (f" ({lost} lost)" if lost else "")
    if not series:
        return None
    headers = ("scheme", "sent", "lost", "p50 ms", "p90 ms", "p99 ms", "largest ms")
    notes = (f"of {noun} sent during measured iterations; percentiles by nearest rank over those that arrived",)
    return Lines(
        key=noun,
        title=title,
        x_label=f"one-way latency of {noun} (ms)",
        x_log=True,
        panels=(Panel("", f"share of {noun} that arrived", tuple(series), rules=((1.0, ""),)),),
        caption=f"{title} sent while the {iteration_name(comparison.scenario)} ran, all runs of a scheme together: "
        f"p50 / p99 {scheme_texts(comparison, texts)}. To the left is better."
        + (waits_caption(comparison) if row_type is ProbeRow else ""),
        table=Grid(title, headers, tuple(rows), notes),
    )


def slower_flows(comparison: Comparison) -> Lines | None:
    """Return the distribution of Poisson flows' slowdown per scheme, all its runs together; in the table by size."""
    series, rows, texts = [], [], {}
    for scheme in comparison.schemes:
        bins = flow_slowdowns(comparison.of(scheme))
        every = [slow for own in bins.values() for slow in own]
        arrived = sorted(slow for slow in every if not isinf(slow))
        if not arrived:
            continue
        x, y = distribution(len(every), arrived, MOST_STEPS)
        series.append(Series(scheme, scheme, tuple(x), tuple(y), step=True))
        for name, own in {ALL: every, **bins}.items():
            middle, p99 = (number_text(arrival_percentile(own, percent), 2) for percent in (50, 99))
            rows.append((scheme, name, str(len(own)), str(sum(map(isinf, own))), middle, p99))
            if name == ALL:
                texts[scheme] = f"{middle} / {p99} of {len(own)}"
    if not series:
        return None
    title = "Slowdown of Poisson flows"
    notes = ("completion time over the ideal on an empty fabric; missing: not arrived at the end, slower than all",)
    return Lines(
        key="flows",
        title=title,
        x_label="slowdown against an empty fabric",
        x_log=True,
        panels=(Panel("", "share of flows that arrived", tuple(series), rules=((1.0, ""),)),),
        caption=f"{title}, completion time over the ideal on an empty fabric, all runs of a scheme together: p50 / p99 "
        f"{scheme_texts(comparison, texts)}; by size in the table. To the left is better.",
        table=Grid(title, ("scheme", "size", "flows", "missing", "p50", "p99"), tuple(rows), notes, labels=2),
    )


def uplinks(comparison: Comparison) -> Lines | None:
    """Return how evenly uplinks were used over time: their mean, and from the emptiest to the fullest."""
    series, rows, texts, longest_s = [], [], {}, 0.0
    for entry in representatives(comparison):
        columns = _utilisation(entry)
        if not columns:
            continue
        begin, end_s = began_s(entry), lasted_s(entry)
        kept = [(t - begin, column) for t, column in columns if 0 <= t - begin <= end_s * 1.001]
        known = [column for _t, column in kept if column]
        if not known:
            continue
        longest_s = max(longest_s, end_s)
        x = tuple(t for t, _column in kept)
        mean = tuple(sum(column) / len(column) if column else None for _t, column in kept)
        low = tuple(min(column, default=None) for _t, column in kept)
        high = tuple(max(column, default=None) for _t, column in kept)
        series.append(Series(entry.scheme, entry.scheme, x, mean, low, high))
        over = [sum(values) / len(known) for values in _of_each(known)]
        rows.append((entry.scheme, str(entry.seed), *(f"{share:.1%}" for share in over), f"{max(map(max, known)):.1%}"))
        texts[entry.scheme] = f"mean {over[0]:.0%}, between {over[1]:.0%} and {over[2]:.0%}"
    if not series:
        return None
    headers = ("scheme", "seed", "mean", "emptiest", "fullest", "highest of all")
    notes = ("mean over samples of: all uplinks' mean, the emptiest and the fullest one at the time",)
    return Lines(
        key="uplinks",
        title="Uplinks over time",
        x_label=SINCE,
        x_range=(0.0, longest_s),
        panels=(Panel("", "utilisation of uplinks", tuple(series), rules=((1.0, "link rate"),)),),
        caption="Utilisation of all leaf-to-spine links, the run with the median completion time of each scheme. "
        f"Lines: mean; bands: from the emptiest to the fullest. Over time: {scheme_texts(comparison, texts)}. "
        "The narrower the band, the more evenly paths are used.",
        table=Grid("Uplinks over time", headers, tuple(rows), notes, labels=2),
    )


def _of_each(columns: Sequence[Sequence[float]]) -> tuple[list[float], list[float], list[float]]:
    """Return mean, smallest and largest value of each column."""
    return [sum(column) / len(column) for column in columns], list(map(min, columns)), list(map(max, columns))


def _utilisation(entry: Entry) -> list[tuple[float, list[float]]]:
    """Return when, and the share of its rate each uplink with a sample then was used to, in order of time.

    An uplink whose counter was reset since the sample before has no share; a moment may have none at all.
    """
    capacity = {one.name: one.rate_mbps for one in entry.run.record.topology.directions}
    columns: dict[float, list[float]] = {}
    for name, series in link_rates_mbps(entry, ("uplink",)).items():
        for t_s, rate_mbps in zip(series.times_s, series.values, strict=True):
            shares = columns.setdefault(t_s, [])
            if rate_mbps is not None:
                shares.append(rate_mbps / capacity[name])
    return sorted(columns.items())


def queues(comparison: Comparison) -> Lines | None:
    """Return the longest queue of each tier over time, a panel per scheme."""
    panels, rows, texts, longest_s = [], [], {}, 0.0
    limit_kib = comparison.scenario.fabric.queue_bytes / KIB
    for entry in representatives(comparison):
        found, begin, end_s = longest_queues(entry), began_s(entry), lasted_s(entry)
        series = []
        for tier, samples in found.items():
            kept = [
                (t - begin, value / KIB)
                for t, value in zip(samples.times_s, samples.values, strict=True)
                if 0 <= t - begin <= end_s
            ]
            if not kept:
                continue
            x, y = _thinned([t for t, _value in kept], [value for _t, value in kept])
            series.append(Series(QUEUE_TIERS[tier], entry.scheme, x, y, dash=TIER_DASHES[tier]))
            values = sorted(value for _t, value in kept)
            rows.append(
                (
                    entry.scheme,
                    QUEUE_TIERS[tier],
                    number_text(arrived_percentile(values, 50), 1),
                    number_text(values[-1], 1),
                )
            )
        if series:
            longest_s = max(longest_s, end_s)
            panels.append(Panel(f"{entry.scheme}, seed {entry.seed}", "longest queue (KiB)", tuple(series)))
            peak = max(value for one in series for value in one.y if value is not None)
            texts[entry.scheme] = f"{number(peak)} KiB"
    if not panels:
        return None
    rule = ((limit_kib, "limit of a queue"),)
    return Lines(
        key="queues",
        title="Queues over time",
        x_label=SINCE,
        x_range=(0.0, longest_s),
        panels=tuple(Panel(one.title, one.y_label, one.series, rules=rule) for one in panels),
        caption="The longest queue of each tier over time, the run with the median completion time of each scheme; "
        f"longest of all: {scheme_texts(comparison, texts)}; a queue holds {number(limit_kib)} KiB. Hosts' own queues, "
        f"where a sender that may send at line rate keeps its window, are not drawn but count in latency."
        f"{waits_caption(comparison)}",
        table=Grid("Queues over time", ("scheme", "tier", "median KiB", "longest KiB"), tuple(rows), (), labels=2),
    )


def _thinned(x: Sequence[float], y: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return at most ``MOST_SAMPLES`` samples: of those in a row the largest, where it was."""
    step = -(-len(x) // MOST_SAMPLES)
    kept = [max(range(start, min(start + step, len(x))), key=lambda i: y[i]) for start in range(0, len(x), step)]
    return tuple(x[i] for i in kept), tuple(y[i] for i in kept)


def around_fault(comparison: Comparison) -> Lines | None:
    """Return what all ranks received and the fullest queue around the first fault, the schemes in one panel."""
    lines = lines_of(comparison)
    if not lines:
        return None
    found = marks(lines[0].entries[0].run.record)
    spans = [span for line in lines for entry in line.entries if (span := covered(entry.run.record)) is not None]
    start_s = max(min(start for start, _end in spans), -BEFORE_S)
    end_s = min(max(end for _start, end in spans), max(mark.t_s for mark in found) + AFTER_S)
    interval_s = comparison.scenario.measure.sample_interval_s
    bin_s = max(1, round((end_s - start_s) / MOST_STEPS / interval_s)) * interval_s
    edges = bin_edges(start_s, end_s, bin_s)
    middles = tuple((low + high) / 2 for low, high in zip(edges, edges[1:], strict=False))
    received: list[Series] = []
    fullest: list[Series] = []
    for line in lines:
        runs = [timeline(entry.run.record, edges) for entry in line.entries]
        dash = REPAIR_DASHES[line.repair]
        for into, values, scale in (
            (received, [run.received_fraction for run in runs], 1.0),
            (fullest, [run.queue_bytes for run in runs], 1 / KIB),
        ):
            band = across(values)
            y, low, high = (_scaled(one, scale) for one in (band.median, band.low, band.high))
            several = len(runs) > 1
            into.append(
                Series(line.label, line.scheme, middles, y, low if several else (), high if several else (), dash=dash)
            )
    if not any(value is not None for series in (*received, *fullest) for value in series.y):
        return None
    rows = tuple(_fault_row(comparison, scheme) for scheme in comparison.schemes if comparison.of(scheme))
    texts = "; ".join(line.label for line in lines)
    limit = ((comparison.scenario.fabric.queue_bytes / KIB, "limit of a queue"),)
    return Lines(
        key="fault",
        title="Around the first fault",
        x_label="time after the first fault (s)",
        x_range=(start_s, end_s),
        panels=(
            Panel("", "received by ranks (share of their links)", tuple(received)),
            Panel("", "fullest queue of the fabric (KiB)", tuple(fullest), rules=limit),
        ),
        marks=tuple((mark.t_s, f"{mark.action} {mark.target}", mark.action == "heal") for mark in found),
        caption="What all ranks' hosts received, and the fullest queue between leaves and spines, around the first "
        f"fault at 0, in bins of {bin_s * 1000:.0f} ms; medians over runs, bands from smallest to largest. {texts}.",
        table=Grid(
            "Around the first fault", ("scheme", "runs", "path left after, ms", "longest pause, ms"), rows, (), labels=1
        ),
    )


def _fault_row(comparison: Comparison, scheme: str) -> tuple[str, ...]:
    pause = comparison.spread(scheme, "outage_ms")
    return (
        scheme,
        str(len(comparison.of(scheme))),
        left_text(comparison, scheme, "recovery_ms"),
        NOT_MEASURED if pause is None else of_runs(comparison, scheme, ("outage_ms",), spread_text(pause, 0)),
    )


def _scaled(values: Sequence[float | None], scale: float) -> tuple[float | None, ...]:
    return tuple(None if value is None else value * scale for value in values)
