"""How much of its links' rate does a large collective use under each scheme: is it more than 95%?"""

from testbed.model.scenario import Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="utilisation",
    question="What share of the rate of hosts' links do large collectives use under each scheme, and is it over 95%?",
    expectation=(
        "Of the limit, which is links full of plain TCP frames (99.3% of their rate are payload): gse1 0.99, for its "
        "flows do not meet; GSE2.0 0.97, for 0.6% are headers of its own and grants pace at 0.985; ECMP 0.4 where all "
        "wait for the slowest of 16 flows, 0.8 where each of 240 is on its own. "
        "'gse sweep utilisation': 3 collectives x 4 schemes x 10 seeds of 6 MiB, about half an hour."
    ),
    workload=WorkloadSpec(kind="collective", size_bytes=6 * 1024 * 1024, iterations=1, placement="cross_leaf"),
    schemes=("ecmp", "gse1", "gse2-n2n", "gse2-e2e"),
    seeds=tuple(range(1, 11)),
)
OVER = ("workload.collective", ("allreduce/ring", "all_gather/ring", "all_to_all/direct"))
