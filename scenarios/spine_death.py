"""What does the death of a whole spine cost a running all-reduce, and is anything lost?

Takes about a minute and a half per seed.
"""

from testbed.model.fault_spec import FaultSpec
from testbed.model.scenario import MeasureSpec, Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="spine_death",
    question="What does a spine cost that fails in mid-collective and never comes back?",
    expectation=(
        "Every leaf loses one of four uplinks at once and repairs by itself; nothing is lost under any scheme. "
        "Three uplinks then carry what four did: under gse1 two of a leaf's four flows share one and the ring falls to "
        "half, ecmp collides somewhat more often, GSE2.0 spreads over what is left and keeps three quarters."
    ),
    workload=WorkloadSpec(size_bytes=2 * 1024 * 1024, iterations=2, placement="cross_leaf"),
    faults=(FaultSpec(t_s=1.0, action="fail", target="s2"),),
    measure=MeasureSpec(sample_interval_s=0.04),
    schemes=("ecmp", "gse1", "gse2-n2n", "gse2-e2e"),
)
