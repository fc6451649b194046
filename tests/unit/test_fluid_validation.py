"""What counts as agreement of a prediction with a run, of a bound, and of means over seeds with their band."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.fluid.case import Case
from testbed.fluid.predict import outcomes
from testbed.fluid.validation import BANDS, OPTIMA, WITHIN_OF_OPTIMUM, Agreement, BandAgreement, OfAllowed
from testbed.model.fabric_spec import FabricSpec
from testbed.views.agreement import agreement_grid, allowed_grid, band_grid

PREDICTED_S = 10.0


def agreement(measured_s: float | None, *, is_bound: bool = False) -> Agreement:
    return Agreement(
        what="ring",
        scheme="gse1",
        seed=1,
        predicted_s=PREDICTED_S,
        predicted_efficiency=0.9,
        measured_s=measured_s,
        measured_efficiency=None,
        verdict=None,
        is_bound=is_bound,
    )


@pytest.mark.parametrize(
    ("measured_s", "is_bound", "agrees"),
    [
        (None, False, None),
        (9.6, False, True),  # 4% off
        (9.4, False, False),
        (10.4, False, True),
        (10.6, False, False),
        (None, True, None),
        (20.0, True, True),  # slower than the bound, as it may be
        (9.6, True, True),
        (9.4, True, False),  # faster than anything should be
    ],
)
def test_a_prediction_is_off_either_way_and_a_bound_one_way(
    measured_s: float | None, is_bound: bool, agrees: bool | None
) -> None:
    found = agreement(measured_s, is_bound=is_bound)
    assert found.agrees is agrees
    assert found.off == (None if measured_s is None else pytest.approx(PREDICTED_S / measured_s - 1))


def test_what_was_not_run_is_counted_beside_what_agrees() -> None:
    some = agreement_grid([agreement(9.6), agreement(None), agreement(None), agreement(9.4)], "cases")
    assert some.title == "cases: 1 of 2 measured runs predicted within 5%; 2 without a run that counts"
    assert agreement_grid([agreement(9.6)], "cases").title == "cases: 1 of 1 measured runs predicted within 5%"


def test_what_tcp_made_of_the_paths_and_how_many_runs_are_valid_stand_beside_the_mean() -> None:
    found = BandAgreement(
        case=BANDS[0],
        seeds=3,
        low=0.3,
        high=0.5,
        modelled=(0.29, 0.39),
        predicted=0.38,
        allowed=0.41,
        measured=0.4,
        of_allowed=OfAllowed(0.972, (0.961, 0.984), 0.901),
        valid=2,
    )
    several = [found, replace(found, measured=None, of_allowed=None), replace(found, measured=0.6)]
    means, alone = band_grid(several), allowed_grid(several)
    assert means.rows[0] == ("2x2x2", "1", "0.400", "0.290..0.390", "no", "0.300..0.500", "yes", "2 of 3")
    assert [row[2:5] for row in means.rows[1:]] == [("-", "0.290..0.390", "not run"), ("0.600", "0.290..0.390", "no")]
    assert means.title.endswith(": 0 of 2 inside what the model has, 1 inside what random paths allow")
    setting = "1 MiB, 10 Mbit/s, 256 KiB"
    assert alone.rows[0] == ("2x2x2", "1", setting, "0.380", "0.410", "0.400", "0.972 (0.961..0.984)", "0.901")
    assert [row[-3:] for row in alone.rows[1:]] == [("-", "-", "-"), ("0.600", "0.972 (0.961..0.984)", "0.901")]


def test_queues_have_room_for_a_frame_of_each_flow() -> None:
    for band in BANDS:
        fabric = band.scenario.fabric
        evenly = band.flows * band.hosts_per_leaf / fabric.paths
        assert fabric.queue_bytes >= evenly * 9014, band.name
    assert [band.name for band in BANDS if band.queue_bytes != FabricSpec().queue_bytes] == ["band_4x2x4_16"]


def test_a_mean_agrees_inside_its_band() -> None:
    found = BandAgreement(
        case=BANDS[0],
        seeds=3,
        low=0.3,
        high=0.5,
        modelled=(0.29, 0.49),
        predicted=0.4,
        allowed=None,
        measured=None,
    )
    assert found.agrees is found.within_bound is found.holds is None
    told = [replace(found, measured=measured) for measured in (0.28, 0.29, 0.3, 0.49, 0.5, 0.51)]
    assert [one.agrees for one in told] == [False, True, True, True, False, False]
    assert [one.within_bound for one in told] == [False, False, True, True, True, False]
    assert [one.holds for one in told] == [False, False, True, True, False, False]


@pytest.mark.parametrize(("measured_s", "agrees"), [(9.75, True), (9.65, False), (10.25, True), (10.35, False)])
def test_the_optimum_is_held_to_three_percent(measured_s: float, agrees: bool) -> None:
    found = Agreement(
        what="ring",
        scheme="gse2-n2n",
        seed=1,
        predicted_s=PREDICTED_S,
        predicted_efficiency=0.98,
        measured_s=measured_s,
        measured_efficiency=None,
        verdict=None,
        within=WITHIN_OF_OPTIMUM,
    )
    assert found.agrees is agrees


def test_every_band_has_its_optimum_on_the_same_fabric_which_no_seed_changes() -> None:
    assert len({case.name for case in OPTIMA}) == len(OPTIMA) == len(BANDS) == 18
    for band, case in zip(BANDS, OPTIMA, strict=True):
        own = {name: getattr(case.scenario.fabric, name) for name in ("link_rate_mbps", "queue_bytes")}
        assert case.scenario.fabric == band.scenario.fabric.model_copy(update=own), "but for rates and queues"
        assert case.scenario.workload.flows_per_hop == band.flows
        assert case.scheme == "gse2-n2n" and not Case(case.scenario, case.scheme, case.seed).depends_on_seed
    (found,) = outcomes([Case(OPTIMA[0].scenario, OPTIMA[0].scheme, 1)])
    assert 0.9 < found.efficiency < 1
