"""Elephants and mice: every host sends much to one partner, and small messages meanwhile."""

from testbed.model.scenario import Scenario, WorkloadSpec

SCENARIO = Scenario(
    name="permutation",
    question="What do small messages wait while every host sends an elephant to a partner on another leaf?",
    expectation=(
        "Sixteen elephants on sixteen uplinks: hashing puts several on one link (0.36 of the limit at best, Monte "
        "Carlo), and a mouse behind them waits for a full queue of 256 KiB, 0.2 s. GSOS places announced "
        "elephants without conflict, but a mouse shares its sender's own queue with one. Under GSE2.0 queues in the "
        "fabric stay short, and a mouse asks before it is sent; mice_alone shows what that costs on an idle fabric."
    ),
    workload=WorkloadSpec(
        kind="permutation",
        size_bytes=8 * 1024 * 1024,
        iterations=2,
        placement="cross_leaf",
        mice_bytes=2048,
        mice_interval_ms=100.0,
    ),
    schemes=("ecmp", "gse1", "gse2-n2n", "gse2-e2e"),
)
