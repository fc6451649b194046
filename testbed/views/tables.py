"""Stored runs as tables for the terminal (rich): one line per run, one column per scheme."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from testbed.errors import printable
from testbed.inference.speedup import PAIRS_FOR_AN_INTERVAL
from testbed.model.oracle import MAX_ROUTES
from testbed.results.run import Run
from testbed.views.cells import NOT_MEASURED, Grid, number_text, time_digits, time_text
from testbed.views.comparison import (
    VERDICTS,
    Comparison,
    Entry,
    Spread,
    compare,
    describe,
    failed_text,
    iteration_name,
    left_out_text,
    origin_texts,
)
from testbed.views.cross import cross_columns, cross_lines, cross_notes
from testbed.views.predicted import Modelled
from testbed.views.training import operation_kinds, training_notes, training_run_grid
from testbed.views.words import left_text, of_runs, reason_texts, spread_text, unjudged_text

PROBES_PASS_THE_BULK = (
    "at source: how long hosts' own frames, the bulk, wait in the agents' queues (the agent with the longest waits); "
    "probes have queues of their own there and pass it, so their latency is not the bulk's"
)
PATHS_ALLOW = "predicted_efficiency"
PATHS_ALLOW_MEANS = "paths allow: share of that limit with the flows on the paths they took at the end"
MODEL_HAS = (
    "model has: max-min fair rates on the paths the scheme gives these seeds, with its headers, grants and waiting, "
    "without queues and losses (docs/fluid.md)"
)
ABOVE_ONE = "above 1: a link that was idle sends a frame and 2 ms of its rate at once (docs/gse.md)"
SchemeLine = tuple[str, Callable[[Comparison, str], str]]  # its name, and the cell of a scheme

MOST_BOTTLENECKS = 3  # that are named
VERDICT_STYLES = dict(zip(VERDICTS, ("green", "yellow", "bold red"), strict=True))


def run_table(runs: Sequence[Run]) -> RenderableType:
    """Return every run, INVALID ones too, for the terminal."""
    return rendered([run_grid(comparison) for comparison in compare(runs, allow_invalid=True)])


def scheme_table(runs: Sequence[Run]) -> RenderableType:
    """Return the schemes compared, without INVALID runs, for the terminal."""
    return rendered([scheme_grid(comparison) for comparison in compare(runs, allow_invalid=False)])


def run_grid(comparison: Comparison) -> Grid:
    """Return one line per run; what is constant and the reasons of verdicts stand below."""
    if comparison.scenario.workload.training is not None:
        return training_run_grid(comparison)
    entries = [entry for scheme in comparison.schemes for entry in comparison.of(scheme)]
    faults, mice = bool(comparison.scenario.faults), bool(comparison.scenario.workload.mice_interval_ms)
    ideal, limit_mbps = comparison.limit("ideal_s"), comparison.limit("busbw_limit_mbps")
    varies = limit_mbps is not None and limit_mbps.only is None
    bottlenecks = list(dict.fromkeys(map(_bottleneck, entries if varies else entries[:1])))
    disturbed = comparison.scenario.faults or comparison.scenario.is_disturbed
    waits = comparison.waits_at_source
    placed = any(entry.number(PATHS_ALLOW) is not None for entry in entries)
    # beside all others there is no room for it in 80 columns; the table of schemes has it
    models = {} if placed and waits else comparison.modelled
    placed = placed or not models
    name = iteration_name(comparison.scenario)
    notes = (
        f"time: median {name}, ideally {_limit_text(ideal, time_text)} s; limit of busbw: "
        f"{_limit_text(limit_mbps, lambda mbps: number_text(mbps, 2))} Mbit/s, set by "
        f"{' or '.join(bottlenecks[:MOST_BOTTLENECKS])}{': by seed' if varies else ''}",
        *((f"{PATHS_ALLOW_MEANS}{'; with faults or other traffic no bound' if disturbed else ''}",) if placed else ()),
        *((MODEL_HAS,) if models else ()),
        "uplinks used: what the uplinks that carried anything carried, of their rate",
        *((ABOVE_ONE,) if any(_is_above_one(entry) for entry in entries) else ()),
        "probes p50, p99: their latency, the wait in their own host's queue included: a host that sends at line rate "
        "keeps one, a host held up elsewhere does not",
        *((PROBES_PASS_THE_BULK,) if waits else ()),
        *(("mice p50, p99: latency of the small messages, from hand-over to the last byte's arrival",) if mice else ()),
        *cross_notes(comparison.scenario),
        *(("outage: longest pause of any rank that a fault caused",) if faults else ()),
    )
    return Grid(
        title=f"{comparison.scenario.name}: {describe(comparison.scenario)}",
        headers=(
            *("scheme", "seed", "verdict", "time\ns", "busbw\nMbit/s", "of\nlimit"),
            *(("paths\nallow",) if placed else ()),
            *(("model\nhas",) if models else ()),
            "uplinks\nused",
            *("probes\np50 ms", "probes\np99 ms"),
            *(("at source\np50 ms", "at source\np99 ms") if waits else ()),
            *(("mice p50\nms", "mice p99\nms") if mice else ()),
            *(header for header, _cell in cross_columns(comparison.scenario)),
            "dropped/\nresent/\nreordered",
            *(("outage\nms",) if faults else ()),
        ),
        rows=tuple(_run_row(entry, models, placed=placed, faults=faults, mice=mice, waits=waits) for entry in entries),
        notes=(*notes, *([unjudged] if (unjudged := unjudged_text(entries)) else []), *reason_texts(entries)),
        labels=3,
    )


def _bottleneck(entry: Entry) -> str:
    details = entry.summary.get("details")
    return printable(str(details.get("bottleneck"))[:80]) if isinstance(details, Mapping) else "unknown"


def _limit_text(limit: Spread | None, text: Callable[[float | None], str]) -> str:
    """Return a limit; where it depends on the seed, from the least to the most."""
    if limit is None or limit.only is not None:
        return text(None if limit is None else limit.only)
    return f"{text(limit.smallest)} to {text(limit.largest)}"


def _is_above_one(entry: Entry) -> bool:
    shares = (entry.number("efficiency"), entry.number("uplink_utilization"))
    return any(share is not None and share > 1 for share in shares)


def _model_text(models: Mapping[str, Modelled], entry: Entry) -> str:
    model = models.get(entry.scheme)
    return number_text(None if model is None else model.efficiency_of(entry.seed), 3)


def _run_row(
    entry: Entry, models: Mapping[str, Modelled], *, placed: bool, faults: bool, mice: bool, waits: bool
) -> tuple[str, ...]:
    packets = ("dropped_packets", "retransmitted_segments", "out_of_order_packets")
    return (
        entry.scheme,
        str(entry.seed),
        entry.verdict,
        time_text(entry.number("completion_s")),
        number_text(entry.number("busbw_mbps"), 2),
        number_text(entry.number("efficiency"), 3),
        *((number_text(entry.number(PATHS_ALLOW), 3),) if placed else ()),
        *((_model_text(models, entry),) if models else ()),
        number_text(entry.number("uplink_utilization"), 3),
        number_text(entry.number("latency_ms", "p50"), 1),
        number_text(entry.number("latency_ms", "p99"), 1),
        *((number_text(entry.number("dgsq_wait_ms", key), 0) for key in ("p50", "p99")) if waits else ()),
        *((number_text(entry.number("mice_latency_ms", key), 1) for key in ("p50", "p99")) if mice else ()),
        *(cell(entry) for _header, cell in cross_columns(entry.run.scenario)),
        "/".join(number_text(entry.number(key), 0) for key in packets),
        *((number_text(entry.number("outage_ms"), 0),) if faults else ()),
    )


def scheme_grid(comparison: Comparison) -> Grid:
    """Return one column per scheme: mean (smallest..largest) over its runs, beside what to expect."""
    lines = _scheme_lines(comparison)
    return Grid(
        title=f"{comparison.scenario.name}: schemes compared",
        headers=("", *comparison.schemes),
        rows=tuple((name, *(cell(comparison, scheme) for scheme in comparison.schemes)) for name, cell in lines),
        notes=tuple(_scheme_notes(comparison)),
    )


def _scheme_lines(comparison: Comparison) -> list[SchemeLine]:
    """Return the lines of a comparison: a name, and the cell of a scheme."""

    def times(*keys: str) -> Callable[[Comparison, str], str]:
        return lambda c, scheme: of_runs(c, scheme, keys, _times(c.spread(scheme, *keys)))

    def numbers(digits: int, *keys: str) -> Callable[[Comparison, str], str]:
        return lambda c, scheme: of_runs(c, scheme, keys, _spread(c.spread(scheme, *keys), digits))

    scenario = comparison.scenario
    if scenario.workload.training is not None:
        return _training_lines(comparison, times, numbers)
    kind, several = scenario.workload.kind, scenario.workload.jobs > 1
    return [
        ("runs", _runs),
        ("completion time, s", times("completion_s")),
        *((("  of the first job, s", times("jobs", "first_s")),) if several else ()),
        ("ideal time, s", times("ideal_s")),
        ("busbw, Mbit/s", numbers(2, "busbw_mbps")),
        ("efficiency", numbers(3, "efficiency")),
        ("  expected of hashing", _expected),
        ("  its paths allow", numbers(3, "predicted_efficiency")),
        *((("  the fluid model has", _fluid),) if comparison.fluid_efficiency else ()),
        (f"speed-up over {comparison.schemes[0]}", _speedup),
        *((("  over hashing as expected", _over_expected),) if comparison.ecmp_expectation is not None else ()),
        *((("fairness of pairs (Jain)", numbers(3, "fairness")),) if scenario.workload.independent else ()),
        *((("receiver's link used", numbers(3, "receiver_utilization")),) if kind == "incast" else ()),
        *_fabric_lines(comparison, numbers),
    ]


def _fabric_lines(comparison: Comparison, numbers: Callable[..., Callable[[Comparison, str], str]]) -> list[SchemeLine]:
    """Return what the fabric did meanwhile, whatever the workload."""
    scenario, mice = comparison.scenario, comparison.scenario.workload.mice_interval_ms
    timed_out = any(entry.number("tcp_timeouts") is not None for entry in comparison.entries)
    return [
        ("loaded uplinks used", numbers(3, "uplink_utilization")),
        ("latency of probes p50, ms", numbers(1, "latency_ms", "p50")),
        ("latency of probes p99, ms", numbers(1, "latency_ms", "p99")),
        *_lost_lines(comparison, numbers, "  probes lost", "latency_ms"),
        *(_wait_lines(numbers) if comparison.waits_at_source else ()),
        *((("small messages p50, ms", numbers(2, "mice_latency_ms", "p50")),) if mice else ()),
        *((("small messages p99, ms", numbers(2, "mice_latency_ms", "p99")),) if mice else ()),
        *_lost_lines(comparison, numbers, "  small messages not arrived", "mice_latency_ms"),
        *((name, numbers(digits, *keys)) for name, digits, keys in cross_lines(scenario)),
        ("packets dropped", numbers(0, "dropped_packets")),
        ("segments resent", numbers(0, "retransmitted_segments")),
        *((("  timers that expired", numbers(0, "tcp_timeouts")),) if timed_out else ()),
        ("largest queue to a host, bytes", numbers(0, "queue_max_bytes", "host_rx")),
        *((("outage, ms", numbers(0, "outage_ms")),) if scenario.faults else ()),
        *((("path left, ms", _left("recovery_ms")),) if scenario.faults else ()),
        *((("  at its own leaf, ms", _left("local_recovery_ms")),) if scenario.faults else ()),
        *(_agent_lines(numbers) if any("agents" in entry.summary for entry in comparison.entries) else ()),
    ]


def _lost_lines(
    comparison: Comparison, numbers: Callable[..., Callable[[Comparison, str], str]], name: str, latency: str
) -> list[SchemeLine]:
    """Return how many never arrived, where some did not: percentiles are of the others, so losses flatter them."""
    some = any(entry.number(latency, "lost") for entry in comparison.entries)
    return [(name, numbers(0, latency, "lost"))] if some else []


def _left(key: str) -> Callable[[Comparison, str], str]:
    """Return the cell of a time until a broken path was left."""
    return lambda comparison, scheme: left_text(comparison, scheme, key)


def _wait_lines(numbers: Callable[..., Callable[[Comparison, str], str]]) -> list[SchemeLine]:
    """Return how long what probes pass waits."""
    return [
        ("  bulk's wait at its source p50, ms", numbers(0, "dgsq_wait_ms", "p50")),
        ("  bulk's wait at its source p99, ms", numbers(0, "dgsq_wait_ms", "p99")),
    ]


def _training_lines(
    comparison: Comparison,
    times: Callable[..., Callable[[Comparison, str], str]],
    numbers: Callable[..., Callable[[Comparison, str], str]],
) -> list[SchemeLine]:
    """Return the lines of training iterations: whole, communication's part of it, operation by operation."""
    return [
        ("runs", _runs),
        ("iteration time, s", times("completion_s")),
        ("  on an ideal network, s", times("ideal_s")),
        ("  computing, s", times("training", "compute_s")),
        ("exposed communication share", numbers(3, "training", "exposed_share")),
        ("  on an ideal network", numbers(3, "training", "ideal_exposed_share")),
        (f"speed over {comparison.schemes[0]}", _speedup),
        ("share of the ideal speed", numbers(3, "efficiency")),
        ("  its paths allow", numbers(3, "predicted_efficiency")),
        *(
            line
            for name in operation_kinds(comparison)
            for line in (
                (f"{name}, s an iteration", times("training", "operations", name, "seconds")),
                ("  on an ideal network, s", times("training", "operations", name, "ideal_s")),
            )
        ),
        *_fabric_lines(comparison, numbers),
    ]


