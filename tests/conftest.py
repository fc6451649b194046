"""``root`` tests are skipped, and said to be, without root; Hypothesis never judges by the clock.

Signals mean what they mean at a terminal, however the tests were started: nohup and background jobs of a shell ignore
some, and children inherit that.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

COMPILED = os.environ.get("GSE_TEST_COMPILED") == "1"
if COMPILED:  # before anything of the data plane is imported
    from testbed.agent.compiled import use

    assert use() == "compiled", "the data plane of these sources has not been compiled"

# The machine may be busy with something else: how long an example takes says nothing about the code.
# Examples are others each time: many runs of the tests search together, and one with --full searches longer. Of modules
# that are compiled it is only to be seen that they do what the sources do.
EXAMPLES = 25 if COMPILED else int(os.environ.get("GSE_TEST_EXAMPLES", "50"))
settings.register_profile("testbed", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=EXAMPLES)
settings.load_profile("testbed")

for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root: sudo ./gse test"))
