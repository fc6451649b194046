"""How fast is an all-to-all, where every rank talks to every other at once, under each scheme?"""

from testbed.model.scenario import Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="all_to_all",
    question="How close to the limit of the host links does an all-to-all come under each scheme?",
    expectation=(
        "240 flows share 16 uplinks, 12 on each if spread evenly, beside 15 on each host link: hashing them is uneven, "
        "but with many flows much less so than in a ring, and the host links have a quarter to spare for it. What "
        "schemes differ by is how fairly a host's 15 flows share: the slowest pair ends the iteration. The ideal is "
        "6.3 s for 8 MiB."
    ),
    workload=WorkloadSpec(kind="all_to_all", size_bytes=8 * 1024 * 1024, iterations=2, placement="cross_leaf"),
    schemes=("ecmp", "gse1", "gse2-n2n", "gse2-e2e"),
)