def _agent_lines(numbers: Callable[..., Callable[[Comparison, str], str]]) -> list[SchemeLine]:
    """Return what agents did to frames, and what they cost."""
    return [
        ("frames dropped by agents", numbers(0, "agents", "dropped")),
        ("frames resent by agents", numbers(0, "agents", "retransmitted")),
        ("frames lost between agents", numbers(0, "agents", "lost_in_fabric")),
        ("agents' processors", numbers(2, "details", "cpu", "roles", "gsp", "run_cores")),
        ("  share of waiting for one", numbers(2, "agents_wait_fraction")),
        ("  µs per host frame", numbers(0, "agent_cpu_us_per_frame")),
        ("  control frames", numbers(3, "control_fraction")),
    ]


def _scheme_notes(comparison: Comparison) -> Iterator[str]:
    training = comparison.scenario.workload.training is not None
    yield "mean (smallest..largest) over runs" + ("" if training else "; efficiency: busbw over its limit")
    if training:
        yield from training_notes(comparison)
    if comparison.ecmp_expectation is not None:
        yield "expected: Monte Carlo mean, and where 95% of the means over as many seeds fall"
    elif "ecmp" in comparison.schemes and not training:
        yield (
            "nothing is expected of ecmp with other traffic, faults, random placement, pairs that do not go in step, "
            f"more than {MAX_ROUTES} pairs x flows x paths, or no usable run"
        )
    if not training and comparison.fluid_efficiency:
        yield f"the fluid {MODEL_HAS}"
    if comparison.waits_at_source:
        yield PROBES_PASS_THE_BULK
    if comparison.ecmp_expectation is not None and len(comparison.schemes) > 1:
        yield (
            "over hashing as expected: mean time of all placements hashing can lead to, without what TCP loses, over "
            "the scheme's (largest..smallest): a few seeds of ecmp may be kind or unkind, this is not"
        )
    if len(comparison.schemes) > 1:
        yield (
            "speed-up: geometric mean of time ratios paired by seed (smallest..largest; "
            f"from {PAIRS_FOR_AN_INTERVAL} pairs on 95% confidence interval of the mean; how many where seeds lack one)"
        )
    yield from origin_texts(comparison.entries)
    yield from filter(None, (left_out_text(comparison), failed_text(comparison)))


