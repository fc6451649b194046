"""``gse compare`` on made-up stored runs: what it calls different, what not, what it refuses, and its error rate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from gse_command import Answer, Gse, assert_refused
from synthetic_runs import healthy, scenario_of, store
from synthetic_sweeps import with_agents

from testbed.evaluation.records import RunRecord
from testbed.model.scenario import SCHEMES, Scenario
from testbed.results.run import Run, load
from testbed.results.sets import RunSet, flatten, load_set
from testbed.views.comparison import Entry
from testbed.views.difference import difference
from testbed.views.quantities import COMPARED, PROBES_PASS, PROBES_SHARE

NOISE = 0.003
SEEDS = (1, 2, 3, 4, 5)


@pytest.fixture
def gse(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Gse:
    monkeypatch.setenv("COLUMNS", "200")
    return Gse(capsys)


def stored_set(
    results: Path,
    label: str,
    scenario: Scenario | None = None,
    *,
    schemes: tuple[str, ...] = ("gse1",),
    seeds: tuple[int, ...] = SEEDS,
    pace: Callable[[int], float] = lambda _seed: 1.0,
    make: Callable[[RunRecord], RunRecord] = lambda run: run,
) -> Path:
    """Store runs that differ by ``NOISE``, and take ``pace`` times as long as they should; return their folder."""
    rng = Random(label)
    scenario = scenario or scenario_of()
    for number, (scheme, seed) in enumerate((scheme, seed) for seed in seeds for scheme in schemes):
        slow = pace(seed) * rng.gauss(1, NOISE)
        run = healthy(scenario, scheme=scheme, seed=seed, slow=lambda _i, s=slow: s)
        store(results / label, make(run), second=number)
    return results / label / "synthetic"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sets: ``a`` and ``b`` of the same, ``c`` of slower links; each under two schemes. Not to be changed."""
    results = tmp_path_factory.mktemp("sets")
    for label in ("a", "b"):
        stored_set(results, label, schemes=("ecmp", "gse1"))
    slower = scenario_of(fabric={"link_rate_mbps": 9.5})
    stored_set(results, "c", slower, schemes=("ecmp", "gse1"))
    return results


def edited(path: Path, **changes: Any) -> None:
    """Change fields of a run's summary."""
    where = path / "summary.json"
    where.write_text(json.dumps({**json.loads(where.read_text()), **changes}))


def versions(path: Path, **changes: Any) -> None:
    where = path / "manifest.json"
    manifest = json.loads(where.read_text())
    where.write_text(json.dumps({**manifest, "versions": {**manifest["versions"], **changes}}))


def as_json(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.out)
    return found


def row(document: dict[str, Any], quantity: str, scheme: str = "gse1") -> dict[str, Any]:
    (found,) = [one for one in document["results"] if (one["quantity"], one["scheme"]) == (quantity, scheme)]
    return dict(found)


# --- the same, and not the same -------------------------------------------------------------------------------


def test_the_same_code_is_no_difference(gse: Gse, base: Path) -> None:
    answer = gse("compare", str(base / "a"), str(base / "b"))
    assert (answer.status, answer.err) == (0, "")
    assert "no significant difference in" in answer.out
    assert "no evidence of equality" in answer.out
    assert "settings, versions, machine: no difference" in answer.out


def test_five_per_cent_less_link_rate_is_said(gse: Gse, base: Path) -> None:
    answer = gse("compare", str(base / "a"), str(base / "c"))
    assert (answer.status, answer.err) == (1, "")
    assert "fabric.link_rate_mbps" in answer.out and "9.5" in answer.out
    assert "DIFFERENT in" in answer.out
    document = as_json(gse("compare", str(base / "a"), str(base / "c"), "--json"))
    assert {"name": "fabric.link_rate_mbps", "a": "10.0", "b": "9.5"} in document["settings"]
    slower = row(document, "completion_s")
    assert (slower["outcome"], slower["size"], slower["pairs"]) == ("worse", "moderate", 5)
    assert slower["ratio_low"] < 10 / 9.5 < slower["ratio_high"]
    assert row(document, "efficiency")["outcome"] == "undecided"  # slower links, as well used


def test_poisson_flows_are_compared_and_what_another_number_says_is_not(gse: Gse, tmp_path: Path) -> None:
    for label, factor in (("a", 1.0), ("b", 1.5)):
        for number, path in enumerate(sorted(stored_set(tmp_path, label).iterdir())):
            slowdowns = {"slowdown_p50": factor * (2 + 0.01 * number), "slowdown_p99": 9.0}
            edited(path, flow_times={"all": slowdowns})
    document = as_json(gse("compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"))
    assert row(document, "flow_slowdown_p50")["outcome"] == "worse"
    assert row(document, "flow_slowdown_p99")["outcome"] == "equal"
    assert {"busbw_mbps", "wrong_elements"} & {one["quantity"] for one in document["results"]} == set()


