"""Does every collective, by every algorithm, bring the right result with the right bytes, and how fast?"""

from testbed.model.scenario import Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="collectives",
    question="How close to its limit does every collective come under each scheme, and is every result right?",
    expectation=(
        "Nothing wrong and bytes within 1% of each algorithm's formula under every scheme. Rings with one flow a hop "
        "are what hashing hurts most: all wait for the slowest hop. Trees and halving load a host's link unevenly or "
        "in turns, so that a collision costs them less. gse1 places announced flows without conflict where that can "
        "be; but a rank's flows of different rounds count as if they were sent at once. GSE2.0 asks nobody what comes. "
        "A broadcast along a chain pays for 14 slices that wait, a quarter of a second of 2 MiB's 1.9."
    ),
    workload=WorkloadSpec(kind="collective", size_bytes=2 * 1024 * 1024, iterations=2, placement="cross_leaf"),
    schemes=("ecmp", "gse1", "gse2-n2n", "gse2-e2e"),
    seeds=(1,),
)
# 'gse sweep collectives': all of them
OVER = (
    "workload.collective",
    (
        "allreduce/ring",
        "allreduce/halving_doubling",
        "allreduce/double_tree",
        "allreduce/hierarchical",
        "reduce_scatter/ring",
        "reduce_scatter/halving",
        "all_gather/ring",
        "all_gather/doubling",
        "broadcast/ring",
        "broadcast/tree",
        "all_to_all/direct",
        "sendrecv/direct",
    ),
)
