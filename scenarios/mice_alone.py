"""What does asking before sending cost small messages when nothing else is under way?"""

from testbed.model.scenario import Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="mice_alone",
    question="What does each scheme's machinery cost small messages on an idle fabric?",
    expectation=(
        "Without agents a message of 2 KiB needs four times 1.7 ms, once per link. The first message of a quiet queue "
        "waits for a request and a grant under GSE2.0, unless it has standing credit; agents add their own "
        "processing. p99 shows what a busy machine adds."
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
