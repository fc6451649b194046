"""A progress bar with the time left, on stderr; plain lines where stderr is no terminal. Not a command."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from testbed.cli.console import Console
from testbed.errors import printable_lines

REFRESH_PER_S = 4


class CampaignProgress:
    """Shows what the campaign is doing; the time left is re-estimated with every finished run.

    ``estimates_s`` holds the expected duration of each run, in order; what earlier runs really took
    scales the estimate of the rest.
    """

    def __init__(self, estimates_s: list[float]) -> None:
        self._estimates_s = estimates_s
        self._console = Console(stderr=True)
        self._interactive = sys.stderr.isatty()
        self._finished = 0
        self._spent_s = 0.0
        self._run_began_s = time.monotonic()
        self._label = "starting"
        self._phase = ""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            refresh_per_second=REFRESH_PER_S,
            get_time=self._tick,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> CampaignProgress:
        if self._interactive:
            self._progress.start()
            self._task = self._progress.add_task("starting", total=1.0, left="")
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _tb: TracebackType | None
    ) -> None:
        if self._interactive:
            self._progress.stop()

    def on_event(self, event: dict[str, Any]) -> None:
        """Take one event of the campaign."""
        kind = event["event"]
        if kind == "run":
            self._run_began_s = time.monotonic()
            point = f"{event['point']} " if "point" in event else ""
            number = f"{self._finished + 1}/{len(self._estimates_s)}"
            self._label = f"run {number} {point}{event['scheme']} seed {event['seed']}"
            self._say(self._label)
        elif kind == "phase":
            self._phase = event["phase"]
        elif kind == "iteration" and not event.get("warmup"):
            self._say(f"  iteration {event['iteration']}: {event['completion_s']:.2f} s")
        elif kind == "run_set_aside":
            reasons = "; ".join(event["summary"]["reasons"])
            self._print(f"  disturbed from outside, to be made again when the machine is quiet: {reasons}")
            self._run_began_s = time.monotonic()
        elif kind in ("run_done", "run_failed"):
            self._finished += 1
            self._spent_s += time.monotonic() - self._run_began_s
            if kind == "run_failed":
                self._show_failure(event)
        elif kind == "workload_failed":
            self._print(f"  {event['message']}; taking all down")
        elif kind in ("warning", "fault", "process_behind"):
            # on a terminal, too: the bar does not say it, and no table will before the run is over
            self._print(f"  {event.get('message') or event.get('action', '') + ' ' + event.get('target', '')}")
        if self._task is not None:
            self._update()

    def _show_failure(self, event: dict[str, Any]) -> None:
        why = next(iter(event["error"].splitlines()), "no reason given")
        self._print(f"  failed: {why}\n  kept: {event['run_dir']}")

    def _print(self, text: str) -> None:
        text = printable_lines(text)
        if self._interactive:
            self._console.print(text, markup=False, highlight=False)
        else:
            self._say(text)

    def _say(self, text: str) -> None:
        if not self._interactive:
            with suppress(OSError):  # nobody reads stderr any more: no reason to lose the run
                print(text, file=sys.stderr, flush=True)

    def _tick(self) -> float:
        if self._task is not None and not self._progress.finished:
            self._update()
        return time.monotonic()

    def _update(self) -> None:
        fraction, left_s = self.position(time.monotonic())
        if self._task is not None:
            task = self._progress.tasks[0]
            task.completed = fraction
            task.description = f"{escape(self._label)} [dim]{escape(self._phase)}[/dim]"
            task.fields["left"] = f"about {duration_text(left_s)} left"

    def position(self, now_s: float) -> tuple[float, float]:
        """Return (fraction done, seconds left) at ``now_s``."""
        done_estimate_s = sum(self._estimates_s[: self._finished])
        pace = self._spent_s / done_estimate_s if done_estimate_s else 1.0
        rest_s = sum(self._estimates_s[self._finished :]) * pace
        current_s = self._estimates_s[self._finished] * pace if self._finished < len(self._estimates_s) else 0.0
        spent_on_current_s = min(now_s - self._run_began_s, 0.95 * current_s)
        left_s = max(rest_s - spent_on_current_s, 0.0)
        total_s = self._spent_s + rest_s
        return ((total_s - left_s) / total_s if total_s else 1.0, left_s)


def duration_text(seconds: float) -> str:
    """Return a duration as people say it: ``3 min 07 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
