"""What of a completion time slices that wait for each other explain. Pure."""

from __future__ import annotations

from typing import Final

from testbed.evaluation.pairs import run_rounds
from testbed.fidelity.verdict import Evidence
from testbed.model.rounds import STEP_S

START_UP_S: Final = 0.02  # until the first frames of every rank are under way, and for the last to be read
START_UP_FRAMES: Final = 4
LEAST_IDLE: Final = 0.01  # of the ideal time; less is start-up


def waiting_share(evidence: Evidence, *, step_s: float = STEP_S) -> float:
    """Return the share of the completion time that links idle because of the order of a collective; 0: bytes decide.

    ``step_s`` is what passes between two slices one of which waits for the other, beyond what links take. Slices on
    links that several flows share are as slow as the slowest of these flows.
    """
    metrics = evidence.metrics
    if metrics.rounds is None or not metrics.completion_s:
        return 0.0
    share = 1.0 if metrics.prediction is None else min(1.0, metrics.prediction.efficiency)
    found = run_rounds(evidence.run, step_s=step_s, share=share)
    idle_s = 0.0 if found is None else found.waiting_s
    return idle_s / metrics.completion_s if idle_s > LEAST_IDLE * metrics.ideal.ideal_s else 0.0
