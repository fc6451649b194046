"""Numbers as captions and sentences have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from testbed.percentile import P99_MIN_SAMPLES, nearest_rank
from testbed.views.cells import NOT_MEASURED, number_text
from testbed.views.comparison import Comparison, Entry, Spread

SIGNIFICANT: Final = 4


def number(value: float) -> str:
    """Return a number as captions show it: four significant digits at most, none of them lost before the point."""
    return f"{value:.0f}" if abs(value) >= 10**SIGNIFICANT else f"{value:.{SIGNIFICANT}g}"


def spread_text(spread: Spread, digits: int, unit: str = "") -> str:
    """Return mean and range, the range only where there is one."""
    mean, low, high = (number_text(value, digits) for value in (spread.mean, spread.smallest, spread.largest))
    after = f" {unit}" if unit else ""
    return f"{mean}{after}" if low == high else f"{mean}{after} ({low}..{high})"


def left_text(comparison: Comparison, scheme: str, key: str) -> str:
    """Return how long GSPs used a broken path, in ms, and in how many runs one used it on: those have no time."""
    spread = comparison.spread(scheme, key)
    never = sum(entry.never_left(key) for entry in comparison.of(scheme))
    known = [] if spread is None else [spread_text(spread, 0)]
    return ", ".join([*known, *([f"never in {never} run{'s' if never > 1 else ''}"] if never else [])]) or NOT_MEASURED


def of_runs(comparison: Comparison, scheme: str, keys: Sequence[str], text: str) -> str:
    """Return what is said of a number, with how many runs have it where others of the scheme have none.

    Those may be the best (no pause because of a fault) or the worst (no p99, for most was lost).
    """
    runs = comparison.of(scheme)
    known = sum(entry.number(*keys) is not None for entry in runs)
    return f"{text} in {known} of {len(runs)} runs" if 0 < known < len(runs) else text


def reason_texts(entries: Sequence[Entry]) -> list[str]:
    """Return why runs have the verdicts they have, one text a reason."""
    return [f"{e.scheme} seed {e.seed} {e.verdict}: {reason}" for e in entries for reason in e.reasons]


def unjudged_text(entries: Sequence[Entry]) -> str | None:
    """Return which runs' speed no check judges, whatever their verdict; None where there are none."""
    schemes = dict.fromkeys(entry.scheme for entry in entries if entry.speed_is_unjudged)
    if not schemes:
        return None
    return (
        f"speed not judged ({', '.join(schemes)}): no check knows how fast these runs should have been (several flows "
        "of a hop on shared links, faults, other traffic and the like); VALID says only that the emulator kept up"
    )


def scheme_texts(comparison: Comparison, texts: Mapping[str, str]) -> str:
    """Return ``ecmp ..., gse1 ...`` in the scenario's order."""
    return "; ".join(f"{scheme} {texts[scheme]}" for scheme in comparison.schemes if scheme in texts)


def arrived_percentile(arrived: Sequence[float], percent: int) -> float | None:
    """Return a percentile of what arrived, by nearest rank; none from 99 on where too few arrived to say."""
    return None if percent >= 99 and len(arrived) < P99_MIN_SAMPLES else nearest_rank(arrived, percent)