def _runs(comparison: Comparison, scheme: str) -> str:
    return ", ".join(f"{number} {verdict}" for verdict, number in comparison.verdict_counts(scheme).items())


def _expected(comparison: Comparison, scheme: str) -> str:
    found = comparison.ecmp_expectation
    if found is None or scheme != "ecmp":
        return NOT_MEASURED
    return f"{found.efficiency.mean:.3f} ({found.efficiency.low:.3f}..{found.efficiency.high:.3f})"


def _fluid(comparison: Comparison, scheme: str) -> str:
    return number_text(comparison.fluid_efficiency.get(scheme), 3)


def _speedup(comparison: Comparison, scheme: str) -> str:
    ratio = comparison.speedup(scheme)
    if ratio is None or scheme == comparison.schemes[0]:
        return NOT_MEASURED
    if ratio.pairs == 1:
        return f"{ratio.mean:.2f} (one pair)"
    low, high = ratio.told
    few = f"; {ratio.pairs} pairs" if ratio.pairs < _seeds_asked(comparison, scheme) else ""
    return f"{ratio.mean:.2f} ({low:.2f}..{high:.2f}{few})"


def _seeds_asked(comparison: Comparison, scheme: str) -> int:
    """Return how many seeds the first scheme or this one was run with, whatever became of it."""
    both = (comparison.schemes[0], scheme)
    seeds = {entry.seed for entry in (*comparison.entries, *comparison.left_out) if entry.scheme in both}
    return len(seeds | {one.seed for one in comparison.failed if one.scheme in both})


