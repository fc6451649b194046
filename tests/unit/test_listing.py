"""The runs in a scenario's folder."""

from __future__ import annotations

from pathlib import Path

from testbed.results.listing import list_runs
from tests.unit.synthetic_runs import healthy, scenario_of, store


def test_listing_counts_what_is_not_finished(tmp_path: Path) -> None:
    finished = store(tmp_path, healthy(scenario_of()))
    parent = finished.parent
    (parent / "x.partial").mkdir()
    (parent / "y.failed").mkdir()
    (parent / "z.failed").mkdir()
    (parent / "figures").mkdir()
    listing = list_runs(tmp_path, "synthetic")
    assert (listing.finished, listing.partial, listing.failed) == ((finished,), 1, 2)
    assert list_runs(tmp_path, "never_run") == type(listing)((), 0, 0)
