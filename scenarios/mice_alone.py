"""What does asking before sending cost small messages when nothing else is under way?"""

from testbed.model.scenario import Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="mice_alone",
    question="What does each scheme's machinery cost small messages on an idle fabric?",
    expectation=(
        "Without agents a message of 2 KiB takes tenths of a millisecond: an idle link's token bucket lets a frame "
        "pass at once, so this is switching, not the line rate. Under GSE2.0 a quiet queue's message waits for a "
        "request and a grant, unless it has standing credit, and for the agents' own processing."
    ),
    workload=WorkloadSpec(
        kind="permutation",
        iterations=1,
        warmup_iterations=0,
        placement="cross_leaf",
        mice_bytes=2048,
        mice_interval_ms=100.0,
        mice_only_s=10.0,
    ),
    schemes=("ecmp", "gse1", "gse2-n2n", "gse2-e2e"),
)
