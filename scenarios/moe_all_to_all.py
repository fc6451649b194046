"""What do schemes gain where experts are on other nodes and every layer waits for four all-to-alls?"""

from testbed.model.scenario import Scenario, WorkloadSpec
from testbed.training.layout import Layout
from testbed.training.spec import TrainingSpec

SCENARIO = Scenario(
    name="moe_all_to_all",
    question=(
        "A mixture of experts sends every token to other nodes and back, twice a layer and direction: how much of the "
        "iteration is that, and what do schemes gain?"
    ),
    expectation=(
        "DeepSeekMoE 16B, experts shared out among eight nodes of an A100: at 200 Gbit/s ideally 43% of the iteration "
        "are exposed, most of it 108 all-to-alls. Each has 240 flows, which hash more evenly than a ring's 16, so ECMP "
        "loses less here than with rings. Scaled down an all-to-all would be 43 kB, 2.7 kB a pair, and nothing but "
        "latency; so nine layers are taken at once (layers_at_once), which makes them 12 of 384 kB: three frames a "
        "pair, natively 101 MB. What is left of the latencies counts against schemes that ask first. "
        "'gse sweep moe_all_to_all': 3 rates x 3 schemes x 10 seeds, about half an hour."
    ),
    workload=WorkloadSpec(
        kind="training",
        size_bytes=5_000_000,
        warmup_size_bytes=1_048_576,
        iterations=1,
        placement="cross_leaf",
        training=TrainingSpec(
            model="deepseek-moe-16b",
            layout=Layout(
                data=64,
                expert=8,
                zero=1,
                micro_batch=8,
                global_batch=512,
                gpus_per_node=1,
                nics_per_node=1,
                overlap=False,
                bucket_bytes=6_600_000_000,
                layers_at_once=9,
            ),
        ),
    ),
    schemes=("ecmp", "gse1", "gse2-n2n"),
    seeds=tuple(range(1, 11)),
)
OVER = ("workload.training.nic_mbps", ("400000", "200000", "100000"))
