"""Outside the capsules: expand a scenario into runs, start one capsule after the other, keep every result.

One run at a time: two on one machine would measure each other.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from testbed.errors import InputError, Problem, ResultsError, printable_lines
from testbed.fabric.controller import PROJECT
from testbed.fabric.ovs import allocator
from testbed.fidelity import OUTSIDE
from testbed.model.scenario import Scenario
from testbed.results.checks import FORMAT_VERSION
from testbed.results.disk import os_errors
from testbed.results.endings import take_back
from testbed.results.run import Run, load
from testbed.results.run_directory import RunDirectory
from testbed.results.summary import summarise
from testbed.runs.eventpipe import taken
from testbed.runs.plan import Plan
from testbed.runs.quiet import await_quiet
from testbed.system.capsule import capsule_argv
from testbed.system.machine import Machine
from testbed.system.provenance import commit, provenance

log = logging.getLogger(__name__)
OnEvent = Callable[[dict[str, Any]], None]
END_TIMEOUT_S = 10.0
UNKEPT = frozenset({"output", "output_left_out"})  # what programs print has files of its own
QUIET_LONGEST_S = 120.0  # how long a run that others disturbed waits for a better moment before it is made again
# What unshare says, depending on its version, when its child was killed: it tries to set a handler for SIGKILL.
UNSHARE_OF_KILLED = (b"child kill failed: Invalid argument", b"sigprocmask unblock failed: Invalid argument")

INVALID, FAILED = "INVALID", "FAILED"  # of runs without a summary: what was to be measured failed, or the testbed did


@dataclass(frozen=True)
class RunPlan:
    """One run of a campaign."""

    scheme: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What became of a run: a summary, or the reason there is none."""

    plan: RunPlan
    run_dir: Path
    summary: dict[str, Any] | None = None
    error: str | None = None
    exit_status: int = 0
    workload_failed: bool = False  # what was to be measured went wrong, not the testbed or its machine
    is_final: bool = True  # False: disturbed from outside, and to be made again
    set_aside: tuple[dict[str, Any], ...] = ()  # summaries of earlier tries that were disturbed from outside

    @property
    def verdict(self) -> str:
        """The run's verdict; of one that has no summary INVALID where its workload failed, else FAILED."""
        if self.summary is not None:
            return str(self.summary["verdict"])
        return INVALID if self.workload_failed else FAILED

    @property
    def shown(self) -> dict[str, Any]:
        """What a JSON document says of the run: its summary, or why there is none."""
        if self.summary is not None:
            return self.summary
        why = {"verdict": self.verdict, "reasons": [self.error], "run_dir": str(self.run_dir)}
        return {"scheme": self.plan.scheme, "seed": self.plan.seed, **why}

    @property
    def complaint(self) -> str | None:
        """What the user is told of a run without a summary; None where there is one."""
        if self.error is None:
            return None
        what = "is INVALID, without a result" if self.workload_failed else "failed"
        reason = printable_lines(f"{self.error} (kept in {self.run_dir})")
        return f"{self.plan.scheme} seed {self.plan.seed} {what}: {reason}"


@dataclass(frozen=True)
class _Failure:
    """Why a run came to no end."""

    error: str
    exit_status: int
    of_workload: bool = False

    @property
    def verdict(self) -> str:
        return INVALID if self.of_workload else FAILED


