"""Two all-reduces share a fabric and start together: does one wait for the other?"""

from testbed.model.scenario import Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="two_jobs",
    question="When two ring all-reduces that share every leaf start together, does either suffer from the other?",
    expectation=(
        "Together they are 16 flows on 16 uplinks: no conflict need be. GSOS places the second job around the first; "
        "under ECMP each job runs at its slowest hop, whoever it collides with, so the first job done may be much "
        "earlier than the last. Under GSE2.0 both end together."
    ),
    workload=WorkloadSpec(size_bytes=8 * 1024 * 1024, iterations=2, jobs=2, placement="cross_leaf"),
    schemes=("ecmp", "gse1", "gse2-n2n", "gse2-e2e"),
)
