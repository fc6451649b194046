"""How long the bulk waits at its source, where probes pass it: numbers and words for figures on paper and on pages."""

from __future__ import annotations

from testbed.views.comparison import Comparison, Entry

Wait = tuple[float, float | None]  # p50 and p99, in ms


def source_wait_ms(comparison: Comparison, scheme: str) -> Wait | None:
    """Return means over a scheme's runs of p50 and p99 of what hosts' frames wait at their source; None: no queues."""
    p50, p99 = (comparison.spread(scheme, "dgsq_wait_ms", key) for key in ("p50", "p99"))
    return None if p50 is None else (p50.mean, None if p99 is None else p99.mean)


def run_wait_ms(entry: Entry) -> Wait | None:
    """Return the same of one run."""
    p50_ms, p99_ms = (entry.number("dgsq_wait_ms", key) for key in ("p50", "p99"))
    return None if p50_ms is None else (p50_ms, p99_ms)


def wait_words(wait_ms: Wait) -> str:
    """Return ``p50 116 ms, p99 387 ms``."""
    p50_ms, p99_ms = wait_ms
    return f"p50 {p50_ms:.0f} ms" + ("" if p99_ms is None else f", p99 {p99_ms:.0f} ms")


def waits_caption(comparison: Comparison) -> str:
    """Return what a caption adds, a space before it; empty where no frames wait at their source."""
    found = [(scheme, wait) for scheme in comparison.schemes if (wait := source_wait_ms(comparison, scheme))]
    if not found:
        return ""
    told = "; ".join(f"{scheme} {wait_words(wait)}" for scheme, wait in found)
    return (
        " Probes have queues of their own where senders ask and pass the bulk, so theirs is not the bulk's delay: that "
        f"waits at its source ({told}; means over runs of the agent with the longest waits)."
    )