def _over_expected(comparison: Comparison, scheme: str) -> str:
    """Return how many times faster than what hashing leads to on the mean of all its placements."""
    found, times = comparison.ecmp_expectation, comparison.spread(scheme, "completion_s")
    ideal_s = comparison.entries[0].number("ideal_s")
    if found is None or times is None or ideal_s is None or scheme == "ecmp" or not times.smallest:
        return NOT_MEASURED
    hashed_s = found.slowdown.mean * ideal_s
    return _spread(Spread(hashed_s / times.mean, hashed_s / times.largest, hashed_s / times.smallest), 2)


def _times(spread: Spread | None) -> str:
    return _spread(spread, time_digits(spread.smallest) if spread else 0)


def _spread(spread: Spread | None, digits: int) -> str:
    return NOT_MEASURED if spread is None else spread_text(spread, digits)


def rendered(grids: Sequence[Grid]) -> RenderableType:
    """Return tables for the terminal: whatever is in them is text, neither markup nor an escape."""
    parts: list[RenderableType] = []
    for grid in grids:
        title = _text(grid.title)
        table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), header_style="bold")
        for index, header in enumerate(grid.headers):
            table.add_column(_text(header), justify="left" if index < grid.labels else "right", overflow="fold")
        for row in grid.rows:
            table.add_row(*(_text(cell, VERDICT_STYLES.get(cell, "")) for cell in row))
        parts += [table, *(_text(note, "dim") for note in grid.notes), Text("")]
    return Group(*parts)


def _text(text: str, style: str = "") -> Text:
    """Return text whose width is what will be seen of it; headers break lines."""
    return Text("\n".join(map(printable, text.split("\n"))), style=style)
