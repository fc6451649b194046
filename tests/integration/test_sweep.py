"""``gse sweep`` over a real fabric: two points, one seed, as small as it gets; nothing of speed is asserted."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from gse_runs import ENV, gse_argv, interfaces, manifest, words

from testbed.results.sweeps import load_sweep

pytestmark = pytest.mark.root

SMALL = {
    "fabric.leaves": 2,
    "fabric.spines": 2,
    "fabric.hosts_per_leaf": 1,
    "workload.size_bytes": 262_144,
    "workload.iterations": 1,
    "workload.warmup_size_bytes": 4096,
    "measure.calibrate": False,
}


def gse_sweep(folder: Path, *arguments: str) -> dict[str, Any]:
    argv = gse_argv("sweep", *arguments, "--json")
    done = subprocess.run(argv, cwd=folder, env=ENV, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.beside
def test_a_sweep_runs_every_point_and_can_be_shown_again(tmp_path: Path) -> None:
    before = interfaces()
    results = tmp_path / "results"
    over = ["--over", "gsp.container_bytes=9100,36K", "--schemes", "gse2-n2n", "--seeds", "7,"]
    document = gse_sweep(tmp_path, "allreduce_ring", *over, *words(SMALL), "--results", str(results))
    assert interfaces() == before
    assert (document["status"], document["values"]) == ("finished", [9100, 36_864])
    for run in document["runs"]:
        assert run["verdict"] in ("VALID", "SUSPECT", "INVALID"), run
        assert run["efficiency"] > 0 and 0 < run["control_fraction"] < 1 and run["agent_cores"] > 0, run
        assert run["dgsq_wait_p50_ms"] is not None, run
        assert manifest(run)["scenario"]["gsp"]["container_bytes"] == run["value"]
        assert manifest(run)["seed"] == run["seed"] == 7
        # what agents were really told, not only what was asked
        plan = json.loads(Path(run["run_dir"], "raw", "plan.json").read_text())
        assert plan["scenario"]["gsp"]["container_bytes"] == run["value"]
    folders = {path.name for path in (results / "allreduce_ring").iterdir()}
    assert folders == {"sweeps", *(Path(run["run_dir"]).name for run in document["runs"])}
    sweep_dir = Path(document["sweep_dir"])
    usable = [run for run in document["runs"] if run["verdict"] != "INVALID"]
    figures = {"curves.png", "curves.svg", "curves.json"} if usable else set()
    assert {path.name for path in sweep_dir.iterdir()} == {"sweep.json", *figures}
    assert load_sweep(sweep_dir).done == 2
    again = gse_sweep(tmp_path, "--again", str(sweep_dir))
    assert {**again, "sweep_dir": ""} == {**document, "sweep_dir": ""}