@dataclass
class Campaign:
    """All runs of one scenario. ``on_event`` is told what happens, as it happens.

    A run whose verdict names what others did to the machine (``fidelity.OUTSIDE``) is made again, up to
    ``repeats`` times; whether it is depends on the cause, never on the result. ``module`` is what runs in each
    capsule; ``extra`` is added to its plan and to the manifest; ``summarise`` makes a summary of what it leaves.
    """

    scenario: Scenario
    results_dir: Path
    machine: Machine
    on_event: OnEvent = field(default=lambda _event: None)
    repeats: int = 0
    module: str = "testbed.runs.experiment"
    extra: Mapping[str, Any] = field(default_factory=dict)
    summarise: Callable[[Run], dict[str, Any]] = field(default=lambda run: summarise(run))

    def plans(self) -> list[RunPlan]:
        """Return the runs in order: seed by seed, schemes interleaved and their order alternating.

        A machine that gets slower or faster meanwhile then does so for every scheme alike.
        """
        return [plan for index, seed in enumerate(self.scenario.seeds) for plan in self.plans_of(index, seed)]

    def plans_of(self, index: int, seed: int) -> list[RunPlan]:
        """Return the runs of a seed, the ``index``-th one."""
        schemes = self.scenario.schemes if index % 2 == 0 else tuple(reversed(self.scenario.schemes))
        return [RunPlan(scheme, seed) for scheme in schemes]

    def run(self) -> Iterator[Outcome]:
        """Execute every run and yield its outcome; a failed run does not stop the others."""
        for plan in self.plans():
            yield self.run_one(plan)

    def run_one(self, plan: RunPlan, earlier: Sequence[dict[str, Any]] = ()) -> Outcome:
        """Execute one run, again where others disturbed it. Raises ResultsError when nothing can be stored.

        ``earlier``: summaries of tries that were disturbed before, and set aside.
        """
        set_aside = list(earlier)
        while True:
            try:
                if set_aside:
                    self._await_quiet()
                outcome = self._try(plan, set_aside)
            except BaseException:  # interrupted: there will be no other try, so the last one counts
                if set_aside:
                    path = take_back(Path(set_aside[-1]["run_dir"]))
                    self._tell("warning", message=f"not made again: the disturbed run counts, {path}")
                raise
            if outcome.is_final:
                return replace(outcome, set_aside=tuple(set_aside))
            assert outcome.summary is not None
            set_aside.append(outcome.summary)

    def _await_quiet(self) -> None:
        self._tell("warning", message=f"waiting until nobody else uses the machine, {QUIET_LONGEST_S:g} s at most")
        if not await_quiet(QUIET_LONGEST_S):
            self._tell("warning", message="others still use the machine: made again all the same")

    def _try(self, plan: RunPlan, earlier: Sequence[Mapping[str, Any]]) -> Outcome:
        """Execute one run in a capsule of its own."""
        _check_place(self.results_dir)
        now_utc = datetime.now(timezone.utc)
        directory = RunDirectory.create(
            self.results_dir,
            scenario=self.scenario.name,
            scheme=plan.scheme,
            seed=plan.seed,
            commit=commit(),
            now_utc=now_utc,
        )
        try:
            self._tell("run", scheme=plan.scheme, seed=plan.seed, run_dir=str(directory.path))
            manifest = self._manifest(plan, directory, now_utc)
            if earlier:
                manifest["earlier_tries"] = [Path(one["run_dir"]).name for one in earlier]
            directory.write_json("manifest.json", manifest)
            failure = self._execute(plan, directory, manifest)
            manifest["status"] = "finished" if failure is None else "failed"
            if failure is not None:
                manifest["verdict"] = failure.verdict
            manifest["finished_utc"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
            directory.write_json("manifest.json", manifest)
            if failure is None:
                summary = self.summarise(load(directory.path))
                is_final = len(earlier) >= self.repeats or not OUTSIDE.intersection(summary["checks"])
                summary["run_dir"] = str(directory.final_path if is_final else directory.disturbed_path)
                directory.write_json("summary.json", summary)
        except InputError as error:
            failure = _Failure(str(error), error.exit_status)
        except BaseException as error:  # an interruption or a mistake of ours: what there is, is kept either way
            if directory.path.exists():
                message = str(error) or type(error).__name__
                path = directory.fail(message)
                self._tell("run_failed", error=message, run_dir=str(path))
            raise
        if failure is not None:
            path = directory.fail(failure.error)
            self._tell("run_failed", error=failure.error, run_dir=str(path))
            return Outcome(
                plan,
                path,
                error=failure.error,
                exit_status=failure.exit_status,
                workload_failed=failure.of_workload,
            )
        path = directory.finish() if is_final else directory.set_aside()
        self.on_event({"event": "run_done" if is_final else "run_set_aside", "summary": summary})
        return Outcome(plan, path, summary=summary, is_final=is_final)

    def _tell(self, event: str, **fields: Any) -> None:
        log.debug("event %s", json.dumps({"event": event, **fields}))
        self.on_event({"event": event, **fields})

    def _manifest(self, plan: RunPlan, directory: RunDirectory, now_utc: datetime) -> dict[str, Any]:
        found = provenance(self.machine)
        return {
            "format_version": FORMAT_VERSION,
            "run_id": directory.run_id,
            "scenario": self.scenario.model_dump(mode="json"),
            "scheme": plan.scheme,
            "seed": plan.seed,
            "status": "running",
            "started_utc": now_utc.isoformat(timespec="seconds"),
            "versions": {
                **{name: value for name, value in found.items() if name != "machine"},
                "switch_buffers": library.name if (library := allocator()) is not None else "libc",
            },
            "machine": found["machine"],
            "network": {},
            "events": [],
            **self.extra,
        }

    def _execute(self, plan: RunPlan, directory: RunDirectory, manifest: dict[str, Any]) -> _Failure | None:
        """Run the capsule, noting its events in ``manifest``; return None when it finished."""
        plan_path = directory.raw / "plan.json"
        told = Plan(
            scenario=self.scenario,
            scheme=plan.scheme,
            seed=plan.seed,
            run_dir=directory.path.resolve(),
            datapath=self.machine.datapath,
        )
        with os_errors("cannot write", plan_path):
            told.write(plan_path, self.extra)
        log_path = directory.raw / "experiment.log"
        with open(log_path, "wb") as log_file:
            process = subprocess.Popen(
                capsule_argv([sys.executable, "-m", self.module, str(plan_path.resolve())]),
                stdin=subprocess.PIPE,  # its end tells the capsule that we are gone
                stdout=subprocess.PIPE,
                stderr=log_file,
                cwd=PROJECT,
                start_new_session=True,  # Ctrl-C is ours to handle
                text=True,
            )
        capsule = _Capsule(process)
        try:
            last_phase, failed = "start", None
            assert process.stdout is not None
            for line in taken(process.stdout, _is_output, _left_out):
                log.debug("event %s", line.rstrip())
                capsule.find_first_process()
                event = _event_in(line)
                if event is None:
                    continue
                if event["event"] == "network":
                    manifest["network"] = event["settings"]
                elif event["event"] not in UNKEPT:
                    manifest["events"].append(event)
                last_phase = event.get("phase", last_phase)
                if event["event"] == "failed":
                    failed = _Failure(str(event["error"]), int(event["exit_status"]), bool(event["of_workload"]))
                elif event["event"] == "finished":
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(END_TIMEOUT_S)
                    return None
                self.on_event(event)
            status = process.wait()
        finally:
            capsule.end()
        if failed is not None:
            return failed
        return _Failure(
            f"the run's process ended in phase '{last_phase}' without a result: {_how(status, log_path)}; "
            "see raw/experiment.log",
            1,
        )


class _Capsule:
    """The processes of a capsule as seen from outside: its starter, and the first process it has started."""

    def __init__(self, starter: subprocess.Popen[str]) -> None:
        self._starter = starter
        self._first_pidfd: int | None = None

    def find_first_process(self) -> None:
        """Take hold of the first process, once it is there."""
        if self._first_pidfd is None:
            with suppress(OSError):
                path = Path(f"/proc/{self._starter.pid}/task/{self._starter.pid}/children")
                for child in path.read_text().split():
                    self._first_pidfd = os.pidfd_open(int(child))

    def end(self) -> None:
        """Kill what still runs and wait until nothing does: a first process has ended when all others have."""
        if self._starter.poll() is None:
            self.find_first_process()
        if self._first_pidfd is None:
            self._starter.kill()
        else:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first_pidfd, signal.SIGKILL)
            select.select([self._first_pidfd], [], [], END_TIMEOUT_S)
            os.close(self._first_pidfd)
        with suppress(subprocess.TimeoutExpired):
            self._starter.wait(END_TIMEOUT_S)
        self._starter.kill()
        self._starter.wait()
        if self._starter.stdin is not None:
            self._starter.stdin.close()


