"""Does gse1 keep an all-reduce fast when two elephants nobody announced cross the same fabric?"""

from testbed.model.fabric_spec import FabricSpec
from testbed.model.scenario import ElephantSpec, Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="background_elephants",
    question="What do two background transfers (iperf3) do to a ring all-reduce under each scheme?",
    expectation=(
        "The elephants share hosts with no rank (16 hosts, 12 ranks), so a free path exists for everyone. gse1 places "
        "them by measured load and moves them off hot links; ECMP leaves it to the hash."
    ),
    fabric=FabricSpec(),
    workload=WorkloadSpec(size_bytes=4 * 1024 * 1024, iterations=2, ranks=12, placement="cross_leaf"),
    background=(ElephantSpec(src="h4", dst="h8"), ElephantSpec(src="h12", dst="h16")),
)