def test_what_got_better_may_be_allowed(gse: Gse, base: Path) -> None:
    pair = (str(base / "c"), str(base / "a"), "--only", "completion_s")
    assert gse("compare", *pair).status == 1
    allowed = gse("compare", *pair, "--allow-better")
    assert allowed.status == 0
    assert "not counted: ecmp completion time" in allowed.out
    assert gse("compare", pair[1], pair[0], *pair[2:], "--allow-better").status == 1


def test_equality_is_shown_and_never_followed_from_silence(gse: Gse, base: Path) -> None:
    options = ("--only", "completion_s,efficiency", "--margin")
    shown = gse("compare", str(base / "a"), str(base / "b"), *options, "0.02")
    assert shown.status == 0
    assert "shown: no ratio differs by more than 0.02" in shown.out
    missed = gse("compare", str(base / "a"), str(base / "b"), *options, "0.0005")
    assert missed.status == 1
    assert "no significant difference" in missed.out
    assert "NOT shown: that no ratio differs by more than 0.0005" in missed.out
    document = as_json(gse("compare", str(base / "a"), str(base / "b"), *options, "0.02", "--json"))
    assert (document["within_margin"], document["answer"], document["exit_status"]) == (True, "within margin", 0)
    assert {one["outcome"] for one in document["results"] if one["quantity"] == "completion_s"} == {"within margin"}
    document = as_json(gse("compare", str(base / "a"), str(base / "b"), *options, "0.0005", "--json"))
    assert (document["within_margin"], document["answer"], document["exit_status"]) == (False, "margin not shown", 1)


