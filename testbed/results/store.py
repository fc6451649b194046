"""A run directory on disk: create, append, finish or fail, load. docs/results-format.md is its contract.

``<results>/<scenario>/<run>`` is ``<run>.partial`` while the run lasts and ``<run>.failed`` (with
``error.txt``) when it could not be finished, ``<run>.disturbed`` when it was made again because
others used the machine meanwhile. Creating the directory is the lock that keeps
concurrent runs apart. Nothing here computes anything.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import IO, Any, Final, TextIO

from testbed.errors import Problem, ResultsError, ScenarioError, first_problems
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
    Row,
    RowT,
    RunRecord,
    SocketRow,
    SoftnetRow,
    Tables,
    ThreadRow,
    TransferRow,
    cells_from_row,
    columns,
    rows_from_columns,
)
from testbed.files import MAX_JSON_BYTES, MAX_TABLE_BYTES, give_to_caller, open_input, read_input
from testbed.model.question import question_of
from testbed.model.scenario import SCHEMES, Scenario
from testbed.model.scenario_input import parse_scenario
from testbed.results.checks import FORMAT_VERSION as FORMAT_VERSION  # part of what this module tells
from testbed.results.checks import manifest_problems, parse_json, summary_problems, table_problems
from testbed.units import MIB

PARTIAL = ".partial"
FAILED = ".failed"
DISTURBED = ".disturbed"
MOST_ROW_CHARACTERS: Final = 10_000  # of a table; the longest column names together are some 250
LINES_PER_ROW: Final = 2  # at most, of all rows together: hardly any name of a thread has a line end in it
REMEDIES = {
    errno.ENOSPC: "free space on that file system",
    errno.EDQUOT: "free quota",
    errno.EROFS: "a writable file system",
    errno.EACCES: "permission for this user",
}


@dataclass(frozen=True)
class RunDirectory:
    """The directory of a run being made; ``path`` ends in ``.partial``. All writers raise ResultsError."""

    path: Path

    @classmethod
    def create(
        cls, results_dir: Path, *, scenario: str, scheme: str, seed: int, commit: str | None, now_utc: datetime
    ) -> RunDirectory:
        """Make ``results_dir/scenario/<run id>.partial`` with ``raw/`` in it, unique among concurrent runs.

        ``commit`` is the hash of the checkout, None outside git. ``now_utc`` is an aware time.
        """
        stamp = now_utc.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        base = f"{stamp}-{scheme}-seed{seed}-{commit[:7] if commit else 'nogit'}"
        parent = results_dir / scenario
        with os_errors("cannot create a run directory", parent):
            make_parents(parent)
            claims = (_claim(parent, base if attempt == 1 else f"{base}-{attempt}") for attempt in count(1))
            directory = cls(next(path for path in claims if path is not None))
            directory.raw.mkdir()
            give_to_caller(directory.path)
            give_to_caller(directory.raw)
        return directory

    @property
    def run_id(self) -> str:
        """The run's name without ``.partial``."""
        return self.path.name.removesuffix(PARTIAL)

    @property
    def final_path(self) -> Path:
        """Where the run will be once it has finished."""
        return self.path.with_name(self.run_id)

    @property
    def disturbed_path(self) -> Path:
        """Where it will be if it is made again."""
        return self.path.with_name(self.run_id + DISTURBED)

    @property
    def raw(self) -> Path:
        """Where verbatim tool output goes."""
        return self.path / "raw"

    def append(self, rows: Iterable[Row]) -> None:
        """Append rows of one or several tables to their files; a new file begins with its header."""
        by_type: dict[type[Row], list[list[str]]] = {}
        for row in rows:
            by_type.setdefault(type(row), []).append(cells_from_row(row))
        for row_type, lines in by_type.items():
            path = self.path / row_type.FILE
            with os_errors("cannot write", path), path.open("a", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                if file.tell() == 0:
                    writer.writerow(columns(row_type))
                writer.writerows(lines)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write ``name`` so that a reader sees the old file or the new one, never half of it."""
        write_json(self.path / name, value)

    def finish(self) -> Path:
        """Drop ``.partial`` from the name and return the final path."""
        return self._rename(self.final_path.name)

    def fail(self, message: str) -> Path:
        """Keep what there is as ``<run>.failed`` with ``message`` in ``error.txt``; return the path.

        A disk too full for ``error.txt`` or the new status does not stop the renaming: the name still says
        "failed", and the message reaches the user by other means too.
        """
        with suppress(OSError):
            (self.path / "error.txt").write_text(message.rstrip("\n") + "\n")
        with suppress(ResultsError):
            manifest = read_json(self.path / "manifest.json")
            self.write_json("manifest.json", {**manifest, "status": "failed", "error": message})
        return self._rename(self.run_id + FAILED)

    def set_aside(self) -> Path:
        """Keep a run that was disturbed from outside and is made again as ``<run>.disturbed``; return the path."""
        return self._rename(self.disturbed_path.name)

    def _rename(self, name: str) -> Path:
        target = self.path.with_name(name)
        with os_errors("cannot rename the run directory", self.path):
            for root, directories, files in os.walk(self.path):
                for entry in (*directories, *files):
                    give_to_caller(Path(root, entry))
            self.path.rename(target)
        return target


def put_aside(path: Path) -> Path:
    """Keep a finished run, which is to be made again, as ``<run>.disturbed``; return its path. Raises ResultsError."""
    target = path.with_name(path.name + DISTURBED)
    summary = read_json(path / "summary.json")
    write_json(path / "summary.json", {**summary, "run_dir": str(target)})
    with os_errors("cannot rename the run directory", path):
        path.rename(target)
    return target


def take_back(path: Path) -> Path:
    """Make a run that was set aside one that counts, for it will not be made again; return its path."""
    target = path.with_name(path.name.removesuffix(DISTURBED))
    summary = read_json(path / "summary.json")
    write_json(path / "summary.json", {**summary, "run_dir": str(target)})
    with os_errors("cannot rename the run directory", path):
        path.rename(target)
    return target


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


@dataclass(frozen=True)
class RunListing:
    """The finished runs of a scenario, oldest first, and how many others there are."""

    finished: tuple[Path, ...]
    partial: int
    failed: int
    disturbed: int = 0


def list_runs(results_dir: Path, scenario: str) -> RunListing:
    """Return the runs of ``scenario``; those unfinished or failed are only counted.

    Raises ResultsError when ``results_dir`` is no directory or may not be read; that it does not exist yet is none.
    """
    parent = results_dir / scenario
    with os_errors("cannot list runs", parent):
        if results_dir.exists() and not results_dir.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(results_dir))
        names = sorted(entry.name for entry in parent.iterdir() if entry.is_dir()) if parent.exists() else []
    complete = (parent / name for name in names if not name.endswith((PARTIAL, FAILED, DISTURBED)))
    return RunListing(
        finished=tuple(path for path in complete if (path / "manifest.json").exists()),
        partial=sum(name.endswith(PARTIAL) for name in names),
        failed=sum(name.endswith(FAILED) for name in names),
        disturbed=sum(name.endswith(DISTURBED) for name in names),
    )


@dataclass(frozen=True)
class FailedRun:
    """A run that came to no end: what it was to answer, and why there is no result.

    ``verdict``: INVALID where its workload went wrong, FAILED where the testbed or its machine did, or was interrupted.
    ``run``: its manifest, and nothing measured.
    """

    path: Path
    run: Run
    scenario_hash: str
    scheme: str
    seed: int
    verdict: str
    error: str


def failed_runs(folder: Path) -> tuple[FailedRun, ...]:
    """Return the failed runs of a scenario's folder, oldest first, but those whose manifest does not say of what."""
    with os_errors("cannot list runs", folder):
        found = sorted(path for path in folder.iterdir() if path.name.endswith(FAILED)) if folder.is_dir() else []
    return tuple(run for path in found if (run := load_failed(path)) is not None)


def load_failed(path: Path) -> FailedRun | None:
    """Return a failed run; None of a user's program, and where a full disk or a stranger left no manifest to go by."""
    try:
        manifest = read_json(path / "manifest.json")
        scheme, seed = manifest.get("scheme"), manifest.get("seed")
        if scheme not in SCHEMES or isinstance(seed, bool) or not isinstance(seed, int) or "program" in manifest:
            return None
        if not isinstance(manifest.get("scenario"), dict):
            return None
        run = Run(path, manifest, None)
        asked = run.scenario_hash
    except (ResultsError, ScenarioError):
        return None
    verdict, error = manifest.get("verdict", "FAILED"), manifest.get("error", "")
    return FailedRun(path, run, asked, str(scheme), seed, str(verdict), str(error))


def is_run(path: Path) -> bool:
    """Return whether ``path`` is the folder of a run, in whatever state. Raises ResultsError when nobody can tell."""
    with os_errors("cannot look into", path):
        return (path / "manifest.json").exists()


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


def load_rows(path: Path, row_type: type[RowT], *, version: int = FORMAT_VERSION) -> tuple[RowT, ...]:
    """Read one table of a run; () when the file does not exist. Raises ResultsError naming file and row.

    It has ``row_type.MOST`` rows at most: a file of so many bytes may have ten times as many, and take gigabytes.

    ``version`` is the run's format version: tables of an older one may lack columns that were added since.
    """
    file_path = path / row_type.FILE
    try:
        with io.TextIOWrapper(open_input(file_path, MAX_TABLE_BYTES), encoding="utf-8", newline="") as file:
            _check_lines(file.buffer, row_type.MOST)
            lines = _cells(file)
            header = next(lines, None)
            if header is None:
                return ()
            return tuple(rows_from_columns(row_type, header, lines, older=version < FORMAT_VERSION))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ResultsError(Problem("cannot read a table", str(file_path), reason, "a CSV file")) from None
    except ValueError as error:
        raise ResultsError(Problem("damaged table", str(file_path), str(error), "see docs/results-format.md")) from None


def _check_lines(file: IO[bytes], most_rows: int) -> None:
    """Raise ValueError where a file has far more lines than rows are read of it: before any of them is in memory."""
    lines, most = 0, LINES_PER_ROW * (most_rows + 1)
    while block := file.read(MIB):
        lines += block.count(b"\n")
        if lines > most:
            raise ValueError(f"more than {most_rows:,} rows")
    file.seek(0)


def _cells(file: TextIO) -> Iterator[list[str]]:
    """Yield the cells of each row of a table. Raises ValueError for a row longer than any has, once it is that long."""
    taken = 0

    def lines() -> Iterator[str]:
        nonlocal taken
        while line := file.readline(MOST_ROW_CHARACTERS + 1):
            taken += len(line)  # a name in quotes may have a line end in it: then a row is of several lines
            if taken > MOST_ROW_CHARACTERS:
                raise ValueError(f"a row of more than {MOST_ROW_CHARACTERS:,} characters")
            yield line

    for cells in csv.reader(lines()):
        taken = 0
        yield cells


def json_text(value: Mapping[str, Any]) -> str:
    """Return JSON as all our files have it: indented, readable, no NaN.

    Half a surrogate (a file name that is no UTF-8, in what a program prints or a path) stays what it is, escaped.
    """
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON atomically, indented. Raises ResultsError."""
    text = json_text(value)
    # in a folder nobody else can have put a link into: folders of strangers are written to, and by root
    with (
        os_errors("cannot write", path),
        tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder,
    ):
        temporary = Path(folder, "new")
        temporary.write_text(text, encoding="utf-8")
        give_to_caller(temporary)
        temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a regular file of bounded size. Raises ResultsError."""
    try:
        value = parse_json(read_input(path, MAX_JSON_BYTES).decode())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ResultsError(Problem("cannot read a result", str(path), reason, "a finished run directory")) from None
    except (ValueError, RecursionError) as error:
        raise ResultsError(Problem("damaged JSON", str(path), str(error)[:120], "a JSON object")) from None
    if not isinstance(value, dict):
        raise ResultsError(Problem("damaged JSON", str(path), type(value).__name__, "a JSON object"))
    return value


def _claim(parent: Path, name: str) -> Path | None:
    """Make ``name.partial`` unless a run of that name exists in any state; return None if one does.

    The look at the finished names comes after mkdir: another run of this name can only leave ``.partial``
    by renaming it, so whoever holds ``.partial`` sees every earlier holder's final name.
    """
    path = parent / (name + PARTIAL)
    try:
        path.mkdir()
    except FileExistsError:
        return None
    if any((parent / (name + ending)).exists() for ending in ("", FAILED, DISTURBED)):
        path.rmdir()
        return None
    return path


def make_parents(path: Path) -> None:
    """Make a folder and what is missing above it, and hand them to who called sudo. Raises OSError."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        give_to_caller(folder)


@contextmanager
def os_errors(what: str, where: Path) -> Iterator[None]:
    """Translate OSError into ResultsError with what can be done about it."""
    try:
        yield
    except OSError as error:
        expected = REMEDIES.get(error.errno or 0, "a writable directory")
        raise ResultsError(
            Problem(what, str(error.filename or where), error.strerror or str(error), expected)
        ) from None
