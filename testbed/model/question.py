"""Which scenarios, and runs of them, ask the same question. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from testbed.model.scenario import Scenario

# Words for readers, and who is asked how often: every run has one scheme and one seed of these.
NOT_ASKED: Final = frozenset({"question", "expectation", "schemes", "seeds"})


def question_of(scenario: Scenario, *, but: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a scenario asks, as JSON has it: every field but words, schemes and seeds.

    Two scenarios ask the same question where this is equal, and runs are grouped, counted and told apart by it. The
    name is part of it, for it is the folder of results: scenarios that differ in nothing else are kept apart as their
    users did. What a run was made by (commit, machine, datapath) is not.

    ``but``: dotted fields that may differ as well, such as ``gsos.repair``. Raises LookupError where there is none.
    """
    asked = scenario.model_dump(mode="json", exclude=set(NOT_ASKED))
    for field in but:
        *path, last = field.split(".")
        within = asked
        for name in path:
            within = within[name]
        del within[last]
    return asked
