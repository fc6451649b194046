"""A training job shares the fabric with what other people do: who suffers from whom, under each scheme?"""

from testbed.model.scenario import BurstSpec, CrossTrafficSpec, PoissonSpec, Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="mixed_traffic",
    question=(
        "When Poisson flows of a web search and checkpoint bursts to two storage hosts share the fabric, does a ring "
        "all-reduce keep its speed, and do small flows keep their completion time?"
    ),
    expectation=(
        "Host links carry 15% of other frames, so at most 0.85 of the job's limit is left, less while bursts cross. "
        "Under ECMP other flows meet the ring's on hashed paths and small ones wait behind both; gse1 places the "
        "ring's flows and moves large others, not small ones; GSE2.0 spreads everything, so that queues in the fabric "
        "stay short, but a small flow asks first. Bursts are an incast: the storage hosts' links decide. Four minutes "
        "per seed for the four schemes."
    ),
    workload=WorkloadSpec(size_bytes=4 * 1024 * 1024, iterations=3, ranks=12, placement="cross_leaf"),
    cross_traffic=CrossTrafficSpec(
        poisson=PoissonSpec(load=0.15, sizes="web_search", size_scale=0.05, partners="other_leaf"),
        bursts=BurstSpec(period_s=5.0, first_s=1.0, size_bytes=256 * 1024, storage=("h4", "h8")),
    ),
    schemes=("ecmp", "gse1", "gse2-n2n", "gse2-e2e"),
)
