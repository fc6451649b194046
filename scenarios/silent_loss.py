"""What does a link that loses every frame, while its carrier stays up, cost a running all-reduce?

Takes about a minute and a half per seed.
"""

from testbed.model.fault_spec import FaultSpec
from testbed.model.scenario import MeasureSpec, Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="silent_loss",
    question="Who notices a link that loses every frame with its carrier up, and how long does it take?",
    expectation=(
        "Nothing in a switch or in GSOS sees it: under ecmp and gse1 the flows on the link stand still, TCP repeats at "
        "longer and longer intervals, and all go on only some time after the link is mended. Under GSE2.0 hellos that "
        "do not come back tell the GSPs within 50 to 100 ms; what was lost their sources send again on paths that live."
    ),
    workload=WorkloadSpec(size_bytes=2 * 1024 * 1024, iterations=2, placement="cross_leaf"),
    faults=(
        FaultSpec(t_s=1.0, action="silence", target="l1-s2"),
        FaultSpec(t_s=4.0, action="heal", target="l1-s2"),
    ),
    measure=MeasureSpec(sample_interval_s=0.04),
    schemes=("ecmp", "gse1", "gse2-n2n", "gse2-e2e"),
)
