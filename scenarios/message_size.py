"""From which size on is an all-reduce a matter of bandwidth, and what does asking first cost below?"""

from testbed.model.scenario import Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="message_size",
    question="From which size on does a ring all-reduce depend on bandwidth, and what does asking first cost below?",
    expectation=(
        "An all-reduce is 30 steps that wait for each other, and under GSE2.0 each is asked for. Hashing costs every "
        "size alike, 0.33 to 0.5 of the limit; gse1 stays above 0.96; GSE2.0 is behind it, E2E more, and catches up "
        "with size. Below some 200 KiB slices are smaller than what a link lets pass at once (11.5 KB), and a step "
        "takes what agents and switches do, which is the machine's: expect INVALID runs there on two cores. "
        "'gse sweep message_size': 5 sizes x 4 schemes x 3 seeds, about half an hour."
    ),
    workload=WorkloadSpec(size_bytes=4 * 1024 * 1024, iterations=5, placement="cross_leaf"),
    schemes=("ecmp", "gse1", "gse2-n2n", "gse2-e2e"),
    seeds=(1, 2, 3),
)
OVER = ("workload.size_bytes", ("64KiB", "256KiB", "1MiB", "2MiB", "4MiB"))
