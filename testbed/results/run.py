"""A finished run, loaded: manifest and summary at once, tables when first asked for. Nothing here computes anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from testbed.errors import ResultsError, ScenarioError, first_problems
from testbed.evaluation.records import (
    CalibrationRow,
    ComputingRow,
    CpuRow,
    CrossFlowRow,
    FlowRow,
    IterationRow,
    LinkRow,
    LookupRow,
    MessageRow,
    OperationRow,
    ProbeQueueRow,
    ProbeRow,
    QueueRow,
    RankRow,
    ReplayRow,
    RowT,
    RunRecord,
    SocketRow,
    SoftnetRow,
    Tables,
    ThreadRow,
    TransferRow,
)
from testbed.model.question import question_of
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import parse_scenario
from testbed.results.checks import manifest_problems, summary_problems, table_problems
from testbed.results.json_files import read_json
from testbed.results.table_files import load_rows


@dataclass(frozen=True)
class Run:
    """A finished run, loaded. ``manifest`` and ``summary`` are read at once, tables when first asked for."""

    path: Path
    manifest: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    judged_anew: bool = False  # the summary is not the one stored, but made by this version

    @cached_property
    def scenario(self) -> Scenario:
        """The scenario the run was made from."""
        return parse_scenario(self.manifest["scenario"], source=str(self.path / "manifest.json"))

    @cached_property
    def scenario_hash(self) -> str:
        """Eight hex digits that are equal for runs of the same question."""
        return hash_of(self.scenario)

    @property
    def format_version(self) -> int:
        """Version of the format the run was stored in."""
        return int(self.manifest["format_version"])

    @property
    def scheme(self) -> str:
        """Name of the scheme."""
        return str(self.manifest["scheme"])

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.manifest["seed"])

    @property
    def program(self) -> Mapping[str, Any] | None:
        """What ``gse exec`` was asked to run, None for a run of the scenario's own workload."""
        program: Mapping[str, Any] | None = self.manifest.get("program")
        return program

    @cached_property
    def tables(self) -> Tables:
        """Every row of every table. Raises ResultsError naming file and row when one cannot be read."""
        return Tables(
            iterations=self.rows(IterationRow),
            ranks=self.rows(RankRow),
            flows=self.rows(FlowRow),
            transfers=self.rows(TransferRow),
            operations=self.rows(OperationRow),
            computing=self.rows(ComputingRow),
            links=self.rows(LinkRow),
            queues=self.rows(QueueRow),
            cpu=self.rows(CpuRow),
            threads=self.rows(ThreadRow),
            sockets=self.rows(SocketRow),
            lookups=self.rows(LookupRow),
            softnet=self.rows(SoftnetRow),
            probes=self.rows(ProbeRow),
            probe_queues=self.rows(ProbeQueueRow),
            messages=self.rows(MessageRow),
            cross_flows=self.rows(CrossFlowRow),
            replay=self.rows(ReplayRow),
            calibration=self.rows(CalibrationRow),
        )

    def rows(self, row_type: type[RowT]) -> tuple[RowT, ...]:
        """Every row of one table. Raises ResultsError for rows that cannot be read, or cannot be on this fabric."""
        rows = load_rows(self.path, row_type, version=self.format_version)
        where = str(self.path / row_type.FILE)
        problems = first_problems(table_problems(rows, self.scenario, where), where)
        if problems:
            raise ResultsError(problems)
        return rows

    @cached_property
    def record(self) -> RunRecord:
        """What ``metrics`` and ``fidelity`` need."""
        return RunRecord(
            scenario=self.scenario,
            scheme=self.scheme,
            seed=self.seed,
            events=tuple(self.manifest["events"]),
            network=self.manifest["network"],
            tables=self.tables,
        )


def hash_of(scenario: Scenario) -> str:
    """Return eight hex digits that are equal for runs of the same question (``testbed.model.question``)."""
    text = json.dumps(question_of(scenario), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def load(path: Path) -> Run:
    """Load a run directory. Raises InputError when it is missing, damaged, unfinished or of another format version."""
    where = path / "manifest.json"
    manifest = read_json(where)
    problems = first_problems(manifest_problems(manifest, str(where)), str(where))
    if problems:
        raise ResultsError(problems)
    where = path / "summary.json"
    summary = read_json(where) if where.exists() else None
    run = Run(path, manifest, summary)
    problems = [] if summary is None else list(summary_problems(summary, manifest, str(where)))
    try:
        assert run.scenario
    except ScenarioError as error:
        problems += error.problems
    if problems:
        raise ResultsError(problems)
    return run
