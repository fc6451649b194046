"""Fifteen hosts send to one at the same time: is its link kept full, and is it shared fairly?"""

from testbed.model.scenario import Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="incast",
    question="When fifteen hosts send to one at once, is the receiver's link kept full, and what is lost on the way?",
    expectation=(
        "The receiver's link is the limit, whatever the paths: 12.7 s for 15 x 1 MiB at 10 Mbit/s. Without admission "
        "fifteen windows meet in its queue of 256 KiB: drops, timeouts, unequal shares. Under GSE2.0 the destination "
        "grants what its link takes: no drops, and equal shares."
    ),
    workload=WorkloadSpec(kind="incast", size_bytes=1024 * 1024, iterations=2, placement="cross_leaf"),
    schemes=("ecmp", "gse1", "gse2-n2n", "gse2-e2e"),
)
