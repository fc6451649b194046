"""``--within-model``: measured efficiencies held against the fluid model, as an exit status. Not a command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from testbed.cli.options import fraction
from testbed.results.store import Run
from testbed.views.comparison import Comparison, compare


def add_within_model(parser: argparse.ArgumentParser) -> None:
    """Add ``--within-model``."""
    parser.add_argument(
        "--within-model",
        metavar="W",
        type=fraction,
        help="for CI: exit status 1 when the mean efficiency of a scheme's VALID runs is farther than W (0.05: 5%%) "
        "from what the fluid model has for their seeds, or when there is nothing to hold against it",
    )


def within_model_status(width: float, runs: Sequence[Run]) -> int:
    """Return 1, and say why on stderr, where ``--within-model`` is not kept, else 0."""
    valid = [run for run in runs if run.summary is not None and run.summary["verdict"] == "VALID"]
    held = [one for comparison in compare(valid, allow_invalid=False) for one in _held(comparison)] if valid else []
    if not held:
        print("gse: --within-model: no VALID run of a kind the fluid model knows", file=sys.stderr)
        return 1
    known = {scheme for scheme, _mean, _model in held}
    if unheld := sorted({run.scheme for run in runs} - known):
        why = "no VALID run, or of a kind the fluid model does not know"
        print(f"gse: --within-model: nothing is held of {', '.join(unheld)}: {why}", file=sys.stderr)
    off = [(scheme, mean, model) for scheme, mean, model in held if abs(mean / model - 1) > width]
    for scheme, mean, model in off:
        print(
            f"gse: --within-model {width:g}: {scheme} has {mean:.3f} of the limit, the fluid model "
            f"{model:.3f} ({mean / model - 1:+.1%})",
            file=sys.stderr,
        )
    return int(bool(off))


def _held(comparison: Comparison) -> Iterator[tuple[str, float, float]]:
    """Yield scheme, measured mean and the model's, of the schemes that have both."""
    for scheme, model in comparison.fluid_efficiency.items():
        measured = comparison.spread(scheme, "efficiency")
        if measured is not None:
            yield scheme, measured.mean, model
