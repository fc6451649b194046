"""How much faster does an all-reduce finish when GSOS places its flows than under ECMP, and why?"""

from testbed.model.scenario import Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="allreduce_ring",
    question="How much faster does a ring all-reduce finish when GSOS places its flows (gse1) than under ECMP?",
    expectation=(
        "ECMP lets hashed flows collide on uplinks and the ring runs at its slowest hop: about 0.40 of the limit on "
        "4x4x4 with one flow per hop (Monte Carlo). GSOS knows the flows and gives each an uplink and a downlink of "
        "its own: close to 1."
    ),
    workload=WorkloadSpec(size_bytes=8 * 1024 * 1024, iterations=2, placement="cross_leaf"),
)
