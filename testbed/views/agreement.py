"""Predictions of the fluid model beside what was measured, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from testbed.fluid.validation import Agreement, BandAgreement, OfAllowed
from testbed.units import bytes_to_text
from testbed.views.cells import Grid, number_text

INSIDE: Final[Mapping[bool | None, str]] = {None: "not run", True: "yes", False: "no"}


def agreement_grid(found: Sequence[Agreement], what: str) -> Grid:
    """Return a line per run; ``what`` they are together. Cases that were not run are no agreement, and are counted."""
    measured = [one for one in found if one.agrees is not None]
    good = sum(bool(one.agrees) for one in measured)
    within = f"{found[0].within:.0%}"
    claim = f"predicted within {within}"
    if any(one.is_bound for one in found):
        claim = f"not faster than the bound (by more than {within})"
    missing = len(found) - len(measured)
    unknown = f"; {missing} without a run that counts" if missing else ""
    return Grid(
        title=f"{what}: {good} of {len(measured)} measured runs {claim}{unknown}",
        headers=(
            "case",
            "scheme",
            "seed",
            "predicted\ns",
            "measured\ns",
            "off",
            "efficiency\npredicted",
            "measured",
            "",
        ),
        rows=tuple(
            (
                one.what,
                one.scheme,
                str(one.seed),
                number_text(one.predicted_s, 3),
                number_text(one.measured_s, 3),
                "-" if one.off is None else f"{one.off:+.1%}",
                number_text(one.predicted_efficiency, 3),
                number_text(one.measured_efficiency, 3),
                one.verdict or "not run",
            )
            for one in found
        ),
        notes=("off: predicted time over measured, minus 1; runs that are INVALID do not count, SUSPECT ones do",),
        labels=3,
    )


def band_grid(found: Sequence[BandAgreement]) -> Grid:
    """Return a line per fabric and flow count: the measured mean beside where means are expected."""
    measured = [one for one in found if one.agrees is not None]
    inside = f"{sum(bool(one.agrees) for one in measured)} of {len(measured)} inside what the model has"
    bounded = f"{sum(bool(one.within_bound) for one in measured)} inside what random paths allow"
    return Grid(
        title=f"ecmp, measured means over seeds, and where 95% of such means fall: {inside}, {bounded}",
        headers=(
            "fabric",
            "flows\nper hop",
            "measured",
            "model\n(95%)",
            "inside",
            "paths allow\n(95%)",
            "inside",
            "runs\nVALID",
        ),
        rows=tuple(
            (
                one.case.fabric,
                str(one.case.flows),
                number_text(one.measured, 3),
                _band(one.modelled),
                INSIDE[one.agrees],
                _band((one.low, one.high)),
                INSIDE[one.within_bound],
                "-" if one.measured is None else f"{one.valid} of {one.seeds}",
            )
            for one in found
        ),
        notes=(
            "efficiency; runs that are INVALID do not count; links are not calibrated before these runs, nor probed",
            "model: the fluid model with the paths that 200 seeds hash to; acknowledgements, and what slices wait for "
            "each other, counted in",
            "paths allow: the oracle, with random paths: a bound, as if links were never idle and had nothing but data",
            "VALID: of one flow a hop also that no run is far slower than its paths allow; of several flows that share "
            "links no check judges speed",
        ),
        labels=2,
    )


def allowed_grid(found: Sequence[BandAgreement]) -> Grid:
    """Return a line per fabric and flow count: the measured mean beside what the paths of these very runs allow."""
    return Grid(
        title="The same runs beside the paths they took: what TCP made of them, no luck of hashes in it",
        headers=(
            "fabric",
            "flows\nper hop",
            "array, link, queue",
            "model",
            "paths\nallow",
            "measured",
            "of allowed,\nmedian (95%)",
            "least",
        ),
        rows=tuple(
            (
                one.case.fabric,
                str(one.case.flows),
                _setting(one),
                number_text(one.predicted, 3),
                number_text(one.allowed, 3),
                number_text(one.measured, 3),
                *_of_allowed(one.of_allowed),
            )
            for one in found
        ),
        notes=(
            "efficiency, means over these seeds; model: with the paths they hash to; paths allow: with those recorded "
            "in the runs",
            "of allowed: measured over allowed of each run: median, interval by order statistics, the least",
        ),
        labels=2,
    )


def _setting(found: BandAgreement) -> str:
    fabric = found.case.scenario.fabric
    array, queue = bytes_to_text(found.case.size_bytes), bytes_to_text(found.case.queue_bytes)
    return f"{array}, {number_text(fabric.link_rate_mbps, 0)} Mbit/s, {queue}"


def _of_allowed(found: OfAllowed | None) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    around = "" if found.interval is None else f" ({_band(found.interval)})"
    return f"{number_text(found.median, 3)}{around}", number_text(found.least, 3)


def _band(ends: tuple[float, float]) -> str:
    return "..".join(number_text(end, 3) for end in ends)
