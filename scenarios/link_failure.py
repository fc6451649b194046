"""What does the failure of one leaf-spine link cost a running all-reduce, and is anything lost?

Takes about three minutes per seed.
"""

from testbed.model.fault_spec import FaultSpec
from testbed.model.scenario import MeasureSpec, Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="link_failure",
    question="What does one leaf-spine link, failing in mid-collective and mended later, cost under each scheme?",
    expectation=(
        "The leaf repairs locally (ECMP: hash over the live uplinks, gse1: next path of the pinned rule) and GSOS "
        "takes the dead path out of the other leaves; the collective finishes with correct sums under all. With a "
        "spine link less, gse1 is back at full speed only after the link is mended. Under GSE2.0 the leaf's GSP sees "
        "the carrier go at once and tells the others, behind a frame on each link: 15 to 60 ms. What is left of the "
        "paths is used evenly. With "
        "gsos.repair=controller (ecmp and gse1) no leaf repairs by itself: flows stand still until GSOS has acted."
    ),
    workload=WorkloadSpec(size_bytes=4 * 1024 * 1024, iterations=3, placement="cross_leaf"),
    faults=(
        FaultSpec(t_s=2.0, action="fail", target="l1-s2"),
        FaultSpec(t_s=8.0, action="heal", target="l1-s2"),
    ),
    measure=MeasureSpec(sample_interval_s=0.04),
    schemes=("ecmp", "gse1", "gse2-n2n", "gse2-e2e"),
)
