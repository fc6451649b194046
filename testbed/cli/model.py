"""``--within-model``: measured efficiencies held against the fluid model, as an exit status. Not a command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from testbed.cli.options import fraction
from testbed.fidelity import SLOW, WRONG
from testbed.results.run import Run
from testbed.views.comparison import VALID, Comparison, Entry, compare

# Checks that say a run was slow, or not what was asked for: one that is not VALID for these is left out for its result.
OF_RESULTS: Final = SLOW | WRONG | {"short_of_grants", "beyond_placement"}


def add_within_model(parser: argparse.ArgumentParser) -> None:
    """Add ``--within-model``."""
    parser.add_argument(
        "--within-model",
        metavar="W",
        type=fraction,
        help="for CI: exit status 1 when the mean efficiency of a scheme's VALID runs is farther than W (0.05: 5%%) "
        "from what the fluid model has for their seeds, when a scheme has no VALID run or lost one for its own result "
        "(it was slow or wrong), or when there is nothing to hold against the model",
    )


def within_model_status(width: float, runs: Sequence[Run]) -> int:
    """Return 1, and say why on stderr, where ``--within-model`` is not kept, else 0.

    Runs that are not VALID have no part in means. Where one of them is not for being slow or wrong, what the others
    have is no answer: the farther a run is from the model, the sooner a check takes it out of the mean.
    """
    finished = [run for run in runs if run.summary is not None]
    known = [
        (scheme, comparison.of(scheme))
        for comparison in (compare(finished, allow_invalid=True) if finished else ())
        for scheme in comparison.fluid_efficiency
    ]
    valid = [run for run in finished if run.summary is not None and run.summary["verdict"] == VALID]
    held = [one for comparison in compare(valid, allow_invalid=False) for one in _held(comparison)] if valid else []
    if not held:
        print("gse: --within-model: no VALID run of a kind the fluid model knows", file=sys.stderr)
        return 1
    wrong = [
        f"{scheme} has {mean:.3f} of the limit, the fluid model {model:.3f} ({mean / model - 1:+.1%})"
        for scheme, mean, model in held
        if abs(mean / model - 1) > width
    ]
    wrong += [f"{scheme}: {why}" for scheme, entries in known if (why := _left_out(entries))]
    if unknown := sorted({run.scheme for run in finished} - {scheme for scheme, _entries in known}):
        print(f"gse: --within-model: the fluid model knows nothing of {', '.join(unknown)}", file=sys.stderr)
    for text in wrong:
        print(f"gse: --within-model {width:g}: {text}", file=sys.stderr)
    return int(bool(wrong))


def _held(comparison: Comparison) -> Iterator[tuple[str, float, float]]:
    """Yield scheme, measured mean and the model's, of the schemes that have both."""
    for scheme, model in comparison.fluid_efficiency.items():
        measured = comparison.spread(scheme, "efficiency")
        if measured is not None:
            yield scheme, measured.mean, model


def _left_out(entries: Sequence[Entry]) -> str:
    """Return why the VALID ones of these runs are no answer; empty where they are."""
    doubted = [entry for entry in entries if entry.verdict != VALID]
    if len(doubted) == len(entries):
        return "no VALID run"
    told = [OF_RESULTS.intersection(_checks(entry)) for entry in doubted]
    number, names = sum(bool(one) for one in told), ", ".join(sorted({name for one in told for name in one}))
    if not number:
        return ""
    verb = "is" if number == 1 else "are"
    return f"{number} of {len(entries)} runs {verb} not VALID for being slow or wrong ({names}), and in no mean"


def _checks(entry: Entry) -> list[str]:
    found = entry.summary.get("checks")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
