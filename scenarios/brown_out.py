"""What does a link that falls to a tenth of its rate, without failing, cost a running all-reduce?

Takes about two minutes per seed.
"""

from testbed.model.fault_spec import FaultSpec
from testbed.model.scenario import MeasureSpec, Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="brown_out",
    question="Is a link that falls to a tenth of its rate avoided, and how soon?",
    expectation=(
        "Hashed and placed flows stay on it and the ring, as fast as its slowest hop, falls to a tenth. Under GSE2.0 "
        "the slow path brings no frame and answers no hello for so long that it is taken for dead "
        "within some 60 ms, before its queues are full. It answers while nobody uses it, is tried again after one "
        "second, then after two, four: three quarters of the uplinks' sum, but for some 100 ms each time."
    ),
    workload=WorkloadSpec(size_bytes=2 * 1024 * 1024, iterations=2, placement="cross_leaf"),
    faults=(
        FaultSpec(t_s=1.0, action="slow", target="l1-s2", fraction=0.1),
        FaultSpec(t_s=5.0, action="heal", target="l1-s2"),
    ),
    measure=MeasureSpec(sample_interval_s=0.04),
    schemes=("ecmp", "gse1", "gse2-n2n", "gse2-e2e"),
)
