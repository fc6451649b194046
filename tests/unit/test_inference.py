"""Statistics of few runs: against tables and identities, and by Monte Carlo where only that can tell."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.inference.contrast import LEAST_RUNS, REPEATABILITY, Contrast, holm, paired, unpaired
from testbed.inference.pairing import NOTHING_TO_TEST, Measured, contrasted, pairs_of
from testbed.inference.speedup import paired_speedup
from testbed.inference.stopping import LEAST_SEEDS, Reach, reach
from testbed.inference.student import two_sided_p, two_sided_quantile, upper_tail
from testbed.inference.words import change_text, changes_text, p_text, size_word

LOGS = st.lists(st.floats(-3, 3), min_size=LEAST_RUNS, max_size=20)


# --- Student's t ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("confidence", "degrees", "t"),  # tables, e.g. NIST/SEMATECH e-Handbook 1.3.6.7.2
    [
        *((0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 4, 2.776), (0.95, 9, 2.262), (0.95, 30, 2.042)),
        *((0.99, 2, 9.925), (0.99, 10, 3.169), (0.998, 2, 22.327), (0.998, 5, 5.893), (0.8, 3, 1.638)),
    ],
)
def test_quantiles_are_those_of_tables(confidence: float, degrees: float, t: float) -> None:
    assert two_sided_quantile(confidence, degrees) == pytest.approx(t, abs=0.0006)


def test_one_degree_is_cauchy_two_have_a_formula_and_many_are_normal() -> None:
    for t in (0.01, 0.5, 1.0, 3.0, 40.0, 1e5):
        assert two_sided_p(t, 1) == pytest.approx(1 - 2 * math.atan(t) / math.pi, rel=1e-6)
        assert two_sided_p(t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t), abs=1e-12)
    assert two_sided_p(1.959964, 1e6) == pytest.approx(0.05, rel=1e-4)
    assert two_sided_p(0.0, 3) == 1
    assert two_sided_p(math.inf, 3) == 0


@given(st.floats(0.001, 0.999), st.floats(1, 300))
def test_quantile_is_the_inverse_of_the_probability(confidence: float, degrees: float) -> None:
    t = two_sided_quantile(confidence, degrees)
    assert two_sided_p(t, degrees) == pytest.approx(1 - confidence, rel=1e-6)
    assert upper_tail(t, degrees) + upper_tail(-t, degrees) == pytest.approx(1)


# --- contrasts ---------------------------------------------------------------------------------------------------


@given(LOGS)
def test_a_contrast_turned_around_says_the_same(logs: list[float]) -> None:
    there, back = paired(logs), paired([-x for x in logs])
    assert there is not None and back is not None
    assert there.ratio * back.ratio == pytest.approx(1)
    assert there.p_equal() == pytest.approx(back.p_equal())
    assert there.p_beyond(0.1) == pytest.approx(back.p_beyond(0.1))
    assert there.interval()[0] * back.interval()[1] == pytest.approx(1)


@given(LOGS, st.floats(0.001, 0.2))
def test_interval_and_significance_agree(logs: list[float], alpha: float) -> None:
    found = paired(logs)
    assert found is not None
    low, high = found.interval(1 - alpha)
    if abs(found.p_equal() - alpha) > 1e-6:
        assert (found.p_equal() < alpha) == (not low <= 1 <= high)


@given(LOGS, st.floats(0.001, 0.2), st.floats(0.01, 1))
def test_within_the_margin_is_where_the_narrower_interval_is(logs: list[float], alpha: float, margin: float) -> None:
    found = paired(logs)
    assert found is not None
    low, high = found.interval(1 - 2 * alpha)
    if abs(found.p_beyond(margin) - alpha) > 1e-6:
        assert (found.p_beyond(margin) < alpha) == (1 / (1 + margin) < low and high < 1 + margin)


def test_runs_that_agree_by_accident_are_not_taken_for_certain() -> None:
    found = paired([0.0004, 0.0004, 0.0004])
    assert found is not None
    assert found.error == pytest.approx(REPEATABILITY / math.sqrt(3))
    assert found.p_equal() > 0.5
    apart = unpaired([0.0, 0.0, 0.0], [0.0004, 0.0004, 0.0004])
    assert apart is not None and apart.p_equal() > 0.5
    assert apart.degrees == pytest.approx(4)


def test_fewer_than_three_runs_tell_nothing() -> None:
    assert paired([0.5, 0.5]) is None
    assert unpaired([0.5] * 9, [0.1, 0.1]) is None


def test_welch_is_as_in_the_textbook() -> None:
    a, b = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9], [27.1, 22.0, 20.8, 23.4, 23.4, 23.5]  # Wikipedia's, first six each
    found = unpaired(a, b, floor=1e-9)
    assert found is not None
    variances = [np.var(x, ddof=1) / 6 for x in (a, b)]
    assert found.error == pytest.approx(math.sqrt(sum(variances)))
    assert found.degrees == pytest.approx(sum(variances) ** 2 / sum(v**2 / 5 for v in variances))


def test_a_margin_is_shown_by_tight_runs_only() -> None:
    tight = Contrast(0.001, 0.001, 4, 5, is_paired=True)
    loose = Contrast(0.001, 0.05, 4, 5, is_paired=True)
    assert tight.p_beyond(0.02) < 0.001
    assert loose.p_beyond(0.02) > 0.2
    assert Contrast(0.03, 0.001, 4, 5, is_paired=True).p_beyond(0.02) > 0.99


def test_a_ratio_and_its_inverse_are_one_test_and_others_are_not() -> None:
    logs = [0.01, 0.02, 0.04]
    once, inverse, shifted = paired(logs), paired([-x for x in logs]), paired([0.05 - x for x in logs])
    more = paired([*logs, 0.05])
    assert once is not None and inverse is not None and shifted is not None and more is not None
    assert once.says_the_same(inverse) and inverse.says_the_same(once)
    assert not once.says_the_same(shifted)  # another ideal time: as steady, and another ratio
    assert not once.says_the_same(more)


# --- Holm ----------------------------------------------------------------------------------------------------------


def test_holm_is_as_in_his_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([]) == ()
    assert holm([0.9, 0.8]) == (1.0, 1.0)


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_keeps_the_order_and_lies_between_one_test_and_bonferroni(values: list[float]) -> None:
    found = holm(values)
    for p, q in zip(values, found, strict=True):
        assert min(p, 1) <= q <= min(p * len(values), 1) + 1e-12
    ranked = [q for _, q in sorted(zip(values, found, strict=True))]
    assert ranked == sorted(ranked)


# --- pairs -----------------------------------------------------------------------------------------------------


def measured(*runs: tuple[int, float | None]) -> list[Measured]:
    return [Measured(seed, {"x": number}) for seed, number in runs]


def test_the_latest_runs_of_a_seed_are_partners() -> None:
    assert pairs_of([(1, 10.0), (2, 20.0), (1, 11.0)], [(1, 12.0), (3, 30.0)]) == [(11.0, 12.0)]
    assert pairs_of([(1, 10.0), (1, 11.0)], [(1, 12.0), (1, 13.0)]) == [(11.0, 13.0), (10.0, 12.0)]


def test_seeds_in_common_make_pairs_others_are_compared_as_a_whole() -> None:
    a = measured((1, 1.0), (2, 2.0), (3, 4.0), (4, None))
    same = contrasted(a, measured((1, 1.1), (2, 2.2), (3, 4.4), (4, 9.0)), "x", is_count=False)
    assert same is not None and same.contrast is not None and same.contrast.is_paired
    assert (same.contrast.runs, same.a_runs, same.b_runs) == (3, 3, 4)
    assert same.contrast.ratio == pytest.approx(1.1)
    assert same.contrast.p_equal() < 0.001
    other = contrasted(a, measured((5, 1.1), (6, 2.2), (7, 4.4)), "x", is_count=False)
    assert other is not None and other.contrast is not None and not other.contrast.is_paired
    assert other.contrast.ratio == pytest.approx(1.1)
    assert other.contrast.p_equal() > 0.5


def test_runs_of_the_same_seed_are_one_number_for_they_share_their_hashing() -> None:
    ratios = {1: 2.0, 2: 3.0, 3: 2.0}  # of hashing, the same however often a seed is run
    often, once = (
        contrasted(
            measured(*((seed, ratio) for seed, ratio in ratios.items() for _ in range(times))),
            measured(*((seed, 1.0) for seed in ratios for _ in range(times))),
            "x",
            is_count=False,
        )
        for times in (5, 1)
    )
    assert often is not None and once is not None and often.contrast is not None and once.contrast is not None
    assert (often.contrast.runs, often.contrast.degrees, often.a_runs) == (3, 2, 15)
    assert often.contrast.interval() == pytest.approx(once.contrast.interval())
    assert often.contrast.p_equal() > 0.01  # of fifteen pairs it would be 1e-10


def test_repeated_runs_of_one_seed_tell_of_that_seed_and_nothing_of_another() -> None:
    a, b = measured((1, 2.0), (1, 2.01), (1, 2.02)), measured((1, 1.0), (1, 1.01), (1, 1.0))
    same = contrasted(a, b, "x", is_count=False)
    assert same is not None and same.contrast is not None and same.contrast.runs == 3
    other = contrasted(a, measured((2, 1.0), (2, 1.01), (2, 1.0)), "x", is_count=False)
    assert other is not None
    assert (other.contrast, other.untested) == (None, "too few seeds: 1 and 1")


def test_few_seeds_in_common_among_many_are_no_pairs_to_go_by() -> None:
    a = measured(*((seed, 2 + 0.01 * seed) for seed in range(1, 11)))
    for common, is_paired in ((range(1, 4), False), (range(1, 6), True)):
        seeds = (*common, *range(20, 30 - len(common)))
        found = contrasted(a, measured(*((seed, 1 + 0.01 * (seed % 10)) for seed in seeds)), "x", is_count=False)
        assert found is not None and found.contrast is not None
        assert (found.b_runs, found.contrast.is_paired) == (10, is_paired)
        assert found.contrast.runs == (len(common) if is_paired else 10)


def test_a_seed_in_common_that_was_repeated_does_not_speak_for_seeds_that_are_not() -> None:
    """Three pairs of seed 1, all alike, would make what happened to it certain of sets of three seeds each."""
    a = measured((1, 2.0), (1, 2.0), (1, 2.01), (2, 1.0), (3, 1.0))
    found = contrasted(a, measured((1, 1.0), (1, 1.0), (1, 1.0), (4, 1.0), (5, 2.0)), "x", is_count=False)
    assert found is not None and found.contrast is not None
    assert (found.contrast.is_paired, found.contrast.runs) == (False, 3)
    assert found.contrast.p_equal() > 0.5  # next to nothing by the pairs


@pytest.mark.parametrize(
    ("a", "b", "is_count", "why"),
    [
        ([(1, 0.0), (2, 0.0)], [(1, 0.0)], True, NOTHING_TO_TEST),
        ([(1, None)], [(1, 3.0)], False, "not measured in A"),
        ([(1, 3.0)], [(1, None)], False, "not measured in B"),
        ([(1, 3.0), (2, 3.0)], [(1, 4.0), (2, 4.0)], False, "too few runs: 2 and 2"),
        ([(1, 0.0), (2, 3.0), (3, 3.0)], [(1, 4.0), (2, 4.0), (3, 3.0)], False, "0 in some run: no ratio"),
    ],
)
def test_what_cannot_be_tested_says_why(
    a: list[tuple[int, float | None]], b: list[tuple[int, float | None]], is_count: bool, why: str
) -> None:
    found = contrasted(measured(*a), measured(*b), "x", is_count=is_count)
    assert found is not None
    assert (found.contrast, found.untested) == (None, why)
    assert contrasted(measured((1, None)), measured((2, None)), "x", is_count=is_count) is None


def test_counts_are_no_steadier_than_chance_makes_them() -> None:
    def p(a: float, b: float) -> float:
        sides = [measured(*((seed, number) for seed in range(1, 6))) for number in (a, b)]
        found = contrasted(*sides, "x", is_count=True)
        assert found is not None and found.contrast is not None
        return found.contrast.p_equal()

    assert p(0, 1) > 0.1  # one lost packet in every run, five times: may be chance
    assert p(100, 104) > 0.3
    assert p(0, 200) < 0.001
    assert p(100, 200) < 0.001


# --- by Monte Carlo ----------------------------------------------------------------------------------------------

# Speed-ups of a placement without conflicts over hashing on 4x4x4, one flow per hop: what the worst link carries, and
# how often: by 100,000 draws of four flows per leaf over four spines, worst leaf counted (mean efficiency 0.395).
SPEED_UPS = (2.0, 3.0, 4.0)
HOW_OFTEN = (0.403, 0.535, 0.062)
NOISE = 0.003


def coverage(pairs: int, repetitions: int) -> float:
    """Return how often the 95% interval of the mean log speed-up holds it."""
    rng = np.random.default_rng(pairs)
    logs = np.log(SPEED_UPS)
    truth = math.exp(float(np.dot(logs, HOW_OFTEN)))
    draws = rng.choice(logs, (repetitions, pairs), p=HOW_OFTEN) + rng.normal(0, NOISE, (repetitions, pairs))
    hits = 0
    for row in draws.tolist():
        found = paired(row)
        assert found is not None
        low, high = found.interval()
        hits += low <= truth <= high
    return hits / repetitions


def test_intervals_cover_what_hashing_does_from_ten_seeds_on_and_not_with_three() -> None:
    assert coverage(3, 1000) < 0.85  # three equal outcomes: a narrow interval in a wrong place
    assert coverage(10, 1000) > 0.92
    assert coverage(20, 1000) > 0.93


def false_alarms(shape: str, seeds: int, repetitions: int = 1000) -> float:
    """Return the share of A/A comparisons of 16 quantities each, at 5% all together, that call anything different."""
    rng = np.random.default_rng(seeds)
    size = (2, 16, seeds)  # set, quantity, seed
    draw = {
        "normal": lambda: rng.normal(0, NOISE, size),
        "heavy": lambda: rng.standard_t(2, size) * NOISE,
        "disturbed": lambda: rng.normal(0, NOISE, size) + (rng.random(size) < 0.1) * 0.05,
        # not even the same hashing for the same seed; all quantities of a run follow from it
        "hashed anew": lambda: rng.choice(np.log(SPEED_UPS), (2, 1, seeds), p=HOW_OFTEN) + rng.normal(0, NOISE, size),
    }[shape]
    false = 0
    for _ in range(repetitions):
        a, b = draw().tolist()
        values = []
        for before, after in zip(a, b, strict=True):
            found = paired([y - x for x, y in zip(before, after, strict=True)])
            assert found is not None
            values.append(found.p_equal())
        false += min(holm(values)) <= 0.05
    return false / repetitions


@pytest.mark.parametrize("shape", ["normal", "heavy", "disturbed", "hashed anew"])
@pytest.mark.parametrize("seeds", [3, 5])
def test_sets_of_the_same_are_called_different_no_oftener_than_stated(shape: str, seeds: int) -> None:
    assert false_alarms(shape, seeds) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


# --- speed-ups ---------------------------------------------------------------------------------------------------


def test_speedup_is_paired_by_seed_with_an_interval_on_the_logarithms() -> None:
    found = paired_speedup({1: 2.0, 2: 8.0, 3: 4.0, 9: 1.0}, {1: 1.0, 2: 2.0, 3: 1.0, 8: 1.0})
    assert found is not None
    # ratios 2, 4, 4: geometric mean 32 ** (1/3); sd of logs = ln 2 / sqrt 3; t(2) = 4.303
    assert found.mean == pytest.approx(32 ** (1 / 3))
    reach = 4.3026527 * (math.log(2) / math.sqrt(3)) / math.sqrt(3)
    assert found.low == pytest.approx(found.mean / math.exp(reach))
    assert found.high == pytest.approx(found.mean * math.exp(reach))
    assert (found.smallest, found.largest, found.pairs) == (2.0, 4.0, 3)


def test_one_pair_has_no_interval_and_no_pair_no_ratio() -> None:
    found = paired_speedup({1: 2.0}, {1: 1.0})
    assert found is not None
    assert (found.mean, found.low, found.high) == (2.0, None, None)
    assert paired_speedup({1: 2.0}, {2: 1.0}) is None


def test_an_interval_is_told_from_ten_pairs_on_before_the_range() -> None:
    first, second = {seed: 2.0 + seed % 3 for seed in range(10)}, dict.fromkeys(range(10), 1.0)
    ten = paired_speedup(first, second)
    nine = paired_speedup({seed: first[seed] for seed in range(9)}, second)
    assert ten is not None and nine is not None
    assert ten.is_interval_told and ten.told == (ten.low, ten.high) and 2 < ten.told[0] < ten.told[1] < 4
    assert not nine.is_interval_told and nine.told == (nine.smallest, nine.largest) == (2.0, 4.0)


def test_scheme_compared_with_itself_is_exactly_as_fast() -> None:
    times = {seed: 1.0 + seed for seed in range(40)}
    found = paired_speedup(times, times)
    assert found is not None
    assert (found.mean, found.low, found.high) == (1.0, 1.0, 1.0)


def test_two_pairs_cannot_tell_their_spread_and_none_counts_as_steadier_than_runs_are() -> None:
    found = paired_speedup({1: 2.0, 2: 3.0}, {1: 1.0, 2: 1.0})
    assert found is not None
    assert (found.low, found.high, found.smallest, found.largest, found.pairs) == (None, None, 2.0, 3.0, 2)
    alike = paired_speedup(dict.fromkeys(range(5), 2.0), dict.fromkeys(range(5), 1.0))
    assert alike is not None and alike.low is not None and alike.high is not None
    reach_of_floor = two_sided_quantile(0.95, 4) * REPEATABILITY / math.sqrt(5)
    assert (alike.low, alike.high) == pytest.approx((2 * math.exp(-reach_of_floor), 2 * math.exp(reach_of_floor)))


# --- words, stopping ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "word", "text"),
    [
        (1.0, "negligible", "+0.00%"),
        (0.9996, "negligible", "-0.04%"),
        (1.02, "small", "+2.0%"),
        (1 / 1.02, "small", "-2.0%"),
        (1.053, "moderate", "+5.3%"),
        (0.8, "large", "-20.0%"),
        (2.35, "very large", "x 2.35"),
        (0.4, "very large", "x 0.4"),
    ],
)
def test_effects_in_words(ratio: float, word: str, text: str) -> None:
    assert (size_word(ratio), change_text(ratio)) == (word, text)


def test_numbers_beside_each_other_are_said_in_one_way() -> None:
    assert changes_text(0.9, 0.7, 2.5) == ("x 0.9", "x 0.7", "x 2.5")
    assert changes_text(0.9, 0.7, 1.5) == ("-10.0%", "-30.0%", "+50.0%")


def test_a_reach_needs_seeds_enough_and_says_what_it_has() -> None:
    nothing = reach({1: 2.0, 2: 2.0}, {2: 1.0, 3: 1.0})
    assert nothing == Reach(1)
    assert not nothing.is_within(0.9)
    seeds = range(1, LEAST_SEEDS)
    few = reach(dict.fromkeys(seeds, 2.0), dict.fromkeys(seeds, 1.0))
    assert few.ratio == pytest.approx(2.0)
    assert few.half_width == pytest.approx(
        math.expm1(two_sided_quantile(0.95, len(seeds) - 1) * REPEATABILITY / math.sqrt(len(seeds)))
    )
    assert not few.is_within(0.05)  # narrow, but of too few seeds to say so
    enough = reach(dict.fromkeys((*seeds, 50), 2.0), dict.fromkeys((*seeds, 50), 1.0))
    assert enough.is_within(0.05) and not enough.is_within(1e-5)
    assert enough.low is not None and enough.high is not None and enough.half_width is not None
    assert enough.high / 2.0 == pytest.approx(1 + enough.half_width)


def test_probabilities_in_words_tell_which_side_of_an_error_rate_they_are_on() -> None:
    told = [p_text(p) for p in (0.00005, 0.0036, 0.0096, 0.0479, 0.0504, 0.0996, 0.123, 1.0)]
    assert told == ["<0.0001", "0.0036", "0.0096", "0.0479", "0.0504", "0.0996", "0.12", "1.00"]


def test_stopping_at_the_first_narrow_interval_costs_little_coverage() -> None:
    """Hashing's outcomes, a seed at a time, until within 15%: coverage near the stated one, and it did stop."""
    rng, repetitions, hits, reached = np.random.default_rng(1), 300, 0, 0
    logs = np.log(SPEED_UPS)
    truth = math.exp(float(np.dot(logs, HOW_OFTEN)))
    for _ in range(repetitions):
        draws = np.exp(rng.choice(logs, 60, p=HOW_OFTEN) + rng.normal(0, NOISE, 60)).tolist()
        for seeds in range(LEAST_SEEDS, len(draws) + 1):
            found = reach(dict(enumerate(draws[:seeds])), dict.fromkeys(range(seeds), 1.0))
            if found.is_within(0.15):
                reached += 1
                break
        assert found.low is not None and found.high is not None
        hits += found.low <= truth <= found.high
    assert reached > 0.9 * repetitions
    assert hits / repetitions > 0.88
