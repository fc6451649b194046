"""A sweep's runs, one after the other, each an ordinary run of a campaign; what becomes of them is noted at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from testbed.errors import ResultsError
from testbed.results.endings import DISTURBED, put_aside
from testbed.results.json_files import read_json
from testbed.results.sweeps import StoredSweep
from testbed.runs.campaign import Campaign, OnEvent, Outcome, RunPlan
from testbed.system.machine import Machine


@dataclass
class SweepCampaign:
    """All runs of one sweep. ``stored`` is what is known of them so far; ``on_event`` is told what happens."""

    stored: StoredSweep
    results_dir: Path
    machine: Machine
    on_event: OnEvent = field(default=lambda _event: None)
    repeats: int = 0  # as a campaign's

    def run(self) -> Iterator[Outcome]:
        """Execute every run that is to be made, in order, and yield its outcome; a failed one stops no others.

        One that asks for a change first (exit status 2, e.g. the disk is full) does: the next would fail alike. However
        this ends, ``sweep.json`` says what was done. Raises ResultsError when nothing can be stored.
        """
        finished, pending = False, self.stored.to_make(self.repeats)
        self.stored = replace(self.stored, status="running")
        self.stored.keep_room()
        try:
            for index in pending:
                outcome = self._run(index)
                self.stored.write()
                yield outcome
                if outcome.exit_status == 2:
                    return
            finished = True
        finally:
            self.stored = replace(self.stored, status="finished" if finished else "interrupted")
            with suppress(ResultsError):  # whatever ended the sweep is the better message
                self.stored.write()
            self.stored.give_up_room()

    def _run(self, index: int) -> Outcome:
        run, sweep = self.stored.runs[index].run, self.stored.sweep
        point = f"{sweep.field}={sweep.texts[run.point]}"
        tries: list[str] = []  # that finished and were set aside: as each was called before

        def on_event(event: dict[str, Any]) -> None:
            if event["event"] == "run_done":
                self._note(index, event["summary"]["run_dir"], None)
                tries.clear()  # it counts, whatever ends the sweep now
            elif event["event"] == "run_failed":  # an interrupted run has no other way to say where it was kept
                self._note(index, event["run_dir"], event["error"])
            elif event["event"] == "run_set_aside":
                tries.append(Path(event["summary"]["run_dir"]).name.removesuffix(DISTURBED))
            self.on_event({**event, "point": point} if event["event"] == "run" else event)

        campaign = Campaign(
            sweep.points[run.point], self.results_dir, self.machine, on_event=on_event, repeats=self.repeats
        )
        plan, earlier = RunPlan(run.scheme, run.seed), self.stored.runs[index]
        try:
            if earlier.name is None or earlier.failed or self.stored.is_gone(index):
                return campaign.run_one(plan)
            tries.append(earlier.name)
            return campaign.run_one(plan, self._set_aside(index, earlier.name))
        except BaseException:  # interrupted: the last try that finished counts where it was taken back, else none does
            if tries:
                taken_back = (self.stored.runs_dir / tries[-1]).exists()
                self.stored = self.stored.with_run(index, tries[-1] if taken_back else None, None)
            raise

    def _set_aside(self, index: int, name: str) -> tuple[dict[str, Any], ...]:
        """Set a finished run aside that is to be made again; return the summaries of it and of tries before it.

        The sweep forgets it first: whatever happens then, it is one that is to be made.
        """
        runs_dir = self.stored.runs_dir
        before = [_summary_of(runs_dir / one) for one in self.stored.earlier_tries(index)]
        self.stored = self.stored.with_run(index, None, None)
        self.stored.write()
        return (*before, _summary_of(put_aside(runs_dir / name)))

    def _note(self, index: int, run_dir: str, error: str | None) -> None:
        self.stored = self.stored.with_run(index, Path(run_dir).name, error)


def _summary_of(folder: Path) -> dict[str, Any]:
    """Return the summary of a try that was set aside; of one that was removed since, or is a stranger's, where it was.

    It was disturbed and counts for nothing but having been made: no reason to lose the run it was a try of.
    """
    try:
        found = read_json(folder / "summary.json")
    except ResultsError:
        found = {}
    return {**found, "run_dir": str(folder)}