def _check_place(results_dir: Path) -> None:
    """Raise ResultsError where a capsule would not find its run: it has a /run of its own."""
    hidden, found = os.path.realpath("/run"), os.path.realpath(results_dir)
    if os.path.commonpath((hidden, found)) == hidden:
        raise ResultsError(Problem("runs cannot be stored below /run", "results", found, "a folder elsewhere"))


def _is_output(line: str) -> bool:
    """Tell what a program prints, which is kept in files of its own, without decoding what may be much."""
    return line.startswith('{"event": "output"')


def _left_out(lines: int) -> str:
    """Return the event that stands for lines nobody took in time."""
    return json.dumps({"event": "output_left_out", "lines": lines})


def _event_in(line: str) -> dict[str, Any] | None:
    """Return the event a line holds; None for the half of a line that a killed process leaves."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if isinstance(event, dict) and "event" in event:
        return event
    log.warning("the run's process printed %r, expected a JSON event", line[:200])
    return None


def _how(status: int, log_path: Path) -> str:
    """Say how a capsule ended. ``unshare`` ends as its child did, which it cannot where that was SIGKILL."""
    number = -status if status < 0 else None
    if status == 1 and log_path.read_bytes().rstrip().endswith(UNSHARE_OF_KILLED):
        number = signal.SIGKILL
    return f"exit status {status}" if number is None else f"killed by {signal.Signals(number).name}"
