"""From which size on is an all-reduce a matter of bandwidth, and what does asking first cost below?"""

from testbed.model.scenario import Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="message_size",
    question="From which size on does a ring all-reduce depend on bandwidth, and what does asking first cost below?",
    expectation=(
        "Small all-reduces wait for 30 steps, each of which takes a frame across four links: at 64 KiB some 15 ms for "
        "3 ms of data on a host's link. There hashing does not hurt, and GSE2.0, which asks before it sends, is the "
        "slower one. From a MiB on bandwidth decides: ecmp 0.4, gse1 0.99, GSE2.0 0.97 of the limit. "
        "'gse sweep message_size': 5 sizes x 4 schemes x 3 seeds, about half an hour."
    ),
    workload=WorkloadSpec(size_bytes=4 * 1024 * 1024, iterations=5, placement="cross_leaf"),
    schemes=("ecmp", "gse1", "gse2-n2n", "gse2-e2e"),
    seeds=(1, 2, 3),
)
OVER = ("workload.size_bytes", ("64KiB", "256KiB", "1MiB", "2MiB", "4MiB"))