def test_what_is_the_same_in_every_run_is_within_any_margin(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b")
    asked = ("compare", str(a), str(b), "--only", "recovery_ms", "--margin", "0.001")
    for path in (*a.iterdir(), *b.iterdir()):
        edited(path, recovery_ms=100.0)
    assert gse(*asked).status == 0
    for path in sorted(b.iterdir())[:3]:  # of two runs to be alike says nothing
        edited(path, recovery_ms=None)
    assert_refused(gse(*asked), "nothing can be tested", "too few runs: 5 and 2")


def test_what_is_better_and_allowed_need_not_be_within_the_margin(gse: Gse, base: Path) -> None:
    better = ("compare", str(base / "c"), str(base / "a"), "--only", "completion_s", "--margin", "0.02")
    assert gse(*better).status == 1
    allowed = gse(*better, "--allow-better")
    assert allowed.status == 0
    assert "shown: no ratio differs by more than 0.02" in allowed.out and "what is better apart" in allowed.out
    worse = gse(*better[:1], better[2], better[1], *better[3:], "--allow-better")
    assert worse.status == 1 and "NOT shown: that no ratio differs" in worse.out


def test_nothing_is_said_of_the_margin_where_counts_alone_were_tested(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b")
    for path in b.iterdir():
        edited(path, dropped_packets=300)
    asked = ("compare", str(a), str(b), "--only", "dropped_packets", "--margin", "0.02")
    answer = gse(*asked)
    assert answer.status == 1
    assert "nothing can be said of the margin 0.02" in answer.out
    assert as_json(gse(*asked, "--json"))["within_margin"] is None


def test_what_was_not_tested_is_not_among_what_is_shown_to_be_within_the_margin(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b")
    for path in sorted(b.iterdir())[2:]:
        edited(path, latency_ms={"p50": 1.0, "p99": None, "max": 2.0, "count": 99, "lost": 0})
    answer = gse("compare", str(a), str(b), "--only", "completion_s,latency_p99_ms", "--margin", "0.02")
    assert answer.status == 1
    assert "NOT shown: that no ratio differs by more than 0.02" in answer.out
    assert "not tested: latency p99, ms (too few runs: 5 and 2)" in answer.out
    assert gse("compare", str(a), str(b), "--only", "completion_s", "--margin", "0.02").status == 0


def test_runs_that_lack_a_number_are_counted(gse: Gse, tmp_path: Path) -> None:
    """No recovery is measured where some GSP never left the broken path: the others alone would flatter."""
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b")
    for number, path in enumerate((*sorted(a.iterdir()), *sorted(b.iterdir()))):
        edited(path, recovery_ms=None if number in (7, 8) else 100.0 + number)
    notes = as_json(gse("compare", str(a), str(b), "--json"))["notes"]
    assert "recovery, ms: measured in 5 of 5 and 3 of 5 runs of A and B; the others have no part in it" in notes
    assert not [note for note in notes if note.startswith("completion time")]


def test_a_difference_shown_to_be_smaller_than_the_margin_does_not_count(gse: Gse, base: Path) -> None:
    pair = (str(base / "a"), str(base / "c"), "--only", "completion_s")
    assert gse("compare", *pair, "--margin", "0.02").status == 1
    within = gse("compare", *pair, "--margin", "0.1")
    assert within.status == 0
    assert "WORSE, moderate, but shown within 0.1" in within.out


def test_schemes_are_compared_where_each_set_has_one(gse: Gse, base: Path) -> None:
    where = base / "a" / "synthetic"
    document = as_json(gse("compare", f"{where}@scheme=ecmp", f"{where}@scheme=gse1", "--json"))
    assert {one["scheme"] for one in document["results"]} == {"ecmp -> gse1"}
    assert {"name": "scheme", "a": "ecmp", "b": "gse1"} in document["settings"]


def test_fields_that_vary_within_the_sets_tell_questions_apart(gse: Gse, base: Path) -> None:
    both = f"{base / 'a'}+{base / 'c'}"
    document = as_json(gse("compare", f"{both}@seed=1", str(base / "b"), "--json", "--only", "completion_s"))
    assert document["notes"] and any("only in A: fabric.link_rate_mbps=9.5" in note for note in document["notes"])
    assert {one["question"] for one in document["results"]} == {"fabric.link_rate_mbps=10.0"}


def test_what_only_one_set_has_is_part_of_the_answer(gse: Gse, base: Path) -> None:
    """A scheme all of whose runs failed is not there: no difference found is no word of it."""
    a, b = base / "a" / "synthetic", base / "b" / "synthetic"
    text = gse("compare", str(a), f"{b}@scheme=gse1").out
    assert "NOT compared: only in A: ecmp" in text
    assert text.index("family-wise error rate") < text.index("NOT compared")
    assert "NOT compared" not in gse("compare", str(a), str(b)).out


# --- verdicts, commits, times --------------------------------------------------------------------------------------


def test_invalid_runs_are_left_out_and_it_is_said(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b")
    bad = sorted(b.iterdir())[0]
    edited(bad, verdict="INVALID", reasons=["the hypervisor took 40%"], completion_s=99.0)
    document = as_json(gse("compare", str(a), str(b), "--json"))
    assert document["b"]["verdicts"] == {"VALID": 4, "INVALID": 1}
    assert row(document, "completion_s")["pairs"] == 4
    assert any("1 INVALID run(s) left out (the hypervisor took 40%)" in note for note in document["notes"])
    for path in b.iterdir():
        edited(path, verdict="INVALID", reasons=["x"])
    assert_refused(gse("compare", str(a), str(b)), "no usable run", "5 INVALID run(s)")


def test_commits_and_machines_are_settings_too(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b")
    for number, path in enumerate(sorted(b.iterdir())):
        versions(path, commit="feedbeef" if number else "abad1dea-dirty", python="3.99")
    document = as_json(gse("compare", str(a), str(b), "--json"))
    assert {"name": "versions.python", "a": "not there", "b": "3.99"} in document["settings"]
    assert document["b"]["commits"] == {"abad1dea-dirty": 1, "feedbeef": 4}
    notes = " ".join(document["notes"])
    assert "B mixes runs of 2 commits" in notes and "B has runs with uncommitted changes" in notes
    assert len(load_set(f"{b}@commit=feed").runs) == 4


def test_summaries_of_other_commits_are_made_anew_when_asked(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b")
    for path in b.iterdir():
        versions(path, commit="feedbeef")
        edited(path, completion_s=99.0)  # a definition of that time, say
    as_stored = as_json(gse("compare", str(a), str(b), "--json"))
    assert row(as_stored, "completion_s")["outcome"] == "worse"
    assert row(as_stored, "completion_s")["b_mean"] == pytest.approx(99.0)
    assert any("may define a number differently" in note for note in as_stored["notes"])
    anew = as_json(gse("compare", str(a), str(b), "--judge-anew", "--json"))
    assert row(anew, "completion_s")["outcome"] == "undecided"
    assert not any("may define a number differently" in note for note in anew["notes"])
    assert json.loads((sorted(b.iterdir())[0] / "summary.json").read_text())["completion_s"] == 99.0


def test_sets_measured_one_after_the_other_are_said_to_be(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b")
    assert "one after the other" not in gse("compare", str(a), str(b)).out
    for path in b.iterdir():
        where = path / "manifest.json"
        where.write_text(where.read_text().replace("2026-01-02T", "2026-01-03T"))
    assert "one after the other" in gse("compare", str(a), str(b)).out


def test_drops_of_one_side_are_told_by_counts(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b")
    for path in b.iterdir():
        edited(path, dropped_packets=300)
    document = as_json(gse("compare", str(a), str(b), "--json", "--only", "dropped_packets"))
    found = row(document, "dropped_packets")
    assert (found["a_mean"], found["b_mean"], found["outcome"], found["of_counts_plus_one"]) == (0, 300, "worse", True)


def test_other_seeds_are_compared_as_a_whole(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b", seeds=(11, 12, 13))
    answer = gse("compare", str(a), str(b), "--only", "completion_s")
    assert answer.status == 0
    assert "compared as a whole (Welch)" in answer.out
    assert "B/A: ratio of the sets' geometric means, with its own interval" in answer.out
    assert "pairs of the same seed" not in answer.out
    paired = gse("compare", str(a), str(stored_set(tmp_path, "c")), "--only", "completion_s").out
    assert "B/A: geometric mean over pairs of the same seed, with its own interval" in paired


def test_repeated_runs_of_one_seed_are_said_to_tell_of_no_other(gse: Gse, tmp_path: Path) -> None:
    a, b = (stored_set(tmp_path, label, seeds=(1, 1, 1)) for label in ("a", "b"))
    document = as_json(gse("compare", str(a), str(b), "--json", "--only", "completion_s"))
    assert row(document, "completion_s")["pairs"] == 3
    assert "A has runs of 1 seed only: nothing is said of others" in document["notes"]


# --- runs that are left out ------------------------------------------------------------------------------------------


def left_out(path: Path, *checks: str) -> None:
    edited(path, verdict="INVALID", reasons=[f"{name}: off" for name in checks], checks=list(checks))


def failed(path: Path, error: str = "", **said: Any) -> None:
    """Make a finished run one that came to no end; the campaign says INVALID where its workload failed."""
    where = path / "manifest.json"
    where.write_text(json.dumps({**json.loads(where.read_text()), "status": "failed", "error": error, **said}))
    path.rename(path.with_name(path.name + ".failed"))


def test_runs_that_are_invalid_for_being_slow_leave_no_equality(gse: Gse, tmp_path: Path) -> None:
    """A third slower in two runs of five: these are INVALID, and the three others as fast as any."""
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b", pace=lambda seed: 1.33 if seed in (2, 4) else 1.0)
    answer = gse("compare", str(a), str(b), "--only", "completion_s")
    assert answer.status == 2
    assert "not judged: 2 of 5 runs of B are INVALID for being slow (short_of_paths), left out" in answer.out
    assert "no significant difference" not in answer.out and "that is no evidence" not in answer.out
    document = as_json(gse("compare", str(a), str(b), "--only", "completion_s", "--json"))
    assert (document["answer"], document["exit_status"], document["significant"]) == ("not judged", 2, 0)
    assert len(document["not_judged"]) == 1 and document["b"]["verdicts"] == {"VALID": 3, "INVALID": 2}


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ((), ("short_of_paths",), "1 of 5 runs of B is INVALID for being slow (short_of_paths), left out"),
        (("link_rate",), (), "1 of 5 runs of A is INVALID for being slow (link_rate), left out"),
        (("short_of_paths",), ("short_of_paths",), "A is INVALID for being slow (short_of_paths), left out; 1 of 5"),
        ((), ("wrong_elements",), "1 of 5 runs of B is INVALID for being wrong (wrong_elements), left out"),
        (("steal",), ("steal", "switch_bound"), "1 of 5 runs of B is INVALID and slow (switch_bound, steal), left out"),
        (("steal",), ("old",), "1 of 5 runs of B is INVALID for reasons this version does not know (old), left out"),
        (("steal",), (None,), "1 of 5 runs of B is INVALID for reasons this version does not know, left out"),
        ((), ("steal",), "0 of 5 runs of A and 1 of 5 runs of B are INVALID or FAILED (steal), left out"),
        (("steal",), ("busy_cores",), None),  # the machine failed, and both sides alike
        (("steal", "short_of_grants"), ("steal", "resent"), None),  # what is never more than a doubt made none INVALID
        ((), (), None),
    ],
)
def test_what_runs_are_left_out_for_decides_whether_the_others_are_judged(
    gse: Gse, tmp_path: Path, a: Sequence[str | None], b: Sequence[str | None], said: str | None
) -> None:
    sets = [stored_set(tmp_path, label) for label in ("a", "b")]
    for folder, checks in zip(sets, (a, b), strict=True):
        if checks:
            left_out(sorted(folder.iterdir())[0], *(name for name in checks if name is not None))
    answer = gse("compare", *map(str, sets), "--only", "completion_s")
    assert (answer.status, "no significant difference" in answer.out) == ((0, True) if said is None else (2, False))
    assert said is None or ("not judged: " in answer.out and said in answer.out)


def test_it_is_the_share_of_runs_that_are_left_out_that_has_to_be_alike(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a", seeds=(1, 2, 3, 4)), stored_set(tmp_path, "b", seeds=tuple(range(1, 9)))
    for folder in (a, b):
        left_out(sorted(folder.iterdir())[0], "steal")
    answer = gse("compare", str(a), str(b), "--only", "completion_s")
    assert answer.status == 2
    assert "1 of 4 runs of A and 1 of 8 runs of B are INVALID or FAILED (steal), left out" in answer.out
    left_out(sorted(b.iterdir())[1], "steal")
    assert gse("compare", str(a), str(b), "--only", "completion_s").status == 0


def test_no_margin_is_shown_by_the_runs_that_are_left(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b")
    asked = ("compare", str(a), str(b), "--only", "completion_s", "--margin", "0.02")
    assert gse(*asked).status == 0
    left_out(sorted(b.iterdir())[0], "short_of_paths")
    answer = gse(*asked)
    assert answer.status == 2
    assert "NOT shown: that no ratio differs by more than 0.02" in answer.out
    assert " shown within" not in answer.out and "not judged, those left within 0.02" in answer.out
    document = as_json(gse(*asked, "--json"))
    assert (document["within_margin"], row(document, "completion_s")["outcome"]) == (False, "undecided")
    assert gse(*asked[:-1], "0.0005").status == 1  # nor shown of those that are left


def test_a_difference_of_the_runs_that_are_left_is_said_to_be_theirs(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b", scenario_of(fabric={"link_rate_mbps": 9.5}))
    left_out(sorted(b.iterdir())[0], "short_of_paths")
    answer = gse("compare", str(a), str(b), "--only", "completion_s")
    assert answer.status == 1
    assert "DIFFERENT in 1 of 1 quantity tested" in answer.out
    assert "is not judged: 1 of 5 runs of B is INVALID for being slow" in answer.out


def test_the_scheme_that_is_not_judged_is_named_and_the_others_are(gse: Gse, tmp_path: Path) -> None:
    a, b = (stored_set(tmp_path, label, schemes=("ecmp", "gse1")) for label in ("a", "b"))
    left_out(next(path for path in sorted(b.iterdir()) if "gse1" in path.name), "short_of_paths")
    answer = gse("compare", str(a), str(b), "--only", "completion_s", "--margin", "0.02", "--json")
    assert answer.status == 2
    document = as_json(answer)
    assert document["not_judged"] == ["gse1: 1 of 5 runs of B is INVALID for being slow (short_of_paths), left out"]
    outcomes = {one["scheme"]: one["outcome"] for one in document["results"]}
    assert outcomes == {"ecmp": "within margin", "gse1": "undecided"}


def test_workloads_that_failed_leave_no_equality_even_where_the_run_was_made_again(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b", seeds=(1, *SEEDS))
    failed(sorted(b.iterdir())[0], "rank 3 died\nof hunger", verdict="INVALID")
    answer = gse("compare", str(a), str(b), "--only", "completion_s")
    assert answer.status == 2
    assert "not judged: the workload of 1 of 6 runs of B failed (rank 3 died)" in answer.out
    document = as_json(gse("compare", str(a), str(b), "--only", "completion_s", "--json"))
    assert len(document["b"]["failed"]) == 1 and document["a"]["failed"] == []


def test_what_the_machine_ended_counts_unless_it_was_made_again(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b", seeds=(1, *SEEDS))
    failed(sorted(b.iterdir())[0], "disk full")
    assert gse("compare", str(a), str(b), "--only", "completion_s").status == 0
    failed(sorted(b.iterdir())[-1], "disk full")
    answer = gse("compare", str(a), str(b), "--only", "completion_s")
    assert answer.status == 2
    assert "not judged: 0 of 5 runs of A and 1 of 5 runs of B are INVALID or FAILED, left out" in answer.out


def test_failed_runs_of_another_question_or_scheme_are_nobodys(gse: Gse, tmp_path: Path) -> None:
    other = scenario_of(workload={"size_bytes": 2**19})
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b", schemes=("ecmp", "gse1"))
    (path,) = stored_set(tmp_path, "other", other, seeds=(8,)).iterdir()
    failed(path.rename(b / "other"), "rank 3 died", verdict="INVALID")
    failed(next(path for path in sorted(b.iterdir()) if "ecmp" in path.name), "rank 3 died", verdict="INVALID")
    assert gse("compare", str(a), f"{b}@scheme=gse1", "--only", "completion_s").status == 0
    assert [len(load_set(f"{b}{chosen}").failed) for chosen in ("", "@scheme=ecmp", "@scheme=gse1")] == [2, 1, 1]
    assert len(load_set(f"{b}@workload.size_bytes=1MiB").failed) == 1
    assert len(load_set(f"{b}+{b}").failed) == 2


# --- what is alike, and what is tested -------------------------------------------------------------------------------


def test_one_number_is_tested_once(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b", pace=lambda _seed: 1.01)
    both = as_json(gse("compare", str(a), str(b), "--only", "completion_s,efficiency", "--json"))
    assert (both["tested"], both["significant"]) == (1, 1)
    told = row(both, "efficiency")
    assert (told["outcome"], told["p_adjusted"], told["told_by"]) == ("not tested", None, "completion_s")
    assert told["ratio"] == pytest.approx(1 / row(both, "completion_s")["ratio"])
    alone = as_json(gse("compare", str(a), str(b), "--only", "completion_s", "--json"))
    assert row(both, "completion_s")["p_adjusted"] == row(alone, "completion_s")["p_adjusted"]
    assert "told by completion time" in gse("compare", str(a), str(b)).out
    efficiency = as_json(gse("compare", str(a), str(b), "--only", "efficiency", "--json"))
    assert (row(efficiency, "efficiency")["outcome"], row(efficiency, "efficiency")["told_by"]) == ("worse", None)


def test_efficiency_has_a_test_of_its_own_where_the_ideal_time_differs(gse: Gse, base: Path) -> None:
    document = as_json(gse("compare", str(base / "a"), str(base / "c"), "--json"))
    assert row(document, "efficiency")["p_adjusted"] is not None
    assert row(document, "completion_s")["p_adjusted"] is not None


COUNTS = ("dropped_packets", "retransmitted_segments", "out_of_order_packets")


def test_counts_of_other_numbers_of_iterations_are_not_compared(gse: Gse, tmp_path: Path) -> None:
    """Twice the iterations, twice the drops: nothing differs."""
    a = stored_set(tmp_path, "a")
    b = stored_set(tmp_path, "b", scenario_of(workload={"iterations": 4}))
    for factor, folder in ((1, a), (2, b)):
        for path in folder.iterdir():
            queues = dict.fromkeys(("uplink", "downlink", "host_rx"), 10_000 * factor)
            edited(path, queue_max_bytes=queues, **dict.fromkeys(COUNTS, 300 * factor))
    document = as_json(gse("compare", str(a), str(b), "--json"))
    for key in COUNTS:
        found = row(document, key)
        assert (found["outcome"], found["ratio"], found["a_mean"], found["b_mean"]) == ("not tested", None, 300, 600)
        assert found["untested"] == "not alike: a sum over 2 iterations in A, a sum over 4 iterations in B"
    largest = row(document, "uplink_queue_max_bytes")
    assert largest["untested"].startswith("not alike: the largest of 2 iterations, sampled every 0.25 s in A, ")
    assert not [one for one in document["results"] if one["outcome"] in ("better", "worse")]
    assert_refused(gse("compare", str(a), str(b), "--only", "dropped_packets"), "nothing can be tested", "not alike")
    for path in (*a.iterdir(), *b.iterdir()):
        edited(path, dropped_packets=0)
    document = as_json(gse("compare", str(a), str(b), "--json"))
    assert row(document, "dropped_packets")["outcome"] == "equal"  # none is none over any number of iterations


def test_every_count_says_what_it_is_summed_over(base: Path) -> None:
    (run, *_others) = load_set(str(base / "a")).runs
    entry = Entry(run, run.summary or {})
    sums = {one.key for one in COMPARED if one.basis(entry) == "a sum over 2 iterations"}
    assert sums == {one.key for one in COMPARED if one.is_count}


def test_probes_that_pass_the_bulk_are_not_compared_with_others(gse: Gse, tmp_path: Path) -> None:
    a = stored_set(tmp_path, "a")
    b, c = (
        stored_set(tmp_path, label, schemes=(scheme,), make=with_agents)
        for label, scheme in (("b", "gse2-n2n"), ("c", "gse2-e2e"))
    )
    for factor, folder in ((10, a), (1, b), (2, c)):
        for number, path in enumerate(sorted(folder.iterdir())):
            edited(path, latency_ms={"p50": factor * (4 + 0.1 * number), "p99": None})
    document = as_json(gse("compare", str(a), str(b), "--json"))
    found = row(document, "latency_p50_ms", "gse1 -> gse2-n2n")
    assert (found["outcome"], found["ratio"], found["p_adjusted"]) == ("not tested", None, None)
    assert found["untested"] == f"not alike: {PROBES_SHARE} in A, {PROBES_PASS} in B"
    assert found["a_mean"] == pytest.approx(10 * found["b_mean"])
    assert any("pass the bulk, which waits at its source" in note for note in document["notes"])
    document = as_json(gse("compare", str(b), str(c), "--json"))  # within either kind they are
    assert row(document, "latency_p50_ms", "gse2-n2n -> gse2-e2e")["outcome"] == "worse"
    assert not any("pass the bulk" in note for note in document["notes"])


def test_probes_pass_the_bulk_where_senders_ask_for_grants(base: Path) -> None:
    (run, *_others) = load_set(str(base / "a")).runs
    latency = next(one for one in COMPARED if one.key == "latency_p99_ms")
    entries = {name: Entry(replace(run, manifest={**run.manifest, "scheme": name}), {}) for name in SCHEMES}
    passing = {name for name, entry in entries.items() if latency.basis(entry) == PROBES_PASS}
    assert passing == {"gse2-n2n", "gse2-e2e", "uet"}


# --- refusals ------------------------------------------------------------------------------------------------------


def test_too_few_runs_are_bad_input_and_no_absence_of_differences(gse: Gse, base: Path) -> None:
    one = f"{base / 'a' / 'synthetic'}@seed=1"
    assert_refused(gse("compare", one, str(base / "b")), "nothing can be tested", "too few runs: 1 and 5")


def test_what_no_run_measured_is_bad_input_and_no_absence_of_differences(gse: Gse, base: Path) -> None:
    pair = (str(base / "a"), str(base / "b"))
    assert_refused(gse("compare", *pair, "--only", "recovery_ms"), "nothing can be tested", "not measured in any run")


def test_one_run_of_each_that_are_alike_is_bad_input_and_runs_enough_that_are_alike_are_the_same(
    gse: Gse, base: Path
) -> None:
    alone = [f"{base / label / 'synthetic'}@seed=1" for label in ("a", "b")]
    options = ("--only", "dropped_packets")
    assert_refused(gse("compare", *alone, *options), "nothing can be tested", "too few runs: 1 and 1")
    assert gse("compare", str(base / "a"), str(base / "b"), *options).status == 0


@pytest.mark.parametrize(
    ("a", "said"),
    [
        ("{}/nowhere", ["no finished run", "no such folder"]),
        ("{}/a@scheme=gse2-n2n", ["no run with scheme=gse2-n2n", "one of ecmp, gse1"]),
        ("{}/a@fabric.spines=7", ["no run with fabric.spines=7", "one of 2"]),
        ("{}/a@fabric.nothing=7", ["no such field"]),
        ("{}/a@seed=x", ["not a seed"]),
        ("{}/a@gse1", ["not a condition"]),
        ("{}/b", ["a set compared with itself"]),
    ],
)
def test_what_names_no_runs_is_refused(gse: Gse, base: Path, a: str, said: list[str]) -> None:
    assert_refused(gse("compare", a.format(base), str(base / "b")), *said)


def test_a_copy_of_a_run_is_the_run_and_tells_of_no_equality(gse: Gse, tmp_path: Path) -> None:
    """Results copied as 'before', then more runs made in the same folder: the old ones are in both sets."""
    before = stored_set(tmp_path, "before", seeds=(1, 2, 3))
    after = tmp_path / "after" / "synthetic"
    shutil.copytree(before, after)
    shared = sorted(path.name for path in before.iterdir())
    answer = gse("compare", str(before), str(after))
    assert_refused(answer, "a set compared with itself; got 3 run(s) in both, e.g. " + shared[0])
    stored_set(tmp_path, "more", seeds=(1, 2, 3))
    for path in (tmp_path / "more" / "synthetic").iterdir():
        path.rename(after / f"{path.name}-2")
    assert_refused(gse("compare", str(before), str(after)), "got 3 run(s) in both")
    for name in shared:
        shutil.rmtree(after / name)
    assert gse("compare", str(before), str(after)).status == 0


def test_as_many_sets_may_be_joined_as_there_are(gse: Gse, base: Path) -> None:
    """All of them together are longer than a path may be: it ended with 1, which is an answer here."""
    many = "+".join([str(base / "a")] * (4096 // len(str(base)) + 2))
    assert gse("compare", many, str(base / "b")).status == 0
    assert_refused(gse("compare", "x" * 300, str(base / "b")), "File name too long")
    answer = gse("compare", f"{base / 'a'}@seed={'1' * 5000}", str(base / "b"))
    assert answer.status == 2 and "not a seed" in answer.err


def test_a_run_whose_manifest_has_no_bottom_is_refused_and_is_no_difference(gse: Gse, tmp_path: Path) -> None:
    a, b = stored_set(tmp_path, "a"), stored_set(tmp_path, "b")
    where = sorted(a.iterdir())[0] / "manifest.json"
    manifest = json.loads(where.read_text())
    for nested in ('{"x":' * 700 + "1" + "}" * 700, "[" * 101 + "]" * 101):
        where.write_text(json.dumps({**manifest, "network": {"deep": "HERE"}}).replace('"HERE"', nested))
        assert_refused(gse("compare", str(a), str(b)), "damaged JSON; got nested more than 100 deep")
    where.write_text(json.dumps({**manifest, "network": {"deep": "HERE"}}).replace('"HERE"', "[" * 60 + "]" * 60))
    assert gse("compare", str(a), str(b)).status == 0


def test_both_sets_are_checked_at_once(gse: Gse) -> None:
    assert_refused(gse("compare", "/no/a", "/no/b"), "/no/a", "/no/b")


def test_other_questions_have_nothing_in_common(gse: Gse, tmp_path: Path) -> None:
    rates = [scenario_of(fabric={"link_rate_mbps": rate}) for rate in (5, 6, 7, 8)]
    for number, scenario in enumerate(rates):
        stored_set(tmp_path, "a" if number < 2 else "b", scenario, seeds=(1,))
    assert_refused(gse("compare", str(tmp_path / "a"), str(tmp_path / "b")), "nothing to compare")


def test_wrong_numbers_are_refused_by_name(gse: Gse, base: Path) -> None:
    for option, value in (("--alpha", "0"), ("--alpha", "x"), ("--margin", "2"), ("--only", "speed")):
        answer = gse("compare", str(base / "a"), str(base / "b"), option, value)
        assert answer.status == 2 and option in answer.err


def test_real_runs_are_read(gse: Gse) -> None:
    where = Path(__file__).resolve().parents[2] / "results" / "reference" / "allreduce_ring"
    document = as_json(gse("compare", f"{where}@scheme=gse2-n2n", f"{where}@scheme=gse2-e2e", "--json"))
    found = {one["quantity"] for one in document["results"] if one["ratio"] is not None}
    assert {"completion_s", "latency_p99_ms", "dgsq_wait_p99_ms", "control_fraction", "switch_cores"} <= found
    assert {"name": "network.agents", "a": "leaf", "b": "host"} in document["settings"]


# --- sets ----------------------------------------------------------------------------------------------------------


def test_sets_are_runs_folders_and_folders_of_folders(base: Path) -> None:
    folder = base / "a" / "synthetic"
    one = sorted(folder.iterdir())[0]
    assert [run.path for run in load_set(str(one)).runs] == [one]
    assert len(load_set(str(folder)).runs) == len(load_set(str(base / "a")).runs) == 10
    assert len(load_set(f"{folder}+{base / 'b'}").runs) == 20
    assert len(load_set(f"{folder}+{folder}").runs) == 10
    assert len(load_set(f"{folder}@scheme=ecmp,seed=2").runs) == 1
    assert len(load_set(f"{folder}@workload.size_bytes=1MiB").runs) == 10


def test_a_name_with_signs_in_it_is_a_name(tmp_path: Path) -> None:
    stored_set(tmp_path, "a+b@c", seeds=(1,))
    assert len(load_set(str(tmp_path / "a+b@c")).runs) == 1


def test_unfinished_runs_are_counted(tmp_path: Path) -> None:
    folder = stored_set(tmp_path, "a", seeds=(1, 2))
    sorted(folder.iterdir())[0].rename(folder / "x.failed")
    assert load_set(str(folder)).others == (f"{folder}: 1 failed run(s) not looked at",)


def test_fields_become_dotted_names() -> None:
    assert flatten({"a": {"b": [1, {"c": None}]}, "d": []}) == {"a.b.0": 1, "a.b.1.c": None, "d": []}


# --- error rate ------------------------------------------------------------------------------------------------------


def noisy(run: Run, rng: Random) -> Run:
    """Return the run as it might have been measured another time."""
    assert run.summary is not None
    factor = rng.gauss(1, NOISE)
    latency = {
        name: number * rng.gauss(1, 0.05) if name in ("p50", "p99") and number is not None else number
        for name, number in run.summary["latency_ms"].items()
    }
    fresh = {
        **run.summary,
        "completion_s": run.summary["completion_s"] * factor,
        "efficiency": run.summary["efficiency"] / factor,
        "uplink_max_over_mean": 1 + abs(rng.gauss(0, 0.002)),
        "latency_ms": latency,
        "dropped_packets": max(round(rng.gauss(3, 3)), 0),
        "out_of_order_packets": rng.choice((0, 0, 0, 40)),
    }
    again = replace(run, summary=fresh)
    again.__dict__["scenario"] = run.scenario  # parsed once: there are thousands
    return again


def test_a_thousand_comparisons_of_the_same_code_keep_the_stated_error_rate(base: Path) -> None:
    runs = [load(path) for path in sorted((base / "a" / "synthetic").iterdir())]
    runs = [run for run in runs if run.seed <= 3]  # the fewest there may be
    rng, false, repetitions = Random(20), 0, 1000
    for _ in range(repetitions):
        sides = [RunSet(name, tuple(noisy(run, rng) for run in runs)) for name in ("A", "B")]
        found = difference(sides[0], sides[1], alpha=0.05)
        assert len(found.tested) >= 10
        assert {row.told_by is None for row in found.rows if row.quantity.key == "efficiency"} == {False}
        false += bool(found.significant)
    assert false / repetitions <= 0.05 + 3 * (0.05 * 0.95 / repetitions) ** 0.5
