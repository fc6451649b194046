"""Distributions of what probes and small messages took, all runs of a scheme together."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.evaluation.records import MessageRow, ProbeRow
from testbed.views.cells import number_text
from testbed.views.colours import scheme_colour
from testbed.views.comparison import Comparison, iteration_name
from testbed.views.drawn import distribution, latencies_ms
from testbed.views.paper import ONE_COLUMN_CM, captioned, framed
from testbed.views.waits import source_wait_ms, waits_caption
from testbed.views.words import arrived_percentile, scheme_texts

LEAST_WAIT_MS = 0.1  # drawn on a logarithmic axis


def latency(comparison: Comparison, width_cm: float = ONE_COLUMN_CM) -> tuple[Figure, str] | None:
    """Distribution of one-way probe latency per scheme, all its runs together; lost probes never arrive."""
    drawn = _distribution(comparison, ProbeRow, "probe", "small probes", width_cm)
    if drawn is None or not comparison.waits_at_source:
        return drawn
    figure, caption = drawn
    _mark_waits(figure.axes[0], comparison)
    return figure, caption + waits_caption(comparison)


def _mark_waits(axes: Axes, comparison: Comparison) -> None:
    """Show from where to where, p50 to p99, the bulk waits at its source, below the curves, in the schemes' colours."""
    waiting = [(scheme, found) for scheme in comparison.schemes if (found := source_wait_ms(comparison, scheme))]
    for index, (scheme, wait_ms) in enumerate(waiting):
        ends = [max(value, LEAST_WAIT_MS) for value in wait_ms if value is not None]
        y = -0.07 * (index + 1)
        axes.plot(ends, [y] * len(ends), "|-", color=scheme_colour(scheme), lw=1.6, ms=5, mew=1.2)
        axes.annotate("bulk at source ", (ends[0], y), ha="right", va="center", fontsize=5)
    axes.set_ylim(-0.07 * (len(waiting) + 1), 1.01)
    axes.set_yticks([tick / 5 for tick in range(6)])
    axes.axhline(0, color="black", lw=0.4)


def messages(comparison: Comparison, width_cm: float = ONE_COLUMN_CM) -> tuple[Figure, str] | None:
    """The same of small messages over TCP, where the workload has some."""
    return _distribution(comparison, MessageRow, "message", "small messages over TCP", width_cm)


def _distribution(
    comparison: Comparison, row_type: type[ProbeRow] | type[MessageRow], noun: str, what: str, width_cm: float
) -> tuple[Figure, str] | None:
    figure = framed(comparison, width_cm, 6.2)
    axes = figure.subplots()
    texts: dict[str, str] = {}
    for scheme in comparison.schemes:
        sent, arrived_ms = latencies_ms(comparison.of(scheme), row_type)
        if not arrived_ms:
            continue
        middle, p99 = (number_text(arrived_percentile(arrived_ms, percent), 1) for percent in (50, 99))
        texts[scheme] = f"{middle} / {p99}"
        lost = f", {sent - len(arrived_ms)} lost" if sent > len(arrived_ms) else ""
        label = f"{scheme} ({sent} {noun}s{lost})"
        axes.step(*distribution(sent, arrived_ms), where="post", color=scheme_colour(scheme), label=label)
    if not texts:
        return None
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(f"one-way latency of a {noun} (ms)")
    axes.set_ylabel(f"share of {noun}s arrived")
    axes.set_ylim(0, 1.01)
    axes.grid(visible=True, which="both", axis="x", lw=0.3, color="0.85")
    figure.legend(loc="outside lower center", ncols=1 if len(comparison.schemes) < 3 else 2)
    name = iteration_name(comparison.scenario)
    text = f"One-way latency of {what} sent while the {name} ran, all runs of a scheme together."
    text += f" p50 / p99 of those that arrived, ms: {scheme_texts(comparison, texts)}."
    return figure, captioned(comparison, text)
